"""The table of engines: each row names what is there, and a fourth engine is a row."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from small_encoders import BERT

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines import ENGINE_KINDS, INT8_KINDS, QUANTIZED_KINDS, EngineKind
from fastrag_quant.engines.torch import TorchEngine
from fastrag_quant.errors import InputError, MissingExtraError, ModelError, UnsupportedCpuError
from fastrag_quant.host import cpu, extras
from fastrag_quant.model.manifest import MANIFEST_NAME, EngineRecord, FileRecord, Manifest
from fastrag_quant.model.settings import EmbedderSettings, SettingsOverrides, settings_from_files
from fastrag_quant.model.tokenization import RaggedTokens
from fastrag_quant.quantization.job import QuantizationJob

every_kind = pytest.mark.parametrize("kind", ENGINE_KINDS.values(), ids=ENGINE_KINDS)


# Rows


@every_kind
def test_a_row_names_a_class_that_is_an_engine(kind: EngineKind):
    if not kind.is_installed:
        pytest.skip(f"needs fastrag-quant[{kind.extra}]")

    engine = kind.load()

    assert engine.name == kind.name
    assert engine.__module__ == kind.module
    for method in ("plan", "encode", "encode_all", "warm_up", "close"):
        assert callable(getattr(engine, method))


@every_kind
def test_a_row_names_a_function_that_quantizes(kind: EngineKind):
    if not kind.quantizer:
        assert kind.quantization_extra is None
        return
    if extras.missing_distributions(kind.quantization_extra):
        pytest.skip(f"needs fastrag-quant[{kind.quantization_extra}]")
    module, _, function = kind.quantizer.partition(":")

    assert callable(getattr(import_module(module), function))


@every_kind
def test_a_row_names_extras_that_the_package_declares(kind: EngineKind):
    declared = metadata("fastrag-quant").get_all("Provides-Extra") or []

    for extra in filter(None, (kind.extra, kind.quantization_extra)):
        assert extra in declared
        assert extra in extras.DISTRIBUTIONS_OF_EXTRA
    extra = f"'fastrag-quant[{kind.extra}]'" if kind.extra else "fastrag-quant"
    assert kind.install == f"pip install {extra}"


@every_kind
def test_what_quantizes_can_run_too(kind: EngineKind):
    if kind.quantizer:
        needed = set(extras.distributions_of(kind.extra))
        assert needed <= set(extras.distributions_of(kind.quantization_extra))


@every_kind
def test_a_row_is_pickled_as_an_embedder_that_was_made_with_it_is(kind: EngineKind):
    assert pickle.loads(pickle.dumps(kind)) == kind


@every_kind
def test_an_engine_runs_something(kind: EngineKind):
    assert kind.runs_int8 or kind.runs_fp32
    assert kind.runs_int8 == bool(kind.weights)
    assert all(Path(name).name == name for name in kind.weights)


def test_no_two_engines_read_the_same_weights():
    weights = [name for kind in ENGINE_KINDS.values() for name in kind.weights]

    assert len(set(weights)) == len(weights)


def test_the_tables_hold_what_they_are_named_after():
    assert {name: kind.name for name, kind in ENGINE_KINDS.items()} == {name: name for name in ENGINE_KINDS}
    assert set(INT8_KINDS) == {"native", "openvino", "ipex"}
    assert set(QUANTIZED_KINDS) == {"native", "openvino", "ipex"}


IMPORTED = """
import sys
import fastrag_quant.engines, fastrag_quant.engines.choice
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "openvino", "transformers", "optimum"}))
print([name for name in sys.modules if name.startswith("fastrag_quant.engines.")])
"""


def test_the_table_and_the_choice_import_no_engine():
    process = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)

    assert process.stdout.splitlines() == ["[]", "['fastrag_quant.engines.choice']"]


# Where an engine cannot run


def test_an_engine_that_is_not_installed_says_how_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, "openvino", ("a-package-that-nobody-has",))
    kind = ENGINE_KINDS["openvino"]

    assert not kind.is_installed
    assert kind.why_not_here() == "it is not installed (pip install 'fastrag-quant[openvino]')"
    with pytest.raises(MissingExtraError, match="The openvino engine needs a-package-that-nobody-has"):
        kind.load()


def test_a_cpu_without_avx2_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"fpu", "avx"}))
    monkeypatch.setattr(cpu, "cpu_model", lambda: "An ancient CPU")
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, "ipex", ())
    kind = ENGINE_KINDS["ipex"]

    assert kind.why_not_here() == "it needs a CPU with AVX2, and An ancient CPU has none"
    for refused in (kind.check_cpu, kind.load):
        with pytest.raises(UnsupportedCpuError) as error:
            refused()
        assert str(error.value) == (
            "The ipex engine cannot run here: it needs a CPU with AVX2, and An ancient CPU has none. "
            "Use another engine or machine."
        )


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_other_engines_run_on_any_cpu(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"fpu"}))
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, ENGINE_KINDS[name].extra, ())

    assert ENGINE_KINDS[name].why_not_here() is None
    ENGINE_KINDS[name].check_cpu()


@every_kind
def test_every_engine_runs_encoders_and_no_decoders(kind: EngineKind):
    assert kind.why_not_architecture(BERT) is None
    assert kind.why_not_architecture({**BERT, "is_encoder_decoder": False}) is None
    assert "it has a decoder" in str(kind.why_not_architecture({"model_type": "t5", "is_encoder_decoder": True}))


# A fourth engine


class CountEngine:
    """Gives each text its tokens' number and sum, and notes the tokens that reach it."""

    name: ClassVar[str] = "count"
    reached: ClassVar[list[RaggedTokens]] = []
    warmed: ClassVar[list[tuple[list[int], int]]] = []

    def __init__(self, directory: Path, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        self.config = config
        self._dimension = settings.dimension
        self._scale = float((directory / "count.txt").read_text())

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        yield from np.split(np.arange(len(lengths)), np.arange(limit, len(lengths), limit))

    def encode(self, tokens: RaggedTokens) -> np.ndarray:
        self.reached.append(tokens)
        vectors = np.zeros((len(tokens), self._dimension), dtype=np.float32)
        vectors[:, 0] = tokens.lengths
        vectors[:, 1] = [self._scale * ids.sum() for ids in tokens.texts()]
        return vectors

    def encode_all(self, batches: Iterable[RaggedTokens]) -> Iterator[np.ndarray]:
        return map(self.encode, batches)

    def warm_up(self, lengths: Iterable[int], batch_size: int) -> None:
        self.warmed.append((list(lengths), batch_size))

    def close(self) -> None:
        pass


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> EngineKind:
    """The row of that engine, in the table."""
    kind = EngineKind("count", __name__, "CountEngine", extra="count", weights=("count.txt",))
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, "count", ())
    monkeypatch.setitem(ENGINE_KINDS, "count", kind)
    monkeypatch.setitem(INT8_KINDS, "count", kind)
    monkeypatch.setattr(CountEngine, "reached", [])
    monkeypatch.setattr(CountEngine, "warmed", [])
    return kind


