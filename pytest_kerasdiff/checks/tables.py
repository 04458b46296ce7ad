"""Tables of embeddings: rows that no probe input names are compared too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_kerasdiff.checks import strangers
from pytest_kerasdiff.checks.held import Found, Held
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.transformations import distance, order_along, rounded
from pytest_kerasdiff.trace import Array

_MOSTLY = 0.5
"""Share of equal rows from which a table of another length is Keras's with some rows changed."""
_IMAGE = 1e-5
"""Largest difference, relative to the largest element, of rows multiplied by one matrix in float32."""
_DRAWS = 8
"""Draws of as many rows as a matrix has; with one row in a hundred wrong, one of them has most likely none of those."""


def compare(
    name: str, weight: Array, subject: Subject, constants: Sequence[Held], nearest: Sequence[tuple[Held, Array]]
) -> Found:
    """Say how a table differs from Keras's that no constant equals.

    Args:
        name: Name of the weight.
        weight: Keras's table, (rows, elements).
        subject: The layer.
        constants: What the layer's operations hold.
        nearest: Those of the same shape.
    """
    if not nearest:
        return _within_another(name, weight, constants)
    holder, _ = min(nearest, key=lambda pair: float(np.mean(pair[0].array.reshape(weight.shape) != weight)))
    port, where = holder.array.reshape(weight.shape), holder.where
    if kind := rounded(weight, port):
        words = f"{name}: {where} is Keras's after rounding to {kind}; load the file's float32 weights"
        return Found("weights-rounded", words, "always")
    order = order_along(weight, port, 0)
    if order is not None:
        moved = [row for row, own in enumerate(order) if row != own]
        shifts = {(own - row) % len(order) for row, own in enumerate(order)}
        how = f"shifted by {_shift(shifts.pop(), len(order))}" if len(shifts) == 1 else f"at other places: {moved[:6]}"
        return Found(
            "embedding-row", f"{name}: the rows of {where} are Keras's, {how}; copy the table as it is", "always"
        )
    shift = next((s for s in (1, -1) if _is_shifted(weight, port, s)), 0)
    if shift:
        words = f"{name}: the rows of {where} are Keras's, shifted by {shift}; copy the table as it is"
        return Found("embedding-row", words, "always")
    wrong = (port != weight).any(axis=1)
    if wrong.all():
        theirs = strangers.of_another_layer(name, weight, subject, holder)
        if theirs is not None:
            return theirs._replace(fails="always")
        if strangers.is_unlike(port, weight):
            words = f"{name}: {where} holds none of the model's weights, as before loading; load the file's weights"
            return Found("weights-not-loaded", words, "always")
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance(port, weight))), weight.shape))
    return Found(
        "embedding-row" if wrong.sum() < len(weight) else "weights-differ",
        f"{name}: {int(wrong.sum())} of {len(weight)} rows of {where} differ (first {int(np.argmax(wrong))}), most at "
        f"{at}: got {port[at]:.6g}, expected {weight[at]:.6g}; copy the table as it is",
        "always",
    )


def _is_shifted(weight: Array, port: Array, rows: int) -> bool:
    """Whether every row stands so many rows further on, but for those that the table has no place for."""
    own, theirs = (weight[:-rows], port[rows:]) if rows > 0 else (weight[-rows:], port[:rows])
    return len(own) > 1 and bool(np.array_equal(own, theirs))


def _shift(rows: int, of: int) -> int:
    return -rows if rows <= of // 2 else of - rows


def _within_another(name: str, weight: Array, constants: Sequence[Held]) -> Found:
    """Compare rows with those of a table of another length, which may hold others beside them."""
    best = (-1, 0, "")
    for table in constants:
        port = table.array
        if port.ndim != 2 or port.shape[1:] != weight.shape[1:]:
            continue
        for row in (0, len(weight) // 2):
            for at in np.flatnonzero((port == weight[row]).all(1)):
                offset = int(at) - row
                low, high = max(0, offset), min(len(port), offset + len(weight))
                equal = int((port[low:high] == weight[low - offset : high - offset]).all(1).sum())
                best = max(best, (equal, offset, table.where))
    equal, offset, where = best
    if equal == len(weight):
        return Found("", f"{name} equal, from row {offset} of {where}")
    if equal < _MOSTLY * len(weight):
        for table in constants:
            folded = _folded(name, weight, table)
            if folded is not None:
                return folded
        return Found("weights-differ", f"{name}: no constant of the port holds this table", "wrong")
    words = f"{name}: {len(weight) - equal} of {len(weight)} rows are missing in {where} or differ there"
    return Found("embedding-row", words, "always")


def _folded(name: str, weight: Array, table: Held) -> Found | None:
    """Compare rows with those of a table that is folded with a Dense: each is Keras's times one matrix, shifted.

    The matrix is the one that most rows agree upon. None where the rows are no such images, or too few to tell.
    """
    rows, port = np.hstack([weight, np.ones((len(weight), 1))]).astype(np.float64), table.array.astype(np.float64)
    if port.ndim != 2 or len(port) != len(rows) or len(rows) < 2 * rows.shape[1]:
        return None
    generator, limit = np.random.default_rng(0), _IMAGE * float(np.abs(port).max(initial=0))
    for _ in range(_DRAWS):
        agreeing = generator.choice(len(rows), rows.shape[1], replace=False)
        for _ in range(2):  # few rows say roughly which others agree, and those say the matrix
            matrix = np.linalg.lstsq(rows[agreeing], port[agreeing], rcond=None)[0]
            off = np.abs(rows @ matrix - port).max(axis=1)
            agreeing = np.flatnonzero(off <= 10 * float(np.median(off)))
        wrong = np.flatnonzero(off > limit)
        if not wrong.size:
            return Found("", f"{name} equal but for one matrix and a shift: {table.where} has a Dense in it")
        if len(wrong) < _MOSTLY * len(rows):
            words = f"{name}: each row of {table.where} is Keras's times one matrix, shifted, but for {wrong.size} of"
            words = f"{words} {len(rows)} (first {wrong[0]}); make the whole table anew"
            return Found("embedding-row", words, "always")
    return None
