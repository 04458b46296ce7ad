"""Normalisations that torch does in one operation, whose arguments say which weight is which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.align.weights import fingerprint
from pytest_kerasdiff.checks import epsilons, strangers
from pytest_kerasdiff.checks.held import Found, Held
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.transformations import constant_of, rounded, same
from pytest_kerasdiff.trace import Array

SLOTS = {
    "weight": ("gamma", "scale"),
    "bias": ("beta",),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}
"""Argument of torch's normalisations → names of the Keras weight that belongs there.

Source: torch.nn.functional.batch_norm and layer_norm; keras/src/layers/normalization/batch_normalization.py.
"""
WITHOUT = {"gamma": 1.0, "scale": 1.0, "beta": 0.0}
"""What stands where a layer has no such weight."""
_ROUGHLY = 1e-5


def compare(subject: Subject, constants: Sequence[Held]) -> Iterator[Found] | None:
    """Compare slot by slot; None where no such operation holds the layer's weights."""
    class_name, _ = inside(subject.layer.class_name, subject.layer.config)
    operation = subject.operation
    if "Normalization" not in class_name or operation is None or not operation.op.endswith("_norm"):
        return None
    filled = {c.argument: c for c in constants if c.operation is operation and c.argument in SLOTS}
    if not filled and subject.weights:
        return None
    own = {name.rpartition("/")[2]: array for name, array in subject.weights.items()}
    return _slots(subject, own, filled)


def by_hand(found: Iterable[Found], subject: Subject) -> Iterator[Found]:
    """What is known of a normalisation that is written out: a constant may be computed from several of its weights."""
    # A scale that was computed from them is Keras's, but for the epsilon, of which another check speaks.
    computed = bool(epsilons.solve(subject)) or epsilons.outside(subject) is not None
    sure = ("weights-of-other-layer", "weights-swapped", *(() if computed else ("weights-not-loaded",)))
    for one in found:
        nowhere = "no constant" in one.words and not computed
        said = not one.cause or one.cause in sure or one.fails == "always" or nowhere
        yield one if said else Found("", f"{one.words.partition(':')[0]} held in another form", name=one.name)


def _slots(subject: Subject, own: Mapping[str, Array], filled: Mapping[str, Held]) -> Iterator[Found]:
    trains = bool(subject.operation is not None and subject.operation.arguments.get("training"))
    for argument, names in SLOTS.items():
        if trains and argument.startswith("running"):
            yield Found("", f"{argument} plays no part in training mode")
            continue
        name = next((n for n in names if n in own), None)
        holder = filled.get(argument)
        if name is not None and holder is None:
            yield _left_out(name, own[name])._replace(name=name)
        elif name is None and holder is not None:
            yield _too_many(names[0], holder, own)._replace(name=names[0])
        elif name is not None and holder is not None:
            yield _slot(name, holder, own, subject)._replace(name=name)


def _left_out(name: str, weight: Array) -> Found:
    neutral = WITHOUT.get(name)
    if neutral is not None and constant_of(weight) == neutral:
        return Found("", f"{name} is {neutral:g} everywhere, and left out")
    cause = "bn-scale-center" if name in WITHOUT else "bn-stats-not-loaded"
    return Found(cause, f"{name}: the port's normalisation has none; give it Keras's {name}")


def _too_many(name: str, holder: Held, own: Mapping[str, Array]) -> Found:
    """Keras has scale=False or center=False, and the port holds something there."""
    neutral = WITHOUT.get(name)
    if neutral is None or constant_of(holder.array) == neutral:
        return Found("", f"no {name} in Keras, {holder.where} is neutral")
    stranger = next((other for other, array in own.items() if same(array, holder.array)), None)
    holds = f"holds Keras's {stranger}" if stranger is not None else "holds other values"
    return Found("bn-scale-center", f"{name}: Keras has none, and {holder.where} {holds}; fill it with {neutral:g}")


def _slot(name: str, holder: Held, own: Mapping[str, Array], subject: Subject) -> Found:
    weight, port = own[name], holder.array
    last_first = np.moveaxis(weight, -1, 0) if weight.ndim > 1 else weight
    if any(port.shape == form.shape and same(port, form) for form in (weight, last_first)) or (
        port.size == weight.size and weight.ndim < 2 and same(port, weight)
    ):
        return Found("", f"{name} equal")
    if weight.ndim > 1 and same(port, weight):
        words = f"{name}: {holder.where} is Keras's reshaped instead of transposed; use numpy.moveaxis({name}, -1, 0)"
        return Found("weights-differ", words)
    if port.size == weight.size and (kind := rounded(weight.ravel(), port.ravel())):
        return Found(
            "weights-rounded",
            f"{name}: {holder.where} is Keras's after rounding to {kind}; load the file's float32 weights",
            "always",
        )
    for other, array in own.items():
        if other != name and same(array, port):
            return Found("bn-slots-exchanged", f"{name}: {holder.where} holds Keras's {other}; load {name} there")
    changed = _made_of(name, holder, own)
    if changed is not None:
        return changed
    return _other(name, holder, weight, subject)


def _made_of(name: str, holder: Held, own: Mapping[str, Array]) -> Found | None:
    """A value computed from one of the layer's weights: a deviation for a variance."""
    for other, array in own.items():
        values, port = array.astype(np.float64).ravel(), holder.array.astype(np.float64).ravel()
        if values.size != port.size:
            continue
        with np.errstate(all="ignore"):
            made = {"the square root": np.sqrt(values), "the square": values**2, "the absolute value": np.abs(values)}
            made["one over"] = 1 / values
            made["one over the square root"] = 1 / np.sqrt(values)
        for words, wanted in made.items():
            if np.all(np.isfinite(wanted)) and np.allclose(port, wanted, _ROUGHLY, 0) and constant_of(array) is None:
                said = f"{words} of Keras's {other}"
                if (name, other, words) == ("moving_variance", "moving_variance", "the square root"):
                    said += " (the standard deviation)"
                return Found("bn-slots-exchanged", f"{name}: {holder.where} holds {said}; load {name} as it is")
    return None


def _other(name: str, holder: Held, weight: Array, subject: Subject) -> Found:
    value = constant_of(holder.array)
    if holder.array.size != weight.size:
        found = f"{holder.array.size} elements, Keras {weight.size}"
        return Found("weights-differ", f"{name}: {holder.where} has {found}")
    if name.startswith("moving") and value == (0.0 if name == "moving_mean" else 1.0):
        words = f"{name}: {holder.where} is {value:g} everywhere, as before loading; load the file's statistics"
        return Found("bn-stats-not-loaded", words)
    theirs = strangers.of_another_layer(name, weight, subject, holder)
    if theirs is not None:
        return theirs
    port = holder.array.reshape(weight.shape) if holder.array.size == weight.size else holder.array
    equal = float(np.mean(port == weight))
    if equal >= 0.5 and value is None and constant_of(weight) is None:
        words = f"{name}: {strangers.how_much(weight, holder)}; load the file's weights"
        return Found("weights-differ", words, "always")
    if weight.ndim > 1 and fingerprint(port) == fingerprint(weight):
        return Found("weights-differ", f"{name}: {holder.where} holds the same values in another order of axes")
    cause, words = strangers.strange(weight, holder)
    return Found(cause, f"{name}: {words}; load the file's weights")
