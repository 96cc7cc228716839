"""Commands record in the Aim repository that they are told or find, and nowhere else."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from fastrag_quant.bench.tracking import Tracker
from fastrag_quant.commands import tracking
from fastrag_quant.commands.tracking import add_tracking_options, tracker_of
from fastrag_quant.errors import InputError


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_tracking_options(parser)
    return parser.parse_args(arguments)


def test_nothing_is_tracked_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    assert tracker_of(options(), "speed") is None


def test_the_working_directorys_repository_is_used_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "is_installed", lambda _: True)
    (tmp_path / ".aim").mkdir()
    monkeypatch.chdir(tmp_path)

    assert tracker_of(options(), "speed") == Tracker(Path(), "fastrag_quant-speed")
    assert tracker_of(options("--no-aim"), "speed") is None


def test_without_aim_a_repository_that_was_asked_for_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "is_installed", lambda _: False)
    (tmp_path / ".aim").mkdir()
    monkeypatch.chdir(tmp_path)

    assert tracker_of(options(), "speed") is None
    with pytest.raises(InputError, match=r"pip install 'fastrag-quant\[bench\]'"):
        tracker_of(options("--aim-repo", "runs"), "speed")
