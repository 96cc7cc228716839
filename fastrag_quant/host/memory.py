"""Facts about memory: how much a process took, its NUMA nodes, and which allocator serves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_NODES = Path("/sys/devices/system/node")
_MAPS = Path("/proc/self/maps")


@dataclass(frozen=True)
class Allocator:
    """Where an allocator's shared library is found.

    :param libraries: names as the linker knows them, the best first.
    :param package: what brings them on Debian and Ubuntu.
    """

    libraries: tuple[str, ...]
    package: str


ALLOCATORS = {
    "tcmalloc": Allocator(("tcmalloc", "tcmalloc_minimal"), "libgoogle-perftools4"),
    "jemalloc": Allocator(("jemalloc",), "libjemalloc2"),
}


def current_allocator() -> str:
    """Return the allocator that this process has loaded: tcmalloc, jemalloc or the C library's."""
    maps = _MAPS.read_text(encoding="utf-8", errors="replace") if _MAPS.exists() else ""
    return next((name for name in ALLOCATORS if f"/lib{name}" in maps), "the C library's")


def numa_nodes() -> list[int]:
    """Return the numbers of the memory nodes, empty where the kernel does not list them."""
    return sorted(int(path.name[4:]) for path in _NODES.glob("node[0-9]*"))


def peak_memory_bytes() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kibibytes
