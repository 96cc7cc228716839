"""An int8 encoder comes back from its file as it was; whatever does not fit is refused by name, before it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small_encoders import SmallModel

from fastrag_quant.engines.native.artefact import WEIGHTS_NAME, read_int8, write_int8
from fastrag_quant.engines.native.encoder import Int8Encoder
from fastrag_quant.engines.native.int8 import quantize
from fastrag_quant.errors import ModelError


@pytest.fixture(scope="module")
def encoder(bert: SmallModel) -> Int8Encoder:
    return quantize(bert.encoder)


@pytest.fixture
def path(encoder: Int8Encoder, tmp_path: Path) -> Path:
    """The file of the small BERT."""
    write_int8(tmp_path / WEIGHTS_NAME, encoder)
    return tmp_path / WEIGHTS_NAME


@pytest.fixture
def change(path: Path) -> Callable[..., None]:
    """A function that writes the file again with another tensor or text in it; None leaves one out."""
    tensors = load_file(path)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()

    def write(name: str, value: np.ndarray | str | None, *, text: bool = False) -> None:
        changed = {**(metadata if text else tensors), name: value}
        changed = {key: kept for key, kept in changed.items() if kept is not None}
        save_file(*((tensors, path, changed) if text else (changed, path, metadata)))

    return write


def arrays_of(encoder: Int8Encoder) -> dict[str, np.ndarray]:
    arrays = {"words": encoder.words, "word_scales": encoder.word_scales, "positions": encoder.positions}
    parts = {"embedding_norm": encoder.embedding_norm}
    for number, layer in enumerate(encoder.layers):
        parts |= {f"layers.{number}.{name}": part for name, part in vars(layer).items()}
    return arrays | {f"{name}.{key}": array for name, part in parts.items() for key, array in vars(part).items()}


def test_an_encoder_comes_back_as_it_was(encoder: Int8Encoder, path: Path):
    found = read_int8(path)

    assert found.shape == encoder.shape
    expected, arrays = arrays_of(encoder), arrays_of(found)
    assert set(arrays) == set(expected)
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype
        assert array.flags.c_contiguous
        assert array.flags.aligned
        assert np.array_equal(array, expected[name])


def test_the_file_holds_the_tensors_under_their_names(encoder: Int8Encoder, path: Path):
    assert set(load_file(path)) == set(arrays_of(encoder))


def test_the_tensors_are_mapped_and_cannot_be_written_to(path: Path):
    for array in arrays_of(read_int8(path)).values():
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_everybody_may_read_the_file(path: Path):
    import os

    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_every_missing_tensor_is_named(encoder: Int8Encoder, path: Path, change: Callable[..., None]):
    for name in arrays_of(encoder):
        change(name, None)
        with pytest.raises(ModelError) as error:
            read_int8(path)
        assert f"{path} is damaged: its tensor {name} is missing" in str(error.value)


def test_every_tensor_of_another_shape_is_named_with_both(
    encoder: Int8Encoder, path: Path, change: Callable[..., None]
):
    for name, array in arrays_of(encoder).items():
        for wrong in (np.concatenate([array, array[:1]]), array[None].copy(), array[:0].copy()):
            change(name, wrong)
            with pytest.raises(ModelError) as error:
                read_int8(path)
            assert f"{path} is damaged: its tensor {name} is " in str(error.value)
            assert f"of shape {wrong.shape}, where " in str(error.value)
            assert f"of shape {array.shape} is expected" in str(error.value)


def test_every_tensor_of_another_type_is_named(encoder: Int8Encoder, path: Path, change: Callable[..., None]):
    for name, array in arrays_of(encoder).items():
        change(name, array.astype(np.uint8 if array.dtype == np.int8 else np.float64))
        with pytest.raises(ModelError, match=f"its tensor {name} is (U8|F64) of shape"):
            read_int8(path)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_every_tensor_with_a_number_that_is_not_finite_is_named(
    encoder: Int8Encoder, path: Path, change: Callable[..., None], number: float
):
    for name, array in arrays_of(encoder).items():
        if array.dtype == np.float32:
            wrong = array.copy()
            wrong.flat[-1] = number
            change(name, wrong)
            with pytest.raises(ModelError, match=f"its tensor {name} holds infinite numbers"):
                read_int8(path)


@pytest.mark.parametrize("number", [0, -0.5])
@pytest.mark.parametrize("name", ["word_scales", "layers.2.up.scale"])
def test_a_scale_that_is_not_above_0_is_named(
    encoder: Int8Encoder, path: Path, change: Callable[..., None], name: str, number: float
):
    wrong = arrays_of(encoder)[name].copy()
    wrong[3] = number
    change(name, wrong)

    with pytest.raises(ModelError, match=f"its tensor {name} holds scales that are not above 0"):
        read_int8(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("hidden", "-64", "its size hidden is -64"),
        ("hidden", "sixty", "its size hidden is 'sixty'"),
        ("hidden", None, "its size hidden is ''"),
        ("heads", "0", "its size heads is 0"),
        ("heads", "3", "cannot be shared out among 3 heads"),
        ("layers", "4", "its tensor layers.3.query_key_value.weight is missing"),
        ("layers", "1000000000000", "its tensor layers.3.query_key_value.weight is missing"),
        ("vocabulary", "101", "its tensor words is I8 of shape (100, 64), where I8 of shape (101, 64) is expected"),
        ("positions", "39", "its tensor positions is F32 of shape (40, 64)"),
        ("padding", "100", "its padding is token 100 of 100"),
        ("padding", "1", "its tensor positions is F32 of shape (40, 64), where F32 of shape (41, 64) is expected"),
        ("epsilon", "nan", "has the epsilon nan"),
        ("epsilon", "-1e-12", "has the epsilon -1e-12"),
        ("fastrag_quant.native", "3", "has the format 3; this fastrag_quant reads format 2"),
        ("fastrag_quant.native", None, "is no file of the native engine"),
    ],
)
def test_sizes_that_cannot_be_or_do_not_fit_are_refused(
    path: Path, change: Callable[..., None], name: str, text: str | None, message: str
):
    change(name, text, text=True)

    with pytest.raises(ModelError) as error:
        read_int8(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_file_that_is_cut_off_is_refused(path: Path, kept: int):
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(ModelError, match=r"native\.safetensors cannot be read as safetensors"):
        read_int8(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=r"native\.safetensors cannot be read"):
        read_int8(tmp_path / WEIGHTS_NAME)
