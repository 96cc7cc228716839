"""The documentation names what there is: engines, options, arguments and parameters, with their defaults."""

from __future__ import annotations

import argparse
import ast
import configparser
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path

import pytest

import fastrag_quant
from fastrag_quant.commands import bench, quantize
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines import AUTO, ENGINE_KINDS, QUANTIZED_KINDS

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MIGRATION = (REPOSITORY / "docs" / "migration.md").read_text(encoding="utf-8")
PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]

IN_CODE = re.compile(r"`([^`]+)`")


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables of a page, as rows of cells; the first row is the head."""
    for lines in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip("|\n").split("|")] for line in lines.splitlines())
        yield [head, *rows]


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the one table of a page whose first head cell is that."""
    [found] = [rows for first, *rows in tables(text) if first[0] == head]
    return found


def named(cell: str) -> list[str]:
    return IN_CODE.findall(cell)


# Engines


def test_the_table_of_engines_is_that_of_the_package():
    rows = {named(name)[0]: (runs, quantizes) for name, runs, quantizes, _ in table(README, "engine")}

    assert list(rows) == list(ENGINE_KINDS)
    for name, (runs, quantizes) in rows.items():
        kind = ENGINE_KINDS[name]
        assert named(runs) == ([f"fastrag-quant[{kind.extra}]"] if kind.extra else ["fastrag-quant"])
        extra = kind.quantization_extra
        made_by = [f"fastrag-quant[{extra}]"] if extra else ["fastrag-quant"]
        assert named(quantizes) == (made_by if kind.quantizer else [])


@pytest.mark.parametrize("option", ["argument", "option"])
def test_the_engines_that_can_be_chosen_are_named_where_they_are_chosen(option: str):
    [about] = [row for row in table(README, option) if "engine" in row[0]]

    words = {name.strip('"-') for cell in about for name in named(cell)} - {"engine"}
    assert words == ({AUTO, *ENGINE_KINDS} if option == "argument" else set(QUANTIZED_KINDS))


def test_every_extra_that_a_page_names_exists():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")

    installed = [names for page in PAGES for names in re.findall(r"(?:quant|\.)\[([\w,]+)\]", page.read_text())]
    extras = {name for names in installed for name in names.split(",")}
    assert {"openvino", "nncf", "ipex", "inc", "haystack"} <= extras <= set(setup["options.extras_require"])


# Options and arguments


def documented_defaults(rows: list[list[str]]) -> dict[str, str]:
    return {name: default for names, default, _ in rows for name in named(names)}


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Each option by its first spelling; fastRAG's, with underscores, come second."""
    return {action.option_strings[0]: action for action in parser._actions if action.dest != "help"}


def test_the_options_of_quantize_are_those_of_its_parser():
    documented, options = documented_defaults(table(README, "option")), options_of(quantize._parser())

    assert set(documented) == set(options)
    for name, action in options.items():
        if action.default is None:
            assert not re.search(r"\d|^all$|^off$", documented[name]), name  # a word for what is taken then, or nothing
        else:
            assert documented[name] == ("off" if action.default is False else str(action.default)), name


def test_the_arguments_of_the_embedder_are_the_fields_of_its_record():
    documented = documented_defaults(table(README, "argument"))
    defaults = {field.name: field.default for field in fields(EmbedderConfig)}

    assert set(documented) == set(defaults)
    for name, default in defaults.items():
        if default in (None, MISSING):
            assert not named(documented[name]), name
        else:
            assert ast.literal_eval(named(documented[name])[0]) == default, name


def test_every_option_in_a_command_line_exists():
    parsers = {"quantize": [quantize._parser()], "bench": [bench._parser(), *subparsers(bench._parser())]}
    known = {
        command: {string for parser in found for action in parser._actions for string in action.option_strings}
        for command, found in parsers.items()
    }

    for page in PAGES:
        for command, line in re.findall(r"^fastrag_quant-(\w+)((?:.*\\\n)*.*)$", page.read_text(), re.MULTILINE):
            assert set(re.findall(r"(?<=\s)--[\w-]+", line)) <= known[command], line


def subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    [action] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return list(action.choices.values())


