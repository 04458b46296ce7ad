"""Poolings: kind, window, stride and padding, each set to Keras's, and what of the padding counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.change import Change, Edit, Here, Step, Taken
from pytest_kerasdiff.checks import geometry, hyper
from pytest_kerasdiff.checks.geometry import Ints, Window
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.windows import of_kind, said
from pytest_kerasdiff.diagnosis.arranged import called, instead, only, whole_layer
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.surroundings import Surroundings, around, fitted, is_of_its_own
from pytest_kerasdiff.trace import Operation

_KINDS = ("pool", "pad", "concat", "div", "upsample")
"""What a pooling is made of; anything else beside it is no matter of its window."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pooled:
    """A pooling of a port beside Keras's.

    Attributes:
        case: The layer.
        operation: The operation.
        keras: Keras's window on the operation's axes.
        port: The port's.
        kind: What Keras takes of a window, "max" or "avg".
        around: Steps around the operation.
    """

    case: Case
    operation: Operation
    keras: Window
    port: Window
    kind: str
    around: Surroundings

    def with_arguments(self, **arguments: Any) -> Change:
        """The pooling with other arguments."""
        return Change(edits={self.case.place(self.operation): Edit(arguments=arguments)})

    def padded_with_zeros(self) -> Change:
        """The pooling behind Keras's padding: a maximum meets the zeros, where its own padding is less than all."""
        border = [n for pair in self.keras.pads[::-1] for n in pair]
        pad = Step("constant_pad_nd", {"self": Here(), "pad": border, "value": 0.0})
        edits = self.around.removed(self.case)
        unpadded = {"padding": [0] * len(self.keras.pads)}
        edits[self.case.place(self.operation)] = Edit(before={"self": (pad,)}, arguments=unpadded)
        return Change(edits=edits)

    def rewritten(self, window: Window, kind: str | None = None) -> Change:
        """The pooling with another window, and nothing else around it."""
        how = {"self": Here(), "kind": kind or self.kind, "size": list(window.size), "stride": list(window.stride),
               "pads": [list(p) for p in window.pads]}  # fmt: skip
        edits = self.around.removed(self.case)
        compute = Step("keras.pool", how)
        edits[self.case.place(self.operation)] = instead(self.operation, self.operation.inputs[0], compute)
        return Change(edits=edits)


