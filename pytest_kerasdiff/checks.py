"""Checks of what activations cannot show: pure functions over the two traces, in one registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff import curves
from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.alignment import Alignment
from pytest_kerasdiff.align.kinds import activation_name, activation_of
from pytest_kerasdiff.trace import (
    CURVE_AT,
    Array,
    Candidate,
    CandidateTrace,
    ConstantData,
    Layer,
    Operation,
    ReferenceTrace,
)

_COMPUTED = 2.0**-21
"""Relative difference allowed to a weight computed from parameters (weight_norm): eight float32 roundings."""
_SATURATED = 1e-3
"""Derivative under which a change of a weight by 1 % of a typical logit stays under the tolerance."""
_OF_SEVERAL_ELEMENTS = ("softmax", "log_softmax", "sparsemax", "glu")
_MOSTLY = 0.5
"""Share of equal elements from which an array is the Keras weight with some elements changed, not another weight."""


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check of one layer.

    Attributes:
        check: Name of the check.
        layer: Report name of the layer.
        status: "pass" or "fail".
        cause: Id of the fault in the catalogue; empty where it passes.
        message: What was compared, with both values.
    """

    check: str
    layer: str
    status: str
    cause: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What a check sees of a layer.

    Attributes:
        layer: The Keras layer.
        weights: Its weights by name, float32, in Keras's layout.
        operation: The torch operation that stands for it, if there is one.
        steps: All torch operations of the layer, in order.
        constants: Constants of all torch operations of the layer.
        folded: Its weights are multiplied into another layer's.
        last: The torch operation that gives the layer's output, where it is not the layer's input.
        curves: What the port's and Keras's activation functions make of ``CURVE_AT``, where both are functions of one
            element.
        vouched: The activations prove weights that the port holds in another form: they pass, and on these inputs the
            layer's activation function lets a change of some weight through.
        parameters: Names of the torch parameters and buffers that an operation takes as they are.
    """

    layer: Layer
    weights: Mapping[str, Array]
    operation: Operation | None
    constants: Sequence[ConstantData]
    folded: bool
    last: Operation | None = None
    steps: Sequence[Operation] = ()
    curves: tuple[Array, Array] | None = None
    vouched: bool = True
    parameters: Set[str] = frozenset()


Outcome = tuple[str, str]
"""(cause, message): the cause is empty where the check passes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A check: which layers it concerns, asked at collection from the file's config alone, and what it does."""

    concerns: Callable[[str, Mapping[str, Any]], bool]
    run: Callable[[Subject], Outcome]


def check_eps(subject: Subject) -> Outcome:
    """Compare a normalisation layer's epsilon with the torch operation's.

    A wrong epsilon can move an output by as little as 5e-7, so activations are no proof.
    """
    keras = float(_inside(subject.layer.class_name, subject.layer.config)[1]["epsilon"])
    operation = subject.operation
    stated = operation.arguments.get("eps") if operation is not None else None
    written = _written_epsilon(subject.steps)
    if stated is not None and operation is not None:
        port, source = float(stated), operation.source
        remedy = f"set {operation.name.partition('@')[0]}.eps = {keras:g}"
    elif written is not None:
        port, source = written
        remedy = f"add {keras:g} there"
    else:
        return "", f"Keras {keras:g}; the port has no epsilon of its own, its activations are compared"
    # Keras may have stored the value after a trip through float32.
    if abs(port - keras) <= 1e-6 * keras:
        return "", f"Keras {keras:g}, port {port:g}"
    return "eps", f"Keras {keras:g}, port {port:g} [{source}]; {remedy}"


def _written_epsilon(steps: Sequence[Operation]) -> tuple[float, str] | None:
    """(number added directly before a root is taken, where) in a normalisation written by hand."""
    producers = {value: step for step in steps for value in step.outputs}
    for root in steps:
        if root.op not in ("sqrt", "rsqrt") and root.arguments.get("exponent") not in (0.5, -0.5):
            continue
        added = producers.get(root.inputs[0])
        number = added.arguments.get("other") if added is not None and added.op == "add" else None
        if added is not None and isinstance(number, int | float):
            return float(number), added.source
    return None


