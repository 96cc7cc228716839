"""The command doctor prints what the machine, the environment and a model have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastrag_quant.commands.bench import main


def test_the_command_prints_machine_environment_and_model(minilm_int8: Path, capsys: pytest.CaptureFixture):
    assert main(["doctor", str(minilm_int8)]) == 0

    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"CPU", "ISA", "NUMA nodes", "allocator", "Haystack", "versions", "model", "auto"} <= set(names)


def test_a_missing_model_is_one_line(capsys: pytest.CaptureFixture):
    assert main(["doctor", "/no/such/model"]) == 1
    assert capsys.readouterr().err.startswith("fastrag_quant-bench: There is no model directory '/no/such/model'")
