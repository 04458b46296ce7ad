"""The check of the number of weights, and what explains a difference."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.checks.usage import is_second_bias, layers_of, parameters_of, unused
from pytest_kerasdiff.text import shortened


def check(whole: Whole) -> Outcome:
    """Fail where a layer that is wrong has more or fewer weights in the port than in Keras.

    Where the layer's activations are right, a difference is another way of holding the same: a folded normalisation,
    the second bias of an LSTM. It is said, and passes. Counts are elements, running statistics included.
    """
    keras = dict.fromkeys(dict.fromkeys(layer.weight_owner for layer in whole.reference.layers), 0)
    for (owner, _), array in whole.reference.weights.items():
        keras[owner] = keras.get(owner, 0) + array.size
    counted = {n: a for n, a in whole.candidate.parameters.items() if not n.endswith("num_batches_tracked")}
    total = f"Keras {sum(keras.values()):,} weights, port {sum(a.size for a in counted.values()):,}"
    missing, known = list(_differences(whole, keras)), []
    wrong = [words for words, passes in missing if not passes]
    if wrong:
        return Outcome("counts", f"{total}; {'; '.join(wrong[:5])}")
    known += [words for words, _ in missing]
    if left := unused(whole.candidate):
        known.append(f"not used in inference: {sum(counted[n].size for n in left):,} in {shortened(left)}")
    return Outcome("", "; ".join([total, *known[:5]]) + (" …" if len(known) > 5 else ""))


def _differences(whole: Whole, keras: dict[str, int]) -> Iterator[tuple[str, bool]]:
    """(what differs, whether the layer's activations are right all the same) for layers of which one side has more."""
    users, seen = layers_of(whole), set()
    for position, (layer, verdict) in enumerate(zip(whole.reference.layers, whole.verdicts, strict=True)):
        owner, names = layer.weight_owner, parameters_of(whole, position)
        if owner in seen or not layer.weights or any(users[n] - {owner} for n in names):
            continue
        seen.add(owner)
        parameters = {n: whole.candidate.parameters[n] for n in names}
        ours = sum(math.prod(a.shape) for n, a in parameters.items())
        seconds = sum(a.size for n, a in parameters.items() if is_second_bias(n, a))
        ours -= seconds if ours - seconds == keras[owner] else 0
        if ours == keras[owner]:
            continue
        passes = not verdict.is_wrong
        how = f" ({verdict.reason})" if verdict.status == "declared" else ""
        yield (
            f"{layer.name}: {keras[owner]:,} in Keras, {ours:,} in {shortened(sorted(names)) or 'no parameter'}{how}",
            passes,
        )