@pytest.fixture
def counted_model(tiny_cls_model: Path) -> Path:
    """The tiny model with weights for that engine alone."""
    (tiny_cls_model / "count.txt").write_text("0.5")
    settings = settings_from_files(tiny_cls_model, "tiny", SettingsOverrides())
    weights = {"count.txt": FileRecord.of(tiny_cls_model / "count.txt")}
    Manifest(settings, {"model": "tiny"}, {}, {"count": EngineRecord(weights, {}, [], {})}).write(tiny_cls_model)
    return tiny_cls_model


@pytest.mark.usefixtures("count")
@pytest.mark.parametrize("engine", ["auto", "count"])
def test_a_fourth_engine_is_a_row(counted_model: Path, engine: str):
    embedder = QuantizedEmbedder(counted_model, engine)

    assert embedder.engine == "count"
    one, many = embedder.embed_documents(["if"]), embedder.embed_documents(["if", "class if", "if"] * 50)
    assert one.shape == (1, 32)
    assert one[0, 0] == 3  # two special tokens
    assert np.array_equal(many[:3], [one[0], many[1], one[0]])
    assert many[1, 0] > 3


@pytest.mark.usefixtures("count")
def test_its_weights_are_compared_with_the_manifest_as_any(counted_model: Path):
    (counted_model / "count.txt").write_text("0.75")

    with pytest.raises(ModelError, match=r"count\.txt has 4 bytes instead of 3"):
        QuantizedEmbedder(counted_model)


