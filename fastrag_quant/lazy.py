"""An embedder that is loaded when it is first used, and shared by all who ask for the same one."""

from __future__ import annotations

import threading
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from weakref import WeakValueDictionary

from fastrag_quant.defaults import DEFAULTS
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.engines import EngineOptions, check_engine_name
from fastrag_quant.output import Precision, check_truncate_dim
from fastrag_quant.settings import SettingsOverrides

_loaded: WeakValueDictionary[tuple, QuantizedEmbedder] = WeakValueDictionary()
_loading = threading.Lock()


@dataclass(frozen=True)
class LazyEmbedder:
    """The arguments of a :class:`QuantizedEmbedder`, checked at once; the model is loaded later.

    A retriever and a ranker of the same model and arguments share one loaded model.
    """

    model: str
    engine: str = DEFAULTS.engine
    pooling: str | None = None
    max_seq_len: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    normalize: bool | None = None
    pad_to_max: bool = False
    threads: int | None = None
    pin_threads: bool = False
    bf16: bool = False
    truncate_dim: int | None = None
    precision: str = DEFAULTS.precision
    revision: str | None = None
    token: str | bool | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without the model.

        :raises InputError: for an unknown engine, pooling or precision, and for limits, prompts,
            dimensions and thread counts that no model could satisfy.
        """
        check_engine_name(self.engine)
        SettingsOverrides(self.pooling, self.normalize, self.max_seq_len, self.query_prompt, self.document_prompt)
        EngineOptions(self.bf16, self.engine != "torch", self.threads)
        check_truncate_dim(self.truncate_dim)
        Precision.from_str(self.precision)

    @cached_property
    def embedder(self) -> QuantizedEmbedder:
        """The embedder, loaded at the first use.

        :raises ModelError: and the other errors of :class:`QuantizedEmbedder`.
        """
        with _loading:
            arguments = astuple(self)  # self as the key would hold the embedder for ever
            embedder = _loaded.get(arguments)
            if embedder is None:
                embedder = _loaded[arguments] = QuantizedEmbedder(**asdict(self))
            return embedder
