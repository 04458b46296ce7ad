"""The check of preprocessing: the fit as a pure function, the calls of the user's functions, and whole runs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_kerasdiff import manifest, preprocess
from pytest_kerasdiff.checks import concerned, preprocessing
from pytest_kerasdiff.checks.input_fit import channel_axis, explain
from pytest_kerasdiff.checks.subject import Outcome, Preprocessed
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest, Preprocess
from tests import helpers

Floats = npt.NDArray[np.float64]
STATED = Preprocess("prep.keras_side:prepare", "prep.torch_side:prepare")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 11, 3)).astype(np.float64)
FIRST = (0, 3, 1, 2)
"""The usual layout of a port: channels first."""
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
AS_KERAS = "scale as Keras's function does"
CAFFE = np.array([103.939, 116.779, 123.68])


def raw(x: Floats) -> Floats:
    return x


def unit(x: Floats) -> Floats:
    return x / 255


def tf(x: Floats) -> Floats:
    return x / 127.5 - 1


def imagenet(x: Floats) -> Floats:
    return np.asarray((x / 255 - MEAN) / DEVIATION, np.float64)


def caffe(x: Floats) -> Floats:
    return np.asarray(x[..., ::-1] - CAFFE, np.float64)


def bgr(x: Floats) -> Floats:
    return x[..., ::-1]


def as_deployed(x: Floats) -> Floats:
    return x.astype(np.float32).astype(np.float64)


def judged(port: Floats, keras: Floats, order: tuple[int, ...] = FIRST) -> Outcome:
    """What the check says of the port's tensors, in the port's layout, and Keras's, both rounded to float32."""
    moved = preprocess.in_keras_layout(as_deployed(port), order)
    return preprocessing.judge(Preprocessed(moved, as_deployed(keras), order), STATED, 1e-5)


def first(x: Floats) -> Floats:
    return x.transpose(FIRST)


@pytest.mark.parametrize("prepare", [raw, unit, tf, imagenet, caffe])
def test_the_same_preprocessing_passes(prepare: Callable[[Floats], Floats]) -> None:
    cause, message, _ = judged(first(prepare(IMAGES)), prepare(IMAGES))
    assert cause == ""
    assert re.fullmatch(r"equal tensors for 4 raw samples, \(8, 11, 3\) each: 0 apart, limit [\d.e-]+", message)


