"""Which engine runs a model: from the wish, the manifest, the files, what is installed and what the CPU has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fastrag_quant.config import Dtype, EmbedderConfig
from fastrag_quant.engines import AUTO, ENGINE_KINDS, INT8_KINDS, EngineKind
from fastrag_quant.errors import MissingExtraError, ModelError
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.manifest import EngineRecord, Manifest
from fastrag_quant.model.modules import transformer_directory
from fastrag_quant.model.source import ModelSource

# What has no manifest and is int8 all the same is TorchScript, as Intel publishes it.
_WITHOUT_MANIFEST = "ipex"

# What an engine's distance from fp32 (one minus the mean cosine) may be to the smallest there is: so many times as
# much, or so much more.
_TIMES_AS_FAR = 2.0
_LITTLE = 0.002
# What an engine's speed must be to that of a more faithful one, or of an earlier one, to be taken in its place.
_CLEARLY_FASTER = 1.1


@dataclass(frozen=True)
class EngineChoice:
    """An engine for a model, and why it was taken."""

    kind: EngineKind
    reason: str
    quantizes_on_load: bool = False


def int8_engines(directory: Path, manifest: Manifest | None) -> list[str]:
    """Return the engines that a model directory has int8 weights for; none if it is an fp32 model."""
    if manifest is not None:
        return [name for name in manifest.engines if name in INT8_KINDS]
    is_torchscript = read_json(directory / "config.json").get("torchscript")
    return [_WITHOUT_MANIFEST] if is_torchscript else []


def fp32_of(source: ModelSource) -> ModelSource | None:
    """Return the fp32 model that goes with a model: itself, or the hub model that its manifest names, if it does."""
    directory = source.fetch()
    manifest = Manifest.read(directory)
    if not int8_engines(directory, manifest):
        return source
    origin = manifest.source if manifest else {}
    name, revision = str(origin.get("model")), origin.get("revision")
    return replace(source, name=name, revision=revision and str(revision)) if "/" in name else None


def choose_engine(config: EmbedderConfig, directory: Path, manifest: Manifest | None) -> EngineChoice:
    """Return the engine that runs a model as a configuration asks for it.

    :param directory: holds the model's config.json; weights may be missing.
    :param manifest: the directory's, None where it has none.
    :raises ModelError: if the model is of another kind than was asked for, saying what to do.
    :raises MissingExtraError: if no engine that could run it is installed.
    """
    built = int8_engines(directory, manifest)
    if config.computes_in is not Dtype.INT8:
        choice = _choose_for_fp32(config, built, manifest)
    elif config.engine in built or (manifest is None and _has_own_weights(directory, config.engine)):
        choice = EngineChoice(ENGINE_KINDS[config.engine], "it was asked for")
    elif not built and manifest is not None:
        msg = (
            f"{config.source.name} has int8 weights for {', '.join(manifest.engines) or 'no engine'}, and this "
            f"fastrag_quant runs those for {', '.join(INT8_KINDS)}: upgrade fastrag-quant, or quantize the model again."
        )
        raise ModelError(msg)
    elif not built:
        return _choose_on_load(config, directory)
    elif config.engine == AUTO:
        choice = _choose_installed(config, built, manifest)
    else:
        msg = f"{config.source.name} holds no weights for the {config.engine} engine, only for {', '.join(built)}."
        raise ModelError(msg)
    if reason := choice.kind.why_not_architecture(read_json(transformer_directory(directory) / "config.json")):
        msg = f"The {choice.kind.name} engine cannot run {config.source.name}: {reason}."
        raise ModelError(msg)
    return choice


def check_trusted(kind: EngineKind, config: EmbedderConfig) -> None:
    """Raise where the weights that an engine is about to load are a program, and programs are refused.

    :raises ModelError: saying what refuses them and what to do.
    """
    if reason := why_not_trusted(kind, config):
        msg = (
            f"{config.source.name} is not loaded on the {kind.name} engine: {reason}. Take an engine whose weights are "
            "data, such as native or openvino: quantize the fp32 model for it. Or allow it, if you trust who made it."
        )
        raise ModelError(msg)


def why_not_trusted(kind: EngineKind, config: EmbedderConfig) -> str | None:
    """Return why the weights that an engine would load may not be, or None where they may."""
    refused_by = config.why_no_torchscript
    if not (kind.is_program and config.computes_in is Dtype.INT8 and refused_by):
        return None
    return f"its weights are TorchScript, which is a program, and {refused_by} refuses it"


def _has_own_weights(directory: Path, engine: str) -> bool:
    """Return whether the files of an engine are there that no fp32 model has; the engine sees whether they are int8."""
    if engine in (AUTO, _WITHOUT_MANIFEST):
        return False
    return all((directory / name).is_file() for name in ENGINE_KINDS[engine].weights)


def _choose_for_fp32(config: EmbedderConfig, built: list[str], manifest: Manifest | None) -> EngineChoice:
    kind = ENGINE_KINDS["torch" if config.engine == AUTO else config.engine]
    if built:
        origin = manifest.source.get("model") if manifest else None
        msg = (
            f"{config.source.name} is an int8 model, for {' and '.join(built)}, and holds no fp32 weights: "
            f"pass the model that it was made from{f' ({origin})' if origin else ''}, or leave engine and dtype out."
        )
        raise ModelError(msg)
    return EngineChoice(kind, "it was asked for" if config.engine == kind.name else f"it runs {config.computes_in}")


def _choose_on_load(config: EmbedderConfig, directory: Path) -> EngineChoice:
    """Choose what makes int8 weights of an fp32 model's while it loads them."""
    architecture, reasons = read_json(transformer_directory(directory) / "config.json"), {}
    for kind in INT8_KINDS.values():
        if kind.quantizes_on_load and config.engine in (AUTO, kind.name):
            reasons[kind.name] = kind.why_not_here() or kind.why_not_architecture(architecture)
            if reasons[kind.name] is None:
                return EngineChoice(kind, "it quantizes fp32 weights while it loads them", quantizes_on_load=True)
    name, why = config.source.name, "; ".join(f"{kind} cannot run it: {reason}" for kind, reason in reasons.items())
    msg = (
        f"{name} is not an int8 model{f' ({why})' if why else ''}. Quantize it first: "
        f"fastrag_quant-quantize --model-name {name} --output-path DIR; or run it as it is: engine='torch'."
    )
    raise ModelError(msg)


