"""A tiny model that is really quantized once, a way to use its weights again, and a tiny model of each family."""

from __future__ import annotations

import logging
import os
import random
import shutil
import warnings
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import quantize
from fastrag_quant.engines import QUANTIZED_KINDS
from fastrag_quant.model.manifest import Manifest
from fastrag_quant.quantization.quantizer import QuantizationResult

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

# The configuration of a tiny model of each family, and whether padding is token 1 as in RoBERTa's kin.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES | {"max_position_embeddings": 64}),
    "roberta": ("Roberta", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}),
    "mpnet": ("MPNet", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1}),
    "distilbert": ("DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}),
    "modernbert": ("ModernBert", SIZES | {"max_position_embeddings": 64, "pad_token_id": 0, "local_attention": 16}),
}
SPECIAL = {0: ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], 1: ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]}


@dataclass(frozen=True)
class Run:
    """A real quantization, and what the process was like before and after it.

    :param directory: the model directory.
    :param working_directory: where it ran.
    """

    result: QuantizationResult
    directory: Path
    working_directory: Path
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="session")
def run(tiny_model: Path, passages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny model quantized into a relative path, in a working directory of its own."""
    working_directory = tmp_path_factory.mktemp("cwd")
    with chdir(working_directory):
        before = process_state()
        result = quantize(
            tiny_model,
            "models/tiny-int8",
            passages,
            sample_size=20,
            pooling="cls",
            max_seq_len=32,
            query_prompt="class ",
            seed=3,
            min_cosine=0,
        )
        after = process_state()
    return Run(result, working_directory / "models" / "tiny-int8", working_directory, before, after)


def process_state() -> dict[str, Any]:
    import torch

    return {
        "random": random.getstate(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "affinity": os.sched_getaffinity(0),
        "OpenMP settings": {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_"))},
        "log handlers": list(logging.getLogger().handlers),
        "log level": logging.getLogger().level,
        "transformers log level": logging.getLogger("transformers").level,
        "warning filters": list(warnings.filters),
    }


@pytest.fixture
def replace_quantizers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, Path], None]], None]:
    """Makes quantize() call a function with the engine's name and a directory, in place of the real quantizers."""

    def replace(function: Callable[[str, Path], None]) -> None:
        for kind in QUANTIZED_KINDS.values():
            module, _, name = str(kind.quantizer).partition(":")
            monkeypatch.setattr(f"{module}.{name}", lambda job, engine=kind.name: function(engine, job.directory))

    return replace


@pytest.fixture
def reuse_weights(replace_quantizers: Callable) -> Callable[[Path], None]:
    """Makes quantize() take its int8 weights from a directory, and spares the time of making them again."""

    def reuse(ready: Path) -> None:
        def copy_weights(engine: str, directory: Path) -> None:
            manifest = Manifest.read(ready)
            assert manifest is not None
            for name in ("config.json", "inc_config.json", *manifest.engines[engine].files):
                if (ready / name).exists():
                    shutil.copy(ready / name, directory)

        replace_quantizers(copy_weights)

    return reuse


@pytest.fixture
def quick(run: Run, reuse_weights: Callable[[Path], None]) -> None:
    """Makes quantize() take the weights of the run above."""
    reuse_weights(run.directory)


@pytest.fixture
def model_of(passages: list[str], tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a tiny fp32 model of a family, with random weights and changes to its configuration."""

    def make(family: str, **changes: Any) -> Path:
        import torch
        import transformers

        prefix, sizes = FAMILIES[family]
        if not hasattr(transformers, f"{prefix}Model"):
            pytest.skip(f"transformers {transformers.__version__} has no {prefix}")
        directory = tmp_path / family
        vocabulary = write_tokenizer(directory, passages, SPECIAL[sizes.get("pad_token_id", 0)])
        config = getattr(transformers, f"{prefix}Config")(vocab_size=vocabulary, **{**sizes, **changes})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            getattr(transformers, f"{prefix}Model")(config).save_pretrained(directory)
        return directory

    return make


def write_tokenizer(directory: Path, passages: list[str], special: list[str]) -> int:
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(passages, vocab_size=500, show_progress=False, special_tokens=special)
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(directory)
    return tokenizer.get_vocab_size()
