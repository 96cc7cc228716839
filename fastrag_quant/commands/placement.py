"""Starting a command again on chosen cores and memory, with another allocator.

Cores, memory policy and LD_PRELOAD have to be set before a process starts its threads and loads its
libraries, so the command replaces itself by one that runs under numactl and the allocator.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from itertools import groupby

from fastrag_quant.errors import InputError
from fastrag_quant.host.memory import ALLOCATORS, numa_nodes

_PLACED = "FASTRAG_QUANT_PLACED"


@dataclass(frozen=True)
class Placement:
    """Where a process runs; None leaves it to the system.

    :param cores: CPU numbers as numactl takes them: "0-31" or "0,2,4-7".
    :param memory_node: NUMA node that memory comes from.
    :param allocator: a key of :data:`ALLOCATORS`.
    """

    cores: str | None = None
    memory_node: int | None = None
    allocator: str | None = None

    def command(self) -> list[str]:
        """Return the numactl command to put before the program, empty where none is needed.

        :raises InputError: for cores or nodes that this process cannot use, and where numactl is missing.
        """
        options = []
        if self.cores is not None:
            _check_cores(self.cores)
            options.append(f"--physcpubind={self.cores}")
        if self.memory_node is not None:
            _check_node(self.memory_node)
            options.append(f"--membind={self.memory_node}")
        if options and not shutil.which("numactl"):
            msg = "--cores and --memory-node need numactl: apt-get install numactl, or leave them out."
            raise InputError(msg)
        return ["numactl", *options] if options else []

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment with the allocator preloaded and the mark that the process is placed.

        :raises InputError: where the allocator's library is missing.
        """
        placed = {**environment, _PLACED: "1"}
        if self.allocator is not None:
            preloaded = placed.get("LD_PRELOAD")
            placed["LD_PRELOAD"] = ":".join(filter(None, (_library(self.allocator), preloaded)))
        return placed


def add_placement_options(parser: ArgumentParser) -> None:
    """Add --cores, --memory-node and --allocator to a command."""
    # SUPPRESS: a subcommand must not undo what was given before it.
    group = parser.add_argument_group("placement", "The command starts itself again where and how these say.")
    group.add_argument("--cores", default=SUPPRESS, help="CPU numbers to run on, such as 0-31 (numactl -C)")
    group.add_argument(
        "--memory-node", type=int, default=SUPPRESS, help="NUMA node to take memory from, such as 0 (numactl -m)"
    )
    group.add_argument("--allocator", choices=list(ALLOCATORS), default=SUPPRESS, help="preload this allocator")


def relaunch(placement: Placement, module: str, arguments: Sequence[str]) -> None:
    """Replace this process by ``python -m module arguments`` in its place, unless it is there already.

    :raises InputError: if the placement cannot be had.
    """
    if placement == Placement() or _PLACED in os.environ:
        return
    command = [*placement.command(), sys.executable, "-m", module, *arguments]
    environment = placement.environment(os.environ)
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)


def _check_cores(cores: str) -> None:
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", cores):
        msg = f"--cores takes CPU numbers such as 0-31 or 0,2,4-7, not {cores!r}."
        raise InputError(msg)
    usable = os.sched_getaffinity(0)
    wanted: set[int] = set()
    for part in cores.split(","):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    if not wanted or not wanted <= usable:
        msg = f"--cores {cores} asks for CPUs that this process may not use: it has {_ranges(sorted(usable))}."
        raise InputError(msg)


def _check_node(node: int) -> None:
    nodes = numa_nodes()
    if nodes and node not in nodes:
        msg = f"--memory-node {node} does not exist here: this machine has {', '.join(map(str, nodes))}."
        raise InputError(msg)


def _library(allocator: str) -> str:
    found = next(filter(None, map(find_library, ALLOCATORS[allocator].libraries)), None)
    if found is None:
        msg = f"--allocator {allocator} needs its library: apt-get install {ALLOCATORS[allocator].package}"
        raise InputError(msg)
    return found


def _ranges(numbers: Sequence[int]) -> str:
    """Write sorted numbers as numactl does: 0-3,8."""
    runs = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    parts = [[number for _, number in run] for _, run in runs]
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
