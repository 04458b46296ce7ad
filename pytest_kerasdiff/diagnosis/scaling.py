"""Scales and offsets of inputs: layers that rescale, and what a port does to its input before the first layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_kerasdiff.change import Change, Edit, Step, removed
from pytest_kerasdiff.diagnosis import pieces
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way, arguments_with
from pytest_kerasdiff.diagnosis.layout import dims
from pytest_kerasdiff.trace import Operation, Value

_RESCALES = frozenset({"Rescaling", "Normalization"})
_EXCHANGES = frozenset({"permute", "transpose", "mT", "t", "movedim", "swapaxes", "swapdims", "adjoint", "numpy_T"})
_REORDERS = frozenset({"flip", "index_select", "index", "roll", "stack", "cat"})
_ARITHMETIC = frozenset({"affine", "norm"})


def concerns(case: Case) -> bool:
    """Whether the layer rescales, or takes an input of the model."""
    if case.verdict.status != "fault" or not case.layer.inputs:
        return False
    return case.layer.class_name in _RESCALES or any(v in case.reference.inputs for v in _taken(case))


def _taken(case: Case) -> list[int]:
    """What the layer takes, and what a padding takes that its operation does too."""
    return [*case.layer.inputs, *(v for la in case.subject.absorbed for v in la.inputs)]


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's scale and offset in the place of the port's; what is done to an input left out."""
    if case.layer.class_name in _RESCALES and case.layer.outputs[0] in case.alignment.pairs:
        if any(v in case.reference.inputs for v in _taken(case)):
            yield from (one for one in _prepared(case) if one.id != "input-scale")
        yield from _rescaled(case)
    else:
        yield from _prepared(case)


def _rescaled(case: Case) -> Iterator[Suspicion]:
    source, value = case.alignment.torch_value(case.layer.inputs[0]), case.value
    if source is None or value is None or source == value or not case.alignment.torch.is_ancestor(source, value):
        return
    piece = pieces.whole_layer(case, case.position, source)
    if piece is None:
        return
    own = [case.alignment.torch.nodes[step].kind for step in case.steps]
    if not set(own) <= {"affine", "move", "identity", "act"}:
        return  # something else than a scale and an offset is wrong here too
    place = case.alignment.torch.producer[value]
    change = Change(edits={place: Edit(instead=Step("alias", {"self": Value(source)}), after=piece.chain)})
    said = ", ".join(
        _said(case.trace.operations[step]) for step in case.steps if case.alignment.torch.nodes[step].kind == "affine"
    )
    where = case.trace.operations[place].source
    yield Suspicion(
        "rescaling",
        f"Keras {piece.name}, port {said or 'another one'} [{where}]",
        f"{piece.code} [{where}]",
        [Way(change)],
    )


def _said(operation: Operation) -> str:
    """An operation of arithmetic with the number that it states."""
    number = next(
        (v for v in operation.arguments.values() if isinstance(v, int | float) and not isinstance(v, bool)), None
    )
    return operation.op + ("" if number is None else f" {number:.6g}")


def _prepared(case: Case) -> Iterator[Suspicion]:
    """What is done to an input of the model before the first layer takes it."""
    for keras_value in _taken(case):
        torch_value = case.alignment.torch_value(keras_value)
        if torch_value is None or keras_value not in case.reference.inputs:
            continue
        before = _before(case, torch_value)
        scaled = [step for step in before if case.alignment.torch.nodes[step].kind in _ARITHMETIC]
        if scaled:
            words = " then ".join(_said(case.trace.operations[step]) for step in scaled)
            first = case.trace.operations[scaled[0]]
            yield Suspicion(
                "input-scale",
                f"Keras takes the input as it is, the port scales it: {words}{first.place}",
                f"leave out {words}{first.place}, or take it out of the port's preprocessing",
                [Way(Change(edits=_without(case, scaled))), *(Way(Change(edits=_without(case, [s]))) for s in scaled)],
            )
        yield from _channels(case, keras_value, torch_value, before)


def layouts(case: Case) -> Iterator[Suspicion]:
    """Axes of an input of the model that are exchanged, or reshaped where they have to be moved."""
    for keras_value in _taken(case):
        torch_value = case.alignment.torch_value(keras_value)
        if torch_value is not None and keras_value in case.reference.inputs:
            yield from _layout(case, torch_value, _before(case, torch_value))


def _before(case: Case, torch_value: int) -> list[int]:
    """Operations, each of one value, that an input goes through before the layer's first other operation."""
    found: list[int] = []
    values = {torch_value}
    for step in case.steps:
        operation, node = case.trace.operations[step], case.alignment.torch.nodes[step]
        known = node.kind in ("affine", "move", "identity", "norm") or operation.op in _REORDERS
        single = set(operation.inputs) <= values and known
        if single and step != case.alignment.main.get(case.position):
            found.append(step)
            values |= set(operation.outputs)
    return found


def _without(case: Case, steps: Sequence[int]) -> dict[int, Edit]:
    edits = {}
    for step in steps:
        operation = case.trace.operations[step]
        edits[step] = removed(next(iter(arguments_with(operation, operation.inputs[0]))))
    return edits


