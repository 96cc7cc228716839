"""The fp32 baselines are the package's torch and ipex engines without what makes those fast."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench import vanilla
from fastrag_quant.bench.vanilla import BenchmarkConfig, CallingThread
from fastrag_quant.engines import EngineKind
from fastrag_quant.engines.torch_threads import TorchThreads

needs_ipex = pytest.mark.needs("ipex")
EAGER_KINDS = (vanilla.TORCH, pytest.param(vanilla.IPEX, marks=needs_ipex))
EACH_KIND = pytest.mark.parametrize(
    "kind", [*EAGER_KINDS, pytest.param(vanilla.TORCHSCRIPT, marks=needs_ipex)], ids=lambda kind: kind.name
)


def load(kind: EngineKind, model: Path, **options: object) -> QuantizedEmbedder:
    return QuantizedEmbedder.from_config(BenchmarkConfig(model, dtype="float32", batch_size=2, **options), kind)


@EACH_KIND
def test_the_vectors_are_those_of_the_torch_engine(
    kind: EngineKind, minilm: Path, passages: list[str], fp32_embedder: QuantizedEmbedder
):
    with load(kind, minilm) as embedder:
        vectors = embedder.embed_documents(passages[:20], 8)

    assert np.sum(vectors * fp32_embedder.embed_documents(passages[:20]), axis=1).min() > 0.9999


@EACH_KIND
def test_the_calling_thread_runs_the_model_in_inference_mode(
    kind: EngineKind, tiny_cls_model: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    import torch

    with load(kind, tiny_cls_model) as embedder:
        seen: list[tuple[int, bool, int]] = []
        forward = embedder._engine._forward

        def recording(*arguments: object) -> np.ndarray:
            seen.append((threading.get_ident(), torch.is_inference_mode_enabled(), torch.get_num_threads()))
            return forward(*arguments)

        monkeypatch.setattr(embedder._engine, "_forward", recording)
        embedder.embed_documents(passages[:5], 2)  # several batches
        embedder.embed_queries(passages[:1])  # one

    assert seen == [(threading.get_ident(), True, torch.get_num_threads())] * 4


@EACH_KIND
def test_none_of_this_packages_streams_is_started(
    kind: EngineKind, tiny_cls_model: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(TorchThreads, "_streams", property(lambda _: pytest.fail("a stream was started")))

    with load(kind, tiny_cls_model) as embedder:
        embedder.warm_up(batch_size=2)
        embedder.embed_documents(passages[:5], 2)


def test_torchs_number_of_threads_is_the_one_asked_for_until_it_is_given_back():
    import torch

    before = torch.get_num_threads()
    thread = CallingThread(before + 1)
    assert torch.get_num_threads() == before + 1
    thread.give_back()
    assert torch.get_num_threads() == before

    CallingThread(None)
    assert torch.get_num_threads() == before


@EACH_KIND
def test_closing_gives_torch_its_threads_back(kind: EngineKind, tiny_cls_model: Path):
    import torch

    before = torch.get_num_threads()
    with load(kind, tiny_cls_model, threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("kind", EAGER_KINDS, ids=lambda kind: kind.name)
def test_batches_are_of_the_size_asked_for_and_padded_to_their_longest_text(
    kind: EngineKind,
    tiny_cls_model: Path,
    shapes_of: Callable[[QuantizedEmbedder], list[tuple[int, int]]],
):
    words = (3, 21, 9, 13, 1, 17, 11)
    texts = [" ".join(["error"] * count) for count in words]
    with load(kind, tiny_cls_model) as embedder:
        lengths = sorted((embedder.count_tokens([text]) for text in texts), reverse=True)
        shapes = shapes_of(embedder)
        embedder.embed_documents(texts, 3)

    assert shapes == [(3, lengths[0]), (3, lengths[3]), (1, lengths[6])]


@EACH_KIND
def test_nothing_is_run_before_the_first_call(kind: EngineKind, tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch):
    run: list[object] = []
    monkeypatch.setattr(vanilla._Vanilla, "_forward", lambda _, batch: run.append(batch))

    with load(kind, tiny_cls_model) as embedder:
        embedder.warm_up()

    assert run == []
