"""Vectors are those of sentence-transformers, whatever settings a model's files carry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.errors import InputError, ModelError

sentence_transformers = pytest.importorskip("sentence_transformers")

VERSION = tuple(int(part) for part in sentence_transformers.__version__.split(".")[:2])

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# Wide enough an initialisation that texts do not all have nearly the same vector.
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
POSITIONS = {"max_position_embeddings": 66, "pad_token_id": 1}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES | {"max_position_embeddings": 64, "pad_token_id": 1}),
    "roberta": ("Roberta", SIZES | POSITIONS | {"type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", SIZES | POSITIONS | {"type_vocab_size": 1}),
    "mpnet": ("MPNet", SIZES | POSITIONS),
    "distilbert": (
        "DistilBert",
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64, "pad_token_id": 1},
    ),
}

TEXTS = ["The Raise Statement", "FOR", "an ASSERT statement in a Class, and Import", "<s>if</s>", "à l'été, if 中文"]


def trained_tokenizer(family: str, passages: list[str]) -> Tokenizer:
    """Train a tokenizer of the family's kind, which tells capitals from small letters."""
    trainer: Any
    if family == "roberta":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=list(SPECIAL), show_progress=False)
    elif family == "xlm-roberta":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=500, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(passages, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    )
    return tokenizer


