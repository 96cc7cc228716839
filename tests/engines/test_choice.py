"""Which engine runs a model, and what is said where none can: never to install what would not help."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_encoders import BERT

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines import ENGINE_KINDS, INT8_KINDS
from fastrag_quant.engines.choice import choose_engine, fp32_of, int8_engines
from fastrag_quant.engines.native import library
from fastrag_quant.errors import InputError, MissingExtraError, ModelError
from fastrag_quant.host import cpu, extras
from fastrag_quant.model.manifest import MANIFEST_NAME, EngineRecord, Manifest
from fastrag_quant.model.settings import EmbedderSettings, Pooling
from fastrag_quant.model.source import ModelSource

FAST = {"documents_per_second": 200.0, "query_p50_ms": 1.0}
SLOW = {"documents_per_second": 100.0, "query_p50_ms": 2.0}


@pytest.fixture
def fp32_model(tmp_path: Path) -> Path:
    """What says that a model is an fp32 encoder, without its weights."""
    directory = tmp_path / "fp32"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(BERT))
    return directory


@pytest.fixture
def int8_model(fp32_model: Path) -> Callable[..., Path]:
    """A function that makes of the model an int8 one for some engines, without weights, with a manifest."""

    def make(source: str = "org/fp32", cosines: dict[str, float] | None = None, **speeds: dict[str, float]) -> Path:
        settings = EmbedderSettings(Pooling.CLS, True, 64, "", "", dimension=32)
        fidelities = {name: {"cosine_mean": cosine} for name, cosine in (cosines or {}).items()}
        engines = {name: EngineRecord({}, {}, [], fidelities.get(name, {}), speed) for name, speed in speeds.items()}
        Manifest(settings, {"model": source, "revision": None}, {}, engines).write(fp32_model)
        return fp32_model

    return make


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes it look as if these engines were installed, on a CPU with AVX2, and no others."""

    def install_only(*names: str) -> None:
        for name, kind in ENGINE_KINDS.items():
            needed = () if name in names else ("a-package-that-nobody-has",)
            if kind.extra:
                monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, kind.extra, needed)
        monkeypatch.setattr(library, "why_no_native", lambda: None if "native" in names else "it was not built")
        monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"avx2"}))

    return install_only


def chosen(directory: Path, engine: str = "auto", **arguments: Any) -> tuple[str, str]:
    """Return the name of the engine that runs a model, and the reason."""
    config = EmbedderConfig(directory, engine, **arguments)
    choice = choose_engine(config, directory, Manifest.read(directory))
    return choice.kind.name, choice.reason


# What a directory has int8 weights for


def test_the_manifest_says_which_engines_have_weights(int8_model: Callable[..., Path]):
    directory = int8_model(openvino=FAST, ipex=SLOW)

    assert int8_engines(directory, Manifest.read(directory)) == ["openvino", "ipex"]


def test_an_engine_of_a_later_version_is_left_out(int8_model: Callable[..., Path]):
    directory = int8_model(npu=FAST, ipex=SLOW)

    assert int8_engines(directory, Manifest.read(directory)) == ["ipex"]


def test_without_a_manifest_torchscript_is_int8(fp32_model: Path):
    (fp32_model / "config.json").write_text('{"torchscript": true}')

    assert int8_engines(fp32_model, None) == ["ipex"]


def test_without_a_manifest_all_else_is_fp32(fp32_model: Path):
    assert int8_engines(fp32_model, None) == []


# The fp32 model that goes with it


def test_an_fp32_model_goes_with_itself(fp32_model: Path):
    assert fp32_of(ModelSource(str(fp32_model))) == ModelSource(str(fp32_model))


def test_an_int8_model_goes_with_the_hub_model_of_its_manifest(int8_model: Callable[..., Path]):
    source = ModelSource(str(int8_model(openvino={})), token="hf_x", local_files_only=True)

    assert fp32_of(source) == ModelSource("org/fp32", token="hf_x", local_files_only=True)


