"""Control groups that limit CPU time, as kernels and container runtimes lay them out; and one of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastrag_quant.host import cgroups, cpu

# A mount in /proc/self/mountinfo: what is mounted, where, the file system and its options.
V1 = "33 32 0:30 {root} {point} rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
V2 = "31 23 0:27 {root} {point} rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate"
OTHERS = "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n22 1 8:1 / / rw - ext4 /dev/sda1 rw\nbroken"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lays out the files of a machine: what the process says of itself, and those of control groups, by path."""
    monkeypatch.setattr(cgroups, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(cpu, "affinity_cores", lambda: 64)

    def lay_out(group: str, mount: str, root: str = "/", **files: str) -> None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cgroup").write_text(f"4:memory:/elsewhere\n1:name=systemd:/init\n{group}\n")
        mounted = mount.format(root=root, point=str(tmp_path / "my groups").replace(" ", r"\040"))
        (tmp_path / "proc" / "mountinfo").write_text(f"{OTHERS}\n{mounted}\n")
        for name, content in files.items():
            path = tmp_path / "my groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return lay_out


@pytest.mark.parametrize(
    ("content", "quota", "cores"),
    [
        ("200000 100000\n", 2, 2),
        ("150000 100000\n", 1.5, 2),
        ("10000 100000\n", 0.1, 1),
        ("max 100000\n", None, 64),
        ("9900000 100000\n", 99, 64),  # more than there are
        ("", None, 64),
        ("nonsense\n", None, 64),
        ("200000\n", None, 64),
        ("-1 100000\n", None, 64),
        ("200000 0\n", None, 64),
        ("0 100000\n", None, 64),
    ],
)
def test_version_2(tree: Callable[..., None], content: str, quota: float | None, cores: int):
    tree("0::/pod", V2, **{"pod/cpu.max": content})

    assert cgroups.cpu_quota() == quota
    assert cpu.usable_cores() == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("300000", "100000", 3), ("-1", "100000", 64), ("25000", "50000", 1), ("", "", 64), ("300000", "", 64)],
)
def test_version_1(tree: Callable[..., None], quota: str, period: str, cores: int):
    tree("3:cpu,cpuacct:/pod", V1, **{"pod/cpu.cfs_quota_us": quota, "pod/cpu.cfs_period_us": period})

    assert cpu.usable_cores() == cores


def test_the_smallest_quota_of_all_groups_above_counts(tree: Callable[..., None]):
    files = {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000", "a/b/c/cpu.max": "800000 100000"}
    tree("0::/a/b/c", V2, **files)

    assert cpu.usable_cores() == 3


def test_version_1_is_inherited_too(tree: Callable[..., None]):
    tree("3:cpu:/a/b", V1, **{"a/cpu.cfs_quota_us": "200000", "a/cpu.cfs_period_us": "100000", "a/b/tasks": ""})

    assert cpu.usable_cores() == 2


def test_a_container_that_has_its_own_group_mounted(tree: Callable[..., None]):
    tree("0::/docker/abc/inner", V2, root="/docker/abc", **{"cpu.max": "400000 100000", "inner/cpu.max": "max 100000"})

    assert cpu.usable_cores() == 4


@pytest.mark.parametrize("group", ["/docker/abc", "/../../outside", "/"])
def test_a_group_under_a_name_that_is_not_mounted_is_the_mounted_one(tree: Callable[..., None], group: str):
    tree(f"3:cpu:{group}", V1, root="/other", **{"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"})

    assert cpu.usable_cores() == 2


def test_the_affinity_counts_where_it_is_smaller(tree: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    tree("0::/pod", V2, **{"pod/cpu.max": "800000 100000"})
    monkeypatch.setattr(cpu, "affinity_cores", lambda: 3)

    assert cpu.usable_cores() == 3


def test_a_system_without_these_files_limits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cgroups, "_PROC", tmp_path / "missing")

    assert cgroups.cpu_quota() is None


@pytest.fixture
def limited_to_one_cpu() -> Iterator[Path]:
    """A control group of this machine, of half a CPU."""
    version2 = Path("/sys/fs/cgroup/cgroup.controllers").is_file()
    group = Path("/sys/fs/cgroup" if version2 else "/sys/fs/cgroup/cpu") / f"fastrag_quant-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("cpu.max" if version2 else "cpu.cfs_quota_us")).write_text("50000")
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    yield group
    group.rmdir()


COUNT = """
import sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
threads = lambda: len(list(Path("/proc/self/task").iterdir()))
from tokenizers import Tokenizer
before = threads()
Tokenizer.from_file(sys.argv[2] + "/tokenizer.json").encode_batch_fast(["a"] * 99)
pool = threads() - before
from fastrag_quant import QuantizedEmbedder
from fastrag_quant.host.cpu import usable_cores
print(usable_cores(), QuantizedEmbedder(sys.argv[2], "torch")._engine.streams, pool)
"""


def test_a_process_in_a_limited_group_of_this_machine_takes_one_core(limited_to_one_cpu: Path, tiny_cls_model: Path):
    """So does the library tokenizers, whose threads this package does not choose."""
    command = [sys.executable, "-c", COUNT, str(limited_to_one_cpu), str(tiny_cls_model)]

    process = subprocess.run(command, capture_output=True, text=True, check=False)

    assert process.stdout.split() == ["1", "1", "1"], process.stderr
