"""QuantizedBiEncoderRetriever: the contract of Haystack 1's dense retrievers, on an int8 model."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
from haystack import Document, Pipeline
from haystack.document_stores import FAISSDocumentStore, InMemoryDocumentStore

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.nodes import QuantizedBiEncoderRetriever


@pytest.fixture(params=["memory", "faiss"])
def empty_store(request, tmp_path):
    if request.param == "memory":
        return InMemoryDocumentStore(embedding_dim=384, similarity="cosine", progress_bar=False)
    return FAISSDocumentStore(
        f"sqlite:///{tmp_path}/documents.db", embedding_dim=384, similarity="cosine", progress_bar=False
    )


def ids(documents):
    return [document.id for document in documents]


def assert_same_numbers(vectors, of_embedder):
    """Whatever the precision, Haystack's stores get float32: FAISS takes no other, and sums of bytes overflow."""
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, of_embedder.astype(np.float32))
    assert vectors.flags.owndata
    assert vectors.flags.writeable


class TestEmbedding:
    def test_a_vector_per_query(self, retriever):
        vectors = retriever.embed_queries(["a query", "another one"])

        assert vectors.shape == (2, 384)
        assert vectors.dtype == np.float32

    def test_a_bare_string_is_one_query(self, retriever):
        assert np.array_equal(retriever.embed_queries("a query"), retriever.embed_queries(["a query"]))

    def test_a_vector_per_document_in_input_order(self, retriever, documents):
        vectors = retriever.embed_documents(documents)

        assert vectors.shape == (len(documents), 384)
        assert vectors.dtype == np.float32
        alone = np.concatenate([retriever.embed_documents([document]) for document in documents])
        assert np.sum(vectors * alone, axis=1) == pytest.approx(1, abs=1e-3)

    def test_documents_come_in_tuples_too_as_stores_give_them(self, retriever, documents):
        assert retriever.embed_documents(tuple(documents)).shape == (len(documents), 384)

    def test_an_empty_list_gives_no_vectors(self, retriever):
        assert retriever.embed_documents([]).shape == (0, 384)
        assert retriever.embed_queries([]).shape == (0, 384)

    def test_vectors_are_owned_and_writable(self, retriever, documents):
        vectors = retriever.embed_documents(documents)

        assert vectors.flags.owndata
        assert vectors.flags.writeable

    @pytest.mark.parametrize("scale_score", [True, False])
    def test_scale_score_does_not_switch_normalisation_off(self, int8, documents, scale_score):
        retriever = QuantizedBiEncoderRetriever(int8, scale_score=scale_score, progress_bar=False)

        assert np.linalg.norm(retriever.embed_queries(["a query"]), axis=1) == pytest.approx(1, abs=1e-5)
        assert np.linalg.norm(retriever.embed_documents(documents), axis=1) == pytest.approx(1, abs=1e-5)

    def test_pooling_is_read_from_the_model_not_assumed(self, tiny_cls_model):
        def embed(pooling):
            return QuantizedBiEncoderRetriever(
                str(tiny_cls_model), pooling_strategy=pooling, engine="torch"
            ).embed_queries(["raise an exception"])

        assert np.array_equal(embed(None), embed("cls"))
        assert not np.allclose(embed(None), embed("mean"))

    @pytest.mark.parametrize(("haystack", "ours"), [("cls_token", "cls"), ("reduce_mean", "mean")])
    def test_haystacks_names_of_poolings_are_understood(self, tiny_cls_model, haystack, ours):
        first, second = (
            QuantizedBiEncoderRetriever(str(tiny_cls_model), pooling_strategy=name, engine="torch").embed_queries("a")
            for name in (haystack, ours)
        )

        assert np.array_equal(first, second)

    def test_an_unknown_pooling_is_refused_with_the_known_ones(self):
        with pytest.raises(InputError, match=r"max_pool.*cls, mean"):
            QuantizedBiEncoderRetriever("any", pooling_strategy="max_pool")

    def test_queries_get_the_query_prompt_and_documents_the_document_prompt(self, tiny_cls_model):
        plain = QuantizedBiEncoderRetriever(str(tiny_cls_model), engine="torch")
        prompted = QuantizedBiEncoderRetriever(
            str(tiny_cls_model), engine="torch", query_prompt="question: ", document_prompt="passage: "
        )

        assert np.array_equal(prompted.embed_queries(["pass"]), plain.embed_queries(["question: pass"]))
        assert np.array_equal(
            prompted.embed_documents([Document("pass")]), plain.embed_documents([Document("passage: pass")])
        )
        assert not np.allclose(prompted.embed_queries(["pass"]), prompted.embed_documents([Document("pass")]))

    def test_meta_fields_are_embedded_in_front_of_the_content(self, int8, retriever):
        with_meta = QuantizedBiEncoderRetriever(
            int8, embed_meta_fields=["title", "tags", "missing", "empty", "year"], progress_bar=False
        )
        meta = {"title": "Exceptions", "tags": ["errors", "flow"], "empty": "", "year": 1991, "unasked": "x"}

        vector = with_meta.embed_documents([Document("The raise statement.", meta=meta)])

        text = "Exceptions\nerrors\nflow\n1991\nThe raise statement."
        assert np.array_equal(vector, retriever.embed_documents([Document(text)]))
        assert not np.allclose(vector, retriever.embed_documents([Document("The raise statement.")]))

    def test_tables_are_embedded_as_csv(self, retriever):
        table = pd.DataFrame({"statement": ["raise", "for"], "since": [1991, 1991]})

        vector = retriever.embed_documents([Document(table, content_type="table")])

        assert np.array_equal(vector, retriever.embed_documents([Document("statement,since\nraise,1991\nfor,1991\n")]))

    def test_a_document_without_content_is_named(self, retriever, documents):
        documents[3].content = None

        with pytest.raises(InputError, match="Document lambda has content of type NoneType"):
            retriever.embed_documents(documents)

    @pytest.mark.parametrize("wrong", ["a text", None, [{"content": "a dictionary"}], ["a text"]])
    def test_anything_but_a_list_of_documents_is_refused(self, retriever, wrong):
        with pytest.raises(InputError, match="expects a list of Documents"):
            retriever.embed_documents(wrong)

    @pytest.mark.parametrize("wrong", [None, [None], 3, ["a query", 3]])
    def test_anything_but_strings_is_refused_as_a_query(self, retriever, wrong):
        with pytest.raises(InputError, match=r"expects a list of queries|not a string"):
            retriever.embed_queries(wrong)

    def test_the_engine_never_sees_more_than_a_batch(self, tiny_cls_model, documents, encoded):
        retriever = QuantizedBiEncoderRetriever(str(tiny_cls_model), engine="torch", batch_size=2, progress_bar=False)
        shapes = encoded(retriever)

        retriever.embed_documents(documents)
        retriever.embed_queries(["a query"] * 5)

        assert sum(rows for rows, _ in shapes) == len(documents) + 5
        assert max(rows for rows, _ in shapes) == 2

    def test_pad_to_max_pads_every_text_to_max_seq_len(self, tiny_cls_model, encoded):
        retriever = QuantizedBiEncoderRetriever(str(tiny_cls_model), engine="torch", max_seq_len=48, pad_to_max=True)
        shapes = encoded(retriever)

        retriever.embed_queries(["short"])

        assert shapes == [(1, 48)]

    def test_max_seq_len_cuts_texts(self, tiny_cls_model, encoded):
        retriever = QuantizedBiEncoderRetriever(str(tiny_cls_model), engine="torch", max_seq_len=8)
        shapes = encoded(retriever)

        retriever.embed_queries(["raise " * 40])

        assert shapes == [(1, 8)]

    @pytest.mark.parametrize(
        "form",
        [
            {"truncate_dim": 64},
            {"precision": "int8"},
            {"precision": "uint8"},
            {"precision": "binary"},
            {"precision": "ubinary", "truncate_dim": 60},
        ],
        ids=str,
    )
    def test_the_form_of_vectors_is_the_embedders(self, int8, documents, form):
        retriever = QuantizedBiEncoderRetriever(int8, progress_bar=False, **form)

        with QuantizedEmbedder(int8, **form) as embedder:
            assert_same_numbers(retriever.embed_queries(["a query"]), embedder.embed_queries(["a query"]))
            texts = [document.content for document in documents]
            assert_same_numbers(retriever.embed_documents(documents), embedder.embed_documents(texts))
            assert_same_numbers(retriever.embed_documents([]), embedder.embed_documents([]))

    def test_vectors_have_their_own_length_without_normalize(self, minilm, documents):
        # Of fp32 weights: the int8 ones of OpenVINO have the model's normalisation inside the graph.
        arguments = {"engine": "torch", "normalize": False}
        vectors = QuantizedBiEncoderRetriever(str(minilm), progress_bar=False, **arguments).embed_documents(documents)

        with QuantizedEmbedder(minilm, **arguments) as embedder:
            assert_same_numbers(vectors, embedder.embed_documents([document.content for document in documents]))
        assert (np.linalg.norm(vectors, axis=1) > 2).all()

    def test_the_progress_bar_counts_documents(self, int8, documents, capsys):
        retriever = QuantizedBiEncoderRetriever(int8, batch_size=2, progress_bar=True)

        retriever.embed_documents(documents * 3)

        assert f"{3 * len(documents)}/{3 * len(documents)} [" in capsys.readouterr().err

    def test_no_progress_bar_unless_wanted(self, retriever, documents, capsys):
        retriever.embed_documents(documents * 10)

        assert "Embedding" not in capsys.readouterr().err