@pytest.fixture(scope="session")
def encoder_of(passages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the directory of a tiny encoder of a family, with its tokenizer."""
    directories: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family in directories:
            return directories[family]
        import torch
        import transformers

        directory = directories[family] = tmp_path_factory.mktemp(family)
        tokenizer = trained_tokenizer(family, passages)
        # DistilBERT takes no token types.
        inputs = ["input_ids", "attention_mask"]
        names = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), SPECIAL, strict=True))
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, model_max_length=64, model_input_names=inputs, **names
        )
        fast.save_pretrained(directory)
        prefix, sizes = FAMILIES[family]
        config = getattr(transformers, f"{prefix}Config")(
            vocab_size=tokenizer.get_vocab_size(), initializer_range=0.5, **sizes
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            getattr(transformers, f"{prefix}Model")(config).save_pretrained(directory)
        return directory

    return make


@dataclass(frozen=True)
class Case:
    """What a model's files carry.

    :param modules: type and path of each module.
    :param files: what JSON files hold, beside what is there; the folder of the encoder is ENCODER.
    :param query: what encode() of sentence-transformers is given for queries.
    :param document: the same for documents.
    :param changes: whether vectors are others than those of the plain model.
    :param since: the first version of sentence-transformers that reads it from the files.
    :param given: what an older one is given instead.
    """

    modules: tuple[tuple[str, str], ...] = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    changes: bool = True
    since: tuple[int, int] = (3, 0)
    given: dict[str, Any] | None = None
    package: str = "sentence_transformers.models"


PLAIN = Case(changes=False)
BERT_CONFIG = "ENCODER/sentence_bert_config.json"
SAVED_CONFIG = "config_sentence_transformers.json"
PROMPTS = {"query": "Import query: ", "document": "Class document: "}


def saved(**content: Any) -> dict[str, dict[str, Any]]:
    return {SAVED_CONFIG: content}


def of_class(name: str | None, **content: Any) -> dict[str, dict[str, Any]]:
    """Return a tokenizer_config.json that names a class of transformers, None for none."""
    return {"ENCODER/tokenizer_config.json": {"tokenizer_class": name and f"{name}Tokenizer", **content}}


CASES = {
    "plain": PLAIN,
    "cls": Case(files={"1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}),
    "mean without a flag": Case(files={"1_Pooling/config.json": {"pooling_mode_mean_tokens": None}}, changes=False),
    "not normalised": Case(modules=PLAIN.modules[:2], changes=False),
    "normalised twice": Case(modules=(*PLAIN.modules, ("Normalize", "3_Normalize")), changes=False),
    "dropout": Case(
        modules=(*PLAIN.modules[:2], ("Dropout", "2_Dropout")),
        files={"2_Dropout/config.json": {"dropout": 0.5}},
        changes=False,
    ),
    "pooling in another folder": Case(
        modules=(("Transformer", ""), ("Pooling", "7_Another")),
        files={
            "7_Another/config.json": {
                **{"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
            }
        },
    ),
    "encoder in a folder": Case(
        modules=(("Transformer", "0_Transformer"), *PLAIN.modules[1:]),
        files={BERT_CONFIG: {"max_seq_length": 8, "do_lower_case": True}},
    ),
    "lower case": Case(files={BERT_CONFIG: {"max_seq_length": 64, "do_lower_case": True}}),
    "max_seq_length": Case(files={BERT_CONFIG: {"max_seq_length": 8}}),
    "an old name": Case(files={"ENCODER/sentence_roberta_config.json": {"max_seq_length": 8, "do_lower_case": True}}),
    "model_max_length": Case(files={"ENCODER/tokenizer_config.json": {"model_max_length": 8}}),
    "cut from the left": Case(
        files={BERT_CONFIG: {"max_seq_length": 8}, "ENCODER/tokenizer_config.json": {"truncation_side": "left"}}
    ),
    "prompts": Case(files=saved(prompts=PROMPTS), query={"prompt_name": "query"}, document={"prompt_name": "document"}),
    "a prompt of passages": Case(
        files=saved(prompts={"query": "Import query: ", "passage": "Class passage: "}),
        query={"prompt_name": "query"},
        document={"prompt_name": "passage"},
    ),
    "a prompt of a corpus": Case(
        files=saved(prompts={"query": "Import query: ", "document": "", "corpus": "Class corpus: "}),
        query={"prompt_name": "query"},
        document={"prompt_name": "corpus"},
    ),
    "a default prompt": Case(files=saved(prompts={"any": "Import: "}, default_prompt_name="any")),
    "a default prompt of queries": Case(
        files=saved(prompts={"query": "Import query: "}, default_prompt_name="query"), document={"prompt": ""}
    ),
    "no prompt beside a default one": Case(
        files=saved(prompts=PROMPTS | {"query": "", "document": "", "any": "Import: "}, default_prompt_name="any"),
        query={"prompt_name": "query"},
        document={"prompt_name": "document"},
        changes=False,
    ),
    "prompts that are not pooled, and there are none": Case(
        files={"1_Pooling/config.json": {"include_prompt": False}}, changes=False
    ),
    "fewer dimensions": Case(files=saved(truncate_dim=8), since=(6, 0), given={"truncate_dim": 8}),
    "more dimensions than there are": Case(
        files=saved(truncate_dim=99), since=(6, 0), given={"truncate_dim": 99}, changes=False
    ),
    "padding to the left": Case(
        files={"ENCODER/tokenizer_config.json": {"padding_side": "left"}},
        query={"batch_size": 1},  # beside longer texts, positions of shorter ones are others there
        document={"batch_size": 1},
        changes=False,
    ),
    "an old limit of the tokenizer": Case(
        files={"ENCODER/tokenizer_config.json": {"model_max_length": None, "max_len": 8}}
    ),
    "lower case of the tokenizer's class": Case(files=of_class("Bert", do_lower_case=True, strip_accents=False)),
    "what the tokenizer's class does by default": Case(files=of_class("Bert")),
    "accents of the tokenizer's class": Case(files=of_class("Bert", do_lower_case=False, strip_accents=True)),
    "no Chinese characters of the tokenizer's class": Case(
        files=of_class("Bert", do_lower_case=False, tokenize_chinese_chars=False)
    ),
    "the tokenizer's class by the model": Case(files=of_class(None, do_lower_case=True)),
    "names of special tokens are text": Case(files={"ENCODER/tokenizer_config.json": {"split_special_tokens": True}}),
    "names of what Normalize works on": Case(
        files={
            "2_Normalize/config.json": {
                **{"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
            }
        },
        changes=False,
    ),
    "an empty configuration before one of an old name": Case(
        files={BERT_CONFIG: {}, "ENCODER/sentence_roberta_config.json": {"max_seq_length": 8}}, since=(5, 0)
    ),
    "another similarity": Case(files=saved(similarity_fn_name="dot"), changes=False),
    "pooling by name": Case(
        files={"1_Pooling/config.json": {"pooling_mode_mean_tokens": None, "pooling_mode": "cls"}}, since=(6, 0)
    ),
    "pooling by a list of one name": Case(
        files={"1_Pooling/config.json": {"pooling_mode_mean_tokens": None, "pooling_mode": ["cls"]}}, since=(6, 0)
    ),
}

# Settings whose effect depends on the tokenizer and the positions of a family.
OF_EACH_FAMILY = ("plain", "cls", "encoder in a folder", "model_max_length", "cut from the left", "prompts")


@pytest.fixture
def model_of(encoder_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a sentence-transformers directory of a case."""

    def make(case: Case, family: str = "bert") -> Path:
        directory = tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}"
        encoder = directory / case.modules[0][1]
        encoder.mkdir(parents=True)
        for path in encoder_of(family).iterdir():
            (encoder / path.name).write_bytes(path.read_bytes())
        write(
            directory / "modules.json",
            [
                {"idx": index, "name": str(index), "path": path, "type": f"{case.package}.{kind}"}
                for index, (kind, path) in enumerate(case.modules)
            ],
        )
        files = {
            "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
            SAVED_CONFIG: {},
        }
        if not any("sentence_" in name and "ENCODER" in name for name in case.files):
            files[BERT_CONFIG] = {}
        for name in {**files, **case.files}:
            path = encoder / name.removeprefix("ENCODER/") if name.startswith("ENCODER/") else directory / name
            old = json.loads(path.read_text()) if path.exists() else files.get(name, {})
            content = {**old, **case.files.get(name, {})}
            write(path, {key: value for key, value in content.items() if value is not None})
        return directory

    return make


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def assert_same(found: np.ndarray, expected: np.ndarray, *, lengths: bool = True) -> None:
    assert found.shape == expected.shape
    assert cosines(found, expected).min() >= 0.9999
    if lengths:
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-3)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.sum(left * right, axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


EACH = [("bert", name) for name in CASES]
EACH += [(family, name) for family in FAMILIES if family != "bert" for name in OF_EACH_FAMILY]


@pytest.mark.parametrize(("family", "name"), EACH)
def test_vectors_are_those_of_sentence_transformers(
    family: str, name: str, model_of: Callable[..., Path], passages: list[str]
):
    case = CASES[name]
    if case.since > VERSION and case.given is None:
        pytest.skip(f"sentence-transformers {sentence_transformers.__version__} does not read it")
    directory = model_of(case, family)
    texts = [*TEXTS, *passages[:6]]
    arguments = case.given if case.given and case.since > VERSION else {}
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu", **arguments)

    embedder = QuantizedEmbedder(directory, "torch")
    queries, documents = embedder.embed_queries(texts), embedder.embed_documents(texts)

    lengths = "dimensions" not in name  # a vector that is cut gets length one here, and keeps what is left of it there
    assert_same(queries, model.encode(texts, **case.query), lengths=lengths)
    assert_same(documents, model.encode(texts, **case.document), lengths=lengths)
    plain = QuantizedEmbedder(model_of(PLAIN, family), "torch").embed_documents(texts)
    changed = queries.shape != plain.shape or cosines(queries, plain).min() < 0.999
    assert bool(changed) is case.changes


@pytest.mark.parametrize("name", ["plain", "prompts", "a default prompt of queries", "no prompt beside a default one"])
def test_queries_and_documents_are_those_of_its_methods_for_them(
    name: str, model_of: Callable[..., Path], passages: list[str]
):
    directory = model_of(CASES[name])
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    if not hasattr(model, "encode_query"):
        pytest.skip(f"sentence-transformers {sentence_transformers.__version__} has no encode_query")

    embedder = QuantizedEmbedder(directory, "torch")

    assert_same(embedder.embed_queries(passages[:9]), model.encode_query(passages[:9]))
    assert_same(embedder.embed_documents(passages[:9]), model.encode_document(passages[:9]))


def test_what_this_version_of_sentence_transformers_writes_is_read(
    model_of: Callable[..., Path], tmp_path: Path, passages: list[str]
):
    source = model_of(CASES["lower case"])
    model = sentence_transformers.SentenceTransformer(str(source), device="cpu", prompts=PROMPTS, truncate_dim=16)
    model.max_seq_length = 16
    model.save(str(tmp_path / "saved"))

    embedder = QuantizedEmbedder(tmp_path / "saved", "torch", truncate_dim=16)

    expected = model.encode(passages[:9], prompt_name="query")
    assert_same(embedder.embed_queries(passages[:9]), expected, lengths=False)
    assert embedder.settings.max_seq_len == 16


# What is not run


def test_a_model_that_leaves_prompts_out_of_its_pooling_is_refused_with_one(model_of: Callable[..., Path]):
    files = {"1_Pooling/config.json": {"include_prompt": False}}
    directory = model_of(Case(files=files | saved(prompts=PROMPTS)))

    with pytest.raises(ModelError, match=r"'Import query: ', out of its pooling \(include_prompt is false\)"):
        QuantizedEmbedder(directory, "torch")
    embedder = QuantizedEmbedder(directory, "torch", query_prompt="", document_prompt="")
    for embed in (embedder.embed_queries, embedder.embed_documents, embedder.iter_embed):
        with pytest.raises(InputError, match="'ask: ', out of its pooling"):
            list(embed(["text"], prompt="ask: "))
        assert len(list(embed(["text"], prompt=""))) == 1


# Quantization


def test_a_quantized_model_keeps_them_all(
    model_of: Callable[..., Path], tmp_path: Path, passages: list[str], some_engine: str
):
    case = Case(
        modules=(("Transformer", "0_Transformer"), ("Pooling", "5_Pooling"), ("Dropout", "6_Dropout")),
        files={
            BERT_CONFIG: {"max_seq_length": 24, "do_lower_case": True},
            "ENCODER/tokenizer_config.json": {"truncation_side": "left"},
            "5_Pooling/config.json": {
                **{"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
            },
            "6_Dropout/config.json": {"dropout": 0.5},
        }
        | saved(prompts=PROMPTS, truncate_dim=24),
    )
    directory = model_of(case)
    output = tmp_path / "int8"

    quantize(directory, output, passages, engine=some_engine, sample_size=40, min_cosine=0.9)

    fp32, int8 = QuantizedEmbedder(directory, "torch"), QuantizedEmbedder(output, some_engine)
    assert int8.settings == fp32.settings
    assert int8.dimension == 24
    assert cosines(int8.embed_queries(passages[:20]), fp32.embed_queries(passages[:20])).mean() > 0.9
    full = QuantizedEmbedder(output, some_engine, truncate_dim=32, precision="int8")
    assert full.embed_documents(["text"]).shape == (1, 32)
