"""What this machine and environment have, and which engine a model would run on here."""

from __future__ import annotations

import os
import shutil
from ctypes.util import find_library

from fastrag_quant.bench.results import installed_versions
from fastrag_quant.engines import ENGINE_KINDS, installed_engines
from fastrag_quant.errors import ModelError
from fastrag_quant.host.extras import is_installed, missing_distributions
from fastrag_quant.commands.placement import ALLOCATORS, current_allocator, numa_nodes
from fastrag_quant.model.manifest import EngineRecord, Manifest
from fastrag_quant.model.source import ModelSource
from fastrag_quant.host.cpu import ISA_FLAGS, cpu_flags, cpu_model, usable_cores

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "GOMP_CPU_AFFINITY")


def describe_machine() -> list[tuple[str, str]]:
    """Return what decides speed here: name and finding."""
    flags = cpu_flags()
    missing = [flag for flag in ISA_FLAGS if flag not in flags]
    nodes = numa_nodes()
    variables = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
    return [
        ("CPU", cpu_model()),
        ("ISA", " ".join(flag for flag in ISA_FLAGS if flag in flags) or "none of those that speed int8 up"),
        ("ISA missing", " ".join(missing) or "none"),
        ("cores", f"{usable_cores()} usable of {os.cpu_count()}"),
        ("NUMA nodes", ", ".join(map(str, nodes)) or "unknown"),
        ("threads", f"{usable_cores()} by default{''.join(f', {variable}' for variable in variables)}"),
        ("allocator", f"{current_allocator()}; {_other_allocators()}"),
        ("numactl", "installed" if shutil.which("numactl") else "missing: apt-get install numactl"),
    ]


def describe_environment() -> list[tuple[str, str]]:
    """Return what is installed: name and finding."""
    versions = installed_versions()
    engines = [(f"engine {name}", _installed(kind.extra)) for name, kind in ENGINE_KINDS.items()]
    return [
        *engines,
        ("Haystack", _haystack(versions)),
        ("MTEB", _installed("mteb")),
        ("Aim", "installed" if is_installed("aim") else "missing: pip install aim"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def describe_model(model: str) -> list[tuple[str, str]]:
    """Return what a model directory holds, and which engine "auto" takes here and why.

    :raises ModelError: if there is no such model or its manifest is damaged.
    """
    source = ModelSource(model)
    manifest = Manifest.read(source.fetch())
    if manifest is None:
        return [
            ("model", f"{source.public_name} has no manifest: it was not quantized by this package"),
            ("auto", "ipex, for published int8 TorchScript; fp32 models need engine='torch'"),
        ]
    settings = manifest.settings
    rows = [
        ("model", f"made from {manifest.source.get('model')}, {settings.dimension} dimensions, {settings.pooling}"),
        *((f"weights for {name}", _measured(record)) for name, record in manifest.engines.items()),
        ("auto", _auto(manifest)),
    ]
    return [*rows, ("files", _files(source, manifest))]


def _auto(manifest: Manifest) -> str:
    built = list(manifest.engines)
    installed = [name for name in installed_engines() if name in built]
    if not installed:
        extras = " or ".join(f"pip install 'fastrag-quant[{ENGINE_KINDS[name].extra}]'" for name in built)
        return f"none: it has weights for {', '.join(built)}, and none of these is installed: {extras}"
    chosen = manifest.fastest(installed)
    if len(installed) == 1:
        left_out = [name for name in built if name not in installed]
        reason = f"{', '.join(left_out)} is not installed" if left_out else "it has weights for no other"
    elif all(manifest.engines[name].speed for name in installed):
        reason = "quantize() measured it fastest"
    else:
        reason = "it comes first, and speeds were not measured"
    return f"{chosen}: {reason}"


def _measured(record: EngineRecord) -> str:
    figures = ", ".join(f"{name} {value:g}" for name, value in {**record.speed, **record.fidelity}.items())
    return f"made on {' '.join(record.isa)}; {figures or 'not measured'}"


def _files(source: ModelSource, manifest: Manifest) -> str:
    directory = source.fetch()
    try:
        for engine in manifest.engines:
            manifest.check_sizes(directory, engine)
    except ModelError as error:
        return str(error)
    return "complete, by size"


def _installed(extra: str) -> str:
    missing = missing_distributions(extra)
    return f"missing {', '.join(missing)}: pip install 'fastrag-quant[{extra}]'" if missing else "installed"


def _haystack(versions: dict[str, str]) -> str:
    if "farm-haystack" in versions:
        return f"1 (farm-haystack {versions['farm-haystack']}): nodes"
    if "haystack-ai" in versions:
        generation = versions["haystack-ai"].partition(".")[0]
        return f"{generation} (haystack-ai {versions['haystack-ai']}): components"
    return "missing: pip install 'fastrag-quant[haystack1]' or 'fastrag-quant[haystack]'"


def _other_allocators() -> str:
    current = current_allocator()
    others = [
        name if any(map(find_library, allocator.libraries)) else f"{name} (apt-get install {allocator.package})"
        for name, allocator in ALLOCATORS.items()
        if name != current
    ]
    return f"--allocator takes {', '.join(others)}"
