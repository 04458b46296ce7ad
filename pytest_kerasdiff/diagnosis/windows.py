"""Convolutions: stride, dilation, groups and padding, each set to Keras's, and pixels taken from elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.change import Change, Edit, Here, Step
from pytest_kerasdiff.checks import forms, geometry, hyper
from pytest_kerasdiff.checks.geometry import Ints, Pair, Window
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.windows import Stated, of_kind, remedy, said
from pytest_kerasdiff.diagnosis.arranged import called, instead
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.layout import dims
from pytest_kerasdiff.diagnosis.surroundings import Surroundings, around, fitted, is_of_its_own, places
from pytest_kerasdiff.trace import Constant, Operation

_PADDINGS = ("same-padding", "causal-padding", "zero-padding-layer", "padding-mode", "stride")


@dataclasses.dataclass(frozen=True, slots=True)
class Convolved:
    """A convolution of a port beside Keras's.

    Attributes:
        case: The layer.
        subject: It, without the axis of steps of a TimeDistributed.
        config: Its config.
        operation: The operation.
        keras: Keras's window on the operation's axes.
        port: The port's.
        sizes: Sizes of the axes in Keras.
        around: Steps around the operation.
        modes: How the port fills borders, other than with zeros.
    """

    case: Case
    subject: Subject
    config: Mapping[str, Any]
    operation: Operation
    keras: Window
    port: Window
    sizes: Ints
    around: Surroundings
    modes: tuple[str, ...]

    @property
    def groups(self) -> int:
        """Number of groups that Keras has."""
        if "Depthwise" in self.subject.layer.class_name or "Separable" in self.subject.layer.class_name:
            shape = self.subject.taken[0]
            return int(shape[1 if self.config.get("data_format") == "channels_first" else -1])
        return int(self.config.get("groups", 1) or 1)

    def rewritten(self, window: Window, groups: int | None = None) -> Change:
        """The convolution with another window, and nothing else around it."""
        own = self.operation.arguments
        arguments = {"self": Here(), "weight": own["weight"], "bias": own.get("bias"), "stride": list(window.stride),
                     "dilation": list(window.dilation), "groups": own.get("groups", 1) if groups is None else groups,
                     "pads": [list(p) for p in window.pads]}  # fmt: skip
        edits = self.around.removed(self.case)
        edits[self.case.place(self.operation)] = instead(
            self.operation, self.operation.inputs[0], Step("keras.convolution", arguments)
        )
        return Change(edits=edits)

    def padded(self, pads: Sequence[Pair]) -> Change:
        """The convolution beside zeros, as many as are said."""
        pad = Step("constant_pad_nd", {"self": Here(), "pad": [n for p in pads[::-1] for n in p], "value": 0.0})
        edits = self.around.removed(self.case)
        edits[self.case.place(self.operation)] = Edit(before={"input": (pad,)}, arguments={"padding": [0] * len(pads)})
        return Change(edits=edits)

    def with_arguments(self, **arguments: Any) -> Change:
        """The convolution with other arguments."""
        return Change(edits={self.case.place(self.operation): Edit(arguments=arguments)})


def of_case(case: Case) -> Convolved | None:
    """The convolution of a layer; None where it has no such operation, or moves over other axes."""
    subject = hyper.within(case.subject)
    operation = of_kind(subject, "conv")
    if operation is None or not subject.taken or len(operation.inputs) != 1:
        return None
    weight = operation.arguments.get("weight")
    if not isinstance(weight, Constant) or weight.index not in subject.constants:
        return None
    kernel = tuple(subject.constants[weight.index].array.shape[2:])
    config = subject.layer.config
    taken = subject.taken[0]
    found = geometry.of_torch(subject, operation, len(kernel))
    if found is None or len(taken) < 3:
        return None
    keras = geometry.of_keras(config, taken, subject.given, subject.absorbed)
    sizes = geometry.spatial(taken, config)
    shape = case.trace.shapes.get(found[1].begins, ())
    on_axes = fitted(keras, sizes, tuple(shape[-len(kernel) :]), kernel)
    if on_axes is None:
        return None
    if len(sizes) != len(kernel):
        sizes = tuple(shape[-len(kernel) :])
    strange = tuple(mode for mode in found[1].modes if mode != "constant")
    return Convolved(case, subject, config, operation, on_axes, found[0], sizes, around(case, operation), strange)


def concerns(case: Case) -> bool:
    """Whether the layer is a convolution, and no transposed one."""
    name, _ = inside(case.layer.class_name, case.layer.config)
    return "Conv" in name and "LSTM" not in name and not name.endswith("Transpose")


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's stride, dilation, groups and padding in the place of the port's."""
    yield from _turned(case)
    own = of_case(case)
    if own is None:
        return
    stated = {one.cause: one for one in hyper.stated(own.subject) if one.cause}
    padding = str(own.config.get("padding", "valid"))
    follows = is_of_its_own(own.port, own.sizes, padding)
    for name in ("stride", "dilation"):
        theirs, ours = getattr(own.keras, name), getattr(own.port, name)
        if theirs == ours or (name == "dilation" and all(k == 1 for k in own.keras.size)):
            continue
        right = dataclasses.replace(own.port, **{name: theirs})
        changes = [own.with_arguments(**{name: list(theirs)}), own.rewritten(right)]
        if follows:
            changes.append(own.rewritten(dataclasses.replace(right, pads=own.keras.pads)))
        text = f"{name}: Keras {theirs}, port {ours}{own.operation.place}"
        patch = f"{called(own.operation)}: {name} = {theirs}"
        yield Suspicion(name, text, _on_module(own.operation, name, theirs) or patch, [Way(c) for c in changes])
    yield from _groups(own)
    yield from _paddings(own, stated, padding)


