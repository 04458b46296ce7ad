"""Activation functions: Keras's, with its numbers, in the place of the port's."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_kerasdiff import curves
from pytest_kerasdiff.align.graph import Node
from pytest_kerasdiff.align.kinds import activation_of
from pytest_kerasdiff.change import Chain, Change, Edit, Step
from pytest_kerasdiff.checks import settings
from pytest_kerasdiff.diagnosis import pieces
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.trace import Operation, Value


def concerns(case: Case) -> bool:
    """Whether the layer ends with an activation for which the port has operations."""
    config = case.layer.config
    return (
        activation_of(case.layer.class_name, config) is not None
        and case.position not in case.alignment.partial
        and case.layer.outputs[0] in case.alignment.pairs
    )


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's function from what the port's begins with to what it gives."""
    node = case.alignment.keras.node(case.layer.outputs[0])
    value = case.value
    if node is None or value is None or node.kind != "act":
        return
    source = case.alignment.inside.get(node.operands[0], case.alignment.torch_value(node.operands[0]))
    if source is None or source == value or not case.alignment.torch.is_ancestor(source, value):
        return
    place, source = _between_moves(case, source, value)
    taken = node.operands[0] if node.operands[0] in case.reference.shapes else case.layer.outputs[0]
    piece = pieces.activation(case, case.layer, taken, source)
    cause, words, stated = _named(case)
    if not cause or piece is None or _is_the_same(case.trace.operations[place], piece.chain):
        return
    edit = Edit(instead=Step("alias", {"self": Value(source)}), after=piece.chain)
    change = Change(edits={place: edit})
    operation = case.trace.operations[place]
    ways = [Way(change)] if case.verdict.is_wrong or case.subject.curves is None else []
    ways += [Way(change, table=True)] if case.subject.curves is not None else []
    port = case.alignment.torch.nodes[place].variant
    exchange = f"{port} for {node.variant}"
    yield Suspicion(cause, words, f"{piece.code}{operation.place}", ways, stated=stated, piece=exchange)


def _between_moves(case: Case, source: int, value: int) -> tuple[int, int]:
    """The operation that gives the port's function, and what it takes: what is moved before and after it stays."""
    torch = case.alignment.torch
    last = value
    while (node := torch.node(last)) is not None and _only_moves(node) and node.operands[0] != source:
        last = node.operands[0]
    node = torch.node(last)
    begins = at = node.operands[0] if node is not None and len(node.operands) == 1 else source
    while at != source:
        node = torch.node(at)
        if node is None or not _only_moves(node):
            begins = source
            break
        at = node.operands[0]
    return torch.producer[last], begins


def _is_the_same(operation: Operation, chain: Chain) -> bool:
    """Whether the port has Keras's softmax there: what is wrong is something else."""
    own = chain[0].arguments.get("dim") if len(chain) == 1 and chain[0].op == "softmax.int" else None
    return own is not None and operation.op in ("softmax", "_softmax") and operation.arguments.get("dim") == own


def _only_moves(node: Node) -> bool:
    return node.kind in ("move", "identity") and len(node.operands) == 1


def _named(case: Case) -> tuple[str, str, bool]:
    """Id and words of an activation that differs, and whether both sides state it.

    Empty where both sides' functions are equal, or the layer is right and they cannot be told.
    """
    variant = activation_of(case.layer.class_name, case.layer.config) or ""
    if case.subject.curves is not None:
        if curves.difference(*case.subject.curves) is None:
            return "", "", False
        stated = settings.function(case.subject)
        return stated.cause, stated.words.rpartition("; ")[0], True
    if case.verdict.status != "fault":
        return "", "", False
    last = case.subject.last
    port = "none" if last is None else f"{last.op}{last.place}"
    if variant == "softmax":
        found = [one for one in settings.softmax(case.subject, case.layer.config) if one.cause]
        words = found[0].words.rpartition("; ")[0] if found else f"Keras softmax, port {port}"
        return "softmax", words, bool(found)
    if variant in ("log_softmax", "sparsemax"):
        return "softmax", f"Keras {variant}, port {port}", last is not None and last.op.endswith("softmax")
    if variant == "prelu":
        alpha = next(iter(case.subject.weights.values()))
        sizes = [c.array.size for c in case.subject.constants.values() if c.array.dtype.kind == "f"]
        words = f"Keras PReLU with {alpha.size} slopes, port {port} with {', '.join(map(str, sizes)) or 'none'}"
        return ("activation-slope" if sizes else "activation-kind"), words, alpha.size not in sizes
    return "activation-kind", f"Keras {variant}, port {port}", False
