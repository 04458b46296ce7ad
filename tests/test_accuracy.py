"""Accuracy: what is counted, what it says of the difference, and which limits it is held against."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_kerasdiff import child, predictions
from pytest_kerasdiff.accuracy import shown, statistics
from pytest_kerasdiff.accuracy.measure import Counter
from pytest_kerasdiff.accuracy.merged import merge
from pytest_kerasdiff.checks.accuracy import broken_limits, describe
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import Settings, Shard
from pytest_kerasdiff.verdict import limit_of
from tests import helpers
from tests.helpers import DATA, ROOT

Floats = npt.NDArray[np.float64]
Found = dict[str, Any]
NO_LIMITS: Found = {"min_accuracy": None, "max_drop": None, "max_flips": None}
DRAW = np.random.default_rng(3)
LOGITS = DRAW.standard_normal((40, 7))
LABELS = DRAW.integers(0, 7, 40)
NEAR = 1e-5


def counted(
    keras: Floats,
    torch: Floats,
    labels: npt.NDArray[Any] | None,
    probabilities: bool = False,
    rows: int = 1000,
    **more: Any,
) -> Found:
    counter = Counter(0.0, NEAR, probabilities, **more)
    for start in range(0, len(keras), rows):
        some = slice(start, start + rows)
        counter.add(keras[some], torch[some], None if labels is None else labels[some])
    return {**counter.result(), "limits": NO_LIMITS, "shard": None}


# -- counting --------------------------------------------------------------------------------------------------------


def test_the_same_outputs_are_as_accurate_and_nothing_flips() -> None:
    found = counted(LOGITS, LOGITS, LABELS)
    right = float((LOGITS.argmax(1) == LABELS).mean())
    best = np.sort(LOGITS, 1)[:, -5]
    among = float((LOGITS[np.arange(40), LABELS] >= best).mean())
    for side in ("keras", "torch"):
        assert found[side]["value"] == right
        assert found[side]["top_5"] == among
    assert (found["samples"], found["flips"], found["ties"], found["flipped"]) == (40, 0, 0, [])
    assert found["outputs"]["max_abs"] == 0
    assert found["mcnemar"] == {"keras_only": 0, "torch_only": 0, "p": 1.0}
    assert not list(broken_limits(found))


def test_a_flip_is_listed_with_both_margins() -> None:
    torch = LOGITS.copy()
    best = LOGITS[11].argmax()
    other = (best + 1) % 7
    torch[11, other] = torch[11, best] + 0.25
    found = counted(LOGITS, torch, LABELS)
    margin = float(LOGITS[11, best] - LOGITS[11, other])
    assert found["flipped"] == [
        {"sample": 11, "at": [], "label": int(LABELS[11]), "keras": best, "torch": other, "keras_margin": margin,
         "torch_margin": pytest.approx(0.25), "tie": False}
    ]  # fmt: skip
    assert found["flips"] == 1
    assert list(broken_limits(found)) == ["1 decision flipped, at most 0 allowed"]
    assert f"sample 11: {best} → {other} (margins {margin:.2g}, 0.25)" in describe(found)


def test_a_decision_that_hangs_on_rounding_is_a_tie() -> None:
    keras = np.array([[0.5, 0.5 - NEAR / 2], [1.0, 0.0]])
    torch = np.array([[0.5 - NEAR / 2, 0.5], [1.0, 0.0]])
    found = counted(keras, torch, np.array([0, 0]))
    assert (found["flips"], found["ties"]) == (0, 1)
    assert not list(broken_limits(found))
    assert "1 more by a tie" in describe(found)
    torch[0, 1] += 3 * NEAR  # one of the two is sure
    assert counted(keras, torch, np.array([0, 0]))["flips"] == 1


def test_one_hot_labels_are_classes() -> None:
    one_hot, classes = (counted(LOGITS, LOGITS, labels) for labels in (np.eye(7)[LABELS], LABELS))
    assert {**one_hot, "counts": None} == {**classes, "counts": None}
    assert counted(LOGITS, LOGITS, LABELS[:, None]) == counted(LOGITS, LOGITS, LABELS)


@pytest.mark.parametrize(("probabilities", "expected"), [(True, [0.9, 0.2]), (False, [3.0, -2.0])])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_number_decides_between_two_classes(
    probabilities: bool, expected: list[float], shape: tuple[int, ...]
) -> None:
    keras = np.array(expected).reshape(shape)
    found = counted(keras, keras, np.array([1, 0]), probabilities)
    assert found["keras"]["value"] == 1
    torch = keras[::-1].copy()
    found = counted(keras, torch, np.array([1, 0]), probabilities)
    assert (found["torch"]["value"], found["flips"]) == (0, 2)
    assert [(flip["sample"], flip["keras"], flip["torch"]) for flip in found["flipped"]] == [(0, 1, 0), (1, 0, 1)]
    assert found["mcnemar"] == {"keras_only": 2, "torch_only": 0, "p": 0.5}


def test_of_a_decision_for_each_pixel_the_place_is_told() -> None:
    keras = DRAW.standard_normal((3, 4, 5, 2))
    torch = keras.copy()
    torch[2, 1, 3] = torch[2, 1, 3, ::-1]
    found = counted(keras, torch, keras.argmax(-1), rows=2)
    assert found["keras"]["value"] == 1
    assert found["torch"]["value"] == 59 / 60
    assert [(flip["sample"], flip["at"]) for flip in found["flipped"]] == [(2, [1, 3])]
    assert "1 flip of 60, sample 2, 1, 3:" in describe(found)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_what_is_not_finite_decides_nothing(strange: float) -> None:
    torch = LOGITS.copy()
    torch[5] = strange
    found = counted(LOGITS, torch, LOGITS.argmax(1))
    assert (found["keras"]["value"], found["torch"]["value"]) == (1, 39 / 40)
    assert found["flipped"][0]["torch"] is None
    assert found["outputs"]["max_abs"] is None
    assert found["flips"] == 1
    json.dumps(found, allow_nan=False)
    assert counted(torch, torch, LOGITS.argmax(1))["flips"] == 0


def test_numbers_have_errors() -> None:
    expected = DRAW.standard_normal((20, 3))
    keras, torch = expected + 1, expected + 3
    found = counted(keras, torch, expected)
    assert found["metric"] == "rmse"
    assert found["keras"] == {"value": pytest.approx(1), "interval": None, "mae": pytest.approx(1)}
    assert found["torch"] == {"value": pytest.approx(3), "interval": None, "mae": pytest.approx(3)}
    assert found["difference"] == pytest.approx(-2)
    assert found["decisions"] == 0
    assert list(broken_limits(found)) == [f"outputs 2 apart, limit {limit_of(np.abs(keras).max(), 0, NEAR):.3g}"]
    assert not list(broken_limits(counted(keras, keras + NEAR / 2, expected)))
    assert list(broken_limits({**found, "limits": {**NO_LIMITS, "max_drop": 1.5}})) == [
        "2 worse than Keras, at most 1.5 allowed"
    ]
    assert not list(broken_limits({**found, "limits": {**NO_LIMITS, "max_drop": 2.5}}))


def test_numbers_may_look_like_classes_in_one_batch() -> None:
    expected = DRAW.integers(0, 9, 30).astype(np.float64)
    expected[:10] = np.arange(10) % 2  # a batch of zeros and ones, then counts
    keras = expected[:, None] + 0.25
    found = counted(keras, keras, expected, rows=10)
    assert (found["metric"], found["decisions"], found["flips"]) == ("rmse", 0, 0)
    assert found["keras"]["value"] == pytest.approx(0.25)
    several = np.eye(7)[LABELS]
    several[25] = 0.5  # the labels of one sample are mixed
    assert counted(LOGITS, LOGITS, several, rows=10)["metric"] == "rmse"
    assert counted(LOGITS, -LOGITS, several, rows=10)["decisions"] == 0


def test_axes_of_labels_are_those_of_the_outputs() -> None:
    outputs = DRAW.standard_normal((3, 4, 5, 2))
    labels = outputs.argmax(-1)
    assert counted(outputs, outputs, labels)["keras"]["value"] == 1
    for wrong in (labels.transpose(0, 2, 1), np.moveaxis(np.eye(2)[labels], -1, 1)):
        with pytest.raises(RunError, match=re.escape(f"labels of shape {wrong.shape} for a batch of outputs")):
            counted(outputs, outputs, wrong)


def test_errors_that_are_not_finite_keep_no_limit() -> None:
    expected = DRAW.standard_normal((20, 3))
    torch = expected.copy()
    torch[3, 1] = np.nan
    found = counted(expected, torch, expected)
    assert (found["torch"]["value"], found["keras"]["value"], found["difference"]) == (None, 0, None)
    json.dumps(found, allow_nan=False)
    limit = limit_of(np.abs(expected).max(), 0, NEAR)
    assert list(broken_limits(found)) == [f"outputs not finite at the same places, limit {limit:.3g}"]
    assert list(broken_limits({**found, "limits": {**NO_LIMITS, "max_drop": 9.0}})) == [
        "rmse not finite, Keras 0: no drop to be seen"
    ]
    found = counted(expected, torch, expected, metric=lambda y, x: x.sum(-1), metric_name="own:metric")
    assert "own:metric not finite, Keras" in describe(found)
    assert list(broken_limits({**found, "limits": {**NO_LIMITS, "min_accuracy": -9.0, "max_flips": 9}})) == [
        "accuracy not finite is less than -9"
    ]


def test_without_labels_decisions_are_compared() -> None:
    torch = LOGITS.copy()
    torch[3] = -torch[3]
    found = counted(LOGITS, torch, None)
    assert (found["metric"], found["keras"], found["torch"], found["flips"]) == (None, None, None, 1)
    assert list(broken_limits(found)) == ["1 decision flipped, at most 0 allowed"]
    assert list(broken_limits({**found, "limits": {**NO_LIMITS, "max_drop": 0.1}})) == [
        "no drop to be seen: the data has no labels"
    ]


@pytest.mark.parametrize("kind", ["no labels", "numbers", "metric"])
def test_a_limit_of_flips_counts_decisions_whatever_the_labels_are(kind: str) -> None:
    keras = np.linspace(0.05, 0.95, 40)[:, None]
    torch = keras.copy()
    torch[[3, 30]] = 1 - torch[[3, 30]]
    labels = None if kind == "no labels" else keras * 0.9
    more: Found = {"metric": lambda y, out: -np.abs(out - y)[:, 0], "metric_name": "own"} if kind == "metric" else {}
    plain, limited = (counted(keras, torch, labels, True, 15, decides=decides, **more) for decides in (False, True))
    assert (plain["decisions"], limited["decisions"], limited["flips"]) == (0, 40, 2)
    assert [flip["sample"] for flip in limited["flipped"]] == [3, 30]
    assert list(broken_limits({**limited, "limits": {**NO_LIMITS, "max_flips": 1}})) == [
        "2 decisions flipped, at most 1 allowed"
    ]
    assert "apart" in describe(plain) or kind != "no labels"
    assert "alike" not in describe(plain)


def test_the_users_metric_scores() -> None:
    def metric(labels: Any, outputs: Any) -> Any:
        return -np.abs(outputs[:, 0] - labels)

    expected = DRAW.standard_normal(30)
    keras, torch = expected[:, None] + 0.5, expected[:, None] + 0.75
    found = counted(keras, torch, expected, metric=metric, metric_name="own:metric")
    assert found["metric"] == "own:metric"
    assert found["keras"]["value"] == pytest.approx(-0.5)
    assert found["torch"]["value"] == pytest.approx(-0.75)
    assert found["difference"] == pytest.approx(-0.25)
    assert found["mcnemar"] is None
    assert list(broken_limits({**found, "limits": {**NO_LIMITS, "min_accuracy": -0.6, "max_drop": 0.3}})) == [
        "accuracy -0.75 is less than -0.6"
    ]


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (lambda labels, outputs: 1 / 0, "own:metric raised ZeroDivisionError"),
        (lambda labels, outputs: 0.5, "gave an array of shape () for 40 samples, expected one number for each"),
        (lambda labels, outputs: "good", "raised TypeError: scores of dtype <U4, expected numbers"),
        (lambda labels, outputs: labels * 1j, "raised TypeError: scores of dtype complex128, expected numbers"),
    ],
)
def test_a_metric_that_gives_no_scores_is_an_error(metric: Any, words: str) -> None:
    with pytest.raises(RunError, match=re.escape(words)):
        counted(LOGITS, LOGITS, LABELS, metric=metric, metric_name="own:metric")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS + 1, "labels 1 … 7, but the model has 7 classes, 0 … 6"),
        (LABELS - 1, "labels -1 … 5, but the model has 7 classes"),
        (
            LABELS[:, None] * np.ones(3),
            "labels of shape (40, 3) for a batch of outputs (40, 7): expected classes (40,)",
        ),
        (LABELS + 0.5, "labels of shape (40,) for 7 classes are no whole numbers"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(labels: npt.NDArray[Any], words: str) -> None:
    with pytest.raises(RunError, match=re.escape(words)):
        counted(LOGITS, LOGITS, labels)


def test_another_shape_is_an_error() -> None:
    with pytest.raises(RunError, match=re.escape("the port's output has shape (40, 6) for a batch, Keras's (40, 7)")):
        counted(LOGITS, LOGITS[:, :6], LABELS)


def test_data_without_samples_compares_nothing() -> None:
    with pytest.raises(RunError, match="nothing was compared"):
        counted(LOGITS[:0], LOGITS[:0], LABELS[:0])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 41), seed=st.integers(0, 2**32 - 1))
def test_batches_of_any_size_come_to_the_same(rows: int, seed: int) -> None:
    torch = LOGITS + np.random.default_rng(seed).normal(0, 0.3, LOGITS.shape)
    assert counted(LOGITS, torch, LABELS, rows=rows) == counted(LOGITS, torch, LABELS)


# -- statistics --------------------------------------------------------------------------------------------------------


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I.
    assert [round(end, 4) for end in statistics.of_share(81, 263)] == [0.2553, 0.3662]
    assert [round(end, 4) for end in statistics.of_share(0, 20)] == [0, 0.1611]


@pytest.mark.parametrize(
    ("keras", "torch", "p"), [(10, 2, 2 * (1 + 12 + 66) / 2**12), (0, 5, 2 / 2**5), (0, 0, 1), (3, 3, 1)]
)
def test_mcnemars_test_is_exact(keras: int, torch: int, p: float) -> None:
    assert statistics.mcnemar(keras, torch) == pytest.approx(p)
    assert statistics.mcnemar(torch, keras) == pytest.approx(p)


def test_an_interval_ends_where_differences_do() -> None:
    low, high = statistics.of_paired_shares(2, 0, 2)
    assert low == -1
    assert 0 < high < 0.5


def test_the_interval_of_a_difference_holds_it_19_times_of_20() -> None:
    draw = np.random.default_rng(0)
    cells = [0.08, 0.03, 0.89]  # right alone: Keras, the port; the rest
    drawn = draw.multinomial(200, cells, 2000)
    held = sum(
        low <= cells[1] - cells[0] <= high
        for keras, torch, _ in drawn
        for low, high in [statistics.of_paired_shares(int(keras), int(torch), 200)]
    )
    assert 0.935 < held / 2000 < 0.97


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, ["2 decisions flipped, at most 0 allowed"]),
        ({"max_flips": 2}, []),
        ({"max_flips": 1}, ["2 decisions flipped, at most 1 allowed"]),
        ({"max_drop": 0.06}, []),
        ({"max_drop": 0.01}, ["0.05 worse than Keras, at most 0.01 allowed"]),
        ({"max_drop": 0.06, "max_flips": 0}, ["2 decisions flipped, at most 0 allowed"]),
        ({"max_flips": 9, "min_accuracy": 0.95}, []),
        ({"max_flips": 9, "min_accuracy": 0.96}, ["accuracy 0.95 is less than 0.96"]),
        ({"max_flips": 9, "min_accuracy": 1.1}, ["accuracy 0.95 is less than 1.1 (Keras's own is 1: see the data)"]),
    ],
)
def test_what_was_measured_is_held_against_the_limits(limits: Found, words: list[str]) -> None:
    torch = LOGITS.copy()
    torch[[4, 9]] *= -1
    found = {**counted(LOGITS, torch, LOGITS.argmax(1)), "limits": {**NO_LIMITS, **limits}}
    assert list(broken_limits(found)) == words


def test_a_smallest_accuracy_of_numbers_needs_a_metric() -> None:
    found = counted(LOGITS, LOGITS, LOGITS + 0.5)
    assert list(broken_limits({**found, "limits": {**NO_LIMITS, "min_accuracy": 0.9}})) == [
        "no accuracy to hold against the smallest one: the data has no classes; name a --kerasdiff-metric"
    ]


# -- parts of the data -------------------------------------------------------------------------------------------------


def parts(
    of: int, keras: Floats, torch: Floats, labels: Any, limits: Found = NO_LIMITS, **more: Any
) -> dict[str, Found]:
    """A report of each part of the data, whose batches have 7 samples."""
    made = {}
    for number in range(1, of + 1):
        counter = Counter(1e-9, NEAR, False, **more)
        for batch, start in enumerate(range(0, len(keras), 7)):
            if Shard(number, of).takes(batch):
                some = slice(start, start + 7)
                counter.add(keras[some], torch[some], None if labels is None else labels[some], start)
        made[f"{number}.json"] = report_of({**counter.result(), "shard": f"{number}/{of}", "limits": limits})
    return made


def report_of(accuracy: Found) -> Found:
    check = {"check": "accuracy", "layer": "model", "status": "pass", "cause": "", "message": "a part"}
    return {
        "keras_model": "net.h5", "torch": "port:build", "tolerance": NEAR, "environment": {"pytest_kerasdiff": "1"},
        "layers": [{"name": "dense", "status": "pass", "not_exercised": []}], "checks": [check], "notes": [],
        "accuracy": {"data": "data.npz", "classes": [], "shown": [], **accuracy},
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31), st.sampled_from(["classes", "none", "numbers", "metric"]))
def test_parts_come_to_what_the_whole_comes_to(of: int, seed: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    keras = draw.standard_normal((50, 7)) * 10.0 ** draw.integers(-2, 3)
    torch = keras + draw.standard_normal(keras.shape) * draw.choice([0.3, 1e-5, 0])
    labels = {"classes": draw.integers(0, 7, 50), "none": None, "numbers": keras + 1, "metric": draw.integers(0, 7, 50)}
    more: Found = {"metric": lambda y, out: out[np.arange(len(y)), y], "metric_name": "own"} if kind == "metric" else {}
    reports = parts(of, keras, torch, labels[kind], **more)
    merged = merge(dict(sorted(reports.items(), key=lambda item: draw.random())))["accuracy"]
    (whole,) = parts(1, keras, torch, labels[kind], **more).values()
    expected = whole["accuracy"]
    for key in ("samples", "decisions", "flips", "ties", "flipped", "outputs", "mcnemar", "metric"):
        assert merged[key] == expected[key]
    for side in ("keras", "torch"):
        if expected[side] is not None:
            exact = kind == "classes"
            assert merged[side]["value"] == pytest.approx(expected[side]["value"], rel=0 if exact else 1e-14, abs=0)
    assert merged["shard"] is None


def test_limits_are_those_of_all_of_the_data() -> None:
    labels = LOGITS.argmax(1)
    labels[:4] = (labels[:4] + 1) % 7
    reports = parts(3, LOGITS, LOGITS, labels, {**NO_LIMITS, "min_accuracy": 0.9})
    assert not any(list(broken_limits(report["accuracy"])) for report in reports.values())  # the first has 0.71
    assert merge(reports)["verdict"] == "pass"
    reports = parts(3, LOGITS, LOGITS, labels, {**NO_LIMITS, "min_accuracy": 0.91})
    merged = merge(reports)
    assert merged["verdict"] == "fail"
    assert merged["checks"][0]["message"].startswith(
        "accuracy 0.9 is less than 0.91 (Keras's own is 0.9: see the data). "
    )
    torch = LOGITS.copy()
    torch[30] *= -1
    flipped = parts(3, LOGITS, torch, None)
    assert [len(list(broken_limits(report["accuracy"]))) for report in flipped.values()] == [0, 1, 0]
    assert merge(flipped)["accuracy"]["flipped"][0]["sample"] == 30
    assert merge(flipped)["verdict"] == "fail"


def test_a_layer_that_fails_in_one_part_fails() -> None:
    reports = parts(2, LOGITS, LOGITS, LABELS)
    reports["2.json"]["layers"][0]["status"] = "fault"
    assert merge(reports)["verdict"] == "fail"
    assert merge(reports)["layers"] == reports["2.json"]["layers"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.pop("2.json"), "part 2/3 of the data is missing"),
        (lambda r: r.update({"4.json": r["1.json"]}), "4.json: part 1/3 of the data: there twice"),
        (lambda r: r.update({"4.json": parts(4, LOGITS, LOGITS, LABELS)["4.json"]}), "4.json: part 4/4 .* not of 3"),
        (lambda r: r["2.json"].update(torch="other:build"), "2.json: another port: not of the same run"),
        (lambda r: r["3.json"]["accuracy"].update(shard=None), "3.json: not the report of a part of the data"),
        (lambda r: r["3.json"]["accuracy"]["counts"].update(threshold=0.5), "they decide at another threshold"),
        (lambda r: r["1.json"]["accuracy"]["counts"].update(more=0.5), "its counts are not those of this version"),
    ],
)
def test_what_does_not_belong_together_is_refused(change: Any, words: str) -> None:
    reports = parts(3, LOGITS, LOGITS, LABELS)
    change(reports)
    with pytest.raises(RunError, match=words):
        merge(reports)


# -- predictions -------------------------------------------------------------------------------------------------------


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    writer = predictions.Writer(tmp_path / "made.h5")
    single = LOGITS.astype(np.float32)
    writer.add(single[:25])
    writer.add(single[25:])
    assert not (tmp_path / "made.h5").exists()
    writer.close({0: "abc", 3: "de"}, 0.5, {"keras": "3"})
    with predictions.opened(tmp_path / "made.h5") as found:
        assert found is not None
        assert (len(found), found.digests, found.noise) == (40, {0: "abc", 3: "de"}, 0.5)
        assert found.environment == {"keras": "3"}
        assert (found.least, found.greatest) == (single.min(), single.max())
        assert np.array_equal(found.rows(20, 10), single[20:30])
        assert len(found.rows(35, 10)) == 5
    writer = predictions.Writer(tmp_path / "other.h5")
    writer.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["made.h5"]


# -- whole runs --------------------------------------------------------------------------------------------------------

PREPARE = """
import numpy as np
def raw(sample): return sample.astype(np.float32)
def first(sample): return raw(sample).transpose(2, 0, 1)
def scaled(sample): return first(sample) / 255
"""


def reports(folder: Path, model: Path, cases: dict[str, Found]) -> dict[str, Found]:
    """The report of each case: what differs from the settings of the model's right port on its data."""
    jobs = [
        child.Job(Settings(**{"keras_model": model, **own}), folder / name, folder, (str(folder), str(ROOT)))
        for name, own in cases.items()
    ]
    made: dict[Any, Path] = {}
    for job in jobs:
        job.folder.mkdir()
        first = made.setdefault((job.settings.data, job.settings.manifest), job.folder)
        if first != job.folder:
            for name in (child.REFERENCE_TRACE, child.PREDICTIONS):
                (job.folder / name).symlink_to(first / name)
    helpers.work("reference", [job for job in jobs if job.folder in made.values()], folder)
    helpers.work("candidate", [job for job in jobs if not (job.folder / "error.json").exists()], folder)
    return {name: helpers.result(folder / name) for name in cases}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    folder = tmp_path_factory.mktemp("accuracy")
    helpers.write_tiny(folder / "net.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT)
    draw = np.random.default_rng(1)
    x, y = draw.standard_normal((300, 6, 6, 2)), draw.integers(0, 4, 300)
    np.savez(folder / "data.npz", x=x, y=y)
    np.savez(folder / "wide.npz", x=x[:, :5], y=y)
    for number in range(3):
        (folder / "images" / str(number)).mkdir(parents=True)
        np.save(folder / "images" / str(number) / "0.npy", x[number])
    (folder / "prepare.py").write_text(PREPARE)
    (folder / "unfit.toml").write_text('[preprocess]\nkeras = "prepare:raw"\ntorch = "prepare:raw"\n')
    (folder / "own.py").write_text(
        "import numpy as np\n"
        "DATA = dict(np.load(__file__.replace('own.py', 'data.npz')))\n"
        "def batches(order=range(300)):\n"
        "    for start in range(0, 300, 70):\n"
        "        some = list(order)[start:start + 70]\n"
        "        yield DATA['x'][some], DATA['y'][some]\n"
        "def shuffled():\n"
        "    import os\n"
        "    return batches(np.random.default_rng(os.getpid()).permutation(300))\n"
    )  # fmt: skip
    right = {"torch": "port:build", "data": str(folder / "data.npz")}
    return reports(
        folder,
        folder / "net.h5",
        {
            "right": right,
            "limited": {**right, "min_accuracy": 0.9},
            "wrong": {**right, "torch": "port:wrong"},
            "shown": {**right, "samples": (299, 0)},
            "too many": {**right, "samples": (300,)},
            "code": {**right, "data": "own:batches"},
            "shuffled": {**right, "data": "own:shuffled"},
            "folders": {**right, "data": str(folder / "images")},
            "unfit": {**right, "manifest": folder / "unfit.toml"},
            "does not fit": {**right, "data": str(folder / "wide.npz")},
        },
    )


def test_a_right_port_is_as_accurate(tiny: dict[str, Found]) -> None:
    report = tiny["right"]
    assert report["verdict"] == "pass"
    found = report["accuracy"]
    assert (found["samples"], found["metric"], found["flips"], found["difference"]) == (300, "top-1", 0, 0)
    assert found["keras"]["value"] == found["torch"]["value"]
    assert 0 < found["outputs"]["max_abs"] < found["outputs"]["near"]
    assert {"accuracy_s", "wait_for_predictions_s"} <= set(report["timing"])
    # Code gives batches of other sizes: the last bit of the largest difference, which the counts have too, may differ.
    measured, apart = tiny["code"]["accuracy"], {"outputs": None, "counts": None}
    assert {**measured, **apart} == {**found, "data": "own:batches", **apart}
    assert measured["outputs"] == pytest.approx(found["outputs"], abs=1e-6)
    assert measured["counts"]["decisions"] == found["counts"]["decisions"] == 300


def test_a_wrong_port_flips(tiny: dict[str, Found]) -> None:
    report = tiny["wrong"]
    found = report["accuracy"]
    assert 20 < found["flips"] == len(found["flipped"])
    message = helpers.failed_whole(report)["accuracy"]
    assert message.startswith(
        f"{found['flips']} decisions flipped, at most 0 allowed; see the layers at fault. 300 samples"
    )


def test_a_port_that_cannot_run_on_what_it_is_fed_fails_the_check(tiny: dict[str, Found]) -> None:
    report = tiny["unfit"]
    assert (report["verdict"], report["accuracy"]) == ("fail", None)
    (check,) = (check for check in report["checks"] if check["check"] == "accuracy")
    assert check["status"] == "fail"
    assert re.search(r"the port cannot run on what prepare:raw .* makes, of shape .\d+, 6, 6, 2.: ", check["message"])
    assert "; the two are fed differently: " in check["message"]
    assert next(c for c in report["checks"] if c["check"] == "preprocessing")["status"] == "fail"


def test_classes_without_a_folder_are_noted(tiny: dict[str, Found]) -> None:
    assert tiny["folders"]["accuracy"]["classes"] == ["0", "1", "2"]
    assert "the data has 3 folders, the model 4 classes: the first ones" in tiny["folders"]["notes"]
    assert not tiny["right"]["notes"]


def test_a_right_port_may_be_less_accurate_than_asked_for(tiny: dict[str, Found]) -> None:
    report = tiny["limited"]
    assert report["verdict"] == "fail"
    value = report["accuracy"]["torch"]["value"]
    assert set(helpers.failed_whole(report)) == {"accuracy"}
    assert f"accuracy {value:.5g} is less than 0.9 (Keras's own is" in helpers.failed_whole(report)["accuracy"]


def test_flips_and_samples_asked_for_are_shown_side_by_side(tiny: dict[str, Found]) -> None:
    flipped = tiny["wrong"]["accuracy"]["flipped"]
    sides = tiny["wrong"]["accuracy"]["shown"]
    assert [side["sample"] for side in sides] == [flip["sample"] for flip in flipped[:16]]
    for side, flip in zip(sides, flipped, strict=False):
        assert (side["label"], side["keras"][0][0]) == (flip["label"], flip["keras"])
        assert side["torch"][0][0] == flip["torch"]
        assert len(side["keras"]) == 4
        assert side["image"] is None  # two channels
    assert tiny["right"]["accuracy"]["shown"] == []
    first, last = tiny["shown"]["accuracy"]["shown"]
    assert (first["sample"], last["sample"]) == (0, 299)
    assert first["keras"][0][1] == pytest.approx(first["torch"][0][1], abs=1e-5)
    assert "--kerasdiff-samples: 300, but the data has 300 samples" in tiny["too many"]["error"]


def test_a_picture_is_a_small_png() -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = DRAW.integers(0, 256, (200, 100, 3), dtype=np.uint8)
    scores = np.array([0.25, np.nan, 0.5])
    side = shown.side_by_side(3, pixels, scores, scores + 0.5, 2)
    assert side["keras"] == [[2, 0.5], [0, 0.25], [1, None]]
    assert side["max_abs"] is None
    made = image.open(io.BytesIO(base64.b64decode(side["image"].partition(",")[2])))
    assert (made.size, made.mode) == ((48, 96), "RGB")
    for raw in (pixels[:9, :9] / 255.0, pixels[:9, :9].astype(np.float32), pixels[:9, :9]):
        own = shown.side_by_side(0, raw, scores, scores, None)
        made = image.open(io.BytesIO(base64.b64decode(own["image"].partition(",")[2])))
        assert np.array_equal(np.asarray(made), pixels[:9, :9])
    assert shown.side_by_side(0, pixels[..., :1], scores, scores, None)["image"]
    assert shown.side_by_side(0, pixels[..., 0] - 500.0, scores, scores, None)["image"]
    for raw in (scores, pixels[..., :2], pixels[None]):
        assert shown.side_by_side(0, raw, scores, scores, None)["image"] is None


def test_data_in_another_order_is_refused(tiny: dict[str, Found]) -> None:
    assert "own:shuffled gives other samples the second time" in tiny["shuffled"]["error"]


def test_data_that_does_not_fit_is_refused(tiny: dict[str, Found]) -> None:
    assert tiny["does not fit"]["error"] == (
        "--kerasdiff-data: a sample has shape (5, 6, 2), input 'input_1' takes (6, 6, 2); name what prepares them in "
        "the manifest's [preprocess]"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    helpers.own_cache(tmp_path)
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    draw = np.random.default_rng(1)
    np.savez(tmp_path / "data.npz", x=draw.standard_normal((50, 6, 6, 2)), y=draw.integers(0, 4, 50))
    return tmp_path


RUN = ("--keras-model=net.h5", "--kerasdiff-torch=port:build", "--kerasdiff-data=data.npz", "-q")


def test_it_is_a_test_and_keras_need_not_predict_twice(folder: Path) -> None:
    done = helpers.run_pytest(folder, *RUN, "-k", "accuracy or output")
    assert done.returncode == 0, done.stdout
    assert "accuracy  50 samples: top-1" in done.stdout
    (folder / "keras.py").write_text('raise ImportError("Keras is not to be imported")')
    again = helpers.run_pytest(folder, *RUN, "--kerasdiff-min-accuracy=0.99", "-rf")
    assert again.returncode == 1
    why = " - model: accuracy: accuracy 0." if helpers.SUMMARY_SAYS_WHY else ""
    assert f"FAILED net.h5::model::accuracy{why}" in again.stdout
    assert "\nmodel: accuracy: accuracy 0." in again.stdout
    off = helpers.run_pytest(
        folder, *RUN, "--kerasdiff-min-accuracy=0.99", "--kerasdiff-off=model::accuracy: retrained tomorrow", "-rs"
    )
    assert off.returncode == 0, off.stdout
    assert "retrained tomorrow" in off.stdout
    np.savez(folder / "data.npz", x=np.zeros((50, 6, 6, 2)), y=np.zeros(50, int))
    assert "net.h5: keras cannot be imported" in helpers.run_pytest(folder, *RUN).stderr  # other data is predicted anew


def test_a_recorded_reference_has_the_predictions(folder: Path) -> None:
    done = helpers.program(folder, "net.h5", "--record", "ref.h5", "--data", "data.npz")
    assert done.returncode == 0, done.stderr
    (folder / "keras.py").write_text('raise ImportError("Keras is not to be imported")')
    judge = ("net.h5", "--torch", "port:build", "--reference", "ref.h5")
    done = helpers.program(folder, *judge, "--data", "data.npz")
    assert (done.returncode, done.stderr) == (0, "")
    assert "50 samples: top-1" in done.stdout
    assert helpers.program(folder, *judge).returncode == 0
    with np.load(folder / "data.npz") as data:
        np.savez(folder / "other.npz", x=data["x"][:40], y=data["y"][:40])
    done = helpers.program(folder, *judge, "--data", "other.npz")
    assert (done.returncode, done.stdout) == (2, "")
    assert "stale: recorded from other data; renew it" in done.stderr
    assert "--data=" in done.stderr


def test_parts_are_run_one_by_one_and_merged(folder: Path) -> None:
    draw = np.random.default_rng(1)
    np.savez(folder / "data.npz", x=draw.standard_normal((600, 6, 6, 2)), y=draw.integers(0, 4, 600))
    judge = ("net.h5", "--torch", "port:build", "--data", "data.npz", "--min-accuracy=0.01")
    done = helpers.program(folder, *judge, "--report", "whole", "--record", "ref.h5")
    assert done.returncode == 0, done.stderr
    for number, more in ((1, ()), (2, ("--reference", "ref.h5"))):
        done = helpers.program(folder, *judge, f"--shard={number}/2", "--report", f"part{number}", *more)
        assert done.returncode == 0, done.stderr
        assert (
            f"part {number}/2 of the data, whose reports are to be merged: {(344, 256)[number - 1]} samples"
            in done.stdout
        )
    done = helpers.program(folder, "merge", "part2", "part1/report.json", "--report", "merged")
    assert (done.returncode, done.stderr) == (0, "")
    whole, merged = (json.loads((folder / name / "report.json").read_text()) for name in ("whole", "merged"))
    assert {**merged["accuracy"], "outputs": None} == {**whole["accuracy"], "outputs": None}
    done = helpers.program(folder, "merge", "part2")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: part 1/2 of the data is missing\n")
    done = helpers.program(folder, "merge", "port.py")
    assert done.stderr == "error: port.py: not a report; one is written with --report=DIR\n"
    done = helpers.program(folder, *judge, "--shard=9/9")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search("--shard=9/9: that part of .*data.npz holds no samples: nothing was compared", done.stderr)


def test_what_is_not_there_is_said_before_the_port_is_loaded(folder: Path) -> None:
    for option, words in (
        ("--data=nothing.npz", "nothing.npz: no such file or folder (--data)"),
        ("--reference=nothing.h5", "nothing.h5: no such file (--reference)"),
    ):
        done = helpers.program(folder, "net.h5", "--torch", "no_such_module:build", option)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "-1/2", "1/0"])
