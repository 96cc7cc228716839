"""What the tests of the commands share: the small tasks, a file of texts, and the log level as it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_tasks import beir, reranking, statements

__all__ = ["beir", "reranking", "statements"]


@pytest.fixture(autouse=True)
def same_log_level() -> Iterator[None]:
    """The commands own their process and set its log level; here it is shared."""
    logger = logging.getLogger("fastrag_quant")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def calibration(passages: list[str], tmp_path: Path) -> Path:
    """A file of calibration texts."""
    path = tmp_path / "passages.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in passages))
    return path
