"""A pooling whose flags name no mode, or are no flags, is refused instead of being taken for the mean."""

from __future__ import annotations

from typing import Any

import pytest

from fastrag_quant.errors import ModelError
from fastrag_quant.model.modules import pooling_mode


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}, "names no mode.* pass pooling="),
        ({"pooling_mode_cls_token": None}, "pooling_mode_cls_token None"),
        ({"pooling_mode_cls_token": 1}, "pooling_mode_cls_token 1"),
        ({"pooling_mode_mean_tokens": "true"}, "pooling_mode_mean_tokens 'true'"),
    ],
    ids=str,
)
def test_flags_that_say_nothing_are_refused(content: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        pooling_mode(content, "org/model")


def test_what_names_no_mode_at_all_is_the_mean_as_in_sentence_transformers():
    assert pooling_mode({"word_embedding_dimension": 32}, "org/model") == "mean"
