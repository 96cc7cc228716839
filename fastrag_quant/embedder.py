"""QuantizedEmbedder: texts in, float32 vectors out."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fastrag_quant.arguments import arguments_for, check_whole_number
from fastrag_quant.config import DEFAULTS, Dtype, EmbedderConfig
from fastrag_quant.engines import Engine, EngineKind
from fastrag_quant.engines.choice import EngineChoice, check_trusted, choose_engine
from fastrag_quant.errors import ClosedError, FastragQuantError, InputError, ModelError
from fastrag_quant.host.forks import no_fork_meanwhile
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.manifest import Manifest
from fastrag_quant.model.modules import transformer_directory
from fastrag_quant.model.prompts import wanted_prompts
from fastrag_quant.model.settings import (
    EmbedderSettings,
    SettingsOverrides,
    embedding_rows,
    override,
    position_limit,
    setting_files,
    settings_from_files,
    why_not_prompt,
)
from fastrag_quant.model.source import METADATA_PATTERNS, ModelSource, last_parts
from fastrag_quant.model.tokenization import RaggedTokens, TextTokenizer
from fastrag_quant.vectors.checks import check_finite, check_ids
from fastrag_quant.vectors.output import OutputForm, Precision, output_form
from fastrag_quant.vectors.streaming import WindowEncoder

logger = logging.getLogger(__name__)


class QuantizedEmbedder:
    """A bi-encoder on a CPU. Safe to call from many threads.

    Example::

        embedder = QuantizedEmbedder("models/all-MiniLM-L6-v2-int8")
        vectors = embedder.embed_documents(["a text", "another"])  # float32, shape (2, 384)
    """

    def __init__(
        self,
        model: str | Path,
        engine: str = EmbedderConfig.engine,
        pooling: str | None = None,
        max_seq_len: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        *,
        normalize: bool | None = None,
        dtype: str | None = None,
        truncate_dim: int | None = None,
        precision: str = EmbedderConfig.precision,
        pad_to_max: bool = False,
        threads: int | None = None,
        pin_threads: bool = False,
        verify_hashes: bool = False,
        allow_torchscript: bool = True,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Load a model. What is None is read from the model's files.

        :param model: a quantized model directory, the hub name of a published int8 model, or an fp32 model, which the
            native engine quantizes while it loads it.
        :param engine: "auto" for the faithful one that the manifest measured fastest among those installed,
            "native", "openvino", "ipex", or "torch" for fp32 weights as they are.
        :param pooling: "cls" or "mean"; needed only where the model's files do not say.
        :param max_seq_len: tokens per text at the most; longer texts are cut, with one warning.
        :param query_prompt: prefix of queries; "" for none.
        :param document_prompt: prefix of documents; "" for none.
        :param normalize: whether vectors have length one.
        :param pad_to_max: pad every text to max_seq_len, for one single shape; slower on real text.
        :param threads: cores to use; None is all usable ones.
        :param pin_threads: bind the inference threads, and no others, to a core each. For a
            process that has its cores for itself; several such processes would share cores.
        :param dtype: "int8", or "float32" or "bfloat16" for the fp32 weights of a model that is not quantized;
            None is float32 with the engine torch and int8 with every other.
        :param truncate_dim: keep the first so many dimensions, of a Matryoshka model; None is what the model's files
            say, or else all.
        :param precision: "float32", or a form of vectors for stores that take it: "int8" and "uint8"
            by the ranges that quantization measured, "binary" and "ubinary" of one bit a dimension.
        :param verify_hashes: compare the SHA-256 of every file that is read with the manifest, and refuse a directory
            that has none, or files of settings that it does not list.
        :param allow_torchscript: whether int8 weights that are a program may be loaded, those of the engine ipex. For
            False where others say which model; the environment's FASTRAG_QUANT_ALLOW_TORCHSCRIPT=0 refuses them too.
        :param revision: branch, tag or commit of a hub model.
        :param token: access token of the hub.
        :param local_files_only: use the hub's local cache alone.
        :raises InputError: for an argument that no model could satisfy.
        :raises ModelError: for a model that is missing, damaged or of the wrong kind.
        :raises MissingExtraError: if the engine is not installed.
        :raises UnsupportedCpuError: if the engine would crash on this CPU.
        """
        self._load(EmbedderConfig(**arguments_for(EmbedderConfig, locals())))

    @classmethod
    def from_config(cls, config: EmbedderConfig, kind: EngineKind | None = None) -> QuantizedEmbedder:
        """Load a model as a configuration says.

        :param kind: the engine that runs it, in place of the one that the configuration leads to.
        :raises FastragQuantError: as the constructor.
        """
        embedder = cls.__new__(cls)
        embedder._load(config, kind)
        return embedder

    def _load(self, config: EmbedderConfig, kind: EngineKind | None = None) -> None:
        """Load a model from one state of its directory; once more if that was replaced meanwhile."""
        self._config, self._kind = config, kind
        source = config.source
        for _ in range(2):
            before = source.state()
            try:
                with no_fork_meanwhile():
                    self._open(config, kind)
            except FastragQuantError:
                if source.state() == before:
                    raise
                continue
            if source.state() == before:
                return
            self._engine.close()
        msg = f"{source.name} changed while it was loaded, twice: load it when what writes to it has finished."
        raise ModelError(msg)

    def _open(self, config: EmbedderConfig, kind: EngineKind | None) -> None:
        source = config.source
        directory = source.fetch()
        manifest = Manifest.read(directory)
        if config.verify_hashes:
            _check_settings(directory, source.name, manifest)
        choice = EngineChoice(kind, "it was given") if kind else choose_engine(config, directory, manifest)
        check_trusted(choice.kind, config)
        self._told_of_cut: set[str] = set()
        self._settings = _resolve_settings(directory, source.name, manifest, config.overrides)
        self._manifest = manifest
        self._form = self._form_for(config)
        _warn_of_missing_prompt(directory, config, manifest, self._settings)
        engine_class = choice.kind.load()
        if choice.quantizes_on_load:
            _tell_of_quantizing(source)
        elif config.computes_in is Dtype.INT8:
            directory = source.fetch((*METADATA_PATTERNS, *choice.kind.weights))
            _check_weights(directory, source.name, choice.kind, manifest, config.verify_hashes)
        self._tokenizer = TextTokenizer(
            transformer_directory(directory, source.name),
            self._settings.max_seq_len,
            do_lower_case=self._settings.do_lower_case,
        )
        self._rows = embedding_rows(directory, source.name)
        self._tokenizer.check_rows(self._rows, source.name)
        self._engine: Engine = engine_class(directory, self._settings, config)

    def _form_for(self, config: EmbedderConfig) -> OutputForm:
        return output_form(
            self._settings.dimension,
            config.truncate_dim or _saved_dimension(self._settings),
            config.precision,
            normalize=self._settings.normalize,
            ranges=_ranges_for(config, self._settings, self._manifest),
        )

    def in_form_of(self, config: EmbedderConfig) -> QuantizedEmbedder:
        """Return an embedder that shares this one's loaded model, and hands out vectors in another form.

        :param config: differs from this embedder's in truncate_dim and precision alone.
        :raises InputError: for a form that the model's vectors cannot have.
        """
        other = type(self).__new__(type(self))
        vars(other).update(vars(self), _config=config, _form=self._form_for(config))
        return other

    @property
    def settings(self) -> EmbedderSettings:
        """Pooling, normalisation, limits and prompts in force."""
        return self._settings

    @property
    def dimension(self) -> int:
        """Dimensions per vector; binary vectors hold eight of them in a byte."""
        return self._form.dimension

    @property
    def engine(self) -> str:
        """The name of the engine that runs the model."""
        return self._engine.name

    def embed_queries(
        self,
        texts: Sequence[str],
        batch_size: int = DEFAULTS.batch_size,
        progress_bar: bool = False,
        prompt: str | None = None,
    ) -> np.ndarray:
        """Embed queries, with the query prompt.

        :param texts: strings; possibly none.
        :param batch_size: texts per batch at the most.
        :param progress_bar: whether to show one, on standard error.
        :param prompt: prefix in place of the embedder's own; None is the embedder's.
        :return: of shape (texts, dimension), float32 unless another precision was chosen, in input
            order, in memory of its own; zeros for a text of no tokens, which has no direction.
        :raises InputError: for anything but a sequence of strings.
        :raises ModelError: if the model gives a vector that is not finite.
        """
        prompt = self._settings.query_prompt if prompt is None else prompt
        return self._joined(self._embed(texts, prompt, batch_size, progress_bar, "queries"))

    def embed_documents(
        self,
        texts: Iterable[str],
        batch_size: int = DEFAULTS.batch_size,
        progress_bar: bool = False,
        prompt: str | None = None,
    ) -> np.ndarray:
        """Embed documents, with the document prompt.

        :param texts: strings, from any iterable; it is read as vectors are made.
        :param batch_size: texts per batch at the most.
        :param progress_bar: whether to show one, on standard error.
        :param prompt: prefix in place of the embedder's own; None is the embedder's.
        :return: of shape (texts, dimension), float32 unless another precision was chosen, in input
            order, in memory of its own; zeros for a text of no tokens, which has no direction.
        :raises InputError: for anything but an iterable of strings.
        """
        prompt = self._settings.document_prompt if prompt is None else prompt
        return self._joined(self._embed(texts, prompt, batch_size, progress_bar))

    def iter_embed(
        self,
        texts: Iterable[str],
        batch_size: int = DEFAULTS.batch_size,
        progress_bar: bool = False,
        prompt: str | None = None,
    ) -> Iterator[np.ndarray]:
        """Embed documents one after the other, in memory that does not grow with their number.

        :param texts: strings, from any iterable; it is read a few thousand texts ahead.
        :param batch_size: texts per batch at the most.
        :param progress_bar: whether to show one, on standard error.
        :param prompt: in place of the document prompt, for this call.
        :return: an iterator over the vectors that :meth:`embed_documents` returns, in input order.
        :raises InputError: for anything but an iterable of strings, once the iterator gets there.
        """
        prompt = self._settings.document_prompt if prompt is None else prompt
        with closing(self._embed(texts, prompt, batch_size, progress_bar)) as windows:
            for vectors in windows:
                yield from vectors

    def warm_up(self, lengths: Iterable[int] | None = None, batch_size: int = 1) -> None:
        """Run every shape that texts of these lengths need, so that none is compiled while a user waits.

        :param lengths: tokens per text; None is every length up to max_seq_len.
        :param batch_size: 1 warms single texts, as queries are; more warms batches of that many
            texts or, where the token budget takes fewer, of those.
        """
        wanted = range(1, self._settings.max_seq_len + 1) if lengths is None else lengths
        self._engine.warm_up(wanted, batch_size)

    def encode(self, tokens: RaggedTokens) -> np.ndarray:
        """Embed token ids as they are, without tokenization: what benchmarks time.

        :return: float32 of shape (texts, dimension); zeros for a text of no tokens.
        :raises InputError: for an id that the model has no embedding for, and for more than max_seq_len tokens.
        :raises ModelError: if the engine gives a vector that is not finite.
        """
        check_ids(tokens, self._rows)
        lengths, limit = tokens.lengths, self._settings.max_seq_len
        if (lengths > limit).any():
            msg = f"Text {lengths.argmax()} has {lengths.max()} tokens, and the limit is {limit} (max_seq_len)."
            raise InputError(msg)
        texts = np.flatnonzero(lengths)
        vectors = np.zeros((len(tokens), self._settings.dimension), dtype=np.float32)
        if len(texts):
            vectors[texts] = self._engine.encode(tokens.take(texts))
            check_finite(vectors[texts], texts)
        return vectors

    def count_tokens(self, texts: Sequence[str], prompt: str | None = None) -> int:
        """Return how many tokens embedding these documents runs through the model, padding not counted.

        :param prompt: prefix in place of the document prompt; None is the document prompt.
        """
        prompt = self._settings.document_prompt if prompt is None else prompt
        tokens, truncated = self._tokenizer([prompt + text for text in texts])
        self._tell_of_cut(truncated, len(texts), "documents")
        return len(tokens.ids)

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are."""
        return self._tokenizer.vocabulary_size

    def close(self) -> None:
        """Release the weights and threads; the embedder cannot be used afterwards, but closed again.

        A call that another thread has under way ends as if nothing had happened, or with the error that every later
        one raises; memory is free once the last has ended.

        :raises ClosedError: never here, but in every later call.
        """
        self._engine.close()
        self._engine = _ClosedEngine()  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the configuration, a hub token among it: the model is loaded again where it arrives.

        A closed embedder stays closed.
        """
        if isinstance(self._engine, _ClosedEngine):
            return object.__new__, (type(self),), vars(self) | {"_tokenizer": self._engine}
        return self.from_config, (self._config, self._kind)

    def __enter__(self) -> QuantizedEmbedder:
        """Return the embedder, to be closed at the end of the with block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the embedder."""
        self.close()

    def _embed(
        self, texts: Iterable[str], prompt: str, batch_size: int, progress_bar: bool, kind: str = "documents"
    ) -> Generator[np.ndarray, None, None]:
        """Yield the vectors of consecutive texts, a window at a time."""
        check_whole_number(batch_size, "batch_size")
        if reason := why_not_prompt(self._settings, prompt):
            raise InputError(reason)
        encoder = WindowEncoder(self._tokenizer, self._engine, self._settings.dimension, self._rows)
        total = len(texts) if isinstance(texts, Sequence) else None
        count = truncated = 0
        with (
            tqdm(total=total, desc="Embedding", unit=" texts", disable=not progress_bar) as progress,
            closing(encoder.encode(texts, prompt, batch_size, progress.update)) as windows,
        ):
            for window in windows:
                count += len(window.vectors)
                truncated += window.truncated
                yield self._form.apply(window.vectors)
        self._tell_of_cut(truncated, count, kind)

    def _tell_of_cut(self, truncated: int, count: int, kind: str) -> None:
        """Warn of texts that were cut, of queries once and of documents once: a program embeds many times."""
        if truncated and kind not in self._told_of_cut:
            self._told_of_cut.add(kind)
            logger.warning(
                "%d of %d %s were longer than %d tokens and were cut. Later ones are, too, without a word.",
                *(truncated, count, kind, self._settings.max_seq_len),
            )

    def _joined(self, windows: Iterator[np.ndarray]) -> np.ndarray:
        parts = list(windows)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.empty((0, self._form.width), dtype=self._form.dtype), *parts])


