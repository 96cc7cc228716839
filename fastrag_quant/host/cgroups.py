"""How much CPU time the control groups of this process allow it: the limit that containers are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self")


@dataclass(frozen=True)
class _Mount:
    """A hierarchy of control groups as this process sees it.

    :param root: the group that is mounted.
    :param point: where.
    :param version: 1, or 2 for the unified hierarchy.
    """

    root: str
    point: Path
    version: int


def cpu_quota() -> float | None:
    """Return how many CPUs' time this process may use, None where nothing limits it.

    It is the smallest limit of the process's control group and all groups above it: cpu.max of
    version 2, cpu.cfs_quota_us and cpu.cfs_period_us of version 1. Files that cannot be read limit
    nothing (https://docs.kernel.org/admin-guide/cgroup-v2.html).
    """
    groups = dict(_groups())
    limits = []
    for mount in _mounts():
        if mount.version in groups:
            read = _read_version2 if mount.version == 2 else _read_version1
            limits += [limit for group in _upwards(mount, groups[mount.version]) if (limit := read(group))]
    return min(limits, default=None)


def _groups() -> Iterator[tuple[int, str]]:
    """Yield the version of a hierarchy and the process's group in it, for those that may limit CPU time."""
    for line in _read(_PROC / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if "cpu" in controllers.split(","):
            yield 1, group
        elif number == "0" and not controllers:
            yield 2, group


def _mounts() -> Iterator[_Mount]:
    for line in _read(_PROC / "mountinfo").splitlines():
        mounted, _, described = line.partition(" - ")
        before, after = mounted.split(), described.split()
        if len(before) < 5 or len(after) < 3:
            continue
        if after[0] == "cgroup2" or (after[0] == "cgroup" and "cpu" in after[2].split(",")):
            yield _Mount(_unescaped(before[3]), Path(_unescaped(before[4])), 2 if after[0] == "cgroup2" else 1)


def _upwards(mount: _Mount, group: str) -> Iterator[Path]:
    """Yield the directories of a group and of those above it, as far as they are mounted here.

    A container may see its group under the name that it has outside, while its own group is what
    is mounted: then that is the one.
    """
    try:
        below = PurePosixPath(group).relative_to(mount.root)
    except ValueError:
        below = PurePosixPath()
    if ".." in below.parts or not (mount.point / below).is_dir():
        below = PurePosixPath()
    yield mount.point / below
    yield from (mount.point / parent for parent in below.parents)


def _read_version2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")
    return _cpus(quota, period)


def _read_version1(group: Path) -> float | None:
    return _cpus(_read(group / "cpu.cfs_quota_us").strip(), _read(group / "cpu.cfs_period_us").strip())


def _cpus(quota: str, period: str) -> float | None:
    """Divide what may be used of a period by the period; "max" and -1 are no limit."""
    if not (quota.isdecimal() and period.isdecimal()):
        return None
    return int(quota) / int(period) if int(quota) and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _unescaped(path: str) -> str:
    """Undo how the kernel writes spaces and the like: as a backslash and three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)