@pytest.mark.parametrize(
    ("port", "keras", "words", "remedy"),
    [
        (unit, raw, "the port divides by 255 and Keras does not", "multiply by 255"),
        (raw, unit, "Keras divides by 255 and the port does not", "divide by 255"),
        (tf, raw, "the port scales to -1..1 (mode 'tf' of keras.applications) and Keras does not",
         "take (x + 1) · 127.5 of what it gives"),
        (raw, tf, "Keras scales to -1..1 (mode 'tf' of keras.applications) and the port does not",
         "take (x - 127.5) / 127.5 of what it gives"),
        (tf, unit, "the port scales to -1..1 (mode 'tf' of keras.applications); Keras divides by 255",
         "take (x + 1) / 2 of what it gives"),
        (imagenet, raw, "the port takes mean and deviation per channel: mean 0.485, 0.456, 0.406, deviation 0.229, "
         "0.224, 0.225 (ImageNet's, mode 'torch' of keras.applications) and Keras does not", AS_KERAS),
        (unit, imagenet, "the port divides by 255; Keras takes mean and deviation per channel: mean 0.485",
         AS_KERAS),
        (bgr, caffe, "Keras subtracts a mean per channel: 103.939, 116.779, 123.68 (ImageNet's in BGR order, mode "
         "'caffe' of keras.applications) and the port does not", AS_KERAS),
        (lambda x: (x / 255 - MEAN[::-1]) / DEVIATION[::-1], imagenet, "the port takes mean and deviation per channel: "
         "mean 0.406, 0.456, 0.485, deviation 0.225, 0.224, 0.229 (ImageNet's, in BGR order)", AS_KERAS),
        (lambda x: x / 128, raw, "the port's tensor is 0.0078125 · Keras's", "multiply by 128"),
        (lambda x: x + 2, lambda x: x + 1, "the port's tensor is 1 · Keras's + 1", "take (x - 1) / 1 of what it gives"),
        (lambda x: (x - 102) / 76.5, raw, "the port takes mean and deviation and Keras does not: mean 102, deviation "
         "76.5 of Keras's values", "76.5 of what it gives"),
        (lambda x: (x / 255 - [0.1, 0.2, 0.3]) / 0.5, unit, "the port takes mean and deviation per channel and Keras "
         "does not: mean 0.1, 0.2, 0.3, deviation 0.5, 0.5, 0.5 of Keras's values", AS_KERAS),
        (unit, lambda x: (x / 255 - [0.1, 0.2, 0.3]) / 0.5, "Keras takes mean and deviation per channel and the port "
         "does not: mean 0.1, 0.2, 0.3, deviation 0.5, 0.5, 0.5 of the port's values", AS_KERAS),
        (lambda x: x * [1, 2, 3], raw, "scale 1, 2, 3, offset ", AS_KERAS),
        (lambda x: x / 256, unit, "the port divides by 256; Keras divides by 255", "multiply by 1.00392"),
        (lambda x: x * [1, 0, 1] - 7, raw, "scale 1, 0, 1, offset -7, -7, -7", AS_KERAS),
        (lambda x: x * 0, raw, "the port's function gives the same number everywhere", "look for a division of"),
    ],
)  # fmt: skip
def test_another_scale_is_named(
    port: Callable[[Floats], Floats], keras: Callable[[Floats], Floats], words: str, remedy: str
) -> None:
    cause, message, _ = judged(first(port(IMAGES)), keras(IMAGES))
    assert cause == "input-scale"
    assert words in message
    assert "in prep.torch_side:prepare: " in message
    assert remedy in message
    assert re.search(
        r"; [\d.]+ apart, limit [\d.e-]+, [\d.]+% of elements differ, most at \(\d, \d, \d+, \d\): got ", message
    )


@pytest.mark.parametrize(
    ("port", "keras", "more"),
    [
        (bgr, raw, ""),
        (raw, bgr, ""),
        (lambda x: bgr(unit(x)), raw, "the port divides by 255 and Keras does not"),
        (caffe, raw, "the port subtracts a mean per channel: 103.939"),
        (imagenet, caffe, "the port takes mean and deviation per channel: mean 0.485"),
        (lambda x: bgr(imagenet(x)), imagenet, ""),
        (lambda x: imagenet(bgr(x)), imagenet, ""),
    ],
)
def test_channels_in_reverse_order_are_named(
    port: Callable[[Floats], Floats], keras: Callable[[Floats], Floats], more: str
) -> None:
    cause, message, _ = judged(first(port(IMAGES)), keras(IMAGES))
    assert cause == "input-channels"
    words = message.partition(" apart, ")[0].rpartition("; ")[0]
    expected = "the port has the channels in the reverse of Keras's order (BGR against RGB)"
    assert words == expected if not more else words.startswith(f"{expected}; ")
    assert more in words
    assert "in prep.torch_side:prepare: reverse the channels" in message


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("layout", "order", "words", "remedy"),
    [
        (lambda x: x.transpose(0, 3, 2, 1), FIRST, "height and width exchanged", "exchange height and width"),
        (lambda x: x, FIRST, "leaves the axes in Keras's order", "end with .permute(2, 0, 1)"),
        (lambda x: x.reshape(4, 3, 8, -1), FIRST, "reshaped instead of transposed", "use permute(2, 0, 1) instead of"),
        (first, (0, 1, 2, 3), "gives the channels first, and the port takes them last", "leave the permute out"),
        (lambda x: x.swapaxes(1, 2), (0, 1, 2, 3), "height and width exchanged", "exchange height and width"),
    ],
)
@pytest.mark.parametrize("size", [(8, 11), (8, 8)])
def test_another_layout_is_named(
    layout: Callable[[Floats], Floats], order: tuple[int, ...], words: str, remedy: str, scaled: bool,
    size: tuple[int, int],
) -> None:  # fmt: skip
    images = IMAGES[:, : size[0], : size[1]]
    cause, message, _ = judged(layout(unit(images) if scaled else images), images, order)
    assert cause == "input-layout"
    assert words in message
    assert ("the port divides by 255 and Keras does not" in message) == scaled
    assert f"in prep.torch_side:prepare: {remedy}" in message


