"""Facts about the CPU, and binding threads to its cores."""

from __future__ import annotations

import math
import os
import platform
from functools import lru_cache
from pathlib import Path

from fastrag_quant.host.cgroups import cpu_quota

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
    """Return how many CPUs this process may keep busy: by its affinity and by the quota of its control groups.

    Part of a CPU counts as one. It is read anew each time, because quotas change while a process runs.
    """
    cores, quota = affinity_cores(), cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def affinity_cores() -> int:
    """Return how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def why_no_avx2() -> str | None:
    """Return why code that is compiled for AVX2 would crash here, or None where the CPU has it or is unknown."""
    flags = cpu_flags()
    return f"it needs a CPU with AVX2, and {cpu_model()} has none" if flags and "avx2" not in flags else None


def pin_threads(thread_ids: list[int]) -> None:
    """Bind each thread to a CPU of its own, round robin over those this process may use.

    Only the named threads are bound; the affinity of every other thread stays as it is.

    :param thread_ids: the kernel's ids (``threading.get_native_id``).
    """
    cores = sorted(os.sched_getaffinity(0))
    for position, thread_id in enumerate(thread_ids):
        os.sched_setaffinity(thread_id, {cores[position % len(cores)]})


def _cpuinfo_field(name: str) -> str:
    if not _CPUINFO.exists():
        return ""
    for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
