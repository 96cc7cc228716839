"""The machine's int8 peak: what all its cores together can start from registers, without touching memory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("peak.cpp")
_COMPILERS = ("g++", "clang++", "c++")


class Peak:
    """The program that measures the peak, compiled in a folder of the caller's."""

    def __init__(self, folder: Path) -> None:
        """Compile the program.

        :raises ChildProcessError: if there is no C++ compiler, or it cannot compile this.
        """
        compiler = next(filter(shutil.which, _COMPILERS), None)
        if compiler is None:
            msg = f"there is no C++ compiler ({', '.join(_COMPILERS)})"
            raise ChildProcessError(msg)
        self._program = folder / "peak"
        _output([compiler, "-std=c++17", "-O2", "-pthread", str(_SOURCE), "-o", str(self._program)])
        self.instruction, _ = self._measure()

    def gops(self) -> float:
        """Return 1e9 int8 operations per second on all cores, a multiplication and an addition being two."""
        return self._measure()[1]

    def _measure(self) -> tuple[str, float]:
        instruction, gops = _output([str(self._program)]).split()
        return instruction, float(gops)


def _output(command: list[str]) -> str:
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    if process.returncode:
        raise ChildProcessError((process.stderr.strip().splitlines() or ["no message"])[0])
    return process.stdout
