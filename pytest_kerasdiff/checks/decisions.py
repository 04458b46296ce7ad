"""The check of the deployed model: both sides in float32."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.trace import Array
from pytest_kerasdiff.verdict import compare, limit_of, noise_of, scale_of


def check(whole: Whole) -> Outcome:
    """Compare outputs and decisions of both sides in float32.

    Correct ports differ in float32 by what rounding does, which depends on the model: 1e-5 in one, 3e-3 in another.
    So an output has the limit of ``limit_of``. Decisions that differ where the margin is within that limit are ties.
    """
    if whole.facts.deployed_error:
        return Outcome("decisions", f"the port cannot run in its own dtype: {whole.facts.deployed_error}")
    words = []
    for number, (port, keras, exact) in enumerate(whole.deployed):
        name = f"output {number}: " if len(whole.deployed) > 1 else ""
        floor = noise_of(keras, exact)
        limit = limit_of(scale_of(keras), floor, whole.tol)
        error = compare(port, keras, whole.tol, "float32")
        much = error.reason or f"{error.max_abs:.3g}"
        said = f"{name}{much} apart in float32, limit {limit:.3g}, Keras's own rounding {floor:.3g}"
        differing, margin = _decisions(port, keras)
        if differing is not None:
            said += f"; {differing} of {_rows(keras)} decisions differ"
            said += f", by a margin of {margin:.3g}" if differing else ""
        if error.reason or error.max_abs > limit:
            wrong = any(verdict.is_wrong for verdict in whole.verdicts)
            return Outcome("decisions", said + ("; see the layers at fault" if wrong else ""))
        words.append(said)
    if not words:
        return Outcome("decisions", "nothing was compared in float32")
    return Outcome("", "; ".join(words))


def _rows(array: Array) -> int:
    return int(np.prod(array.shape[:-1]))


def _decisions(port: Array, keras: Array) -> tuple[int | None, float]:
    """(number of rows whose largest element is another one, largest margin by which Keras prefers its own)."""
    if port.shape != keras.shape or keras.ndim < 2 or keras.shape[-1] < 2 or keras.dtype.kind != "f":
        return None, 0.0
    rows, others = keras.reshape(-1, keras.shape[-1]).astype(np.float64), port.reshape(-1, keras.shape[-1])
    best, chosen, at = rows.argmax(1), others.argmax(1), np.arange(len(rows))
    margins = rows[at, best] - rows[at, chosen]
    differing = margins > 0
    return int(differing.sum()), float(margins.max(initial=0))
