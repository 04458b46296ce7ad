"""Epsilons of normalisations: an argument, a number of a formula, or a part of a constant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pytest_kerasdiff.align import products
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.change import Change, Edit, Here, Step
from pytest_kerasdiff.checks import eps, epsilons, folding
from pytest_kerasdiff.checks.held import Held, held
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.layout import Floats
from pytest_kerasdiff.trace import Constant, Layer, Operation, Value

_NEAR = 0.05
"""Relative difference up to which a constant is taken for a formula with the port's epsilon."""
_FACTORS = 0.5
"""The same of a kernel that is multiplied with the factors of a normalisation, whose epsilon was solved from it."""


def concerns(case: Case) -> bool:
    """Whether the layer's epsilon was found to differ, or is a part of another layer's kernel that is wrong."""
    found = any(check.check == "eps" and check.cause == "eps" for check in case.failed)
    return found or (case.subject.folded and case.verdict.is_wrong)


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's epsilon in the place of the port's."""
    message = next((check.message for check in case.failed if check.check == "eps"), "")
    norm = _norm(case)
    if norm is None:
        return
    keras = float(inside(norm.class_name, norm.config)[1]["epsilon"])
    solved = epsilons.solve(case.subject) if not message else []
    if not message:
        other = next((one for one in solved if not one.may_hold(keras)), None)
        if other is None or any(one.holds(keras) for one in solved):
            return
        message = f"Keras {keras:g}, port {other.value:.4g}: {other.where} is {other.form}; compute it with {keras:g}"
    operations = [step for step in case.subject.steps if "eps" in step.arguments]
    ways = [*_arguments(case, keras, operations), *_written(case, keras), *_constants(case, norm, keras)]
    patch = f"{operations[0].name.partition('@')[0]}.eps = {keras:g}" if operations else message.rpartition("; ")[2]
    yield Suspicion("eps", message.partition("; ")[0], patch, ways, sure=True)


def _norm(case: Case) -> Layer | None:
    """The layer that has the epsilon: the one at hand, or the one whose weights are multiplied with its own."""
    parts = folding.parts_of(case.subject)
    norms: Sequence[Layer] = [parts[3]] if parts is not None else case.subject.fold
    for layer in (case.layer, *norms):
        if "epsilon" in inside(layer.class_name, layer.config)[1]:
            return layer
    return None


def _arguments(case: Case, keras: float, operations: list[Operation]) -> Iterator[Way]:
    variance = next((a for n, a in case.subject.weights.items() if n.endswith("moving_variance")), None)
    for operation in operations:
        edit = {case.place(operation): Edit(arguments={"eps": keras})}
        yield Way(Change(edits=edit))
        taken = operation.arguments.get("running_var")
        if variance is None or not isinstance(taken, Constant):
            continue
        held_ = np.asarray(case.trace.constants[taken.index].array, np.float64)
        if (
            held_.size == variance.size
            and float(np.ptp(held_.ravel() - variance.astype(np.float64).ravel())) < keras / 2
        ):
            # The port has added an epsilon to the variance itself.
            yield Way(Change({taken.index: variance.reshape(held_.shape)}, edit))


def _written(case: Case, keras: float) -> Iterator[Way]:
    """A number that a formula adds before its root, or the lack of one."""
    producers = {value: step for step in case.subject.steps for value in step.outputs}
    roots = [step for step in case.subject.steps if eps.is_root(step)]
    for root in roots:
        before = [producers[root.inputs[0]]] if root.inputs[0] in producers else []
        for operation in {id(s): s for s in (*before, *eps.upstream(root, producers))}.values():
            if (change := _number(case, operation, keras)) is not None:
                yield Way(change)
    for root in roots:
        outside = [step for _, step in eps.after(root, case.subject)]
        edits = {case.place(root): Edit(before={_root_of(root): _added(keras)})}
        for step in outside[:1]:
            lost = _number(case, step, 0.0)
            if lost is not None and not lost.constants.keys():
                yield Way(Change(lost.constants, {**edits, **lost.edits}))
        yield Way(Change(edits=edits))


def _root_of(root: Operation) -> str:
    return next((name for name, value in root.arguments.items() if isinstance(value, Value)), "self")


def _added(number: float) -> tuple[Step]:
    return (Step("add", {"self": Here(), "other": number}),)


def _number(case: Case, step: Operation, keras: float) -> Change | None:
    """A step with another number than the one that it adds."""
    if eps.added_number(step, case.subject.constants) is None:
        return None
    alpha = step.arguments.get("alpha", 1)
    for name in ("other", "self"):
        held_ = step.arguments.get(name)
        sign = -1.0 if step.op == "sub" and name == "other" else 1.0
        right = sign * keras / (float(alpha) if name == "other" and isinstance(alpha, int | float) else 1.0)
        if isinstance(held_, Constant) and held_.index in case.subject.constants:
            array = case.subject.constants[held_.index].array
            return Change({held_.index: np.full_like(array, right)})
        if isinstance(held_, int | float):
            return Change(edits={case.place(step): Edit(arguments={name: right})})
    return None


def _constants(case: Case, norm: Layer, keras: float) -> Iterator[Way]:
    """Constants that were computed with another epsilon, computed with Keras's: all of them together."""
    solved = epsilons.solve(case.subject)
    outside = epsilons.outside(case.subject) if not solved else None
    port = solved[0].value if solved else None
    weights = {n.rpartition("/")[2]: case.subject.others[norm.weight_owner, n] for n in norm.weights}
    variance = weights.get("moving_variance")
    if variance is None or (port is None and outside is None):
        return
    wrong = _formulas(
        case.subject, weights, norm, outside.value if outside is not None else port or 0.0, outside is not None
    )
    right = _formulas(case.subject, weights, norm, keras, False)
    changed: dict[int, Floats] = {}
    for holder in held(case.subject):
        named = _which(holder, wrong)
        if named is not None:
            changed[holder.number] = right[named].reshape(holder.array.shape)
        elif (kernel := _kernel(case.subject, holder)) is not None:
            changed[holder.number] = kernel
    if changed:
        yield Way(Change(changed))


