"""What Keras computes and torch has no operation for, written out, for the trials of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

<<<<<<< HEAD
from pytest_kerasdiff.candidate import layerwise, windowed

FORMULAS: Mapping[str, Callable[..., Any]] = {**windowed.FORMULAS, **layerwise.FORMULAS}
=======
from pytest_kerasdiff.candidate import functions

FORMULAS: Mapping[str, Callable[..., Any]] = {**functions.FORMULAS}
>>>>>>> graph
"""Name behind "keras." in a step → function of tensors."""
