"""What the package knows about memory: how much was taken, its nodes, and which allocator serves it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant.host import memory


def test_peak_memory_counts_bytes():
    array = np.ones(20_000_000)

    assert array.nbytes < memory.peak_memory_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_nodes_are_those_that_the_kernel_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in (*(f"node{number}" for number in (10, 2, 0, 11, 1, 7, 3, 9, 8)), "possible", "power"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(memory, "_NODES", tmp_path)

    assert memory.numa_nodes() == [0, 1, 2, 3, 7, 8, 9, 10, 11]


def test_a_kernel_that_lists_no_nodes_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_NODES", tmp_path / "missing")

    assert memory.numa_nodes() == []


@pytest.mark.parametrize(
    ("library", "allocator"),
    [
        ("libtcmalloc.so.4", "tcmalloc"),
        ("libtcmalloc_minimal.so.4", "tcmalloc"),
        ("libjemalloc.so.2", "jemalloc"),
        ("libc.so.6", "the C library's"),
    ],
)
def test_the_allocator_is_read_from_the_libraries_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, allocator: str
):
    (tmp_path / "maps").write_text(f"7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/{library}\n")
    monkeypatch.setattr(memory, "_MAPS", tmp_path / "maps")

    assert memory.current_allocator() == allocator


def test_a_process_is_served_by_the_c_library_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert memory.current_allocator() == "the C library's"
    monkeypatch.setattr(memory, "_MAPS", tmp_path / "missing")
    assert memory.current_allocator() == "the C library's"
