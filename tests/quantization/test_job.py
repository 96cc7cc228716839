"""What a quantizer is given: its calibration texts are cut into tokens when it asks for them, and once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant.model.settings import SettingsOverrides, settings_from_files
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import TextTokenizer
from fastrag_quant.quantization import job as job_module
from fastrag_quant.quantization.job import QuantizationJob


@pytest.fixture
def job_of(tiny_model: Path) -> Callable[..., QuantizationJob]:
    """A function that makes a job of the tiny model with texts and settings."""

    def make(texts: list[str], **settings: Any) -> QuantizationJob:
        overrides = SettingsOverrides(**{"pooling": "cls", **settings})
        resolved = settings_from_files(tiny_model, "tiny", overrides)
        return QuantizationJob(ModelSource(str(tiny_model)), resolved, tiny_model, texts)

    return make


@pytest.fixture
def tokenizers(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories whose tokenizers were loaded, in order."""
    loaded: list[Path] = []

    def load(directory: Path, max_seq_len: int, *, do_lower_case: bool) -> TextTokenizer:
        loaded.append(directory)
        return TextTokenizer(directory, max_seq_len, do_lower_case=do_lower_case)

    monkeypatch.setattr(job_module, "TextTokenizer", load)
    return loaded


def test_nothing_is_tokenized_until_a_quantizer_asks(job_of: Callable[..., QuantizationJob], tokenizers: list[Path]):
    job = job_of(["if", "class"])

    assert tokenizers == []
    assert len(job.calibration) == 2
    assert tokenizers == [job.directory]


def test_quantizers_that_both_ask_get_the_same_tokens(job_of: Callable[..., QuantizationJob], tokenizers: list[Path]):
    job = job_of(["if", "class"])

    assert job.calibration is job.calibration
    assert len(tokenizers) == 1


def test_texts_are_cut_as_documents_are_embedded(
    job_of: Callable[..., QuantizationJob], tiny_model: Path, passages: list[str]
):
    job = job_of(passages[:9], document_prompt="for ", query_prompt="class ", max_seq_len=16)

    expected, truncated = TextTokenizer(tiny_model, 16)([f"for {text}" for text in passages[:9]])
    assert truncated > 0
    assert np.array_equal(job.calibration.ids, expected.ids)
    assert np.array_equal(job.calibration.offsets, expected.offsets)


def test_a_job_never_changes(job_of: Callable[..., QuantizationJob]):
    with pytest.raises(FrozenInstanceError):
        job_of(["if"]).texts = []  # type: ignore[misc]