class _ClosedEngine:
    """Takes the place of an engine that was closed, and of the tokenizer where a closed embedder was copied to."""

    def close(self) -> None:
        """Do nothing: it is closed."""

    def __call__(self, _: Sequence[str]) -> Any:
        raise ClosedError

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("__") else ClosedError  # copying looks for such names


def _tell_of_quantizing(source: ModelSource) -> None:
    logger.warning(
        "%s is quantized to int8 while it is loaded, and how close its vectors are to fp32 is not verified: "
        "fastrag_quant-quantize --model-name %s --output-path DIR measures it and writes a model that loads faster.",
        *(source.name, source.name),
    )


def _resolve_settings(
    directory: Path, name: str, manifest: Manifest | None, overrides: SettingsOverrides
) -> EmbedderSettings:
    if manifest is None:
        return settings_from_files(directory, name, overrides)
    # What no argument sets is as the model's files say, also where the manifest is from before it was read.
    own = settings_from_files(directory, name, SettingsOverrides(manifest.settings.pooling, None, None, "", ""))
    if own.dimension != manifest.settings.dimension:
        msg = (
            f"The manifest of {name} has dimension {manifest.settings.dimension}, its config.json {own.dimension}: "
            "copy or quantize it again."
        )
        raise ModelError(msg)
    limit = position_limit(directory)
    if manifest.settings.max_seq_len > limit:
        msg = (
            f"The manifest of {name} has max_seq_len {manifest.settings.max_seq_len}, and the model has positions for "
            f"{limit} tokens: copy or quantize the model again."
        )
        raise ModelError(msg)
    settings = replace(
        manifest.settings,
        do_lower_case=own.do_lower_case,
        include_prompt=own.include_prompt,
        truncate_dim=own.truncate_dim,
    )
    return override(settings, overrides, limit)