def test_what_programs_import_from_the_package_is_public():
    for page in PAGES:
        for names in re.findall(r"^from fastrag_quant import ([\w, ]+)$", page.read_text(), re.MULTILINE):
            assert set(names.split(", ")) <= set(fastrag_quant.__all__)


# Nodes and components


def parameters_of(room: str, *names: str) -> set[str]:
    """The parameters that any of these nodes or components has."""
    made = [getattr(import_module(f"fastrag_quant.{room}"), name) for name in names]
    return {name for one in made for name in inspect.signature(one.__init__).parameters} - {"self"}


@pytest.mark.needs("haystack1")
@pytest.mark.parametrize("column", [0, 1])
def test_the_table_of_the_nodes_is_their_signatures(column: int):
    node = ["QuantizedBiEncoderRetriever", "QuantizedBiEncoderRanker"][column]

    rows = table(README, "`QuantizedBiEncoderRetriever`")
    written = [name for row in rows for name in named(row[0] if row[column] == "the same" else row[column])]
    assert sorted(written) == sorted(parameters_of("nodes", node))


def sections() -> Iterator[tuple[str, str]]:
    """The parts of the migration guide: heading and text."""
    for part in MIGRATION.split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        yield heading, text


COMPONENTS = [
    *("QuantizedTextEmbedder", "QuantizedDocumentEmbedder", "QuantizedBiEncoderRetriever", "QuantizedBiEncoderRanker")
]
GUIDES = [
    pytest.param(room, rows, id=f"{heading}: {rows[0][0]}", marks=pytest.mark.needs(extra))
    for heading, text in sections()
    for room, extra in [("nodes", "haystack1") if heading.startswith("Haystack 1") else ("components", "haystack")]
    if heading != "Names"
    for rows in tables(text)
]


def ours(theirs: str, cell: str) -> set[str]:
    """The parameters of ours that a row names: before the first remark, and in ``name=value``."""
    told = re.split(r"[(:;]", cell)[0]
    names = set(named(told)) | set(re.findall(r"`(\w+)=", cell))
    if told.startswith(("the same", "as above")):
        names |= set(named(theirs.split("(")[0]))
    return {name.partition("=")[0] for name in names}


@pytest.mark.parametrize(("room", "rows"), GUIDES)
def test_the_migration_guide_names_parameters_that_exist(room: str, rows: list[list[str]]):
    (_, right), *rows = rows
    parameters = parameters_of(room, *(re.findall(r"Quantized\w+", right) or COMPONENTS))

    for theirs, cell in rows:
        assert ours(theirs, cell) <= parameters, cell
    assert any(ours(theirs, cell) for theirs, cell in rows)


@pytest.mark.needs("haystack1")
@pytest.mark.parametrize("node", ["QuantizedBiEncoderRetriever", "QuantizedBiEncoderRanker"])
def test_the_migration_guide_names_all_parameters_of_the_nodes(node: str):
    [(text, rows)] = [
        (text, rows)
        for heading, text in sections()
        for first, *rows in tables(text)
        if heading.startswith("Haystack 1") and first[1] == node
    ]

    new = named(re.search(r"New here: ([^.]*)\.", text)[1].partition(", as in")[0])
    from_theirs = set().union(*(ours(*row) for row in rows))
    assert sorted(new) == sorted(parameters_of("nodes", node) - from_theirs)


def test_the_migration_guide_names_classes_that_exist():
    for _, name, _ in table(MIGRATION, "from"):
        assert set(re.findall(r"(?<=`)Quantized\w+", name)) <= set(fastrag_quant.__all__)


# Pages and files


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(page: Path):
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[\w-]+)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_files_and_folders_that_contributors_are_sent_to_exist():
    page = re.sub(r"```.*?```", "", (REPOSITORY / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    paths = [name for name in named(page) if re.fullmatch(r"[\w/.]+(/|\.\w+)", name) and not name.startswith(".venv")]

    assert len(paths) > 15
    for path in paths:
        assert (REPOSITORY / path).exists() or (REPOSITORY / "fastrag_quant" / path).exists(), path


def test_the_pages_are_there():
    assert {page.name for page in PAGES} == {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "migration.md",
        "settings.md",
    }
