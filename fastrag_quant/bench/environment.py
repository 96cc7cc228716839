"""What a measurement depends on besides what it measures: the machine and the installed versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from fastrag_quant.host.cpu import cpu_model, isa, usable_cores
from fastrag_quant.host.extras import is_installed
from fastrag_quant.host.memory import current_allocator

_REPORTED = (
    *("fastrag-quant", "torch", "intel-extension-for-pytorch", "optimum-intel", "openvino"),
    *("transformers", "tokenizers", "farm-haystack", "haystack-ai", "mteb"),
)


@dataclass(frozen=True)
class Environment:
    """Where something was measured.

    :param isa: the CPU's flags that decide the speed of int8 and bf16.
    :param cores: CPUs that the process might use.
    :param versions: distribution → version.
    """

    cpu: str
    isa: list[str]
    cores: int
    allocator: str
    versions: dict[str, str]

    @classmethod
    def current(cls) -> Environment:
        """Return that of this process."""
        return cls(cpu_model(), isa(), usable_cores(), current_allocator(), installed_versions())


def installed_versions() -> dict[str, str]:
    """Return distribution → version of this package and those that its speed depends on, where installed."""
    return {name: version(name) for name in _REPORTED if is_installed(name)}


def in_words(versions: Mapping[str, str]) -> str:
    """Return versions as one line for a person."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())