def test_a_part_is_one_of_so_many(folder: Path, shard: str) -> None:
    done = helpers.program(folder, "net.h5", "--torch", "port:build", "--data", "data.npz", f"--shard={shard}")
    assert done.returncode == 2
    assert f"--shard: got '{shard}', expected a part of so many, counted from 1, such as 2/8" in done.stderr


def test_predictions_that_were_not_recorded_are_asked_for(folder: Path) -> None:
    assert helpers.program(folder, "net.h5", "--record", "ref.h5").returncode == 0
    done = helpers.program(folder, "net.h5", "--torch", "port:build", "--reference", "ref.h5", "--data", "data.npz")
    assert done.returncode == 2
    assert re.search(r"ref.h5: recorded without predictions for --data; renew it .* --data=\S+data.npz", done.stderr)


def test_an_accuracy_is_a_share(folder: Path) -> None:
    done = helpers.program(folder, "net.h5", "--torch", "port:build", "--data", "data.npz", "--min-accuracy", "95")
    assert (done.returncode, done.stderr) == (2, "error: --min-accuracy: got 95, expected a share, 0 … 1\n")


def test_limits_without_data_are_refused(folder: Path) -> None:
    for option in ("--min-accuracy=0.9", "--max-drop=0.1", "--max-flips=1", "--metric=own:metric"):
        done = helpers.program(folder, "net.h5", "--torch", "port:build", option)
        assert done.returncode == 2
        assert done.stderr == f"error: {option.partition('=')[0]} speaks of accuracy: it goes with --data=PATH\n"


