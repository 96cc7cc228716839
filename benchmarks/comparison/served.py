"""A system in a process of its own, as the process that compares sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from comparison.system import Home, Setup, System
from comparison.systems import SYSTEMS

_PROGRAM = Path(__file__).parents[1] / "compare.py"


class Served:
    """A process that loads a system and measures one thing whenever it is asked."""

    def __init__(self, name: str, setup: Setup, pythons: Mapping[Home, str]) -> None:
        """Start the process.

        :param pythons: the interpreter of each environment.
        """
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on exit
        self._started = perf_counter()
        self._process = subprocess.Popen(
            _command(name, setup, pythons, "--serve"),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **SYSTEMS[name].variables},
        )

    def start(self, text: str) -> tuple[float, dict[str, Any]]:
        """Have the system loaded and a text embedded.

        :return: seconds since the process was started, and what it answered.
        :raises ChildProcessError: if the process failed, with its last line.
        """
        answer = self.ask("start", text)
        return perf_counter() - self._started, answer

    def ask(self, what: str, *arguments: object) -> Any:
        """Have something measured; see ``serving.Workload``.

        :raises ChildProcessError: if the process failed, with its last line.
        """
        try:
            print(json.dumps([what, *arguments]), file=self._process.stdin, flush=True)
            while line := self._process.stdout.readline():
                try:
                    return json.loads(line)
                except ValueError:
                    continue  # a library that prints
        except BrokenPipeError:
            pass
        self._errors.seek(0)
        raise ChildProcessError(_last_line(self._errors.read()))

    def __enter__(self) -> Served:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()


def build_model(name: str, setup: Setup, pythons: Mapping[Home, str]) -> None:
    """Write a system's model where it has one and it is not there yet; whole or not at all.

    :raises ChildProcessError: if that fails, with the last line of what was said.
    """
    system: System = SYSTEMS[name]
    if system.build is None or system.model is None or setup.folder(system.model).exists():
        return
    Path(setup.models).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=setup.models) as temporary:
        folder = Path(temporary) / "model"
        process = subprocess.run(
            [*_command(name, setup, pythons, "--build"), str(folder)], check=False, capture_output=True, text=True
        )
        if process.returncode:
            raise ChildProcessError(_last_line(process.stderr))
        folder.rename(setup.folder(system.model))


def _command(name: str, setup: Setup, pythons: Mapping[Home, str], what: str) -> list[str]:
    return [pythons[SYSTEMS[name].home] or sys.executable, str(_PROGRAM), what, name, setup.to_json()]


def _last_line(errors: str) -> str:
    return (errors.strip().splitlines() or ["no message"])[-1]