def test_shapes_are_told_as_the_ports_function_gives_them() -> None:
    message = judged(IMAGES, IMAGES).message
    assert "a sample has shape (8, 11, 3), expected (3, 8, 11) in the port's layout" in message
    assert "a sample has shape (88, 3), expected (8, 11, 3);" in judged(IMAGES.reshape(4, 88, 3), IMAGES).message


def smoothed(x: Floats) -> Floats:
    return (x + np.roll(x, 1, 2)) / 2


@pytest.mark.parametrize(
    ("port", "keras", "cause", "words"),
    [
        (lambda x: x[:, :7, :10], raw, "input-resize", "a sample has shape (3, 7, 10), expected (3, 8, 11) in the "
         "port's layout; no scale, offset, order of channels or layout explains it; compare the resize or crop"),
        (smoothed, raw, "input-resize", "compare the interpolation, antialiasing, crop or rounding of a resize"),
        (lambda x: np.rint(smoothed(x)), smoothed, "input-scale", "rounding to uint8"),
        (lambda x: np.roll(x, 1, 2), raw, "input-resize", "crop"),
        (lambda x: unit(x) ** 2, unit, "input-scale", "no scale and offset of it; look in prep.torch_side:prepare for "
         "clipping, rounding to uint8, or a gamma"),
        (lambda x: np.floor(x / 2), raw, "input-scale", "rounding to uint8"),
        (lambda x: np.where(x > 250, np.nan, x), raw, "not-finite", "not finite at the same places: "),
    ],
)  # fmt: skip
def test_what_no_line_explains(
    port: Callable[[Floats], Floats], keras: Callable[[Floats], Floats], cause: str, words: str
) -> None:
    found = judged(first(port(IMAGES)), keras(IMAGES))
    assert (found.cause, words in found.message) == (cause, True), found.message


def test_channels_may_come_first_in_keras_too() -> None:
    keras, order = first(IMAGES), (0, 1, 2, 3)
    assert judged(keras, keras, order).cause == ""
    assert "(BGR against RGB);" in judged(keras[:, ::-1], keras, order).message
    cause, message, _ = judged(unit(IMAGES), keras, order)
    assert (cause, message.partition(", and the port takes")[0]) == (
        "input-layout", "the port's function gives the channels last"
    )  # fmt: skip
    assert "in prep.torch_side:prepare: end with .permute(2, 0, 1), multiply by 255" in message
    assert judged(keras.swapaxes(2, 3), keras, order).message.startswith("height and width exchanged; ")


def test_an_image_of_one_value_gets_an_offset() -> None:
    grey = np.full((4, 8, 8, 3), 100.0)
    assert "the port's tensor is 1 · Keras's + 3;" in judged(first(grey + 3), grey).message


def test_few_elements_explain_nothing_by_chance() -> None:
    keras, port = np.array([[0.0, 1], [1, 3], [2, 7]]), np.array([[1.0, 4], [3, 1], [2, 2]])
    assert judged(port, keras, (0, 1)).cause == "input-resize"
    assert judged(port[:1, :1], keras[:1, :1], (0, 1)).cause == "input-resize"


