"""The native engine's library, through ctypes: encoders in memory, and the threads that run passes."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_char_p, c_float, c_int32, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fastrag_quant.engines.native.encoder import Int8Encoder, Int8Layer, Int8Linear, Norm
from fastrag_quant.errors import ModelError
from fastrag_quant.model.settings import Pooling
from fastrag_quant.model.tokenization import RaggedTokens

LIBRARY = Path(__file__).with_name("libfastrag_quant.so")
LEVEL_VARIABLE = "FASTRAG_QUANT_ISA"

_POOLING = {None: 0, Pooling.CLS: 1, Pooling.MEAN: 2}


@dataclass(frozen=True)
class Level:
    """A level of instruction sets that there are kernels for.

    :param is_built: whether the compiler could build them.
    :param runs_here: whether this CPU and operating system can run them.
    """

    name: str
    is_built: bool
    runs_here: bool


@cache
def levels() -> tuple[Level, ...]:
    """Return the levels of the library, from the lowest to the highest.

    :raises OSError: if the library is not there or cannot be loaded.
    """
    found: list[Level] = []
    built, runs = c_int32(), c_int32()
    while name := _library().fq_level(len(found), ctypes.byref(built), ctypes.byref(runs)):
        found.append(Level(name.decode(), bool(built.value), bool(runs.value)))
    return tuple(found)


def level_in_force() -> str:
    """Return the name of the level whose kernels run here.

    :raises ModelError: where none can.
    """
    if not (name := _library().fq_chosen_level(_wanted_level())):
        _fail()
    return str(name.decode())


def why_no_native() -> str | None:
    """Return why the native engine cannot run in this environment and on this CPU, or None where it can."""
    if not LIBRARY.is_file():
        return (
            "its library was not built, because pip found no C++ compiler: install one (apt-get install g++), then "
            "pip install --force-reinstall --no-cache-dir fastrag-quant, for pip keeps the wheel that it built without"
        )
    try:
        usable = [level.name for level in levels() if level.is_built and level.runs_here]
    except OSError as error:
        return f"its library cannot be loaded: {error}"
    if not usable:
        return "this CPU has none of the instruction sets that it is built for (x86-64 with AVX2 or better)"
    wanted = os.environ.get(LEVEL_VARIABLE)
    if wanted and wanted not in usable:
        return f"{LEVEL_VARIABLE} asks for {wanted!r}, and this CPU and library have {', '.join(usable)}"
    return None


class Encoder:
    """An encoder's weights, laid out for the kernels of one level."""

    def __init__(self, int8: Int8Encoder) -> None:
        """Copy the weights but for the table of words, which is used where it is.

        :raises ModelError: if the kernels cannot run the encoder.
        """
        self.shape = int8.shape
        self._words = int8.words
        shape = _Shape(
            *(getattr(int8.shape, name) for name in _SIZES),
            int8.shape.epsilon,
        )
        embeddings = _Embeddings(
            _address(int8.words),
            _address(int8.word_scales),
            _address(int8.positions),
            _norm(int8.embedding_norm),
        )
        handle = _library().fq_encoder_new(ctypes.byref(shape), ctypes.byref(embeddings), _wanted_level())
        self.handle = c_void_p(_checked(handle))
        for index, layer in enumerate(int8.layers):
            _check(_library().fq_encoder_set_layer(self.handle, index, ctypes.byref(_layer(layer))))

    @property
    def level(self) -> str:
        """The level whose kernels run it."""
        name: bytes = _library().fq_encoder_level(self.handle)
        return name.decode()

    def __del__(self) -> None:
        """Free the memory."""
        if handle := getattr(self, "handle", None):
            _library().fq_encoder_free(handle)


class Pass:
    """Texts on their way through an encoder."""

    def __init__(self, encoder: Encoder, tokens: RaggedTokens, pooling: Pooling | None, normalize: bool) -> None:
        """Prepare memory.

        :param pooling: None for the vectors of all tokens.
        """
        rows = len(tokens) if pooling else len(tokens.ids)
        self.vectors = np.empty((rows, encoder.shape.hidden), dtype=np.float32)
        self._encoder = encoder  # is needed until the pass is over
        self._ids = np.ascontiguousarray(tokens.ids, dtype=np.int32)
        self._offsets = np.ascontiguousarray(tokens.offsets, dtype=np.int32)
        self.arguments = (
            encoder.handle,
            _address(self._ids),
            _address(self._offsets),
            len(tokens),
            _POOLING[pooling],
            int(normalize),
            _address(self.vectors),
        )
        self.job = c_void_p()  # none


