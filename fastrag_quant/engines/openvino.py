"""The openvino engine: int8 IR with pooling inside the graph; no torch and no transformers."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from weakref import WeakSet

import numpy as np

from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.engines.compiled_models import trim, writable_cache_directory
from fastrag_quant.engines.padded import PaddedBatch, PaddedEngine
from fastrag_quant.errors import ClosedError, ModelError
from fastrag_quant.host.forks import no_fork_meanwhile
from fastrag_quant.host.noise import without_telemetry
from fastrag_quant.model.settings import EmbedderSettings, check_weights_dimension

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest, Model

IR_NAME, WEIGHTS_NAME = ENGINE_KINDS["openvino"].weights

# Where an IR says what :mod:`fastrag_quant.quantization.inference_precision` found best for what is not int8.
PRECISION_KEY = "inference_precision"

# Batches handed to each stream ahead of its results: one to run, one to follow without a gap.
_AHEAD = 2

# What is compiled of a model: "query" for one text of the commonest length, "latency" for one batch of any
# shape, "throughput" for many. A change of shape costs OpenVINO 0.5 ms, a third of a query of
# all-MiniLM-L6-v2, so that short queries share a shape and a compilation that knows no other.
_Use = Literal["query", "latency", "throughput"]
_QUERY_SHAPE = (1, 32)


class OpenVinoEngine(PaddedEngine):
    """Runs an int8 IR that :mod:`fastrag_quant.quantization.nncf` wrote.

    A single batch runs on all cores at once, many batches on a stream per core, and a short query on
    a compilation for its one shape. Each of the three is compiled when first needed, and kept in
    OpenVINO's compiled-model cache for the next start.
    """

    name: ClassVar[str] = "openvino"
    token_budget: ClassVar[int] = 2048
    shortest: ClassVar[int] = 8
    shortest_alone: ClassVar[int] = _QUERY_SHAPE[1]

    def __init__(self, directory: Path, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        """Read the IR; it is compiled when first used.

        :raises ModelError: if there is no IR, it cannot be read, or it pools otherwise than the settings say.
        """
        super().__init__(settings, config)
        name = config.source.name
        self._name = name
        self._pin_threads = config.pin_threads
        self._cache = writable_cache_directory()
        self._begin()
        try:
            self._weights = _OpenedFile(directory / WEIGHTS_NAME)
            model = self._core.read_model(directory / IR_NAME)
        except (OSError, RuntimeError) as error:
            msg = f"OpenVINO cannot read the model in {name} ({error}). Was it quantized with --engine openvino?"
            raise ModelError(msg) from error
        _check_graph_settings(model, name, settings)
        wanted = _info(model, PRECISION_KEY)
        self._precision = wanted if wanted in inference_precisions(self._core) else "f32"
        self._model: Model | None = model
        _running.add(self)

    def close(self) -> None:
        """Let go of the weights, which are free once no call uses them."""
        with self._lock:
            _running.discard(self)
            self._model = None
            self._requests.clear()

    def _run(self, batch: PaddedBatch) -> np.ndarray:
        requests = self._compiled("query" if batch.shape == _QUERY_SHAPE else "latency")
        request = requests.take()
        with requests.broken_by_failure():
            request.infer(batch.inputs, share_inputs=True)
        vectors = _vectors(request)
        requests.give_back(request)
        return vectors

    def _run_all(self, batches: Iterable[PaddedBatch]) -> Iterator[np.ndarray]:
        requests = self._compiled("throughput")
        # The arrays of a batch are shared with OpenVINO, so they are held until it is done.
        running: deque[tuple[InferRequest, dict[str, np.ndarray]]] = deque()
        try:
            for batch in batches:
                if len(running) == self.streams * _AHEAD:
                    yield _finish(running, requests)
                request, inputs = requests.take(), batch.inputs
                running.append((request, inputs))
                request.start_async(inputs, share_inputs=True)
            while running:
                yield _finish(running, requests)
        finally:
            _wait_for(running, requests)

    def _warm_up(self, batch: PaddedBatch) -> None:
        """Run a single text as queries are run, and a larger batch on every stream."""
        if batch.shape[0] == 1:
            self._run(batch)
        else:
            list(self._run_all([batch] * (self.streams * _AHEAD)))

    def _begin(self) -> None:
        self._own_core: Core | None = None
        self._lock = threading.Lock()
        self._requests: dict[_Use, _Requests] = {}

    @property
    def _core(self) -> Core:
        if self._own_core is None:
            with without_telemetry():
                import openvino

            self._own_core = openvino.Core()
        return self._own_core

    def begin_after_fork(self) -> None:
        """Compile anew when next used, in a forked process, as of a preloading web server: threads are not inherited.

        The model stays the one that the parent read. What the parent compiled is never released, not even when the
        process ends: that would wait for threads which are not there.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object((self._own_core, self._requests)))
        self._begin()

    def _compiled(self, use: _Use) -> _Requests:
        with self._lock:
            requests = self._requests.get(use)
            if requests is None or requests.broken:
                with no_fork_meanwhile():
                    requests = self._requests[use] = _Requests(self._compile(use))
            return requests

    def _compile(self, use: _Use) -> CompiledModel:
        if self._model is None:
            raise ClosedError
        if self._weights.changed:
            msg = f"{self._name} was written over in place since it was loaded: load it again."
            raise ModelError(msg)
        throughput = use == "throughput"
        model = _reshaped(self._model, _QUERY_SHAPE) if use == "query" else self._model
        properties = {
            "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
            "NUM_STREAMS": self.streams if throughput else 1,
            "INFERENCE_NUM_THREADS": self.streams,
            "INFERENCE_PRECISION_HINT": self._precision,
            "ENABLE_CPU_PINNING": self._pin_threads,
        }
        if self._cache is None:
            return self._core.compile_model(model, "CPU", properties)
        compiled = self._core.compile_model(model, "CPU", properties | {"CACHE_DIR": str(self._cache)})
        trim(self._cache)
        return compiled


