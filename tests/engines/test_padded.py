"""Few shapes, little padding, and every text in exactly one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fastrag_quant.engines.padded import Batch, ShapePolicy, pad, plan_batches

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


def plan(lengths: Sequence[int] | np.ndarray, policy: ShapePolicy, limit: int = 32) -> list[Batch]:
    return list(plan_batches(lengths, policy, limit))


@every_policy
def test_a_padded_length_holds_its_text_and_stays_within_the_limit(policy: ShapePolicy):
    for length in range(1, policy.longest + 1):
        assert length <= policy.padded_length(length) <= policy.longest


@every_policy
def test_a_padded_length_is_padded_no_further(policy: ShapePolicy):
    assert [policy.padded_length(length) for length in policy.padded_lengths()] == policy.padded_lengths()


@every_policy
def test_a_longer_text_never_gets_a_shorter_padded_length(policy: ShapePolicy):
    padded = [policy.padded_length(length) for length in range(1, policy.longest + 1)]

    assert padded == sorted(padded)


def test_sixteen_lengths_cover_every_text_of_up_to_512_tokens():
    assert len(IPEX_LIKE.padded_lengths()) == 16


def test_padding_is_at_most_a_quarter_and_a_tenth_on_average():
    waste = [IPEX_LIKE.padded_length(length) / length - 1 for length in range(65, 513)]

    assert max(waste) <= 0.25
    assert np.mean(waste) <= 0.1


def test_short_texts_share_the_shortest_padded_length():
    assert {IPEX_LIKE.padded_length(length) for length in range(17)} == {16}


def test_padded_lengths_reach_up_to_the_length_asked_for():
    assert IPEX_LIKE.padded_lengths(100) == [16, 32, 48, 64, 80, 96, 112]
    assert IPEX_LIKE.padded_lengths(10_000) == IPEX_LIKE.padded_lengths()


def test_padding_to_the_maximum_leaves_one_length():
    one_shape = ShapePolicy(token_budget=4096, shortest=256, longest=256)

    assert one_shape.padded_lengths() == [256]
    assert {batch.length for batch in plan(mixed_lengths(256), one_shape)} == {256}


def test_a_text_that_comes_alone_has_a_shortest_length_of_its_own():
    policy = ShapePolicy(token_budget=4096, shortest=8, longest=256, shortest_alone=32)

    assert [plan([length], policy)[0].length for length in (0, 9, 32, 33, 300)] == [32, 32, 32, 40, 256]
    assert [batch.length for batch in plan([9, 9], policy)] == [16]


def test_a_text_alone_is_never_longer_than_the_model_takes():
    assert ShapePolicy(token_budget=4096, shortest=8, longest=20, shortest_alone=32).padded_length_alone(9) == 20


@every_policy
def test_the_batches_cover_every_text_once(policy: ShapePolicy):
    lengths = mixed_lengths(policy.longest)

    indices = np.concatenate([batch.indices for batch in plan(lengths, policy)])

    assert sorted(indices) == list(range(len(lengths)))


@every_policy
def test_every_text_fits_into_its_batch(policy: ShapePolicy):
    lengths = mixed_lengths(policy.longest)

    assert all(lengths[batch.indices].max() <= batch.length for batch in plan(lengths, policy))


@every_policy
def test_the_longest_texts_come_first(policy: ShapePolicy):
    lengths = mixed_lengths(policy.longest)

    planned = np.concatenate([lengths[batch.indices] for batch in plan(lengths, policy)])

    assert planned.tolist() == sorted(lengths, reverse=True)


def test_texts_of_the_same_length_keep_their_order():
    indices = np.concatenate([batch.indices for batch in plan([5, 9] * 50, IPEX_LIKE)])

    assert indices.tolist() == [*range(1, 100, 2), *range(0, 100, 2)]


def test_few_texts_are_shared_out_among_the_streams():
    two_streams = ShapePolicy(token_budget=4096, shortest=16, longest=512, streams=2)

    assert [len(batch.indices) for batch in plan([16] * 8, two_streams)] == [4, 4]
    assert [len(batch.indices) for batch in plan([16], two_streams)] == [1]
    assert [len(batch.indices) for batch in plan([16] * 128, two_streams)] == [32] * 4


@every_policy
@pytest.mark.parametrize("limit", [1, 6, 32, 1000])
def test_batch_sizes_are_powers_of_two_within_the_budget_and_the_limit(policy: ShapePolicy, limit: int):
    for batch in plan(mixed_lengths(policy.longest), policy, limit):
        size = len(batch.indices)
        assert size.bit_count() == 1
        assert size <= limit
        assert size == 1 or size * batch.length <= policy.token_budget


def test_a_batch_is_as_large_as_the_budget_and_the_limit_allow():
    assert IPEX_LIKE.batch_size(length=512, limit=32) == 8
    assert IPEX_LIKE.batch_size(length=16, limit=32) == 32
    assert IPEX_LIKE.batch_size(length=16, limit=31) == 16


def test_a_text_longer_than_the_budget_still_gets_a_batch():
    assert ShapePolicy(token_budget=100, shortest=16, longest=384).batch_size(length=384, limit=32) == 1


def test_any_number_of_texts_makes_few_shapes():
    shapes = {
        (len(batch.indices), batch.length)
        for count in range(1, 200)
        for batch in plan(mixed_lengths(512, count), IPEX_LIKE)
    }

    # 16 lengths; batches of 1, 2, 4 … up to 32, or up to what the budget allows for the length.
    assert len(shapes) <= sum(IPEX_LIKE.batch_size(length, 32).bit_length() for length in IPEX_LIKE.padded_lengths())


def test_no_texts_make_no_batches():
    assert plan([], IPEX_LIKE) == []


def test_padding_fills_up_with_the_padding_id_and_masks_it():
    batch = pad([[101, 7, 102], [101, 102]], length=4, pad_token_id=9)

    assert batch.input_ids.tolist() == [[101, 7, 102, 9], [101, 102, 9, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_a_padded_batch_is_what_engines_take():
    batch = pad([[1, 2], [3]], length=16, pad_token_id=0)

    assert batch.shape == (2, 16)
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int64
