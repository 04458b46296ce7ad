"""Branches and outputs that neither weights nor graphs tell apart: settled by what they compute, else the run stops.

Two scalings that are added may stand in the port in either order. Each order is judged; a branch whose layers pass in
one of them is thereby known. Where the branches that remain would be at fault in other layers in another order, nobody
but the user can say which layer is which. Outputs that the port returns in another order than Keras are one fault, and
no layer's: the layers are judged by what they compute, and the check of the outputs fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_kerasdiff import output_order
from pytest_kerasdiff.align.walk import Tie
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import ReferenceTrace

_MAX_RUNS = 20
"""Judgements in other orders; a tie that would need more is not settled by values."""

Again = Callable[[Mapping[int, int]], Judge]
"""Makes a judge with these pairs of Keras and torch values settled."""
Order = tuple[int, ...]
"""Torch values in the order of the Keras values of a tie."""


def settle(judge: Judge, again: Again, reference: ReferenceTrace) -> Judge:
    """Judge, and where layers are at fault in a tie, judge its other orders too.

    Args:
        judge: Made with no tie settled; not run yet.
        again: Makes the others.
        reference: The Keras side.

    Returns:
        A judge that has run, with every tie settled.

    Raises:
        RunError: A tie stays open, and the verdict depends on it; the line has the candidates and what to write.
    """
    judge.run()
    settled = output_order.find(judge, reference)
    if settled:
        other = again(settled)
        other.run()
        if output_order.explains(judge, other, reference):
            judge = other
        else:
            settled = {}
    runs = 0
    for tie in judge.alignment.ties:
        orders = _Orders(tie, judge, again, settled)
        if not orders.faults(tie.torch):
            continue
        runs += 2 * len(tie.torch)
        best = orders.best() if runs <= _MAX_RUNS else None
        if best is None:
            raise RunError(_open(tie, judge, reference))
        settled |= dict(zip(tie.keras, best, strict=True))
        if best != tie.torch:
            judge = orders.judge(best)
            pairs = zip(_layers(tie, judge, reference), _operations(best, judge), strict=True)
            told = ", ".join(f"{layer} = {operation}" for layer, operation in pairs)
            judge.notes.append(f"told apart by their values, not by the graph: {told}")
    judge.finish()
    return judge


class _Orders:
    """The orders in which the branches of one tie may stand, each judged once."""

    def __init__(self, tie: Tie, judge: Judge, again: Again, settled: Mapping[int, int]) -> None:
        self._tie, self._again, self._settled = tie, again, settled
        self._judged: dict[Order, Judge] = {tie.torch: judge}
        keras = judge.alignment.keras
        leading = [keras.ancestors(value) | {value} for value in tie.keras]
        common = set.intersection(*leading)
        self._branches = [{judge.layer_of[v] for v in own - common if v in judge.layer_of} for own in leading]

    def judge(self, order: Order) -> Judge:
        """The branches judged in an order."""
        if order not in self._judged:
            made = self._again({**self._settled, **dict(zip(self._tie.keras, order, strict=True))})
            made.run()
            self._judged[order] = made
        return self._judged[order]

    def faults(self, order: Order) -> set[int]:
        """Positions of the branches' layers that are at fault in an order."""
        return set().union(*(self._wrong(order, branch) for branch in self._branches))

    def best(self) -> Order | None:
        """The order in which the fewest layers are at fault; None where another one blames others instead."""
        for order in _turned(self._tie.torch):
            self.judge(order)
        known = self._known()
        left = [value for value in self._tie.torch if value not in known.values()]
        orders = []
        for turned in _turned(tuple(left)) if left else [()]:
            rest = iter(turned)
            orders.append(tuple(known[i] if i in known else next(rest) for i in range(len(self._tie.keras))))
        best = min(orders, key=lambda order: len(self.faults(order)))
        return best if all(self.faults(order) >= self.faults(best) for order in orders) else None

    def _known(self) -> dict[int, int]:
        """Branch → the torch value with which all its layers pass in some order."""
        found: dict[int, int] = {}
        for i, branch in enumerate(self._branches):
            for order in self._judged:
                if order[i] not in found.values() and not self._wrong(order, branch):
                    found[i] = order[i]
                    break
        return found

    def _wrong(self, order: Order, branch: set[int]) -> set[int]:
        verdicts = self.judge(order).verdicts
        return {position for position in branch if verdicts[position].status in ("fault", "unpaired")}


def _turned(values: Order) -> list[Order]:
    return [(*values[turn:], *values[:turn]) for turn in range(len(values))]


def _open(tie: Tie, judge: Judge, reference: ReferenceTrace) -> str:
    layers, operations = _layers(tie, judge, reference), _operations(tie.torch, judge)
    lines = "; ".join(f'{layer} = "{operation}"' for layer, operation in zip(layers, operations, strict=True))
    sources = [f"{name} [{_source(value, judge)}]" for name, value in zip(operations, tie.torch, strict=True)]
    return (
        f"ambiguous: the layers {', '.join(layers)} fit each of the operations {', '.join(sources)}, and in no order "
        "do all of them give Keras's values; say in the manifest which is which, under [layers] and a line each: "
        f"{lines}; or in another order"
    )


def _layers(tie: Tie, judge: Judge, reference: ReferenceTrace) -> list[str]:
    return [reference.layers[judge.layer_of[value]].name for value in tie.keras]


def _source(value: int, judge: Judge) -> str:
    return judge.candidate.trace.operations[judge.alignment.torch.producer[value]].source


def _operations(order: Order, judge: Judge) -> list[str]:
    torch = judge.alignment.torch
    return [judge.candidate.trace.operations[torch.producer[value]].name for value in order]
