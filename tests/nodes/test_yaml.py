"""The nodes in Haystack 1's YAML: every parameter, every file of pipelines/haystack1, in fresh processes too."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import haystack
import pytest
from haystack import Pipeline
from haystack.document_stores import InMemoryDocumentStore
from haystack.errors import PipelineConfigError, PipelineError

from fastrag_quant import load_pipeline
from fastrag_quant.errors import InputError
from fastrag_quant.nodes import EmbedderQuantizer, QuantizedBiEncoderRanker, QuantizedBiEncoderRetriever

PIPELINES = Path(__file__).parents[2] / "pipelines" / "haystack1"

# A value for every parameter, none of them the default.
EMBEDDER_VALUES = {
    "max_seq_len": 128,
    "query_prompt": "query: ",
    "document_prompt": "passage: ",
    "pad_to_max": True,
    "engine": "torch",
    "threads": 1,
    "pin_threads": True,
    "dtype": "bfloat16",
    "normalize": False,
    "truncate_dim": 64,
    "allow_torchscript": False,
    "model_version": "main",
    "use_auth_token": "hf_x",
    "local_files_only": True,
}
VALUES = {
    QuantizedBiEncoderRetriever: {
        "embedding_model": "models/any",
        "document_store": "Store",
        "batch_size": 8,
        "pooling_strategy": "cls_token",
        "top_k": 3,
        "progress_bar": False,
        "scale_score": False,
        "embed_meta_fields": ["title"],
        "precision": "int8",
        **EMBEDDER_VALUES,
    },
    QuantizedBiEncoderRanker: {
        "model_name_or_path": "models/any",
        "top_k": 3,
        "batch_size": 8,
        "scale_score": False,
        "pooling": "cls",
        "progress_bar": False,
        "embed_meta_fields": ["title"],
        "score_threshold": 0.25,
        "use_stored_embeddings": True,
        **EMBEDDER_VALUES,
    },
    EmbedderQuantizer: {
        "model_name_or_path": "models/any",
        "output_path": "models/any-int8",
        "sample_size": 50,
        "engine": "openvino",
        "min_cosine": 0.9,
        "pooling": "mean",
        "max_seq_len": 128,
        "query_prompt": "query: ",
        "document_prompt": "passage: ",
        "seed": 7,
        "overwrite": True,
        "progress_bar": False,
        "embed_meta_fields": ["title"],
        "model_version": "main",
        "use_auth_token": "hf_x",
        "local_files_only": True,
    },
}
NODES = list(VALUES)


def signature(node):
    return inspect.signature(node).parameters


def required(node):
    return {
        name: VALUES[node][name] for name, parameter in signature(node).items() if parameter.default is parameter.empty
    }


def takes_null(node):
    hints = get_type_hints(node.__init__)
    return [name for name in signature(node) if type(None) in getattr(hints[name], "__args__", ())]


def config(node, parameters):
    """A pipeline of one node, with a store where it needs one."""
    components = [{"name": "Node", "type": node.__name__, "params": parameters}]
    if parameters.get("document_store"):
        components.append({"name": "Store", "type": "InMemoryDocumentStore", "params": {"embedding_dim": 384}})
    root = "File" if node is EmbedderQuantizer else "Query"
    return {
        "version": haystack.__version__,
        "components": components,
        "pipelines": [{"name": "one", "nodes": [{"name": "Node", "inputs": [root]}]}],
    }


def load(node, parameters):
    return Pipeline.load_from_config(config(node, parameters)).get_node("Node")


class TestParameters:
    @pytest.mark.parametrize("node", NODES)
    def test_each_has_a_value_here_that_is_not_its_default(self, node):
        assert set(VALUES[node]) == set(signature(node))
        assert all(VALUES[node][name] != parameter.default for name, parameter in signature(node).items())

    @pytest.mark.parametrize(("node", "name"), [(node, name) for node in NODES for name in VALUES[node]])
    def test_each_can_be_given_as_a_value(self, node, name):
        loaded = load(node, {**required(node), name: VALUES[node][name]})

        value = loaded.get_params(return_defaults=True)[name]
        assert isinstance(value, InMemoryDocumentStore) if name == "document_store" else value == VALUES[node][name]

    @pytest.mark.parametrize(("node", "name"), [(node, name) for node in NODES for name in takes_null(node)])
    def test_each_optional_one_can_be_null(self, node, name):
        loaded = load(node, {**required(node), name: None})

        assert loaded.get_params(return_defaults=True)[name] is None

    @pytest.mark.parametrize(
        ("node", "name"), [(node, name) for node in NODES for name in VALUES[node] if name not in takes_null(node)]
    )
    def test_each_other_one_refuses_null(self, node, name):
        with pytest.raises(PipelineError):
            load(node, {**required(node), name: None})

    @pytest.mark.parametrize("node", NODES)
    def test_no_token_shows_in_a_repr(self, node):
        loaded = load(node, VALUES[node])

        held = loaded._arguments if node is EmbedderQuantizer else vars(loaded._shared.config)
        assert held["token"] == "hf_x"
        assert "hf_x" not in repr(loaded)
        if node is not EmbedderQuantizer:
            assert "hf_x" not in repr(loaded._shared) + repr(loaded._shared.config)

    @pytest.mark.parametrize("node", NODES)
    def test_all_whose_default_is_null_are_optional(self, node):
        null = {name for name, parameter in signature(node).items() if parameter.default is None}

        assert null <= set(takes_null(node))

    @pytest.mark.parametrize("node", NODES)
    @pytest.mark.parametrize("value", [True, False])
    def test_the_token_can_be_a_flag(self, node, value):
        assert load(node, {**required(node), "use_auth_token": value}).get_params()["use_auth_token"] is value

    @pytest.mark.parametrize("node", NODES)
    def test_an_unknown_one_is_refused(self, node):
        with pytest.raises(PipelineError):
            load(node, {**required(node), "quantise": True})

    @pytest.mark.parametrize(("name", "value"), [("top_k", 0), ("pooling_strategy", "max"), ("engine", "tpu")])
    def test_a_value_that_no_model_could_satisfy_is_refused_at_once(self, name, value):
        with pytest.raises(PipelineConfigError) as error:
            load(QuantizedBiEncoderRetriever, {"embedding_model": "models/any", name: value})
        assert isinstance(error.value.__cause__, InputError)

    @pytest.mark.parametrize("node", NODES)
    @pytest.mark.parametrize("return_defaults", [True, False])
    def test_none_is_lost_on_the_way_to_a_file_and_back(self, node, return_defaults, tmp_path):
        saved = Pipeline.load_from_config(config(node, VALUES[node]))
        saved.save_to_yaml(tmp_path / "saved.yaml", return_defaults=return_defaults)

        loaded = Pipeline.load_from_yaml(tmp_path / "saved.yaml")

        assert loaded.get_config(return_defaults=True) == saved.get_config(return_defaults=True)
        parameters = next(part["params"] for part in loaded.get_config()["components"] if part["type"] == node.__name__)
        assert parameters == VALUES[node]


class TestSharing:
    def test_a_retriever_and_a_ranker_of_the_same_arguments_share_a_model(self, tiny_cls_model):
        model = str(tiny_cls_model)
        retriever = QuantizedBiEncoderRetriever(model, engine="torch", query_prompt="query: ", top_k=50)
        ranker = QuantizedBiEncoderRanker(model, engine="torch", query_prompt="query: ", score_threshold=0.5)

        assert retriever._shared.embedder is ranker._shared.embedder

    def test_other_arguments_have_a_model_of_their_own(self, tiny_cls_model):
        model = str(tiny_cls_model)
        retriever = QuantizedBiEncoderRetriever(model, engine="torch")
        ranker = QuantizedBiEncoderRanker(model, engine="torch", pooling="mean")

        assert retriever._shared.embedder is not ranker._shared.embedder


class TestFiles:
    @pytest.fixture(scope="class")
    def index(self, int8, passages, tmp_path_factory):
        """A folder with the index that indexing.yaml makes of two files, given twice."""
        folder = tmp_path_factory.mktemp("index")
        (folder / "index").mkdir()
        texts = {"first": "\n\n".join(passages[:20]), "second": "The raise statement throws an exception. " * 3}
        for name, text in texts.items():
            (folder / name).write_text(text)
        files = [folder / name for name in ("first", "second", "second", "first")]  # each of them twice
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("RETRIEVER_PARAMS_EMBEDDING_MODEL", int8)
            pipeline = Pipeline.load_from_yaml(PIPELINES / "indexing.yaml")
            pipeline.run(file_paths=files, meta=[{"file": path.name} for path in files])
            pipeline.get_document_store().save("index/passages.faiss")
        return folder

    @pytest.fixture
    def models(self, int8, monkeypatch):
        monkeypatch.setenv("RETRIEVER_PARAMS_EMBEDDING_MODEL", int8)
        monkeypatch.setenv("RANKER_PARAMS_MODEL_NAME_OR_PATH", int8)

    def test_there_are_five(self):
        names = {path.stem for path in PIPELINES.glob("*.yaml")}

        assert names == {"quantize", "indexing", "query", "rerank", "latency"}

    @pytest.mark.parametrize("name", ["quantize", "indexing", "rerank", "latency"])
    def test_haystack_loads_them_unchanged(self, name, tmp_path, monkeypatch):
        (tmp_path / "index").mkdir()
        monkeypatch.chdir(tmp_path)

        pipeline = Pipeline.load_from_yaml(PIPELINES / f"{name}.yaml", strict_version_check=True)

        assert any(type(part).__module__.startswith("fastrag_quant.nodes") for part in pipeline.components.values())

    def test_haystack_loads_the_one_that_reads_an_index_unchanged(self, index, monkeypatch):
        monkeypatch.chdir(index)

        pipeline = Pipeline.load_from_yaml(PIPELINES / "query.yaml", strict_version_check=True)

        assert pipeline.get_document_store().get_embedding_count() > 10
        assert list(pipeline.graph.nodes) == ["Query", "Retriever", "Ranker"]

    def test_an_indexed_passage_answers_a_question(self, index, models, monkeypatch):
        monkeypatch.chdir(index)
        pipeline = load_pipeline(PIPELINES / "query.yaml")

        found = pipeline.run(query="What throws an exception?", params={"Ranker": {"top_k": 3}})["documents"]

        assert len(found) == 3
        assert found[0].meta["file"] == "second"
        assert found[0].score > found[1].score >= found[2].score
        assert type(found[0].score) is float

    def test_query_yaml_ranks_by_stored_embeddings(self, index, models, monkeypatch, encoded):
        monkeypatch.chdir(index)
        pipeline = load_pipeline(PIPELINES / "query.yaml")
        shapes = encoded(pipeline.get_node("Ranker"))

        pipeline.run(query="What throws an exception?")

        assert [rows for rows, _ in shapes] == [1, 1]  # the query, for the retriever and for the ranker

    def test_a_passage_that_comes_twice_is_indexed_once(self, index, monkeypatch):
        monkeypatch.chdir(index)
        store = load_pipeline(PIPELINES / "query.yaml").get_document_store()

        contents = [document.content for document in store.get_all_documents()]

        assert len(contents) == len(set(contents)) == store.get_embedding_count()

    def test_rerank_yaml_ranks_what_bm25_finds(self, int8, documents, monkeypatch):
        monkeypatch.setenv("RANKER_PARAMS_MODEL_NAME_OR_PATH", int8)
        pipeline = load_pipeline(PIPELINES / "rerank.yaml")
        pipeline.get_document_store().write_documents(documents)

        found = pipeline.run(query="an exception happened", params={"Ranker": {"top_k": 2}})["documents"]

        assert found[0].id == "raise"
        assert len(found) == 2

    def test_a_fresh_process_loads_rerank_yaml(self, tmp_path):
        program = (
            "import sys, fastrag_quant\n"
            "pipeline = fastrag_quant.load_pipeline(sys.argv[1])\n"
            "print(type(pipeline.get_node('Ranker')).__name__)\n"
        )

        result = subprocess.run(
            [sys.executable, "-c", program, PIPELINES / "rerank.yaml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

        assert result.returncode == 0, result.stderr
        assert result.stdout.strip() == "QuantizedBiEncoderRanker"
        assert list(tmp_path.iterdir()) == []

    def test_load_pipeline_of_a_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=f"no pipeline file {tmp_path / 'missing.yaml'}"):
            load_pipeline(tmp_path / "missing.yaml")

    def test_load_pipeline_picks_one_of_several(self, tmp_path):
        both = config(QuantizedBiEncoderRanker, {"model_name_or_path": "models/any"})
        both["components"].append(
            {"name": "Other", "type": "QuantizedBiEncoderRanker", "params": {"model_name_or_path": "models/other"}}
        )
        both["pipelines"].append({"name": "two", "nodes": [{"name": "Other", "inputs": ["Query"]}]})
        (tmp_path / "both.yaml").write_text(str(both).replace("'", '"'))

        assert list(load_pipeline(str(tmp_path / "both.yaml"), "two").components) == ["Other"]
