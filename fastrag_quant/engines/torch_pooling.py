"""Pooling and normalisation in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastrag_quant.settings import EmbedderSettings, Pooling

if TYPE_CHECKING:
    import torch


def pooled(hidden: torch.Tensor, mask: torch.Tensor, settings: EmbedderSettings) -> torch.Tensor:
    """Turn token vectors into one vector a text.

    :param hidden: token vectors, shape (batch size, length, dimension).
    :param mask: 1 for tokens and 0 for padding, shape (batch size, length).
    :return: float32 of shape (batch size, dimension).
    """
    import torch

    hidden = hidden.float()
    if settings.pooling is Pooling.CLS:
        vectors = hidden[:, 0]
    else:
        weights = mask.unsqueeze(-1).float()
        vectors = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return torch.nn.functional.normalize(vectors, dim=1) if settings.normalize else vectors


def pool(hidden: torch.Tensor, mask: torch.Tensor, settings: EmbedderSettings) -> np.ndarray:
    """Return the pooled vectors of :func:`pooled` as an array with memory of its own."""
    return pooled(hidden, mask, settings).numpy().copy()
