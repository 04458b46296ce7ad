"""The user's labelled data: what is read from files, folders and code, and what is refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pytest_kerasdiff.accuracy import dataset, feeding
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.feeding import Layout
from pytest_kerasdiff.manifest import Manifest, Preprocess
from pytest_kerasdiff.modelfile import InputSpec
from pytest_kerasdiff.options import Shard

Any_ = npt.NDArray[Any]
IMAGE = (None, 4, 5, 3)
DRAW = np.random.default_rng(0)


def opened(spec: object, names: Sequence[str] = ("image",), shape: Sequence[int | None] = IMAGE) -> dataset.Dataset:
    return dataset.open_dataset(str(spec), names, [shape] * len(names))


def read(found: dataset.Dataset) -> tuple[list[Any_], Any_ | None]:
    """All samples of each input, and the labels."""
    batches = list(found.batches())
    samples = [np.concatenate([np.asarray(b.samples[i]) for b in batches]) for i in range(len(batches[0].samples))]
    labels = [b.labels for b in batches if b.labels is not None]
    return samples, np.concatenate(labels) if labels else None


# -- .npz --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_read_in_batches(tmp_path: Path, save: Any) -> None:
    x, y = DRAW.integers(0, 256, (600, 4, 5, 3), dtype=np.uint8), DRAW.integers(0, 10, 600)
    save(tmp_path / "data.npz", x=x, y=y, more=np.zeros(3))
    found = opened(tmp_path / "data.npz")
    assert found.samples == 600
    assert [len(batch) for batch in found.batches()] == [256, 256, 88]
    samples, labels = read(found)
    assert np.array_equal(samples[0], x)
    assert samples[0].dtype == np.uint8
    assert labels is not None
    assert np.array_equal(labels, y)


def test_large_samples_come_in_small_batches(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((70, 400, 400, 1), np.uint8))
    assert max(len(batch) for batch in opened(tmp_path / "data.npz").batches()) * 400 * 400 <= 2**22


def test_fortrans_order_and_several_inputs(tmp_path: Path) -> None:
    a, b = np.asfortranarray(DRAW.standard_normal((300, 3, 2))), DRAW.standard_normal((300, 4))
    np.savez(tmp_path / "data.npz", b=b, a=a)
    samples, labels = read(opened(tmp_path / "data.npz", ("a", "b")))
    assert np.array_equal(samples[0], a)
    assert np.array_equal(samples[1], b)
    assert labels is None


def test_an_input_may_be_called_y(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 2)), y=np.ones((4, 3)))
    samples, labels = read(opened(tmp_path / "data.npz", ("x", "y"), (None, 2)))
    assert labels is None
    assert [array.shape for array in samples] == [(4, 2), (4, 3)]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros(3), "y": np.zeros(3)}, "holds images, y; expected x, and y for the labels"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(4)}, "expected equally many samples, at least one: x 3, y 4"),
        ({"x": np.zeros((0, 2))}, "at least one: x 0"),
        ({"x": np.array([{"a": 1}], dtype=object)}, "x is of dtype object; expected numbers, without pickles"),
        ({"x": np.array(["a", "b"])}, "x is of dtype <U1; expected numbers"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, arrays: dict[str, Any_], words: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=re.escape(words)) as error:
        opened(tmp_path / "data.npz")
    assert str(error.value).startswith(str(tmp_path / "data.npz"))


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(RunError, match=r"not a \.npz file"):
        opened(tmp_path / "text.npz")
    with pytest.raises(RunError, match=r"no such file or folder \(--kerasdiff-data\)"):
        opened(tmp_path / "nothing.npz")
    np.savez(tmp_path / "data.npz", x=np.zeros((9, 100)))
    whole = bytearray((tmp_path / "data.npz").read_bytes())
    whole[3000] ^= 255
    (tmp_path / "flipped.npz").write_bytes(whole)
    with pytest.raises(RunError, match="cannot be read to its end"):
        list(opened(tmp_path / "flipped.npz").batches())


@pytest.mark.parametrize("place", range(0, 700, 7))
def test_whatever_byte_is_damaged_there_is_one_line(tmp_path: Path, place: int) -> None:
    np.savez_compressed(tmp_path / "data.npz", x=DRAW.standard_normal((9, 4, 5, 3)), y=np.arange(9))
    whole = bytearray((tmp_path / "data.npz").read_bytes())
    whole[place] ^= 0x5A
    (tmp_path / "data.npz").write_bytes(whole)
    with contextlib.suppress(RunError):  # anything else would fail
        read(opened(tmp_path / "data.npz"))


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder_has_a_sub_folder_for_each_class(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = DRAW.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    for name in ("dog", "cat", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    image.fromarray(pixels[0]).save(tmp_path / "dog" / "1.png")
    image.fromarray(pixels[1]).save(tmp_path / "cat" / "b.PNG")
    np.save(tmp_path / "cat" / "c.npy", pixels[2])
    found = opened(tmp_path)
    assert (found.samples, found.classes) == (3, ("cat", "dog"))
    samples, labels = read(found)
    assert np.array_equal(samples[0], pixels[[1, 2, 0]])
    assert labels is not None
    assert labels.tolist() == [0, 0, 1]
    grey = opened(tmp_path, shape=(None, 4, 5, 1))
    (tmp_path / "cat" / "c.npy").unlink()
    assert read(grey := opened(tmp_path, shape=(None, 4, 5, 1)))[0][0].shape == (2, 4, 5, 1)
    assert grey.samples == 2


def test_what_archives_leave_is_no_class(tmp_path: Path) -> None:
    for name in ("a", "b", "__MACOSX", ".cache"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", np.zeros((4, 5, 3)))
    assert opened(tmp_path).classes == ("a", "b")


def test_images_of_several_sizes_need_a_function(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "1.npy", np.zeros((4, 5, 3)))
    np.save(tmp_path / "a" / "2.npy", np.zeros((6, 5, 3)))
    (batch,) = opened(tmp_path).batches()
    assert isinstance(batch.samples[0], list)
    inputs = [InputSpec("image", (None, 4, 5, 3), "float32")]
    with pytest.raises(RunError, match=r"several sizes, such as \(4, 5, 3\); name what resizes them"):
        feeding.for_keras(batch, inputs, Manifest())
    stated = Manifest(preprocess=Preprocess("tests.test_dataset:cropped", "tests.test_dataset:cropped"))
    assert feeding.for_keras(batch, inputs, stated)[0].shape == (2, 4, 5, 3)


def cropped(sample: Any_) -> Any_:
    return sample[:4]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RunError, match="expected one sub-folder for each class with images"):
        opened(tmp_path)
    with pytest.raises(RunError, match="holds the samples of one input; the Keras model has a, b"):
        opened(tmp_path, ("a", "b"))
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(RunError, match=r"1\.png: cannot be read: ValueError: pixels of more than 8 bits"):
        opened(tmp_path)
    np.save(tmp_path / "a" / "0.npy", np.array(["a"]))
    with pytest.raises(RunError, match=r"0\.npy: cannot be read: ValueError: of dtype <U1, expected numbers"):
        opened(tmp_path)
    (tmp_path / "a" / "0.npy").unlink()
    (tmp_path / "a" / "1.png").write_text("no image")
    with pytest.raises(RunError, match=r"1\.png: cannot be read: UnidentifiedImageError"):
        opened(tmp_path)


# -- code --------------------------------------------------------------------------------------------------------------


class Tensor:
    """What torch's tensors have in common with this."""

    def __init__(self, array: Any_) -> None:
        self._array = array

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any_:
        return self._array