def test_features_are_scaled_each_by_itself() -> None:
    features = np.random.default_rng(1).normal(size=(16, 5))
    mean, deviation = np.arange(1, 6), np.arange(2, 7)
    cause, message, _ = judged(features * deviation + mean, features, (0, 1))
    assert (cause, "scale 2, 3, 4, 5, 6, offset 1, 2, 3, 4, 5;" in message) == ("input-scale", True)


def test_both_sides_may_be_in_the_ports_layout() -> None:
    pair = Preprocessed(first(unit(IMAGES)), first(IMAGES))
    assert preprocessing.judge(pair, STATED, 1e-5).message.startswith("the port divides by 255 and Keras does not; ")
    assert preprocessing.judge(Preprocessed(pair.keras, pair.keras), STATED, 1e-5).cause == ""


@pytest.mark.parametrize(("shape", "axis"), [((4, 8, 8, 3), 3), ((4, 3, 8, 8), 1), ((4, 3, 8, 3), 3), ((4, 2), 1)])
def test_the_axis_of_channels(shape: tuple[int, ...], axis: int) -> None:
    assert channel_axis(shape) == axis


SCALES = st.floats(0.01, 100).map(lambda v: round(v, 4))
OFFSETS = st.floats(-100, 100).map(lambda v: round(v, 4))
COLOURS = st.lists(st.tuples(SCALES, OFFSETS), min_size=3, max_size=3)


@settings(deadline=None)
@given(COLOURS, st.booleans(), st.sampled_from(["", "exchanged", "unmoved", "reshaped"]))
def test_what_was_drawn_is_recovered(colours: list[tuple[float, float]], is_reversed: bool, movement: str) -> None:
    lines = np.array(colours)
    scaled = IMAGES * lines[:, 0] + lines[:, 1]
    port = scaled[..., ::-1] if is_reversed else scaled
    port = {
        "": port.transpose(FIRST),
        "exchanged": port.transpose(0, 3, 2, 1),
        "unmoved": port,
        "reshaped": port.reshape(4, 3, 8, 11),
    }[movement]
    pair = Preprocessed(preprocess.in_keras_layout(port, FIRST), IMAGES, FIRST)
    found = explain(pair, 1e-5)
    moves = is_reversed or movement
    if not moves and np.allclose(lines, [1, 0], atol=1e-6):
        return
    assert found is not None
    assert ("reverse of Keras's order" in found.words) == is_reversed
    assert {"exchanged": "exchanged", "unmoved": "leaves the axes", "reshaped": "reshaped"}.get(
        movement, ""
    ) in found.words
    assert found.cause == ("input-layout" if movement else "input-channels" if is_reversed else "input-scale")
    if not moves and "scale · Keras's + offset" in found.words:
        numbers = [float(n) for n in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", found.words)]
        assert np.allclose(numbers, [*lines[:, 0], *lines[:, 1]], rtol=1e-4, atol=1e-3)


# -- the manifest ----------------------------------------------------------------------------------------------------

BOTH = 'keras = "a.b:c"\ntorch = "d:e"\n'


def read(folder: Path, text: str) -> Manifest:
    (folder / "kerasdiff.toml").write_text(text, "utf-8")
    return manifest.read(folder / "kerasdiff.toml")


def test_the_manifest_names_both_functions(tmp_path: Path) -> None:
    assert read(tmp_path, "").preprocess is None
    assert read(tmp_path, f"[preprocess]\n{BOTH}").preprocess == Preprocess("a.b:c", "d:e")
    stated = read(tmp_path, f"[preprocess]\n{BOTH}shape = [4, 5, 3]\n").preprocess
    assert stated == Preprocess("a.b:c", "d:e", shape=(4, 5, 3))
    stated = read(tmp_path, f'[preprocess]\n{BOTH}raw = "data/raw.npy"\n').preprocess
    assert stated == Preprocess("a.b:c", "d:e", tmp_path / "data" / "raw.npy")
    assert "preprocessing" in concerned.of_model(read(tmp_path, f"[preprocess]\n{BOTH}"))
    assert "preprocessing" not in concerned.of_model(Manifest())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("preprocess = 3", r"\[preprocess\] must be a table"),
        ("[preprocess]\n", r'\[preprocess\]: keras is missing; both functions are named: keras = "module:function"'),
        ("[preprocess]\nkeras = 'a:b'", r"\[preprocess\]: torch is missing"),
        ("[preprocess]\nkeras = 'a:b'\ntorch = 3", r'\[preprocess\] torch = 3: expected "module:function"'),
        ("[preprocess]\nkeras = 'a.b'\ntorch = 'c:d'", r"\[preprocess\] keras = 'a.b': expected"),
        ("[preprocess]\nkeras = 'a:'\ntorch = 'c:d'", r"\[preprocess\] keras = 'a:': expected"),
        (
            f"[preprocess]\n{BOTH}range = [0, 1]",
            r"\[preprocess\]: unknown key 'range'; known: keras, raw, shape, torch",
        ),
        (f"[preprocess]\n{BOTH}raw = 3", r"\[preprocess\] raw = 3: expected a text"),
        (f"[preprocess]\n{BOTH}shape = [0]", r"\[preprocess\] shape = \[0\]: expected a list of sizes"),
        (f"[preprocess]\n{BOTH}shape = [3]\nraw = 'x.npy'", r"\[preprocess\]: raw and shape: give one of them"),
    ],
)
def test_what_is_not_valid_names_the_file_and_the_key(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=words) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "kerasdiff.toml"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("more", ["", 'raw = "data/raw.npy"\n', "shape = [4, 5, 3]\n"])
@pytest.mark.parametrize("new", ["new.toml", "elsewhere/deep/new.toml"])
def test_a_written_manifest_carries_it_over(more: str, new: str, tmp_path: Path) -> None:
    stated = read(tmp_path, f"[preprocess]\n{BOTH}{more}")
    manifest.write(tmp_path / new, {"fc": "head"}, {}, {"image": FIRST}, None, stated)
    assert manifest.read(tmp_path / new).preprocess == stated.preprocess
    assert str(tmp_path) not in (tmp_path / new).read_text("utf-8")


