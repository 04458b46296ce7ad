"""Both models' outputs on the user's data, counted batch by batch: scores, decisions that differ, errors.

What was counted of parts of the data adds up to what is counted of all of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.accuracy import statistics
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.trace import Array
from pytest_kerasdiff.verdict import limit_of, scale_of

Metric = Callable[[Array | None, Array], Any]
"""(labels, outputs) of a batch → one number for each sample, the larger the better."""
Floats = npt.NDArray[np.float64]
_MOST_LISTED = 1000
_TOP = 5


def _sum(parts: Sequence[float]) -> float:
    """The sum of what parts came to, rounded once, whatever their order."""
    return sum(parts) if all(isinstance(part, int) for part in parts) else math.fsum(parts)


@dataclasses.dataclass(slots=True)
class Scores:
    """Scores of both models for the same samples, as sums."""

    of: int = 0
    keras: float = 0.0
    torch: float = 0.0
    keras_squares: float = 0.0
    torch_squares: float = 0.0
    difference_squares: float = 0.0
    keras_only: int = 0
    torch_only: int = 0

    def add(self, keras: Floats, torch: Floats) -> None:
        """Take scores of some samples in."""
        self.of += len(keras)
        self.keras += float(keras.sum())
        self.torch += float(torch.sum())
        self.keras_squares += float((keras**2).sum())
        self.torch_squares += float((torch**2).sum())
        self.difference_squares += float(((torch - keras) ** 2).sum())
        self.keras_only += int((keras > torch).sum())
        self.torch_only += int((torch > keras).sum())


@dataclasses.dataclass(slots=True)
class Errors:
    """Errors of numbers that are to be predicted, as sums."""

    elements: int = 0
    keras_absolute: float = 0.0
    torch_absolute: float = 0.0
    keras_squares: float = 0.0
    torch_squares: float = 0.0

    def add(self, keras: Floats, torch: Floats, labels: Floats) -> None:
        """Take outputs for some samples in."""
        self.elements += keras.size
        self.keras_absolute += float(np.abs(keras - labels).sum())
        self.torch_absolute += float(np.abs(torch - labels).sum())
        self.keras_squares += float(((keras - labels) ** 2).sum())
        self.torch_squares += float(((torch - labels) ** 2).sum())


@dataclasses.dataclass(slots=True)
class Counts:
    """What was counted of the data or of a part of it.

    Attributes:
        threshold: Where one number decides between two classes: at a half where Keras's outputs are within 0 … 1.
        noise: How far Keras in float32 is from Keras in float64.
        scale: Largest magnitude of Keras's outputs.
        max_abs: Largest difference; infinite where they are not finite at the same places.
        metric: The user's, as it was given; empty for the share of right decisions.
        are_numbers: The labels are no classes.
        decides: Decisions are counted whatever the labels are, because a limit of flips is asked for.
        scores: Of the metric, or 1 and 0 for right and wrong decisions.
        top: Likewise, whether the right class is among the best five.
        errors: Where labels have the shape of the outputs.
    """

    threshold: float
    noise: float
    metric: str
    samples: int = 0
    decisions: int = 0
    flips: int = 0
    ties: int = 0
    scale: float = 0.0
    max_abs: float = 0.0
    are_numbers: bool = False
    decides: bool = False
    scores: Scores = dataclasses.field(default_factory=Scores)
    top: Scores = dataclasses.field(default_factory=Scores)
    errors: Errors = dataclasses.field(default_factory=Errors)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counts:
        """Rebuild what ``to_json`` gave.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        parts = {"scores": Scores, "top": Scores, "errors": Errors}
        own = {name: parts[name](**value) if name in parts else value for name, value in data.items()}
        return cls(**{**own, "max_abs": float("inf") if own["max_abs"] is None else own["max_abs"]})

    def to_json(self) -> dict[str, Any]:
        """As JSON-serialisable values."""
        made: dict[str, Any] = _finite(dataclasses.asdict(self))
        return made

    def plus(self, *others: Counts) -> Counts:
        """What all parts together come to.

        Raises:
            RunError: They were counted by different rules.
        """
        every = (self, *others)
        for name, words in (
            ("threshold", "decide at another threshold"),
            ("metric", "have another metric"),
            ("decides", "have other limits"),
        ):
            if len({getattr(part, name) for part in every}) > 1:
                raise RunError(f"parts of the data cannot be added up: they {words}")
        made = dataclasses.replace(self)
        for name in ("samples", "decisions", "flips", "ties"):
            setattr(made, name, sum(getattr(part, name) for part in every))
        for name in ("noise", "scale", "max_abs"):
            setattr(made, name, max(getattr(part, name) for part in every))
        made.are_numbers = any(part.are_numbers for part in every)
        for name, kind in (("scores", Scores), ("top", Scores), ("errors", Errors)):
            sums: dict[str, Any] = {
                field.name: _sum([getattr(getattr(part, name), field.name) for part in every])
                for field in dataclasses.fields(kind)
            }
            setattr(made, name, kind(**sums))
        return made


