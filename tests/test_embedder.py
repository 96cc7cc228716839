"""QuantizedEmbedder: texts in, one float32 vector for each, whatever their number, length and order."""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from company import assert_same_vectors

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.errors import FastragQuantError, InputError, ModelError
from fastrag_quant.host.extras import missing_distributions
from fastrag_quant.model.manifest import MANIFEST_NAME
from fastrag_quant.model.tokenization import TextTokenizer

# The first numbers of all-MiniLM-L6-v2's vectors in fp32, as sentence-transformers 3.3.1 computes them.
CANONICAL = {
    "hello world": [-0.03448, 0.03102, 0.00673, 0.02611, -0.03936, -0.16030, 0.06692, -0.00644],
    "The assert statement is a convenient way to insert debugging assertions into a program.": [
        *[-0.06999, 0.01609, -0.01793, 0.06185, 0.03227, -0.07600, 0.01289, 0.03176],
    ],
}

needs_ipex = pytest.mark.skipif(bool(missing_distributions("ipex")), reason="needs fastrag-quant[ipex]")

# What of a model directory says how it pools, beside its manifest.
POOLING_FILES = ("1_Pooling", "modules.json")


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.sum(left * right, axis=1) / norms


def mixed_texts(passages: list[str]) -> list[str]:
    """Texts of many lengths, from empty to longer than any limit, in no order."""
    texts = [text[: 7 * position] for position, text in enumerate(passages)] + [" ".join(passages[:8]), ""]
    random.Random(0).shuffle(texts)
    return texts


def copy_without(directory: Path, target: Path, *names: str) -> Path:
    """Copy a model directory by hard links, without some of its files."""
    return Path(shutil.copytree(directory, target, copy_function=os.link, ignore=shutil.ignore_patterns(*names)))


@pytest.fixture(scope="module")
def embedder(minilm_int8: Path, engine: str) -> QuantizedEmbedder:
    """The int8 MiniLM on each engine."""
    return QuantizedEmbedder(minilm_int8, engine)


@pytest.fixture
def shapes(embedder: QuantizedEmbedder, shapes_of: Callable) -> list[tuple[int, int]]:
    """The shapes that the engine is given, in order."""
    return shapes_of(embedder)


# Vectors


def test_a_text_becomes_a_float32_vector(embedder: QuantizedEmbedder):
    vectors = embedder.embed_documents(["one text", "and another"])

    assert vectors.shape == (2, embedder.dimension) == (2, 384)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("count", [1, 2, 40])
def test_vectors_lie_in_writable_memory_of_their_own(embedder: QuantizedEmbedder, passages: list[str], count: int):
    vectors = embedder.embed_documents(passages[:count])
    expected = vectors.copy()

    assert vectors.flags.owndata
    assert vectors.flags.writeable
    assert vectors.flags.c_contiguous
    vectors[:] = 0  # what FAISS may do
    assert np.array_equal(embedder.embed_documents(passages[:count]), expected)


def test_the_order_of_texts_of_mixed_lengths_is_kept(embedder: QuantizedEmbedder, passages: list[str]):
    texts = mixed_texts(passages)[::3]

    together = embedder.embed_documents(texts)
    alone = np.concatenate([embedder.embed_documents([text]) for text in texts])

    assert_same_vectors(together, alone, embedder.engine)


@pytest.mark.parametrize("batch_size", [3, 64])
def test_the_batch_size_changes_nothing_but_speed(embedder: QuantizedEmbedder, passages: list[str], batch_size: int):
    one_by_one = embedder.embed_documents(passages[:30], batch_size=1)

    assert_same_vectors(embedder.embed_documents(passages[:30], batch_size=batch_size), one_by_one, embedder.engine)


def test_the_batch_size_changes_nothing_at_all_in_fp32(fp32_embedder: QuantizedEmbedder, passages: list[str]):
    one_by_one = fp32_embedder.embed_documents(passages[:20], batch_size=1)

    assert np.allclose(fp32_embedder.embed_documents(passages[:20], batch_size=20), one_by_one, atol=1e-5)


