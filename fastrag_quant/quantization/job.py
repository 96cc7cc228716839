"""What a quantizer is given: one record, the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastrag_quant.model.settings import EmbedderSettings
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import RaggedTokens, TextTokenizer


@dataclass(frozen=True)
class QuantizationJob:
    """A model to write int8 weights of.

    :param source: the fp32 model.
    :param settings: pooling, normalisation and limits in force.
    :param directory: where to write; it holds the tokenizer already.
    :param texts: what to calibrate on; they are cut into tokens when a quantizer first asks for these.
    :param progress_bar: whether to show calibration's progress on standard error.
    """

    source: ModelSource
    settings: EmbedderSettings
    directory: Path
    texts: list[str]
    progress_bar: bool = False

    @cached_property
    def calibration(self) -> RaggedTokens:
        """The tokens of the calibration texts, as documents are embedded."""
        settings = self.settings
        tokenizer = TextTokenizer(self.directory, settings.max_seq_len, do_lower_case=settings.do_lower_case)
        # One by one, because IPEX and neural-compressor fork, and tokenizers warns of forks after parallel work.
        return RaggedTokens.of([tokenizer([settings.document_prompt + text])[0].ids for text in self.texts])
