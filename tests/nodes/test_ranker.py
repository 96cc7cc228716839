"""QuantizedBiEncoderRanker: cosine ranking in every shape that Haystack 1's rankers accept."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import pytest
from haystack import Document, Pipeline

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.nodes import QuantizedBiEncoderRanker, QuantizedBiEncoderRetriever
from fastrag_quant.nodes.documents import texts_of
from fastrag_quant.vectors.ranking import Ranking

QUERY = "How do I throw an exception?"


@pytest.fixture
def ranker(int8):
    return QuantizedBiEncoderRanker(int8, progress_bar=False)


@pytest.fixture
def pipeline(ranker):
    pipeline = Pipeline()
    pipeline.add_node(ranker, "Ranker", ["Query"])
    return pipeline


def retrieve_and_rank(model, store):
    pipeline = Pipeline()
    pipeline.add_node(QuantizedBiEncoderRetriever(model, store, top_k=5), "Retriever", ["Query"])
    pipeline.add_node(QuantizedBiEncoderRanker(model, top_k=2), "Ranker", ["Retriever"])
    return pipeline


def ids(documents):
    return [document.id for document in documents]


def scores(documents):
    return [document.score for document in documents]


class TestPredict:
    def test_the_obvious_document_comes_first(self, ranker, documents, queries):
        for query, answer in queries.items():
            assert ranker.predict(query, documents)[0].id == answer

    def test_documents_are_ordered_by_their_cosine_to_the_query(self, int8, documents, retriever):
        ranked = QuantizedBiEncoderRanker(int8, scale_score=False).predict(QUERY, documents)

        cosines = retriever.embed_documents(documents) @ retriever.embed_queries(QUERY)[0]
        order = np.argsort(-cosines)
        assert ids(ranked) == [documents[index].id for index in order]
        assert scores(ranked) == pytest.approx(cosines[order].tolist(), abs=1e-4)

    @pytest.mark.parametrize("scale_score", [True, False])
    def test_order_and_scores_are_those_of_ranking(self, int8, documents, queries, retriever, scale_score):
        stored = retriever.run_indexing(documents[:3])[0]["documents"]
        twice = [*stored, *documents[3:], *documents[:5]]
        ranker = QuantizedBiEncoderRanker(
            int8, top_k=6, scale_score=scale_score, score_threshold=0.1, use_stored_embeddings=True, progress_bar=False
        )

        ranked = ranker.predict_batch(list(queries), [twice] * len(queries))

        texts = partial(texts_of, embed_meta_fields=None)
        ranking = Ranking(texts, 6, scale_score, 0.1, True, 32, False)
        expected = ranking.rank(QuantizedEmbedder(int8), list(queries), [twice] * len(queries))
        assert [list(zip(ids(part), scores(part), strict=True)) for part in ranked] == [
            [(document.id, score) for document, score in part] for part in expected
        ]
        assert {len(part) for part in ranked} <= set(range(1, 7))

    def test_scale_score_maps_the_cosine_to_the_unit_interval(self, int8, documents):
        cosines = QuantizedBiEncoderRanker(int8, scale_score=False).predict(QUERY, documents)
        scaled = QuantizedBiEncoderRanker(int8, scale_score=True).predict(QUERY, documents)

        assert ids(scaled) == ids(cosines)
        assert scores(scaled) == pytest.approx([(score + 1) / 2 for score in scores(cosines)])

    @pytest.mark.parametrize("scale_score", [True, False])
    def test_scale_score_does_not_switch_normalisation_off(self, tiny_cls_model, documents, scale_score):
        ranker = QuantizedBiEncoderRanker(str(tiny_cls_model), engine="torch", pooling="mean", scale_score=scale_score)

        ranked = ranker.predict(QUERY, documents)

        with QuantizedEmbedder(tiny_cls_model, engine="torch", pooling="mean") as embedder:
            vectors = embedder.embed_documents([document.content for document in ranked])
            query = embedder.embed_queries([QUERY])[0]
        lengths = np.linalg.norm(vectors, axis=1)
        assert (lengths > 2).all()  # this model's own vectors are not normalised
        cosines = vectors @ query / lengths / np.linalg.norm(query)
        assert scores(ranked) == pytest.approx((cosines + 1) / 2 if scale_score else cosines, abs=1e-5)

    def test_the_cosine_of_a_text_to_itself_is_not_above_one(self, int8, documents):
        ranker = QuantizedBiEncoderRanker(int8, scale_score=False, progress_bar=False)

        for document in documents:
            assert 0.999 < ranker.predict(document.content, [document])[0].score <= 1

    def test_scores_are_plain_floats_that_json_can_write(self, ranker, documents):
        ranked = scores(ranker.predict(QUERY, documents))

        assert {type(score) for score in ranked} == {float}
        assert json.loads(json.dumps(ranked)) == ranked

    def test_the_input_stays_as_it_is(self, ranker, documents):
        documents[0].score = 0.25
        documents[0].embedding = np.ones(384, dtype=np.float32)
        before = deepcopy(documents)

        for document in ranker.predict(QUERY, documents):
            document.meta["written"] = "later"

        assert documents == before

    def test_results_keep_content_meta_and_embedding(self, ranker):
        embedding = np.arange(3.0)
        document = Document("A text.", id="one", meta={"name": "first"}, embedding=embedding)

        [ranked] = ranker.predict(QUERY, [document])

        assert (ranked.id, ranked.content, ranked.meta) == ("one", "A text.", {"name": "first"})
        assert np.array_equal(ranked.embedding, embedding)

    def test_no_documents_give_none(self, ranker):
        assert ranker.predict(QUERY, []) == []

    def test_top_k_of_a_call_wins_over_the_nodes(self, int8, documents):
        ranker = QuantizedBiEncoderRanker(int8, top_k=3, progress_bar=False)

        assert len(ranker.predict(QUERY, documents)) == 3
        assert len(ranker.predict(QUERY, documents, top_k=5)) == 5
        assert len(ranker.predict(QUERY, documents, top_k=100)) == len(documents)

    @pytest.mark.parametrize("top_k", [0, -1, 1.5])
    def test_a_top_k_that_returns_nothing_is_refused(self, ranker, documents, top_k):
        with pytest.raises(InputError, match="QuantizedBiEncoderRanker: top_k must be"):
            ranker.predict(QUERY, documents, top_k=top_k)
        with pytest.raises(InputError, match="QuantizedBiEncoderRanker: top_k must be"):
            QuantizedBiEncoderRanker("any", top_k=top_k)

    @pytest.mark.parametrize("scale_score", [True, False])
    def test_score_threshold_drops_documents_below_it(self, int8, documents, scale_score):
        everything = QuantizedBiEncoderRanker(int8, scale_score=scale_score).predict(QUERY, documents)
        third = everything[2].score

        above = QuantizedBiEncoderRanker(int8, scale_score=scale_score, score_threshold=third)

        assert ids(above.predict(QUERY, documents)) == ids(everything)[:3]

    def test_a_score_threshold_of_zero_is_one(self, int8, documents, retriever):
        documents[0].embedding = -retriever.embed_queries(QUERY)[0]
        ranker = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True, scale_score=False, score_threshold=0)

        kept = ranker.predict(QUERY, documents)

        assert documents[0].id not in ids(kept)
        assert min(scores(kept)) >= 0

    def test_score_threshold_can_drop_all(self, int8, documents):
        assert QuantizedBiEncoderRanker(int8, score_threshold=0.999).predict(QUERY, documents) == []

    def test_documents_with_one_id_appear_once(self, ranker, documents):
        ranked = ranker.predict(QUERY, [*documents, *deepcopy(documents)])

        assert sorted(ids(ranked)) == sorted(ids(documents))

    def test_of_documents_with_one_id_the_first_is_ranked(self, ranker):
        twice = [Document("The first.", id="same"), Document("The second.", id="same")]

        assert [document.content for document in ranker.predict(QUERY, twice)] == ["The first."]

    def test_ties_keep_the_order_of_the_input(self, ranker):
        # Short lists would hide a sort that is not stable.
        equal = [Document(f"The {('same', 'other')[number % 2]} text.", id=str(number)) for number in range(60)]

        ranked = ids(ranker.predict(QUERY, equal, top_k=60))

        evens_and_odds = [[str(number) for number in range(start, 60, 2)] for start in (0, 1)]
        assert [ranked[:30], ranked[30:]] in (evens_and_odds, evens_and_odds[::-1])

    def test_one_text_under_two_ids_is_embedded_once(self, ranker, encoded):
        shapes = encoded(ranker)

        ranked = ranker.predict("a query", [Document("The same text.", id=name) for name in "abcdef"])

        assert sorted(ids(ranked)) == list("abcdef")
        assert [rows for rows, _ in shapes] == [1, 1]  # the text and the query

    def test_the_engine_never_sees_more_than_a_batch(self, tiny_cls_model, documents, encoded):
        ranker = QuantizedBiEncoderRanker(str(tiny_cls_model), engine="torch", batch_size=2, progress_bar=False)
        shapes = encoded(ranker)

        ranker.predict(QUERY, documents)

        assert sum(rows for rows, _ in shapes) == len(documents) + 1
        assert max(rows for rows, _ in shapes) == 2

    def test_the_progress_bar_counts_the_texts_that_are_embedded(self, int8, documents, capsys):
        ranker = QuantizedBiEncoderRanker(int8, batch_size=2, progress_bar=True)
        again = [Document(document.content, id=f"{document.id} again") for document in documents]

        ranker.predict(QUERY, documents + again)

        assert f"{len(documents)}/{len(documents)} [" in capsys.readouterr().err

    def test_it_prints_nothing(self, ranker, documents, capsys):
        ranker.predict(QUERY, documents)

        assert capsys.readouterr() == ("", "")

    def test_tables_are_ranked_as_csv(self, ranker):
        table = pd.DataFrame({"statement": ["raise"], "meaning": ["throws an exception"]})
        as_text = Document("statement,meaning\nraise,throws an exception\n", id="text")

        ranked = ranker.predict(QUERY, [Document(table, content_type="table", id="table"), as_text])

        assert ids(ranked) == ["table", "text"]
        assert ranked[0].score == ranked[1].score

    def test_a_document_without_content_is_named(self, ranker, documents):
        documents[3].content = None

        with pytest.raises(InputError, match="Document lambda has content of type NoneType"):
            ranker.predict(QUERY, documents)

    @pytest.mark.parametrize("wrong", [None, "a text", ["a text"], [{"content": "a text"}]])
    def test_anything_but_a_list_of_documents_is_refused(self, ranker, wrong):
        with pytest.raises(InputError, match="QuantizedBiEncoderRanker expects a list of Documents"):
            ranker.predict(QUERY, wrong)

    @pytest.mark.parametrize("wrong", [None, 3, ["a list"]])
    def test_a_query_that_is_no_string_is_refused(self, ranker, documents, wrong):
        with pytest.raises(InputError, match="not a string"):
            ranker.predict(wrong, documents)


class TestModelParameters:
    def test_the_constructor_loads_no_model_and_the_real_error_is_shown(self, documents, tmp_path):
        missing = tmp_path / "no-such-model"
        ranker = QuantizedBiEncoderRanker(str(missing))

        with pytest.raises(ModelError, match=str(missing)):
            ranker.predict(QUERY, documents)

    def test_pooling_is_read_from_the_model_and_the_argument_is_honoured(self, tiny_cls_model, documents):
        def rank(pooling):
            ranker = QuantizedBiEncoderRanker(str(tiny_cls_model), pooling=pooling, engine="torch", scale_score=False)
            return {document.id: document.score for document in ranker.predict(QUERY, documents)}

        assert rank(None) == rank("cls")
        assert rank(None) != pytest.approx(rank("mean"), abs=1e-3)

    def test_an_unknown_pooling_is_refused(self):
        with pytest.raises(InputError, match="max_pool"):
            QuantizedBiEncoderRanker("any", pooling="max_pool")

    def test_the_query_gets_the_query_prompt_and_documents_the_document_prompt(self, tiny_cls_model, documents):
        model = {"model_name_or_path": str(tiny_cls_model), "engine": "torch", "pooling": "mean"}
        plain = QuantizedBiEncoderRanker(**model)
        prompted = QuantizedBiEncoderRanker(**model, query_prompt="question: ", document_prompt="passage: ")
        by_hand = [Document(f"passage: {document.content}", id=document.id) for document in documents]

        ranked = prompted.predict(QUERY, documents)

        expected = plain.predict(f"question: {QUERY}", by_hand)
        assert list(zip(ids(ranked), scores(ranked), strict=True)) == list(
            zip(ids(expected), scores(expected), strict=True)
        )
        assert scores(ranked) != scores(plain.predict(f"passage: {QUERY}", by_hand))

    def test_meta_fields_are_embedded_in_front_of_the_content(self, int8, ranker):
        with_meta = QuantizedBiEncoderRanker(
            int8, embed_meta_fields=["title", "tags", "missing", "empty"], progress_bar=False
        )
        meta = {"title": "Exceptions", "tags": ["errors", "flow"], "empty": None}

        [ranked] = with_meta.predict(QUERY, [Document("A statement.", meta=meta)])

        assert ranked.content == "A statement."
        by_hand = Document("Exceptions\nerrors\nflow\nA statement.")
        assert ranked.score == ranker.predict(QUERY, [by_hand])[0].score
        assert ranked.score != ranker.predict(QUERY, [Document("A statement.")])[0].score

    @pytest.mark.parametrize("normalize", [None, True, False])
    def test_scores_are_cosines_whatever_normalize_says(self, tiny_cls_model, documents, normalize):
        def rank(normalize):
            ranker = QuantizedBiEncoderRanker(
                str(tiny_cls_model), engine="torch", normalize=normalize, scale_score=False, progress_bar=False
            )
            return {document.id: document.score for document in ranker.predict(QUERY, documents)}

        assert rank(normalize) == pytest.approx(rank(None), abs=1e-5)

    def test_truncate_dim_ranks_by_the_first_dimensions(self, int8, documents, retriever):
        ranker = QuantizedBiEncoderRanker(int8, truncate_dim=64, scale_score=False, progress_bar=False)

        ranked = ranker.predict(QUERY, documents)

        vectors = [retriever.embed_queries(QUERY)[0, :64], *retriever.embed_documents(documents)[:, :64]]
        query, *cut = [vector / np.linalg.norm(vector) for vector in vectors]
        expected = {document.id: vector @ query for document, vector in zip(documents, cut, strict=True)}
        assert dict(zip(ids(ranked), scores(ranked), strict=True)) == pytest.approx(expected, abs=1e-3)

    @pytest.mark.parametrize(
        ("parameter", "value"), [("dtype", "bf16"), ("truncate_dim", 0), ("engine", "tpu"), ("threads", 0)]
    )
    def test_the_constructor_refuses_what_no_model_could_satisfy(self, parameter, value):
        with pytest.raises(InputError):
            QuantizedBiEncoderRanker("any", **{parameter: value})

    def test_warm_up_loads_the_model(self, tiny_cls_model, encoded):
        ranker = QuantizedBiEncoderRanker(str(tiny_cls_model), engine="torch", max_seq_len=16)
        shapes = encoded(ranker)

        ranker.warm_up()

        assert max(length for _, length in shapes) == 16

    def test_every_parameter_is_kept_for_yaml(self, int8):
        given = {"model_name_or_path": int8, "top_k": 7, "score_threshold": 0.5, "embed_meta_fields": ["title"]}

        assert QuantizedBiEncoderRanker(**given).get_params() == given


class TestStoredEmbeddings:
    @pytest.fixture
    def misleading(self, documents, retriever):
        """Documents whose first carries the query's own vector, which its text does not earn."""
        documents = [document for document in documents if document.id != "raise"]
        documents[-1].embedding = retriever.embed_queries(QUERY)[0]
        return documents

    def test_they_take_the_place_of_the_text(self, int8, misleading):
        ranker = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True, progress_bar=False)

        best = ranker.predict(QUERY, misleading)[0]

        assert best.id == misleading[-1].id
        assert best.score == pytest.approx(1, abs=1e-5)

    def test_they_are_not_used_unless_wanted(self, ranker, misleading):
        assert ranker.predict(QUERY, misleading)[0].score < 0.9

    def test_documents_that_carry_one_are_not_embedded_again(self, int8, documents, retriever, encoded):
        embedded = retriever.run_indexing(documents)[0]["documents"]
        ranker = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True, progress_bar=False)
        expected = QuantizedBiEncoderRanker(int8, progress_bar=False).predict(QUERY, documents)
        shapes = encoded(ranker)

        ranked = ranker.predict(QUERY, embedded)

        assert [rows for rows, _ in shapes] == [1]  # the query alone
        assert ids(ranked) == ids(expected)
        assert scores(ranked) == pytest.approx(scores(expected), abs=1e-4)

    def test_those_without_one_are_embedded(self, int8, documents, retriever, encoded):
        embedded = retriever.run_indexing(documents)[0]["documents"]
        mixed = [*embedded[:5], *documents[5:]]
        ranker = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True, progress_bar=False)
        shapes = encoded(ranker)

        ranked = ranker.predict(QUERY, mixed)

        assert sum(rows for rows, _ in shapes) == len(documents) - 5 + 1
        assert sorted(ids(ranked)) == sorted(ids(documents))

    @pytest.mark.parametrize("shape", [(768,), (1, 384), (0,)])
    def test_one_of_another_dimension_is_not_used(self, int8, ranker, documents, shape):
        for document in documents:
            document.embedding = np.ones(shape, dtype=np.float32)
        stored = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True, progress_bar=False)

        assert scores(stored.predict(QUERY, documents)) == scores(ranker.predict(QUERY, documents))

    def test_one_of_any_length_gives_a_cosine(self, int8, documents, retriever):
        embedded = retriever.run_indexing(documents)[0]["documents"]
        long = deepcopy(embedded)
        for document in long:
            document.embedding = document.embedding * 7
        ranker = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True, progress_bar=False)

        assert scores(ranker.predict(QUERY, long)) == pytest.approx(scores(ranker.predict(QUERY, embedded)), abs=1e-6)


