"""Layers that add or cut off borders: their own numbers, where the port has lost, doubled, mirrored or filled them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.checks import geometry, hyper
from pytest_kerasdiff.checks.windows import said
from pytest_kerasdiff.diagnosis.arranged import before_consumers, only, whole_layer
from pytest_kerasdiff.diagnosis.case import Case, Suspicion

_KINDS = ("pad", "concat", "conv")
"""What a border is made of; a transposed convolution may cut it off itself."""


def concerns(case: Case) -> bool:
    """Whether the layer adds or cuts off borders."""
    return inside(case.layer.class_name, case.layer.config)[0].startswith(("ZeroPadding", "Cropping"))


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's numbers."""
    subject = hyper.within(case.subject)
    config, crops = subject.layer.config, subject.layer.class_name.startswith("Cropping")
    dimensions = len(subject.taken[0]) - 2
    pairs = geometry.border_of(config, dimensions)
    names, cause = geometry.AXES.get(dimensions, ()), "cropping" if crops else "zero-padding-layer"
    flat = tuple(n for pair in pairs[::-1] for n in pair)
    do = f"cut off {said(names, pairs)}" if crops else f"F.pad(x, {flat})"
    pads = [[-n for n in pair] if crops else list(pair) for pair in pairs]
    arguments = {"pads": pads, "channels_first": config.get("data_format") == "channels_first"}
    if subject.layer is not case.layer:  # inside a TimeDistributed, whose axis of steps no border has
        return
    own = whole_layer(case, "border", arguments) if only(case, _KINDS) else None
    stated = [one for one in hyper.stated(subject) if one.cause]
    if case.layer.outputs[0] in case.alignment.passes_on or not case.steps:
        way = before_consumers(case, "border", arguments)
        what = "cuts off" if crops else "adds"
        text = f"border: Keras {what} {said(names, pairs)}, port nothing"
        yield Suspicion(cause, text, f"{do} before what takes it", [way] if way is not None else [])
        return
    for one in stated:
        text, _, patch = one.words.partition("; ")
        yield Suspicion(one.cause, text, patch, [own] if own is not None else [])
    if not stated and own is not None:
        last = case.trace.operations[case.steps[-1]]
        what = "cuts off" if crops else "adds zeros,"
        text = f"border: Keras {what} {said(names, pairs)}, port otherwise{last.place}"
        yield Suspicion(cause, text, do, [own])