class TestLoading:
    def test_the_constructor_loads_no_model(self):
        retriever = QuantizedBiEncoderRetriever("/no/such/model")

        with pytest.raises(ModelError):
            retriever.embed_queries(["a query"])

    def test_the_real_error_is_shown(self, store, tmp_path):
        missing = tmp_path / "no-such-model"
        retriever = QuantizedBiEncoderRetriever(str(missing), document_store=store)

        with pytest.raises(ModelError, match=str(missing)):
            retriever.retrieve("a query")

    def test_warm_up_loads_the_model_and_runs_its_shapes(self, tiny_cls_model, encoded):
        retriever = QuantizedBiEncoderRetriever(str(tiny_cls_model), engine="torch", max_seq_len=16)
        shapes = encoded(retriever)

        retriever.warm_up()

        assert {rows for rows, _ in shapes} == {1}
        assert max(length for _, length in shapes) == 16

    @pytest.mark.parametrize("top_k", [0, -1, "0", 2.5, "2.5", True])
    def test_the_constructor_refuses_a_top_k_that_returns_nothing(self, top_k):
        with pytest.raises(InputError, match="QuantizedBiEncoderRetriever: top_k must be a whole number"):
            QuantizedBiEncoderRetriever("any", top_k=top_k)

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            ("engine", "tpu"),
            ("max_seq_len", 0),
            ("threads", 0),
            ("query_prompt", 3),
            ("document_prompt", 3),
            ("dtype", "bf16"),
            ("truncate_dim", 0),
            ("precision", "float8"),
        ],
    )
    def test_the_constructor_refuses_what_no_model_could_satisfy(self, parameter, value):
        with pytest.raises(InputError):
            QuantizedBiEncoderRetriever("any", **{parameter: value})