def _turned(case: Case) -> Iterator[Suspicion]:
    """A kernel that is wide where Keras's is high, on axes that stand as Keras's do."""
    subject = hyper.within(case.subject)
    operation, config = of_kind(subject, "conv"), subject.layer.config
    weight = operation.arguments.get("weight") if operation is not None else None
    if operation is None or not isinstance(weight, Constant) or len(case.layer.inputs) != 1 or not subject.taken:
        return
    kernel = next((n for n in subject.weights if n.rpartition("/")[2].endswith("kernel")), None)
    form = forms.kernel_of(kernel, subject.weights[kernel], subject.layer.class_name) if kernel is not None else None
    value = case.alignment.torch_value(case.layer.inputs[0])
    port = weight.index in subject.constants and subject.constants[weight.index].array.shape[2:]
    if kernel is None or form is None or value is None or not port:
        return
    axes = range(1, len(port) + 1) if config.get("data_format") != "channels_first" else range(2, len(port) + 2)
    keras = geometry.of_keras(config, subject.taken[0], subject.given, subject.absorbed)
    if (
        port == keras.size
        or sorted(port) != sorted(keras.size)
        or (dims(case, axes, case.layer.inputs[0], value) != list(range(2, len(port) + 2)))
    ):
        return
    right = np.asarray(form.as_torch(subject.weights[kernel]))
    arguments = {"self": Here(), "weight": right, "bias": operation.arguments.get("bias"), "stride": list(keras.stride),
                 "dilation": list(keras.dilation), "groups": operation.arguments.get("groups", 1),
                 "pads": [list(p) for p in keras.pads]}  # fmt: skip
    edits = around(case, operation).removed(case)
    edits[case.place(operation)] = instead(operation, operation.inputs[0], Step("keras.convolution", arguments))
    text = f"kernel: Keras {keras.size}, port {tuple(port)}{operation.place}"
    patch = f"kernel_size={keras.size} and the kernel as it is: {called(operation)}"
    yield Suspicion("conv-kernel-layout", text, patch, [Way(Change(edits=edits))])


