"""The check that every weight of the file has reached the port, and nothing else is in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.checks.usage import is_second_bias, layers_of, parameters_of, unused
from pytest_kerasdiff.text import shortened
from pytest_kerasdiff.trace import Array

_ENOUGH = 16
"""Elements from which the spread of an array tells a distribution."""


def check(whole: Whole) -> Outcome:
    """Fail where a parameter is unused, left at its initial values or shared by mistake, or a Keras weight is nowhere.

    What a layer holds in another form (folded, packed) is proved by its activations. So only in layers at fault is a
    parameter that holds no weight of the file called unmatched.
    """
    index = by_content.known(whole.reference) if any(True for _ in _wrong(whole)) else {}
    found = [*_shared(whole), *_unmatched(whole, index), *_missing(whole, index)]
    spare = {*whole.facts.buffers, *whole.stated.declared}
    idle = [name for name in unused(whole.candidate) if name not in spare]
    if idle:
        found.append((
            "weights-not-loaded",
            f"no operation used {shortened(idle)}: use it, remove it, or declare it in the manifest: [declared] "
            f'"{idle[0]}" = "why"',
        ))  # fmt: skip
    if found:
        return Outcome(found[0][0], "; ".join(words for _, words in found[:4]))
    number = len(whole.reference.weights)
    return Outcome("", f"all {number} weights of the file are in the port, and all its parameters are used")


def _wrong(whole: Whole) -> Iterator[int]:
    for position, verdict in enumerate(whole.verdicts):
        if verdict.status == "unpaired" or verdict.is_wrong:
            yield position


def _unmatched(whole: Whole, index: Mapping[int, set[by_content.Key]]) -> Iterator[tuple[str, str]]:
    """Parameters of wrong layers that hold nothing of the file."""
    wrong = {whole.reference.layers[p].weight_owner for p in _wrong(whole) if whole.reference.layers[p].weights}
    if not wrong:
        return
    users = layers_of(whole)
    weights = whole.reference.weights.values()
    known = {mark for array in weights for mark in by_content.fingerprints_of_pieces(array)} - {None}
    known |= index.keys()
    for name, array in whole.candidate.parameters.items():
        if not users[name] or not users[name] <= wrong or array.dtype.kind != "f" or array.size < 2:
            continue
        mark = by_content.fingerprint(array)
        if mark is None and (is_second_bias(name, array) or not _constant_is_strange(whole, users[name], array)):
            continue
        if mark is not None and any(m in known for m in by_content.fingerprints_of_pieces(array)):
            continue
        looks = initialiser(array, name)
        if looks:
            yield (
                "weights-not-loaded",
                f"{name} holds no weight of the file and looks like torch's initial values ({looks})",
            )
        elif not any(_mostly(array, weight) for weight in whole.reference.weights.values()):
            yield (
                "weights-not-loaded",
                f"{name}, used for {shortened(sorted(users[name]))}, holds no weight of the file",
            )


def _mostly(array: Array, weight: Array) -> bool:
    """Whether most elements are those of a weight, in any order: changed, not missing."""
    if array.size != weight.size:
        return False
    return float(np.mean(np.isin(array.astype(np.float32), weight))) > 0.5


def _constant_is_strange(whole: Whole, owners: set[str], array: Array) -> bool:
    """Whether an array of one repeated value (ones, zeros) is none of the weights of the layers that use it."""
    value = float(array.reshape(-1)[0])
    own = [a for (owner, _), a in whole.reference.weights.items() if owner in owners and a.size == array.size]
    return bool(own) and not any(np.all(a == np.float32(value)) for a in own)


def initialiser(array: Array, name: str = "") -> str:
    """Which of torch's initialisers an array looks like, in words; empty where it looks like none.

    Source: torch.nn.Linear and the convolutions draw weight and bias from a uniform distribution up to 1/√fan_in,
    recurrent layers up to 1/√hidden_size; embeddings from a standard normal one; normalisations begin with ones and
    zeros.
    """
    values = array.astype(np.float64)
    if np.all(values == values.reshape(-1)[0]):
        value = float(values.reshape(-1)[0])
        return {0.0: "all 0", 1.0: "all 1"}.get(value, "")
    if values.size < _ENOUGH or not np.isfinite(values).all():
        return ""
    largest, spread = float(np.abs(values).max()), float(values.std())
    slack = 3 / math.sqrt(values.size)
    # A uniform distribution on ±b has the deviation b/√3.
    uniform = abs(spread * math.sqrt(3) / largest - 1) < slack and abs(float(values.mean())) < slack * largest
    if values.ndim > 1 and uniform:
        fan_in = values[0].size
        for bound, words in ((1 / math.sqrt(fan_in), "uniform up to 1/√fan_in"),
                             (1 / math.sqrt(max(1, len(values) // 4)), "uniform up to 1/√hidden_size"),
                             (1 / math.sqrt(max(1, len(values) // 3)), "uniform up to 1/√hidden_size")):  # fmt: skip
            if bound * (1 - 6 / values.size - 0.05) <= largest <= bound * (1 + 1e-6):
                return words
    normal = abs(spread - 1) < slack and abs(float(values.mean())) < slack and largest > 2
    return "standard normal" if normal and values.ndim == 2 else ""


def _shared(whole: Whole) -> Iterator[tuple[str, str]]:
    """Parameters that stand for weights of several layers which differ in Keras, and equal those of one of them."""
    wrong = {whole.reference.layers[p].weight_owner for p in _wrong(whole)}
    for name, owners in layers_of(whole).items():
        mark = by_content.fingerprint(whole.candidate.parameters[name])
        if len(owners) < 2 or mark is None:
            continue
        holds = {
            owner
            for (owner, _), array in whole.reference.weights.items()
            if owner in owners and by_content.fingerprint(array) == mark
        }
        others = sorted((owners - holds) & wrong)
        if holds and others:
            yield (
                "weights-of-other-layer",
                f"{name} holds {shortened(sorted(holds))}'s weights and is used for {shortened(others)} too, which has "
                "others in Keras",
            )


def _missing(whole: Whole, index: Mapping[int, set[by_content.Key]]) -> Iterator[tuple[str, str]]:
    """Weights of wrong layers that no parameter of the port holds, in any order."""
    wrong = list(_wrong(whole))
    if not wrong:
        return
    arrays = [*whole.candidate.parameters.values(), *(c.array for c in whole.candidate.constants.values())]
    marks = {
        mark for array in arrays if array.dtype.kind == "f" for mark in by_content.fingerprints_of_pieces(array)
    } - {None}
    held = {key for mark, keys in index.items() if mark in marks for key in keys}
    for position in wrong:
        layer = whole.reference.layers[position]
        names = [
            name for name, array in whole.reference.weights_of(layer).items()
            if by_content.fingerprint(array) is not None
            and (layer.weight_owner, name) not in held and not _held_mostly(whole, position, name)
        ]  # fmt: skip
        if names:
            yield "weights-not-loaded", f"{shortened(names)} of {layer.name} is in no parameter of the port"


def _held_mostly(whole: Whole, position: int, name: str) -> bool:
    layer = whole.reference.layers[position]
    weight = whole.reference.weights[layer.weight_owner, name]
    return any(_mostly(whole.candidate.parameters[n], weight) for n in parameters_of(whole, position))
