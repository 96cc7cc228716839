"""TorchScript is a program: where it is refused, none is loaded, and "auto" takes weights that are data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engines_here import ENGINES

from fastrag_quant import QuantizedEmbedder, quantize, verify
from fastrag_quant.config import ALLOW_VARIABLE, EmbedderConfig
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.manifest import MANIFEST_NAME, FileRecord

if TYPE_CHECKING:
    from tests.quantization.conftest import Run


class Trap:
    """A stand-in for what loads a program: it notes that it was called."""

    def __init__(self) -> None:
        self.loaded: list[Any] = []

    def __call__(self, path: Any, *_: Any, **__: Any) -> None:
        self.loaded.append(path)
        pytest.fail(f"{path} was loaded")


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """What is called where a program is loaded; in the end nothing was."""
    torch = pytest.importorskip("torch")
    trap = Trap()
    monkeypatch.setattr(torch.jit, "load", trap)
    yield trap
    assert trap.loaded == []


@pytest.fixture(params=["argument", "variable"])
def refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of an embedder for whom programs are refused, by an argument or by the environment."""
    if request.param == "argument":
        return {"allow_torchscript": False}
    monkeypatch.setenv(ALLOW_VARIABLE, "0")
    return {"allow_torchscript": True}


@pytest.fixture
def published(tiny_model: Path, tmp_path: Path) -> Path:
    """A directory as Intel publishes them: a program, what it is made of, and no manifest."""
    import torch

    directory = tmp_path / "published"
    shutil.copytree(tiny_model, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"torchscript": True}))
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(directory / "pytorch_model.bin"))
    return directory


@pytest.fixture
def with_a_program(run: Run, tmp_path: Path) -> Path:
    """A quantized directory whose manifest has weights for ipex beside those of another engine, and measures them best.

    The weights are no program at all: what would run them would fail.
    """
    directory = tmp_path / "quantized"
    shutil.copytree(run.directory, directory)
    weights = directory / "pytorch_model.bin"
    weights.write_bytes(b"a program")
    manifest = json.loads((directory / MANIFEST_NAME).read_text())
    record = FileRecord.of(weights)
    manifest["engines"]["ipex"] = next(iter(manifest["engines"].values())) | {
        "files": {weights.name: {"size": record.size, "sha256": record.sha256}},
        "fidelity": {"cosine_mean": 1.0},
        "speed": {"documents_per_second": 1e6, "query_p50_ms": 1e-3},
    }
    (directory / MANIFEST_NAME).write_text(json.dumps(manifest))
    return directory


@pytest.mark.parametrize("engine", ["auto", "ipex"])
@pytest.mark.usefixtures("trap")
def test_a_directory_that_has_nothing_else_is_one_clear_error(published: Path, refused: dict[str, Any], engine: str):
    with pytest.raises(ModelError, match=r"TorchScript, which is a program, and .*(=False|=0) refuses it.*native"):
        QuantizedEmbedder(published, engine, pooling="cls", **refused)


@pytest.mark.usefixtures("trap")
def test_auto_takes_weights_that_are_data(with_a_program: Path, refused: dict[str, Any]):
    data = next(name for name in ENGINES if name != "ipex")

    with QuantizedEmbedder(with_a_program, **refused) as embedder:
        vectors = embedder.embed_documents(["a text"])

    assert embedder._config.engine == "auto"
    assert vectors.shape == (1, 32)
    with QuantizedEmbedder(with_a_program, data) as expected:
        assert np.allclose(vectors, expected.embed_documents(["a text"]), atol=0.1)


@pytest.mark.usefixtures("trap")
def test_asked_for_by_name_it_is_refused_all_the_same(with_a_program: Path, refused: dict[str, Any]):
    with pytest.raises(ModelError, match="is not loaded on the ipex engine"):
        QuantizedEmbedder(with_a_program, "ipex", **refused)


