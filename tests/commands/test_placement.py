"""The command starts itself again where it is told to, once, and says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastrag_quant.commands import placement
from fastrag_quant.errors import InputError
from fastrag_quant.commands.placement import Placement, current_allocator, numa_nodes, relaunch

CORES = sorted(os.sched_getaffinity(0))
BIN = Path(sys.executable).parent


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Commands and environments that this process would have been replaced by."""
    commands: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execvpe", lambda _, command, environment: commands.append((command, environment)))
    monkeypatch.setattr(launch.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(launch, "find_library", lambda name: f"lib{name}.so.4")
    return commands


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started again already."""
    monkeypatch.setenv("FASTRAG_QUANT_PLACED", "1")


def test_nothing_is_started_where_nothing_is_asked_for(started: list):
    relaunch(Placement(), "fastrag_quant.bench", ["doctor"])

    assert started == []


def test_the_command_runs_again_under_numactl_and_the_allocator(started: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LD_PRELOAD", "libother.so")
    cores = str(CORES[0])

    relaunch(Placement(cores, 0, "tcmalloc"), "fastrag_quant.bench", ["speed", "--cores", cores])

    ((command, environment),) = started
    numactl = ["numactl", f"--physcpubind={cores}", "--membind=0"]
    assert command == [*numactl, sys.executable, "-m", "fastrag_quant.bench", "speed", "--cores", cores]
    assert environment["LD_PRELOAD"] == "libtcmalloc.so.4:libother.so"
    assert environment["PATH"] == os.environ["PATH"]


def test_an_allocator_alone_needs_no_numactl(started: list):
    relaunch(Placement(allocator="jemalloc"), "fastrag_quant.bench", [])

    assert started[0][0][0] == sys.executable


@pytest.mark.usefixtures("placed")
def test_it_starts_again_only_once(started: list):
    relaunch(Placement(cores="0"), "fastrag_quant.bench", [])

    assert started == []


@pytest.mark.parametrize("cores", ["", "a", "0-", "0,,1", "-1", "3-1", "100000", "0-100000"])
def test_cores_that_make_no_sense_or_do_not_exist_are_refused(cores: str, started: list):
    with pytest.raises(InputError, match="--cores"):
        relaunch(Placement(cores=cores), "fastrag_quant.bench", [])
    assert started == []


def test_a_memory_node_that_does_not_exist_is_refused(started: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("node0", "node1", "online"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(launch, "_NODES", tmp_path)

    assert numa_nodes() == [0, 1]
    with pytest.raises(InputError, match="--memory-node 2 does not exist here: this machine has 0, 1"):
        relaunch(Placement(memory_node=2), "fastrag_quant.bench", [])
    assert started == []


def test_what_to_install_is_said_where_numactl_is_missing(started: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch.shutil, "which", lambda _: None)

    with pytest.raises(InputError, match="apt-get install numactl"):
        relaunch(Placement(cores=str(CORES[0])), "fastrag_quant.bench", [])


def test_what_to_install_is_said_where_the_allocator_is_missing(started: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch, "find_library", lambda _: None)

    with pytest.raises(InputError, match="apt-get install libgoogle-perftools4"):
        relaunch(Placement(allocator="tcmalloc"), "fastrag_quant.bench", [])


def test_the_allocator_is_read_from_the_libraries_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert current_allocator() == "the C library's"
    (tmp_path / "maps").write_text("7f00-7f01 r-xp 0 0:0 1  /usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4.5.9\n")
    monkeypatch.setattr(launch, "_MAPS", tmp_path / "maps")
    assert current_allocator() == "tcmalloc"


@pytest.mark.skipif(launch.shutil.which("numactl") is None, reason="numactl is not installed")
def test_the_real_command_runs_on_the_cores_it_was_given(tiny_cls_model: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    speed = ["speed", "--model-name", tiny_cls_model, "--mode", "hf", "--samples", "1", "--seq-len", "8"]

    subprocess.run([BIN / "fastrag_quant-bench", "--cores", str(CORES[0]), *speed, "--json", result], check=True)

    assert json.loads(result.read_text())["results"][0]["cores"] == 1
