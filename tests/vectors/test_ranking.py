"""Documents are ranked by the cosine of their vectors to the query's, each once, ties in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastrag_quant.vectors.output import unit
from fastrag_quant.vectors.ranking import Ranking, without_repetitions


@dataclass
class Document:
    """A document of any Haystack, as far as ranking looks."""

    id: str
    text: str
    embedding: Any = None


class Compass:
    """Stands for an embedder: a text is an angle in degrees, and its vector points there, two units long."""

    dimension = 2

    def __init__(self) -> None:
        self.embedded: list[tuple[list[str], str | None]] = []

    def embed_queries(self, texts: list[str], batch_size: int, *, prompt: str | None = None) -> np.ndarray:
        return self._embed(texts, prompt)

    def embed_documents(
        self, texts: list[str], batch_size: int, progress_bar: bool, prompt: str | None = None
    ) -> np.ndarray:
        return self._embed(texts, prompt)

    def _embed(self, texts: list[str], prompt: str | None) -> np.ndarray:
        self.embedded.append((list(texts), prompt))
        angles = np.radians(np.array(list(map(float, texts)), dtype=np.float32))
        return 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.fixture
def compass() -> Compass:
    """The embedder."""
    return Compass()


def ranked(
    compass: Compass, queries: list[str], *lists: Sequence[Document], **arguments: Any
) -> list[list[tuple[str, float]]]:
    """Return the ids and scores of the best documents for each query."""
    defaults: dict[str, Any] = {
        "texts_of": lambda documents: [document.text for document in documents],
        "top_k": 10,
        "scale_score": False,
        "score_threshold": None,
        "use_stored_embeddings": False,
        "batch_size": 4,
        "progress_bar": False,
    }
    ranking = Ranking(**{**defaults, **arguments})
    found = ranking.rank(compass, queries, lists)  # type: ignore[arg-type]
    return [[(document.id, score) for document, score in best] for best in found]


def documents(*angles: int) -> list[Document]:
    return [Document(f"at {angle}", str(angle)) for angle in angles]


def test_the_nearest_comes_first_with_its_cosine(compass: Compass):
    (best,) = ranked(compass, ["0"], documents(90, 0, 180, 60))

    assert [name for name, _ in best] == ["at 0", "at 60", "at 90", "at 180"]
    assert [score for _, score in best] == pytest.approx([1, 0.5, 0, -1], abs=1e-6)
    assert {type(score) for _, score in best} == {float}
    assert all(-1 <= score <= 1 for _, score in best)


def test_scaled_scores_reach_from_0_to_1(compass: Compass):
    (best,) = ranked(compass, ["0"], documents(0, 90, 180), scale_score=True)

    assert [score for _, score in best] == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_the_best_are_kept_above_the_threshold_of_the_score_that_is_shown(compass: Compass):
    angles = documents(0, 60, 90, 180)

    assert len(ranked(compass, ["0"], angles, top_k=3)[0]) == 3
    assert [name for name, _ in ranked(compass, ["0"], angles, score_threshold=0.4)[0]] == ["at 0", "at 60"]
    scaled = ranked(compass, ["0"], angles, score_threshold=0.4, scale_score=True)[0]
    assert [name for name, _ in scaled] == ["at 0", "at 60", "at 90"]


def test_ties_keep_their_order(compass: Compass):
    same = [Document(name, "30") for name in "dbac"]

    assert [name for name, _ in ranked(compass, ["0"], same)[0]] == list("dbac")


def test_of_documents_with_the_same_id_the_first_counts(compass: Compass):
    repeated = [Document("one", "0"), Document("other", "90"), Document("one", "180")]

    assert ranked(compass, ["0"], repeated)[0] == [("one", pytest.approx(1)), ("other", pytest.approx(0, abs=1e-6))]
    assert without_repetitions(iter(repeated)) == repeated[:2]


def test_each_query_ranks_its_own_list(compass: Compass):
    best = ranked(compass, ["0", "90", "180"], documents(10, 20), [], documents(170, 10))

    assert [[name for name, _ in of_query] for of_query in best] == [["at 10", "at 20"], [], ["at 170", "at 10"]]


def test_no_queries_have_no_results(compass: Compass):
    assert ranked(compass, ["0"], []) == [[]]


def test_equal_texts_are_embedded_once(compass: Compass):
    ranked(compass, ["0", "0"], [Document("a", "30"), Document("b", "30")], [Document("c", "30"), Document("d", "60")])

    assert compass.embedded[0] == (["30", "60"], None)


def test_prompts_take_the_place_of_the_embedders(compass: Compass):
    ranked(compass, ["0"], documents(30), query_prompt="q", document_prompt="d")

    assert compass.embedded == [(["30"], "d"), (["0"], "q")]


@pytest.mark.parametrize("use", [True, False])
def test_stored_embeddings_are_used_where_they_fit_and_are_wanted(compass: Compass, use: bool):
    stored = [
        Document("fits", "90", np.array([5.5, 0.0])),
        Document("is a list", "90", [0.5, 0.0]),
        Document("has another dimension", "60", np.ones(3)),
        Document("has none", "30"),
    ]

    (best,) = ranked(compass, ["0"], stored, use_stored_embeddings=use)

    if use:
        assert compass.embedded[0] == (["60", "30"], None)
        assert [name for name, _ in best] == ["fits", "is a list", "has none", "has another dimension"]
    else:
        assert compass.embedded[0] == (["90", "60", "30"], None)
        assert [name for name, _ in best] == ["has none", "has another dimension", "fits", "is a list"]


@pytest.mark.parametrize(
    "unfit",
    [
        [float("nan"), 0.0],
        [float("inf"), 0.0],
        [1e300, 0.0],
        np.array([100, 0], dtype=np.int8),
        np.array([200, 7], dtype=np.uint8),
        np.array([100, 0], dtype=np.float32),  # int8 as stores of float32 keep it
        [100, 0],
        ["0.5", "0.0"],
        [[0.5], [0.5, 0.0]],
        [[0.5, 0.0]],
        [None, 0.5],
        "0.5",
    ],
    ids=str,
)
def test_a_stored_embedding_that_is_none_is_told_of_and_its_text_embedded(
    unfit: Any, compass: Compass, caplog: pytest.LogCaptureFixture
):
    stored = [Document("good", "180", [0.0, 1.5]), Document("bad", "60", unfit), Document("none", "180")]

    (best,) = ranked(compass, ["0"], stored, use_stored_embeddings=True)

    assert best == [(name, pytest.approx(score, abs=1e-6)) for name, score in (("bad", 0.5), ("good", 0), ("none", -1))]
    assert caplog.messages == [
        "1 stored embeddings are not 2 finite float32 numbers, the first that of document bad: "
        "their texts are embedded instead."
    ]


def test_what_is_not_wanted_is_not_told_of(compass: Compass, caplog: pytest.LogCaptureFixture):
    ranked(compass, ["0"], [Document("bad", "60", [float("nan"), 0.0])])

    assert caplog.messages == []


def test_documents_stay_as_they_are(compass: Compass):
    embedding = np.array([1.5, 2.0], dtype=np.float32)
    document = Document("a", "0", embedding)

    ranked(compass, ["0"], [document], use_stored_embeddings=True)

    assert document.embedding is embedding
    assert embedding.tolist() == [1.5, 2]


def test_unit_vectors_have_length_one_and_zero_stays_zero():
    vectors = unit(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))

    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
