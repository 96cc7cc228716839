"""Importing third parties without the noise and the traces that would alarm a user, and that no user can act on."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import Any

_STDERR = 2

# Two threads that held standard error back at once would give it back in the wrong order, and so with the variable.
_holding_back = threading.Lock()
_without_telemetry = threading.RLock()

# Each message has a line that says when it can go; the engine ipex ends with IPEX 2.8, and these with it.
_HARMLESS = re.compile(
    # IPEX replaces one of torch's operators on purpose, and torch's C++ code tells of it. Can go with the engine ipex.
    rb"\[W[^\n]*OperatorEntry\.cpp[^\n]*\n(?:[^\n]*\n)*?[^\n]*new kernel:[^\n]*\n\n?"
    # neural-compressor sets its own log level while it is imported, and reports that it found a CPU.
    # Can go with neural-compressor, which quantizes for the engine ipex alone.
    rb"|[^\n]*Auto detect accelerator: CPU_Accelerator\.\n"
    rb"|[^\n]*hw aligned scales not supported for device INCAcceleratorType\.CPU\n"
    # IPEX forks to ask the system about its CPU, which a process that has tokenized texts is warned about.
    # Can go with the engine ipex.
    rb"|huggingface/tokenizers: The current process just got forked[^\n]*\n(?:To disable[^\n]*|\t- [^\n]*|\n)*\n"
)

_COMPILE_THREADS = "TORCHINDUCTOR_COMPILE_THREADS"

# Loggers whose warnings no user can act on, with what they say and when the line can go.
_NOISY_LOGGERS = (
    # "IPEX", "…utils._logger": operators that IPEX replaces, a missing mpi4py. With the engine ipex.
    "IPEX",
    "intel_extension_for_pytorch",
    "intel_extension_for_pytorch.utils._logger",
    # Each of the hub's retries, whose outcome an error tells in one line. When the hub logs a failure once.
    "huggingface_hub",
    # What it found of accelerators, and its phases. With the engine ipex.
    "neural_compressor",
    # Its phases, and data sets smaller than its own default. When nncf.quantize has an argument for it.
    "nncf",
    # Tasks that it infers from a model's name. With the engine ipex, whose quantization alone needs optimum.
    "optimum",
    "optimum.exporters.tasks",
    # "No CUDA runtime is found" on machines made for CPUs. With the engine ipex, which imports it.
    "torch.utils.cpp_extension",
    # Advice to train a pooler that embeddings do not use. When AutoModel takes add_pooling_layer for every model.
    "transformers",
)


class _Quiet:
    """Silence that begins with the first who asks for it and ends with the last, on whatever thread."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._asking: list[int] = []  # threads, each as often as it asks
        self._silence = ExitStack()

    def __enter__(self) -> None:
        with self._changing:
            self._asking.append(threading.get_ident())
            if len(self._asking) == 1:
                self._silence.enter_context(_silence())

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._asking.remove(threading.get_ident())
            if not self._asking:
                self._silence.close()

    def go_on_in_child(self) -> None:
        """End what threads asked for that a forked child does not have."""
        self._changing = threading.Lock()
        asked, this = bool(self._asking), threading.get_ident()
        self._asking = [thread for thread in self._asking if thread == this]
        if asked and not self._asking:
            self._silence.close()


_quiet = _Quiet()


def _go_on_in_child() -> None:
    global _holding_back, _without_telemetry
    _holding_back, _without_telemetry = threading.Lock(), threading.RLock()
    _quiet.go_on_in_child()


os.register_at_fork(after_in_child=_go_on_in_child)


def quiet_logs() -> AbstractContextManager[None]:
    """Silence the noisy libraries' loggers and Python's warnings, save for errors; threads may overlap.

    The warnings are deprecations of torch's JIT and autocast interfaces that IPEX and optimum-intel use: they can
    be heard again once the engine ipex is gone.
    """
    return _quiet


@contextmanager
def _silence() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def import_quietly(*modules: str) -> None:
    """Import modules with their loggers, warnings and harmless C++ messages silenced.

    Standard error is held back meanwhile, and passed on without the harmless part.

    :param modules: dotted names; those imported already cost nothing.
    """
    if all(name in sys.modules for name in modules):
        return
    with _holding_back, _stderr_without(_HARMLESS), quiet_logs(), same_loggers(), _no_compile_workers():
        for name in modules:
            import_module(name)


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep OpenVINO and NNCF from reporting their use over the network, from a process of their own.

    They do so without asking, from their import on, save where this variable says that nobody is
    there to ask. What an application decided before, by importing them itself, stays.
    """
    with _without_telemetry:
        before = os.environ.get("CI")
        os.environ["CI"] = "true"
        try:
            yield
        finally:
            if before is None:
                del os.environ["CI"]
            else:
                os.environ["CI"] = before


@contextmanager
def same_loggers() -> Iterator[None]:
    """Undo what libraries do to the application's logging.

    IPEX calls logging.basicConfig while it is imported; Aim, when it makes a repository, configures
    logging from a file, which switches off every logger that exists.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    loggers = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    disabled = [logger.disabled for logger in loggers]
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        for logger, before in zip(loggers, disabled, strict=True):
            logger.disabled = before


@contextmanager
def _no_compile_workers() -> Iterator[None]:
    """Keep torch's compiler, which IPEX imports and this package never runs, from starting a process of 500 MB.

    It does so while it is imported, unless it may use one thread only; an application that compiles
    gets its threads, and the process, when it compiles.
    """
    started_by_us = "torch._inductor.config" not in sys.modules and _COMPILE_THREADS not in os.environ
    if started_by_us:
        os.environ[_COMPILE_THREADS] = "1"
    try:
        yield
    finally:
        if started_by_us:
            del os.environ[_COMPILE_THREADS]
            config: Any = sys.modules.get("torch._inductor.config")
            if config is not None:
                config.compile_threads = config.decide_compile_threads()


@contextmanager
def _stderr_without(harmless: re.Pattern[bytes]) -> Iterator[None]:
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        stderr = os.dup(_STDERR)
        os.dup2(captured.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            captured.seek(0)
            if rest := harmless.sub(b"", captured.read()):
                os.write(_STDERR, rest)
