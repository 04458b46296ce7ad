"""The check of epsilons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.checks import epsilons
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Constant, ConstantData, Operation, Value

_FLOAT32_EPS = float(np.finfo(np.float32).eps)
"""What torch's rms_norm adds where no eps is given, in the float32 that the port is deployed in.

Source: torch.nn.RMSNorm.
"""
_UNDER_A_ROOT = frozenset(
    {"BatchNormalization", "SyncBatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"}
)
"""Layers that add their epsilon to a variance or a mean square, and take the root of the sum."""
_ADDS = frozenset({"add", "sub", "rsub", "addcmul", "addcdiv"})
_MEANS = "mean sum nanmean var var_mean std std_mean linalg_vector_norm norm"
_ARITHMETIC = "square pow mul div neg abs sqrt rsqrt reciprocal true_divide multiply divide subtract"
_CLIPPINGS = "clamp clamp_min clamp_max maximum minimum relu"
_MOVES = (
    "view reshape _unsafe_view unsqueeze squeeze permute transpose movedim t expand expand_as flatten contiguous "
    "select slice to _to_copy float double clone alias detach"
)
_PLAIN = _ADDS.union(*(names.split() for names in (_MEANS, _ARITHMETIC, _CLIPPINGS, _MOVES)))
"""Operations that, before a root, hide no epsilon of their own."""
_SUMS = frozenset({"sum", "linalg_vector_norm", "norm", "dot", "matmul", "bmm", "mm", "einsum"})
_ROOTS = frozenset({"sqrt", "rsqrt", "std", "std_mean", "linalg_vector_norm", "norm"})
Number = tuple[float, Operation]


def check(subject: Subject) -> Outcome:
    """Compare a normalisation layer's epsilon with the torch operation's, or with what a formula adds under its root.

    A wrong epsilon can move an output by as little as 5e-7, so activations are no proof.
    """
    class_name, config = inside(subject.layer.class_name, subject.layer.config)
    keras = float(config["epsilon"])
    stated = _stated(subject)
    if stated is not None:
        port, operation = stated
        return _compared(keras, port, f"{operation.place}; {_remedy(operation, keras)}")
    if class_name in _UNDER_A_ROOT and (written := _written(keras, subject)) is not None:
        return written
    if class_name.endswith("BatchNormalization") and (solved := _solved(keras, subject)) is not None:
        return solved
    return Outcome("", f"Keras {keras:g}; the port has no epsilon of its own, its activations are compared")


def _compared(keras: float, port: float, remedy: str) -> Outcome:
    if _equal(port, keras):
        return Outcome("", f"Keras {keras:g}, port {port:g}")
    return Outcome("eps", f"Keras {keras:g}, port {port:.6g}{remedy}")


def _equal(port: float, keras: float) -> bool:
    """Keras may have stored the value after a trip through float32."""
    return abs(port - keras) <= 1e-6 * keras


def _remedy(operation: Operation, keras: float) -> str:
    return f"set {operation.name.partition('@')[0]}.eps = {keras:g}"


def _stated(subject: Subject) -> Number | None:
    """The argument of an operation that normalises."""
    own = [subject.operation] if subject.operation is not None else []
    if not any(map(_normalises, own)):
        own = [step for step in subject.steps if _normalises(step)]
    if len(own) != 1:
        return None
    stated = own[0].arguments.get("eps")
    return (_FLOAT32_EPS if stated is None else float(stated) + _in_variance(subject, own[0])), own[0]


def _in_variance(subject: Subject, operation: Operation) -> float:
    """What the port has added to the running variance before it hands it over, the same in every channel."""
    variance = next((a for n, a in subject.weights.items() if n.endswith("moving_variance")), None)
    taken = operation.arguments.get("running_var")
    if variance is None or not isinstance(taken, Constant) or taken.index not in subject.constants:
        return 0.0
    port = subject.constants[taken.index].array.astype(np.float64).ravel()
    if port.size != variance.size:
        return 0.0
    added, rounding = port - variance.astype(np.float64).ravel(), 2.0**-23 * np.abs(port)
    found = epsilons.Solved(added - rounding, added + rounding, "", "")
    low, high = found.range
    return found.value if 0 < low <= high else 0.0


def _normalises(operation: Operation) -> bool:
    return operation.op.endswith("_norm") and (operation.op == "rms_norm" or "eps" in operation.arguments)


def _written(keras: float, subject: Subject) -> Outcome | None:
    """What a formula adds before its root; None where it takes none, or where what it does is not known."""
    producers = {value: step for step in subject.steps for value in step.outputs}
    roots = [step for step in subject.steps if is_root(step)]
    before = {id(root): list(upstream(root, producers)) for root in roots}
    added = {
        id(root): [n for step in before[id(root)] if (n := added_number(step, subject.constants)) is not None]
        for root in roots
    }
    if any(_equal(number, keras) for numbers in added.values() for number, _ in numbers):
        return Outcome("", f"Keras {keras:g}, port {keras:g}")
    for root in roots:
        near = producers.get(root.inputs[0])
        number = added_number(near, subject.constants) if near is not None else None
        sums = any(step.op in _SUMS for step in before[id(root)])  # then it may be the number of terms times as much
        if number is not None and not sums and root.op in ("sqrt", "rsqrt", "pow", "float_power"):
            return _compared(keras, number[0], f"{number[1].place}; add {keras:g} there")
    bare = [root for root in roots if not added[id(root)] and all(step.op in _PLAIN for step in before[id(root)])]
    if not roots or len(bare) < len(roots) or keras == 0:
        return None
    outside = next((n for root in roots for n in after(root, subject)), None)
    if outside is not None:
        return Outcome(
            "eps",
            f"Keras {keras:g} under the root, port {outside[0]:.6g} added outside the root{outside[1].place}; add "
            f"{keras:g} before the root is taken",
        )
    where = roots[-1].source
    return Outcome("eps", f"Keras {keras:g}, port no epsilon under the root [{where}]; add {keras:g} there")


def is_root(step: Operation) -> bool:
    """Whether a step takes a root, or a deviation, which is one."""
    power = step.op in ("pow", "float_power") and step.arguments.get("exponent") in (0.5, -0.5)
    return bool(step.inputs) and (step.op in _ROOTS or power)


def upstream(root: Operation, producers: Mapping[int, Operation]) -> Iterator[Operation]:
    """The steps of the layer that a root is computed from."""
    pending, seen = list(root.inputs), set()
    while pending:
        step = producers.get(pending.pop())
        if step is not None and id(step) not in seen:
            seen.add(id(step))
            yield step
            pending += step.inputs


def added_number(step: Operation, constants: Mapping[int, ConstantData]) -> Number | None:
    """The one number that a step adds to a value, written out or as a constant that is the same everywhere."""
    if step.op not in _ADDS:
        return None
    arguments = step.arguments
    sign, factor = -1.0 if step.op == "sub" else 1.0, arguments.get("alpha", 1)
    for name in ("other", "self"):
        found = arguments.get(name)
        if isinstance(found, Constant) and found.index in constants:
            array = constants[found.index].array
            found = float(array.flat[0]) if array.size and bool(np.all(array == array.flat[0])) else None
        if isinstance(found, int | float) and not isinstance(found, Value):
            scaled = float(factor) if name == "other" and isinstance(factor, int | float) else 1.0
            return (sign if name == "other" else 1.0) * float(found) * scaled, step
    return None


def after(root: Operation, subject: Subject) -> Iterator[Number]:
    """Numbers that are added to a root, or to a multiple of it."""
    reached = set(root.outputs)
    for step in subject.steps:
        if not reached & set(step.inputs):
            continue
        number = added_number(step, subject.constants)
        if number is not None:
            yield number
        elif step.op in ("mul", "div", "view", "reshape", "unsqueeze", "expand", "to", "_to_copy") and _first(
            step, reached
        ):
            reached |= set(step.outputs)


def _first(step: Operation, reached: set[int]) -> bool:
    """Whether a value is what a step changes, and nothing else is divided by it."""
    own = step.arguments.get("self")
    return len(step.inputs) == 1 and isinstance(own, Value) and own.index in reached


def _solved(keras: float, subject: Subject) -> Outcome | None:
    """The epsilon in constants that were computed from the running variance."""
    found: Sequence[epsilons.Solved] = epsilons.solve(subject)
    added = epsilons.outside(subject) if not found else None
    if added is not None:
        return Outcome(
            "eps",
            f"Keras {keras:g} under the root, port {added.value:.4g} added outside the root: {added.where} is "
            f"{added.form}; compute it with the root of variance + {keras:g}",
        )
    if not found:
        return None
    for one in found:
        if one.holds(keras):
            return Outcome("", f"Keras {keras:g}, and {one.where} is {one.form} with it, to float32's rounding")
    other = next((one for one in found if not one.may_hold(keras)), None)
    if other is None:
        return None
    port = 0.0 if other.may_hold(0.0) else other.value
    return Outcome("eps", f"Keras {keras:g}, port {port:.4g}: {other.where} is {other.form}; compute it with {keras:g}")
