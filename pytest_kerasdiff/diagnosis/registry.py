"""The one registry of causes: for every id of the catalogue what may suspect it, and where a check alone finds it."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pytest_kerasdiff.diagnosis import (
    activations,
    attention,
    borders,
    epsilon,
    extra,
    folded,
    groups,
    joins,
    means,
    missing,
    modes,
    movements,
    poolings,
    recurrent,
    resizing,
    scaling,
    weights,
    windows,
)
from pytest_kerasdiff.diagnosis.case import Case, Suspicion


@dataclasses.dataclass(frozen=True, slots=True)
class Detector:
    """What suspects a cause.

    Attributes:
        ids: Ids of the catalogue that its suspicions have.
        concerns: Whether a layer may have these faults.
        suspect: Gives what may be wrong with the layer, the likeliest first.
        apart: It looks at the two layers of Keras where the port has folded one into the other, not at what both are.
    """

    ids: tuple[str, ...]
    concerns: Callable[[Case], bool]
    suspect: Callable[[Case], Iterable[Suspicion]]
    apart: bool = False


_OF_WEIGHTS = (
    "conv-kernel-layout conv-kernel-flipped depthwise-layout dense-transposed flatten-order weights-not-loaded "
    "weights-swapped weights-of-other-layer weights-rounded weights-differ bias-missing bn-stats-not-loaded "
    "bn-slots-exchanged bn-scale-center lstm-gate-order lstm-bias-doubled gru-gate-order bidirectional-order "
    "mha-layout embedding-row activation-slope"
)
_OF_RECURRENT = (
    "rnn-direction rnn-return recurrent-activation activation-kind gru-reset-after masking bidirectional-order "
    "merge-mode lstm-gate-order gru-gate-order lstm-bias-doubled bias-missing permute"
)
DETECTORS: tuple[Detector, ...] = (
    Detector(("rescaling", "input-scale", "input-channels", "extra-layer"), scaling.concerns, scaling.suspect),
    Detector(tuple(_OF_RECURRENT.split()), recurrent.concerns, recurrent.suspect),
    Detector(("attention", "weights-swapped"), attention.concerns, attention.suspect),
    Detector(("eps",), epsilon.concerns, epsilon.suspect, apart=True),
    Detector(("extra-layer",), extra.concerns, extra.functions),
    Detector(("extra-layer",), extra.is_unseen, extra.unseen),
    Detector(("train-mode",), modes.concerns, modes.suspect),
    Detector(("groups",), groups.concerns, groups.suspect),
    Detector(tuple(_OF_WEIGHTS.split()), weights.concerns, weights.suspect),
    Detector(
        (
            *("stride", "dilation", "groups", "same-padding", "causal-padding", "zero-padding-layer", "padding-mode"),
            "conv-kernel-layout",
        ),
        windows.concerns,
        windows.suspect,
    ),
    Detector(
        ("pool-kind", "pool-size", "pool-padding", "stride", "zero-padding-layer"), poolings.concerns, poolings.suspect
    ),
    Detector(("masking", "pool-kind"), means.concerns, means.suspect),
    Detector(("zero-padding-layer", "cropping", "padding-mode"), borders.concerns, borders.suspect),
    Detector(("upsampling", "cropping"), resizing.interpolates, resizing.interpolations),
    Detector(("concat-order", "merge-mode", "missing-layer", "extra-layer"), joins.concerns, joins.suspect),
    Detector(("flatten-order", "permute", "reshape"), movements.moves, movements.own_order),
    Detector(("flatten-order", "permute", "reshape"), movements.reads, movements.order_read),
    Detector(("permute", "reshape"), movements.gives, movements.order_given),
    Detector(("transposed-conv", "stride", "dilation"), resizing.is_transposed, resizing.transposed),
    Detector(("activation-kind", "activation-slope", "softmax"), activations.concerns, activations.suspect),
    Detector(("missing-layer", "softmax", "rescaling"), missing.concerns, missing.suspect),
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
OF_SEVERAL_LAYERS: Mapping[str, str] = {
    "layer-order": "order",
    "weights-swapped": "order",
    "input-layout": "entrance",
    "permute": "entrance",
}
"""Ids that are found by looking at several layers, and the module that does so."""
OF_CHECKS: Mapping[str, str] = {
    "bn-momentum": "training_notes",
    "frozen": "frozen",
    "tf32": "precision",
    "autocast": "precision",
    "input-resize": "preprocessing",
}
"""Ids that only a check of the model finds, and which; ``bn-momentum`` is noted and never fails."""
NEVER: Mapping[str, str] = {"stale-reference": "a recorded reference of another model is refused before it is compared"}
"""Ids that no report has, and why."""
IDS: tuple[str, ...] = tuple(
    dict.fromkeys([*(one for d in DETECTORS for one in d.ids), *OF_SEVERAL_LAYERS, *OF_CHECKS, *NEVER])
)
"""Every id of the catalogue."""


def suspicions(case: Case, notes: list[str]) -> Iterable[Suspicion]:
    """All that may be wrong with a layer; a detector that raises is noted, and takes no other finding away."""
    one = case
    try:
        one = folded.as_one(case)
    except Exception as error:
        notes.append(f"{case.layer.name}: {lost(error)}")
    for detector in DETECTORS:
        seen = case if detector.apart else one
        try:
            if detector.concerns(seen):
                for suspicion in detector.suspect(seen):
                    of_two = seen.product is not None
                    yield (
                        dataclasses.replace(suspicion, text=f"{seen.layer.name}: {suspicion.text}")
                        if of_two
                        else suspicion
                    )
        except Exception as error:
            notes.append(f"{case.layer.name}: {lost(error)}")


def lost(error: Exception) -> str:
    """What a note says of a fault of this package."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"its cause could not be looked for, please report it: {type(error).__name__}: {error} ({place})"
