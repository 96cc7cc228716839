"""The kernels of every level that runs here, against the encoder in numpy: its int8 arithmetic, and the same bits."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_encoders import random_tokens, with_padding, write_small_model

from fastrag_quant.engines.native import library, reference
from fastrag_quant.engines.native.encoder import Int8Encoder
from fastrag_quant.engines.native.int8 import quantize
from fastrag_quant.engines.native.library import Encoder, Pass, Pool
from fastrag_quant.errors import ModelError
from fastrag_quant.model.settings import Pooling
from fastrag_quant.model.tokenization import RaggedTokens

LEVELS = (
    [level.name for level in library.levels() if level.is_built and level.runs_here]
    if library.LIBRARY.is_file()
    else []
)

# Of a kernel from the reference: GELU and powers of 2 by tables, bfloat16 attention, and what rounds the other way.
FARTHEST = 0.15
CLOSEST = 0.999
# Lengths at which kernels change what they do: tiles of rows, vectors of keys, members of a team.
LENGTHS = (1, 2, 6, 7, 12, 13, 15, 16, 17, 31, 32, 33, 40, 41, 64, 100, 511, 512)

every_level = pytest.mark.parametrize("level", LEVELS)


@pytest.fixture
def encoder_of(monkeypatch: pytest.MonkeyPatch):
    """A function that lays weights out for the kernels of a level."""

    def make(int8: Int8Encoder, level: str) -> Encoder:
        monkeypatch.setenv(library.LEVEL_VARIABLE, level)
        return Encoder(int8)

    return make


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Int8Encoder:
    """A small BERT with positions for 512 tokens."""
    model = write_small_model("bert", tmp_path_factory.mktemp("bert-512"), max_position_embeddings=512)
    return quantize(model.encoder)


def vectors(encoder: Encoder, tokens: RaggedTokens, pooling: Pooling | None = None, threads: int = 1) -> np.ndarray:
    return Pool(threads, pin=False).run(Pass(encoder, tokens, pooling, normalize=pooling is not None))


def submitted(pool: Pool, one: Pass) -> np.ndarray:
    pool.submit(one)
    return pool.wait(one)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > CLOSEST
    assert np.abs(found - expected).max() < FARTHEST * np.abs(expected).max()


@every_level
def test_the_token_of_padding_takes_no_position_wherever_it_is(encoder_of, level: str, tmp_path: Path):
    int8 = quantize(write_small_model("roberta", tmp_path).encoder)
    tokens = with_padding(random_tokens((1, 2, 5, 17, 40)))

    found = vectors(encoder_of(int8, level), tokens)

    assert_close(found, reference.encode_tokens(int8, tokens))
    shifted = Int8Encoder(**vars(int8) | {"shape": replace(int8.shape, padding=-1), "positions": int8.positions[:-1]})
    wrong = reference.encode_tokens(shifted, tokens)
    assert np.abs(found - wrong).max() > FARTHEST * np.abs(wrong).max(), "positions make no difference here"


def test_a_level_runs_here_and_the_best_is_taken():
    assert LEVELS
    assert library.level_in_force() in LEVELS
    assert library.why_no_native() is None


@every_level
def test_token_vectors_are_those_of_the_reference_at_every_length(int8: Int8Encoder, level: str, encoder_of):
    encoder = encoder_of(int8, level)
    assert encoder.level == level

    for length in LENGTHS:
        tokens = random_tokens([length])
        assert_close(vectors(encoder, tokens), reference.encode_tokens(int8, tokens))


@every_level
@pytest.mark.parametrize(
    ("hidden", "heads", "feed_forward"), [(32, 2, 50), (96, 2, 96), (128, 2, 512), (200, 5, 300), (384, 12, 1536)]
)
def test_any_sizes_run(hidden: int, heads: int, feed_forward: int, level: str, encoder_of, tmp_path):
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": feed_forward}
    int8 = quantize(write_small_model("bert", tmp_path, noise=0.8 / hidden**0.5, **sizes).encoder)
    tokens = random_tokens([1, 5, 40, 13])

    assert_close(vectors(encoder_of(int8, level), tokens), reference.encode_tokens(int8, tokens))


@every_level
def test_large_scores_of_attention_overflow_nothing(int8: Int8Encoder, level: str, encoder_of):
    layer = int8.layers[0].query_key_value
    scale = layer.scale.copy()
    scale[: 2 * int8.shape.hidden] *= 30  # of queries and keys: their products are 900 times as large
    large = type(layer)(layer.weight, scale, layer.bias)
    changed = Int8Encoder(
        **{**vars(int8), "layers": (type(int8.layers[0])(**{**vars(int8.layers[0]), "query_key_value": large}),)}
        | {"shape": type(int8.shape)(**{**vars(int8.shape), "layers": 1})}
    )
    tokens = random_tokens([40, 3])

    found, expected = vectors(encoder_of(changed, level), tokens), reference.encode_tokens(changed, tokens)

    # Attention is all on one key here, and which of two nearly equal ones it is may differ in a row.
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.isfinite(found).all()
    assert np.median(cosines) > CLOSEST


@every_level
@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_are_pooled(int8: Int8Encoder, level: str, pooling: Pooling, normalize: bool, encoder_of):
    tokens = random_tokens([3, 1, 20])
    one = Pass(encoder_of(int8, level), tokens, pooling, normalize)

    found = Pool(1, pin=False).run(one)

    assert_close(found, reference.embed(int8, tokens, pooling, normalize=normalize))


@every_level
def test_a_text_has_the_same_bytes_whatever_stands_beside_it_on_any_number_of_threads(
    int8: Int8Encoder, level: str, encoder_of
):
    encoder = encoder_of(int8, level)
    tokens = random_tokens(LENGTHS[:-2])
    alone = np.concatenate([vectors(encoder, RaggedTokens.of([ids]), Pooling.MEAN) for ids in tokens.texts()])
    backwards = np.arange(len(tokens))[::-1]

    for threads in (1, 2, 3):
        assert np.array_equal(vectors(encoder, tokens, Pooling.MEAN, threads), alone)
        assert np.array_equal(vectors(encoder, tokens.take(backwards), Pooling.MEAN, threads), alone[backwards])
        for text, ids in enumerate(tokens.texts()):
            lone = vectors(encoder, RaggedTokens.of([ids]), Pooling.MEAN, threads)
            assert np.array_equal(lone[0], alone[text])


def test_levels_agree(int8: Int8Encoder, encoder_of):
    tokens = random_tokens([1, 30, 200])

    first, *others = [vectors(encoder_of(int8, level), tokens, Pooling.MEAN) for level in LEVELS]

    for other in others:
        assert (first * other).sum(1).min() > CLOSEST


@pytest.mark.parametrize(
    ("ids", "offsets", "reason"),
    [
        ([100], [0, 1], r"token id 100 is outside the 100 rows"),
        ([-1], [0, 1], r"token id -1 is outside"),
        ([], [0, 0], r"text 0 has no tokens"),
        ([5] * 513, [0, 513], r"text 0 has 513 tokens, the model 512 positions"),
        ([5, 5], [1, 2], r"offsets do not start at 0"),
    ],
)
def test_what_would_reach_beyond_memory_is_refused(int8: Int8Encoder, ids: list[int], offsets: list[int], reason: str):
    tokens = RaggedTokens(np.array(ids, np.int32), np.array(offsets, np.int32))

    with pytest.raises(ModelError, match=reason):
        vectors(Encoder(int8), tokens, Pooling.MEAN)


@pytest.mark.parametrize("name", ["avx9000", "AVX2"])
def test_a_level_that_there_is_not_is_refused_with_those_there_are(
    int8: Int8Encoder, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(library.LEVEL_VARIABLE, name)

    assert f"{library.LEVEL_VARIABLE} asks for '{name}'" in str(library.why_no_native())
    with pytest.raises(ModelError, match=f"instruction set {name} cannot be used: this CPU and library have avx2"):
        Encoder(int8)


def test_a_library_that_was_not_built_is_said_to_be_missing_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")

    assert "install one (apt-get install g++)" in str(library.why_no_native())
    assert "--no-cache-dir" in str(library.why_no_native())


def test_many_threads_share_a_pool(int8: Int8Encoder):
    encoder, pool = Encoder(int8), Pool(2, pin=False)
    texts = random_tokens([3, 30, 12, 90]).texts()
    alone = [vectors(encoder, RaggedTokens.of([ids]), Pooling.MEAN) for ids in texts]

    def embed(number: int) -> bool:
        one = Pass(encoder, RaggedTokens.of([texts[number % 4]]), Pooling.MEAN, normalize=True)
        found = submitted(pool, one) if number % 2 else pool.run(one)
        return np.array_equal(found, alone[number % 4])

    with ThreadPoolExecutor(16) as callers:
        assert all(callers.map(embed, range(400)))


def test_a_forked_child_computes_with_what_its_parent_loaded(int8: Int8Encoder):
    encoder, pool = Encoder(int8), Pool(2, pin=False)
    one = Pass(encoder, random_tokens([3, 30]), Pooling.MEAN, normalize=True)
    expected = submitted(pool, one).copy()

    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        signal.alarm(60)
        same = np.array_equal(submitted(pool, one), expected) and np.array_equal(pool.run(one), expected)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("path", sorted((library.LIBRARY.parent / "cpp").glob("*.inl")), ids=lambda path: path.name)
def test_no_level_calls_the_standard_library(path: Path):
    """The linker keeps one copy of an inline function: that of a higher level could end up in a lower one."""
    assert "std::" not in path.read_text()
    assert "#include" not in path.read_text()
