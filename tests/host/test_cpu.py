"""What the package knows about the CPU, and that it binds no thread but those it was told to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastrag_quant.host import cpu


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Stands for the CPU of another machine: what its kernel says of it."""

    def write(text: str) -> None:
        (tmp_path / "cpuinfo").write_text(text)

    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    cpu.cpu_flags.cache_clear()
    yield write
    cpu.cpu_flags.cache_clear()


@pytest.fixture
def idle_thread() -> Iterator[int]:
    """The kernel's id of a thread that waits."""
    ready, done = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait()
    yield thread.native_id or 0
    done.set()
    thread.join()


def test_the_flags_are_those_of_the_kernel():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    first = next(line for line in lines if line.startswith("flags"))

    assert cpu.cpu_flags() == set(first.split()[2:])


def test_the_isa_lists_what_decides_int8_speed(cpuinfo: Callable[[str], None]):
    cpuinfo("model name\t: An older CPU\nflags\t\t: fpu avx avx2 avx512f sse4_2\n\n")

    assert cpu.isa() == ["avx2", "avx512f"]
    assert cpu.cpu_model() == "An older CPU"


def test_a_cpu_without_avx2_is_named(cpuinfo: Callable[[str], None]):
    cpuinfo("model name\t: An ancient CPU\nflags\t\t: fpu avx sse4_2\n\n")

    assert cpu.why_no_avx2() == "it needs a CPU with AVX2, and An ancient CPU has none"


def test_a_cpu_with_avx2_is_not_refused(cpuinfo: Callable[[str], None]):
    cpuinfo("model name\t: A newer CPU\nflags\t\t: fpu avx avx2\n\n")

    assert cpu.why_no_avx2() is None


@pytest.mark.usefixtures("cpuinfo")
def test_a_system_that_does_not_tell_is_given_the_benefit_of_the_doubt():
    assert cpu.cpu_flags() == frozenset()
    assert cpu.cpu_model()
    assert cpu.why_no_avx2() is None


def test_the_usable_cores_are_those_this_process_may_run_on():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpu.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cpu.usable_cores() == len(before)


def test_pinning_binds_the_named_threads_and_no_others(idle_thread: int):
    before = os.sched_getaffinity(0)

    cpu.pin_threads([idle_thread])

    assert os.sched_getaffinity(idle_thread) == {min(before)}
    assert os.sched_getaffinity(threading.get_native_id()) == before


def test_more_threads_than_cores_go_round_robin(idle_thread: int):
    cores = sorted(os.sched_getaffinity(0))

    cpu.pin_threads([idle_thread] * (len(cores) + 1))

    assert os.sched_getaffinity(idle_thread) == {cores[0]}
