"""OpenVINO's cache of compiled models needs no home, has a bound, and can be cleared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrag_quant.bench.doctor import describe_compiled_models
from fastrag_quant.commands import bench
from fastrag_quant.engines import compiled_models
from fastrag_quant.engines.compiled_models import (
    cache_directory,
    clear_compiled_models,
    nothing_kept,
    trim,
    writable_cache_directory,
)


@pytest.fixture(autouse=True)
def tell_again() -> Iterator[None]:
    """Forget which directories could be written: each test may tell of one."""
    compiled_models._writable.cache_clear()
    yield
    compiled_models._writable.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a cache of three compiled models, "old", "read" and "new"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = tmp_path / "fastrag_quant" / "openvino"
    directory.mkdir(parents=True)
    for name, written, read in (("old", 1, 1), ("read", 0, 3), ("new", 4, 4)):
        path = directory / f"{name}.blob"
        path.write_bytes(bytes(100))
        os.utime(path, (read, written))
    (directory / "notes.txt").write_text("of somebody else")
    return directory


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("home", ["/proc/nobody", "/dev/null"])
def test_a_home_that_cannot_be_written_is_told_once_and_means_no_cache(
    home: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)

    assert [writable_cache_directory() for _ in range(3)] == [None] * 3
    [record] = caplog.records
    assert f"because {home}/.cache/fastrag_quant/openvino cannot be written" in record.getMessage()


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def no_home() -> Path:
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)

    assert cache_directory() is None
    assert writable_cache_directory() is None
    assert "because this user has no home" in caplog.text
    assert clear_compiled_models() == 0


def test_a_directory_that_can_be_written_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))

    assert writable_cache_directory() == tmp_path / "caches" / "fastrag_quant" / "openvino"
    with nothing_kept():
        assert writable_cache_directory() is None


def test_what_was_unused_for_longest_goes_first(cache: Path):
    trim(cache, 200)
    assert names(cache) == {"read.blob", "new.blob", "notes.txt"}

    trim(cache, 200)
    assert names(cache) == {"read.blob", "new.blob", "notes.txt"}

    trim(cache, 0)
    assert names(cache) == {"new.blob", "notes.txt"}  # the one that was just made is used


def test_clearing_leaves_what_is_no_compiled_model(cache: Path):
    assert clear_compiled_models() == 300
    assert names(cache) == {"notes.txt"}


def test_the_doctor_tells_of_the_cache_and_clears_it(cache: Path, capsys: pytest.CaptureFixture):
    assert describe_compiled_models() == [("compiled models", f"3 of OpenVINO's, 0.0 MB in {cache}")]

    assert bench.main(["doctor", "--clear-cache"]) == 0

    assert f"0 of OpenVINO's, 0.0 MB in {cache}" in capsys.readouterr().out
    assert names(cache) == {"notes.txt"}
