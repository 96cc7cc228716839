"""The report shows every figure it was given, and needs nothing from anywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from sample_results import ALL, PIPELINE, QUALITY, SPEED, speed

from fastrag_quant.bench.quality import INT8
from fastrag_quant.bench.report import make_report
from fastrag_quant.bench.tables import pipeline_table, quality_table, speed_table

VOID = {"meta", "link", "br", "img"}


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


def test_the_tables_are_those_of_the_console():
    page = make_report(ALL)

    assert speed_table(SPEED).html() in page
    assert quality_table([QUALITY]).html() in page
    assert pipeline_table(PIPELINE).html() in page


def test_a_chart_has_a_point_for_every_result():
    page = make_report(SPEED)

    assert len(re.findall(r"<circle", page)) == 2 * len(SPEED)  # in a chart of throughput and in one of latency
    assert "inc: 252 at 8" in page


def test_faster_is_higher_and_larger_batches_are_further_right():
    page = make_report(SPEED)
    first = page[page.index("<figure>") : page.index("</figure>")]
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3.5"><title>(\w+): ([\d.]+) at (\d)', first)
    at = {(mode, size): (float(x), float(y)) for x, y, mode, _, size in dots}

    assert at["inc", "8"][0] > at["inc", "1"][0]
    assert at["inc", "8"][1] < at["inc", "1"][1] < at["hf", "1"][1]
    assert at["inc", "8"][1] < at["hf", "8"][1]


def test_accuracy_meets_speed_where_the_models_are_the_same():
    assert "inc: 0.6458 at 252" in make_report(ALL)
    assert "hf: 0.6451 at 58" in make_report(ALL)
    assert "Accuracy against speed" not in make_report([*SPEED, replace(QUALITY, model="other")])


def points(page: str) -> set[str]:
    """Return the mode and score of every point of accuracy against speed."""
    section = page[page.index("<h2>Accuracy against speed") :]
    return set(re.findall(r"<title>([\w-]+: [\d.]+) at", section))


def test_every_engine_has_the_score_that_was_measured_on_it():
    other = replace(QUALITY, engine="openvino", scores={**QUALITY.scores, INT8: 0.6123})
    modes = [speed(mode, "int8", 1, 32, 9.0) for mode in ("inc", "openvino")]

    assert points(make_report([*modes, QUALITY, other])) == {"inc: 0.6458", "openvino: 0.6123"}
    assert points(make_report([*modes, speed("hf", "fp32", 1, 32, 3.0), QUALITY])) == {"inc: 0.6458", "hf: 0.6451"}


def test_what_computes_in_bf16_has_no_score_as_none_was_measured():
    page = make_report([speed(mode, "fp32", 1, 32, 9.0) for mode in ("hf", "hf-bf16", "ipex")] + [QUALITY])

    assert points(page) == {"hf: 0.6451", "ipex: 0.6451"}


def test_two_engines_are_told_apart_in_the_table_and_in_the_chart():
    page = make_report([QUALITY, replace(QUALITY, engine="openvino")])

    assert {"ipex", "openvino"} <= set(re.findall(r"<td>(.*?)</td>", page))
    assert "scifact nDCG@10: int8 on ipex" in page
    assert "scifact nDCG@10: int8 on openvino" in page


def test_a_table_that_is_wider_than_the_page_scrolls_in_a_frame_of_its_own():
    page = make_report(ALL)
    style = page[page.index("<style>") : page.index("</style>")]

    assert page.count('<div class="table"><table>') == page.count("<table>") == 3
    (frame,) = re.findall(r"\.table \{(.*?)\}", style)
    assert "overflow-x: auto" in frame
    assert "max-width: 100%" in frame
    (header,) = re.findall(r"\nth \{(.*?)\}", style)
    assert "white-space: normal" in header, "or the names of systems alone are wider than 1,100 pixels"
    assert re.search(r"h1, h2, h3, p, td:first-child \{[^}]*overflow-wrap: anywhere", style)


def test_names_are_text_and_not_markup():
    page = make_report(ALL, title="<b>mine</b>")

    assert "A &lt;fast&gt; CPU" in page
    assert "<b>" not in page


def test_repeated_runs_are_drawn_as_their_median():
    repeated = [speed("inc", "int8", size, 32, throughput) for size in (1, 8) for throughput in (10, 70, 20)]

    page = make_report(repeated)

    assert re.findall(r"<title>inc: (\d+) at (\d)", page) == [("20", "1"), ("20", "8")]


def test_a_single_shape_has_no_line_to_draw():
    assert Structure(make_report([speed("inc", "int8", 1, None, 10)])).headings == ["Speed"]
