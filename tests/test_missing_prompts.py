"""A model whose family wants a query prompt and that has none is told of once, when it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.model.prompts import BGE_QUERY_PROMPT, wanted_prompts


@pytest.fixture
def e5(tiny_model: Path, tmp_path: Path) -> Path:
    """A directory by the name of a model that wants prompts, which names none."""
    return Path(shutil.copytree(tiny_model, tmp_path / "e5-small-v2"))


def test_it_is_said_once_and_names_both_prompts(e5: Path, caplog: pytest.LogCaptureFixture):
    embedder = QuantizedEmbedder(e5, "torch", pooling="mean")
    for _ in range(3):
        embedder.embed_queries(["text"])

    (message,) = (record.getMessage() for record in caplog.records)
    assert "pass query_prompt='query: ' and document_prompt='passage: ', or query_prompt='' for none" in message


@pytest.mark.parametrize("prompt", ["", "ask: "])
def test_nothing_is_said_to_who_has_chosen(prompt: str, e5: Path, caplog: pytest.LogCaptureFixture):
    QuantizedEmbedder(e5, "torch", pooling="mean", query_prompt=prompt)

    assert caplog.records == []


def test_nothing_is_said_where_the_model_has_a_prompt(e5: Path, caplog: pytest.LogCaptureFixture):
    (e5 / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query: "}}))

    QuantizedEmbedder(e5, "torch", pooling="mean")

    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("BAAI/bge-small-en-v1.5", BGE_QUERY_PROMPT),
        ("models/bge-base-en-v1.5-int8", BGE_QUERY_PROMPT),
        ("intfloat/multilingual-e5-large", "query: "),
        ("Snowflake/snowflake-arctic-embed-m-v2.0", "query: "),
        ("Snowflake/snowflake-arctic-embed-m-v1.5", BGE_QUERY_PROMPT),
        ("intfloat/multilingual-e5-large-instruct", None),
        ("sentence-transformers/all-MiniLM-L6-v2", None),
        ("BAAI/bge-m3", None),
    ],
)
def test_families_are_known_by_name(name: str, query: str | None):
    found = wanted_prompts(None, name)

    assert (found and found[0]) == query
