"""The doctor says what is there, what is missing and what brings it, and which engine a model runs on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench import doctor
from fastrag_quant.bench.doctor import describe_environment, describe_machine, describe_model
from fastrag_quant.engines import ENGINE_KINDS, EngineKind
from fastrag_quant.engines.native import library
from fastrag_quant.host import extras
from fastrag_quant.host.cpu import cpu_model, usable_cores
from fastrag_quant.model.manifest import EngineRecord, Manifest


@pytest.fixture
def manifest(minilm_int8: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that gives the int8 model another record of engines."""
    real = Manifest.read(minilm_int8)
    assert real is not None

    def change(engines: dict[str, EngineRecord]) -> None:
        monkeypatch.setattr(doctor.Manifest, "read", lambda _: replace(real, engines=engines))

    return change


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that says which engines are installed."""

    def install(*names: str) -> None:
        monkeypatch.setattr(EngineKind, "is_installed", property(lambda kind: kind.name in names))

    return install


def record(documents_per_second: float | None = None) -> EngineRecord:
    speed = {} if documents_per_second is None else {"documents_per_second": documents_per_second, "query_p50_ms": 2.0}
    return EngineRecord(files={}, versions={}, isa=["avx2"], fidelity={"cosine_mean": 0.99}, speed=speed)


def auto(model: Path) -> str:
    return dict(describe_model(str(model)))["auto"]


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    facts = dict(describe_machine())

    assert facts["CPU"] == cpu_model()
    assert facts["cores"].startswith(f"{usable_cores()} usable of ")
    assert not set(facts["ISA"].split()) & set(facts["ISA missing"].split())
    assert facts["threads"] == f"{usable_cores()} by default, OMP_NUM_THREADS=3"


def test_what_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "is_installed", lambda name: name != "intel-extension-for-pytorch")

    facts = dict(describe_environment())

    assert facts["engine torch"] == "installed"
    assert facts["engine ipex"] == "missing intel-extension-for-pytorch: pip install 'fastrag-quant[ipex]'"


def test_the_generation_of_haystack_is_that_of_its_package():
    assert doctor._haystack({"farm-haystack": "1.26.4"}).startswith("1 (farm-haystack 1.26.4)")
    assert doctor._haystack({"haystack-ai": "2.31.0"}).startswith("2 (haystack-ai 2.31.0)")
    assert doctor._haystack({"haystack-ai": "3.4.0"}).startswith("3 (haystack-ai 3.4.0)")
    assert doctor._haystack({}).startswith("missing")


def test_a_model_runs_on_the_engine_that_the_embedder_takes(minilm_int8: Path):
    facts = dict(describe_model(str(minilm_int8)))

    with QuantizedEmbedder(minilm_int8) as embedder:
        assert facts["auto"].startswith(f"{embedder.engine}: ")
    assert facts["model"].endswith("384 dimensions, mean")
    assert facts["files"] == "complete, by size"


def test_auto_takes_what_was_measured_fastest(minilm_int8: Path, manifest, install: Callable[..., None]):
    install("openvino", "ipex", "torch")

    manifest({"openvino": record(50.0), "ipex": record(80.0)})
    assert auto(minilm_int8).startswith("ipex: quantize() measured it fastest")
    manifest({"openvino": record(90.0), "ipex": record(40.0)})
    assert auto(minilm_int8).startswith("openvino: quantize() measured it fastest")
    manifest({"openvino": record()})
    assert auto(minilm_int8) == "openvino: it has weights for no other"


def test_auto_takes_what_is_installed(minilm_int8: Path, manifest, install: Callable[..., None]):
    install("openvino", "torch")

    manifest({"openvino": record(50.0), "ipex": record(80.0)})
    missing = "ipex cannot run here: it is not installed (pip install 'fastrag-quant[ipex]')"
    assert auto(minilm_int8) == f"openvino: {missing}"
    manifest({"ipex": record(80.0)})
    assert auto(minilm_int8) == f"none: The model has int8 weights for ipex. {missing}."


def test_auto_leaves_out_an_engine_that_would_crash_on_this_cpu(
    minilm_int8: Path, manifest, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    install("openvino", "ipex")
    monkeypatch.setitem(ENGINE_KINDS, "ipex", replace(ENGINE_KINDS["ipex"], why_not_cpu=lambda: "it needs AVX2"))

    manifest({"openvino": record(50.0), "ipex": record(80.0)})
    assert auto(minilm_int8) == "openvino: ipex cannot run here: it needs AVX2"


def test_a_damaged_directory_is_told(minilm_int8: Path, tmp_path: Path):
    damaged = tmp_path / "damaged"
    shutil.copytree(minilm_int8, damaged)
    content = json.loads((damaged / "fastrag_quant.json").read_text())
    name = next(iter(next(iter(content["engines"].values()))["files"]))
    (damaged / name).write_bytes(b"")

    assert f"is damaged: {name} has 0 bytes" in dict(describe_model(str(damaged)))["files"]


def test_a_model_that_is_not_quantized_is_told_with_what_to_do(tiny_cls_model: Path):
    facts = dict(describe_model(str(tiny_cls_model)))

    assert "has no manifest" in facts["model"]
    assert facts["auto"] == "native: it quantizes fp32 weights while it loads them"


def test_a_model_that_nothing_here_runs_is_told_with_what_to_do(tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library, "why_no_native", lambda: "it was not built")

    auto = dict(describe_model(str(tiny_cls_model)))["auto"]

    assert auto.startswith(
        f"none: {tiny_cls_model} is not an int8 model (native cannot run it: it was not built). Quantize it first: "
    )
    assert auto.endswith("engine='torch'.")


def test_published_torch_script_runs_on_the_engine_that_reads_it(tiny_cls_model: Path, install: Callable[..., None]):
    install("ipex")
    config = tiny_cls_model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "torchscript": True}))

    assert auto(tiny_cls_model) == "ipex: it has weights for no other"
