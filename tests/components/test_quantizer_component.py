"""EmbedderQuantizer as a component: calibration documents in, a model directory out."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
from haystack import Document

from fastrag_quant import load_pipeline
from fastrag_quant.components import EmbedderQuantizer, QuantizedTextEmbedder
from fastrag_quant.errors import CalibrationError, OutputExistsError

QUANTIZE_YAML = Path(__file__).parents[2] / "pipelines" / "haystack2" / "quantize.yaml"


@pytest.fixture
def quantizer(tiny_model, tmp_path):
    return EmbedderQuantizer(str(tiny_model), str(tmp_path / "int8"), pooling="mean", progress_bar=False)


@pytest.fixture
def calibration(passages):
    return [Document(content=passage, meta={"title": f"Passage {number}"}) for number, passage in enumerate(passages)]


def test_it_writes_a_directory_that_the_components_load(quantizer, calibration, tmp_path):
    before = deepcopy(calibration[:40])

    output = quantizer.run(calibration[:40])

    assert output["model"] == str(tmp_path / "int8")
    assert calibration[:40] == before
    assert len(QuantizedTextEmbedder(output["model"]).run("a text")["embedding"]) == 32


def test_the_fidelity_of_each_engine_is_put_out_and_written_to_the_manifest(quantizer, calibration, tmp_path):
    output = quantizer.run(calibration[:40])

    manifest = json.loads((tmp_path / "int8" / "fastrag_quant.json").read_text())
    assert output["fidelity"] == {name: record["fidelity"] for name, record in manifest["engines"].items()}
    assert min(fidelity["cosine_mean"] for fidelity in output["fidelity"].values()) > 0.98


def test_prefixes_become_the_directorys_prompts_and_meta_fields_are_calibrated_on(tiny_model, tmp_path):
    # Only their titles make these documents different.
    same = [Document(content="The same text.", meta={"title": f"Title {number}"}) for number in range(24)]
    quantizer = EmbedderQuantizer(
        tiny_model,
        tmp_path / "int8",
        pooling="mean",
        query_prefix="query: ",
        document_prefix="passage: ",
        meta_fields_to_embed=["title"],
        progress_bar=False,
    )

    quantizer.run(same)

    settings = json.loads((tmp_path / "int8" / "fastrag_quant.json").read_text())["settings"]
    assert (settings["query_prompt"], settings["document_prompt"]) == ("query: ", "passage: ")


def test_too_few_documents(quantizer, calibration, tmp_path):
    with pytest.raises(CalibrationError, match=r"5 different texts.*at least 20"):
        quantizer.run(calibration[:5])
    assert list(tmp_path.iterdir()) == []


def test_an_output_directory_that_exists(quantizer, calibration, tmp_path):
    (tmp_path / "int8").mkdir()

    with pytest.raises(OutputExistsError, match=str(tmp_path / "int8")):
        quantizer.run(calibration[:40])


@pytest.mark.parametrize("wrong", [None, "a text", ["a text"]])
def test_anything_but_documents_is_refused(quantizer, wrong):
    with pytest.raises(TypeError, match="EmbedderQuantizer expects a list of Documents"):
        quantizer.run(wrong)


def test_quantize_yaml_calibrates_on_the_passages_of_files(tiny_cls_model, passages, tmp_path, monkeypatch):
    (tmp_path / "words.txt").write_text(" ".join(passages[:60]))
    (tmp_path / "mine.yaml").write_text(
        QUANTIZE_YAML.read_text().replace("BAAI/bge-small-en-v1.5", str(tiny_cls_model))
    )
    monkeypatch.chdir(tmp_path)

    output = load_pipeline("mine.yaml").run({"sources": ["words.txt"]})["quantizer"]

    assert output["model"] == str(tmp_path / "models" / "embedder-int8")
    assert (tmp_path / "models" / "embedder-int8" / "fastrag_quant.json").is_file()
