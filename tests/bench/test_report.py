"""The report shows every figure it was given, and needs nothing from anywhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fastrag_quant.commands.bench import main
from fastrag_quant.bench.quality import FP32, INT8, MIXED
from fastrag_quant.bench.report import make_report
from fastrag_quant.bench.results import read_results, write_json, write_results
from fastrag_quant.errors import InputError

MACHINE = {"cpu": "A <fast> CPU", "isa": ["avx2"], "cores": 2, "allocator": "tcmalloc", "versions": {"torch": "2.8.0"}}
VOID = {"meta", "link", "br", "img"}


def speed(mode: str, model: str, size: int, length: int | None, throughput: float) -> dict:
    figures = {"samples_per_second": throughput, "tokens_per_second": 1000.0, "first_call_ms": 12.0, "threads": 2}
    latency = {f"latency_{name}_ms": 1.5 for name in ("mean", "std", "p50", "p95", "p99")}
    given = {"mode": mode, "model": model, "batch_size": size, "seq_len": length, "peak_memory_bytes": 5e8}
    return {**given, "input": f"random tokens, length {length}" if length else "text", **figures, **latency, **MACHINE}


SPEED = [
    speed(mode, model, size, length, throughput * size)
    for mode, model, throughput in (("inc", "int8", 31.5), ("hf", "fp32", 7.25))
    for size in (1, 8)
    for length in (32, 128)
]
QUALITY = {
    "task": "scifact",
    "measure": "nDCG@10",
    "queries": 300,
    "model": "int8",
    "baseline": "fp32",
    "scores": {FP32: 0.6451, INT8: 0.6458, MIXED: 0.6421},
    "differences": {
        INT8: {"absolute": 0.0007, "relative": 0.0011, "low": -0.0084, "high": 0.01},
        MIXED: {"absolute": -0.003, "relative": -0.005, "low": None, "high": None},
    },
    **MACHINE,
}
NODE = {"mean_ms": 2.5, "std_ms": 0.25, "p50_ms": 2.0, "p95_ms": 4.0, "p99_ms": 8.0}
PIPELINE = {
    "pipeline": "haystack1/latency.yaml",
    "queries": 100,
    "documents": None,
    "concurrency": 4,
    "queries_per_second": 12.5,
    "total": {**NODE, "p99_ms": 9.75},
    "nodes": {"Retriever": NODE, "Ranker & more": NODE},
    **MACHINE,
}
ALL = [("speed", SPEED), ("quality", [QUALITY]), ("pipeline", [PIPELINE])]


class Structure(HTMLParser):
    """Notes tags that are not closed, text, and what is loaded from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.elsewhere: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.elsewhere += [(name, value) for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elsewhere += [(name, value) for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


def test_every_kind_of_result_has_its_section_and_charts():
    structure = Structure(make_report(ALL))

    assert structure.open == []
    assert structure.headings == [
        "Speed",
        *("Texts per second, random tokens, length 32", "Texts per second, random tokens, length 128"),
        *("Milliseconds per call, median, batch size 1", "Milliseconds per call, median, batch size 8"),
        *("Quality", "Difference to fp32"),
        *("Accuracy against speed", "scifact, nDCG@10"),
        *("Pipeline haystack1/latency.yaml", "Latency by node"),
    ]


def test_the_page_loads_nothing_and_runs_nothing():
    page = make_report(ALL)

    assert Structure(page).elsewhere == []
    assert "<script" not in page
    assert not re.search(r"url\(|@import|https?:", page)


def test_it_follows_the_readers_light_or_dark_setting():
    page = make_report(ALL)

    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_tables_hold_the_figures():
    cells = re.findall(r"<td>(.*?)</td>", make_report(ALL))

    assert {"252.0", "58.0"} <= set(cells)  # texts per second at batch size 8
    assert {"0.6451", "0.6458", "+0.0007 (+0.1%)", "-0.0084 … +0.0100"} <= set(cells)
    assert {"Ranker &amp; more", "whole query", "9.75"} <= set(cells)


def test_a_chart_has_a_point_for_every_result():
    page = make_report([("speed", SPEED)])

    assert len(re.findall(r"<circle", page)) == 2 * len(SPEED)  # in a chart of throughput and in one of latency
    assert "inc: 252 at 8" in page


def test_faster_is_higher_and_larger_batches_are_further_right():
    page = make_report([("speed", SPEED)])
    first = page[page.index("<figure>") : page.index("</figure>")]
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3.5"><title>(\w+): ([\d.]+) at (\d)', first)
    at = {(mode, size): (float(x), float(y)) for x, y, mode, _, size in dots}

    assert at["inc", "8"][0] > at["inc", "1"][0]
    assert at["inc", "8"][1] < at["inc", "1"][1] < at["hf", "1"][1]
    assert at["inc", "8"][1] < at["hf", "8"][1]


def test_accuracy_meets_speed_where_the_models_are_the_same():
    assert "inc: 0.6458 at 252" in make_report(ALL)
    assert "hf: 0.6451 at 58" in make_report(ALL)
    assert "Accuracy against speed" not in make_report([("speed", SPEED), ("quality", [{**QUALITY, "model": "other"}])])


def test_names_are_text_and_not_markup():
    page = make_report(ALL, title="<b>mine</b>")

    assert "A &lt;fast&gt; CPU" in page
    assert "<b>" not in page


def test_repeated_runs_are_drawn_as_their_median():
    repeated = [speed("inc", "int8", size, 32, throughput) for size in (1, 8) for throughput in (10, 70, 20)]

    page = make_report([("speed", repeated)])

    assert re.findall(r"<title>inc: (\d+) at (\d)", page) == [("20", "1"), ("20", "8")]


def test_a_single_shape_has_no_line_to_draw():
    assert Structure(make_report([("speed", [speed("inc", "int8", 1, None, 10)])])).headings == ["Speed"]


def test_the_command_writes_the_page_from_files(tmp_path: Path, capsys: pytest.CaptureFixture):
    for kind, results in ALL:
        write_results(tmp_path / f"{kind}.json", kind, results)
    given = [str(tmp_path / f"{kind}.json") for kind, _ in ALL]

    assert main(["report", *given, "--output", str(tmp_path / "report.html"), "--title", "Mine"]) == 0

    assert (tmp_path / "report.html").read_text() == make_report(ALL, "Mine")
    assert capsys.readouterr().out == f"Written to {tmp_path / 'report.html'}\n"


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"kind": "other", "results": []}', '{"kind": "speed", "results": 1}']
)
def test_a_file_that_holds_no_results_is_refused(content: str, tmp_path: Path):
    (tmp_path / "file.json").write_text(content)

    with pytest.raises(InputError, match=r"file\.json"):
        read_results(tmp_path / "file.json")


def test_results_come_back_as_they_were_written(tmp_path: Path):
    write_results(tmp_path / "speed.json", "speed", SPEED)

    assert read_results(tmp_path / "speed.json") == ("speed", SPEED)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path):
    write_json(tmp_path / "file.json", [1])

    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", [object()])

    assert json.loads((tmp_path / "file.json").read_text()) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