X, Y = DRAW.standard_normal((6, 4, 5, 3)), np.arange(6)


def pairs() -> Any:
    yield X[:4], Y[:4]
    yield [Tensor(X[4:]), Tensor(Y[4:])]


def samples_only() -> Any:
    return [X]


def named() -> Any:
    yield {"b": Y, "a": X}, Y


def raises() -> Any:
    yield X, Y
    raise ValueError("no more")


def ragged() -> Any:
    yield X, Y[:2]


def words() -> Any:
    yield X, np.array(["a"] * 6)


def weighted() -> Any:
    yield X, Y, np.ones(6)


def nothing() -> Any:
    return 5


def test_code_gives_batches() -> None:
    samples, labels = read(opened("tests.test_dataset:pairs"))
    assert np.array_equal(samples[0], X)
    assert labels is not None
    assert np.array_equal(labels, Y)
    assert read(opened("tests.test_dataset:samples_only"))[1] is None
    samples, labels = read(opened("tests.test_dataset:named", ("a", "b")))
    assert np.array_equal(samples[1], Y)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raises", "raised ValueError: no more (tests/test_dataset.py:"),
        ("ragged", "gives a batch of 6, 2 samples and labels"),
        ("words", "expected batches of numbers: x, or (x, y)"),
        ("weighted", "gives 3 elements, expected x or (x, y); leave weights of samples out"),
        ("nothing", "raised TypeError: 'int' object is not iterable"),
        ("named", "gives no image; the Keras model takes image"),
        ("missing", "has no 'missing'"),
    ],
)
def test_code_that_gives_something_else_is_refused(function: str, words: str) -> None:
    with pytest.raises(RunError, match=re.escape(words)):
        list(opened(f"tests.test_dataset:{function}").batches())