def check_weights(subject: Subject) -> Outcome:
    """Compare a layer's weights with the constants of its torch operations, element by element.

    An element that meets only zeros in its input (the channel of a dead ReLU) changes no activation. Weights that the
    port holds in another form (folded, packed, reordered) are for the activations to judge.
    """
    if subject.folded:
        return "", "folded into another kernel; the activations are compared"
    found: dict[str, str] = {}
    for name, weight in subject.weights.items():
        cause, words = _compare_weight(name, weight, subject)
        if cause:
            return cause, words
        found[name] = words
    kernels = [words for name, words in found.items() if "kernel" in name]
    bias = subject.weights.get("bias")
    lost = bias is not None and bool(np.any(bias)) and "held in another form" in found["bias"]
    if lost and kernels and all("equal" in words for words in kernels) and "LSTM" not in subject.layer.class_name:
        # Nothing is folded into a kernel that is Keras's own, so the bias has no other place to be.
        return "bias-missing", "the kernel is Keras's, and no constant of the port is its bias"
    return "", "; ".join(found.values()) or "the file holds no weights for this layer"


def _compare_weight(name: str, weight: Array, subject: Subject) -> Outcome:
    best, best_share = None, -1.0
    forms = _forms(name, weight, subject.layer.class_name)
    for constant in subject.constants:
        if constant.array.size != weight.size or constant.array.dtype.kind != "f":
            continue
        port = constant.array.astype(np.float32)
        direct = len(constant.origins) == 1 and constant.origins[0] in subject.parameters
        for form in forms:
            for candidate in (port, port.T) if port.ndim == 2 else (port,):
                if candidate.shape != form.shape and candidate.squeeze().shape != form.squeeze().shape:
                    continue
                candidate = candidate.reshape(form.shape)
                if np.array_equal(candidate, form):
                    return "", f"{name} equal"
                if not direct and _distance(candidate, form).max() <= _COMPUTED * np.abs(np.asarray(form, float)).max():
                    return "", f"{name} equal to rounding, computed from {', '.join(constant.origins) or 'constants'}"
                meaning = (candidate != 0) | (form != 0)
                share = float(np.mean((candidate == form)[meaning]))
                if share > best_share:
                    best, best_share = (constant, candidate, form), share
    if best is None:
        return _in_other_table(name, weight, subject) or _other_form(name, weight, subject)
    constant, candidate, form = best
    where = ", ".join(constant.origins) or "a constant"
    for kind, rounded in (("float16", _through_float16(form)), ("bfloat16", _through_bfloat16(form))):
        if np.array_equal(candidate, rounded):
            return (
                "weights-rounded",
                f"{name}: {where} is Keras's after rounding to {kind}; load the file's float32 weights",
            )
    looked_up = subject.layer.class_name == "Embedding"  # only the rows that the inputs name are compared otherwise
    reordered = by_content.fingerprint(candidate) == by_content.fingerprint(form)
    if not looked_up and (best_share < _MOSTLY or reordered):
        return _other_form(name, weight, subject)
    wrong = candidate != form
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(_distance(candidate, form))), form.shape))
    return "embedding-row" if reordered else "weights-differ", (
        f"{name}: {int(wrong.sum())} of {form.size} elements of {where} differ, most at {at}: got {candidate[at]:.6g}, "
        f"expected {form[at]:.6g}"
    )