class TestRetrieve:
    def test_the_obvious_document_comes_first_as_in_fp32(self, retriever, store, minilm, documents, queries):
        fp32 = QuantizedBiEncoderRetriever(str(minilm), engine="torch", progress_bar=False)
        fp32_store = InMemoryDocumentStore(embedding_dim=384, similarity="cosine", progress_bar=False)
        fp32_store.write_documents(deepcopy(documents))
        fp32_store.update_embeddings(fp32)

        for query, answer in queries.items():
            assert retriever.retrieve(query, top_k=1, document_store=store)[0].id == answer
            assert fp32.retrieve(query, top_k=1, document_store=fp32_store)[0].id == answer

    def test_update_embeddings_makes_a_store_searchable(self, empty_store, retriever, documents, queries):
        empty_store.write_documents(documents)
        empty_store.update_embeddings(retriever)

        found = {query: retriever.retrieve(query, document_store=empty_store)[0].id for query in queries}

        assert empty_store.get_embedding_count() == len(documents)
        assert found == queries

    def test_run_indexing_makes_a_store_searchable(self, empty_store, retriever, documents, queries):
        output, _ = retriever.run_indexing(documents)
        empty_store.write_documents(output["documents"])

        found = {query: retriever.retrieve(query, document_store=empty_store)[0].id for query in queries}

        assert found == queries

    def test_a_saved_faiss_store_finds_the_same(self, retriever, documents, tmp_path, queries):
        store = FAISSDocumentStore(
            f"sqlite:///{tmp_path}/documents.db", embedding_dim=384, similarity="cosine", progress_bar=False
        )
        store.write_documents(documents)
        store.update_embeddings(retriever)
        store.save(tmp_path / "documents.faiss")
        before = [retriever.retrieve(query, document_store=store) for query in queries]

        loaded = FAISSDocumentStore.load(tmp_path / "documents.faiss")

        after = [retriever.retrieve(query, document_store=loaded) for query in queries]
        assert list(map(ids, after)) == list(map(ids, before))

    def test_scores_are_plain_floats_that_json_can_write(self, empty_store, retriever, documents):
        empty_store.write_documents(documents)
        empty_store.update_embeddings(retriever)

        for scale_score in (True, False):
            found = retriever.retrieve("an exception", scale_score=scale_score, document_store=empty_store)
            [batch] = retriever.retrieve_batch(["an exception"], scale_score=scale_score, document_store=empty_store)

            scores = [document.score for document in [*found, *batch]]
            assert {type(score) for score in scores} == {float}
            assert json.loads(json.dumps(scores)) == scores

    def test_scale_score_maps_the_cosine_to_the_unit_interval(self, int8, store):
        by_call = QuantizedBiEncoderRetriever(int8, store)
        raw = by_call.retrieve("an exception", scale_score=False)
        scaled = by_call.retrieve("an exception", scale_score=True)
        by_default = QuantizedBiEncoderRetriever(int8, store, scale_score=False).retrieve("an exception")

        assert ids(raw) == ids(scaled) == ids(by_default)
        assert [document.score for document in by_default] == [document.score for document in raw]
        assert [document.score for document in scaled] == pytest.approx([(doc.score + 1) / 2 for doc in raw])
        assert min(document.score for document in raw) < 0.5

    def test_raw_scores_are_cosines(self, retriever, store, documents):
        found = retriever.retrieve("an exception", scale_score=False, document_store=store)

        cosines = retriever.embed_documents(documents) @ retriever.embed_queries("an exception")[0]
        expected = {document.id: cosine for document, cosine in zip(documents, cosines, strict=True)}
        assert {document.id: document.score for document in found} == pytest.approx(expected, abs=1e-5)

    def test_top_k_of_a_call_wins_over_the_nodes(self, int8, store):
        retriever = QuantizedBiEncoderRetriever(int8, store, top_k=3)

        assert len(retriever.retrieve("a query")) == 3
        assert len(retriever.retrieve("a query", top_k=5)) == 5
        assert [len(found) for found in retriever.retrieve_batch(["one", "two"], top_k=1)] == [1, 1]

    @pytest.mark.parametrize("top_k", [0, -1])
    def test_a_call_refuses_a_top_k_that_returns_nothing(self, retriever, store, top_k):
        with pytest.raises(InputError, match="top_k"):
            retriever.retrieve("a query", top_k=top_k, document_store=store)
        with pytest.raises(InputError, match="top_k"):
            retriever.retrieve_batch(["a query"], top_k=top_k, document_store=store)

    def test_filters_narrow_the_search(self, retriever, store):
        found = retriever.retrieve("an exception", filters={"kind": "short"}, document_store=store)

        assert {document.meta["kind"] for document in found} == {"short"}

    def test_an_index_of_the_store_is_searched(self, retriever, store):
        store.write_documents([Document("Only here.", id="elsewhere")], index="other")
        store.update_embeddings(retriever, index="other")

        assert ids(retriever.retrieve("a query", index="other", document_store=store)) == ["elsewhere"]
        assert ids(retriever.retrieve_batch(["a query"], index="other", document_store=store)[0]) == ["elsewhere"]
        assert "elsewhere" not in ids(retriever.retrieve("a query", document_store=store))

    def test_headers_reach_the_store(self, retriever, documents):
        class StoreWithHeaders(InMemoryDocumentStore):
            def query_by_embedding(self, query_emb, headers=None, **arguments):
                self.headers = headers
                return super().query_by_embedding(query_emb, **arguments)

        store = StoreWithHeaders(embedding_dim=384, similarity="cosine", progress_bar=False)
        store.write_documents(documents)
        store.update_embeddings(retriever)

        retriever.retrieve("a query", headers={"Authorization": "one"}, document_store=store)
        assert store.headers == {"Authorization": "one"}
        retriever.retrieve_batch(["a query"], headers={"Authorization": "many"}, document_store=store)
        assert store.headers == {"Authorization": "many"}

    def test_the_store_of_a_call_wins_over_the_nodes(self, int8, retriever, store):
        other = InMemoryDocumentStore(embedding_dim=384, similarity="cosine", progress_bar=False)
        other.write_documents([Document("Only here.", id="elsewhere")])
        other.update_embeddings(retriever)
        with_store = QuantizedBiEncoderRetriever(int8, document_store=store)

        assert ids(with_store.retrieve("a query", document_store=other)) == ["elsewhere"]
        assert ids(with_store.retrieve_batch(["a query"], document_store=other)[0]) == ["elsewhere"]
        assert "elsewhere" not in ids(with_store.retrieve("a query"))

    def test_without_a_store_it_says_where_to_pass_one(self, retriever):
        with pytest.raises(InputError, match="no document store: pass one"):
            retriever.retrieve("a query")
        with pytest.raises(InputError, match="no document store: pass one"):
            retriever.retrieve_batch(["a query"])

    def test_a_store_of_another_dimension_is_refused_before_embedding(self, int8, documents, encoded):
        store = InMemoryDocumentStore(embedding_dim=768, progress_bar=False)
        retriever = QuantizedBiEncoderRetriever(int8, store, progress_bar=False)
        shapes = encoded(retriever)

        for call in (
            lambda: retriever.retrieve("a query"),
            lambda: retriever.retrieve_batch(["a query"]),
            lambda: retriever.embed_documents(documents),
            lambda: retriever.run_indexing(documents),
        ):
            with pytest.raises(InputError, match=r"768.*384.*embedding_dim=384"):
                call()
        assert shapes == []

    @pytest.mark.parametrize(
        ("form", "numbers"),
        [
            ({"truncate_dim": 64}, 64),
            ({"precision": "int8"}, 384),
            ({"precision": "binary"}, 48),
            ({"precision": "ubinary", "truncate_dim": 60}, 8),
        ],
        ids=str,
    )
    def test_the_store_holds_as_many_numbers_as_a_vector_has(self, int8, documents, queries, form, numbers):
        retriever = QuantizedBiEncoderRetriever(int8, progress_bar=False, **form)
        store = InMemoryDocumentStore(embedding_dim=numbers, similarity="cosine", progress_bar=False)
        other = InMemoryDocumentStore(embedding_dim=numbers + 1, similarity="cosine", progress_bar=False)

        store.write_documents(retriever.run_indexing(documents)[0]["documents"])

        assert len(retriever.retrieve("an exception", document_store=store)) == len(documents)
        assert [len(found) for found in retriever.retrieve_batch(list(queries), document_store=store)] == [8] * 6
        with pytest.raises(
            InputError, match=rf"{numbers + 1} numbers.*vectors of {numbers}: .*embedding_dim={numbers}\."
        ):
            retriever.retrieve("an exception", document_store=other)

    @pytest.mark.parametrize("precision", ["int8", "uint8"])
    @pytest.mark.parametrize("similarity", ["cosine", "dot_product"])
    @pytest.mark.parametrize("kind", [InMemoryDocumentStore, FAISSDocumentStore])
    def test_vectors_of_bytes_find_what_others_find(
        self, int8, documents, queries, tmp_path, precision, similarity, kind
    ):
        database = {"sql_url": f"sqlite:///{tmp_path}/documents.db"} if kind is FAISSDocumentStore else {}
        store = kind(embedding_dim=384, similarity=similarity, progress_bar=False, **database)
        retriever = QuantizedBiEncoderRetriever(
            int8, store, precision=precision, scale_score=similarity == "cosine", progress_bar=False
        )
        store.write_documents(documents)
        store.update_embeddings(retriever)

        if (precision, similarity) != ("uint8", "dot_product"):  # products of numbers without sign favour large ones
            assert {query: retriever.retrieve(query)[0].id for query in queries} == queries
        vectors, query = retriever.embed_documents(documents), retriever.embed_queries("an exception")[0]
        products = vectors.astype(np.float64) @ query.astype(np.float64)
        if similarity == "cosine":
            products /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        found = retriever.retrieve("an exception", scale_score=False)
        assert ids(found) == [documents[index].id for index in np.argsort(-products)]
        assert [document.score for document in found] == pytest.approx(sorted(products, reverse=True), rel=1e-4)

    def test_dot_product_is_warned_of_once(self, retriever, documents, caplog):
        store = InMemoryDocumentStore(embedding_dim=384, similarity="dot_product", progress_bar=False)
        store.write_documents(documents)
        store.update_embeddings(retriever)

        with caplog.at_level(logging.WARNING, "fastrag_quant"):
            retriever.retrieve("a query", document_store=store)
            retriever.retrieve("a query", document_store=store)
            retriever.retrieve_batch(["a query"], document_store=store)

        assert [record.levelname for record in caplog.records if "dot_product" in record.message] == ["WARNING"]

    def test_dot_product_of_bytes_is_warned_of_too(self, int8, documents, caplog):
        store = InMemoryDocumentStore(embedding_dim=384, similarity="dot_product", progress_bar=False)
        retriever = QuantizedBiEncoderRetriever(int8, store, precision="int8", progress_bar=False)
        store.write_documents(retriever.run_indexing(documents)[0]["documents"])

        with caplog.at_level(logging.WARNING, "fastrag_quant"):
            found = [document for _ in range(2) for document in retriever.retrieve("a query")]

        assert {round(document.score, 9) for document in found} <= {0, 1}
        [warning] = [record.message for record in caplog.records if "dot_product" in record.message]
        assert "int8" in warning
        assert "similarity='cosine'" in warning

    def test_dot_product_of_vectors_of_any_length_is_not_warned_of(self, tiny_cls_model, documents, caplog):
        store = InMemoryDocumentStore(embedding_dim=32, similarity="dot_product", progress_bar=False)
        retriever = QuantizedBiEncoderRetriever(str(tiny_cls_model), store, engine="torch", progress_bar=False)
        store.write_documents(retriever.run_indexing(documents)[0]["documents"])

        with caplog.at_level(logging.WARNING, "fastrag_quant"):
            retriever.retrieve("a query")

        assert caplog.records == []

    def test_cosine_is_not_warned_of(self, retriever, store, caplog):
        with caplog.at_level(logging.WARNING, "fastrag_quant"):
            retriever.retrieve("a query", document_store=store)

        assert caplog.records == []

    @pytest.mark.parametrize("query", [None, 3, ["a list"]])
    def test_a_query_that_is_no_string_is_refused(self, retriever, store, query):
        with pytest.raises(InputError):
            retriever.retrieve(query, document_store=store)

    def test_two_threads_find_what_one_finds(self, int8, store, queries):
        retriever = QuantizedBiEncoderRetriever(int8, store)
        alone = {query: retriever.retrieve(query) for query in queries}
        together = Barrier(2)

        def retrieve_all(order):
            together.wait()
            return {query: retriever.retrieve(query) for query in order}

        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(retrieve_all, [list(queries), list(queries)[::-1]]))

        assert results == [alone, alone]


