"""A table is built once: the console and the page show the same cells."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from sample_results import PIPELINE, QUALITY, SPEED, speed

from fastrag_quant.bench.latency import Latency
from fastrag_quant.bench.quality import FP32, INT8, MIXED
from fastrag_quant.bench.tables import Table, latency_cells, pipeline_table, quality_table, speed_table

TABLES = {"speed": speed_table(SPEED), "quality": quality_table([QUALITY]), "pipeline": pipeline_table(PIPELINE)}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_console_and_page_show_the_same_cells_in_the_same_order(table: Table):
    expected = [list(table.headers), *map(list, table.rows)]

    header, rule, *rows = table.text().splitlines()
    columns = [match.span() for match in re.finditer("-+", rule)]
    console = [[line[start:end].strip() for start, end in columns] for line in (header, *rows)]
    shown = re.findall(r"<tr>(.*?)</tr>", table.html())
    page = [[unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", row)] for row in shown]

    assert console == expected
    assert page == expected


def test_a_row_of_speed_has_every_figure():
    table = speed_table([replace(speed("inc", "int8", 8, 32, 252.0), latency=Latency(1.234, 0.5, 1, 2, 3))])

    assert dict(zip(table.headers, table.rows[0], strict=True)) == {
        **{"mode": "inc", "batch": "8", "length": "32", "threads": "2"},
        **{"mean ± std ms": "1.23 ± 0.50", "p50": "1.00", "p95": "2.00", "p99": "3.00"},
        **{"samples/s": "252.0", "tokens/s": "1000", "first call ms": "12", "peak MB": "500"},
    }
    assert speed_table([speed("hf", "fp32", 1, None, 1.0)]).rows[0][2] == "text"


def test_a_row_of_quality_has_each_systems_score_and_difference():
    table = quality_table([QUALITY, replace(QUALITY, queries=None, differences={})])

    assert table.headers == [
        *("task", "measure", "engine", "queries", FP32),
        *(INT8, "difference", "95 % interval"),
        *(MIXED, "difference", "95 % interval"),
    ]
    assert table.rows == [
        [
            *("scifact", "nDCG@10", "ipex", "300", "0.6451"),
            *("0.6458", "+0.0007 (+0.1%)", "-0.0084 … +0.0100"),
            *("0.6421", "-0.0030 (-0.5%)", ""),
        ],
        ["scifact", "nDCG@10", "ipex", "", "0.6451", *[""] * 6],
    ]


def test_a_pipeline_has_a_row_for_each_node_and_one_for_all():
    assert [row[0] for row in pipeline_table(PIPELINE).rows] == ["Retriever", "Ranker & more", "whole query"]
    assert pipeline_table(PIPELINE).rows[-1][1:] == latency_cells(PIPELINE.total)
