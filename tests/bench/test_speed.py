"""The speed benchmark runs what it says, on the input it says, and reports every figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench import speed as speed_module
from fastrag_quant.bench.modes import MODES
from fastrag_quant.bench.speed import SpeedSettings, measure_speed
from fastrag_quant.engines.padded import PaddedEngine
from fastrag_quant.errors import InputError, MissingExtraError, ModelError
from fastrag_quant.host import extras
from fastrag_quant.host.cpu import usable_cores
from fastrag_quant.model.tokenization import RaggedTokens


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> list[RaggedTokens]:
    """What the engine was given at every call on random tokens, in order."""
    seen: list[RaggedTokens] = []
    encode = PaddedEngine.encode

    def recording(engine: PaddedEngine, given: RaggedTokens) -> np.ndarray:
        seen.append(given)
        return encode(engine, given)

    monkeypatch.setattr(PaddedEngine, "encode", recording)
    return seen


@pytest.fixture
def batches(tokens: list[RaggedTokens]) -> Callable[[], list[np.ndarray]]:
    """A function that returns the token ids of every call on random tokens as arrays, in order."""
    return lambda: [np.stack(given.texts()) for given in tokens]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of every call on real text, in order."""
    seen: list[list[str]] = []
    embed = QuantizedEmbedder.embed_documents

    def recording(embedder: QuantizedEmbedder, texts: list[str], batch_size: int) -> np.ndarray:
        seen.append(list(texts))
        return embed(embedder, texts, batch_size)

    monkeypatch.setattr(QuantizedEmbedder, "embed_documents", recording)
    return seen


def test_random_tokens_run_in_the_shape_asked_for(tiny_cls_model: Path, batches: Callable[[], list[np.ndarray]]):
    settings = SpeedSettings(samples=6, batch_size=2, seq_len=16, warmup=3)

    result = measure_speed(str(tiny_cls_model), "hf", settings)

    assert [batch.shape for batch in batches()] == [(2, 16)] * (1 + 3 + 3)  # first call, warm-up, timed
    assert (result.samples, result.batch_size) == (6, 2)
    assert result.input == "random tokens, length 16"


def test_random_tokens_reach_the_engine_as_ragged_tokens(tiny_cls_model: Path, tokens: list[RaggedTokens]):
    measure_speed(str(tiny_cls_model), "hf", SpeedSettings(samples=2, batch_size=2, seq_len=16, warmup=0))

    assert {type(given) for given in tokens} == {RaggedTokens}
    forms = {(given.ids.dtype.name, given.ids.shape, *given.offsets) for given in tokens}
    assert forms == {("int32", (32,), 0, 16, 32)}


def test_random_tokens_are_of_the_vocabulary_and_never_padding(
    tiny_cls_model: Path, batches: Callable[[], list[np.ndarray]]
):
    measure_speed(str(tiny_cls_model), "hf", SpeedSettings(samples=64, batch_size=64, seq_len=64, warmup=0))

    vocabulary = QuantizedEmbedder(tiny_cls_model, engine="torch").vocabulary_size
    assert min(batch.min() for batch in batches()) >= 1
    assert vocabulary * 0.9 < max(batch.max() for batch in batches()) < vocabulary


