"""llama.cpp through llama-cpp-python: weights as Q8_0."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison.system import Loaded, Setup
from comparison.texts import tokenizer_of

if TYPE_CHECKING:
    import numpy as np

MODEL = "llama.cpp"
_FILE = "model-q8_0.gguf"
_BATCH_TOKENS = 2048


def load(setup: Setup) -> Loaded:
    """Load the model; texts are cut beforehand, as it cuts by batch alone."""
    import numpy as np
    from llama_cpp import Llama

    cores = len(os.sched_getaffinity(0))
    model = Llama(
        str(setup.folder(MODEL) / _FILE),
        embedding=True,
        n_ctx=_BATCH_TOKENS,
        n_batch=_BATCH_TOKENS,
        n_ubatch=_BATCH_TOKENS,
        n_threads=cores,
        n_threads_batch=cores,
        verbose=False,
    )
    tokenizer = tokenizer_of(setup)

    def embed(texts: list[str], query: bool) -> np.ndarray:  # noqa: ARG001
        ends = [max(end for _, end in encoding.offsets) for encoding in tokenizer.encode_batch(texts)]
        cut = [text[:end] for text, end in zip(texts, ends, strict=True)]
        return np.array(model.embed(cut, normalize=setup.normalize), dtype=np.float32)

    return Loaded(embed)


def build(setup: Setup, folder: Path) -> None:
    """Write a BERT as llama.cpp's own conversion does; that comes with no package.

    :raises ValueError: for another architecture, or a tokenizer that is not WordPiece.
    """
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((Path(setup.model) / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "bert":
        msg = f"only BERT can be converted here, and this is {config['model_type']}"
        raise ValueError(msg)
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / _FILE, "bert")
    _write_sizes(writer, config, setup)
    _write_vocabulary(writer, Path(setup.model))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, tensor in load_file(Path(setup.model) / "model.safetensors").items():
        target = names.get_name(name.removeprefix("bert."), try_suffixes=(".weight", ".bias"))
        if target is None or "pooler" in name:
            continue
        tensor = tensor.astype("float32")
        is_product = tensor.ndim == 2 and not target.startswith(("position_embd", "token_types"))
        kind = gguf.GGMLQuantizationType.Q8_0 if is_product else gguf.GGMLQuantizationType.F32
        writer.add_tensor(target, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer: Any, config: dict[str, Any], setup: Setup) -> None:
    import gguf

    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.CLS if setup.pooling == "cls" else gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_token_type_count(config["type_vocab_size"])


def _write_vocabulary(writer: Any, folder: Path) -> None:
    """Write WordPiece with a space's mark before each word instead of a mark before what goes on with one."""
    import gguf

    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if tokenizer["model"]["type"] != "WordPiece":
        msg = f"only WordPiece can be converted here, and this is {tokenizer['model']['type']}"
        raise ValueError(msg)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(
        [token if token in special else token[2:] if token.startswith("##") else f"\u2581{token}" for token in tokens]
    )
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    numbers = tokenizer["model"]["vocab"]
    writer.add_unk_token_id(numbers["[UNK]"])
    writer.add_pad_token_id(numbers["[PAD]"])
    writer.add_sep_token_id(numbers["[SEP]"])
    writer.add_mask_token_id(numbers["[MASK]"])
    writer.add_bos_token_id(numbers["[CLS]"])
    writer.add_eos_token_id(numbers["[SEP]"])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