def test_it_is_of_the_revision_that_the_manifest_names(int8_model: Callable[..., Path]):
    directory = int8_model(openvino={})
    manifest = json.loads((directory / MANIFEST_NAME).read_text())
    manifest["source"]["revision"] = "v1.5"
    (directory / MANIFEST_NAME).write_text(json.dumps(manifest))

    assert fp32_of(ModelSource(str(directory), revision="of-the-int8-model")) == ModelSource("org/fp32", "v1.5")


def test_the_name_of_a_directory_that_may_be_anywhere_is_no_origin(int8_model: Callable[..., Path]):
    assert fp32_of(ModelSource(str(int8_model("a-directory", openvino={})))) is None


def test_a_published_int8_model_does_not_say_where_it_comes_from(fp32_model: Path):
    (fp32_model / "config.json").write_text('{"torchscript": true}')

    assert fp32_of(ModelSource(str(fp32_model))) is None


# Auto


def speed(documents_per_second: float, query_p50_ms: float) -> dict[str, float]:
    return {"documents_per_second": documents_per_second, "query_p50_ms": query_p50_ms}


def test_auto_takes_the_engine_that_was_measured_clearly_fastest(int8_model: Callable[..., Path], install: Callable):
    install("openvino", "ipex")

    assert chosen(int8_model(openvino=SLOW, ipex=FAST))[0] == "ipex"
    assert chosen(int8_model(ipex=SLOW, openvino=FAST))[0] == "openvino"


def test_auto_weighs_the_latency_of_queries_and_the_throughput_of_documents_alike(
    int8_model: Callable[..., Path], install: Callable
):
    install("openvino", "ipex")

    # A tenth more throughput for nearly three times the latency.
    assert chosen(int8_model(ipex=speed(302, 3.4), openvino=speed(277, 1.2)))[0] == "openvino"
    # A tenth less latency for a third of the throughput.
    assert chosen(int8_model(openvino=speed(100, 1.1), ipex=speed(300, 1.2)))[0] == "ipex"


def test_auto_takes_no_clearly_less_faithful_engine_however_fast(int8_model: Callable[..., Path], install: Callable):
    install("openvino", "ipex")

    directory = int8_model(ipex=speed(302, 1.0), openvino=speed(277, 3.4), cosines={"ipex": 0.9925, "openvino": 0.9975})

    name, reason = chosen(directory)
    assert name == "openvino"
    assert "ipex is clearly less faithful to fp32 (cosine 0.9925, and 0.9975 here)" in reason


def test_auto_takes_the_faster_of_two_that_are_about_as_faithful(int8_model: Callable[..., Path], install: Callable):
    install("openvino", "ipex")
    fast, slow = speed(300, 1.0), speed(200, 1.5)

    assert chosen(int8_model(openvino=slow, ipex=fast, cosines={"ipex": 0.9960, "openvino": 0.9975}))[0] == "ipex"
    # Three times as far away from fp32, and both next to nothing.
    assert chosen(int8_model(openvino=slow, ipex=fast, cosines={"ipex": 0.9997, "openvino": 0.9999}))[0] == "ipex"


def test_a_few_per_cent_of_speed_win_over_nothing(int8_model: Callable[..., Path], install: Callable):
    install("openvino", "ipex")
    little = speed(109, 1.0 / 1.09), speed(100, 1.0)  # 9 % faster in both

    more_faithful = int8_model(ipex=little[0], openvino=little[1], cosines={"ipex": 0.9970, "openvino": 0.9975})
    assert chosen(more_faithful)[0] == "openvino"
    as_faithful = int8_model(openvino=little[1], ipex=little[0], cosines={"ipex": 0.9975, "openvino": 0.9975})
    assert chosen(as_faithful)[0] == "openvino", "the first of them"


