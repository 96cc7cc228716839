"""Texts and tokens, read without this package, which the peers' environments lack."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from comparison.system import Setup

SEED = 42


def calibration_texts(path: Path, count: int) -> list[str]:
    """Return texts of a .txt or .jsonl file, plain or gzipped."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] if ".jsonl" in path.name else line.strip() for line in file]
    return random.Random(SEED).sample(texts, count)


def tokenizer_of(setup: Setup) -> Tokenizer:
    """Return the model's tokenizer, which cuts texts and pads none."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(setup.model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(setup.max_tokens)
    return tokenizer