def test_the_same_seed_times_the_same_tokens(tiny_cls_model: Path, batches: Callable[[], list[np.ndarray]]):
    for seed in (1, 1, 2):
        measure_speed(str(tiny_cls_model), "hf", SpeedSettings(2, 2, 16, warmup=0, seed=seed))

    one, again, other = (np.stack(batches()[start : start + 2]) for start in (0, 2, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_figures_agree_with_each_other(tiny_cls_model: Path):
    result = measure_speed(str(tiny_cls_model), "hf", SpeedSettings(samples=8, batch_size=2, seq_len=16, warmup=0))

    assert 0 < result.latency.p50_ms <= result.latency.p95_ms <= result.latency.p99_ms
    assert result.samples_per_second == pytest.approx(2 / (result.latency.mean_ms / 1000))
    assert result.tokens_per_second == pytest.approx(result.samples_per_second * 16)
    assert result.first_call_ms > 0
    assert result.load_seconds > 0


def test_the_latency_of_every_timed_call_is_kept_in_order(tiny_cls_model: Path):
    result = measure_speed(str(tiny_cls_model), "hf", SpeedSettings(samples=8, batch_size=2, seq_len=16, warmup=3))

    assert len(result.latencies_ms) == 4
    assert np.mean(result.latencies_ms) == pytest.approx(result.latency.mean_ms, abs=1e-4)


def test_a_mode_that_is_not_installed_names_the_extra(tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "is_installed", lambda name: name != "intel-extension-for-pytorch")

    with pytest.raises(MissingExtraError, match=r"The mode ipex needs intel-ext.*pip install 'fastrag-quant\[ipex\]'"):
        measure_speed(str(tiny_cls_model), "ipex", SpeedSettings(1, 1, 16, 0))


def test_the_machine_and_the_versions_are_reported(tiny_cls_model: Path):
    result = measure_speed(str(tiny_cls_model), "hf", SpeedSettings(1, 1, 16, warmup=0), threads=1)

    assert result.threads == 1
    environment = result.environment
    assert environment.cpu
    assert "avx2" in environment.isa
    assert {"fastrag-quant", "torch", "transformers"} <= set(environment.versions)
    assert result.peak_memory_bytes > 10_000_000
    assert (environment.cores, environment.allocator) == (usable_cores(), "the C library's")
    assert json.loads(json.dumps(asdict(result))) == asdict(result)


def test_real_text_runs_in_calls_of_the_batch_size_and_then_whole(
    tiny_cls_model: Path, passages: list[str], calls: list[list[str]]
):
    result = measure_speed(str(tiny_cls_model), "hf", SpeedSettings(samples=5, batch_size=2, warmup=1), passages)

    first, warm_up, *timed, whole = calls
    assert first == warm_up == passages[:2]
    assert timed == [passages[:2], passages[2:4], passages[4:5]]
    assert whole == passages[:5]
    assert (result.samples, result.input) == (5, "text")


def test_tokens_are_those_that_ran_the_prompt_among_them(
    tiny_cls_model: Path, passages: list[str], tokens: list[RaggedTokens]
):
    prompts = {"prompts": {"document": "class import lambda "}, "default_prompt_name": None}
    (tiny_cls_model / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    texts = [passage[:20] for passage in passages[:4]]

    result = measure_speed(str(tiny_cls_model), "hf", SpeedSettings(batch_size=4, warmup=0), texts)

    whole = tokens[-1]
    assert len(whole) == 4
    without = QuantizedEmbedder(tiny_cls_model, "torch", document_prompt="").count_tokens(texts)
    assert len(whole.ids) > without
    assert result.tokens_per_second / result.samples_per_second == pytest.approx(len(whole.ids) / 4)


def test_cut_texts_are_told_of_once_and_never_while_time_is_taken(
    tiny_cls_model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    before_and_after: list[tuple[int, int]] = []
    time_calls = speed_module._time_calls

    def watched(*given: Any) -> list[float]:
        before = len(caplog.records)
        seconds = time_calls(*given)
        before_and_after.append((before, len(caplog.records)))
        return seconds

    monkeypatch.setattr(speed_module, "_time_calls", watched)

    measure_speed(str(tiny_cls_model), "hf", SpeedSettings(batch_size=1, warmup=1), ["short", "error " * 100] * 3)

    assert [record.getMessage().split(".")[0] for record in caplog.records] == [
        "3 of 6 documents were longer than 64 tokens and were cut"
    ]
    assert len(before_and_after) == 4
    assert all(before == after for before, after in before_and_after)


def test_a_result_names_the_model_and_not_where_it_lies(tiny_cls_model: Path):
    result = measure_speed(str(tiny_cls_model), "hf", SpeedSettings(1, 1, 16, 0))

    assert result.model == tiny_cls_model.name
    assert str(tiny_cls_model.parent) not in json.dumps(asdict(result))


def test_fewer_texts_than_samples_are_all_timed(tiny_cls_model: Path, passages: list[str]):
    assert measure_speed(str(tiny_cls_model), "hf", SpeedSettings(warmup=0), passages[:3]).samples == 3


def test_bf16_is_part_of_the_modes_name(tiny_cls_model: Path):
    assert measure_speed(str(tiny_cls_model), "hf", SpeedSettings(1, 1, 16, 0), bf16=True).mode == "hf-bf16"


@pytest.mark.needs("ipex")
def test_the_mode_inc_runs_int8(minilm_int8: Path, batches: Callable[[], list[np.ndarray]]):
    result = measure_speed(str(minilm_int8), "inc", SpeedSettings(samples=4, batch_size=2, seq_len=16, warmup=1))

    assert (result.mode, result.samples) == ("inc", 4)
    assert {batch.shape for batch in batches()} == {(2, 16)}


@pytest.mark.needs("ipex")
def test_the_mode_inc_refuses_an_fp32_model(minilm: Path):
    with pytest.raises(ModelError, match="fastrag_quant-quantize"):
        measure_speed(str(minilm), "inc", SpeedSettings(1, 1, 16, 0))


def test_an_unknown_mode_is_refused_with_the_known_ones(tiny_cls_model: Path):
    with pytest.raises(InputError, match="use one of inc, native, openvino, hf, ipex, ipex-ts"):
        measure_speed(str(tiny_cls_model), "gpu", SpeedSettings())
    assert list(MODES) == ["inc", "native", "openvino", "hf", "ipex", "ipex-ts"]


def test_no_texts_are_nothing_to_measure_on(tiny_cls_model: Path):
    with pytest.raises(InputError, match="no texts"):
        measure_speed(str(tiny_cls_model), "hf", SpeedSettings(), [])


def test_a_length_beyond_the_models_positions_is_refused(tiny_cls_model: Path):
    with pytest.raises(InputError, match="512 is more than the 64 tokens"):
        measure_speed(str(tiny_cls_model), "hf", SpeedSettings(seq_len=512))


@pytest.mark.parametrize(
    "arguments", [{"samples": 0}, {"batch_size": 0}, {"seq_len": -1}, {"warmup": -1}], ids=lambda given: str(given)
)
def test_counts_that_make_no_sense_are_refused(arguments: dict[str, int]):
    (name,) = arguments
    with pytest.raises(InputError, match=rf"{name} must be a whole number of at least \d, not"):
        SpeedSettings(**arguments)
