"""The one registry of causes: for every id of the catalogue what may suspect it, and where a check alone finds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from pytest_kerasdiff.diagnosis import activations, epsilon, extra, missing, modes, scaling
from pytest_kerasdiff.diagnosis.case import Case, Suspicion


@dataclasses.dataclass(frozen=True, slots=True)
class Detector:
    """What suspects a cause.

    Attributes:
        ids: Ids of the catalogue that its suspicions have.
        concerns: Whether a layer may have these faults.
        suspect: Gives what may be wrong with the layer, the likeliest first.
    """

    ids: tuple[str, ...]
    concerns: Callable[[Case], bool]
    suspect: Callable[[Case], Iterable[Suspicion]]


DETECTORS: tuple[Detector, ...] = (
    Detector(("eps",), epsilon.concerns, epsilon.suspect),
    Detector(("extra-layer",), extra.concerns, extra.functions),
    Detector(("activation-kind", "activation-slope", "softmax"), activations.concerns, activations.suspect),
    Detector(("missing-layer", "softmax", "rescaling"), missing.concerns, missing.suspect),
    Detector(("train-mode",), modes.concerns, modes.suspect),
    Detector(("rescaling", "input-scale", "input-channels", "input-layout"), scaling.concerns, scaling.suspect),
    Detector(
        (
            *("extra-layer", "missing-layer", "softmax", "rescaling", "input-scale"),
            *("float16", "embedding-row", "train-mode", "nondeterministic"),
        ),
        extra.concerns,
        extra.suspect,
    ),
)
"""In the order in which causes are named, where two of them repair a layer in the same way."""


def suspicions(case: Case) -> Iterable[Suspicion]:
    """All that may be wrong with a layer."""
    for detector in DETECTORS:
        if detector.concerns(case):
            yield from detector.suspect(case)