# -- raw samples and calls -------------------------------------------------------------------------------------------


def stating(function: Callable[..., Any] | None = None, **more: Any) -> Manifest:
    """A manifest whose torch-side function is an attribute of this module."""
    name = getattr(function, "__name__", "raw")
    return Manifest(Path("kerasdiff.toml"), preprocess=Preprocess("none:none", f"{__name__}:{name}", **more))


def test_generated_samples_are_pixels_for_images_and_normal_else() -> None:
    images = preprocess.raw_samples(stating(), ["image"], (8, 8, 3), 0)
    assert (images.dtype.name, images.shape) == ("uint8", (4, 8, 8, 3))
    assert (images.min(), images.max()) == (0, 255)
    assert np.array_equal(images, preprocess.raw_samples(stating(), ["image"], (8, 8, 3), 0))
    assert not np.array_equal(images, preprocess.raw_samples(stating(), ["image"], (8, 8, 3), 1))
    grey = preprocess.raw_samples(stating(shape=(28, 28)), ["image"], (28, 28, 1), 0)
    assert (grey.dtype.name, grey.shape) == ("uint8", (4, 28, 28))
    features = preprocess.raw_samples(stating(), ["features"], (7,), 0)
    assert (features.dtype.name, features.shape) == ("float32", (16, 7))
    assert features.min() < 0