def test_fp32_vectors_are_those_of_sentence_transformers(
    fp32_embedder: QuantizedEmbedder, minilm: Path, passages: list[str]
):
    from sentence_transformers import SentenceTransformer

    texts = mixed_texts(passages)[::3]
    expected = SentenceTransformer(str(minilm), device="cpu").encode(texts)

    assert cosines(fp32_embedder.embed_documents(texts), expected).min() > 0.9999


@pytest.mark.parametrize("text", CANONICAL)
def test_the_first_numbers_of_a_well_known_model_stay_what_they_are(fp32_embedder: QuantizedEmbedder, text: str):
    assert np.allclose(fp32_embedder.embed_documents([text])[0, :8], CANONICAL[text], rtol=0, atol=1e-4)


def test_int8_vectors_are_close_to_fp32_ones(
    embedder: QuantizedEmbedder, fp32_embedder: QuantizedEmbedder, held_out_passages: list[str]
):
    int8 = embedder.embed_documents(held_out_passages)
    fp32 = fp32_embedder.embed_documents(held_out_passages)

    assert cosines(int8, fp32).mean() > 0.985
    assert not np.allclose(int8, fp32, atol=1e-4), "these are fp32 vectors under the name of int8"


@pytest.fixture(scope="session")
def held_out_passages() -> list[str]:
    """Passages that the int8 model was not calibrated on."""
    from pydoc_data.topics import topics

    words = topics["typesseq"].split() + topics["with"].split()
    return [" ".join(words[start : start + 80]) for start in range(0, len(words), 80)]


def test_int8_vectors_have_length_one(embedder: QuantizedEmbedder, passages: list[str]):
    assert np.allclose(np.linalg.norm(embedder.embed_documents(passages[:9]), axis=1), 1, atol=1e-5)


# Texts


@pytest.mark.parametrize("nothing", [[], (), iter([])], ids=["list", "tuple", "iterator"])
def test_no_texts_make_no_vectors(embedder: QuantizedEmbedder, nothing: Any):
    assert embedder.embed_documents(nothing).shape == (0, 384)
    assert embedder.embed_documents(nothing).dtype == np.float32
    assert embedder.embed_queries([]).shape == (0, 384)


def test_the_empty_text_is_a_text(embedder: QuantizedEmbedder):
    assert np.isfinite(embedder.embed_documents([""])).all()


def test_documents_may_come_from_a_generator(embedder: QuantizedEmbedder, passages: list[str]):
    generated = embedder.embed_documents(text for text in passages[:5])

    assert np.array_equal(generated, embedder.embed_documents(passages[:5]))


def test_documents_may_come_as_an_array_of_strings(embedder: QuantizedEmbedder, passages: list[str]):
    assert np.array_equal(embedder.embed_documents(np.array(passages[:3])), embedder.embed_documents(passages[:3]))


def test_more_texts_than_are_read_at_once_keep_their_order(
    tiny_cls_model: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    embedder = QuantizedEmbedder(tiny_cls_model, engine="torch")
    expected = embedder.embed_documents(passages)

    monkeypatch.setattr("fastrag_quant.vectors.streaming._MOST_TEXTS", 7)

    assert np.allclose(embedder.embed_documents(iter(passages)), expected, atol=1e-5)


@pytest.mark.parametrize("embed", ["embed_queries", "embed_documents"])
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a bare string", r"To embed one text, pass \[text\]"),
        (None, "expects a list of texts, not NoneType"),
        (7, "expects a list of texts, not int"),
        (["fine", None], "Text 1 is NoneType, not a string"),
        (["fine", "fine", 7], "Text 2 is int, not a string"),
        ([b"bytes"], "Text 0 is bytes, not a string"),
        ([["nested"]], "Text 0 is list, not a string"),
        (["\ud800"], "lone surrogates"),
    ],
    ids=str,
)
def test_anything_but_a_list_of_strings_is_refused(embedder: QuantizedEmbedder, embed: str, texts: Any, message: str):
    with pytest.raises(InputError, match=message):
        getattr(embedder, embed)(texts)


