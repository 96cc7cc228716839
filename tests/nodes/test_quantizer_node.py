"""EmbedderQuantizer: quantization inside an indexing pipeline, on the pipeline's own documents."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from haystack import Document, Pipeline

from fastrag_quant import EmbedderQuantizer, QuantizedEmbedder
from fastrag_quant.errors import CalibrationError, InputError, OutputExistsError

QUANTIZE_YAML = Path(__file__).parents[2] / "pipelines" / "haystack1" / "quantize.yaml"


@pytest.fixture(scope="module")
def files(passages, tmp_path_factory):
    """Two text files of some thousand words."""
    folder = tmp_path_factory.mktemp("files")
    texts = {"first.txt": passages[:40], "second.txt": passages[40:80]}
    for name, parts in texts.items():
        (folder / name).write_text("\n\n".join(parts))
    return [folder / name for name in texts]


@pytest.fixture(scope="module")
def quantized(tiny_model, files, tmp_path_factory):
    """What quantize.yaml gives for the tiny model, and the directory it wrote."""
    folder = tmp_path_factory.mktemp("quantized")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QUANTIZER_PARAMS_MODEL_NAME_OR_PATH", str(tiny_model))
        patch.setenv("QUANTIZER_PARAMS_OUTPUT_PATH", str(folder / "int8"))
        patch.setenv("QUANTIZER_PARAMS_POOLING", "mean")
        output = Pipeline.load_from_yaml(QUANTIZE_YAML).run(file_paths=files)
        assert [path.name for path in folder.iterdir()] == ["int8"]  # and nothing else is left behind
    return output, folder / "int8"


def different_documents(count=24):
    return [Document(f"Statement {number} of the language is about {number} things.") for number in range(count)]


class TestInAPipeline:
    def test_it_writes_a_directory_that_an_embedder_loads(self, quantized):
        _, directory = quantized

        with QuantizedEmbedder(directory) as embedder:
            vectors = embedder.embed_documents(["a text", "another"])

        assert vectors.shape == (2, 32)
        assert embedder.settings.pooling == "mean"

    def test_the_vectors_are_those_of_the_fp32_model(self, quantized, tiny_model, passages):
        _, directory = quantized
        with (
            QuantizedEmbedder(directory) as int8,
            QuantizedEmbedder(tiny_model, engine="torch", pooling="mean") as fp32,
        ):
            cosines = np.sum(int8.embed_documents(passages[:10]) * fp32.embed_documents(passages[:10]), axis=1)

        assert cosines.min() > 0.99

    def test_the_documents_are_passed_on(self, quantized, files):
        output, _ = quantized

        words = " ".join(path.read_text() for path in files).split()
        assert " ".join(document.content for document in output["documents"]).split() == words

    def test_the_fidelity_is_passed_on_and_written_to_the_manifest(self, quantized):
        output, directory = quantized
        manifest = json.loads((directory / "fastrag_quant.json").read_text())

        assert output["fidelity"]["ipex"]["cosine_mean"] > 0.98
        assert manifest["engines"]["ipex"]["fidelity"] == output["fidelity"]["ipex"]

    def test_it_calibrated_on_the_documents_as_the_manifest_says(self, quantized):
        output, directory = quantized
        calibration = json.loads((directory / "fastrag_quant.json").read_text())["calibration"]

        assert calibration["source"] == "texts"
        assert 20 <= calibration["texts"] < len(output["documents"])


class TestRunBatch:
    def test_lists_of_documents_are_calibration_texts_together(self, tiny_model, tmp_path, capsys):
        # Only their titles make these documents different, and embed_meta_fields puts these into the text.
        documents = [Document("The same text.", id=str(n), meta={"title": f"Title {n}"}) for n in range(24)]
        lists = [documents[:12], documents[12:]]
        before = deepcopy(lists)
        quantizer = EmbedderQuantizer(
            str(tiny_model), str(tmp_path / "int8"), pooling="mean", embed_meta_fields=["title"], progress_bar=False
        )

        output, edge = quantizer.run_batch(lists)

        assert edge == "output_1"
        assert output["documents"] is lists
        assert lists == before
        assert (tmp_path / "int8" / "fastrag_quant.json").is_file()
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("wrong", [None, "a text", [["a text"]], Document("one")])
    def test_anything_but_documents_is_refused(self, tmp_path, wrong):
        with pytest.raises(InputError, match="EmbedderQuantizer expects a list of Documents"):
            EmbedderQuantizer("any", str(tmp_path / "int8")).run_batch(wrong)


class TestErrors:
    def test_too_few_documents(self, tiny_model, tmp_path):
        quantizer = EmbedderQuantizer(str(tiny_model), str(tmp_path / "int8"), pooling="mean")

        with pytest.raises(CalibrationError, match=r"5 different texts.*at least 20"):
            quantizer.run(different_documents(5))
        assert list(tmp_path.iterdir()) == []

    def test_repeated_documents_count_once(self, tiny_model, tmp_path):
        quantizer = EmbedderQuantizer(str(tiny_model), str(tmp_path / "int8"), pooling="mean")

        with pytest.raises(CalibrationError, match="1 different texts"):
            quantizer.run([Document("The same text.", id=str(number)) for number in range(30)])

    def test_an_output_directory_that_exists(self, tiny_model, tmp_path):
        (tmp_path / "int8").mkdir()
        (tmp_path / "int8" / "precious").write_text("data")
        quantizer = EmbedderQuantizer(str(tiny_model), str(tmp_path / "int8"), pooling="mean")

        with pytest.raises(OutputExistsError, match=str(tmp_path / "int8")):
            quantizer.run(different_documents())
        assert (tmp_path / "int8" / "precious").read_text() == "data"

    @pytest.mark.parametrize("wrong", [None, "a text", ["a text"]])
    def test_anything_but_documents_is_refused(self, tmp_path, wrong):
        with pytest.raises(InputError, match="EmbedderQuantizer"):
            EmbedderQuantizer("any", str(tmp_path / "int8")).run(wrong)

    def test_a_document_without_content_is_named(self, tmp_path):
        documents = different_documents()
        documents[7].content = None

        with pytest.raises(InputError, match=documents[7].id):
            EmbedderQuantizer("any", str(tmp_path / "int8")).run(documents)

    def test_the_constructor_touches_neither_model_nor_output(self, tmp_path):
        EmbedderQuantizer("/no/such/model", str(tmp_path / "int8"))

        assert list(tmp_path.iterdir()) == []
