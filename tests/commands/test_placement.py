"""The command starts itself again where it is told to, once, and says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastrag_quant.commands import bench, placement
from fastrag_quant.commands.placement import Placement, relaunch
from fastrag_quant.errors import InputError
from fastrag_quant.host import memory
from fastrag_quant.host.memory import numa_nodes

CORES = sorted(os.sched_getaffinity(0))
BIN = Path(sys.executable).parent


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Commands and environments that this process would have been replaced by."""
    commands: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execvpe", lambda _, command, environment: commands.append((command, environment)))
    monkeypatch.setattr(placement.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(placement, "find_library", lambda name: f"lib{name}.so.4")
    return commands


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started again already."""
    monkeypatch.setenv("FASTRAG_QUANT_PLACED", "1")


def test_nothing_is_started_where_nothing_is_asked_for(started: list):
    relaunch(Placement(), "fastrag_quant.commands.bench", ["doctor"])

    assert started == []


def test_the_command_runs_again_under_numactl_and_the_allocator(started: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LD_PRELOAD", "libother.so")
    cores = str(CORES[0])

    relaunch(Placement(cores, 0, "tcmalloc"), "fastrag_quant.commands.bench", ["speed", "--cores", cores])

    ((command, environment),) = started
    numactl = ["numactl", f"--physcpubind={cores}", "--membind=0"]
    assert command == [*numactl, sys.executable, "-m", "fastrag_quant.commands.bench", "speed", "--cores", cores]
    assert environment["LD_PRELOAD"] == "libtcmalloc.so.4:libother.so"
    assert environment["PATH"] == os.environ["PATH"]


def test_an_allocator_alone_needs_no_numactl(started: list):
    relaunch(Placement(allocator="jemalloc"), "fastrag_quant.commands.bench", [])

    assert started[0][0][0] == sys.executable


@pytest.mark.usefixtures("placed")
def test_it_starts_again_only_once(started: list):
    relaunch(Placement(cores="0"), "fastrag_quant.commands.bench", [])

    assert started == []


@pytest.mark.parametrize("cores", ["", "a", "0-", "0,,1", "-1", "3-1", "100000", "0-100000"])
def test_cores_that_make_no_sense_or_do_not_exist_are_refused(cores: str, started: list):
    with pytest.raises(InputError, match="--cores"):
        relaunch(Placement(cores=cores), "fastrag_quant.commands.bench", [])
    assert started == []


def test_a_memory_node_that_does_not_exist_is_refused(started: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("node0", "node1", "online"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(memory, "_NODES", tmp_path)

    assert numa_nodes() == [0, 1]
    with pytest.raises(InputError, match="--memory-node 2 does not exist here: this machine has 0, 1"):
        relaunch(Placement(memory_node=2), "fastrag_quant.commands.bench", [])
    assert started == []


def test_what_to_install_is_said_where_numactl_is_missing(started: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placement.shutil, "which", lambda _: None)

    with pytest.raises(InputError, match="apt-get install numactl"):
        relaunch(Placement(cores=str(CORES[0])), "fastrag_quant.commands.bench", [])


def test_what_to_install_is_said_where_the_allocator_is_missing(started: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placement, "find_library", lambda _: None)

    with pytest.raises(InputError, match="apt-get install libgoogle-perftools4"):
        relaunch(Placement(allocator="tcmalloc"), "fastrag_quant.commands.bench", [])


def test_the_command_starts_its_own_module_again(started: list):
    bench.main(["--allocator", "jemalloc", "doctor"])

    ((command, _),) = started
    assert command == [sys.executable, "-m", "fastrag_quant.commands.bench", "--allocator", "jemalloc", "doctor"]
    process = subprocess.run([*command[:3], "doctor"], capture_output=True, text=True, check=False)
    assert process.returncode == 0
    assert process.stdout.startswith("CPU ")


@pytest.mark.skipif(placement.shutil.which("numactl") is None, reason="numactl is not installed")
def test_the_real_command_runs_on_the_cores_it_was_given(tiny_cls_model: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    speed = ["speed", "--model-name", tiny_cls_model, "--mode", "hf", "--samples", "1", "--seq-len", "8"]

    subprocess.run([BIN / "fastrag_quant-bench", "--cores", str(CORES[0]), *speed, "--json", result], check=True)

    assert json.loads(result.read_text())["results"][0]["environment"]["cores"] == 1
