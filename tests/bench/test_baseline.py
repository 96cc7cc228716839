"""Which fp32 model results were measured on is told from its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastrag_quant.bench.baseline import digest_of_files
from fastrag_quant.model.source import ModelSource


@pytest.mark.parametrize("name", ["model.safetensors", "0_Transformer/model.safetensors", "1_Pooling/config.json"])
def test_the_digest_changes_with_weights_and_settings_wherever_they_are(tmp_path: Path, name: str):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    before = digest_of_files(ModelSource(str(tmp_path)))
    assert before == digest_of_files(ModelSource(str(tmp_path)))

    path.write_text('{"a": 1}')

    assert digest_of_files(ModelSource(str(tmp_path))) != before