class Pool:
    """A bounded number of passes at a time, on threads of its own; safe to use from many threads and after a fork."""

    def __init__(self, threads: int, pin: bool) -> None:
        """Start nothing yet: threads start with the first work."""
        self._handle = c_void_p(_checked(_library().fq_pool_new(threads, int(pin))))
        # Threads write to their memory, whatever becomes of who submitted them: Ctrl-C comes between any two steps.
        self._submitted: set[Pass] = set()

    def run(self, one: Pass) -> np.ndarray:
        """Return a pass's vectors as soon as can be: here, with the help of threads that have nothing to do."""
        _check(_library().fq_encode(self._handle, *one.arguments))
        return one.vectors

    def submit(self, one: Pass) -> None:
        """Let a thread of the pool run a pass, for which :meth:`wait` must be called."""
        self._submitted.add(one)
        _check(_library().fq_submit(self._handle, *one.arguments, ctypes.byref(one.job)))

    def wait(self, one: Pass) -> np.ndarray:
        """Return the vectors of a pass once it is over, if it was submitted."""
        failed = _library().fq_wait(self._handle, ctypes.byref(one.job))
        self._submitted.discard(one)
        _check(failed)
        return one.vectors

    def __del__(self) -> None:
        """Wait for what was submitted, and for the threads to end."""
        if handle := getattr(self, "_handle", None):
            _library().fq_pool_free(handle)


_SIZES = ("hidden", "heads", "layers", "feed_forward", "vocabulary", "positions", "padding")


class _Shape(Structure):
    _fields_ = [
        *((name, c_int32) for name in _SIZES),
        ("epsilon", c_float),
    ]


class _Linear(Structure):
    _fields_ = [("weight", c_void_p), ("scale", c_void_p), ("bias", c_void_p)]


class _Norm(Structure):
    _fields_ = [("weight", c_void_p), ("bias", c_void_p)]


class _Layer(Structure):
    _fields_ = [
        *((name, _Linear) for name in ("query_key_value", "output", "up", "down")),
        *((name, _Norm) for name in ("attention_norm", "output_norm")),
    ]


class _Embeddings(Structure):
    _fields_ = [("words", c_void_p), ("word_scales", c_void_p), ("positions", c_void_p), ("norm", _Norm)]


@cache
def _library() -> Any:
    library = ctypes.CDLL(str(LIBRARY))
    encode = [c_void_p, c_void_p, c_void_p, c_void_p, c_int32, c_int32, c_int32, c_void_p]
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "fq_error": (c_char_p, []),
        "fq_level": (c_char_p, [c_int32, POINTER(c_int32), POINTER(c_int32)]),
        "fq_chosen_level": (c_char_p, [c_char_p]),
        "fq_encoder_new": (c_void_p, [POINTER(_Shape), POINTER(_Embeddings), c_char_p]),
        "fq_encoder_set_layer": (c_int32, [c_void_p, c_int32, POINTER(_Layer)]),
        "fq_encoder_level": (c_char_p, [c_void_p]),
        "fq_encoder_free": (None, [c_void_p]),
        "fq_pool_new": (c_void_p, [c_int32, c_int32]),
        "fq_pool_free": (None, [c_void_p]),
        "fq_encode": (c_int32, encode),
        "fq_submit": (c_int32, [*encode, POINTER(c_void_p)]),
        "fq_wait": (c_int32, [c_void_p, POINTER(c_void_p)]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _wanted_level() -> bytes | None:
    return os.environ.get(LEVEL_VARIABLE, "").encode() or None


def _address(array: np.ndarray) -> int:
    assert array.flags.c_contiguous
    address: int = array.ctypes.data
    return address


def _norm(norm: Norm) -> _Norm:
    return _Norm(_address(norm.weight), _address(norm.bias))


def _linear(linear: Int8Linear) -> _Linear:
    return _Linear(_address(linear.weight), _address(linear.scale), _address(linear.bias))


def _layer(layer: Int8Layer) -> _Layer:
    return _Layer(
        *(_linear(getattr(layer, name)) for name in ("query_key_value", "output", "up", "down")),
        *(_norm(getattr(layer, name)) for name in ("attention_norm", "output_norm")),
    )


def _checked(handle: int | None) -> int:
    if not handle:
        _fail()
    assert handle
    return handle


def _check(failed: int) -> None:
    if failed:
        _fail()


def _fail() -> None:
    msg = f"The native engine cannot run this: {_library().fq_error().decode()}."
    raise ModelError(msg)
