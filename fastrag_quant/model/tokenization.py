"""Texts in, token ids out, with the tokenizers library alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer, normalizers

from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.own_code import refuse_code_of_tokenizer
from fastrag_quant.model.tokenizer_config import apply_tokenizer_config, truncation_side

TOKENIZER_NAME = "tokenizer.json"

_VOCABULARIES = ("vocab.*", "*.model")


@dataclass(frozen=True)
class RaggedTokens:
    """Token ids of texts, one text behind the other, without padding.

    :param ids: of all texts, special tokens included, int32 of shape (tokens,).
    :param offsets: where each text starts, and at last where the last one ends, int32 of shape (texts + 1,).
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[Sequence[int] | np.ndarray]) -> RaggedTokens:
        """Join the token ids of texts."""
        if len(texts) == 1:  # a query, which is waited for
            return cls(np.array(texts[0], dtype=np.int32), np.array([0, len(texts[0])], dtype=np.int32))
        offsets = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum([len(ids) for ids in texts], out=offsets[1:])
        return cls(np.fromiter(chain.from_iterable(texts), dtype=np.int32, count=int(offsets[-1])), offsets)

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per text, shape (texts,)."""
        return self.offsets[1:] - self.offsets[:-1]

    def texts(self) -> list[np.ndarray]:
        """Return the token ids of each text."""
        return [self.ids[start:end] for start, end in pairwise(self.offsets)]

    def take(self, texts: np.ndarray) -> RaggedTokens:
        """Return the tokens of some texts, in the order that is asked for.

        :param texts: positions, at least one, shape (texts,).
        """
        if len(self) == len(texts) == 1:
            return self
        offsets = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum(self.lengths[texts], out=offsets[1:])
        return RaggedTokens(
            np.concatenate([self.ids[self.offsets[text] : self.offsets[text + 1]] for text in texts]), offsets
        )


class TextTokenizer:
    """Cuts texts into token ids, no more than ``max_seq_len`` each. Safe to call from many threads."""

    def __init__(self, directory: Path, max_seq_len: int, *, do_lower_case: bool = False) -> None:
        """Load a directory's tokenizer.

        :param max_seq_len: tokens per text at the most, special tokens included.
        :param do_lower_case: whether texts become lower case first, whatever the tokenizer does itself.
        :raises ModelError: if the directory holds no tokenizer that can be read.
        """
        self._tokenizer = load_tokenizer(directory)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_seq_len, direction=truncation_side(self._tokenizer, directory))
        if do_lower_case:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are, special ones included."""
        return int(self._tokenizer.get_vocab_size())

    def check_rows(self, rows: int, name: str) -> None:
        """Raise where texts can have token ids that a model has no embedding for.

        :param rows: of the model's embedding table.
        :param name: the model's, for the message.
        :raises ModelError: naming the token and both sizes.
        """
        ids = self._tokenizer.get_vocab()
        # What surrounds a text has ids of its own in tokenizer.json, which need not be those of the vocabulary.
        special = self._tokenizer.encode("")
        ids.update(zip(special.tokens, special.ids, strict=True))
        token, largest = max(ids.items(), key=lambda item: item[1], default=("", -1))
        if largest >= rows:
            msg = (
                f"The tokenizer of {name} gives the token {token!r} the id {largest}, and the model has embeddings for "
                f"{rows} tokens (vocab_size in config.json): use the tokenizer that the model was trained with, or "
                "resize the model's embeddings and save it again."
            )
            raise ModelError(msg)

    def __call__(self, texts: Sequence[str]) -> tuple[RaggedTokens, int]:
        """Cut texts into token ids.

        A single text is cut in the calling thread: quicker than waking a pool, and a later fork is
        not warned about.

        :return: the tokens, and how many texts were longer than the limit and were cut.
        :raises InputError: for a text that UTF-8 cannot express.
        """
        try:
            encodings: list[Encoding] = (
                [self._tokenizer.encode(texts[0])] if len(texts) == 1 else self._tokenizer.encode_batch_fast(texts)
            )
        except TypeError as error:
            msg = (
                "A text holds lone surrogates, which UTF-8 cannot express: "
                "clean it, such as by text.encode(errors='replace').decode()."
            )
            raise InputError(msg) from error
        truncated = sum(bool(encoding.overflowing) for encoding in encodings)
        return RaggedTokens.of([encoding.ids for encoding in encodings]), truncated


def load_tokenizer(directory: Path) -> Tokenizer:
    """Load the tokenizer.json of a directory, or make one of the vocabulary of an old one.

    :return: what transformers makes of it and of the tokenizer_config.json beside it.
    :raises ModelError: if there is neither, it cannot be read, or the model's own tokenizer is code of its own.
    """
    refuse_code_of_tokenizer(directory)
    path = directory / TOKENIZER_NAME
    if not path.is_file():
        return _convert_slow_tokenizer(directory)
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        msg = f"{path} cannot be read ({error}): fetch or quantize the model again."
        raise ModelError(msg) from error
    apply_tokenizer_config(tokenizer, directory)
    return tokenizer


def _convert_slow_tokenizer(directory: Path) -> Tokenizer:
    """Build a fast tokenizer from vocab.txt and the like, as old repositories have them."""
    if not any(any(directory.glob(pattern)) for pattern in _VOCABULARIES):
        # Of such a directory transformers 5 makes a tokenizer that knows no token.
        msg = f"{directory} has no {TOKENIZER_NAME}, and no vocabulary to make one from: fetch the model again."
        raise ModelError(msg)
    try:
        from transformers import AutoTokenizer

        fast = AutoTokenizer.from_pretrained(directory, use_fast=True, trust_remote_code=False)
        tokenizer: Tokenizer = fast.backend_tokenizer
    except (ImportError, OSError, ValueError, AttributeError) as error:
        msg = f"{directory} has no {TOKENIZER_NAME}, and transformers could not make one from its other files: {error}"
        raise ModelError(msg) from error
    return tokenizer