def _on_module(operation: Operation, name: str, value: object) -> str:
    where = called(operation)
    return f"{where}.{name} = {value}" if "[" not in where else ""


def _groups(own: Convolved) -> Iterator[Suspicion]:
    """Another number of groups, with the kernel that belongs to it."""
    port, weight = own.operation.arguments.get("groups", 1), own.operation.arguments["weight"]
    if port == own.groups:
        return
    constants = {}
    for name, array in own.subject.weights.items():
        form = forms.kernel_of(name, array, own.subject.layer.class_name)
        if form is not None and form.as_torch(array).shape[2:] == own.port.size and "pointwise" not in name:
            constants[weight.index] = np.asarray(form.as_torch(array))
    changed = [own.with_arguments(groups=own.groups)]
    if constants:
        changed.append(dataclasses.replace(changed[0], constants=constants))
    text = f"groups: Keras {own.groups}, port {port}{own.operation.place}"
    patch = _on_module(own.operation, "groups", own.groups) or f"groups={own.groups}"
    yield Suspicion("groups", text, patch, [Way(change) for change in changed])


def _paddings(own: Convolved, stated: Mapping[str, Stated], padding: str) -> Iterator[Suspicion]:
    """Keras's padding, and none of the port's own steps around the convolution."""
    window = own.port
    right = dataclasses.replace(own.port, pads=own.keras.pads)
    ways = [Way(own.padded(own.keras.pads)), Way(own.rewritten(right))]
    strided = Way(own.rewritten(dataclasses.replace(right, stride=own.keras.stride)))
    names = geometry.AXES.get(len(own.keras.size), ())
    where = own.around.source or own.operation.source
    text = f"padding '{padding}': Keras {said(names, own.keras.pads)}, port {said(names, window.pads)} [{where}]"
    patch = f"{called(own.operation)}: {remedy(names, own.keras.pads)}"
    written = next((stated[cause] for cause in _PADDINGS if cause in stated and "padding" in stated[cause].words), None)
    if written is not None:
        text, _, patch = written.words.partition("; ")
        patch = f"{called(own.operation)}: {patch}"
    if own.modes:
        text = f"border: Keras zeros, port {own.modes[0]} [{where}]"
        yield Suspicion("padding-mode", text, f"{called(own.operation)}: padding_mode = 'zeros'", ways)
    if own.around.samples:
        do = f"no slice around it, and stride={own.keras.stride}"
        text = f"pixels: Keras takes those of stride {own.keras.stride} from the first on, port others [{where}]"
        yield Suspicion("stride", text, f"{called(own.operation)}: {do}", [*ways, strided])
        return
    cause = _cause(own, padding)
    differs = _differs(own) or bool(own.around.after) or bool(own.around.before and not own.modes)
    if differs:
        yield Suspicion(cause, text, patch, ways, stated=_differs(own) or written is not None)
    elif any(s > 1 for s in own.keras.stride) and not own.modes:
        text = f"pixels: Keras begins with the first and takes every {max(own.keras.stride)}., port others [{where}]"
        yield Suspicion("stride", text, f"{called(own.operation)}: begin with the first pixel", [strided], False)


def _differs(own: Convolved) -> bool:
    """Whether other pixels are seen, or there are other places, at the stride that Keras has."""
    window = dataclasses.replace(own.keras, pads=own.port.pads)
    return any(
        a != c or places(n, window, axis, (c, d)) != places(n, own.keras, axis, (a, b))
        for axis, (n, (a, b), (c, d)) in enumerate(zip(own.sizes, own.keras.pads, own.port.pads, strict=True))
    )


def _cause(own: Convolved, padding: str) -> str:
    if padding == "causal":
        return "causal-padding"
    zeros = [*own.subject.absorbed, *(feeder for feeder, _ in own.subject.feeders)]
    if padding == "valid" and any(layer.class_name.startswith("ZeroPadding") for layer in zeros):
        return "zero-padding-layer"
    return "same-padding"
