"""QuantizedTextEmbedder and QuantizedDocumentEmbedder: the embedder's own vectors, in Haystack's shapes."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from haystack import Document

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.components import QuantizedDocumentEmbedder, QuantizedTextEmbedder
from fastrag_quant.errors import InputError, ModelError


@pytest.fixture
def reference(tiny_cls_model):
    """The embedder itself, on the tiny model."""
    return QuantizedEmbedder(tiny_cls_model, engine="torch")


class TestTextEmbedder:
    def test_the_vector_is_the_embedders(self, int8, embedder):
        text = "How do I throw an exception?"

        embedding = QuantizedTextEmbedder(int8).run(text)["embedding"]

        assert {type(number) for number in embedding} == {float}
        assert embedding == embedder.embed_queries([text])[0].tolist()

    def test_prefix_and_suffix_surround_the_text(self, tiny, reference):
        embedding = QuantizedTextEmbedder(**tiny, prefix="class ", suffix=" lambda").run("if")["embedding"]

        assert embedding == reference.embed_queries(["class if lambda"])[0].tolist()

    def test_the_models_own_query_prompt_is_used_unless_a_prefix_is_given(self, tiny, tiny_cls_model, reference):
        (tiny_cls_model / "config_sentence_transformers.json").write_text('{"prompts": {"query": "class "}}')

        def embed(**prefix):
            return QuantizedTextEmbedder(**tiny, **prefix).run("if")["embedding"]

        assert embed() == reference.embed_documents(["class if"])[0].tolist()
        assert embed(prefix="") == reference.embed_documents(["if"])[0].tolist()
        assert embed(prefix="for ") == reference.embed_documents(["for if"])[0].tolist()

    def test_a_long_text_is_cut(self, tiny):
        embedder = QuantizedTextEmbedder(**tiny, max_seq_len=8)

        assert embedder.run("if " * 100) == embedder.run("if " * 50)

    def test_normalize_embeddings(self, tiny):
        plain = np.asarray(QuantizedTextEmbedder(**tiny).run("if")["embedding"])
        normalized = np.asarray(QuantizedTextEmbedder(**tiny, normalize_embeddings=True).run("if")["embedding"])

        assert np.linalg.norm(plain) > 2
        assert normalized == pytest.approx(plain / np.linalg.norm(plain), abs=1e-6)

    def test_pooling(self, tiny, tiny_cls_model):
        with QuantizedEmbedder(tiny_cls_model, "torch", "mean") as mean:
            expected = mean.embed_queries(["if"])[0].tolist()

        assert QuantizedTextEmbedder(**tiny, pooling="mean").run("if")["embedding"] == expected

    @pytest.mark.parametrize("wrong", [None, 3, ["a text"], [Document(content="a text")], Document(content="a text")])
    def test_anything_but_a_string_is_refused(self, wrong):
        embedder = QuantizedTextEmbedder("/no/such/model")

        with pytest.raises(TypeError, match=r"QuantizedTextEmbedder expects a string.*use QuantizedDocumentEmbedder"):
            embedder.run(wrong)


class TestDocumentEmbedder:
    def test_the_vectors_are_the_embedders(self, int8, embedder, documents):
        embedded = QuantizedDocumentEmbedder(int8).run(documents)["documents"]

        expected = embedder.embed_documents([document.content for document in documents])
        assert [document.id for document in embedded] == [document.id for document in documents]
        assert [document.embedding for document in embedded] == expected.tolist()

    def test_an_embedding_is_a_list_of_floats(self, tiny, documents):
        [embedded] = QuantizedDocumentEmbedder(**tiny).run(documents[:1])["documents"]

        assert type(embedded.embedding) is list
        assert {type(number) for number in embedded.embedding} == {float}

    def test_the_documents_it_is_given_stay_as_they_are(self, tiny, documents):
        before = deepcopy(documents)

        for document in QuantizedDocumentEmbedder(**tiny).run(documents)["documents"]:
            document.meta["written"] = "later"

        assert documents == before

    def test_content_meta_and_score_are_kept(self, tiny):
        document = Document(id="one", content="A text.", meta={"name": "first"}, score=0.5)

        [embedded] = QuantizedDocumentEmbedder(**tiny).run([document])["documents"]

        assert (embedded.id, embedded.content, embedded.meta, embedded.score) == (
            "one",
            "A text.",
            {"name": "first"},
            0.5,
        )

    def test_meta_fields_stand_in_front_of_the_content(self, tiny, reference):
        embedder = QuantizedDocumentEmbedder(
            **tiny, meta_fields_to_embed=["title", "missing", "null", "year"], embedding_separator=" | "
        )
        document = Document(content="if", meta={"title": "class", "null": None, "year": 0, "other": "x"})

        [embedded] = embedder.run([document])["documents"]

        assert embedded.embedding == reference.embed_documents(["class | 0 | if"])[0].tolist()
        assert embedded.content == "if"

    def test_prefix_and_suffix_surround_meta_and_content(self, tiny, reference):
        embedder = QuantizedDocumentEmbedder(**tiny, prefix="for ", suffix=" in", meta_fields_to_embed=["title"])

        [embedded] = embedder.run([Document(content="if", meta={"title": "class"})])["documents"]

        assert embedded.embedding == reference.embed_documents(["for class\nif in"])[0].tolist()

    def test_the_models_own_document_prompt_is_used_unless_a_prefix_is_given(self, tiny, tiny_cls_model, reference):
        (tiny_cls_model / "config_sentence_transformers.json").write_text('{"prompts": {"document": "class "}}')

        def embed(**prefix):
            [embedded] = QuantizedDocumentEmbedder(**tiny, **prefix).run([Document(content="if")])["documents"]
            return embedded.embedding

        assert embed() == reference.embed_queries(["class if"])[0].tolist()
        assert embed(prefix="") == reference.embed_queries(["if"])[0].tolist()

    def test_the_engine_never_sees_more_than_a_batch(self, tiny, documents, encoded):
        embedder = QuantizedDocumentEmbedder(**tiny, batch_size=2)
        shapes = encoded(embedder)

        embedder.run(documents)

        assert sum(rows for rows, _ in shapes) == len(documents)
        assert max(rows for rows, _ in shapes) <= 2

    @pytest.mark.parametrize(("batch_size", "progress_bar", "shown"), [(2, True, 1), (2, False, 0), (32, True, 0)])
    def test_the_progress_bar_is_for_several_batches(self, tiny, documents, capsys, batch_size, progress_bar, shown):
        embedder = QuantizedDocumentEmbedder(**tiny, batch_size=batch_size, progress_bar=progress_bar)
        embedder.warm_up()
        capsys.readouterr()

        embedder.run(documents)

        assert capsys.readouterr().err.count(f"{len(documents)}/{len(documents)} [") == shown

    def test_no_documents_give_none(self, tiny):
        assert QuantizedDocumentEmbedder(**tiny).run([]) == {"documents": []}

    @pytest.mark.parametrize(
        "wrong", [None, "a text", ["a text"], [Document(content="one"), "two"], Document(content="one")]
    )
    def test_anything_but_a_list_of_documents_is_refused(self, wrong):
        embedder = QuantizedDocumentEmbedder("/no/such/model")

        with pytest.raises(TypeError, match=r"QuantizedDocumentEmbedder expects a list of Documents.*QuantizedText"):
            embedder.run(wrong)

    def test_a_document_without_text_is_named(self, tiny):
        embedder = QuantizedDocumentEmbedder(**tiny, meta_fields_to_embed=["title"])

        with pytest.raises(InputError, match="Document empty has no text"):
            embedder.run([Document(content="one"), Document(id="empty", meta={"other": "x"})])

    def test_meta_alone_is_text_enough(self, tiny, reference):
        embedder = QuantizedDocumentEmbedder(**tiny, meta_fields_to_embed=["title"])

        [embedded] = embedder.run([Document(meta={"title": "class"})])["documents"]

        assert embedded.embedding == reference.embed_documents(["class\n"])[0].tolist()


@pytest.mark.parametrize("embedder", [QuantizedTextEmbedder, QuantizedDocumentEmbedder])
def test_the_constructor_loads_no_model_and_warm_up_shows_the_real_error(embedder, tmp_path):
    missing = embedder(str(tmp_path / "no-such-model"))

    with pytest.raises(ModelError, match=str(tmp_path / "no-such-model")):
        missing.warm_up()


def test_documents_and_a_query_in_bf16_are_close_to_fp32_and_not_the_same(minilm, fp32_embedder, statements):
    bf16 = {"model": str(minilm), "engine": "torch", "dtype": "bfloat16"}
    texts = list(statements.values())

    documents = QuantizedDocumentEmbedder(**bf16).run([Document(content=text) for text in texts])["documents"]
    query = QuantizedTextEmbedder(**bf16).run(texts[0])["embedding"]

    vectors = np.array([*(document.embedding for document in documents), query])
    fp32 = fp32_embedder.embed_documents([*texts, texts[0]])
    assert np.sum(vectors * fp32, axis=1).min() > 0.9999
    assert not np.allclose(vectors, fp32, atol=1e-5), "these are fp32 vectors under the name of bf16"