# -- the real model ----------------------------------------------------------------------------------------------------

REAL = DATA / "pretrainedResnet.h5"
IMAGES = DATA / "cifar10_train_4000.npz"
REAL_PORT = """
from model import resnet8
def eps(path):
    model = resnet8.build(path)
    model.b1.bn1.eps, model.b2.bn1.eps = 1e-5, 1e-1
    return model
"""


@pytest.mark.skipif(not REAL.exists() or not IMAGES.exists(), reason=f"{DATA} is not there")
def test_resnet8_is_as_accurate_on_real_images_and_a_scale_on_one_side_is_named(tmp_path: Path) -> None:
    (tmp_path / "prepare.py").write_text(PREPARE)
    (tmp_path / "port.py").write_text(REAL_PORT)
    (tmp_path / "scaled.toml").write_text('[preprocess]\nkeras = "prepare:raw"\ntorch = "prepare:scaled"\n')
    right: Found = {"torch": "model.resnet8:build", "data": str(IMAGES), "min_accuracy": 0.92}
    cases = {
        "right": right,
        "eps": {**right, "torch": "port:eps"},
        "scaled": {**right, "manifest": tmp_path / "scaled.toml"},
    }
    found = reports(tmp_path, REAL, cases)
    for side in ("keras", "torch"):
        assert found["right"]["accuracy"][side]["value"] == 0.92975
    assert (found["right"]["verdict"], found["right"]["accuracy"]["flips"]) == ("pass", 0)

    flips = found["eps"]["accuracy"]["flipped"]
    assert len(flips) == found["eps"]["accuracy"]["flips"] > 10
    assert all(flip["keras"] != flip["torch"] and flip["keras_margin"] > 0 < flip["torch_margin"] for flip in flips)
    assert {"accuracy"} < set(helpers.failed_whole(found["eps"]))

    assert found["scaled"]["accuracy"]["torch"]["value"] == 0.099
    failed = helpers.failed_whole(found["scaled"])
    assert set(failed) == {"preprocessing", "accuracy"}
    assert failed["accuracy"].startswith(
        "accuracy 0.099 is less than 0.92; 3606 decisions flipped, at most 0 allowed; the two are fed differently: "
        "input-scale: the port divides by 255 and Keras does not"
    )
