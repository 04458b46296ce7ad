"""Layers that make images larger or smaller: interpolations, and transposed convolutions as Keras cuts them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.change import Change, Here, Step
from pytest_kerasdiff.checks import geometry, hyper, resizing
from pytest_kerasdiff.checks.geometry import Pair
from pytest_kerasdiff.checks.windows import of_kind, said
from pytest_kerasdiff.diagnosis.arranged import before_consumers, called, instead, only, whole_layer
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.surroundings import around
from pytest_kerasdiff.trace import Constant

_KINDS = ("upsample", "pool", "pad")


def interpolates(case: Case) -> bool:
    """Whether the layer interpolates."""
    name, _ = inside(case.layer.class_name, case.layer.config)
    return name.startswith("UpSampling") or name == "Resizing"


def interpolations(case: Case) -> Iterator[Suspicion]:
    """Keras's interpolation."""
    subject = hyper.within(case.subject)
    config, name = subject.layer.config, subject.layer.class_name
    if subject.layer is not case.layer or not subject.taken:
        return
    mode = str(config.get("interpolation", "nearest" if name.startswith("Up") else "bilinear"))
    first = config.get("data_format") == "channels_first"
    dimensions = len(subject.taken[0]) - 2
    how: dict[str, Any] = {"mode": mode, "channels_first": first}
    cut = _cut(case) if name == "Resizing" else []
    if name == "Resizing":
        size = [int(config["height"]), int(config["width"])]
        how |= {"size": size, "antialias": bool(config.get("antialias")), "cut": [list(pair) for pair in cut]}
        formula, words = "resize", f"to {tuple(size)}, {mode}"
    else:
        times = geometry.several(config.get("size", config.get("length", 2)), dimensions)
        how |= {"size": list(times)}
        formula, words = "upsample", f"{times} times, {mode}"
    stated = [one for one in hyper.stated(subject) if one.cause]
    if case.layer.outputs[0] in case.alignment.passes_on or not case.steps:
        way = before_consumers(case, formula, how)
        yield Suspicion("upsampling", f"size: Keras {words}, port nothing", f"resize {words}", [way] if way else [])
        return
    own = whole_layer(case, formula, how) if only(case, _KINDS) else None
    ways = [own] if own is not None else []
    for one in stated[:1]:
        text, _, patch = one.words.partition("; ")
        yield Suspicion(one.cause, text, patch, ways)
    if not stated and ways:
        last = case.trace.operations[case.steps[-1]]
        cause = "cropping" if any(any(pair) for pair in cut) else "upsampling"
        cuts = f", {said(geometry.AXES[2], cut)} cut off first" if cause == "cropping" else ""
        text = f"pixels: Keras resizes {words}{cuts}, port {last.op} otherwise{last.place}"
        yield Suspicion(cause, text, f"resize {words}{cuts}", ways)


def _cut(case: Case) -> list[Pair]:
    """What is cut off to keep the ratio of height and width.

    Source: keras/src/layers/preprocessing/image_preprocessing/resizing.py and tf.image's crop of the middle.
    """
    config = case.layer.config
    if not config.get("crop_to_aspect_ratio"):
        return [(0, 0), (0, 0)]
    height, width = geometry.spatial(case.subject.taken[0], config)
    to_height, to_width = int(config["height"]), int(config["width"])
    kept = (min(int(width * to_height / to_width), height), min(int(height * to_width / to_height), width))
    starts = [int((have - keep) / 2) for have, keep in zip((height, width), kept, strict=True)]
    return [(a, n - keep - a) for a, n, keep in zip(starts, (height, width), kept, strict=True)]


def is_transposed(case: Case) -> bool:
    """Whether the layer is a transposed convolution."""
    name, _ = inside(case.layer.class_name, case.layer.config)
    return "Conv" in name and name.endswith("Transpose")


def transposed(case: Case) -> Iterator[Suspicion]:
    """The full result, cut as Keras cuts it."""
    subject = hyper.within(case.subject)
    operation, config = of_kind(subject, "conv"), subject.layer.config
    if operation is None or not subject.taken or len(operation.inputs) != 1:
        return
    weight = operation.arguments.get("weight")
    dimensions = len(subject.taken[0]) - 2
    found = geometry.of_torch(subject, operation, dimensions)
    if not isinstance(weight, Constant) or found is None:
        return
    stride = geometry.several(config.get("strides"), dimensions)
    dilation = geometry.several(config.get("dilation_rate", 1), dimensions)
    window = dataclasses.replace(found[0], stride=stride, dilation=dilation)
    cut = resizing.cut_in_keras(subject, config, window, stride)
    steps = around(case, operation)
    arguments = {"self": Here(), "weight": weight, "bias": operation.arguments.get("bias"), "stride": list(stride),
                 "dilation": list(dilation), "groups": operation.arguments.get("groups", 1),
                 "cut": [list(pair) for pair in cut]}  # fmt: skip
    edits = steps.removed(case)
    edits[case.place(operation)] = instead(operation, operation.inputs[0], Step("keras.transposed", arguments))
    ways = [Way(Change(edits=edits))]
    names, where = geometry.AXES.get(dimensions, ()), f"[{operation.source}]"
    patch = f"{called(operation)}: no padding and no output_padding, then cut off {said(names, cut)}"
    for name, theirs, ours in (
        ("stride", stride, found[0].stride),
        ("dilation", dilation, found[0].dilation),
    ):
        if theirs != ours and (name == "stride" or any(k > 1 for k in window.size)):
            yield Suspicion(name, f"{name}: Keras {theirs}, port {ours} {where}", f"{name} = {theirs}; {patch}", ways)
            return
    stated = next((one for one in hyper.stated(subject) if one.cause == "transposed-conv"), None)
    text = f"transposed convolution: Keras cuts {said(names, cut)} off the full result, port otherwise {where}"
    if stated is not None:
        text = stated.words.partition("; ")[0]
    yield Suspicion("transposed-conv", text, patch, ways, stated is not None)
