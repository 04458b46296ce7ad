"""Hyper-parameters of layers that change the size of images: borders, interpolation, transposed convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_kerasdiff.checks import geometry
from pytest_kerasdiff.checks.geometry import AXES, Pair
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.windows import Stated, of_kind, said
from pytest_kerasdiff.trace import Operation


def border(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """What a ZeroPadding layer adds, or a Cropping layer cuts off."""
    if not subject.taken or not subject.steps:
        return
    dimensions, crops = len(subject.taken[0]) - 2, "cropping" in config
    pairs = geometry.border_of(config, dimensions)
    last = subject.steps[-1]
    found = geometry.padded(subject, last.outputs[0], dimensions)
    if not found.known or last.outputs[0] == found.begins or subject.sources[:1] != [found.begins]:
        return
    port = tuple((-a, -b) for a, b in found.pads) if crops else found.pads
    cause, names = "cropping" if crops else "zero-padding-layer", AXES.get(dimensions, ())
    strange = [mode for mode in found.modes if mode != "constant"]
    if strange and not crops:
        yield Stated("padding-mode", f"border: Keras zeros, port {strange[0]}{found.place}; pad with zeros")
    elif any(value != 0 for value in found.values) and not crops:
        yield Stated(cause, f"border: Keras zeros, port {found.values[0]:g}{found.place}; pad with zeros")
    words = f"{'cropping' if crops else 'padding'}: Keras {said(names, pairs)}, port {said(names, port)}"
    if port == pairs:
        yield Stated("", words)
    else:
        flat = tuple(n for pair in pairs[::-1] for n in pair)
        do = f"cut off {said(names, pairs)}" if crops else f"use F.pad(x, {flat})"
        yield Stated(cause, f"{words}{last.place}; {do}")


def transposed(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """Stride, and what of the full result is cut off before and after.

    Source: TensorFlow's transposed convolution is the gradient of a convolution of its output, so 'same' cuts off what
    that one would pad: max((n - 1) · s + k - out, 0), the smaller half before.
    """
    operation = of_kind(subject, "conv")
    if operation is None or not subject.taken:
        return
    dimensions = len(subject.taken[0]) - 2
    found = geometry.of_torch(subject, operation, dimensions)
    if found is None or not found[1].known:
        return
    window, where = found[0], operation.place
    stride = geometry.several(config.get("strides"), dimensions)
    words = f"stride: Keras {stride}, port {window.stride}"
    yield Stated("", words) if stride == window.stride else Stated("stride", f"{words}{where}; set stride={stride}")
    if stride != window.stride:
        return
    keras = cut_in_keras(subject, config, window, stride)
    port = _cut_in_port(subject, operation, window, dimensions)
    names = AXES.get(dimensions, ())
    words = f"cut off the full result: Keras {said(names, keras)}, port {said(names, port)}"
    if [before for before, _ in keras] == [before for before, _ in port] and keras == port:
        yield Stated("", words)
    else:
        remedy = f"give it no padding and no output_padding, then cut off {said(names, keras)}"
        yield Stated("transposed-conv", f"{words}{where}; {remedy}")


def cut_in_keras(
    subject: Subject, config: Mapping[str, Any], window: geometry.Window, stride: geometry.Ints
) -> tuple[Pair, ...]:
    """(before, after) along each axis that Keras cuts off the full result; negative where zeros follow it."""
    taken = geometry.spatial(subject.taken[0], config)
    given = geometry.spatial(subject.given, config)
    cut = []
    for axis, (n, out) in enumerate(zip(taken, given, strict=True)):
        total = (n - 1) * stride[axis] + window.reach(axis) - out
        before = max(total, 0) // 2 if config.get("padding") == "same" else 0
        cut.append((before, total - before))
    return tuple(cut)


def _cut_in_port(subject: Subject, operation: Operation, window: geometry.Window, dimensions: int) -> tuple[Pair, ...]:
    more = geometry.several(operation.arguments.get("output_padding", 0), dimensions)
    own = geometry.several(operation.arguments.get("padding", 0), dimensions)
    after = geometry.cut_after(subject, operation, dimensions)
    return tuple((p - a, p - o - b) for p, o, (a, b) in zip(own, more, after, strict=True))


def interpolation(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """How pixels between pixels are made, and whether corners are aligned."""
    operation = of_kind(subject, "upsample")
    if operation is None:
        return
    keras, port = str(config.get("interpolation", "nearest")), _interpolation(operation)
    where, words = operation.place, f"interpolation: Keras {keras}, port {port}"
    if port not in ("nearest", "nearest-exact") and operation.arguments.get("align_corners"):
        yield Stated("upsampling", f"align_corners: Keras no, port yes{where}; set align_corners=False")
    alike = port == keras or (keras == "nearest" and port == "nearest-exact")
    resizes = subject.layer.class_name == "Resizing" and keras == port == "nearest"
    if not alike:
        yield Stated("upsampling", f"{words}{where}; set mode={keras!r}")
    elif resizes:
        yield Stated(
            "upsampling", f"nearest: Keras takes the nearest middle, port rounds down{where}; use nearest-exact"
        )
    else:
        yield Stated("", words)
    if "size" in config:
        yield from _scaled(subject, config, operation)
    smooths = bool(config.get("antialias", False))
    if smooths != operation.op.endswith("_aa") and "nearest" not in keras:
        yield Stated("upsampling", f"antialias: Keras {smooths}, port {not smooths}{where}; set antialias={smooths}")


def _scaled(subject: Subject, config: Mapping[str, Any], operation: Operation) -> Iterator[Stated]:
    """By how much an UpSampling layer makes each axis longer; steps that repeat axes are taken together."""
    dimensions = len(subject.taken[0]) - 2 if subject.taken else 0
    steps = [step for step in subject.steps if step.op.startswith(("upsample", "_upsample"))]
    if len(steps) != 1 or not dimensions:
        return
    keras = geometry.several(config["size"], dimensions)
    before, after = (subject.shapes.get(v, ())[-dimensions:] for v in (operation.inputs[0], operation.outputs[0]))
    port = tuple(b // a for a, b in zip(before, after, strict=True) if a)
    words = f"size: Keras {keras}, port {port}"
    where = f"{operation.place}; set scale_factor={keras}"
    yield Stated("", words) if port == keras else Stated("upsampling", words + where)


def _interpolation(operation: Operation) -> str:
    op = operation.op
    if op == "repeat_interleave":
        return "nearest"
    for kind in ("bicubic", "bilinear", "trilinear", "linear"):
        if kind in op:
            return {"trilinear": "bilinear", "linear": "bilinear"}.get(kind, kind)
    return "nearest-exact" if "exact" in op else "nearest"