class TestPredictBatch:
    def test_one_query_and_one_list(self, ranker, documents):
        ranked = ranker.predict_batch([QUERY], documents)

        assert ranked == ranker.predict(QUERY, documents)

    def test_a_bare_string_is_one_query(self, ranker, documents):
        assert ranker.predict_batch(QUERY, documents) == ranker.predict(QUERY, documents)

    def test_one_query_and_several_lists(self, ranker, documents):
        ranked = ranker.predict_batch([QUERY], [documents[:4], documents[4:]])

        assert [sorted(ids(part)) for part in ranked] == [sorted(ids(documents[:4])), sorted(ids(documents[4:]))]
        assert ranked[0][0].id == "raise"

    def test_a_list_for_each_query(self, ranker, documents, queries):
        ranked = ranker.predict_batch(list(queries), [documents] * len(queries))

        assert [part[0].id for part in ranked] == list(queries.values())

    def test_lists_of_different_lengths_possibly_empty(self, ranker, documents):
        ranked = ranker.predict_batch(["one", "two", "three"], [documents[:3], [], documents[:1]])

        assert [len(part) for part in ranked] == [3, 0, 1]

    def test_nothing_but_empty_lists(self, ranker):
        assert ranker.predict_batch(["one", "two"], [[], []]) == [[], []]
        assert ranker.predict_batch(["one"], []) == []
        assert ranker.predict_batch([], []) == []

    def test_a_document_in_several_lists_is_embedded_once_and_ranked_in_each(self, ranker, documents, encoded):
        shapes = encoded(ranker)

        ranked = ranker.predict_batch(["one", "two"], [documents, documents])

        assert [sorted(ids(part)) for part in ranked] == [sorted(ids(documents))] * 2
        assert sum(rows for rows, _ in shapes) == len(documents) + 2

    def test_top_k_is_for_each_list(self, ranker, documents):
        ranked = ranker.predict_batch(["one", "two"], [documents, documents], top_k=2)

        assert [len(part) for part in ranked] == [2, 2]

    def test_batch_size_of_a_call_wins_over_the_nodes(self, tiny_cls_model, documents, encoded):
        ranker = QuantizedBiEncoderRanker(str(tiny_cls_model), engine="torch", batch_size=2, progress_bar=False)
        shapes = encoded(ranker)

        ranker.predict_batch([QUERY], documents, batch_size=4)

        assert sum(rows for rows, _ in shapes) == len(documents) + 1
        assert max(rows for rows, _ in shapes) == 4

    @pytest.mark.parametrize(
        ("queries", "shape"),
        [
            (["one", "two"], "flat"),
            (["one", "two"], "three lists"),
            (["one", "two"], "none"),
            ([], "flat"),
            (["one"], "mixed"),
            (["one"], "one document"),
            (["one"], "null"),
            (None, "flat"),
            (3, "flat"),
            ([None], "flat"),
        ],
    )
    def test_other_combinations_are_refused(self, ranker, documents, queries, shape):
        shapes = {
            "flat": documents,
            "three lists": [documents] * 3,
            "none": [],
            "mixed": [documents, documents[0]],
            "one document": documents[0],
            "null": None,
        }
        with pytest.raises(InputError):
            ranker.predict_batch(queries, shapes[shape])