def test_real_samples_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "raw.npy", IMAGES.astype(np.uint8))
    found = preprocess.raw_samples(stating(raw=tmp_path / "raw.npy"), ["image"], (4, 4, 3), 0)
    assert (found.dtype.name, found.shape) == ("uint8", IMAGES.shape)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (None, "no such file"),
        ({"a": IMAGES, "b": IMAGES}, "holds several arrays"),
        (np.array(["a", "b"]), r"shape \(2,\), dtype <U1; expected numbers, samples first"),
        (np.arange(3), r"shape \(3,\), dtype int64; expected"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.array([[None]]), "not a .npy file without pickles"),
    ],
)
def test_a_file_that_holds_no_samples_is_refused(array: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "raw.npy"
    if isinstance(array, dict):
        with path.open("wb") as stream:
            np.savez(stream, **array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(RunError, match=words) as caught:
        preprocess.raw_samples(stating(raw=path), ["image"], (4, 4, 3), 0)
    assert str(caught.value).startswith(f"kerasdiff.toml: [preprocess] raw = {path}: ")


def test_a_model_of_several_inputs_is_refused() -> None:
    with pytest.raises(RunError, match=r"\[preprocess\] is supported for models of one input; .* has 2: a, b"):
        preprocess.raw_samples(stating(), ["a", "b"], (3,), 0)


def as_numpy(x: Any) -> Any:
    return x / 2


def as_tensor(x: Any) -> Any:
    return torch.from_numpy(x).to(torch.bfloat16).requires_grad_()


def as_list(x: Any) -> Any:
    return [[[1, 2]]]


def batch_of_one(x: Any) -> Any:
    return torch.from_numpy(x)[None]


def takes_batches(x: Any) -> Any:
    n, h, w, c = x.shape
    assert n == 1
    return x.reshape(n, c, h, w)


def changes_its_input(x: Any) -> Any:
    x += 1
    return x


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (as_numpy, (4, 8, 11, 3)),
        (as_tensor, (4, 8, 11, 3)),
        (as_list, (4, 1, 1, 2)),
        (batch_of_one, (4, 8, 11, 3)),
        (takes_batches, (4, 3, 8, 11)),
        (changes_its_input, (4, 8, 11, 3)),
    ],
)
def test_what_functions_take_and_give(function: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    samples = IMAGES.copy()
    found = preprocess.apply(stating(function), "torch", samples, 3)
    assert (found.dtype.name, found.shape) == ("float64", shape)
    assert np.array_equal(samples, IMAGES)


def raises(x: Any) -> Any:
    raise ValueError(f"bad {x.ndim}\nsecond line")


def gives_a_dict(x: Any) -> Any:
    return {"image": x}


def gives_ragged(x: Any) -> Any:
    return [[1, 2], [3]]


def crops(x: Any) -> Any:
    return x[: 2 + int(x[0, 0, 0]) % 5]


def augments(x: Any) -> Any:
    return x + np.random.default_rng().normal()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            raises,
            r"raises raised ValueError on a numpy array of shape \(8, 11, 3\), float64, and on a batch of one: bad 3 ",
        ),
        (gives_a_dict, "gives_a_dict returned dict, expected one array or tensor of numbers"),
        (gives_ragged, "gives_ragged returned list, expected one array"),
        (
            crops,
            r"crops gives tensors of several shapes for samples of shape \(8, 11, 3\): \(\d, 11, 3\), \(\d, 11, 3\)",
        ),
        (augments, "augments gives something else for the same sample the second time"),
    ],
)
def test_a_function_that_cannot_be_compared_is_one_line(function: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(RunError, match=words) as caught:
        preprocess.apply(stating(function), "torch", IMAGES, 3)
    assert str(caught.value).startswith("kerasdiff.toml: [preprocess] torch: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_function_that_is_not_there_is_one_line() -> None:
    with pytest.raises(RunError, match=r"kerasdiff.toml: \[preprocess\] keras: cannot import 'none'"):
        preprocess.apply(stating(), "keras", IMAGES, 3)


@pytest.mark.parametrize(
    ("permutation", "shape"),
    [((0, 3, 1, 2), (4, 3, 8, 11)), ((0, 1, 2, 3), (4, 8, 11, 3)), ((1, 0, 2, 3), (4, 8, 11, 3))],
)
def test_layouts_are_taken_back(permutation: Sequence[int], shape: tuple[int, ...]) -> None:
    order = preprocess.of_samples(permutation)
    assert IMAGES.transpose(order).shape == shape
    assert np.array_equal(preprocess.in_keras_layout(IMAGES.transpose(order), order), IMAGES)


# -- whole runs ------------------------------------------------------------------------------------------------------

KERAS_SIDE = """
import keras
import numpy as np


def prepare(image):
    assert keras.backend.floatx() == "float32", keras.backend.floatx()
    assert keras.mixed_precision.dtype_policy().name == "float32"
    assert image.shape == (6, 6, 2) and image.dtype == np.uint8
    result = keras.ops.convert_to_tensor(image.astype(keras.backend.floatx())) / 127.5 - 1
    image[:] = 0  # a port must not see this
    return result
"""
TORCH_SIDE = """
import torch


def prepare(image):
    assert torch.get_default_dtype() == torch.float32
    return torch.from_numpy(image).permute(2, 0, 1).to(torch.get_default_dtype()) / 127.5 - 1


def unit(image):
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def unmoved(image):
    return prepare(image).permute(1, 2, 0)


def resized(image):
    return torch.nn.functional.avg_pool2d(prepare(image), 2)


def channels_first(batch):
    return batch.transpose(0, 3, 1, 2)


def raises(image):
    raise ValueError("no")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("preprocessing")
    helpers.write_tiny(made / "model.h5")
    (made / "port.py").write_text(helpers.TINY_PORT)
    (made / "keras_side.py").write_text(KERAS_SIDE)
    (made / "torch_side.py").write_text(TORCH_SIDE)
    state(made / "kerasdiff.toml")
    return made


def state(path: Path, function: str = "prepare", more: str = "", raw: str = "") -> Path:
    path.parent.mkdir(exist_ok=True)
    functions = f'[preprocess]\nkeras = "keras_side:prepare"\ntorch = "torch_side:{function}"\n{raw}'
    path.write_text(f'torch = "port:build"\n{functions}{more}')
    return path


def outcome(report: helpers.Report) -> dict[str, str]:
    (found,) = [c for c in report["checks"] if c["check"] == "preprocessing"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def right(folder: Path) -> helpers.Report:
    run = helpers.program(folder, "model.h5", "--report", "right", "--write-manifest", "written/new.toml")
    assert run.returncode == 0, run.stdout + run.stderr
    report: helpers.Report = json.loads((folder / "right" / "report.json").read_text("utf-8"))
    return report


def test_equal_functions_pass(right: helpers.Report, folder: Path) -> None:
    assert right["verdict"] == "pass"
    found = outcome(right)
    assert (found["layer"], found["status"], found["cause"]) == ("model", "pass", "")
    assert found["message"].startswith("equal tensors for 4 raw samples, (6, 6, 2) each: ")
    assert manifest.read(folder / "written" / "new.toml").preprocess == Preprocess(
        "keras_side:prepare", "torch_side:prepare"
    )


def test_another_scale_fails_the_run_and_nothing_else(folder: Path, right: helpers.Report) -> None:
    np.save(folder / "raw.npy", np.random.default_rng(5).integers(0, 256, (3, 6, 6, 2), dtype=np.uint8))
    named = state(folder / "unit" / "kerasdiff.toml", "unit", raw='raw = "../raw.npy"\n')
    run = helpers.program(folder, "model.h5", "--manifest", named, "--report", "unit")
    assert run.returncode == 1, run.stdout + run.stderr
    words = "the port divides by 255; Keras scales to -1..1 (mode 'tf' of keras.applications); "
    assert f"preprocessing model: {words}" in run.stdout
    assert "in torch_side:unit: take (x - 0.5) · 2 of what it gives" in run.stdout
    report = json.loads((folder / "unit" / "report.json").read_text("utf-8"))
    assert set(helpers.failed_whole(report)) == {"preprocessing"}
    assert not helpers.failed_checks(report)
    assert helpers.at(report, "pass") == set(helpers.LAYERS)


def test_layouts_and_faults_of_the_torch_side(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    compared = helpers.compare(folder / "model.h5", "port:build", tmp_path)
    stated = {
        "unmoved": ("unmoved", ""),
        "resized": ("resized", ""),
        "function": ("prepare", '[inputs]\nlayout = "torch_side:channels_first"\n'),
        "off": ("resized", '[checks]\n"model::preprocessing" = { off = "resized on purpose" }\n'),
        "raises": ("raises", ""),
    }
    for name in ("port", "torch_side"):
        (tmp_path / f"{name}.py").write_text((folder / f"{name}.py").read_text())
    cases = {
        name: {"torch": "port:build", "manifest": state(tmp_path / f"{name}.toml", *words)}
        for name, words in stated.items()
    }
    found = helpers.judge(compared, cases, tmp_path)
    assert found["raises"]["error"].startswith(
        f"{tmp_path / 'raises.toml'}: [preprocess] torch: torch_side:raises raised "
    )
    checks = {name: outcome(report) for name, report in found.items() if name != "raises"}
    assert checks["unmoved"]["cause"] == "input-layout"
    assert checks["resized"]["cause"] == "input-resize"
    assert "a sample has shape (2, 3, 3), expected (2, 6, 6) in the port's layout" in checks["resized"]["message"]
    assert checks["function"]["status"] == "pass", checks["function"]
    assert (checks["off"]["status"], found["off"]["verdict"]) == ("off", "pass")


def test_a_keras_side_that_raises_stops_the_run(folder: Path) -> None:
    named = state(folder / "absent" / "kerasdiff.toml")
    named.write_text(named.read_text().replace("keras_side:prepare", "keras_side:absent"))
    run = helpers.program(folder, "model.h5", "--manifest", named)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"error: {named}: [preprocess] keras: module 'keras_side' has no 'absent'\n"


def test_pytest_has_the_test_where_the_manifest_names_functions(folder: Path) -> None:
    def listed() -> str:
        arguments = ("--keras-model=model.h5", "--kerasdiff-torch=port:build", "--collect-only", "-q")
        run = helpers.run_pytest(folder, *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    stated = (folder / "kerasdiff.toml").read_text()
    try:
        assert "model.h5::model::preprocessing" in listed()
        (folder / "kerasdiff.toml").write_text("")
        assert "model.h5::model::preprocessing" not in listed()
    finally:
        (folder / "kerasdiff.toml").write_text(stated)


def test_pytest_fails_the_test_alone(folder: Path, right: helpers.Report) -> None:
    named = state(folder / "pytest" / "kerasdiff.toml", "unit")
    run = helpers.run_pytest(folder, "--keras-model=model.h5", f"--kerasdiff-manifest={named}")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "FAILED model.h5::model::preprocessing" in run.stdout
    assert "1 failed, " in run.stdout
    assert "the port divides by 255; Keras scales to -1..1" in run.stdout


def test_a_trace_keeps_what_was_preprocessed(tmp_path: Path) -> None:
    from pytest_kerasdiff import tracefile
    from pytest_kerasdiff.trace import FurtherRuns

    for name, kept in (("with", IMAGES), ("without", None)):
        tracefile.write_further(tmp_path / name, FurtherRuns(preprocessed=kept))
        found = tracefile.read_further(tmp_path / name).preprocessed
        assert np.array_equal(found, IMAGES) if kept is not None and found is not None else found is kept


def test_what_is_stated_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        STATED.keras = "x:y"  # type: ignore[misc]