def test_without_its_row_it_is_unknown(counted_model: Path):
    with pytest.raises(InputError, match="Unknown engine 'count'"):
        QuantizedEmbedder(counted_model, "count")
    with pytest.raises(ModelError, match="has int8 weights for count, and this fastrag_quant runs those for native"):
        QuantizedEmbedder(counted_model)


@pytest.mark.usefixtures("count")
def test_it_is_told_what_the_caller_said(counted_model: Path):
    config = EmbedderConfig(counted_model, threads=1, pin_threads=True)

    assert QuantizedEmbedder.from_config(config)._engine.config == config


def test_the_caller_of_from_config_may_choose_the_engine(count: EngineKind, counted_model: Path):
    (counted_model / MANIFEST_NAME).unlink()

    assert QuantizedEmbedder.from_config(EmbedderConfig(counted_model), count).engine == "count"


@pytest.mark.usefixtures("count")
def test_the_tokens_that_reach_an_engine_are_ragged_and_unpadded(counted_model: Path):
    embedder = QuantizedEmbedder(counted_model)
    texts = ["if", "class " * 30, "", "while for"]

    embedder.embed_queries(texts[:1])
    embedder.embed_documents(texts, batch_size=3)

    lengths = embedder.embed_documents(texts, batch_size=1)[:, 0].astype(int).tolist()
    assert max(lengths) > 10 > min(lengths)
    alone, three, one = CountEngine.reached[:3]
    assert [tokens.lengths.tolist() for tokens in (alone, three, one)] == [lengths[:1], lengths[:3], lengths[3:]]
    for tokens in CountEngine.reached:
        assert isinstance(tokens, RaggedTokens)
        assert tokens.ids.dtype == tokens.offsets.dtype == np.int32
        assert tokens.ids.shape == (tokens.lengths.sum(),)
        assert 0 not in tokens.ids, "0 is the padding id"


@pytest.mark.usefixtures("count")
def test_warming_up_is_told_in_lengths_and_texts_a_batch(counted_model: Path):
    embedder = QuantizedEmbedder(counted_model, max_seq_len=5)

    embedder.warm_up()
    embedder.warm_up([7, 3], batch_size=8)

    assert CountEngine.warmed == [([1, 2, 3, 4, 5], 1), ([7, 3], 8)]


# A fourth engine that is quantized for


class CopyEngine(TorchEngine):
    """Runs fp32 weights under the name of int8."""

    name: ClassVar[str] = "copy"


def copy_weights(job: QuantizationJob) -> None:
    """Stand for a quantizer that needs no calibration."""
    assert "calibration" not in vars(job), "the calibration texts were tokenized though nobody asked for it"
    shutil.copy(job.source.fetch() / "model.safetensors", job.directory)


def test_a_fourth_engine_that_is_quantized_for_is_a_row_too(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind = EngineKind(
        "copy",
        __name__,
        "CopyEngine",
        extra="copy",
        weights=("model.safetensors",),
        quantizer=f"{__name__}:copy_weights",
        quantization_extra="copy",
    )
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, "copy", ("numpy",))
    for table in (ENGINE_KINDS, INT8_KINDS, QUANTIZED_KINDS):
        monkeypatch.setitem(table, "copy", kind)

    result = quantize(tiny_model, tmp_path / "int8", passages, engine="copy", sample_size=20, pooling="cls")

    assert result.fidelity["copy"].cosine_mean == pytest.approx(1)
    assert result.int8_bytes == {"copy": (tiny_model / "model.safetensors").stat().st_size}
    record = json.loads((tmp_path / "int8" / MANIFEST_NAME).read_text())["engines"]["copy"]
    assert set(record["files"]) == {"model.safetensors"}
    assert set(record["versions"]) == {"numpy"}
    assert record["speed"]["documents_per_second"] > 0
    assert QuantizedEmbedder(tmp_path / "int8").engine == "copy"