def test_auto_says_what_it_went_by(int8_model: Callable[..., Path], install: Callable):
    install("openvino", "ipex")

    assert chosen(int8_model(openvino=SLOW, ipex=FAST, cosines={"ipex": 0.995, "openvino": 0.995})) == (
        "ipex",
        "quantize() measured it fastest for queries and documents together: 200 documents/s, 1 ms a query "
        "(openvino: 100 documents/s, 2 ms a query)",
    )


def test_an_engine_without_a_speed_that_makes_sense_is_no_reason_to_fail(
    int8_model: Callable[..., Path], install: Callable
):
    install("openvino", "ipex")

    assert chosen(int8_model(openvino=speed(100, 0.0), ipex=FAST))[0] in ("openvino", "ipex")
    assert chosen(int8_model(openvino={"documents_per_second": 3.0}, ipex=FAST))[0] in ("openvino", "ipex")


def test_auto_takes_the_first_where_nothing_was_measured(int8_model: Callable[..., Path], install: Callable):
    install("openvino", "ipex")

    assert chosen(int8_model(ipex={}, openvino={})) == ("ipex", "it comes first, and speeds were not measured")


def test_auto_passes_over_what_is_not_installed_and_says_so(int8_model: Callable[..., Path], install: Callable):
    install("openvino")

    name, reason = chosen(int8_model(openvino=SLOW, ipex=FAST))

    assert (name, reason) == (
        "openvino",
        "ipex cannot run here: it is not installed (pip install 'fastrag-quant[ipex]')",
    )


def test_auto_passes_over_an_engine_that_would_crash_on_this_cpu_and_says_so(
    int8_model: Callable[..., Path], install: Callable, monkeypatch: pytest.MonkeyPatch
):
    install("openvino", "ipex")
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"sse4_2"}))

    name, reason = chosen(int8_model(openvino=SLOW, ipex=FAST))

    assert name == "openvino"
    assert reason.startswith("ipex cannot run here: it needs a CPU with AVX2, and ")


def test_auto_takes_the_only_one_there_is(int8_model: Callable[..., Path], install: Callable):
    install("openvino", "ipex")

    assert chosen(int8_model(ipex=SLOW)) == ("ipex", "it has weights for no other")


def test_with_none_installed_each_extra_is_named(int8_model: Callable[..., Path], install: Callable):
    install()

    with pytest.raises(MissingExtraError) as error:
        chosen(int8_model(openvino=FAST, ipex=SLOW))

    assert str(error.value) == (
        "The model has int8 weights for openvino, ipex. "
        "openvino cannot run here: it is not installed (pip install 'fastrag-quant[openvino]'); "
        "ipex cannot run here: it is not installed (pip install 'fastrag-quant[ipex]')."
    )


def test_an_extra_that_is_there_is_not_to_be_installed(
    int8_model: Callable[..., Path], install: Callable, monkeypatch: pytest.MonkeyPatch
):
    install("ipex")
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"sse4_2"}))

    with pytest.raises(MissingExtraError) as error:
        chosen(int8_model(openvino=FAST, ipex=SLOW))

    assert "fastrag-quant[openvino]" in str(error.value)
    assert "fastrag-quant[ipex]" not in str(error.value)
    assert "ipex cannot run here: it needs a CPU with AVX2" in str(error.value)


# By name


@pytest.mark.parametrize("name", INT8_KINDS)
def test_what_is_asked_for_is_taken(int8_model: Callable[..., Path], name: str):
    assert chosen(int8_model(native=FAST, openvino=FAST, ipex=FAST), name) == (name, "it was asked for")


def test_an_engine_that_the_model_has_no_weights_for_is_refused_with_those_it_has(int8_model: Callable[..., Path]):
    with pytest.raises(ModelError, match="holds no weights for the ipex engine, only for openvino"):
        chosen(int8_model(openvino=FAST), "ipex")


