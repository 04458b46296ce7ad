"""What Keras computes and torch has no operation for, written out, for the trials of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pytest_kerasdiff.candidate import functions, layerwise, windowed


def _equations(of: Callable[..., Any], taken: Sequence[torch.Tensor]) -> torch.Tensor:
    """What a function of arrays makes of tensors."""
    array = of(*(np.asarray(t.detach().cpu().double()) for t in taken))
    return torch.from_numpy(np.array(array)).to(taken[0])


FORMULAS: Mapping[str, Callable[..., Any]] = {
    "equations": _equations,
    **functions.FORMULAS,
    **layerwise.FORMULAS,
    **windowed.FORMULAS,
}
"""Name behind "keras." in a step → function of tensors."""