def _which(holder: Held, formulas: Mapping[str, Floats]) -> str | None:
    """The formula that a constant is nearest to."""
    own, best, name = holder.array.astype(np.float64).ravel(), _NEAR, None
    for called, array in formulas.items():
        if array.size == own.size:
            distance = float(np.abs(own - array).max() / max(float(np.abs(array).max()), 1e-30))
            if distance < best:
                best, name = distance, called
    return name


def _formulas(
    subject: Subject, weights: Mapping[str, np.ndarray], norm: Layer, epsilon: float, outside: bool
) -> dict[str, Floats]:
    """What a batch normalisation may be computed beforehand as."""
    variance = weights["moving_variance"].astype(np.float64).ravel()
    one = np.ones_like(variance)
    gamma, beta, mean = (
        np.asarray(weights.get(name, other), np.float64).ravel()
        for name, other in (("gamma", one), ("beta", 0 * one), ("moving_mean", 0 * one))
    )
    root = np.sqrt(variance) + epsilon if outside else np.sqrt(variance + epsilon)
    scale = gamma / root
    found = {
        **{"scale": scale, "1 / root": 1 / root, "root": root, "variance": root**2},
        **{"shift": beta - mean * scale, "mean": -mean * scale, "mean / root": mean / root},
    }
    product = products.of(subject.others, subject.fold)
    own = product.weights if product is not None else {}
    bias = next((array for name, array in own.items() if name.rpartition("/")[2] == "bias"), None)
    if bias is not None and bias.size == scale.size:
        found["bias"] = (bias.astype(np.float64) - mean) * scale + beta
    parts = folding.parts_of(subject)
    if parts is not None and parts[0].shape[parts[4]] == scale.size:
        # In front of the layer: what the normalisation adds goes through the kernel.
        kernel, axis = parts[0], parts[4]
        shaped = found["shift"].reshape([-1 if d == axis else 1 for d in range(kernel.ndim)])
        summed = (
            (kernel * shaped).sum(tuple(d for d in range(kernel.ndim) if d != 1 - axis)) if axis in (0, 1) else None
        )
        if summed is not None:
            found["bias of the next"] = summed + (
                bias.astype(np.float64) if bias is not None and bias.size == summed.size else 0
            )
    return found


def _kernel(subject: Subject, holder: Held) -> Floats | None:
    """A folded kernel with Keras's factors, in the shape in which the port holds it."""
    made = folding.product(subject)
    for form in made or ():
        if holder.array.size == form.size and holder.array.squeeze().shape == form.squeeze().shape:
            near: Floats = form.reshape(holder.array.shape)
            if np.abs(near - holder.array.astype(np.float64)).max() <= _FACTORS * np.abs(near).max():
                return near
    return None