class Counter:
    """Takes both models' outputs for the same samples, batch by batch."""

    def __init__(
        self,
        noise: float,
        tol: float,
        has_probabilities: bool,
        metric: Metric | None = None,
        metric_name: str = "",
        decides: bool = False,
    ) -> None:
        """Begin with nothing counted.

        Args:
            noise: How far Keras in float32 is from Keras in float64: a decision that hangs on no more than two correct
                models may be apart is a tie.
            tol: The tolerance asked for.
            has_probabilities: Keras's outputs are within 0 … 1, so that one of two classes is decided at a half.
            metric: The user's, in place of the share of right decisions.
            metric_name: Its spec.
            decides: Count decisions whatever the labels are.
        """
        self.counts = Counts(0.5 if has_probabilities else 0.0, noise, metric_name, decides=decides)
        self._metric, self._tol = metric, tol
        self.flipped: list[dict[str, Any]] = []
        """The first decisions that differ, as the report has them."""

    def add(
        self, keras: Array, torch: Array, labels: Array | None, start: int | None = None
    ) -> npt.NDArray[np.int64] | None:
        """Count a batch.

        Args:
            keras: Keras's outputs, (samples, …).
            torch: The port's, in the same layout.
            labels: Classes, one-hot classes, or numbers of the outputs' shape; None where the data has none.
            start: Number of the first sample in all of the data; None: that of those counted so far.

        Returns:
            The right class of each decision, where the labels are classes.

        Raises:
            RunError: The shapes or the labels do not fit, or the metric gives something else than it should.
        """
        if torch.shape != keras.shape:
            raise RunError(
                f"--kerasdiff-data: the port's output has shape {torch.shape} for a batch, Keras's {keras.shape}"
            )
        start = self.counts.samples if start is None else start
        return self._count(np.asarray(keras, np.float64), np.asarray(torch, np.float64), labels, start)

    def _count(self, keras: Floats, torch: Floats, labels: Array | None, start: int) -> npt.NDArray[np.int64] | None:
        counts = self.counts
        same = (keras == torch) | (np.isnan(keras) & np.isnan(torch))
        with np.errstate(invalid="ignore"):
            apart = np.where(same, 0.0, np.abs(torch - keras))
        counts.max_abs = max(counts.max_abs, float(np.where(np.isnan(apart), np.inf, apart).max(initial=0)))
        counts.scale = max(counts.scale, scale_of(keras))
        classes, decides = None, _has_classes(keras)
        if self._metric is not None:
            counts.scores.add(self._measured(keras, labels), self._measured(torch, labels))
        elif labels is not None:
            labels = _arranged(keras, labels)
            classes = _classes(keras, labels)
            counts.are_numbers |= classes is None
            decides = not counts.are_numbers
            if labels.shape == keras.shape:  # numbers may look like classes in one batch, and not in the next
                counts.errors.add(keras, torch, np.asarray(labels, np.float64))
        if decides or counts.decides:
            self._decide(keras, torch, classes, start)
        counts.samples += len(keras)
        return classes

    def _decide(self, keras: Floats, torch: Floats, classes: npt.NDArray[np.int64] | None, start: int) -> None:
        counts = self.counts
        places = keras.shape[:-1] if _has_classes(keras) or keras.ndim > 1 else keras.shape
        keras, torch = (_as_classes(array, counts.threshold) for array in (keras, torch))
        ours, theirs = _decisions(torch), _decisions(keras)
        counts.decisions += len(keras)
        if classes is not None:
            counts.scores.add((theirs == classes).astype(np.float64), (ours == classes).astype(np.float64))
            if keras.shape[-1] > _TOP:
                counts.top.add(_among_best(keras, classes), _among_best(torch, classes))
        for row in np.flatnonzero(ours != theirs):
            known = bool(min(ours[row], theirs[row]) >= 0)
            margins = (
                (float(keras[row, theirs[row]] - keras[row, ours[row]]),
                 float(torch[row, ours[row]] - torch[row, theirs[row]])) if known else (None, None)
            )  # fmt: skip
            near = limit_of(scale_of(keras[row]), counts.noise, self._tol)
            is_tie = known and max(margins) <= near  # type: ignore[type-var,operator]
            counts.flips += not is_tie
            counts.ties += is_tie
            if len(self.flipped) < _MOST_LISTED:
                place = np.unravel_index(row, places)
                self.flipped.append(
                    {
                        "sample": start + int(place[0]),
                        "at": [int(i) for i in place[1:]],
                        "label": None if classes is None else int(classes[row]),
                        "keras": _class(theirs[row]),
                        "torch": _class(ours[row]),
                        "keras_margin": margins[0],
                        "torch_margin": margins[1],
                        "tie": bool(is_tie),
                    }
                )

    def _measured(self, outputs: Array, labels: Array | None) -> Floats:
        assert self._metric is not None
        option = f"--kerasdiff-metric: {self.counts.metric}"
        try:
            found = np.asarray(self._metric(labels, outputs.astype(np.float32)))
            if found.dtype.kind not in "biuf":
                raise TypeError(f"scores of dtype {found.dtype}, expected numbers")
            scores = found.astype(np.float64)
        except (Exception, SystemExit) as error:
            raise RunError(f"{option} raised {type(error).__name__}: {error}") from None
        if scores.shape != (len(outputs),):
            raise RunError(
                f"{option} gave an array of shape {scores.shape} for {len(outputs)} samples, expected one number for "
                "each, the larger the better"
            )
        return scores

    def result(self) -> dict[str, Any]:
        """What was counted, as the report has it; see ``result``."""
        return result(self.counts, self.flipped, self._tol)


