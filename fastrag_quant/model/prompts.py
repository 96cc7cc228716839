"""The prompts of queries and documents: what a model's files say, and what its family is known to want."""

from __future__ import annotations

import re
from typing import Any

from fastrag_quant.errors import ModelError

# Under which key sentence-transformers keeps a prompt; the first that is not empty counts.
_QUERY_KEYS = ("query",)
_DOCUMENT_KEYS = ("document", "passage", "corpus")

BGE_QUERY_PROMPT = "Represent this sentence for searching relevant passages: "
_BGE_ZH_QUERY_PROMPT = "为这个句子生成表示以用于检索相关文章："  # noqa: RUF001 - as the model card has it

# Names of families, and the prompts of queries and of documents. Source: their model cards on the Hugging Face hub.
_FAMILIES = (
    (r"bge-(small|base|large)-en", BGE_QUERY_PROMPT, ""),
    (r"bge-(small|base|large)-zh", _BGE_ZH_QUERY_PROMPT, ""),
    (r"(multilingual-)?e5-(small|base|large)(?!-instruct)", "query: ", "passage: "),
    (r"mxbai-embed-(xsmall|large)", BGE_QUERY_PROMPT, ""),
    (r"uae-large", BGE_QUERY_PROMPT, ""),
    (r"snowflake-arctic-embed-[ml]-v2.0", "query: ", ""),
    (r"snowflake-arctic-embed-(xs|s|m|l)(?!-v2)", BGE_QUERY_PROMPT, ""),
)


def prompts_from_config(content: dict[str, Any], name: str) -> tuple[str | None, str | None]:
    """Return what config_sentence_transformers.json says of the prompts of queries and documents, None where nothing.

    They are those of ``encode_query`` and ``encode_document`` of sentence-transformers. A model without a prompt of
    its own for queries, or for documents, has its default prompt, which ``encode`` takes, unless that is the other's.

    :param content: of the file; empty where there is none.
    :param name: the model's, for messages.
    :raises ModelError: if the prompts are not texts, or the default prompt is none of them.
    """
    prompts = content.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str | None) for prompt in prompts.values()):
        msg = f"The prompts in the config_sentence_transformers.json of {name} are not texts: fetch the model again."
        raise ModelError(msg)
    default = content.get("default_prompt_name")
    if default is not None and default not in (*prompts, "query", "document"):
        msg = (
            f"{name} has the default prompt {default!r}, which is none of its prompts ({', '.join(prompts)}): "
            "fetch the model again, or correct its config_sentence_transformers.json."
        )
        raise ModelError(msg)

    def prompt_of(keys: tuple[str, ...], others: tuple[str, ...]) -> str | None:
        if own := [prompts[key] or "" for key in keys if key in prompts]:
            return next(filter(None, own), "")
        return prompts.get(default) if default not in others else None

    return prompt_of(_QUERY_KEYS, _DOCUMENT_KEYS), prompt_of(_DOCUMENT_KEYS, _QUERY_KEYS)


def wanted_prompts(*names: object) -> tuple[str, str] | None:
    """Return the prompts of queries and documents that a model is known to want, None where none is known.

    :param names: the model's, its directory's, and those of the models that it was made from.
    """
    for name in names:
        for family, query, document in _FAMILIES:
            if re.search(rf"(^|[/_-]){family}($|[._-])", str(name).lower()):
                return query, document
    return None
