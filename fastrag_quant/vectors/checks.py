"""What goes into an engine and what comes out of it: token ids that the model knows, and numbers."""

from __future__ import annotations

import numpy as np

from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.tokenization import RaggedTokens


def check_ids(tokens: RaggedTokens, rows: int, start: int = 0) -> None:
    """Raise where the model has no embedding for a token id: engines read whatever lies behind the table.

    :param rows: of the model's embedding table.
    :param start: the position of the first text in the input.
    :raises InputError: naming the text's position, the id and the size of the table.
    """
    # As numbers without a sign, negative ids are the largest.
    ids = tokens.ids.view(np.uint32)
    if not len(ids) or ids.max() < rows:
        return
    place = int(np.argmax(ids >= rows))
    text = start + int(np.searchsorted(tokens.offsets, place, side="right")) - 1
    msg = (
        f"Text {text} has the token id {tokens.ids[place]}, and the model has embeddings for the ids 0 to {rows - 1}: "
        "use the tokenizer that the model was trained with."
    )
    raise InputError(msg)


def check_finite(vectors: np.ndarray, texts: np.ndarray, start: int = 0) -> None:
    """Raise where an engine returned what is not a number, or infinite.

    :param vectors: shape (texts, dimension).
    :param texts: the positions of their texts, shape (texts,).
    :param start: what to add to them for positions in the input.
    :raises ModelError: naming the first such text's position.
    """
    finite = np.isfinite(vectors)
    if not finite.all():
        text = start + int(texts[~finite.all(axis=1)].min())
        msg = (
            f"The model gave no finite vector for text {text}: its weights are damaged, or overflow in this precision. "
            "Fetch or quantize it again, or use another engine."
        )
        raise ModelError(msg)
