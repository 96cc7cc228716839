"""The openvino engine: int8 IR, without torch and transformers, for latency and for throughput."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines.openvino import OpenVinoEngine
from fastrag_quant.engines.padded import PaddedBatch
from fastrag_quant.errors import InputError, ModelError


@pytest.fixture(scope="module")
def embedder(minilm_int8: Path) -> QuantizedEmbedder:
    """The int8 MiniLM on OpenVINO."""
    return QuantizedEmbedder(minilm_int8, "openvino")


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.sum(left * right, axis=1)


def test_vectors_are_close_to_fp32(embedder: QuantizedEmbedder, fp32_embedder: QuantizedEmbedder, passages: list[str]):
    found = cosines(embedder.embed_documents(passages), fp32_embedder.embed_documents(passages))

    assert found.mean() > 0.9965  # measured: 0.9975 in the mean, 0.9954 at worst
    assert found.min() > 0.993


def test_one_batch_and_many_give_the_same_vectors(embedder: QuantizedEmbedder, passages: list[str]):
    many = embedder.embed_documents(passages[:12], batch_size=4)
    one_by_one = np.concatenate([embedder.embed_documents([passage]) for passage in passages[:12]])

    assert cosines(many, one_by_one).min() > 0.999


def test_a_query_of_any_length_gets_the_vector_that_it_gets_in_a_batch(embedder: QuantizedEmbedder):
    queries = [" ".join(["word"] * count) for count in (0, 1, 29, 30, 31, 300)]  # the 30th fills the query shape
    alone = np.concatenate([embedder.embed_queries([query]) for query in queries])

    assert cosines(alone, embedder.embed_queries(queries)).min() > 0.999


def test_results_do_not_share_memory_with_later_ones(embedder: QuantizedEmbedder):
    first = embedder.embed_queries(["a text"])
    copy = first.copy()
    embedder.embed_queries(["something else altogether"])

    assert np.array_equal(first, copy)


def test_batches_that_are_not_read_to_the_end_leave_the_engine_usable(embedder: QuantizedEmbedder, passages: list[str]):
    expected = embedder.embed_documents(passages)
    vectors = embedder.iter_embed(passages, batch_size=1)
    next(vectors)
    vectors.close()

    assert np.allclose(embedder.embed_documents(passages), expected, atol=1e-6)


def test_what_breaks_off_the_texts_comes_back_and_leaves_the_engine_usable(
    embedder: QuantizedEmbedder, passages: list[str]
):
    def texts():
        yield from ["if", "class", "while"] * 5000
        msg = "the database is gone"
        raise ConnectionError(msg)

    with pytest.raises(ConnectionError, match="the database is gone"):
        embedder.embed_documents(texts())
    assert embedder.embed_documents(passages[:2]).shape == (2, 384)


class Watched:
    """An inference request that notes how often each of its runs is waited for."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self.waits: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def start_async(self, *arguments: Any, **named: Any) -> None:
        self.waits.append(0)
        self._request.start_async(*arguments, **named)

    def wait(self) -> None:
        self.waits[-1] += 1
        self._request.wait()


@pytest.mark.parametrize("position", [0, 3, 9])
def test_a_failing_request_is_waited_for_once_and_every_other_one_too(
    embedder: QuantizedEmbedder, monkeypatch: pytest.MonkeyPatch, position: int
):
    engine = embedder._engine
    assert isinstance(engine, OpenVinoEngine)
    requests, watched = engine._compiled("throughput"), []

    def take() -> Watched:
        watched.append(Watched(requests._compiled.create_infer_request()))
        return watched[-1]

    given_back: list[Any] = []
    monkeypatch.setattr(requests, "take", take)
    monkeypatch.setattr(requests, "give_back", given_back.append)
    ids = np.ones((4, 64), dtype=np.int64)
    batches = [PaddedBatch(ids, np.ones_like(ids)) for _ in range(10)]
    batches[position] = PaddedBatch(ids, np.ones((4, 63), dtype=np.int64))  # arrays that do not fit together

    with pytest.raises(RuntimeError) as error:
        list(engine._run_all(batches))

    assert {tuple(request.waits) for request in watched} == {(1,)}, error
    assert watched[position] not in given_back
    assert error.value.__context__ is None