@pytest.mark.usefixtures("shapes")
def test_a_bad_text_is_found_before_any_text_is_embedded(embedder: QuantizedEmbedder, shapes: list[tuple[int, int]]):
    with pytest.raises(InputError, match="Text 9000 "):
        embedder.embed_documents(["fine"] * 9000 + [None])  # type: ignore[list-item]

    assert shapes == []


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "32", None, True])
def test_a_batch_size_that_is_not_positive_is_refused(embedder: QuantizedEmbedder, batch_size: Any):
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 1"):
        embedder.embed_documents(["text"], batch_size=batch_size)


# Length limit


@pytest.fixture
def warned() -> Iterator[list[logging.LogRecord]]:
    """What the embedder logs, heard at its own logger: libraries that other tests load rearrange the root's."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("fastrag_quant.embedder")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def test_texts_over_the_limit_are_cut_with_one_warning_that_counts_them(
    tiny_cls_model: Path, warned: list[logging.LogRecord]
):
    embedder = QuantizedEmbedder(tiny_cls_model, engine="torch", max_seq_len=8)
    long = "if while for class " * 20

    vectors = embedder.embed_documents(["if", long, "for", long + " pass", long])

    assert [record.getMessage() for record in warned] == [
        "3 of 5 documents were longer than 8 tokens and were cut. Later ones are, too, without a word."
    ]
    assert warned[0].levelno == logging.WARNING
    assert np.allclose(vectors[1], vectors[3], atol=1e-6)


def test_the_cut_texts_of_all_windows_are_counted_together(
    tiny_cls_model: Path, warned: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
):
    embedder = QuantizedEmbedder(tiny_cls_model, engine="torch", max_seq_len=8)
    monkeypatch.setattr("fastrag_quant.vectors.streaming._MOST_TEXTS", 2)

    embedder.embed_documents(["if while for class " * 20] * 5)

    assert [record.getMessage() for record in warned] == [
        "5 of 5 documents were longer than 8 tokens and were cut. Later ones are, too, without a word."
    ]


def test_an_embedder_warns_once_of_documents_and_once_of_queries(tiny_cls_model: Path, warned: list[logging.LogRecord]):
    embedder = QuantizedEmbedder(tiny_cls_model, engine="torch", max_seq_len=8)
    long = ["if while for class " * 20]

    for _ in range(3):
        embedder.embed_documents(long)
        embedder.embed_queries(long)
        list(embedder.iter_embed(long))

    said = [(record.levelno, record.getMessage().split()[3]) for record in warned if record.levelno >= logging.WARNING]
    assert said == [(logging.WARNING, "documents"), (logging.WARNING, "queries")]


def test_texts_within_the_limit_raise_no_warning(embedder: QuantizedEmbedder, warned: list[logging.LogRecord]):
    embedder.embed_documents(["short", "shorter"])

    assert warned == []


def test_no_batch_is_longer_than_the_limit(embedder: QuantizedEmbedder, shapes: list[tuple[int, int]]):
    embedder.embed_documents(["word " * 2000])

    assert shapes == [(1, embedder.settings.max_seq_len)]


@pytest.mark.parametrize("arguments", [{"max_seq_len": 65}, {"max_seq_len": 2}, {"pooling": "max"}])
def test_settings_that_the_model_cannot_satisfy_are_refused(tiny_cls_model: Path, arguments: dict[str, Any]):
    with pytest.raises(InputError):
        QuantizedEmbedder(tiny_cls_model, engine="torch", **arguments)


# Prompts, normalisation, pooling


def test_queries_and_documents_have_prompts_of_their_own(tiny_cls_model: Path):
    plain = QuantizedEmbedder(tiny_cls_model, engine="torch")
    prompted = QuantizedEmbedder(tiny_cls_model, "torch", query_prompt="class ", document_prompt="lambda ")

    queries, documents = prompted.embed_queries(["if"]), prompted.embed_documents(["if"])

    assert np.array_equal(queries, plain.embed_documents(["class if"]))
    assert np.array_equal(documents, plain.embed_documents(["lambda if"]))
    assert not np.allclose(queries, documents)


def test_a_prompt_of_one_call_takes_the_place_of_the_embedders(tiny_cls_model: Path):
    plain = QuantizedEmbedder(tiny_cls_model, "torch")
    prompted = QuantizedEmbedder(tiny_cls_model, "torch", query_prompt="class ", document_prompt="lambda ")

    assert np.array_equal(prompted.embed_queries(["if"], prompt="for "), plain.embed_queries(["for if"]))
    assert np.array_equal(prompted.embed_documents(["if"], prompt=""), plain.embed_documents(["if"]))


def test_an_empty_prompt_disables_the_models_own(tiny_cls_model: Path):
    prompts = '{"prompts": {"query": "class "}}'
    (tiny_cls_model / "config_sentence_transformers.json").write_text(prompts)
    plain, prompted = (
        QuantizedEmbedder(tiny_cls_model, "torch", query_prompt=""),
        QuantizedEmbedder(tiny_cls_model, "torch"),
    )

    assert np.array_equal(plain.embed_queries(["if"]), plain.embed_documents(["if"]))
    assert np.array_equal(prompted.embed_queries(["if"]), plain.embed_documents(["class if"]))


def test_vectors_have_length_one_only_where_they_are_normalised(tiny_cls_model: Path):
    raw = QuantizedEmbedder(tiny_cls_model, "torch", normalize=False).embed_documents(["if", "class"])
    unit = QuantizedEmbedder(tiny_cls_model, "torch", normalize=True).embed_documents(["if", "class"])

    assert not np.allclose(np.linalg.norm(raw, axis=1), 1, atol=0.1)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    assert np.allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)


def test_cls_and_mean_pooling_differ(tiny_cls_model: Path):
    cls = QuantizedEmbedder(tiny_cls_model, "torch")
    mean = QuantizedEmbedder(tiny_cls_model, "torch", pooling="reduce_mean")

    assert (cls.settings.pooling, mean.settings.pooling) == ("cls", "mean")
    assert not np.allclose(cls.embed_documents(["if class"]), mean.embed_documents(["if class"]), atol=0.01)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_ignores_the_padding(tiny_cls_model: Path, passages: list[str], pooling: str):
    embedder = QuantizedEmbedder(tiny_cls_model, "torch", pooling=pooling)

    beside_a_longer_one = embedder.embed_documents(["if", passages[0]], batch_size=2)[:1]

    assert np.allclose(beside_a_longer_one, embedder.embed_documents(["if"]), atol=1e-5)


# Shapes


def test_padding_to_the_maximum_makes_exactly_one_length(
    minilm_int8: Path, embedder: QuantizedEmbedder, passages: list[str], shapes_of: Callable
):
    padded = QuantizedEmbedder(minilm_int8, embedder.engine, max_seq_len=64, pad_to_max=True)
    shapes = shapes_of(padded)

    vectors = padded.embed_documents(["a", "a few words", *passages[:5]])

    assert {length for _, length in shapes} == {64}
    assert cosines(vectors[:2], embedder.embed_documents(["a", "a few words"])).min() > 0.999


def test_real_texts_run_in_few_lengths(embedder: QuantizedEmbedder, passages: list[str], shapes: list[tuple[int, int]]):
    embedder.embed_documents(mixed_texts(passages))

    assert {length for _, length in shapes} <= {8, 16, 24, 32, 40, 48, 56} | {
        16,
        32,
        48,
        64,
        80,
        96,
        112,
        128,
        160,
        192,
        224,
        256,
    }


def test_warming_up_runs_every_shape_that_queries_can_have(
    embedder: QuantizedEmbedder, passages: list[str], shapes: list[tuple[int, int]]
):
    embedder.warm_up()
    warm = set(shapes)
    shapes.clear()

    for text in mixed_texts(passages):
        embedder.embed_queries([text])

    longer = [64, 80, 96, 112, 128, 160, 192, 224, 256]
    shorter = {"ipex": [16, 32, 48], "openvino": [32, 40, 48, 56]}[embedder.engine]
    assert warm == {(1, length) for length in shorter + longer}
    assert set(shapes) <= warm


def test_warming_up_may_be_told_the_lengths_and_the_batch_size(
    embedder: QuantizedEmbedder, shapes: list[tuple[int, int]]
):
    embedder.warm_up(lengths=[5, 20, 18, 9999], batch_size=8)

    shortest = {"ipex": [16, 32], "openvino": [8, 24]}[embedder.engine]
    assert set(shapes) == {(8, length) for length in (*shortest, 256)}


# Progress


def test_the_progress_bar_counts_texts(embedder: QuantizedEmbedder, passages: list[str], capsys: Any):
    embedder.embed_documents(passages[:37], progress_bar=True)

    assert "37/37" in capsys.readouterr().err


def test_the_progress_bar_of_a_generator_counts_without_a_total(
    embedder: QuantizedEmbedder, passages: list[str], capsys: Any
):
    embedder.embed_documents(iter(passages[:37]), progress_bar=True)

    assert re.search(r"37 texts", capsys.readouterr().err)


def test_there_is_no_progress_bar_unless_asked_for(embedder: QuantizedEmbedder, capfd: Any):
    embedder.embed_documents(["text"])

    assert capfd.readouterr() == ("", "")


# Threads


def test_many_threads_may_use_one_embedder(embedder: QuantizedEmbedder, passages: list[str]):
    parts = [passages[start::8] for start in range(8)]
    expected = [embedder.embed_documents(part) for part in parts]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(embedder.embed_documents, parts * 3))

    for result, vectors in zip(results, expected * 3, strict=True):
        assert np.allclose(result, vectors, atol=1e-6)


def test_a_forked_process_may_use_the_embedder_of_its_parent(embedder: QuantizedEmbedder, passages: list[str]):
    one, many = embedder.embed_documents(passages[:1]), embedder.embed_documents(passages, batch_size=4)

    child = os.fork()
    if child == 0:
        signal.alarm(60)  # rather than hang for ever
        same = np.allclose(embedder.embed_documents(passages[:1]), one, atol=1e-5)
        again = embedder.embed_documents(passages, batch_size=4)
        os._exit(0 if same and np.median(cosines(again, many)) > 0.999 else 1)

    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_a_thread_count_that_is_not_positive_is_refused(minilm_int8: Path, threads: Any):
    with pytest.raises(InputError, match="threads must be a whole number of at least 1 or None"):
        QuantizedEmbedder(minilm_int8, threads=threads)


# Model directories


@needs_ipex
def test_a_directory_without_a_manifest_needs_its_pooling(minilm_int8: Path, tmp_path: Path):
    bare = copy_without(minilm_int8, tmp_path / "bare", MANIFEST_NAME, *POOLING_FILES)

    with pytest.raises(ModelError, match="pass pooling='cls' or pooling='mean'"):
        QuantizedEmbedder(bare)


@needs_ipex
def test_a_directory_without_a_manifest_embeds_as_with_it(minilm_int8: Path, passages: list[str], tmp_path: Path):
    bare = copy_without(minilm_int8, tmp_path / "bare", MANIFEST_NAME, *POOLING_FILES)

    vectors = QuantizedEmbedder(bare, pooling="mean").embed_documents(passages[:9])

    assert np.allclose(vectors, QuantizedEmbedder(minilm_int8, "ipex").embed_documents(passages[:9]), atol=1e-5)


@needs_ipex
def test_an_old_directory_with_a_vocabulary_alone_embeds_the_same(
    minilm_int8: Path, passages: list[str], tmp_path: Path
):
    without = (MANIFEST_NAME, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    old = copy_without(minilm_int8, tmp_path / "old", *without)

    vectors = QuantizedEmbedder(old, engine="ipex").embed_documents(passages[:9])

    assert np.allclose(vectors, QuantizedEmbedder(minilm_int8, "ipex").embed_documents(passages[:9]), atol=1e-5)


def test_the_settings_of_the_manifest_are_in_force(embedder: QuantizedEmbedder, engine: str):
    settings = embedder.settings

    assert (settings.pooling, settings.normalize, settings.max_seq_len) == ("mean", True, 256)
    assert embedder.engine == engine


def test_an_argument_wins_over_the_manifest(minilm_int8: Path, engine: str):
    settings = QuantizedEmbedder(minilm_int8, engine, max_seq_len=32, query_prompt="q: ").settings

    assert (settings.pooling, settings.max_seq_len, settings.query_prompt) == ("mean", 32, "q: ")


@needs_ipex
def test_pooling_and_normalisation_can_be_chosen_anew_where_they_are_not_in_the_graph(minilm_int8: Path):
    settings = QuantizedEmbedder(minilm_int8, "ipex", pooling="cls", normalize=False).settings

    assert (settings.pooling, settings.normalize) == ("cls", False)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "WEIGHTS"])
def test_a_directory_with_a_missing_file_is_refused(minilm_int8: Path, engine: str, name: str, tmp_path: Path):
    name = name.replace("WEIGHTS", ENGINE_KINDS[engine].weights[-1])
    damaged = copy_without(minilm_int8, tmp_path / "damaged", name)

    with pytest.raises(ModelError, match=name):
        QuantizedEmbedder(damaged, engine)


def test_a_changed_file_of_the_same_size_is_found_on_demand(minilm_int8: Path, tmp_path: Path):
    changed = copy_without(minilm_int8, tmp_path / "changed", "tokenizer.json")
    vocabulary = (minilm_int8 / "tokenizer.json").read_text()
    (changed / "tokenizer.json").write_text(vocabulary.replace("[unused0]", "[unusedx]", 1))

    QuantizedEmbedder(changed).close()
    with pytest.raises(ModelError, match=r"SHA-256 of tokenizer\.json"):
        QuantizedEmbedder(changed, verify_hashes=True)


def test_a_missing_model_is_named():
    with pytest.raises(ModelError, match="/no/such/model"):
        QuantizedEmbedder("/no/such/model")


# Benchmarks


def test_tokens_are_counted_without_padding(embedder: QuantizedEmbedder, minilm: Path):
    texts = ["one", "one two three", "word " * 900]

    tokens, _ = TextTokenizer(minilm, 256)(texts)

    assert embedder.count_tokens(texts) == tokens.lengths.sum() == 3 + 5 + 256
    assert embedder.count_tokens(texts[:2], prompt="two words ") == 3 + 5 + 2 * 2


def test_tokens_are_embedded_as_they_are(embedder: QuantizedEmbedder, minilm: Path):
    texts = ["one", "one two three", "word " * 900]
    tokens, _ = TextTokenizer(minilm, 256)(texts)

    assert_same_vectors(embedder.encode(tokens), embedder.embed_documents(texts), embedder.engine)


def test_the_vocabulary_is_the_tokenizers(embedder: QuantizedEmbedder):
    assert embedder.vocabulary_size == 30522


# The end


@pytest.fixture
def load_tiny(tiny_cls_model: Path) -> Callable[[], QuantizedEmbedder]:
    """Loads the tiny model in fp32."""
    return lambda: QuantizedEmbedder(tiny_cls_model, engine="torch")


def test_closing_frees_the_weights(load_tiny: Callable[[], QuantizedEmbedder]):
    import gc

    from transformers import BertModel

    def loaded_models() -> int:
        gc.collect()
        return sum(type(thing) is BertModel for thing in gc.get_objects())

    before = loaded_models()
    embedder = load_tiny()
    assert loaded_models() == before + 1

    embedder.close()

    assert loaded_models() == before


def test_an_embedder_may_be_closed_twice(load_tiny: Callable[[], QuantizedEmbedder]):
    with load_tiny() as embedder:
        embedder.close()
    embedder.close()


def test_a_closed_embedder_says_so(load_tiny: Callable[[], QuantizedEmbedder]):
    embedder = load_tiny()
    embedder.close()

    with pytest.raises(FastragQuantError, match="closed"):
        embedder.embed_documents(["text"])


def test_closing_one_embedder_leaves_others_open(load_tiny: Callable[[], QuantizedEmbedder]):
    one, other = load_tiny(), load_tiny()

    one.close()

    assert other.embed_documents(["text"]).shape == (1, 32)
