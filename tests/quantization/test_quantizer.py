"""quantize() writes a whole, verified model directory with its manifest, or nothing at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.engines.native import library
from fastrag_quant.errors import (
    CalibrationError,
    FastragQuantError,
    FidelityError,
    InputError,
    MissingExtraError,
    ModelError,
    OutputExistsError,
    UnsupportedCpuError,
)
from fastrag_quant.host import extras
from fastrag_quant.host.cpu import isa
from fastrag_quant.model.manifest import MANIFEST_NAME, Manifest
from fastrag_quant.quantization import verification
from fastrag_quant.quantization.quantizer import QuantizationResult

if TYPE_CHECKING:
    from tests.quantization.conftest import Run


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A path in an empty directory."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "int8"


@pytest.fixture
def read(minilm_int8: Path) -> Manifest:
    """The manifest of the int8 MiniLM."""
    manifest = Manifest.read(minilm_int8)
    assert manifest is not None
    return manifest


@pytest.fixture
def quantize_tiny(some_engine: str) -> Callable[..., QuantizationResult]:
    """Quantize with what the tiny model needs, for one engine."""

    def quantize_it(tiny_model: Path, output: Path, passages: list[str], **arguments: Any) -> QuantizationResult:
        defaults = {"pooling": "cls", "min_cosine": 0, "engine": some_engine}
        return quantize(tiny_model, output, passages, **{**defaults, **arguments})

    return quantize_it


def nothing_was_left(output: Path) -> bool:
    return list(output.parent.iterdir()) == []


# What is written


def test_the_directory_holds_all_that_the_manifest_says_and_nothing_else(minilm_int8: Path, read: Manifest):
    files = {str(path.relative_to(minilm_int8)) for path in minilm_int8.rglob("*") if path.is_file()}

    assert files == {MANIFEST_NAME, *read.files, *(name for record in read.engines.values() for name in record.files)}
    assert {"config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"} <= set(read.files)
    assert set(read.engines["openvino"].files) == {"openvino_model.xml", "openvino_model.bin"}
    if "ipex" in read.engines:
        assert set(read.engines["ipex"].files) == {"pytorch_model.bin"}


def test_the_hashes_and_sizes_are_those_of_the_files(minilm_int8: Path, read: Manifest, engine: str):
    read.check_sizes(minilm_int8, engine)
    read.check_hashes(minilm_int8, engine)


def test_the_settings_are_those_of_the_source(read: Manifest):
    settings = read.settings

    assert (settings.pooling, settings.normalize, settings.max_seq_len) == ("mean", True, 256)
    assert (settings.dimension, settings.query_prompt, settings.document_prompt) == (384, "", "")


def test_arguments_win_over_the_source_and_stay_with_the_model(run: Run):
    embedder = QuantizedEmbedder(run.directory)

    assert (embedder.settings.pooling, embedder.settings.max_seq_len) == ("cls", 32)
    assert embedder.settings.query_prompt == "class "
    assert np.array_equal(embedder.embed_queries(["if"]), embedder.embed_documents(["class if"]))


def test_the_manifest_tells_the_calibration(read: Manifest, run: Run, passages: list[str]):
    calibration = read.calibration

    assert (calibration["source"], calibration["texts"], calibration["seed"]) == ("texts", 40, 42)
    assert 3 <= calibration["tokens_min"] < calibration["tokens_mean"] < calibration["tokens_max"] <= 256
    assert run.result.manifest.calibration["seed"] == 3
    assert run.result.manifest.calibration["tokens_max"] == 32  # the limit that was asked for


QUANTIZED_WITH = {
    "native": ("fastrag-quant",),
    "ipex": ("torch", "intel-extension-for-pytorch", "optimum-intel", "neural-compressor", "transformers"),
    "openvino": ("openvino", "nncf", "torch", "transformers"),
}


def test_the_manifest_tells_the_versions_and_the_instruction_set(read: Manifest, engine: str):
    record = read.engines[engine]

    assert record.isa == isa()
    for name in QUANTIZED_WITH[engine]:
        assert record.versions[name] == version(name)


def test_the_manifest_tells_the_fidelity_on_texts_that_calibration_did_not_see(
    read: Manifest, passages: list[str], engine: str
):
    fidelity = dict(read.engines[engine].fidelity)

    assert fidelity.pop("texts") == len(passages) - 40
    assert fidelity.pop("neighbours") == min(10, (len(passages) - 40) // 10)
    assert 0 <= fidelity.pop("batch_difference_max") < 0.05
    assert set(fidelity) == {
        *("cosine_mean", "cosine_p1", "cosine_min", "neighbour_overlap", "mixed_overlap", "batch_cosine_min"),
    }
    assert all(0 < value <= 1 for value in fidelity.values())
    assert fidelity["cosine_min"] <= fidelity["cosine_p1"] <= fidelity["cosine_mean"]
    assert fidelity["cosine_mean"] > 0.985
    assert fidelity["neighbour_overlap"] > 0.85


def test_the_measured_fidelity_is_that_of_the_written_model(
    embedder: QuantizedEmbedder, fp32_embedder: QuantizedEmbedder, read: Manifest, passages: list[str], some_engine: str
):
    from fastrag_quant.quantization.calibration import load_calibration
    from fastrag_quant.quantization.fidelity import measure_fidelity

    held_out = load_calibration(passages, 40, seed=42).held_out
    measured = measure_fidelity(fp32_embedder.embed_documents(held_out), embedder.embed_documents(held_out))

    assert measured.cosine_mean == pytest.approx(read.engines[some_engine].fidelity["cosine_mean"], abs=0.001)


def test_the_result_is_what_was_written(run: Run, engine: str):
    result = run.result

    assert run.working_directory / result.directory == run.directory
    assert result.manifest == Manifest.read(run.directory)
    record = result.manifest.engines[engine]
    assert result.fidelity[engine].as_dict() == record.fidelity
    assert result.int8_bytes[engine] == sum((run.directory / name).stat().st_size for name in record.files)
    assert set(result.int8_bytes) == set(result.fidelity) == set(result.manifest.engines)


def test_the_fp32_size_is_that_of_the_sources_weights(run: Run, tiny_model: Path):
    assert run.result.fp32_bytes == (tiny_model / "model.safetensors").stat().st_size


def test_no_file_tells_a_path_of_this_machine(minilm_int8: Path, minilm: Path, run: Run):
    private = (str(minilm), str(minilm_int8), tempfile.gettempdir(), str(Path.home()) + "/", str(Path.cwd()))

    for path in [*minilm_int8.rglob("*.json"), *run.directory.rglob("*.json")]:
        assert not [name for name in private if name in path.read_text()], path


def test_the_source_is_named_by_its_last_part(read: Manifest, minilm: Path, run: Run, tiny_model: Path):
    assert read.source == {"model": minilm.name, "revision": None}
    written = json.loads((run.directory / "config.json").read_text())
    assert written.get("_name_or_path") in (None, tiny_model.name)  # transformers 5 writes none


def test_the_tokenizer_is_the_source_s_byte_for_byte(run: Run, tiny_model: Path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (run.directory / name).read_bytes() == (tiny_model / name).read_bytes()


@pytest.mark.usefixtures("quick")
def test_an_old_source_with_a_vocabulary_alone_gets_a_tokenizer(
    tiny_model: Path,
    tmp_path: Path,
    output: Path,
    passages: list[str],
    quantize_tiny: Callable,
):
    modern = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    old = shutil.copytree(tiny_model, tmp_path / "old", ignore=shutil.ignore_patterns(*modern))

    quantize_tiny(old, output, passages)

    assert (output / "tokenizer.json").is_file()


def test_the_directory_may_be_read_by_others(run: Run):
    assert run.directory.stat().st_mode & 0o777 == 0o755


@pytest.mark.usefixtures("quick")
def test_the_sample_depends_on_the_seed_alone(
    tiny_model: Path, output: Path, passages: list[str], quantize_tiny: Callable
):
    def calibration(name: str, seed: int) -> dict[str, Any]:
        return quantize_tiny(
            tiny_model, output.with_name(name), passages, seed=seed, sample_size=20
        ).manifest.calibration

    assert calibration("one", seed=1) == calibration("again", seed=1)
    assert calibration("one-more", seed=1)["tokens_mean"] != calibration("other", seed=2)["tokens_mean"]


# Fidelity is a contract


def test_a_model_below_the_minimum_fails_with_the_distance_and_what_to_try(
    minilm: Path, output: Path, passages: list[str], reuse_weights: Callable[[Path], None], minilm_int8: Path
):
    reuse_weights(minilm_int8)

    with pytest.raises(FidelityError) as error:
        quantize(minilm, output, passages, min_cosine=1.0)

    message = str(error.value)
    cosine = float(message.partition("a mean cosine of ")[2].split()[0])
    assert 0.98 < cosine < 1
    assert f"{1 - cosine:.4f} below the minimum of 1.0" in message
    assert "--sample-size" in message
    assert "--min-cosine" in message
    assert nothing_was_left(output)


@pytest.mark.usefixtures("quick")
def test_a_model_whose_vectors_are_not_numbers_fails(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    quantize_tiny: Callable,
):
    broken = lambda _, texts, *__, **___: np.full((len(texts), 32), np.nan, dtype=np.float32)  # noqa: E731
    monkeypatch.setattr(QuantizedEmbedder, "embed_documents", broken)

    with pytest.raises(FidelityError):
        quantize_tiny(tiny_model, output, passages, min_cosine=0)
    assert nothing_was_left(output)


# Whole or not at all


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_nothing_is_left_when_quantizing_breaks_off(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    quantize_tiny: Callable,
    replace_quantizers: Callable,
    error: type[BaseException],
):
    def break_off(_: str, directory: Path) -> None:
        (directory / "weights.bin").write_bytes(b"half of the weights")
        raise error

    replace_quantizers(break_off)

    with pytest.raises(error):
        quantize_tiny(tiny_model, output, passages)
    assert nothing_was_left(output)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_when_measuring_breaks_off(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    quantize_tiny: Callable,
):
    def break_off(*_: Any) -> None:
        raise error

    monkeypatch.setattr(verification, "measure_fidelity", break_off)

    with pytest.raises(error):
        quantize_tiny(tiny_model, output, passages)
    assert nothing_was_left(output)


def test_no_parent_directory_is_left_either(
    tiny_model: Path, output: Path, passages: list[str], quantize_tiny: Callable, replace_quantizers: Callable
):
    def break_off(*_: Any) -> None:
        raise RuntimeError

    replace_quantizers(break_off)

    with pytest.raises(RuntimeError):
        quantize_tiny(tiny_model, output / "in" / "new" / "directories", passages)
    assert nothing_was_left(output)


# An output directory that exists


def test_an_existing_directory_is_refused_before_any_work(
    run: Run, tiny_model: Path, passages: list[str], quantize_tiny: Callable
):
    before = (run.directory / MANIFEST_NAME).read_bytes()

    with pytest.raises(OutputExistsError, match="choose another output path, or pass overwrite"):
        quantize_tiny(tiny_model, run.directory, passages)
    assert (run.directory / MANIFEST_NAME).read_bytes() == before


@pytest.fixture
def old(run: Run, output: Path) -> Path:
    """A model directory of this package with a file that the user added."""
    shutil.copytree(run.directory, output)
    (output / "notes.txt").write_text("of the old model")
    return output


@pytest.mark.usefixtures("quick")
def test_overwriting_replaces_the_whole_directory(
    tiny_model: Path, old: Path, passages: list[str], quantize_tiny: Callable
):
    quantize_tiny(tiny_model, old, passages, overwrite=True, seed=99)

    manifest = Manifest.read(old)
    assert manifest is not None
    assert manifest.calibration["seed"] == 99
    assert not (old / "notes.txt").exists()
    assert [path.name for path in old.parent.iterdir()] == [old.name]


@pytest.mark.usefixtures("quick")
def test_overwriting_takes_an_empty_directory(
    tiny_model: Path, output: Path, passages: list[str], quantize_tiny: Callable
):
    output.mkdir()

    assert quantize_tiny(tiny_model, output, passages, overwrite=True).directory == output


@pytest.mark.parametrize("overwrite", ["false", "true", 1, None])
def test_what_is_no_yes_or_no_overwrites_nothing(
    tiny_model: Path, old: Path, passages: list[str], overwrite: Any, quantize_tiny: Callable
):
    with pytest.raises(InputError, match="overwrite must be true or false"):
        quantize_tiny(tiny_model, old, passages, overwrite=overwrite)

    assert (old / "notes.txt").exists()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_overwriting_never_touches_what_this_package_did_not_write(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    what: str,
    quantize_tiny: Callable,
):
    theirs = output if what == "file" else output / "thesis.tex"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("years of work")

    with pytest.raises(OutputExistsError, match="not a model directory of this package"):
        quantize_tiny(tiny_model, output, passages, overwrite=True)
    assert theirs.read_text() == "years of work"


@pytest.mark.usefixtures("quick")
def test_a_failure_keeps_the_model_that_was_to_be_overwritten(
    tiny_model: Path, old: Path, passages: list[str], quantize_tiny: Callable
):
    with pytest.raises(FidelityError):
        quantize_tiny(tiny_model, old, passages, overwrite=True, min_cosine=1.0)

    assert (old / "notes.txt").exists()
    assert [path.name for path in old.parent.iterdir()] == [old.name]


# Wrong input


def test_an_int8_model_is_refused_as_a_source(run: Run, output: Path, passages: list[str]):
    with pytest.raises(ModelError, match="quantized already: quantize the fp32 embedder it was made from"):
        quantize(run.directory, output, passages)
    assert nothing_was_left(output)


def test_a_published_int8_model_without_a_manifest_is_refused_too(run: Run, output: Path, passages: list[str]):
    published = shutil.copytree(run.directory, output.parent.parent / "published")
    (published / MANIFEST_NAME).unlink()

    with pytest.raises(ModelError, match="published"):
        quantize(published, output, passages, pooling="cls")
    assert nothing_was_left(output)


def test_a_model_with_a_decoder_is_refused_before_any_work(
    tiny_model: Path, tmp_path: Path, output: Path, passages: list[str], quantize_tiny: Callable, some_engine: str
):
    decoder = shutil.copytree(tiny_model, tmp_path / "decoder", ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((decoder / "config.json").read_text())
    (decoder / "config.json").write_text(json.dumps(config | {"is_encoder_decoder": True}))

    with pytest.raises(ModelError, match=f"decoder cannot be quantized for the {some_engine} engine: it has a decoder"):
        quantize_tiny(decoder, output, passages)
    assert nothing_was_left(output)


def test_a_model_whose_pooling_nothing_tells_is_refused(tiny_model: Path, output: Path, passages: list[str]):
    with pytest.raises(ModelError, match="pass pooling='cls' or pooling='mean'"):
        quantize(tiny_model, output, passages)
    assert nothing_was_left(output)


def test_a_source_without_weights_is_refused(
    tiny_model: Path, tmp_path: Path, output: Path, passages: list[str], quantize_tiny: Callable
):
    bare = shutil.copytree(tiny_model, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))

    with pytest.raises(ModelError, match="cannot load the fp32 weights of"):
        quantize_tiny(bare, output, passages)
    assert nothing_was_left(output)


def test_a_source_without_a_tokenizer_is_refused(
    tiny_model: Path, tmp_path: Path, output: Path, passages: list[str], quantize_tiny: Callable
):
    dumb = shutil.copytree(tiny_model, tmp_path / "dumb", ignore=shutil.ignore_patterns("tok*", "vocab*", "special*"))

    with pytest.raises(ModelError, match="tokenizer"):
        quantize_tiny(dumb, output, passages)
    assert nothing_was_left(output)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"engine": "tpu"}, InputError),
        ({"sample_size": 0}, InputError),
        ({"sample_size": "100"}, InputError),
        ({"min_cosine": 1.1}, InputError),
        ({"min_cosine": float("nan")}, InputError),
        ({"min_cosine": "0.9"}, InputError),
        ({"pooling": "max"}, InputError),
        ({"max_seq_len": 65}, InputError),
        ({"query_prompt": 7}, InputError),
    ],
    ids=str,
)
def test_an_argument_out_of_range_is_refused(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    arguments: dict[str, Any],
    error: type[FastragQuantError],
    quantize_tiny: Callable,
):
    with pytest.raises(error):
        quantize_tiny(tiny_model, output, passages, **arguments)
    assert nothing_was_left(output)


@pytest.mark.parametrize("calibration", [[], ["one text"], "missing.txt", "no-column", [None] * 30], ids=str)
def test_calibration_texts_that_cannot_be_used_are_refused(
    tiny_model: Path, output: Path, calibration: Any, quantize_tiny: Callable
):
    with pytest.raises(CalibrationError):
        quantize_tiny(tiny_model, output, calibration)
    assert nothing_was_left(output)


def test_a_missing_model_is_named(output: Path, passages: list[str]):
    with pytest.raises(ModelError, match="/no/such/model"):
        quantize("/no/such/model", output, passages)
    assert nothing_was_left(output)


def test_a_missing_extra_is_named_before_any_work(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    quantize_tiny: Callable,
    some_engine: str,
):
    for extra in {kind.quantization_extra for kind in ENGINE_KINDS.values()} - {None}:
        monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, extra, ("a-package-that-nobody-has",))
    monkeypatch.setattr(library, "why_no_native", lambda: "it was not built")

    with pytest.raises(MissingExtraError, match=f"Quantization for the {some_engine} engine needs a-package"):
        quantize_tiny(tiny_model, output, passages)
    with pytest.raises(MissingExtraError, match=r"pip install 'fastrag-quant\[nncf\]' or .*\[inc\]"):
        quantize_tiny(tiny_model, output, passages, engine="all")
    with pytest.raises(UnsupportedCpuError, match="The native engine cannot run here: it was not built"):
        quantize_tiny(tiny_model, output, passages, engine="native")
    assert nothing_was_left(output)


def test_all_is_every_engine_that_can_be_quantized_for(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    quantize_tiny: Callable,
):
    monkeypatch.setitem(extras.DISTRIBUTIONS_OF_EXTRA, "inc", ("a-package-that-nobody-has",))

    result = quantize_tiny(tiny_model, output, passages, engine="all")

    assert set(result.fidelity) == {"native", "openvino"}
    assert QuantizedEmbedder(output).engine in {"native", "openvino"}


@pytest.mark.usefixtures("quick")
def test_quantizing_needs_no_more_than_its_own_extra(
    tiny_model: Path,
    output: Path,
    passages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    quantize_tiny: Callable,
):
    from importlib.metadata import PackageNotFoundError, distribution

    def installed(name: str) -> object:
        if name == "sentence-transformers":
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(extras, "distribution", installed)

    assert quantize_tiny(tiny_model, output, passages).directory == output