# -- what each side is given -------------------------------------------------------------------------------------------


def test_each_side_is_given_its_layout() -> None:
    inputs = [InputSpec("image", IMAGE, "float32")]
    pixels = DRAW.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    batch = dataset.Batch((pixels,), None)
    (keras,) = feeding.for_keras(batch, inputs, Manifest())
    (torch,) = feeding.for_torch(batch, inputs, Manifest(), [Layout((0, 3, 1, 2))])
    assert keras.dtype == torch.dtype == np.float32
    assert np.array_equal(keras, pixels)
    assert np.array_equal(torch, pixels.transpose(0, 3, 1, 2))
    stated = Manifest(preprocess=Preprocess("tests.test_dataset:halved", "tests.test_dataset:halved_first"))
    (keras,) = feeding.for_keras(batch, inputs, stated)
    (torch,) = feeding.for_torch(batch, inputs, stated, [Layout((0, 3, 1, 2))])
    assert np.array_equal(keras, pixels / 2)
    assert np.array_equal(torch, (pixels / 2).transpose(0, 3, 1, 2))


def halved(sample: Any_) -> Any_:
    return sample / 2


def halved_first(sample: Any_) -> Any_:
    return sample.transpose(2, 0, 1) / 2


def test_a_model_of_one_batch_size_is_fed_whole_batches(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X)
    *_, last = opened(tmp_path / "data.npz", shape=(4, 4, 5, 3)).batches()
    assert len(last) == 2
    (given,) = feeding.for_keras(last, [InputSpec("image", (4, 4, 5, 3), "float32")], Manifest())
    assert np.array_equal(given, np.concatenate([X[4:], X[4:]]).astype(np.float32))


def test_indices_stay_whole() -> None:
    inputs = [InputSpec("tokens", (None, 7), "int32", vocabulary=50)]
    (given,) = feeding.for_keras(dataset.Batch((np.ones((2, 7), np.float32),), None), inputs, Manifest())
    assert given.dtype == np.int64


def test_samples_of_another_shape_are_refused() -> None:
    inputs = [InputSpec("image", (None, None, 5, 3), "float32")]
    assert feeding.for_keras(dataset.Batch((np.zeros((2, 9, 5, 3)),), None), inputs, Manifest())[0].shape[1] == 9
    for shape in ((2, 9, 4, 3), (2, 9, 5)):
        with pytest.raises(RunError, match=re.escape(f"a sample has shape {shape[1:]}, input 'image' takes")):
            feeding.for_keras(dataset.Batch((np.zeros(shape),), None), inputs, Manifest())


@pytest.mark.parametrize("of", [1, 2, 3, 5])
def test_parts_are_every_so_manyth_batch(tmp_path: Path, of: int) -> None:
    x, y = DRAW.integers(0, 256, (600, 4, 5, 3), dtype=np.uint8), DRAW.integers(0, 10, 600)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    found: list[dataset.Batch] = []
    for number in range(1, of + 1):
        part = dataset.open_dataset(str(tmp_path / "data.npz"), ["image"], [(None, 4, 5, 3)], Shard(number, of))
        batches = list(part.batches())
        assert sum(map(len, batches)) == part.samples
        found += batches
    found.sort(key=lambda batch: batch.number)
    assert [(batch.number, batch.start) for batch in found] == [(0, 0), (1, 256), (2, 512)]
    assert np.array_equal(np.concatenate([batch.samples[0] for batch in found]), x)


def test_the_digest_tells_samples_apart() -> None:
    first = dataset.Batch((X,), Y).digest()
    assert first == dataset.Batch((X.copy(),), Y.copy(), number=3, start=70).digest()
    assert first != dataset.Batch((X[::-1],), Y).digest()
    assert first != dataset.Batch((X,), Y[::-1]).digest()
    assert first != dataset.Batch((X[:-1],), Y[:-1]).digest()
