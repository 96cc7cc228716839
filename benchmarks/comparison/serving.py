"""What runs in the process of one system: it loads the system, and measures whatever it is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from comparison.system import Setup
from comparison.systems import SYSTEMS


def serve(name: str, setup: Setup) -> None:
    """Answer each line of the input, a JSON list of a measure's name and its arguments, with a line of JSON."""
    workload = Workload(name, setup)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(workload, what)(*arguments)), flush=True)


def build(name: str, setup: Setup, folder: Path) -> None:
    """Write the model of a system."""
    SYSTEMS[name].build(setup, folder)


class Workload:
    """What is measured of a system."""

    def __init__(self, name: str, setup: Setup) -> None:
        """Note what to load, and do nothing yet."""
        self._system, self._setup = SYSTEMS[name], setup

    def start(self, text: str) -> dict[str, Any]:
        """Load the system and embed a first query."""
        self._loaded = self._system.load(self._setup)
        self._loaded.embed([text], True)
        return {"memory_mb": _peak_megabytes(), "shape": self._loaded.shape and asdict(self._loaded.shape)}

    def prepare(self, path: str) -> dict[str, list[int] | None]:
        """Read the texts that everything else is measured on, and embed some of them."""
        self._texts = json.loads(Path(path).read_text(encoding="utf-8"))
        self._loaded.embed(self._texts["documents"][:64], False)
        for query in self._texts["queries"] * 2:  # every length that queries have, twice
            self._loaded.embed([query], True)
        return {name: self._count(texts) for name, texts in self._texts.items()}

    def texts(self, name: str, start: int, step: int) -> float:
        """Return in how many seconds texts are embedded together: every STEPth from START on."""
        texts = self._texts[name][start::step]
        return _seconds(lambda: self._loaded.embed(texts, False))

    def queries(self, start: int, step: int) -> list[float]:
        """Return in how many milliseconds each of some queries is embedded, one by one."""
        queries = self._texts["queries"][start::step]
        return [_seconds(lambda query=query: self._loaded.embed([query], True)) * 1000 for query in queries]

    def rerank(self, count: int) -> float:
        """Return in how many milliseconds a query and its candidates are embedded and scored."""
        embed, documents, queries = self._loaded.embed, self._texts["documents"][:count], self._texts["queries"][:1]
        return _seconds(lambda: embed(documents, False) @ embed(queries, True)[0]) * 1000

    def vectors(self, texts_path: str, folder: str) -> None:
        """Write the vectors of documents and queries, for the comparison with fp32."""
        import numpy as np

        texts = json.loads(Path(texts_path).read_text(encoding="utf-8"))
        for name, of in texts.items():
            np.save(Path(folder) / f"{name}.npy", np.asarray(self._loaded.embed(of, name == "queries"), np.float32))

    def memory(self) -> float:
        """Return the memory that all of it took at the most, in MB."""
        return _peak_megabytes()

    def _count(self, texts: list[str]) -> list[int] | None:
        return self._loaded.count_tokens(texts) if self._loaded.count_tokens else None


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _peak_megabytes() -> float:
    """Read it from the kernel: what getrusage says begins with the memory of the process that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kibibytes) * 1024 / 1e6