def test_a_failure_leaves_the_engine_usable(embedder: QuantizedEmbedder):
    engine = embedder._engine
    assert isinstance(engine, OpenVinoEngine)
    ids = np.ones((4, 64), dtype=np.int64)
    fit, misfit = PaddedBatch(ids, np.ones_like(ids)), PaddedBatch(ids, np.ones((4, 63), dtype=np.int64))

    for run in (engine._run, lambda batch: next(engine._run_all([batch] * 9))):
        expected = run(fit)
        with pytest.raises(RuntimeError):
            run(misfit)
        assert np.allclose(run(fit), expected, atol=1e-6)  # of the same shape, which OpenVINO would go on to refuse


def test_fp32_is_not_its_business(minilm_int8: Path):
    with pytest.raises(InputError, match="runs int8 only"):
        QuantizedEmbedder(minilm_int8, "openvino", dtype="float32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "cls"}, "has pooling mean inside its graph, not cls"),
        ({"normalize": False}, "has normalize true inside its graph, not false"),
    ],
)
def test_what_the_graph_does_cannot_be_changed(minilm_int8: Path, arguments: dict, message: str):
    with pytest.raises(ModelError, match=message):
        QuantizedEmbedder(minilm_int8, "openvino", **arguments)


def test_a_damaged_ir_is_named(minilm_int8: Path, tmp_path: Path):
    damaged = Path(shutil.copytree(minilm_int8, tmp_path / "damaged"))
    size = (damaged / "openvino_model.xml").stat().st_size
    (damaged / "openvino_model.xml").write_bytes(b" " * size)

    with pytest.raises(ModelError, match=f"OpenVINO cannot read the model in {damaged}"):
        QuantizedEmbedder(damaged, "openvino")


def test_an_ir_of_another_maker_is_refused(minilm_int8: Path, tmp_path: Path):
    import openvino

    foreign = Path(shutil.copytree(minilm_int8, tmp_path / "foreign"))
    (foreign / "fastrag_quant.json").unlink()
    model = openvino.Core().read_model(minilm_int8 / "openvino_model.xml")
    stripped = openvino.Model(model.get_results(), model.get_parameters())
    openvino.save_model(stripped, foreign / "openvino_model.xml")

    with pytest.raises(ModelError, match="was not made by this package"):
        QuantizedEmbedder(foreign, "openvino")


COLD_START = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None  # an import raises
from fastrag_quant import QuantizedEmbedder
embedder = QuantizedEmbedder(sys.argv[1], "openvino")
one = embedder.embed_queries(["a query"])
many = embedder.embed_documents(["a document", "another"] * 200)
print(json.dumps([one.shape, many.shape]))
"""


def test_neither_torch_nor_transformers_is_needed(minilm_int8: Path, tmp_path: Path):
    process = subprocess.run(
        [sys.executable, "-c", COLD_START, str(minilm_int8)], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert json.loads(process.stdout) == [[1, 384], [400, 384]], process.stderr
    assert process.stderr == ""


def test_compiled_models_are_kept_in_the_users_cache(minilm_int8: Path, tmp_path: Path):
    command = [sys.executable, "-c", COLD_START, str(minilm_int8)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    subprocess.run(command, capture_output=True, check=True, cwd=tmp_path, env=environment)

    assert any((tmp_path / "cache" / "fastrag_quant" / "openvino").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


FORKS = """
import sys
forks = []
sys.addaudithook(lambda event, _: forks.append(event) if event in ("os.fork", "subprocess.Popen") else None)
from fastrag_quant import QuantizedEmbedder
QuantizedEmbedder(sys.argv[1], "openvino").embed_queries(["a query"])
import threading
for thread in threading.enumerate():
    thread is threading.current_thread() or thread.join(5)
print(forks)
"""


def test_openvino_does_not_report_home_from_a_process_of_its_own(minilm_int8: Path, tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}

    process = subprocess.run(
        [sys.executable, "-c", FORKS, str(minilm_int8)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )

    assert process.stdout == "[]\n", process.stderr
