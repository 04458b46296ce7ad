"""What Keras computes and torch has no operation for, written out, for the trials of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_kerasdiff.candidate import functions, layerwise, windowed

FORMULAS: Mapping[str, Callable[..., Any]] = {**functions.FORMULAS, **layerwise.FORMULAS, **windowed.FORMULAS}
"""Name behind "keras." in a step → function of tensors."""
