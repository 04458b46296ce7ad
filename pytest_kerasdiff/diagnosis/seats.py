"""Where each weight of a layer belongs in the torch program, and in which form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pytest_kerasdiff.align.kinds import PROJECTED, inside
from pytest_kerasdiff.align.weights import fingerprint
from pytest_kerasdiff.change import Change, Edit, Here, Step
from pytest_kerasdiff.checks import concerned, forms, projections, slots, weights
from pytest_kerasdiff.checks.held import Held, held
from pytest_kerasdiff.diagnosis import gate_seats
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.diagnosis.placed import Seat, placed
from pytest_kerasdiff.trace import Array, Operation

_PACKED = ("query", "key", "value")
_ARGUMENT = {name: argument for argument, names in slots.SLOTS.items() for name in names}
"""Name of a normalisation's weight → argument of torch's as which it is taken."""
_MOST = 6
"""Constants that are tried for one weight."""


def seats(case: Case, names: Sequence[str]) -> dict[str, list[Seat]]:
    """For each of these weights where it may belong, the likeliest first.

    Args:
        case: The layer.
        names: Weights of which the port does not hold what Keras has.
    """
    class_name, _ = inside(case.layer.class_name, case.layer.config)
    constants = held(case.subject)
    if class_name in concerned.RECURRENT and (found := gate_seats.seats(case, names)):
        return found
    sound = {n: fingerprint(a) for n, a in case.subject.weights.items() if n not in names}
    free = [c for c in constants if (mark := fingerprint(c.array)) is None or mark not in sound.values()]
    result = {}
    for name in names:
        weight = case.subject.weights.get(name)
        if weight is None:
            result[name] = list(_neutral(case, name, constants))
        elif class_name in PROJECTED:
            result[name] = list(_projected(case, name, free, constants))
        else:
            result[name] = list(_of_one(case, name, weight, free, class_name))
    return result


def _of_one(case: Case, name: str, weight: Array, free: Sequence[Held], class_name: str) -> Iterator[Seat]:
    """Constants of the right size in the order of what they are taken as; where there is none, the empty argument."""
    short = name.rpartition("/")[2]
    kernel = forms.kernel_of(name, weight, class_name)
    code = kernel.remedy(short, weight).removeprefix("use ") if kernel is not None else short
    argument = _ARGUMENT.get(short) if "Normalization" in class_name else "bias" if short == "bias" else None
    marks = fingerprint(weight)

    def rank(holder: Held) -> tuple[bool, bool]:
        wrong = holder.argument != argument if argument is not None else holder.argument == "bias"
        return wrong, fingerprint(holder.array) != marks

    number = 0
    for holder in sorted((c for c in free if c.array.size == weight.size), key=rank):
        for form in _shaped(name, weight, holder, case, class_name):
            number += 1
            if number <= _MOST:
                yield placed(case, name, holder, form, code)
    if number == 0 and kernel is not None:
        for holder in free:  # another window, or one axis fewer
            torch = kernel.as_torch(weight)
            if holder.argument == "weight" and holder.array.ndim == torch.ndim:
                yield placed(case, name, holder, torch, code)
    if number == 0:
        yield from _left_out(case, name, weight, argument)


def _shaped(name: str, weight: Array, holder: Held, case: Case, class_name: str) -> Iterator[Array]:
    """The forms of a weight in the shape of a constant; a kernel of another shape as the operation takes it."""
    port, kernel = holder.array, forms.kernel_of(name, weight, class_name)
    found = False
    for form, _ in weights.forms_of(name, weight, case.subject, holder, class_name):
        if form.size == port.size and form.squeeze().shape == port.squeeze().shape:
            found = True
            yield form.reshape(port.shape).astype(np.float32)
    if not found and kernel is not None and holder.argument == "weight":
        form = kernel.as_torch(weight)
        if form.ndim > port.ndim or form.shape[2:] == (1,) * (form.ndim - 2):
            form = form.reshape(*form.shape[:2], *[n for n in form.shape[2:] if n > 1])
        yield form.reshape(*form.shape, *[1] * max(0, port.ndim - form.ndim)).astype(np.float32)
    elif not found and kernel is None and port.size == weight.size:
        yield weight.reshape(port.shape).astype(np.float32)


def _left_out(case: Case, name: str, weight: Array, argument: str | None) -> Iterator[Seat]:
    """The argument that the operation has nothing for."""
    operation = _heavy(case)
    if operation is None or (argument is None and weight.ndim > 1):
        return
    argument = argument or "bias"
    where, flat = operation.name.partition("@")[0], weight.ravel().astype(np.float32)
    patch = f"create {where} with its {argument} and load Keras's {name.rpartition('/')[2]}"
    own = [o for o in case.subject.steps if o.op == operation.op and o.constants == operation.constants]
    edits = {}
    for one in own:
        if argument in one.arguments:
            edits[case.place(one)] = Edit(arguments={argument: flat})
        elif argument == "bias":
            shaped = flat.reshape(-1, *[1] * _axes_behind(case, one))
            added = Step("add.Tensor", {"self": Here(), "other": shaped})
            edits[case.place(one)] = Edit(after=(added,))
    if edits:
        yield Seat(name, Change(edits=edits), patch)


def _axes_behind(case: Case, operation: Operation) -> int:
    shape = case.trace.shapes.get(operation.outputs[0], ())
    return max(0, len(shape) - 2) if "conv" in operation.op else 0


def _heavy(case: Case) -> Operation | None:
    """The operation that holds the layer's kernel, or that stands for it."""
    own = case.subject.operation
    if own is not None and (own.constants or "bias" in own.arguments):
        return own
    return next((o for o in case.subject.steps if o.constants), own)