def _warn_of_missing_prompt(
    directory: Path, config: EmbedderConfig, manifest: Manifest | None, settings: EmbedderSettings
) -> None:
    """Say that a model's family wants a query prompt, where there is none and the caller has not said so."""
    if settings.query_prompt or config.query_prompt is not None:
        return
    name = config.source.name
    made_of = read_json(transformer_directory(directory) / "config.json").get("_name_or_path")
    if wanted := wanted_prompts(last_parts(name), manifest.source.get("model") if manifest else None, made_of):
        query, document = wanted
        documents = f" and document_prompt={document!r}" if document and not settings.document_prompt else ""
        logger.warning(
            "%s has no query prompt, and models of its family find less without one: pass query_prompt=%r%s, "
            "or query_prompt='' for none.",
            *(name, query, documents),
        )


def _saved_dimension(settings: EmbedderSettings) -> int | None:
    """Return how many dimensions the model keeps of its own accord, None for all."""
    return settings.truncate_dim and min(settings.truncate_dim, settings.dimension)


def _ranges_for(
    config: EmbedderConfig, settings: EmbedderSettings, manifest: Manifest | None
) -> list[list[float]] | None:
    """Return the ranges of the model's dimensions, None where none were measured.

    Prompts and max_seq_len may be others than those measured with: vectors of other texts have much the same ranges.

    :raises InputError: for int8 and uint8, where vectors are pooled or scaled otherwise than those measured.
    """
    if manifest is None or manifest.ranges is None:
        return None
    for name in ("pooling", "normalize") if config.precision in (Precision.INT8, Precision.UINT8) else ():
        measured, wanted = getattr(manifest.settings, name), getattr(settings, name)
        if measured != wanted:
            msg = (
                f"precision {config.precision!r} goes by ranges that quantization measured with {name}={measured!s}, "
                f"not {wanted!s}: leave {name} out, or quantize the model with it."
            )
            raise InputError(msg)
    return manifest.ranges


