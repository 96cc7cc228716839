"""verify() says what int8 weights are worth as quantize() does, for any model, and writes nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import company
import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder, verify
from fastrag_quant.errors import CalibrationError, InputError, MissingExtraError, ModelError
from fastrag_quant.host import extras
from fastrag_quant.model.manifest import MANIFEST_NAME, Manifest
from fastrag_quant.model.source import ModelSource
from fastrag_quant.quantization.calibration import load_calibration
from fastrag_quant.quantization.fidelity import Fidelity

if TYPE_CHECKING:
    from tests.quantization.conftest import Run


@pytest.fixture
def held_out(passages: list[str]) -> list[str]:
    """The texts that the run held back."""
    return load_calibration(passages, 20, seed=3).held_out


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Path:
    """The model of the run, to be changed."""
    return Path(shutil.copytree(run.directory, tmp_path / "tiny-int8"))


def contents(directory: Path) -> dict[str, tuple[int, str]]:
    """Return when each file and directory was changed last, and the hash of what is in it."""
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [directory, *directory.rglob("*")]
    }


# What is measured


def test_a_fidelity_for_every_engine_of_the_model(run: Run, tiny_model: Path, passages: list[str]):
    found = verify(run.directory, passages, fp32=tiny_model)

    assert set(found) == set(run.result.manifest.engines)
    for fidelity in found.values():
        assert isinstance(fidelity, Fidelity)
        assert fidelity.texts == len(set(passages))
        assert 0.9 < fidelity.cosine_mean < 1


def test_on_the_same_texts_it_measures_what_quantization_did(
    run: Run, tiny_model: Path, held_out: list[str], engine: str
):
    found = verify(run.directory, held_out, fp32=tiny_model)[engine]

    recorded = run.result.fidelity[engine]
    assert found.texts == recorded.texts == len(held_out)
    for name in ("cosine_mean", "cosine_p1", "cosine_min"):
        assert getattr(found, name) == pytest.approx(getattr(recorded, name), abs=1e-6), name
        assert getattr(found, name) == pytest.approx(run.result.manifest.engines[engine].fidelity[name], abs=1e-5)
    for name in ("neighbour_overlap", "mixed_overlap"):
        assert getattr(found, name) == pytest.approx(getattr(recorded, name), abs=0.02), name
    for name in ("batch_cosine_min", "batch_difference_max"):
        assert getattr(found, name) == pytest.approx(getattr(recorded, name), abs=1e-5), name


def test_of_a_real_model_it_measures_the_same_too(
    minilm_int8: Path, minilm: Path, passages: list[str], some_engine: str
):
    held_out = load_calibration(passages, 40, seed=42).held_out

    found = verify(minilm_int8, held_out, fp32=minilm)[some_engine].as_dict()

    manifest = Manifest.read(minilm_int8)
    assert manifest is not None
    recorded = manifest.engines[some_engine].fidelity
    assert {name for name, value in found.items() if value is None} == set()
    # In other batches, a few int8 vectors differ by what another kernel rounds differently.
    assert found == pytest.approx(recorded, abs=0.02)
    assert found["cosine_mean"] == pytest.approx(manifest.engines[some_engine].fidelity["cosine_mean"], abs=1e-3)


def test_the_fp32_model_is_run_with_the_settings_of_the_int8_one(
    minilm_int8: Path, minilm: Path, passages: list[str], tmp_path: Path
):
    directory = Path(shutil.copytree(minilm_int8, tmp_path / "minilm-int8"))
    content = json.loads((directory / MANIFEST_NAME).read_text())
    content["settings"] |= {"max_seq_len": 12, "document_prompt": "An essay on squirrels: "}
    (directory / MANIFEST_NAME).write_text(json.dumps(content))

    found = verify(directory, passages, fp32=minilm, sample_size=20)

    assert all(fidelity.cosine_mean > 0.97 for fidelity in found.values()), "vectors of other texts are at 0.3"


def test_the_sample_is_no_larger_than_asked_for_and_hangs_on_the_seed(
    minilm_int8: Path, minilm: Path, passages: list[str]
):
    def measured(seed: int) -> dict[str, Fidelity]:
        return verify(minilm_int8, passages, fp32=minilm, sample_size=20, seed=seed)

    one, again, other = measured(1), measured(1), measured(2)

    assert {fidelity.texts for fidelity in one.values()} == {20}
    for name, fidelity in one.items():
        assert fidelity.as_dict() == pytest.approx(again[name].as_dict(), abs=1e-5)
        assert fidelity.as_dict() != pytest.approx(other[name].as_dict(), abs=1e-4)


def test_an_fp32_model_that_is_another_one_shows(run: Run, model_of: Callable[..., Path], passages: list[str]):
    other = model_of("bert", initializer_range=0.3)

    found = verify(run.directory, passages, fp32=other)

    assert all(fidelity.cosine_mean < 0.9 for fidelity in found.values())


def test_texts_may_come_from_a_file(run: Run, tiny_model: Path, passages: list[str], tmp_path: Path):
    (tmp_path / "texts.txt").write_text("\n".join(passages[:30]))

    found = verify(run.directory, tmp_path / "texts.txt", fp32=tiny_model)

    assert {fidelity.texts for fidelity in found.values()} == {30}


@pytest.mark.needs("ipex")
def test_a_published_model_without_a_manifest_is_verified_too(copied: Path, tiny_model: Path, passages: list[str]):
    (copied / MANIFEST_NAME).unlink()

    found = verify(copied, passages, fp32=tiny_model, pooling="cls")

    assert set(found) == {"ipex"}
    assert found["ipex"].cosine_mean > 0.9
    with pytest.raises(ModelError, match="pass pooling='cls' or pooling='mean'"):
        verify(copied, passages, fp32=tiny_model)


def test_queries_are_embedded_as_queries_and_documents_as_documents(
    run: Run, tiny_model: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, int]] = []
    embed_queries, embed_documents = QuantizedEmbedder.embed_queries, QuantizedEmbedder.embed_documents

    def queries(embedder: QuantizedEmbedder, texts: list[str]) -> np.ndarray:
        asked.append((f"{embedder.engine} queries", len(texts)))
        return embed_queries(embedder, texts)

    def documents(embedder: QuantizedEmbedder, texts: list[str]) -> np.ndarray:
        asked.append((f"{embedder.engine} documents", len(texts)))
        return embed_documents(embedder, texts)

    monkeypatch.setattr(QuantizedEmbedder, "embed_queries", queries)
    monkeypatch.setattr(QuantizedEmbedder, "embed_documents", documents)

    verify(run.directory, passages, fp32=tiny_model, sample_size=50)

    for name in ("torch", *run.result.manifest.engines):
        assert (f"{name} documents", 50) in asked, name
        assert (f"{name} queries", 50) in asked, "the model has a query prompt"
    for name in run.result.manifest.engines:
        assert asked.count((f"{name} documents", 1)) == 50, "and every text alone, to see what company does to it"


def test_of_few_texts_it_says_nothing_about_neighbours(run: Run, tiny_model: Path, passages: list[str]):
    found = verify(run.directory, passages, fp32=tiny_model, sample_size=20)

    assert {(fidelity.neighbour_overlap, fidelity.mixed_overlap) for fidelity in found.values()} == {(None, None)}


def test_a_real_models_vectors_hang_on_their_company_no_more_than_the_readme_says(minilm_int8: Path, engine: str):
    smallest, largest = company.bounds(engine)
    manifest = Manifest.read(minilm_int8)
    assert manifest is not None
    measured = manifest.engines[engine].fidelity
    assert smallest <= measured["batch_cosine_min"] <= 1
    assert 0 <= measured["batch_difference_max"] <= largest


# What is left alone


def test_nothing_is_written(
    run: Run, tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    before = contents(run.directory), contents(tiny_model)

    verify(run.directory, passages, fp32=tiny_model)

    assert (contents(run.directory), contents(tiny_model)) == before
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_may_only_be_read_is_verified(copied: Path, tiny_model: Path, passages: list[str]):
    for path in [*copied.rglob("*"), copied]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert verify(copied, passages, fp32=tiny_model)
    finally:
        for path in [copied, *copied.rglob("*")]:
            path.chmod(0o755)


def test_cut_texts_are_not_warned_of_and_later_ones_are_as_before(
    run: Run, tiny_model: Path, passages: list[str], caplog: pytest.LogCaptureFixture
):
    logger = logging.getLogger("fastrag_quant.embedder")
    before = logger.level

    verify(run.directory, passages, fp32=tiny_model)

    assert [record for record in caplog.records if "were cut" in record.getMessage()] == []
    assert logger.level == before


def test_the_process_keeps_its_threads_and_affinity(run: Run, tiny_model: Path, passages: list[str]):
    import torch

    before = torch.get_num_threads(), os.sched_getaffinity(0)

    verify(run.directory, passages, fp32=tiny_model)

    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == before


# Engines that cannot run here


def test_engines_that_are_not_installed_are_left_out(
    run: Run, tiny_model: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, "ipex", ("a-package-that-nobody-has",))

    assert set(verify(run.directory, passages, fp32=tiny_model)) == {"native", "openvino"}


def test_with_none_installed_the_first_says_what_to_install(
    copied: Path, tiny_model: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    content = json.loads((copied / MANIFEST_NAME).read_text())
    del content["engines"]["native"]
    (copied / MANIFEST_NAME).write_text(json.dumps(content))
    for name in ("ipex", "openvino"):
        monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, name, ("a-package-that-nobody-has",))

    with pytest.raises(MissingExtraError, match=r"pip install 'fastrag-quant\[openvino\]'"):
        verify(copied, passages, fp32=tiny_model)


# Errors


def test_an_fp32_model_is_refused(tiny_cls_model: Path, passages: list[str]):
    with pytest.raises(ModelError, match=f"{tiny_cls_model} is not an int8 model: pass a directory that fastrag_quant"):
        verify(tiny_cls_model, passages)


def test_a_model_that_does_not_say_where_it_comes_from_is_refused_with_what_to_pass(run: Run, passages: list[str]):
    with pytest.raises(InputError, match="does not say which hub model it was made from: pass fp32"):
        verify(run.directory, passages)


def test_the_hub_model_of_the_manifest_is_asked_for(
    copied: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    content = json.loads((copied / MANIFEST_NAME).read_text())
    content["source"]["model"] = "no-one/has-this"
    (copied / MANIFEST_NAME).write_text(json.dumps(content))

    with pytest.raises(ModelError, match="no-one/has-this"):
        verify(copied, passages, local_files_only=True)


def test_an_int8_model_in_place_of_the_fp32_one_is_refused(run: Run, passages: list[str]):
    with pytest.raises(ModelError, match=r"is an int8 model, .* and holds no fp32 weights"):
        verify(run.directory, passages, fp32=run.directory)


def test_an_fp32_model_of_another_dimension_is_refused(run: Run, model_of: Callable[..., Path], passages: list[str]):
    other = model_of("distilbert", dim=16)

    with pytest.raises(InputError, match=f"{other} has 16 dimensions and .*tiny-int8 32: pass the fp32 model"):
        verify(run.directory, passages, fp32=other)


@pytest.mark.parametrize("texts", [[], ["one text"], "missing.txt", [None] * 30], ids=str)
def test_texts_that_cannot_be_used_are_refused(run: Run, tiny_model: Path, texts: Any):
    with pytest.raises(CalibrationError):
        verify(run.directory, texts, fp32=tiny_model)


@pytest.mark.parametrize("sample_size", [0, -1, 1.5, "20", True, None])
def test_a_sample_size_that_is_not_positive_is_refused(run: Run, tiny_model: Path, sample_size: Any):
    with pytest.raises(InputError, match="sample_size must be a whole number of at least 1"):
        verify(run.directory, [], fp32=tiny_model, sample_size=sample_size)


def test_a_missing_model_is_named(tiny_model: Path, passages: list[str]):
    with pytest.raises(ModelError, match="/no/such/model"):
        verify("/no/such/model", passages, fp32=tiny_model)


def test_a_damaged_model_is_named(copied: Path, tiny_model: Path, passages: list[str]):
    manifest = Manifest.read(copied)
    assert manifest is not None
    for record in manifest.engines.values():
        for name in record.files:
            (copied / name).write_bytes(b"")

    with pytest.raises(ModelError, match=f"{copied} is damaged"):
        verify(copied, passages, fp32=tiny_model)


# The revision


def test_the_fp32_model_is_of_the_revision_that_was_quantized(
    copied: Path, tiny_model: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    asked: list[ModelSource] = []

    def download(source: ModelSource, _: tuple[str, ...]) -> Path:
        asked.append(source)
        return tiny_model

    monkeypatch.setattr(ModelSource, "_download", download)
    manifest = json.loads((copied / MANIFEST_NAME).read_text())
    manifest["source"] = {"model": "org/fp32", "revision": "v1.5"}
    (copied / MANIFEST_NAME).write_text(json.dumps(manifest))

    with pytest.raises(ModelError, match="cannot load the fp32 weights of org/fp32"):  # which transformers asks for
        verify(copied, passages[:30], token="hf_x", local_files_only=True)

    assert set(asked) == {ModelSource("org/fp32", "v1.5", "hf_x", local_files_only=True)}