def _channels(case: Case, keras_value: int, torch_value: int, before: Sequence[int]) -> Iterator[Suspicion]:
    """Channels in reverse order: BGR for RGB."""
    rank = len(case.reference.shapes[keras_value])
    if rank < 3:
        return
    reverses = [s for s in before if case.trace.operations[s].op in _REORDERS]
    where = dims(case, [rank - 1], keras_value, torch_value)
    for step in reverses:
        operation = case.trace.operations[step]
        if not operation.inputs or case.trace.shapes[operation.inputs[0]] != case.trace.shapes[operation.outputs[0]]:
            continue
        cause, what = "input-channels", "the channels as they are, the port reorders them"
        if operation.op == "flip" and where and not {d % rank for d in operation.arguments.get("dims", ())} & {*where}:
            cause, what = "extra-layer", "its input as it is, the port turns another axis than the channels"
        yield Suspicion(
            cause,
            f"Keras takes {what}: {operation.op}{operation.place}",
            f"leave out {operation.name}{operation.place}",
            [Way(Change(edits=_without(case, [step])))],
        )
    if not reverses and where and case.reference.shapes[keras_value][-1] in (3, 4):
        chain = (Step("flip", {"self": Value(torch_value), "dims": where}),)
        edits = _taken_as(case, torch_value, chain)
        words = "the port's first layer takes the channels in reverse order (BGR for RGB)"
        yield Suspicion("input-channels", words, f"x.flip({where[0]}) first", [Way(Change(edits=edits))], stated=False)


def _taken_as(case: Case, torch_value: int, chain: tuple[Step, ...]) -> dict[int, Edit]:
    own = set(case.steps)
    edits: dict[int, Edit] = {}
    for step, name in case.takers(torch_value):
        if step in own:
            edits[step] = Edit({**(edits[step].before if step in edits else {}), name: chain})
    return edits


def exchanges(case: Case) -> Iterator[Suspicion]:
    """Axes of what a convolution or a pooling takes that the port exchanges before it."""
    if not any(word in case.layer.class_name for word in ("Conv", "Pooling")) or "LSTM" in case.layer.class_name:
        return
    for step in case.steps:
        operation = case.trace.operations[step]
        given = case.trace.shapes[operation.outputs[0]]
        if operation.op in _EXCHANGES and len(given) == 4 and _of_an_image(operation, given):
            yield Suspicion(
                "permute",
                f"the port exchanges axes that Keras leaves: {operation.op}{operation.place}",
                f"leave out {operation.name}{operation.place}",
                [Way(Change(edits=_without(case, [step])))],
            )


def _layout(case: Case, torch_value: int, before: Sequence[int]) -> Iterator[Suspicion]:
    """Rows and columns exchanged, or an input that was reshaped where its axes should have been moved."""
    shape = case.trace.shapes[torch_value]
    for step in before:
        operation = case.trace.operations[step]
        given = case.trace.shapes[operation.outputs[0]]
        if operation.op in ("view", "reshape", "_unsafe_view", "as_strided") and len(given) == len(shape):
            taken = case.trace.shapes[operation.inputs[0]]
            orders = [order for order in _orders(len(shape)) if tuple(taken[i] for i in order) == given]
            ways = []
            for order in orders:
                moved = Step("permute", {"self": Value(operation.inputs[0]), "dims": list(order)})
                ways.append(Way(Change(edits={step: Edit(instead=moved)})))
            if ways:
                yield Suspicion(
                    "input-layout",
                    f"the port reshapes its input to {given}{operation.place}, where its axes have to be moved",
                    f"x.permute{orders[0]}{operation.place}",
                    ways,
                )
        elif operation.op in _EXCHANGES and (
            given == case.trace.shapes[operation.inputs[0]] or _of_an_image(operation, given)
        ):
            yield Suspicion(
                "input-layout",
                f"the port exchanges axes of its input that Keras leaves: {operation.op}{operation.place}",
                f"leave out {operation.name}{operation.place}",
                [Way(Change(edits=_without(case, [step])))],
            )
        elif operation.op == "permute" and len(shape) == 4:
            moved_as = [int(d) for d in operation.arguments.get("dims", ())]
            right = [0, 3, 1, 2]
            if sorted(moved_as) == [0, 1, 2, 3] and moved_as != right and moved_as[1] == 3:
                words = f"the port moves the axes of its input as {tuple(moved_as)}{operation.place}"
                yield Suspicion(
                    "input-layout",
                    f"{words}: rows and columns are exchanged",
                    f"x.permute{tuple(right)}{operation.place}",
                    [Way(Change(edits={step: Edit(arguments={"dims": right})}))],
                )


def _of_an_image(operation: Operation, given: Sequence[int]) -> bool:
    """Whether rows and columns are exchanged, and the channels stay where they are: first or last."""
    own, rank = operation.arguments, len(given)
    dims = [int(d) % rank for d in own.get("dims", ())]
    if "dim0" in own:
        dims = list(range(rank))
        first, second = int(own["dim0"]) % rank, int(own["dim1"]) % rank
        dims[first], dims[second] = second, first
    return dims in ([0, 1, 3, 2], [0, 2, 1, 3]) or operation.op in ("mT", "adjoint")


def _orders(rank: int) -> list[tuple[int, ...]]:
    """Ways to move the channels to the front, or to the back, of an input."""
    last = rank - 1
    found = [(0, last, *range(1, last)), (0, *range(2, rank), 1)]
    if rank == 4:
        found += [(0, 3, 2, 1), (0, 2, 1, 3), (0, 1, 3, 2)]
    return found