class TestRetrieveBatch:
    def test_it_finds_what_retrieve_finds(self, retriever, store, queries):
        batch = retriever.retrieve_batch(list(queries), document_store=store)

        alone = [retriever.retrieve(query, document_store=store) for query in queries]
        assert [found[0].id for found in batch] == [found[0].id for found in alone] == list(queries.values())
        for found, expected in zip(batch, alone, strict=True):
            scores = {document.id: document.score for document in expected}
            assert {document.id: document.score for document in found} == pytest.approx(scores, abs=0.01)

    def test_no_queries_find_nothing(self, retriever, store):
        assert retriever.retrieve_batch([], document_store=store) == []

    def test_one_filter_is_for_all_queries(self, retriever, store):
        batch = retriever.retrieve_batch(["one", "two"], filters={"kind": "short"}, document_store=store)

        assert [{document.meta["kind"] for document in found} for found in batch] == [{"short"}, {"short"}]

    def test_a_list_of_filters_has_one_for_each_query(self, retriever, store):
        filters = [{"kind": "short"}, None, {"kind": "long"}]

        batch = retriever.retrieve_batch(["one", "two", "three"], filters=filters, document_store=store)

        kinds = [{document.meta["kind"] for document in found} for found in batch]
        assert kinds == [{"short"}, {"short", "long"}, {"long"}]

    def test_batch_size_of_a_call_wins_over_the_nodes(self, tiny_cls_model, documents, encoded):
        store = InMemoryDocumentStore(embedding_dim=32, similarity="cosine", progress_bar=False)
        retriever = QuantizedBiEncoderRetriever(
            str(tiny_cls_model), store, engine="torch", batch_size=8, threads=1, progress_bar=False
        )
        store.write_documents(retriever.run_indexing(documents)[0]["documents"])
        shapes = encoded(retriever)

        retriever.retrieve_batch(["a query"] * 8)
        retriever.retrieve_batch(["a query"] * 8, batch_size=2)

        assert [rows for rows, _ in shapes] == [8, 2, 2, 2, 2]

    def test_it_prints_nothing(self, retriever, store, queries, capsys):
        retriever.retrieve_batch(list(queries), document_store=store)

        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("wrong", ["a query", None, 3])
    def test_anything_but_a_list_of_queries_is_refused(self, retriever, store, wrong):
        with pytest.raises(InputError, match="expects a list of queries"):
            retriever.retrieve_batch(wrong, document_store=store)


