"""Means over steps: padding that is taken for steps, and one step for the mean of all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pytest_kerasdiff.align import padding
from pytest_kerasdiff.diagnosis.case import Case, Suspicion
from pytest_kerasdiff.diagnosis.reproduction import Otherwise, Port, explained, fields
from pytest_kerasdiff.equations.means import Mean

_SECONDS = 1.0


def concerns(case: Case) -> bool:
    """Whether it is a mean over steps whose own activations are wrong."""
    return case.layer.class_name == "GlobalAveragePooling1D" and case.subject.is_wrong


def suspect(case: Case) -> Iterator[Suspicion]:
    """What the port does otherwise, where that gives what it gives."""
    config, taken = case.layer.config, case.layer.inputs[0]
    mask = padding.mask_of(case.reference, case.layer, taken)
    axis = 2 if config.get("data_format") == "channels_first" else 1
    own = Mean(None if mask is None else np.asarray(mask, np.bool_), axis, bool(config.get("keepdims")))
    yield from explained(Port(case, own, [taken]), list(_others(own)), _SECONDS)


def _others(own: Mean) -> Iterator[Otherwise]:
    patch = "(x * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)"
    if own.mask is not None:
        text = "Keras leaves out the steps that are padding, the port"
        several = (
            ("all", "all", "takes them as any other"),
            ("real", "all", "divides by the number of all steps"),
            ("all", "real", "sums them too"),
        )
        for summed, divided, words in several:
            yield Otherwise("masking", f"{text} {words}", patch, fields({"summed": summed, "divided": divided}))
    for step, words in ((-1, "last"), (0, "first")):
        text = f"pooling: Keras takes the mean of all steps, the port the {words} one"
        yield Otherwise("pool-kind", text, f"x.mean({own.axis})" if own.mask is None else patch, fields({"step": step}))