def _choose_installed(config: EmbedderConfig, built: list[str], manifest: Manifest | None) -> EngineChoice:
    kinds = {name: ENGINE_KINDS[name] for name in built}
    reasons = {name: why_not_trusted(kind, config) or kind.why_not_here() for name, kind in kinds.items()}
    usable = [name for name, reason in reasons.items() if reason is None]
    if not usable:
        if all(why_not_trusted(kind, config) for kind in kinds.values()):
            check_trusted(kinds[built[0]], config)
        msg = f"The model has int8 weights for {', '.join(built)}. {_told(reasons, built)}."
        raise MissingExtraError(msg)
    if len(usable) > 1 and manifest:
        return _choose_measured({name: manifest.engines[name] for name in usable})
    (chosen, *_), others = usable, [name for name in built if reasons[name]]
    return EngineChoice(ENGINE_KINDS[chosen], _told(reasons, others) if others else "it has weights for no other")


def _choose_measured(records: Mapping[str, EngineRecord]) -> EngineChoice:
    """Choose by what quantize() measured: of the engines that are faithful to fp32 the fastest.

    An engine is left out that is twice as far from fp32 as the most faithful one, by the mean cosine and by more than
    next to nothing. Of the others one has to be a tenth faster to go before a more faithful one, or before an earlier.
    Fast is the geometric mean of throughput and latency, as an embedder does documents and queries.

    :param records: of several engines that can run here.
    """
    cosines = {name: record.fidelity.get("cosine_mean") or 0.0 for name, record in records.items()}
    best = max(cosines.values())
    faithful = [name for name in records if 1 - cosines[name] <= max(_TIMES_AS_FAR * (1 - best), 1 - best + _LITTLE)]
    told = [
        f"{name} is clearly less faithful to fp32 (cosine {cosines[name]:.4f}, and {best:.4f} here)"
        for name in records
        if name not in faithful
    ]
    speeds = {name: _speed(records[name]) for name in faithful}
    chosen = faithful[0]
    if all(speeds.values()):
        fastest = max(speeds.values())
        fast = [name for name in faithful if speeds[name] * _CLEARLY_FASTER >= fastest]
        chosen = max(fast, key=cosines.__getitem__)
        if len(faithful) > 1:
            told.insert(0, _compared(chosen, faithful, records, is_fastest=speeds[chosen] == fastest))
    elif len(faithful) > 1:
        told.insert(0, "it comes first, and speeds were not measured")
    return EngineChoice(ENGINE_KINDS[chosen], "; ".join(told))


def _speed(record: EngineRecord) -> float:
    """Return the geometric mean of documents and queries per second, 0 where either was not measured."""
    documents, latency = (record.speed.get(name, 0.0) for name in ("documents_per_second", "query_p50_ms"))
    return math.sqrt(documents * 1000 / latency) if documents > 0 and latency > 0 else 0.0


def _compared(chosen: str, names: Iterable[str], records: Mapping[str, EngineRecord], *, is_fastest: bool) -> str:
    figures = {
        name: "{documents_per_second:.3g} documents/s, {query_p50_ms:.3g} ms a query".format(**records[name].speed)
        for name in names
    }
    why = (
        "quantize() measured it fastest for queries and documents together" if is_fastest else "none is clearly faster"
    )
    own = figures.pop(chosen)
    return f"{why}: {own} ({'; '.join(f'{name}: {figure}' for name, figure in figures.items())})"


def _told(reasons: dict[str, str | None], names: Iterable[str]) -> str:
    return "; ".join(f"{name} cannot run here: {reasons[name]}" for name in names)