_running: WeakSet[OpenVinoEngine] = WeakSet()


def _begin_after_fork() -> None:
    for engine in list(_running):
        engine.begin_after_fork()


os.register_at_fork(after_in_child=_begin_after_fork)


class _OpenedFile:
    """The weights, which OpenVINO maps: a directory that is replaced leaves them as they are, writing over does not."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._before = self._now()

    @property
    def changed(self) -> bool:
        """Whether the very file that was opened has been written to since."""
        return self._now() != self._before

    def _now(self) -> tuple[int, int]:
        stat = os.fstat(self._file.fileno())
        return stat.st_size, stat.st_mtime_ns


class _Requests:
    """The inference requests of a compiled model; each serves one batch at a time.

    Where one fails, OpenVINO 2026.4 may leave the model's state half changed, so that good batches fail after it.
    """

    def __init__(self, compiled: CompiledModel) -> None:
        self.broken = False
        self._compiled = compiled
        self._idle: deque[InferRequest] = deque()

    def take(self) -> InferRequest:
        """Return an idle request, or a new one where all are busy."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()

    def give_back(self, request: InferRequest) -> None:
        """Take a request back for the next batch."""
        self._idle.append(request)

    @contextmanager
    def broken_by_failure(self) -> Iterator[None]:
        """Note a failure of what runs in the block: those who come later compile the model anew."""
        try:
            yield
        except Exception:
            self.broken = True
            raise


def _finish(running: deque[tuple[InferRequest, dict[str, np.ndarray]]], requests: _Requests) -> np.ndarray:
    """Return the vectors of the oldest request. It stays among the running ones until it has surely ended."""
    request, _ = running[0]
    try:
        with requests.broken_by_failure():
            request.wait()
    except Exception:
        running.popleft()  # it has ended, and is not used again
        raise
    vectors = _vectors(request)
    running.popleft()
    requests.give_back(request)
    return vectors


def _wait_for(running: deque[tuple[InferRequest, dict[str, np.ndarray]]], requests: _Requests) -> None:
    """Wait until none runs that still reads its arrays. A further failure is not told: the first one is."""
    interrupt: BaseException | None = None
    while running:
        try:
            with suppress(Exception):
                _finish(running, requests)
        except BaseException as error:  # Ctrl-C once more: a batch takes milliseconds, and memory that it reads stays
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _vectors(request: InferRequest) -> np.ndarray:
    vectors: np.ndarray = request.get_output_tensor(0).data.copy()
    return vectors


def _reshaped(model: Model, shape: tuple[int, int]) -> Model:
    reshaped = model.clone()
    reshaped.reshape({parameter.get_any_name(): list(shape) for parameter in reshaped.inputs})
    return reshaped


def _check_graph_settings(model: Model, name: str, settings: EmbedderSettings) -> None:
    """Compare what the graph gives, and does after the encoder, with what the settings say."""
    dimension = model.output(0).partial_shape[-1]
    if dimension.is_static:
        check_weights_dimension(dimension.get_length(), settings, name)
    wanted = graph_settings(settings)
    for key, value in wanted.items():
        found = _info(model, key)
        if found is None:
            msg = f"The OpenVINO model in {name} was not made by this package: quantize it with --engine openvino."
            raise ModelError(msg)
        if found != value:
            msg = (
                f"The OpenVINO model in {name} has {key} {found} inside its graph, not {value}: "
                f"leave it as it is, or quantize the fp32 model again for {value}."
            )
            raise ModelError(msg)


def inference_precisions(core: Core) -> list[str]:
    """Return what this CPU may compute in where a model is not int8, "f32" first.

    f16 is left out: OpenVINO 2026.4 compiles for more than ten minutes where a CPU has it.
    """
    return ["f32", *(["bf16"] if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else [])]


def _info(model: Model, key: str) -> str | None:
    """Read what this package wrote into an IR, or None where it did not."""
    path = ["fastrag_quant", key]
    return str(model.get_rt_info(path).value) if model.has_rt_info(path) else None


def graph_settings(settings: EmbedderSettings) -> dict[str, str]:
    """Return the settings that an IR fixes, as it records them in its runtime information."""
    return {"pooling": settings.pooling.value, "normalize": str(settings.normalize).lower()}