# -- the result ------------------------------------------------------------------------------------------------------


def result(counts: Counts, flipped: Sequence[Mapping[str, Any]], tol: float) -> dict[str, Any]:
    """What was counted, as the report has it.

    Args:
        counts: Of the data.
        flipped: The first decisions that differ.
        tol: The tolerance asked for.

    Raises:
        RunError: There was no sample.
    """
    if not counts.samples:
        raise RunError("--kerasdiff-data: the data holds no samples: nothing was compared")
    near = limit_of(counts.scale, counts.noise, tol)
    found: dict[str, Any] = {
        "samples": counts.samples,
        "metric": counts.metric or ("top-1" if counts.scores.of else None),
        "decisions": counts.decisions,
        "flips": counts.flips,
        "ties": counts.ties,
        "flipped": [dict(flip) for flip in flipped[:_MOST_LISTED]],
        "keras": None,
        "torch": None,
        "difference": None,
        "difference_interval": None,
        "mcnemar": None,
        "outputs": {"max_abs": counts.max_abs, "near": near},
        "counts": counts.to_json(),
    }
    if counts.are_numbers:
        none = {} if counts.decides else {"decisions": 0, "flips": 0, "ties": 0, "flipped": []}
        found |= {"metric": "rmse", **none, **_of_numbers(counts.errors)}
    elif counts.scores.of:
        found |= _of_scores(counts)
    made: dict[str, Any] = _finite(found)
    return made


def _of_scores(counts: Counts) -> dict[str, Any]:
    """Means of both sides with their intervals, and how sure their difference is."""
    found: dict[str, Any] = {}
    scores, n, is_share = counts.scores, counts.scores.of, not counts.metric
    for side in ("keras", "torch"):
        total, squares = getattr(scores, side), getattr(scores, f"{side}_squares")
        mean = total / n
        interval = (
            statistics.of_share(int(total), n) if is_share else statistics.of_mean(mean, squares / n - mean**2, n)
        )
        found[side] = {"value": mean, "interval": list(interval)}
        if counts.top.of:
            found[side]["top_5"] = getattr(counts.top, side) / n
    difference = (scores.torch - scores.keras) / n
    between = (
        statistics.of_paired_shares(scores.keras_only, scores.torch_only, n)
        if is_share
        else statistics.of_mean(difference, scores.difference_squares / n - difference**2, n)
    )
    found |= {"difference": difference, "difference_interval": list(between)}
    if is_share:
        p = statistics.mcnemar(scores.keras_only, scores.torch_only)
        found["mcnemar"] = {"keras_only": scores.keras_only, "torch_only": scores.torch_only, "p": p}
    return found


