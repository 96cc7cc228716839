"""A small BERT, and texts to run it on."""

from __future__ import annotations

import pytest
from small_encoders import POSITIONS, SmallModel, random_tokens, write_small_model

from fastrag_quant.model.tokenization import RaggedTokens


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    """A small BERT."""
    return write_small_model("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def tokens() -> RaggedTokens:
    """Texts of 1 token to as many as there are positions."""
    return random_tokens((1, 7, POSITIONS, 2, 19))