def _in_other_table(name: str, weight: Array, subject: Subject) -> Outcome | None:
    """Compare an Embedding's rows with those of a table of another length, which may hold others beside them."""
    if "embedding" not in name.lower():
        return None
    tables = [c for c in subject.constants if c.array.ndim == 2 and c.array.shape[1:] == weight.shape[1:]]
    best = (-1, 0, "")
    for table in tables:
        port = table.array.astype(np.float32)
        for offset in {
            int(at) - row for row in (0, len(weight) // 2) for at in np.flatnonzero((port == weight[row]).all(1))
        }:
            low, high = max(0, offset), min(len(port), offset + len(weight))
            equal = int((port[low:high] == weight[low - offset : high - offset]).all(1).sum())
            best = max(best, (equal, offset, ", ".join(table.origins) or "a constant"))
    equal, offset, where = best
    if equal == len(weight):
        return "", f"{name} equal, from row {offset} of {where}"
    if equal < _MOSTLY * len(weight):
        return None
    return (
        "embedding-row",
        f"{name}: {len(weight) - equal} of {len(weight)} rows are missing in {where} or differ there",
    )


def _other_form(name: str, weight: Array, subject: Subject) -> Outcome:
    """A weight that no constant of the layer equals: folded or packed, which activations prove, or simply wrong."""
    mark = by_content.fingerprint(weight)
    if subject.vouched or mark is None or "kernel" not in name:
        return "", f"{name} held in another form"
    if any(by_content.fingerprint(constant.array) == mark for constant in subject.constants):
        return "conv-kernel-layout", f"{name}: the port holds the same values in another order"
    return "weights-differ", f"{name}: no constant of the port holds these values, in any order"


def lets_changes_through(activation: str, output: Array) -> bool:
    """Whether the derivative of a layer's activation function is not zero everywhere on these inputs.

    Source: the derivatives y(1 - y) of softmax's diagonal and sigmoid, 1 - y² of tanh, a step for rectifiers.
    """
    values = np.asarray(output, np.float64)
    if activation in ("softmax", "sigmoid"):
        return bool(np.any(values * (1 - values) > _SATURATED))
    if activation == "tanh":
        return bool(np.any(1 - values**2 > _SATURATED))
    if activation in ("relu", "relu6"):
        return bool(np.any(values > 0))
    return True


def _distance(first: Array, second: Array) -> npt.NDArray[np.float64]:
    return np.abs(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def _forms(name: str, weight: Array, class_name: str) -> list[Array]:
    """The weight in torch's layout and in Keras's own."""
    if class_name == "EinsumDense":  # a linear has all that goes in, and all that comes out, as one axis each
        return [weight.reshape(1, -1)] if "bias" in name else [
            weight.reshape(weight.shape[0], -1).T, weight.reshape(-1, weight.shape[-1]).T, weight
        ]  # fmt: skip
    if "kernel" not in name or weight.ndim < 2:
        return [weight]
    kind = "linear" if weight.ndim == 2 else "conv"
    variant = "depthwise" if "depthwise" in name or class_name.startswith("Depthwise") else ""
    return [by_content.canonical(kind, variant, weight), weight]


def _through_float16(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


def _through_bfloat16(array: Array) -> Array:
    """float32 rounded to bfloat16, to nearest even: the upper 16 bits, after adding half of what is cut off."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def check_hyper(subject: Subject) -> Outcome:
    """Compare both sides' activation functions on values that the probe inputs need not give.

    Activations that stay below 6 do not tell ReLU6 from ReLU, and near 0 a tanh is a straight line.
    """
    if subject.curves is None or subject.last is None:
        return "", "no function of single elements on both sides; the activations are compared"
    at = curves.difference(*subject.curves)
    if at is None:
        return "", "equal from -300 to 300"
    got, expected = (float(curve[at]) for curve in subject.curves)
    return "activation-kind", (
        f"at {CURVE_AT[at]:.6g} Keras's function gives {expected:.6g}, the port's {got:.6g} [{subject.last.source}]"
    )


def _has_epsilon(class_name: str, config: Mapping[str, Any]) -> bool:
    class_name, config = _inside(class_name, config)
    return "Normalization" in class_name and "epsilon" in config


def _inside(class_name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Class and config of the layer that a TimeDistributed has inside; of any other layer its own."""
    inner = config.get("layer") if class_name == "TimeDistributed" else None
    return (
        (str(inner.get("class_name")), inner.get("config", {})) if isinstance(inner, Mapping) else (class_name, config)
    )


def _has_weights(class_name: str, config: Mapping[str, Any]) -> bool:
    class_name, _ = _inside(class_name, config)
    return any(word in class_name for word in ("Conv", "Dense", "Embedding", "PReLU")) or class_name in (
        "BatchNormalization", "LayerNormalization", "GroupNormalization")  # fmt: skip


def _has_function(class_name: str, config: Mapping[str, Any]) -> bool:
    return activation_of(class_name, config) not in (None, "linear", "prelu", *_OF_SEVERAL_ELEMENTS)


CHECKS: dict[str, Check] = {
    "weights": Check(_has_weights, check_weights),
    "eps": Check(_has_epsilon, check_eps),
    "hyper": Check(_has_function, check_hyper),
}


def run(
    reference: ReferenceTrace, candidate: Candidate, alignment: Alignment, wrong: Set[int] = frozenset()
) -> list[CheckResult]:
    """Run every check on every layer it concerns.

    Args:
        reference: The Keras side.
        candidate: The torch side.
        alignment: Which torch operations are which layer.
        wrong: Positions of layers whose activations alone are over their limit.
    """
    return list(_results(reference, candidate, alignment, wrong))


def _results(
    reference: ReferenceTrace, candidate: Candidate, alignment: Alignment, wrong: Set[int]
) -> Iterator[CheckResult]:
    for position, layer in enumerate(reference.layers):
        concerned = [name for name, check in CHECKS.items() if check.concerns(layer.class_name, layer.config)]
        if not concerned:
            continue
        subject = _subject(reference, candidate, alignment, position, position in wrong)
        for name in concerned:
            cause, message = CHECKS[name].run(subject)
            yield CheckResult(name, layer.name, "fail" if cause else "pass", cause, message)


def _subject(
    reference: ReferenceTrace, candidate: Candidate, alignment: Alignment, position: int, wrong: bool
) -> Subject:
    layer, trace = reference.layers[position], candidate.trace
    output = reference.values[layer.outputs[0]]
    main, value = alignment.main.get(position), alignment.pairs.get(layer.outputs[0])
    steps = {*(alignment.span(value) if value is not None else []), *([main] if main is not None else [])}
    numbers = dict.fromkeys(n for step in sorted(steps) for n in trace.operations[step].constants)
    functions = curves.both(reference, candidate, alignment, position)
    last = alignment.torch.producer.get(value) if value is not None else None
    if functions is None and (stranger := curves.stranger(reference, candidate, alignment, position)) is not None:
        functions, last = stranger
    return Subject(
        layer,
        {name: reference.weights[layer.weight_owner, name] for name in layer.weights},
        trace.operations[main] if main is not None else None,
        [trace.constants[n] for n in numbers],
        position in alignment.folded or position in alignment.folded.values(),
        trace.operations[last] if last is not None else None,
        [trace.operations[step] for step in sorted(steps)],
        functions,
        not wrong
        and any(np.any(reference.values[v]) for v in layer.inputs)  # what meets only zeros proves no kernel
        and lets_changes_through(activation_name(layer.config.get("activation")), output),
        _taken_as_they_are(trace, numbers),
    )


def _taken_as_they_are(candidate: CandidateTrace, numbers: Iterable[int]) -> frozenset[str]:
    """Parameters whose elements the constants hold unchanged, in whatever order."""
    found = set()
    for constant in (candidate.constants[n] for n in numbers):
        for origin in constant.origins[:1] if len(constant.origins) == 1 else ():
            own = candidate.parameters.get(origin)
            if own is not None and by_content.fingerprint(own) == by_content.fingerprint(constant.array):
                found.add(origin)
    return frozenset(found)
