"""Few shapes, little padding, and every text in exactly one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines.padded import PaddedBatch, PaddedEngine, ShapePolicy, pad
from fastrag_quant.host.cpu import usable_cores
from fastrag_quant.model.settings import EmbedderSettings, Pooling
from fastrag_quant.model.tokenization import RaggedTokens

IPEX_LIKE = ShapePolicy(token_budget=4096, shortest=16, longest=512)
POLICIES = [
    IPEX_LIKE,
    ShapePolicy(token_budget=4096, shortest=16, longest=256),
    ShapePolicy(token_budget=8192, shortest=1, longest=512),
    ShapePolicy(token_budget=4096, shortest=16, longest=500),
    ShapePolicy(token_budget=100, shortest=16, longest=384),
    ShapePolicy(token_budget=4096, shortest=16, longest=8),
]
every_policy = pytest.mark.parametrize("policy", POLICIES, ids=str)


def mixed_lengths(longest: int, count: int = 777) -> np.ndarray:
    return np.random.default_rng(0).integers(1, longest + 1, count)


def plan(lengths: Sequence[int] | np.ndarray, policy: ShapePolicy, limit: int = 32) -> list[np.ndarray]:
    """Return the positions of the texts of each batch."""
    return list(policy.plan(np.asarray(lengths, dtype=np.int32), limit))


def shapes(lengths: Sequence[int] | np.ndarray, policy: ShapePolicy, limit: int = 32) -> list[tuple[int, int]]:
    """Return the shape of each batch, padded to what its longest text needs."""
    longest = [int(np.asarray(lengths)[batch].max()) for batch in plan(lengths, policy, limit)]
    sizes = [len(batch) for batch in plan(lengths, policy, limit)]
    return list(zip(sizes, map(policy.padded_length, longest), strict=True))


def padded_lengths(policy: ShapePolicy, longest: int | None = None) -> list[int]:
    """Return every padded length of texts of up to so many tokens."""
    return sorted({policy.padded_length(length) for length in range(1, (longest or policy.longest) + 1)})


@every_policy
def test_a_padded_length_holds_its_text_and_stays_within_the_limit(policy: ShapePolicy):
    for length in range(1, policy.longest + 1):
        assert length <= policy.padded_length(length) <= policy.longest


@every_policy
def test_a_padded_length_is_padded_no_further(policy: ShapePolicy):
    assert [policy.padded_length(length) for length in padded_lengths(policy)] == padded_lengths(policy)


@every_policy
def test_a_longer_text_never_gets_a_shorter_padded_length(policy: ShapePolicy):
    padded = [policy.padded_length(length) for length in range(1, policy.longest + 1)]

    assert padded == sorted(padded)


def test_sixteen_lengths_cover_every_text_of_up_to_512_tokens():
    assert len(padded_lengths(IPEX_LIKE)) == 16


def test_padding_is_at_most_a_quarter_and_a_tenth_on_average():
    waste = [IPEX_LIKE.padded_length(length) / length - 1 for length in range(65, 513)]

    assert max(waste) <= 0.25
    assert np.mean(waste) <= 0.1


def test_short_texts_share_the_shortest_padded_length():
    assert {IPEX_LIKE.padded_length(length) for length in range(17)} == {16}


def test_padded_lengths_are_quarters_of_powers_of_two_up_to_the_longest():
    assert padded_lengths(IPEX_LIKE, 100) == [16, 32, 48, 64, 80, 96, 112]
    assert padded_lengths(IPEX_LIKE, 10_000) == padded_lengths(IPEX_LIKE)
    assert IPEX_LIKE.padded_length(10_000) == 512


def test_padding_to_the_maximum_leaves_one_length():
    one_shape = ShapePolicy(token_budget=4096, shortest=256, longest=256)

    assert padded_lengths(one_shape) == [256]
    assert {length for _, length in shapes(mixed_lengths(256), one_shape)} == {256}


def test_a_text_that_comes_alone_has_a_shortest_length_of_its_own():
    policy = ShapePolicy(token_budget=4096, shortest=8, longest=256, shortest_alone=32)

    assert [policy.padded_length(length, alone=True) for length in (0, 9, 32, 33, 300)] == [32, 32, 32, 40, 256]
    assert shapes([9, 9], policy) == [(2, 16)]


def test_a_text_alone_is_never_longer_than_the_model_takes():
    policy = ShapePolicy(token_budget=4096, shortest=8, longest=20, shortest_alone=32)

    assert policy.padded_length(9, alone=True) == 20


@every_policy
def test_the_batches_cover_every_text_once(policy: ShapePolicy):
    lengths = mixed_lengths(policy.longest)

    indices = np.concatenate(plan(lengths, policy))

    assert sorted(indices) == list(range(len(lengths)))


@every_policy
def test_every_text_fits_into_its_batch(policy: ShapePolicy):
    lengths = mixed_lengths(policy.longest)

    for batch, (_, length) in zip(plan(lengths, policy), shapes(lengths, policy), strict=True):
        assert lengths[batch].max() <= length
        assert lengths[batch[0]] == lengths[batch].max(), "the first text decides the shape that was planned"


@every_policy
def test_the_longest_texts_come_first(policy: ShapePolicy):
    lengths = mixed_lengths(policy.longest)

    planned = lengths[np.concatenate(plan(lengths, policy))]

    assert planned.tolist() == sorted(lengths, reverse=True)


def test_texts_of_the_same_length_keep_their_order():
    indices = np.concatenate(plan([5, 9] * 50, IPEX_LIKE))

    assert indices.tolist() == [*range(1, 100, 2), *range(0, 100, 2)]


def test_few_texts_are_shared_out_among_the_streams():
    two_streams = ShapePolicy(token_budget=4096, shortest=16, longest=512, streams=2)

    assert [len(batch) for batch in plan([16] * 8, two_streams)] == [4, 4]
    assert [len(batch) for batch in plan([16], two_streams)] == [1]
    assert [len(batch) for batch in plan([16] * 128, two_streams)] == [32] * 4


@every_policy
@pytest.mark.parametrize("limit", [1, 6, 32, 1000])
def test_batch_sizes_are_powers_of_two_within_the_budget_and_the_limit(policy: ShapePolicy, limit: int):
    for size, length in shapes(mixed_lengths(policy.longest), policy, limit):
        assert size.bit_count() == 1
        assert size <= limit
        assert size == 1 or size * length <= policy.token_budget


def test_a_batch_is_as_large_as_the_budget_and_the_limit_allow():
    assert IPEX_LIKE.batch_size(length=512, limit=32) == 8
    assert IPEX_LIKE.batch_size(length=16, limit=32) == 32
    assert IPEX_LIKE.batch_size(length=16, limit=31) == 16


def test_a_text_longer_than_the_budget_still_gets_a_batch():
    assert ShapePolicy(token_budget=100, shortest=16, longest=384).batch_size(length=384, limit=32) == 1


def test_any_number_of_texts_makes_few_shapes():
    found = {shape for count in range(1, 200) for shape in shapes(mixed_lengths(512, count), IPEX_LIKE)}

    # 16 lengths; batches of 1, 2, 4 … up to 32, or up to what the budget allows for the length.
    assert len(found) <= sum(IPEX_LIKE.batch_size(length, 32).bit_length() for length in padded_lengths(IPEX_LIKE))


def test_no_texts_make_no_batches():
    assert plan([], IPEX_LIKE) == []


def test_padding_fills_up_with_the_padding_id_and_masks_it():
    batch = pad(RaggedTokens.of([[101, 7, 102], [101, 102]]), length=4, pad_token_id=9)

    assert batch.input_ids.tolist() == [[101, 7, 102, 9], [101, 102, 9, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_a_padded_batch_is_what_padded_engines_run():
    batch = pad(RaggedTokens.of([[1, 2], [3]]), length=16, pad_token_id=0)

    assert batch.shape == (2, 16)
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int64


def test_a_text_without_tokens_is_padding_alone():
    batch = pad(RaggedTokens.of([[], [5], []]), length=2, pad_token_id=9)

    assert batch.input_ids.tolist() == [[9, 9], [5, 9], [9, 9]]
    assert batch.attention_mask.tolist() == [[0, 0], [1, 0], [0, 0]]


# Engines


class CountingEngine(PaddedEngine):
    """Gives each text its number of tokens, and notes what it runs, and how."""

    name: ClassVar[str] = "counting"
    token_budget: ClassVar[int] = 256
    shortest: ClassVar[int] = 8
    shortest_alone: ClassVar[int] = 32

    def __init__(self, **arguments: Any) -> None:
        settings = EmbedderSettings(Pooling.CLS, True, 64, "", "", dimension=1, pad_token_id=7)
        super().__init__(settings, EmbedderConfig("a/model", **{"threads": 2, **arguments}))
        self.ran: list[PaddedBatch] = []
        self.warmed: list[tuple[int, int]] = []

    def close(self) -> None:
        pass

    def _run(self, batch: PaddedBatch) -> np.ndarray:
        self.ran.append(batch)
        return batch.attention_mask.sum(axis=1, keepdims=True).astype(np.float32)

    def _run_all(self, batches: Iterable[PaddedBatch]) -> Iterator[np.ndarray]:
        return map(self._run, batches)

    def _warm_up(self, batch: PaddedBatch) -> None:
        self.warmed.append(batch.shape)


def tokens_of(*lengths: int) -> RaggedTokens:
    return RaggedTokens.of([[1] * length for length in lengths])


def test_an_engine_pads_what_it_is_given_ragged():
    engine = CountingEngine()

    vectors = engine.encode(tokens_of(3, 9))

    assert vectors.tolist() == [[3], [9]]
    (batch,) = engine.ran
    assert batch.shape == (2, 16)
    assert batch.input_ids[0].tolist() == [1] * 3 + [7] * 13


def test_a_lone_text_has_the_shape_of_queries_and_one_among_many_batches_has_not():
    engine = CountingEngine()

    engine.encode(tokens_of(3))
    list(engine.encode_all([tokens_of(3), tokens_of(9, 9)]))

    assert [batch.shape for batch in engine.ran] == [(1, 32), (1, 8), (2, 16)]


def test_batches_are_read_only_as_they_are_run():
    engine = CountingEngine()
    read: list[int] = []

    def batches() -> Iterator[RaggedTokens]:
        for number in range(100):
            read.append(number)
            yield tokens_of(3)

    next(engine.encode_all(batches()))

    assert read == [0]


def test_there_is_a_stream_for_every_thread_and_few_texts_are_shared_out_among_them():
    assert [len(batch) for batch in CountingEngine(threads=4).plan(np.array([8] * 8), 32)] == [2] * 4
    assert [len(batch) for batch in CountingEngine(threads=1).plan(np.array([8] * 8), 32)] == [8]


def test_without_a_count_the_usable_cores_are_taken():
    assert CountingEngine(threads=None).streams == usable_cores()
    assert CountingEngine(threads=3).streams == 3


def test_padding_to_the_maximum_is_one_length_for_every_text():
    engine = CountingEngine(pad_to_max=True)

    engine.encode(tokens_of(3))
    engine.encode(tokens_of(3, 5))
    engine.warm_up(range(1, 65), batch_size=1)

    assert {batch.shape[1] for batch in engine.ran} == {64}
    assert engine.warmed == [(1, 64)]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_warming_up_runs_every_shape_that_texts_can_have_and_none_twice(batch_size: int):
    engine = CountingEngine(threads=1)

    engine.warm_up(range(1, 65), batch_size)

    assert len(set(engine.warmed)) == len(engine.warmed)
    for length in range(1, 65):
        texts = tokens_of(*[length] * batch_size)
        for batch in engine.plan(texts.lengths, batch_size):
            engine.encode(texts.take(batch))
    assert {batch.shape for batch in engine.ran} == set(engine.warmed)