def _check_settings(directory: Path, name: str, manifest: Manifest | None) -> None:
    """Compare the files that settings and tokenizer are read from with the manifest, before any of it is used."""
    if manifest is None:
        msg = f"{name} has no manifest with hashes to compare with: quantize the model, or leave verify_hashes out."
        raise ModelError(msg)
    manifest.check_shared(directory)
    there = [path for path in setting_files(directory, name) if (directory / path).exists()]
    if unlisted := [path for path in there if path not in manifest.files]:
        msg = (
            f"{name} has {unlisted[0]}, which its manifest says nothing of and which may change vectors: "
            "remove it if quantization did not write it, or quantize the model again."
        )
        raise ModelError(msg)


def _check_weights(
    directory: Path, name: str, kind: EngineKind, manifest: Manifest | None, verify_hashes: bool
) -> None:
    """Compare the files that an engine reads with the manifest; without one they need only be there."""
    if manifest:
        if unlisted := [weights for weights in kind.weights if weights not in manifest.engines[kind.name].files]:
            msg = f"The manifest of {name} says nothing of {unlisted[0]}: copy or quantize the model again."
            raise ModelError(msg)
        check = manifest.check_hashes if verify_hashes else manifest.check_sizes
        check(directory, kind.name)
    elif missing := [weights for weights in kind.weights if not (directory / weights).is_file()]:
        msg = f"{name} holds no {missing[0]} for the {kind.name} engine: fetch it again, or quantize its fp32 model."
        raise ModelError(msg)
