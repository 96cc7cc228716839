"""QuantizedEmbedder: texts in, float32 vectors out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fastrag_quant.batching import ShapePolicy, TokenBatch
from fastrag_quant.defaults import DEFAULTS
from fastrag_quant.engines import (
    ENGINE_KINDS,
    Engine,
    EngineOptions,
    check_engine_name,
    engine_class,
    installed_engines,
)
from fastrag_quant.errors import InputError, MissingExtraError, ModelError
from fastrag_quant.manifest import Manifest
from fastrag_quant.output import output_form
from fastrag_quant.settings import (
    EmbedderSettings,
    SettingsOverrides,
    override,
    position_limit,
    settings_from_files,
)
from fastrag_quant.source import METADATA_PATTERNS, ModelSource
from fastrag_quant.tokenization import TextTokenizer
from fastrag_quant.windows import WindowEncoder

logger = logging.getLogger(__name__)


class QuantizedEmbedder:
    """A bi-encoder on a CPU. Safe to call from many threads.

    Example::

        embedder = QuantizedEmbedder("models/all-MiniLM-L6-v2-int8")
        vectors = embedder.embed_documents(["a text", "another"])  # float32, shape (2, 384)
    """

    def __init__(
        self,
        model: str | Path,
        engine: str = DEFAULTS.engine,
        pooling: str | None = None,
        max_seq_len: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        *,
        normalize: bool | None = None,
        pad_to_max: bool = False,
        threads: int | None = None,
        pin_threads: bool = False,
        bf16: bool = False,
        int8: bool = True,
        truncate_dim: int | None = None,
        precision: str = DEFAULTS.precision,
        verify_hashes: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Load a model. What is None is read from the model's files.

        :param model: a quantized model directory, or the hub name of a published int8 model.
        :param engine: "auto" for the one that the manifest measured fastest among those installed,
            "openvino", "ipex", or "torch" for fp32 weights as they are.
        :param pooling: "cls" or "mean"; needed only where the model's files do not say.
        :param max_seq_len: tokens per text at the most; longer texts are cut, with a warning.
        :param query_prompt: prefix of queries; "" for none.
        :param document_prompt: prefix of documents; "" for none.
        :param normalize: whether vectors have length one.
        :param pad_to_max: pad every text to max_seq_len, for one single shape; slower on real text.
        :param threads: cores to use; None is all usable ones.
        :param pin_threads: bind the inference threads, and no others, to a core each. For a
            process that has its cores for itself; several such processes would share cores.
        :param bf16: run fp32 weights in bfloat16 auto-mixed precision (int8=False or engine "torch").
        :param int8: False runs the fp32 weights of a model that is not quantized.
        :param truncate_dim: keep the first so many dimensions, of a Matryoshka model.
        :param precision: "float32", or a form of vectors for stores that take it: "int8" and "uint8"
            by the ranges that quantization measured, "binary" and "ubinary" of one bit a dimension.
        :param verify_hashes: compare the SHA-256 of every file with the manifest.
        :param revision: branch, tag or commit of a hub model.
        :param token: access token of the hub.
        :param local_files_only: use the hub's local cache alone.
        :raises InputError: for an argument that no model could satisfy.
        :raises ModelError: for a model that is missing, damaged or of the wrong kind.
        :raises MissingExtraError: if the engine is not installed.
        :raises UnsupportedCpuError: if the engine would crash on this CPU.
        """
        check_engine_name(engine)
        overrides = SettingsOverrides(pooling, normalize, max_seq_len, query_prompt, document_prompt)
        options = EngineOptions(bf16, int8 and engine != "torch", threads, pin_threads)
        source = ModelSource(str(model), revision, token, local_files_only)
        directory = source.fetch(METADATA_PATTERNS)
        manifest = Manifest.read(directory)
        name = _choose_engine(engine, manifest)
        self._settings = _resolve_settings(directory, source.name, manifest, overrides)
        self._tokenizer = TextTokenizer(directory, self._settings.max_seq_len)
        loaded = engine_class(name)
        directory = source.fetch((*METADATA_PATTERNS, *ENGINE_KINDS[name].weights))
        if manifest and options.int8:
            check = manifest.check_hashes if verify_hashes else manifest.check_sizes
            check(directory, name)
        self._form = output_form(
            self._settings.dimension,
            truncate_dim,
            precision,
            normalize=self._settings.normalize,
            ranges=manifest.ranges if manifest else None,
        )
        self._engine: Engine = loaded(directory, source, self._settings, options)
        longest = self._settings.max_seq_len
        shortest = longest if pad_to_max else loaded.shortest
        self._shapes = ShapePolicy(loaded.token_budget, shortest, longest, self._engine.streams, loaded.shortest_alone)

    @property
    def settings(self) -> EmbedderSettings:
        """Pooling, normalisation, limits and prompts in force."""
        return self._settings

    @property
    def dimension(self) -> int:
        """Dimensions per vector; binary vectors hold eight of them in a byte."""
        return self._form.dimension

    @property
    def engine(self) -> str:
        """The name of the engine that runs the model."""
        return self._engine.name

    def embed_queries(
        self,
        texts: Sequence[str],
        batch_size: int = DEFAULTS.batch_size,
        progress_bar: bool = False,
        prompt: str | None = None,
    ) -> np.ndarray:
        """Embed queries, with the query prompt.

        :param texts: strings; possibly none.
        :param batch_size: texts per batch at the most.
        :param progress_bar: whether to show one, on standard error.
        :param prompt: prefix in place of the embedder's own; None is the embedder's.
        :return: of shape (texts, dimension), float32 unless another precision was chosen, in input
            order, in memory of its own.
        :raises InputError: for anything but a sequence of strings.
        """
        prompt = self._settings.query_prompt if prompt is None else prompt
        return self._joined(self._embed(texts, prompt, batch_size, progress_bar))

    def embed_documents(
        self,
        texts: Iterable[str],
        batch_size: int = DEFAULTS.batch_size,
        progress_bar: bool = False,
        prompt: str | None = None,
    ) -> np.ndarray:
        """Embed documents, with the document prompt.

        :param texts: strings, from any iterable; it is read as vectors are made.
        :param batch_size: texts per batch at the most.
        :param progress_bar: whether to show one, on standard error.
        :param prompt: prefix in place of the embedder's own; None is the embedder's.
        :return: of shape (texts, dimension), float32 unless another precision was chosen, in input
            order, in memory of its own.
        :raises InputError: for anything but an iterable of strings.
        """
        prompt = self._settings.document_prompt if prompt is None else prompt
        return self._joined(self._embed(texts, prompt, batch_size, progress_bar))

    def iter_embed(
        self,
        texts: Iterable[str],
        batch_size: int = DEFAULTS.batch_size,
        progress_bar: bool = False,
        prompt: str | None = None,
    ) -> Iterator[np.ndarray]:
        """Embed documents one after the other, in memory that does not grow with their number.

        :param texts: strings, from any iterable; it is read a few thousand texts ahead.
        :param batch_size: texts per batch at the most.
        :param progress_bar: whether to show one, on standard error.
        :param prompt: in place of the document prompt, for this call.
        :return: an iterator over the vectors that :meth:`embed_documents` returns, in input order.
        :raises InputError: for anything but an iterable of strings, once the iterator gets there.
        """
        prompt = self._settings.document_prompt if prompt is None else prompt
        for vectors in self._embed(texts, prompt, batch_size, progress_bar):
            yield from vectors

    def warm_up(self, lengths: Iterable[int] | None = None, batch_size: int = 1) -> None:
        """Run every shape that texts of these lengths need, so that none is compiled while a user waits.

        :param lengths: tokens per text; None is every length up to max_seq_len.
        :param batch_size: 1 warms single texts, as queries are; more warms batches of that many
            texts or, where the token budget takes fewer, of those.
        """
        wanted = range(1, self._settings.max_seq_len + 1) if lengths is None else lengths
        padded = self._shapes.padded_length_alone if batch_size == 1 else self._shapes.padded_length
        for length in sorted(set(map(padded, wanted))):
            shape = (self._shapes.batch_size(length, batch_size), length)
            ids = np.full(shape, self._settings.pad_token_id, dtype=np.int64)
            self._engine.warm_up(TokenBatch(ids, np.ones_like(ids)))

    def encode(self, batch: TokenBatch) -> np.ndarray:
        """Embed token ids as they are, without tokenization: what benchmarks time.

        :param batch: arrays of shape (batch size, padded length).
        :return: float32 of shape (batch size, dimension).
        """
        return self._engine.encode(batch)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens embedding these texts runs through the model, padding not counted."""
        return int(self._tokenizer(texts).lengths.sum())

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are."""
        return self._tokenizer.vocabulary_size

    def close(self) -> None:
        """Release the weights and threads; the embedder cannot be used afterwards, but closed again."""
        self._engine.close()
        self._engine = _ClosedEngine()  # type: ignore[assignment]

    def __enter__(self) -> QuantizedEmbedder:
        """Return the embedder, to be closed at the end of the with block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the embedder."""
        self.close()

    def _embed(self, texts: Iterable[str], prompt: str, batch_size: int, progress_bar: bool) -> Iterator[np.ndarray]:
        """Yield the vectors of consecutive texts, a window at a time."""
        _check_batch_size(batch_size)
        settings = self._settings
        encoder = WindowEncoder(self._tokenizer, self._engine, self._shapes, settings.pad_token_id, settings.dimension)
        total = len(texts) if isinstance(texts, Sequence) else None
        count = truncated = 0
        with tqdm(total=total, desc="Embedding", unit=" texts", disable=not progress_bar) as progress:
            for window in encoder.encode(texts, prompt, batch_size, progress.update):
                count += len(window.vectors)
                truncated += window.truncated
                yield self._form.apply(window.vectors)
        if truncated:
            logger.warning(
                "%d of %d texts were longer than %d tokens and were cut.", truncated, count, settings.max_seq_len
            )

    def _joined(self, windows: Iterator[np.ndarray]) -> np.ndarray:
        parts = list(windows)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.empty((0, self._form.width), dtype=self._form.dtype), *parts])


