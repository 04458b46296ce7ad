"""Hyper-parameters of convolutions and poolings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.checks import geometry
from pytest_kerasdiff.checks.geometry import AXES, Padded, Pair, Window
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.trace import Operation

_NO_MAXIMUM = -1e30
"""What a border is filled with, at most, that is never the maximum of a window."""


class Stated(NamedTuple):
    """One thing that both sides state.

    Attributes:
        cause: Id of the fault in the catalogue where they differ; empty where they agree.
        words: Both sides' numbers, where they differ with the line of the port and the remedy.
        sure: They differ in a way that activations need not show.
    """

    cause: str
    words: str
    sure: bool = False


def of_kind(subject: Subject, *kinds: str) -> Operation | None:
    """The first operation of a layer that is of one of these kinds."""
    return next((step for step in subject.steps if operations.kind(step)[0] in kinds), None)


def convolution(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """Stride, dilation, groups and padding."""
    operation = of_kind(subject, "conv")
    if operation is None or not subject.taken:
        return
    dimensions = len(subject.taken[0]) - 2
    keras = geometry.of_keras(config, subject.taken[0], subject.given, subject.absorbed)
    found = geometry.of_torch(subject, operation, dimensions)
    if found is None:
        return
    port, before = found
    where = operation.place
    yield _moves("stride", keras, port, where)
    yield _moves("dilation", keras, port, where)
    depthwise = "Depthwise" in subject.layer.class_name or "Separable" in subject.layer.class_name
    groups, stated = operation.arguments.get("groups", 1), config.get("groups", 1)
    if not depthwise and isinstance(groups, int):
        if stated > groups:  # each group may be a convolution of its own
            groups *= sum(operations.kind(step)[0] == "conv" for step in subject.steps)
        yield _compared("groups", "groups", stated, groups, where, f"set groups={stated}")
    yield from _padding(subject, config, keras, port, before, where, "same-padding")


def pooling(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """Kind, window, stride, padding, and what of the padding counts."""
    operation = of_kind(subject, "pool")
    if operation is None or not subject.taken:
        return
    where, average = operation.place, "Average" in subject.layer.class_name
    kind = operations.kind(operation)[1].partition("_")[0]
    yield _compared("pool-kind", "pooling", "avg" if average else "max", kind, where, "take the other kind")
    keras = geometry.of_keras(config, subject.taken[0], subject.given, subject.absorbed)
    found = geometry.of_torch(subject, operation, len(subject.taken[0]) - 2)
    if found is None or kind not in ("avg", "max"):
        return
    port, before = found
    yield _moves("pool-size", keras, port, where)
    yield _moves("stride", keras, port, where)
    yield from _padding(subject, config, keras, port, before, where, "pool-padding")
    if (port.size, port.stride) == (keras.size, keras.stride) and port.given != keras.given:
        remedy = "set ceil_mode=True" if not operation.arguments.get("ceil_mode") else "set ceil_mode=False"
        yield Stated("pool-size", f"places: Keras {keras.given}, port {port.given}{where}; {remedy}")
    yield from _counted(subject, operation, keras, port, before, average, where)


def _counted(
    subject: Subject, operation: Operation, keras: Window, port: Window, before: Padded, average: bool, where: str
) -> Iterator[Stated]:
    """What Keras does not count: borders in a mean, and in a maximum, where torch may fill them with zeros."""
    own = any(n for n in geometry.several(operation.arguments.get("padding", 0), len(port.size)))
    filled = any(value > _NO_MAXIMUM for value in before.values) and _reads_border(before, port, subject, keras)
    zero_padding = any(layer.class_name.startswith("ZeroPadding") for layer in subject.absorbed)
    if zero_padding:
        return
    if average and ((own and operation.arguments.get("count_include_pad", True)) or filled):
        yield Stated(
            "pool-padding",
            f"mean: Keras leaves out the padding, the port counts it{where}; pad in the pooling, with "
            "count_include_pad=False",
        )
    if not average and filled:
        same = keras.pads == port.pads and bool(subject.sources) and subject.sources[0] == before.begins
        yield Stated(
            "pool-padding",
            f"maximum: Keras pads with -inf, the port with {before.values[0]:g}{before.place}; use F.pad(…, "
            "value=float('-inf'))",
            sure=same and subject.least < 0,
        )


def _reads_border(before: Padded, port: Window, subject: Subject, keras: Window) -> bool:
    """Whether a window lies over what the steps before the pooling added."""
    shape = subject.shapes.get(before.begins, ())[-len(port.size) :]
    for axis, ((first, last), size) in enumerate(zip(before.pads, shape, strict=False)):
        end = (port.given[axis] - 1) * port.stride[axis] + port.reach(axis) - first
        if first > 0 or (last > 0 and end > size):
            return True
    return False


def _moves(what: str, keras: Window, port: Window, where: str) -> Stated:
    """Compare size, stride or dilation along the axes where it makes a difference."""
    name = "size" if what == "pool-size" else what
    ours, theirs = getattr(port, name), getattr(keras, name)
    matters = [
        (name == "size" or (name == "stride" and n > 1) or (name == "dilation" and k > 1))
        for n, k in zip(keras.given, keras.size, strict=True)
    ]
    differ = any(a != b and m for a, b, m in zip(ours, theirs, matters, strict=True))
    words = f"{'window' if name == 'size' else name}: Keras {theirs}, port {ours}"
    if not differ:
        return Stated("", words)
    remedy = f"set {'kernel_size' if name == 'size' else name}={theirs}"
    return Stated(what, f"{words}{where}; {remedy}")


def _compared(cause: str, what: str, keras: object, port: object, where: str, remedy: str) -> Stated:
    words = f"{what}: Keras {keras}, port {port}"
    return Stated("", words) if keras == port else Stated(cause, f"{words}{where}; {remedy}")


def _padding(
    subject: Subject, config: Mapping[str, Any], keras: Window, port: Window, before: Padded, where: str, cause: str
) -> Iterator[Stated]:
    """Compare the padding, before the first window and as far as windows reach."""
    stated = str(config.get("padding", "valid"))
    strange = [mode for mode in before.modes if mode != "constant"]
    if strange:
        yield Stated(
            "padding-mode",
            f"border: Keras zeros, port {strange[0]}{before.place}; pad with zeros (padding_mode='zeros')",
        )
    if not before.known or port.size != keras.size or port.stride != keras.stride or port.dilation != keras.dilation:
        return
    differ = any(
        a != c or m != n for (a, _), (c, _), m, n in zip(keras.pads, port.pads, keras.given, port.given, strict=True)
    )
    names = AXES.get(len(keras.size), ())
    words = f"padding '{stated}': Keras {said(names, keras.pads)}, port {said(names, port.pads)}"
    if not differ:
        yield Stated("", words)
        return
    if keras.pads == port.pads and sorted(keras.given) == sorted(port.given):
        places = f"axes: Keras's windows have {keras.given} places, the port's {port.given}{where}"
        yield Stated("permute", f"{places}; exchange no axes before it")
        return
    causes = {"causal": "causal-padding", "same": cause}
    if stated == "valid":
        cut = any(n < 0 for pair in port.pads for n in pair)
        zeros = any(layer.class_name.startswith("ZeroPadding") for layer in subject.absorbed)
        causes["valid"] = "zero-padding-layer" if zeros else "stride" if cut else cause
    line = before.place or where
    do = "cut nothing off before" if causes.get("valid") == "stride" else remedy(names, keras.pads)
    yield Stated(causes.get(stated, cause), f"{words}{line}; {do}")


def said(names: Sequence[str], pads: Sequence[Pair]) -> str:
    """Numbers before and after along each axis, in words."""
    return " and ".join(f"{a, b} on {name}" for name, (a, b) in zip(names, pads, strict=True))


def remedy(names: Sequence[str], pads: Sequence[Pair]) -> str:
    """How to pad so before an operation that has no padding of its own."""
    if all(a == b for a, b in pads):
        return f"set padding={tuple(a for a, _ in pads)}"
    flat = tuple(n for pair in pads[::-1] for n in pair)
    return f"pad {said(names, pads)} with F.pad(x, {flat}) before, and set padding=0"
