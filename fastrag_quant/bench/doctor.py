"""What this machine and environment have, and which engine a model would run on here."""

from __future__ import annotations

import os
import shutil
from ctypes.util import find_library
from pathlib import Path

from fastrag_quant.bench.environment import in_words, installed_versions
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines import ENGINE_KINDS, EngineKind
from fastrag_quant.engines.choice import choose_engine
from fastrag_quant.engines.compiled_models import cache_directory, compiled_models
from fastrag_quant.engines.native.library import level_in_force
from fastrag_quant.errors import FastragQuantError, ModelError
from fastrag_quant.host.cgroups import cpu_quota
from fastrag_quant.host.cpu import ISA_FLAGS, affinity_cores, cpu_model, isa, usable_cores
from fastrag_quant.host.extras import is_installed, missing_distributions
from fastrag_quant.host.memory import ALLOCATORS, current_allocator, numa_nodes
from fastrag_quant.model.manifest import EngineRecord, Manifest

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "GOMP_CPU_AFFINITY")


def describe_machine() -> list[tuple[str, str]]:
    """Return what decides speed here: name and finding."""
    flags = isa()
    nodes = numa_nodes()
    variables = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
    return [
        ("CPU", cpu_model()),
        ("ISA", " ".join(flags) or "none of those that speed int8 up"),
        ("ISA missing", " ".join(flag for flag in ISA_FLAGS if flag not in flags) or "none"),
        ("cores", _cores()),
        ("NUMA nodes", ", ".join(map(str, nodes)) or "unknown"),
        ("threads", f"{usable_cores()} by default{''.join(f', {variable}' for variable in variables)}"),
        ("allocator", f"{current_allocator()}; {_other_allocators()}"),
        ("numactl", "installed" if shutil.which("numactl") else "missing: apt-get install numactl"),
    ]


def describe_environment() -> list[tuple[str, str]]:
    """Return what is installed: name and finding."""
    versions = installed_versions()
    engines = [(f"engine {name}", _runs(kind)) for name, kind in ENGINE_KINDS.items()]
    return [
        *engines,
        ("Haystack", _haystack(versions)),
        ("MTEB", _installed("mteb")),
        ("Aim", "installed" if is_installed("aim") else "missing: pip install aim"),
        ("versions", in_words(versions)),
    ]


def describe_compiled_models() -> list[tuple[str, str]]:
    """Return how much OpenVINO's cache holds, and where: name and finding."""
    directory = cache_directory()
    files = compiled_models(directory) if directory else {}
    megabytes = sum(stat.st_size for stat in files.values()) / 1e6
    return [("compiled models", f"{len(files)} of OpenVINO's, {megabytes:.1f} MB in {directory or 'no home'}")]


def describe_model(model: str) -> list[tuple[str, str]]:
    """Return what a model directory holds, and which engine "auto" takes here and why.

    :raises ModelError: if there is no such model or its manifest is damaged.
    """
    config = EmbedderConfig(model)
    directory = config.source.fetch()
    manifest = Manifest.read(directory)
    auto = ("auto", _auto(config, directory, manifest))
    if manifest is None:
        return [("model", f"{config.source.public_name} has no manifest: it was not quantized by this package"), auto]
    settings = manifest.settings
    return [
        ("model", f"made from {manifest.source.get('model')}, {settings.dimension} dimensions, {settings.pooling}"),
        *((f"weights for {name}", _measured(record)) for name, record in manifest.engines.items()),
        auto,
        ("files", _files(directory, manifest)),
    ]


def _cores() -> str:
    quota = cpu_quota()
    limit = "no quota of a control group" if quota is None else f"a quota of {quota:g}"
    return f"{usable_cores()} usable of {os.cpu_count()}: {affinity_cores()} by affinity, {limit}"


def _auto(config: EmbedderConfig, directory: Path, manifest: Manifest | None) -> str:
    try:
        choice = choose_engine(config, directory, manifest)
    except FastragQuantError as error:
        return f"none: {error}"
    return f"{choice.kind.name}: {choice.reason}"


def _measured(record: EngineRecord) -> str:
    measured = {**record.speed, **record.fidelity}
    figures = ", ".join(f"{name} {value:g}" for name, value in measured.items() if value is not None)
    return f"made on {' '.join(record.isa)}; {figures or 'not measured'}"


def _files(directory: Path, manifest: Manifest) -> str:
    try:
        for engine in manifest.engines:
            manifest.check_sizes(directory, engine)
    except ModelError as error:
        return str(error)
    return "complete, by size"


def _runs(kind: EngineKind) -> str:
    if kind.extra:
        return _installed(kind.extra)
    return f"cannot run: {reason}" if (reason := kind.why_not_cpu()) else f"runs on {level_in_force()}"


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
