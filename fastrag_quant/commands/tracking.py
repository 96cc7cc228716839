"""The options of commands that record their results in an Aim repository."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastrag_quant.bench.tracking import Tracker
from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import is_installed

_REPOSITORY_NAME = ".aim"


def add_tracking_options(parser: argparse.ArgumentParser) -> None:
    """Add --aim-repo, --experiment and --no-aim to a command."""
    group = parser.add_argument_group("Aim", "Where Aim is installed; look at the runs with: aim up --repo DIR")
    group.add_argument(
        "--aim-repo",
        type=Path,
        metavar="DIR",
        help="record in this folder's repository, made where missing; "
        "default: the working directory's if it has one (aim init), else none",
    )
    group.add_argument("--experiment", help="name of the experiment; default: fastrag_quant and the command")
    group.add_argument("--no-aim", action="store_true", help="record nothing")


def tracker_of(options: argparse.Namespace, command: str) -> Tracker | None:
    """Return where a command line asks to record, or None.

    :raises InputError: if --aim-repo was given and Aim is not installed.
    """
    repository: Path | None = options.aim_repo
    if repository is None and Path(_REPOSITORY_NAME).is_dir():
        repository = Path()
    if repository is None or options.no_aim:
        return None
    if is_installed("aim"):
        return Tracker(repository, options.experiment or f"fastrag_quant-{command}")
    if options.aim_repo is None:
        return None
    msg = "--aim-repo needs Aim, which is not installed: pip install 'fastrag-quant[bench]', or leave it out."
    raise InputError(msg)
