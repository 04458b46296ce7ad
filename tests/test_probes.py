"""Probe inputs: drawn so that nothing hides, or read from a file that fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_kerasdiff import probes
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import InputRule
from pytest_kerasdiff.modelfile import InputSpec

IMAGE = InputSpec("image", (None, 8, 6, 3), "float32")
TOKENS = InputSpec("tokens", (None, 12), "float32", vocabulary=50)
FREE = InputSpec("free", (None, None, None, 3), "float32")


def test_draws_are_signed_and_not_constant_and_follow_the_seed() -> None:
    (first,), (again,), (other,) = (probes.draw([IMAGE], {}, 2, seed) for seed in (0, 0, 1))
    assert first.shape == (2, 8, 6, 3)
    assert first.dtype == np.float64
    assert first.min() < -1 < 1 < first.max()
    assert len(np.unique(first[0])) == first[0].size
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_indices_stay_within_the_vocabulary() -> None:
    (drawn,) = probes.draw([TOKENS], {}, 64, 0)
    assert drawn.dtype == np.int64
    assert (drawn.min(), drawn.max()) == (0, 49)
    (drawn,) = probes.draw([TOKENS], {"tokens": InputRule(range=(5, 8))}, 64, 0)
    assert set(np.unique(drawn)) == {5, 6, 7}
    (drawn,) = probes.draw([InputSpec("flag", (None, 9), "int32")], {}, 64, 0)
    assert set(np.unique(drawn)) == {0, 1}


def test_inputs_of_one_byte_keep_their_dtype_and_use_all_values() -> None:
    (flags,) = probes.draw([InputSpec("flag", (None, 9), "bool")], {}, 64, 0)
    assert flags.dtype == np.bool_
    assert set(np.unique(flags)) == {False, True}
    (pixels,) = probes.draw([InputSpec("pixels", (None, 64), "uint8")], {}, 64, 0)
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_strings_are_refused() -> None:
    with pytest.raises(RunError, match="'text' of the Keras model takes strings"):
        probes.draw([InputSpec("text", (None, 1), "string")], {}, 2, 0)


def test_a_range_is_kept_to_and_its_ends_are_reached() -> None:
    (drawn,) = probes.draw([IMAGE], {"image": InputRule(range=(0, 255))}, 2, 0)
    assert 0 < drawn[0].min() < 10
    assert 245 < drawn[0].max() < 255
    assert (drawn[1].min(), drawn[1].max()) == (0, 255)


def test_the_last_sample_has_several_scales() -> None:
    (drawn,) = probes.draw([InputSpec("x", (None, 40, 40, 3), "float32")], {}, 2, 0)
    normal, several = np.abs(np.asarray(drawn, float))
    assert normal.max() < 6
    assert 8 <= several.max() < 20
    impulses = np.mean(several == 8)
    assert 0.01 < impulses < 0.05
    assert np.mean(np.asarray(drawn[1], float) > 0) > 0.55  # a part of it is between 0 and 1


def test_free_sizes_come_from_the_manifest_or_the_default() -> None:
    assert probes.sizes(FREE, InputRule(), 2) == (2, 32, 32, 3)
    assert probes.sizes(FREE, InputRule(shape=(40, 24, 3)), 2) == (2, 40, 24, 3)
    assert probes.sizes(InputSpec("fixed", (4, 5), "float32"), InputRule(), 2) == (4, 5)


@pytest.mark.parametrize("shape", [(40, 24, 4), (40, 24), (2, 40, 24, 3)])
def test_a_shape_that_does_not_fit_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(RunError, match=r"\[inputs\] shape = .*'free'"):
        probes.sizes(FREE, InputRule(shape=shape), 2)


def test_one_array_for_one_input(tmp_path: Path) -> None:
    array = np.arange(2 * 8 * 6 * 3, dtype=np.uint8).reshape(2, 8, 6, 3)
    np.save(tmp_path / "x.npy", array)
    (loaded,) = probes.load(tmp_path / "x.npy", [IMAGE])
    assert loaded.dtype == np.float64
    np.testing.assert_array_equal(loaded, array)


def test_arrays_go_by_name_or_else_by_order(tmp_path: Path) -> None:
    image, tokens = np.ones((2, 8, 6, 3)), np.ones((2, 12), np.int32)
    np.savez(tmp_path / "named.npz", tokens=tokens, image=image, labels=np.zeros(2))
    np.savez(tmp_path / "ordered.npz", image, tokens)
    for name in ("named.npz", "ordered.npz"):
        loaded = probes.load(tmp_path / name, [IMAGE, TOKENS])
        assert [a.shape for a in loaded] == [(2, 8, 6, 3), (2, 12)]
        assert [a.dtype for a in loaded] == [np.float64, np.int64]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 8, 5, 3)), "does not fit input 'image'"),
        (np.zeros((8, 6, 3)), "does not fit input 'image'"),
        (np.zeros((0, 8, 6, 3)), "nothing to compare"),
        (np.full((2, 8, 6, 3), "a"), "expected numbers"),
    ],
)
def test_an_array_that_does_not_fit_is_an_error(array: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(RunError, match=words):
        probes.load(tmp_path / "x.npy", [IMAGE])


def test_too_few_arrays_are_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((2, 8, 6, 3)))
    with pytest.raises(RunError, match="holds 1 arrays, the Keras model takes 2 inputs: image, tokens"):
        probes.load(tmp_path / "x.npz", [IMAGE, TOKENS])


def test_the_batches_of_several_inputs_must_be_equal(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((2, 8, 6, 3)), tokens=np.zeros((3, 12)))
    with pytest.raises(RunError, match="samples"):
        probes.load(tmp_path / "x.npz", [IMAGE, TOKENS])


def test_a_first_rescaling_is_undone() -> None:
    plain = probes.draw([InputSpec("x", (None, 4, 4, 3), "float32")], {}, 2, 0)[0]
    pixels = probes.draw([InputSpec("x", (None, 4, 4, 3), "float32", rescaling=(1 / 127.5, -1.0))], {}, 2, 0)[0]
    assert np.allclose(np.asarray(pixels, float) / 127.5 - 1, np.asarray(plain, float))


def test_a_masked_sequence_is_padded_at_its_end() -> None:
    tokens = probes.draw([InputSpec("x", (None, 9), "int32", vocabulary=50, mask=0.0)], {}, 2, 0)[0]
    assert np.all(np.asarray(tokens)[0] > 0)
    assert np.array_equal(np.asarray(tokens)[1] == 0, np.arange(9) >= 6)
    steps = np.asarray(probes.draw([InputSpec("x", (None, 9, 3), "float32", mask=-1.0)], {}, 2, 0)[0])
    assert np.all(steps[1, 6:] == -1)
    assert not np.any((steps[0] == -1).all(axis=-1))
    (one,) = probes.draw([InputSpec("x", (None, 9, 1), "float32", mask=-1.0)], {}, 2, 0)
    assert not np.any(np.asarray(one)[0] == -1)
    assert [list(step == -1) for step in steps[0, :3]] == [[True, False, True], [False, True, False], [False] * 3]


def test_the_ends_of_a_vocabulary_are_among_few_indices() -> None:
    for mask, low in ((None, 0), (0.0, 1)):
        (drawn,) = probes.draw([InputSpec("x", (None, 4), "int32", vocabulary=5000, mask=mask)], {}, 2, 0)
        assert {low, 4999} <= set(np.unique(drawn))
    (drawn,) = probes.draw([InputSpec("x", (None, 1), "int32", vocabulary=5000)], {}, 2, 0)
    assert drawn.ravel().tolist() == [0, 4999]


def test_numbers_stand_on_the_border_of_two_bins() -> None:
    spec = InputSpec("x", (None, 5), "float32", boundaries=(-1.0, 0.5, 2.0))
    assert {-1.0, 0.5, 2.0} <= set(np.unique(probes.draw([spec], {}, 2, 0)[0]))
    within = np.unique(probes.draw([spec], {"x": InputRule(range=(0, 1))}, 2, 0)[0])
    assert (within.min(), 0.5 in within) == (0, True)
