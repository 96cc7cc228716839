"""The int8 engines that this environment and CPU run; the first stands for any of them."""

from __future__ import annotations

from fastrag_quant.engines import ENGINE_KINDS

ENGINES = [name for name in ("ipex", "openvino", "native") if ENGINE_KINDS[name].why_not_here() is None]
