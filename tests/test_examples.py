"""The example scripts, as a newcomer runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastrag_quant.host.extras import missing_distributions

EXAMPLES = Path(__file__).parents[1] / "examples"
GENERATION = "haystack1_app.py" if not missing_distributions("haystack1") else "haystack2_app.py"


def run(script: str, *arguments: object, cwd: Path) -> list[str]:
    """Run an example and return the lines that it printed."""
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    process = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_there_is_one_for_each_generation():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"haystack1_app.py", "haystack2_app.py", "fastrag_app.py"}


def test_the_example_answers_its_question(minilm_int8: Path, tmp_path: Path):
    best, second = run(GENERATION, "--output", minilm_int8, cwd=tmp_path)

    assert best.endswith("Lima is the capital of Peru.")
    assert best > second


def test_the_example_needs_no_step_before(minilm: Path, tmp_path: Path):
    best, _ = run(GENERATION, "--model", minilm, cwd=tmp_path)

    assert best.endswith("Lima is the capital of Peru.")


def test_the_example_quantizes_what_it_then_uses(tiny_cls_model: Path, passages: list[str], tmp_path: Path):
    (tmp_path / "passages.txt").write_text("\n".join(" ".join(passage.split()) for passage in passages[:40]))

    printed = run(GENERATION, "--model", tiny_cls_model, "--calibration", "passages.txt", cwd=tmp_path)

    assert re.fullmatch(r"\w+: cosine to fp32 (0\.9\d+|1\.0+)", printed[0])
    assert (tmp_path / "models" / "embedder-int8" / "fastrag_quant.json").is_file()


@pytest.mark.skipif(bool(missing_distributions("fastrag")), reason="needs fastrag-quant[fastrag]")
def test_the_fastrag_example_answers_its_question(minilm_int8: Path, tmp_path: Path):
    assert run("fastrag_app.py", "--model", minilm_int8, cwd=tmp_path)[0].endswith("Lima is the capital of Peru.")