def _neutral(case: Case, name: str, constants: Sequence[Held]) -> Iterator[Seat]:
    """What stands where Keras has no scale or no offset."""
    number = slots.WITHOUT.get(name)
    for holder in constants:
        if number is not None and holder.argument == _ARGUMENT.get(name):
            code = "ones" if number else "zeros"
            yield placed(case, name, holder, np.full_like(holder.array, number), f"torch.{code}({holder.array.size})")


def _projected(case: Case, name: str, free: Sequence[Held], constants: Sequence[Held]) -> Iterator[Seat]:
    """A kernel of several heads: as one matrix, or as rows of torch's packed one."""
    weight, bias = case.subject.weights[name], name.endswith("bias")
    wanted = weight.ravel() if bias else projections.as_rows(name, weight)
    code = name.rpartition("/")[2] + (".reshape(-1)" if bias else projections.remedy(name).removeprefix("kernel"))
    for holder in constants:
        packed = _packed(name, holder, case.subject.weights)
        if packed is not None:
            place = _PACKED.index(name.partition("/")[0]) * len(wanted)
            rows = f"rows {place} to {place + len(wanted) - 1} of "
            yield placed(case, name, holder, packed, code, rows)
    role, number = name.partition("/")[0], 0
    for holder in sorted(free, key=lambda c: _unlike(c, role, bias)):
        for form in (weight, wanted.T) if holder.takes_rows is False else (wanted, weight, wanted.T):
            if holder.array.shape == form.shape and number < _MOST:
                number += 1
                yield placed(case, name, holder, form, code)
    if number == 0 and bias:
        yield from _bias_of_projection(case, name, wanted, role)


def _unlike(holder: Held, role: str, bias: bool) -> tuple[bool, bool]:
    last = holder.where.rpartition(".")[0].rpartition(".")[2] or holder.where
    named = last[:1].lower() == role[:1] or role in holder.where or (role == "attention_output" and "o" in last[:1])
    return (holder.argument == "bias") != bias, not named


def _bias_of_projection(case: Case, name: str, flat: Array, role: str) -> Iterator[Seat]:
    """The operation with this projection's kernel lacks it."""
    kernel = case.subject.weights.get(f"{role}/kernel")
    for holder in held(case.subject):
        same = kernel is not None and fingerprint(holder.array) == fingerprint(kernel)
        if same and holder.operation is not None and holder.operation.arguments.get("bias", 0) is None:
            edit = Edit(arguments={"bias": np.asarray(flat, np.float32)})
            patch = f"create {holder.operation.name} with its bias and load Keras's {name}"
            yield Seat(name, Change(edits={case.place(holder.operation): edit}), patch)


def _packed(name: str, holder: Held, own: Mapping[str, Array]) -> Array | None:
    """All three projections as torch's packed one, where a constant has that size."""
    role, _, short = name.partition("/")
    parts = [own.get(f"{r}/{short}") for r in _PACKED]
    if role not in _PACKED or any(p is None for p in parts):
        return None
    if short == "bias":
        made = [np.ravel(p) for p in parts if p is not None]
    else:
        made = [projections.as_rows(name, p) for p in parts if p is not None]
    if any(m.shape[1:] != made[0].shape[1:] for m in made):
        return None
    packed = np.concatenate(made)
    if holder.array.shape == packed.shape:
        return packed
    return packed.T if holder.array.shape == packed.T.shape else None