def test_without_a_manifest_the_files_that_only_an_engine_reads_are_enough(fp32_model: Path, install: Callable):
    install("openvino")
    for name in ENGINE_KINDS["openvino"].weights:
        (fp32_model / name).touch()

    assert chosen(fp32_model, "openvino") == ("openvino", "it was asked for")
    with pytest.raises(ModelError, match="not an int8 model"):
        chosen(fp32_model)


def test_a_manifest_is_believed_before_the_files(int8_model: Callable[..., Path]):
    directory = int8_model(ipex=FAST)
    for name in ENGINE_KINDS["openvino"].weights:
        (directory / name).touch()

    with pytest.raises(ModelError, match="holds no weights for the openvino engine"):
        chosen(directory, "openvino")


def test_an_unknown_engine_is_refused_with_the_known_ones(minilm_int8: Path):
    with pytest.raises(InputError, match="use one of auto, native, openvino, ipex, torch"):
        QuantizedEmbedder(minilm_int8, engine="tpu")


# The wrong kind of model


@pytest.mark.parametrize("wanted", ["auto", *INT8_KINDS])
@pytest.mark.parametrize("installed", [(), ("openvino",), ("ipex",), ("openvino", "ipex")], ids=str)
def test_an_fp32_model_is_refused_where_int8_is_expected_with_what_to_do(
    tiny_cls_model: Path, wanted: str, installed: tuple[str, ...], install: Callable
):
    install(*installed)

    with pytest.raises(ModelError) as error:
        QuantizedEmbedder(tiny_cls_model, engine=wanted)

    message = str(error.value)
    assert f"{tiny_cls_model} is not an int8 model" in message
    assert f"fastrag_quant-quantize --model-name {tiny_cls_model}" in message
    assert "engine='torch'" in message
    assert "pip install" not in message


@pytest.mark.parametrize("engine", ["auto", "native"])
def test_native_makes_int8_weights_of_an_fp32_models_while_it_loads_them(
    fp32_model: Path, engine: str, install: Callable
):
    install("native")

    assert chosen(fp32_model, engine) == ("native", "it quantizes fp32 weights while it loads them")


def test_an_fp32_model_that_native_cannot_run_is_refused_with_the_reason(fp32_model: Path, install: Callable):
    install("native", "openvino")
    (fp32_model / "config.json").write_text(json.dumps({**BERT, "model_type": "modernbert"}))

    with pytest.raises(
        ModelError, match=r"not an int8 model \(native cannot run it: its model_type is 'modernbert', and this engine"
    ):
        chosen(fp32_model)