def concerns(case: Case) -> bool:
    """Whether the layer is a pooling."""
    return "Pooling" in inside(case.layer.class_name, case.layer.config)[0]


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's kind, window, stride and padding in the place of the port's."""
    subject = hyper.within(case.subject)
    operation, name = of_kind(subject, "pool"), subject.layer.class_name
    kind = "avg" if "Average" in name else "max"
    if operation is None and name.startswith("Global") and case.steps:
        whole = _whole(case, subject, kind)
        last = case.trace.operations[case.steps[-1]]
        text = f"pooling: Keras takes the {_NAMES[kind]} over all places, port {last.op}{last.place}"
        if whole is not None:
            yield Suspicion("pool-kind", text, f"take the {_NAMES[kind]} instead of {called(last)}", [whole])
    if operation is None or not subject.taken:
        return
    port_kind = operations.kind(operation)[1].partition("_")[0]
    own = None if name.startswith(("Global", "Adaptive")) else _windowed(case, subject, operation, kind)
    whole = _whole(case, subject, kind)
    named = False
    for suspicion in _kind(subject, operation, kind, port_kind, own, whole):
        named = True
        yield suspicion
    if own is not None:
        yield from _numbers(own, subject, whole, named)
    elif whole is not None and not named:
        words = _area(subject, operation)
        yield Suspicion("pool-size", words, f"{called(operation)}: pool over {_what(subject)}", [whole])


def _windowed(case: Case, subject: Subject, operation: Operation, kind: str) -> Pooled | None:
    dimensions = next((d for d in (1, 2, 3) if f"{d}d" in operation.op), 0)
    if "kernel_size" not in operation.arguments or not dimensions:
        return None
    found = geometry.of_torch(subject, operation, dimensions)
    if found is None:
        return None
    keras = geometry.of_keras(subject.layer.config, subject.taken[0], subject.given, subject.absorbed)
    sizes = geometry.spatial(subject.taken[0], subject.layer.config)
    shape = case.trace.shapes.get(found[1].begins, ())
    on_axes = fitted(keras, sizes, tuple(shape[-dimensions:]), found[0].size)
    if on_axes is None:
        return None
    return Pooled(case, operation, on_axes, found[0], kind, around(case, operation))


def _kind(
    subject: Subject, operation: Operation, kind: str, port: str, own: Pooled | None, whole: Way | None
) -> Iterator[Suspicion]:
    """The other of maximum and mean."""
    if port == kind:
        return
    ways = [] if own is None else [Way(own.rewritten(own.port, kind)), Way(own.rewritten(own.keras))]
    if own is not None and port in ("avg", "max"):
        keep = {n: Taken(n) for n in ("self", "kernel_size", "stride", "padding", "ceil_mode")}
        dimensions = len(own.port.size)
        more = {} if kind == "max" else {"count_include_pad": False}
        edit = Edit(instead=Step(f"{kind}_pool{dimensions}d", {**keep, **more}))
        ways.insert(0, Way(Change(edits={own.case.place(operation): edit})))
    ways += [] if whole is None else [whole]
    text = f"pooling: Keras {kind}, port {port or operation.op}{operation.place}"
    yield Suspicion("pool-kind", text, f"{called(operation)}: take the {_NAMES[kind]}", ways)


_NAMES = {"max": "maximum", "avg": "mean"}


def _numbers(own: Pooled, subject: Subject, whole: Way | None, named: bool) -> Iterator[Suspicion]:
    keras, port, config = own.keras, own.port, subject.layer.config
    padding, where = str(config.get("padding", "valid")), f"[{own.operation.source}]"
    follows = is_of_its_own(port, _sizes(own, subject), padding)
    last = [] if whole is None or named else [whole]
    begun = False
    if port.size != keras.size:
        begun = True
        right = dataclasses.replace(port, size=keras.size)
        changes = [own.with_arguments(kernel_size=list(keras.size)), own.rewritten(right)]
        if port.stride == port.size and keras.stride == keras.size:  # a stride that is not stated is the size
            both = {"kernel_size": list(keras.size), "stride": list(keras.size)}
            right = dataclasses.replace(right, stride=keras.size)
            changes = [own.with_arguments(**both), own.rewritten(right), *changes]
        changes += [own.rewritten(dataclasses.replace(right, pads=keras.pads))] if follows else []
        changes += [own.rewritten(own.keras)]
        text, patch = f"window: Keras {keras.size}, port {port.size} {where}", f"kernel_size = {keras.size}"
        yield Suspicion("pool-size", text, _on_module(own, patch), [Way(c) for c in changes])
    if port.stride != keras.stride and not (port.stride == port.size != keras.size == keras.stride):
        begun = True
        right = dataclasses.replace(port, stride=keras.stride)
        changes = [own.with_arguments(stride=list(keras.stride)), own.rewritten(right)]
        changes += [own.rewritten(dataclasses.replace(right, pads=keras.pads))] if follows else []
        text, patch = f"stride: Keras {keras.stride}, port {port.stride} {where}", f"stride = {keras.stride}"
        yield Suspicion("stride", text, _on_module(own, patch), [Way(c) for c in changes])
    yield from _paddings(own, subject, padding, [] if begun else last)


def _sizes(own: Pooled, subject: Subject) -> Ints:
    sizes = geometry.spatial(subject.taken[0], subject.layer.config)
    shape = own.case.trace.shapes.get(own.operation.inputs[0], ())
    return sizes if len(sizes) == len(own.port.size) else tuple(shape[-len(own.port.size) :])


def _on_module(own: Pooled, patch: str) -> str:
    where = called(own.operation)
    return f"{where}.{patch}" if "[" not in where else f"{where}: {patch}"


def _paddings(own: Pooled, subject: Subject, padding: str, last: list[Way]) -> Iterator[Suspicion]:
    """Places that are left out, what is beyond the border, and whether it counts."""
    keras, port, arguments = own.keras, own.port, own.operation.arguments
    where = f"[{own.around.source or own.operation.source}]"
    if keras.given != port.given and "ceil_mode" in arguments:
        flipped = not arguments["ceil_mode"]
        change = own.with_arguments(ceil_mode=flipped)
        text = f"ceil_mode: Keras's {keras.given} places need {flipped}, port {not flipped} {where}"
        yield Suspicion("pool-size", text, _on_module(own, f"ceil_mode = {flipped}"), [Way(change)])
    stated = [one for one in hyper.stated(subject) if one.cause == "pool-padding"]
    right = Way(own.rewritten(dataclasses.replace(port, pads=keras.pads)))
    ways = [right, *last]
    if arguments.get("count_include_pad") and any(geometry.several(arguments.get("padding", 0), len(port.size))):
        ways.insert(0, Way(own.with_arguments(count_include_pad=False)))
    zeros = [la for la, _ in subject.feeders if la.class_name.startswith("ZeroPadding")]
    if any(la.class_name.startswith("ZeroPadding") for la in (*subject.absorbed, *zeros)) and padding == "valid":
        text = f"padding: Keras {keras.pads}, port {port.pads} {where}"
        ways = [right, Way(own.padded_with_zeros())]
        yield Suspicion("zero-padding-layer", text, f"pad once, by {keras.pads}", ways, stated=bool(stated))
        return
    if stated:
        text, _, patch = stated[-1].words.partition("; ")
        yield Suspicion("pool-padding", text, _on_module(own, patch), ways, sure=any(one.sure for one in stated))
    elif padding == "same" or any(any(pair) for pair in port.pads) or own.around.before:
        names = geometry.AXES.get(len(keras.size), ())
        text = f"padding '{padding}': Keras {said(names, keras.pads)}, left out of a mean and never a maximum {where}"
        yield Suspicion("pool-padding", text, _on_module(own, f"pad as Keras {keras.pads}"), ways, stated=False)
    elif own.around.samples:
        text = f"pixels: Keras takes those of stride {keras.stride} from the first on, port others {where}"
        yield Suspicion("stride", text, _on_module(own, "begin with the first pixel"), ways)


def _what(subject: Subject) -> str:
    config = subject.layer.config
    if subject.layer.class_name.startswith("Adaptive"):
        return f"as many windows as make {subject.given}"
    sizes = geometry.spatial(subject.taken[0], config)
    if subject.layer.class_name.startswith("Global"):
        return f"all of {sizes}"
    return f"windows of {geometry.several(config.get('pool_size'), len(sizes))}"


def _area(subject: Subject, operation: Operation) -> str:
    shapes = [subject.shapes.get(v, ()) for v in (operation.inputs[0], operation.outputs[0])]
    over = f" over dim {operation.arguments['dim']}" if "dim" in operation.arguments else ""
    return (
        f"window: Keras pools {_what(subject)}, port {operation.op}{over} makes {shapes[1]} of {shapes[0]} "
        f"[{operation.source}]"
    )


def _whole(case: Case, subject: Subject, kind: str) -> Way | None:
    """The layer as Keras computes it, where the port does nothing but pool."""
    name, config = subject.layer.class_name, subject.layer.config
    kinds = (*_KINDS, "affine") if kind == "avg" and any(_divides_by_counts(case, i) for i in case.steps) else _KINDS
    if not only(case, kinds) or subject.layer.class_name != case.layer.class_name:
        return None
    how: Mapping[str, Any] = {"channels_first": config.get("data_format") == "channels_first", "kind": kind}
    if name.startswith("Global"):
        return whole_layer(case, "global", {**how, "keepdims": len(subject.given) == len(subject.taken[0])})
    if name.startswith("Adaptive"):
        return whole_layer(case, "adaptive", {**how, "size": list(geometry.spatial(subject.given, config))})
    keras = geometry.of_keras(config, subject.taken[0], subject.given, subject.absorbed)
    window = {"size": list(keras.size), "stride": list(keras.stride), "pads": [list(p) for p in keras.pads]}
    return whole_layer(case, "window", {**how, **window})


def _divides_by_counts(case: Case, position: int) -> bool:
    """Whether an operation divides by how many pixels of each window are in the image."""
    operation = case.trace.operations[position]
    arrays = [case.trace.constants[n].array for n in operation.constants] if operation.op == "div" else []
    return any(array.ndim > 1 and array.min() != array.max() for array in arrays)