class TestIndexing:
    def test_documents_get_their_embeddings(self, retriever, documents):
        output, edge = retriever.run_indexing(documents)

        assert edge == "output_1"
        assert ids(output["documents"]) == ids(documents)
        vectors = [document.embedding for document in output["documents"]]
        assert np.array_equal(vectors, retriever.embed_documents(documents))

    def test_the_input_stays_as_it_is(self, retriever, documents):
        before = deepcopy(documents)

        output, _ = retriever.run_indexing(documents)
        for document in output["documents"]:
            document.meta["written"] = "later"

        assert documents == before
        assert [document.embedding for document in documents] == [None] * len(documents)

    def test_meta_fields_are_embedded_and_the_content_is_kept(self, int8):
        retriever = QuantizedBiEncoderRetriever(int8, embed_meta_fields=["title"], progress_bar=False)

        output, _ = retriever.run_indexing([Document("The raise statement.", meta={"title": "Exceptions"})])

        assert output["documents"][0].content == "The raise statement."

    def test_of_documents_with_one_id_the_first_is_indexed(self, retriever):
        twice = [Document("The first text.", id="same"), Document("The second text.", id="same")]

        output, _ = retriever.run_indexing(twice)

        assert [document.content for document in output["documents"]] == ["The first text."]

    def test_a_document_written_twice_is_found_once(self, empty_store, retriever, documents):
        for _ in range(2):
            empty_store.write_documents(retriever.run_indexing(documents + documents)[0]["documents"])

        found = retriever.retrieve("an exception", top_k=100, document_store=empty_store)

        assert sorted(ids(found)) == sorted(ids(documents))

    def test_no_documents_are_no_error(self, retriever):
        assert retriever.run_indexing([])[0] == {"documents": []}

    def test_both_roots_of_a_pipeline(self, int8, documents, queries):
        store = InMemoryDocumentStore(embedding_dim=384, similarity="cosine", progress_bar=False)
        retriever = QuantizedBiEncoderRetriever(int8, store, top_k=2, progress_bar=False)
        indexing, querying = Pipeline(), Pipeline()
        indexing.add_node(retriever, "Retriever", ["File"])
        indexing.add_node(store, "Store", ["Retriever"])
        querying.add_node(retriever, "Retriever", ["Query"])

        indexing.run(documents=documents)
        one = querying.run(query="How do I throw an exception?", params={"Retriever": {"top_k": 1}})
        many = querying.run_batch(queries=list(queries))

        assert ids(one["documents"]) == ["raise"]
        assert [found[0].id for found in many["documents"]] == list(queries.values())
        assert {len(found) for found in many["documents"]} == {2}


def test_every_parameter_is_kept_for_yaml(int8):
    given = {"embedding_model": int8, "batch_size": 4, "top_k": 7, "embed_meta_fields": ["title"], "query_prompt": ""}

    assert QuantizedBiEncoderRetriever(**given).get_params() == given


def test_a_path_is_taken_as_well_as_a_string(minilm_int8: Path, retriever):
    from_path = QuantizedBiEncoderRetriever(minilm_int8)

    assert np.array_equal(from_path.embed_queries("a query"), retriever.embed_queries("a query"))


@pytest.mark.parametrize("engine", ["torch", "ipex"])
def test_vectors_in_bf16_are_close_to_fp32_and_not_the_same(minilm, fp32_embedder, documents, engine):
    retriever = QuantizedBiEncoderRetriever(str(minilm), engine=engine, dtype="bfloat16", progress_bar=False)
    texts = [document.content for document in documents]

    vectors = np.concatenate([retriever.embed_documents(documents), retriever.embed_queries(texts)])

    fp32 = fp32_embedder.embed_documents(texts * 2)
    assert np.sum(vectors * fp32, axis=1).min() > 0.9999
    assert not np.allclose(vectors, fp32, atol=1e-5), "these are fp32 vectors under the name of bf16"
