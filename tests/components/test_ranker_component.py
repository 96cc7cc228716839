"""QuantizedBiEncoderRanker as a component: the cosine ranking of the Haystack 1 node, in Haystack 2's manners."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from haystack import Document

from fastrag_quant.components import QuantizedBiEncoderRanker, QuantizedDocumentEmbedder
from fastrag_quant.components.documents import texts_of
from fastrag_quant.errors import InputError
from fastrag_quant.vectors.ranking import Ranking

QUERY = "How do I throw an exception?"


@pytest.fixture
def ranker(int8):
    return QuantizedBiEncoderRanker(int8)


def ids(documents):
    return [document.id for document in documents]


def scores(documents):
    return [document.score for document in documents]


class TestOrder:
    def test_the_obvious_document_comes_first(self, ranker, documents, queries):
        for query, answer in queries.items():
            assert ranker.run(query, documents)["documents"][0].id == answer

    def test_documents_are_ordered_by_their_cosine_to_the_query(self, int8, documents, embedder):
        ranked = QuantizedBiEncoderRanker(int8, scale_score=False).run(QUERY, documents)["documents"]

        vectors = embedder.embed_documents([document.content for document in documents])
        cosines = vectors @ embedder.embed_queries([QUERY])[0]
        order = np.argsort(-cosines)
        assert ids(ranked) == [documents[index].id for index in order]
        assert scores(ranked) == pytest.approx(cosines[order].tolist(), abs=1e-4)

    @pytest.mark.parametrize("scale_score", [True, False])
    def test_order_and_scores_are_those_of_ranking(self, int8, documents, queries, embedder, scale_score):
        stored = QuantizedDocumentEmbedder(int8).run(documents[:3])["documents"]
        twice = [*stored, *documents[3:], *documents[:5]]
        ranker = QuantizedBiEncoderRanker(
            int8, top_k=6, scale_score=scale_score, score_threshold=0.1, use_stored_embeddings=True, document_suffix="!"
        )

        ranked = [ranker.run(query, twice)["documents"] for query in queries]

        texts = partial(texts_of, meta_fields_to_embed=None, embedding_separator="\n", suffix="!")
        ranking = Ranking(texts, 6, scale_score, 0.1, True, 32, False)
        expected = [ranking.rank(embedder, [query], [twice])[0] for query in queries]
        assert [list(zip(ids(part), scores(part), strict=True)) for part in ranked] == [
            [(document.id, score) for document, score in part] for part in expected
        ]
        assert {len(part) for part in ranked} <= set(range(1, 7))

    def test_scale_score_maps_the_cosine_to_the_unit_interval(self, ranker, documents):
        cosines = ranker.run(QUERY, documents, scale_score=False)["documents"]
        scaled = ranker.run(QUERY, documents, scale_score=True)["documents"]

        assert ids(scaled) == ids(cosines)
        assert scores(scaled) == pytest.approx([(score + 1) / 2 for score in scores(cosines)])
        assert scores(ranker.run(QUERY, documents)["documents"]) == scores(scaled)

    @pytest.mark.parametrize("normalize", [None, False])
    def test_scores_are_cosines_where_vectors_are_not_of_length_one(self, tiny, documents, normalize):
        plain = QuantizedBiEncoderRanker(**tiny, scale_score=False, normalize_embeddings=normalize)
        normalized = QuantizedBiEncoderRanker(**tiny, scale_score=False, normalize_embeddings=True)

        first, second = (ranker.run(QUERY, documents)["documents"] for ranker in (plain, normalized))

        assert scores(first) == pytest.approx(scores(second), abs=1e-5)
        assert max(scores(first)) <= 1

    def test_scores_are_plain_floats_that_json_can_write(self, ranker, documents):
        ranked = scores(ranker.run(QUERY, documents)["documents"])

        assert {type(score) for score in ranked} == {float}
        assert json.loads(json.dumps(ranked)) == ranked

    def test_ties_keep_the_order_of_the_input(self, ranker):
        # Short lists would hide a sort that is not stable.
        equal = [Document(id=str(number), content=f"The {('same', 'other')[number % 2]} text.") for number in range(60)]

        ranked = ids(ranker.run(QUERY, equal, top_k=60)["documents"])

        evens_and_odds = [[str(number) for number in range(start, 60, 2)] for start in (0, 1)]
        assert [ranked[:30], ranked[30:]] in (evens_and_odds, evens_and_odds[::-1])

    def test_of_documents_with_one_id_the_first_is_ranked(self, ranker):
        twice = [Document(id="same", content="The first."), Document(id="same", content="The second.", score=0.9)]

        assert [document.content for document in ranker.run(QUERY, twice)["documents"]] == ["The first."]


class TestSelection:
    def test_top_k_of_a_call_wins_over_the_components(self, int8, documents):
        ranker = QuantizedBiEncoderRanker(int8, top_k=3)

        assert len(ranker.run(QUERY, documents)["documents"]) == 3
        assert len(ranker.run(QUERY, documents, top_k=5)["documents"]) == 5
        assert len(ranker.run(QUERY, documents, top_k=100)["documents"]) == len(documents)

    @pytest.mark.parametrize("top_k", [0, -1, 1.5, True])
    def test_a_top_k_that_returns_nothing_is_refused(self, ranker, documents, top_k):
        with pytest.raises(InputError, match="QuantizedBiEncoderRanker: top_k must be"):
            ranker.run(QUERY, documents, top_k=top_k)
        with pytest.raises(InputError, match="QuantizedBiEncoderRanker: top_k must be"):
            QuantizedBiEncoderRanker("any", top_k=top_k)

    def test_score_threshold_drops_documents_below_it(self, int8, ranker, documents):
        everything = ranker.run(QUERY, documents)["documents"]
        third = everything[2].score

        of_call = ranker.run(QUERY, documents, score_threshold=third)["documents"]
        of_component = QuantizedBiEncoderRanker(int8, score_threshold=third).run(QUERY, documents)["documents"]

        assert ids(of_call) == ids(of_component) == ids(everything)[:3]

    def test_a_score_threshold_of_zero_is_one(self, int8, documents, embedder):
        documents[0] = replace(documents[0], embedding=(-embedder.embed_queries([QUERY])[0]).tolist())
        ranker = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True, scale_score=False)

        assert documents[0].id in ids(ranker.run(QUERY, documents)["documents"])
        assert documents[0].id not in ids(ranker.run(QUERY, documents, score_threshold=0)["documents"])

    def test_no_documents_give_none(self):
        assert QuantizedBiEncoderRanker("/no/such/model").run(QUERY, []) == {"documents": []}


class TestDocuments:
    def test_those_it_is_given_stay_as_they_are(self, ranker, documents):
        documents[0] = replace(documents[0], score=0.25, embedding=[1.0] * 384)
        before = deepcopy(documents)

        for document in ranker.run(QUERY, documents)["documents"]:
            document.meta["written"] = "later"

        assert documents == before

    def test_content_meta_and_embedding_are_kept(self, ranker):
        document = Document(id="one", content="A text.", meta={"name": "first"}, embedding=[0.0, 1.0])

        [ranked] = ranker.run(QUERY, [document])["documents"]

        assert (ranked.id, ranked.content, ranked.meta) == ("one", "A text.", {"name": "first"})
        assert ranked.embedding == [0.0, 1.0]

    def test_one_text_under_several_ids_is_embedded_once(self, ranker, encoded):
        shapes = encoded(ranker)

        ranked = ranker.run("a query", [Document(id=name, content="The same text.") for name in "abcdef"])["documents"]

        assert ids(ranked) == list("abcdef")
        assert [rows for rows, _ in shapes] == [1, 1]  # the text and the query

    def test_prefixes_and_suffixes_surround_query_and_documents(self, tiny, documents):
        ranker = QuantizedBiEncoderRanker(
            **tiny, query_prefix="for ", query_suffix=" in", document_prefix="class ", document_suffix=" pass"
        )
        by_hand = [Document(id=document.id, content=f"class {document.content} pass") for document in documents]

        ranked = ranker.run("if", documents)["documents"]

        expected = QuantizedBiEncoderRanker(**tiny).run("for if in", by_hand)["documents"]
        assert (ids(ranked), scores(ranked)) == (ids(expected), scores(expected))
        assert scores(ranked) != scores(QuantizedBiEncoderRanker(**tiny).run("if", documents)["documents"])

    def test_meta_fields_are_embedded_in_front_of_the_content(self, tiny):
        ranker = QuantizedBiEncoderRanker(**tiny, meta_fields_to_embed=["title"], embedding_separator=" ")
        document = Document(content="if", meta={"title": "class"})

        [ranked] = ranker.run("for", [document])["documents"]

        [by_hand] = QuantizedBiEncoderRanker(**tiny).run("for", [Document(content="class if")])["documents"]
        assert ranked.score == by_hand.score
        assert ranked.content == "if"

    def test_one_without_text_is_named(self, tiny):
        with pytest.raises(InputError, match="Document empty has no text"):
            QuantizedBiEncoderRanker(**tiny).run(QUERY, [Document(id="empty")])

    @pytest.mark.parametrize("wrong", [None, "a text", ["a text"], [Document(content="one"), "two"]])
    def test_anything_but_a_list_of_them_is_refused(self, wrong):
        with pytest.raises(TypeError, match="QuantizedBiEncoderRanker expects a list of Documents"):
            QuantizedBiEncoderRanker("/no/such/model").run(QUERY, wrong)

    @pytest.mark.parametrize("wrong", [None, 3, ["a query"]])
    def test_a_query_that_is_no_string_is_refused(self, documents, wrong):
        with pytest.raises(TypeError, match="QuantizedBiEncoderRanker expects a string as the query"):
            QuantizedBiEncoderRanker("/no/such/model").run(wrong, documents)


class TestStoredEmbeddings:
    @pytest.fixture
    def misleading(self, documents, embedder):
        """Documents whose last carries the query's own vector, which its text does not earn."""
        documents = [document for document in documents if document.id != "raise"]
        documents[-1] = replace(documents[-1], embedding=embedder.embed_queries([QUERY])[0].tolist())
        return documents

    def test_they_take_the_place_of_the_text(self, int8, misleading):
        best = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True).run(QUERY, misleading)["documents"][0]

        assert best.id == misleading[-1].id
        assert best.score == pytest.approx(1, abs=1e-5)

    def test_they_are_not_used_unless_wanted(self, ranker, misleading):
        assert ranker.run(QUERY, misleading)["documents"][0].score < 0.9

    def test_documents_that_carry_one_are_not_embedded_again(self, int8, ranker, documents, encoded):
        embedded = QuantizedDocumentEmbedder(int8).run(documents[:5])["documents"]
        stored = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True)
        expected = ranker.run(QUERY, documents)["documents"]
        shapes = encoded(stored)

        ranked = stored.run(QUERY, [*embedded, *documents[5:]])["documents"]

        assert sum(rows for rows, _ in shapes) == len(documents) - 5 + 1
        assert ids(ranked) == ids(expected)
        assert scores(ranked) == pytest.approx(scores(expected), abs=1e-3)

    def test_one_of_another_dimension_is_not_used(self, int8, ranker, documents):
        documents = [replace(document, embedding=[1.0] * 768) for document in documents]
        stored = QuantizedBiEncoderRanker(int8, use_stored_embeddings=True)

        assert scores(stored.run(QUERY, documents)["documents"]) == scores(ranker.run(QUERY, documents)["documents"])
