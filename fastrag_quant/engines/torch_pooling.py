"""Pooling and normalisation in torch, for the engines whose graph ends at the token vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastrag_quant.settings import EmbedderSettings, Pooling

if TYPE_CHECKING:
    import torch


def pool(hidden: torch.Tensor, mask: torch.Tensor, settings: EmbedderSettings) -> np.ndarray:
    """Turn token vectors into one vector a text.

    :param hidden: token vectors, shape (batch size, length, dimension).
    :param mask: 1 for tokens and 0 for padding, shape (batch size, length).
    :return: float32 of shape (batch size, dimension), in memory of its own.
    """
    import torch

    hidden = hidden.float()
    if settings.pooling is Pooling.CLS:
        vectors = hidden[:, 0]
    else:
        # A product of matrices: no copy of the token vectors, unlike hidden * mask.
        weights = mask.float() / mask.sum(dim=1, keepdim=True)
        vectors = torch.bmm(weights.unsqueeze(1), hidden).squeeze(1)
    if settings.normalize:
        vectors = torch.nn.functional.normalize(vectors, dim=1)
    return vectors.numpy().copy()