@pytest.mark.usefixtures("trap")
def test_an_engine_that_is_given_as_benchmarks_do_is_refused_too(with_a_program: Path, refused: dict[str, Any]):
    with pytest.raises(ModelError, match="is not loaded on the ipex engine"):
        QuantizedEmbedder.from_config(EmbedderConfig(with_a_program, "ipex", **refused), ENGINE_KINDS["ipex"])


@pytest.mark.usefixtures("trap")
def test_verification_leaves_it_out(with_a_program: Path, tiny_model: Path, passages: list[str]):
    verified = verify(with_a_program, passages[:30], fp32=tiny_model, allow_torchscript=False)

    assert verified.keys() == set(ENGINES) - {"ipex"}


@pytest.mark.usefixtures("trap")
def test_verification_of_nothing_else_says_so(published: Path, tiny_model: Path, passages: list[str]):
    with pytest.raises(ModelError, match="TorchScript, which is a program"):
        verify(published, passages[:30], fp32=tiny_model, pooling="cls", allow_torchscript=False)


# fp32 weights are data


@pytest.mark.needs("ipex")
def test_fp32_weights_on_ipex_are_no_program(tiny_cls_model: Path, refused: dict[str, Any]):
    with QuantizedEmbedder(tiny_cls_model, "ipex", dtype="float32", **refused) as embedder:
        assert embedder.embed_documents(["a text"]).shape == (1, 32)


@pytest.mark.needs("torch")
@pytest.mark.usefixtures("trap")
@pytest.mark.parametrize("engine", ["torch", *({"native"} & set(ENGINES))])
def test_a_program_under_the_name_of_fp32_weights_is_never_loaded(published: Path, engine: str):
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps(config | {"torchscript": False}))

    with pytest.raises(ModelError):
        QuantizedEmbedder(published, engine, pooling="cls")


# The variable


@pytest.mark.parametrize("value", ["0", "false", "False", "FALSE"])
def test_what_refuses(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv(ALLOW_VARIABLE, value)

    assert EmbedderConfig("a/model").why_no_torchscript == f"{ALLOW_VARIABLE}={value}"


@pytest.mark.parametrize("value", ["1", "true", "True"])
def test_what_leaves_it_to_the_argument(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv(ALLOW_VARIABLE, value)

    assert EmbedderConfig("a/model").why_no_torchscript is None
    assert EmbedderConfig("a/model", allow_torchscript=False).why_no_torchscript == "allow_torchscript=False"


@pytest.mark.parametrize("value", ["", "no", "off", " 0", "2"])
def test_what_cannot_be_read_is_an_error_and_no_permission(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv(ALLOW_VARIABLE, value)

    with pytest.raises(InputError, match=f"{ALLOW_VARIABLE} must be 0 or 1"):
        EmbedderConfig("a/model")


def test_the_argument_is_true_or_false():
    with pytest.raises(InputError, match="allow_torchscript must be true or false, not 'no'"):
        EmbedderConfig("a/model", allow_torchscript="no")  # type: ignore[arg-type]


def test_an_embedder_that_was_configured_before_is_refused_where_it_is_loaded(
    published: Path, monkeypatch: pytest.MonkeyPatch
):
    config = EmbedderConfig(published, pooling="cls")
    monkeypatch.setenv(ALLOW_VARIABLE, "0")

    with pytest.raises(ModelError, match=f"{ALLOW_VARIABLE}=0 refuses it"):
        QuantizedEmbedder.from_config(config)


# Quantization, which would write a program and then load it


def test_quantization_for_ipex_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(ALLOW_VARIABLE, "0")

    with pytest.raises(InputError, match=f"{ALLOW_VARIABLE} refuses"):
        quantize("a/model", tmp_path / "out", engine="ipex")


@pytest.mark.needs("ipex")
def test_quantization_for_all_leaves_ipex_out(
    monkeypatch: pytest.MonkeyPatch, tiny_cls_model: Path, tmp_path: Path, passages: list[str]
):
    monkeypatch.setenv(ALLOW_VARIABLE, "0")

    result = quantize(tiny_cls_model, tmp_path / "out", passages[:40], min_cosine=0)

    assert result.fidelity.keys() == set(ENGINES) - {"ipex"}