def _of_numbers(errors: Errors) -> dict[str, Any]:
    """Mean absolute error and root of the mean squared error; the difference is Keras's error less the port's."""
    found: dict[str, Any] = {}
    for side in ("keras", "torch"):
        absolute, squares = getattr(errors, f"{side}_absolute"), getattr(errors, f"{side}_squares")
        found[side] = {
            "value": math.sqrt(squares / errors.elements) if math.isfinite(squares) else squares,
            "interval": None,
            "mae": absolute / errors.elements,
        }
    return {**found, "difference": found["keras"]["value"] - found["torch"]["value"]}


def _finite(found: Any) -> Any:
    """The same with null for every number that is not finite: JSON has none."""
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _arranged(outputs: Array, labels: Array) -> Array:
    """Labels in the shape of the outputs, or in that of the decisions: the outputs without the axis of the classes.

    Raises:
        RunError: They have neither, an axis of one at the end aside.
    """
    decisions = outputs.shape[:-1] if _has_classes(outputs) else outputs.shape
    for shape in (outputs.shape, decisions):
        if labels.shape in (shape, (*shape, 1)) or (*labels.shape, 1) == shape:
            return labels.reshape(shape)
    raise RunError(
        f"--kerasdiff-data: labels of shape {labels.shape} for a batch of outputs {outputs.shape}: expected classes "
        f"{decisions} or numbers {outputs.shape}; name what else scores them with --kerasdiff-metric=module:callable"
    )


def _classes(outputs: Array, labels: Array) -> npt.NDArray[np.int64] | None:
    """The right class of each decision, where labels are classes.

    Raises:
        RunError: They name classes that the model does not have, or can be nothing else and are no whole numbers.
    """
    several = outputs.shape[-1] if _has_classes(outputs) else 1
    if several > 1 and labels.shape == outputs.shape:
        is_one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(-1) == 1).all()
        return labels.argmax(-1).reshape(-1).astype(np.int64) if is_one_hot else None
    if several == 1:
        return labels.reshape(-1).astype(np.int64) if np.isin(labels, (0, 1)).all() else None
    if not np.array_equal(labels, np.rint(labels)):
        raise RunError(
            f"--kerasdiff-data: labels of shape {labels.shape} for {several} classes are no whole numbers; name what "
            "scores them with --kerasdiff-metric=module:callable"
        )
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= several:
        raise RunError(
            f"--kerasdiff-data: labels {int(labels.min())} … {int(labels.max())}, but the model has {several} classes, "
            f"0 … {several - 1}; name what scores them with --kerasdiff-metric=module:callable"
        )
    return labels.reshape(-1).astype(np.int64)


def _has_classes(outputs: Array) -> bool:
    """Whether outputs have an axis of several classes."""
    return outputs.ndim > 1 and outputs.shape[-1] > 1


def _as_classes(outputs: Floats, threshold: float) -> Floats:
    """Outputs as rows of one element for each class; one number of two classes becomes two, the other one first."""
    if _has_classes(outputs):
        return outputs.reshape(-1, outputs.shape[-1])
    flat = outputs.reshape(-1)
    return np.stack([np.full_like(flat, threshold), flat], -1)


def _decisions(rows: Floats) -> npt.NDArray[np.int64]:
    """The class of each row; -1 where NaN or an infinity leaves none."""
    usable = np.asarray(np.isfinite(rows).all(-1, keepdims=True))
    return np.where(usable[:, 0], np.where(usable, rows, 0).argmax(-1), -1).astype(np.int64)


def _among_best(rows: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    own = rows[np.arange(len(rows)), labels][:, None]
    return np.asarray(((rows > own).sum(-1) < _TOP) & np.isfinite(rows).all(-1), np.float64)


def _class(number: np.int64) -> int | None:
    return None if number < 0 else int(number)