def test_an_fp32_model_quantized_on_the_way_is_said_to_be_unverified(
    tiny_cls_model: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("WARNING", "fastrag_quant"):
        embedder = QuantizedEmbedder(tiny_cls_model)

    assert embedder.engine == "native"
    (record,) = caplog.records
    assert "is not verified" in record.getMessage()
    assert f"fastrag_quant-quantize --model-name {tiny_cls_model} --output-path DIR" in record.getMessage()


@pytest.mark.parametrize("wanted", ["auto", "ipex"])
def test_an_fp32_checkpoint_named_like_int8_is_refused_too(tiny_cls_model: Path, wanted: str, install: Callable):
    install("ipex")
    (tiny_cls_model / "pytorch_model.bin").write_bytes((tiny_cls_model / "model.safetensors").read_bytes())

    with pytest.raises(ModelError, match="not an int8 model"):
        QuantizedEmbedder(tiny_cls_model, engine=wanted)


@pytest.mark.parametrize(
    "arguments",
    [
        {"engine": "torch"},
        {"engine": "torch", "dtype": "bfloat16"},
        {"dtype": "float32"},
        {"engine": "ipex", "dtype": "float32"},
        {"engine": "ipex", "dtype": "bfloat16"},
    ],
    ids=str,
)
def test_an_int8_model_has_no_fp32_weights_to_run(int8_model: Callable[..., Path], arguments: dict[str, Any]):
    directory = int8_model(openvino=FAST, ipex=FAST)

    with pytest.raises(ModelError) as error:
        QuantizedEmbedder(directory, **arguments)

    assert str(error.value) == (
        f"{directory} is an int8 model, for openvino and ipex, and holds no fp32 weights: "
        "pass the model that it was made from (org/fp32), or leave engine and dtype out."
    )


def test_a_published_int8_model_has_no_fp32_weights_either(fp32_model: Path):
    (fp32_model / "config.json").write_text('{"torchscript": true}')

    with pytest.raises(ModelError, match="holds no fp32 weights: pass the model that it was made from, or leave"):
        QuantizedEmbedder(fp32_model, "torch")


# fp32 weights


@pytest.mark.parametrize(
    ("engine", "dtype", "expected"),
    [
        ("torch", None, ("torch", "it was asked for")),
        ("torch", "bfloat16", ("torch", "it was asked for")),
        ("auto", "float32", ("torch", "it runs float32")),
        ("auto", "bfloat16", ("torch", "it runs bfloat16")),
        ("ipex", "float32", ("ipex", "it was asked for")),
    ],
)
def test_fp32_weights_run_on_torch_unless_another_engine_is_asked_for(
    fp32_model: Path, engine: str, dtype: str | None, expected: tuple[str, str]
):
    assert chosen(fp32_model, engine, dtype=dtype) == expected


# Architectures


@pytest.mark.parametrize("engine", ENGINE_KINDS)
def test_a_model_with_a_decoder_is_refused_by_name(int8_model: Callable[..., Path], fp32_model: Path, engine: str):
    if engine != "torch":
        int8_model(native=FAST, openvino=FAST, ipex=FAST)
    (fp32_model / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))

    with pytest.raises(ModelError) as error:
        chosen(fp32_model, engine)

    assert f"The {engine} engine cannot run {fp32_model}: it has a decoder" in str(error.value)


# With models


def copy_without(directory: Path, target: Path, *names: str) -> Path:
    """Copy a model directory by hard links, without some of its files."""
    return Path(shutil.copytree(directory, target, copy_function=os.link, ignore=shutil.ignore_patterns(*names)))


def test_a_real_int8_model_runs_on_the_engine_that_its_manifest_calls_fastest(
    minilm_int8: Path, engine: str, tmp_path: Path
):
    directory = copy_without(minilm_int8, tmp_path / "measured", MANIFEST_NAME)
    content = json.loads((minilm_int8 / MANIFEST_NAME).read_text())
    for record in content["engines"].values():
        record["fidelity"]["cosine_mean"] = 0.99
    content["engines"][engine]["speed"]["documents_per_second"] = 1e9
    (directory / MANIFEST_NAME).write_text(json.dumps(content))

    assert QuantizedEmbedder(directory).engine == engine


def test_without_its_engine_installed_a_model_says_what_to_install(
    minilm_int8: Path, engine: str, monkeypatch: pytest.MonkeyPatch
):
    if ENGINE_KINDS[engine].extra is None:
        pytest.skip("needs nothing beyond the package")
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, engine, ("a-package-that-nobody-has",))

    with pytest.raises(MissingExtraError, match=rf"fastrag-quant\[{engine}\]"):
        QuantizedEmbedder(minilm_int8, engine)


def test_without_any_engine_installed_auto_says_what_to_install(minilm_int8: Path, install: Callable):
    install()

    with pytest.raises(MissingExtraError, match=r"pip install 'fastrag-quant\[openvino\]'"):
        QuantizedEmbedder(minilm_int8)


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_the_embedder_runs_what_was_chosen(tiny_cls_model: Path, dtype: str | None):
    engine = "torch" if dtype is None else "auto"

    assert QuantizedEmbedder(tiny_cls_model, engine, dtype=dtype).engine == "torch"
