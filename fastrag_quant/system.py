"""Facts about the CPU, and what one process may do to use it well."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path

from fastrag_quant.errors import InputError, UnsupportedCpuError

_CPUINFO = Path("/proc/cpuinfo")

# What decides the speed of int8 and bf16, in the kernel's spelling.
ISA_FLAGS = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
)


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Return the CPU's feature flags as the Linux kernel names them, empty on other systems."""
    return frozenset(_cpuinfo_field("flags").split())


def cpu_model() -> str:
    """Return the CPU's marketing name."""
    return _cpuinfo_field("model name") or platform.processor() or platform.machine()


def isa() -> list[str]:
    """Return those of :data:`ISA_FLAGS` that this CPU has."""
    return [flag for flag in ISA_FLAGS if flag in cpu_flags()]


def usable_cores() -> int:
    """Return how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_avx2(engine: str) -> None:
    """Raise where the CPU would crash an engine that is compiled for AVX2.

    :raises UnsupportedCpuError: if the CPU is known not to have AVX2.
    """
    flags = cpu_flags()
    if flags and "avx2" not in flags:
        msg = f"The {engine} engine needs a CPU with AVX2, and {cpu_model()} has none: use another engine or machine."
        raise UnsupportedCpuError(msg)


def check_threads(threads: int | None) -> None:
    """Raise where a thread count is not None or a positive number.

    :raises InputError: for zero, negative numbers and other types.
    """
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        msg = f"threads must be a positive number or None (the engine's default), not {threads!r}."
        raise InputError(msg)


def pin_threads(thread_ids: list[int]) -> None:
    """Bind each thread to a CPU of its own, round robin over those this process may use.

    Only the named threads are bound; the affinity of every other thread stays as it is.

    :param thread_ids: the kernel's ids (``threading.get_native_id``).
    """
    cores = sorted(os.sched_getaffinity(0))
    for position, thread_id in enumerate(thread_ids):
        os.sched_setaffinity(thread_id, {cores[position % len(cores)]})


def peak_memory_bytes() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    import resource

    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * (1 if platform.system() == "Darwin" else 1024)


def _cpuinfo_field(name: str) -> str:
    if not _CPUINFO.exists():
        return ""
    for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