class TestInAPipeline:
    def test_run(self, pipeline, documents):
        output = pipeline.run(query=QUERY, documents=documents, params={"Ranker": {"top_k": 2}})

        assert len(output["documents"]) == 2
        assert output["documents"][0].id == "raise"

    def test_run_behind_a_retriever_that_finds_nothing(self, int8, store):
        pipeline = retrieve_and_rank(int8, store)
        nothing = {"Retriever": {"filters": {"kind": "unheard of"}}}

        assert pipeline.run(query=QUERY, params=nothing)["documents"] == []
        assert pipeline.run_batch(queries=[QUERY, QUERY], params=nothing)["documents"] == [[], []]

    def test_run_batch(self, pipeline, documents, queries):
        output = pipeline.run_batch(
            queries=list(queries), documents=[documents] * len(queries), params={"Ranker": {"top_k": 1}}
        )

        assert [ids(part) for part in output["documents"]] == [[answer] for answer in queries.values()]

    def test_run_batch_of_one_query_and_one_list(self, pipeline, documents):
        output = pipeline.run_batch(queries=[QUERY], documents=documents)

        assert output["documents"][0].id == "raise"

    def test_behind_a_retriever(self, int8, store, queries):
        batch = retrieve_and_rank(int8, store).run_batch(queries=list(queries))["documents"]

        assert [part[0].id for part in batch] == list(queries.values())
        assert {len(part) for part in batch} == {2}