class _ClosedEngine:
    """Takes the place of an engine that was closed."""

    def close(self) -> None:
        """Do nothing: it is closed."""

    def __getattr__(self, name: str) -> Any:
        msg = "This embedder is closed: make a new one."
        raise ModelError(msg)


def _choose_engine(engine: str, manifest: Manifest | None) -> str:
    """Return the engine to run, from the caller's wish, the manifest and what is installed."""
    if engine == "torch":
        return engine
    built = list(manifest.engines) if manifest else ["ipex"]
    if engine != "auto":
        if manifest and engine not in built:
            msg = f"The model directory holds no weights for the {engine} engine, only for {', '.join(built)}."
            raise ModelError(msg)
        return engine
    installed = [name for name in installed_engines() if name in built]
    if installed:
        return manifest.fastest(installed) if manifest else installed[0]
    extras = " or ".join(f"pip install 'fastrag-quant[{ENGINE_KINDS[name].extra}]'" for name in built)
    msg = f"The model runs on {', '.join(built)}, and none of these engines is installed: {extras}"
    raise MissingExtraError(msg)


def _resolve_settings(
    directory: Path, name: str, manifest: Manifest | None, overrides: SettingsOverrides
) -> EmbedderSettings:
    if manifest is None:
        return settings_from_files(directory, name, overrides)
    return override(manifest.settings, overrides, position_limit(directory))


def _check_batch_size(batch_size: int) -> None:
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        msg = f"batch_size must be a whole number of at least 1, not {batch_size!r}."
        raise InputError(msg)
