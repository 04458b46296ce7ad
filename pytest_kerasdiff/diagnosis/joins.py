"""Layers that join values: Keras's operands in Keras's order, and Keras's way to join them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence, Set

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.align.kinds import MERGES, parts
from pytest_kerasdiff.checks import hyper
from pytest_kerasdiff.diagnosis import extra
from pytest_kerasdiff.diagnosis.arranged import only, whole_layer
from pytest_kerasdiff.diagnosis.case import Case, Suspicion
from pytest_kerasdiff.trace import Operation

_KINDS = ("add", "sub", "mul", "div", "maximum", "minimum", "affine", "pool", "concat", "matmul", "norm")
_CHOICES = frozenset({"where", "gt", "lt", "ge", "le", "pow", "square", "sqrt", "rsqrt", "logical_not"})
"""Operations of the kind "act" that choose between operands, or normalise them, and are no activation."""
_WORDS = {
    "add": "sum",
    "concat": "concatenation",
    "average": "mean",
    "sub": "difference",
    "mul": "product",
    "matmul": "dot product",
}


def concerns(case: Case) -> bool:
    """Whether the layer joins several values."""
    return len(case.layer.inputs) > 1 and _kind(case) in MERGES


def _kind(case: Case) -> str:
    return parts(case.layer)[0][0]


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's join of what Keras joins."""
    if not _joins_only(case):
        return
    kind, config = _kind(case), case.layer.config
    last = case.trace.operations[case.steps[-1]]
    if kind == "concat":
        axis = int(config.get("axis", -1)) if isinstance(config.get("axis", -1), int) else -1
        way = whole_layer(case, "concatenated", {"axis": axis})
        stated = next((one for one in hyper.stated(case.subject) if one.cause == "concat-order"), None)
        text = f"joined: Keras {len(case.layer.inputs)} values along axis {axis}, port others{last.place}"
        patch = f"torch.cat of Keras's operands in its order, along its axis {axis}"
        if stated is not None:
            text, _, patch = stated.words.partition("; ")
        cause, words, remedy = _told(case, kind)
        if cause == "merge-mode":
            cause, words, remedy = "concat-order", text, patch
        if way is not None:
            yield Suspicion(cause, words, remedy, [way])
        return
    if kind == "matmul":
        axes = config.get("axes", -1)
        ranks = [len(shape) for shape in case.subject.taken]
        both = [axes, axes] if isinstance(axes, int) else list(axes)
        arguments = {"axes": [a % n for a, n in zip(both, ranks, strict=True)]}
        way = whole_layer(case, "dot", {**arguments, "normalize": bool(config.get("normalize"))})
    else:
        way = whole_layer(case, "merged", {"kind": kind})
    if way is not None:
        yield from _too_much(case, kind)
        cause, text, patch = _told(case, kind)
        yield Suspicion(cause, f"{text}{last.place}", patch, [way])


def _too_much(case: Case, kind: str) -> Iterator[Suspicion]:
    """An offset or a scale beside Keras's own join; what makes a mean of a sum is another join."""
    nodes, count = case.alignment.torch.nodes, len(case.layer.inputs)
    if kind not in [nodes[i].kind for i in case.steps if len(case.trace.operations[i].inputs) > 1]:
        return
    for step in case.steps:
        own = case.trace.operations[step]
        numbers = [n for n in own.arguments.values() if isinstance(n, int | float) and not isinstance(n, bool)]
        mean = nodes[step].variant != "add" and any(math.isclose(n, m) for n in numbers for m in (count, 1 / count))
        if nodes[step].kind == "affine" and not mean:
            yield from (dataclasses.replace(one, stated=True) for one in extra.left_out(case, step))


def _told(case: Case, kind: str) -> tuple[str, str, str]:
    """Id, words and remedy of a join: operands that are others, or another operation."""
    lacking, instead = _operands(case)
    words = _WORDS.get(kind, kind)
    patch = f"take the {words} of what Keras's layers {', '.join(_sources(case, case.layer.inputs))} give"
    names = ", ".join(_sources(case, lacking))
    own = {v for i in case.steps for v in case.trace.operations[i].outputs}
    joined = [v for i in case.steps for v in case.trace.operations[i].inputs if v not in own]
    if lacking and not instead and len(joined) < len(case.layer.inputs):
        return "missing-layer", f"Keras joins {len(case.layer.inputs)} values, the port leaves out {names}", patch
    if len(lacking) == len(instead) == 1:
        torch, right = case.alignment.torch, case.alignment.torch_value(lacking[0])
        operation = case.trace.operations[at] if (at := torch.producer.get(instead[0])) is not None else None
        taken = "an input" if operation is None else f"what {operation.op} gives{operation.place}"
        text = f"Keras joins what {names} gives, the port takes {taken} in its place"
        if right is not None and torch.is_ancestor(right, instead[0]):
            return "extra-layer", f"{text}, which is computed from it", patch
        if right is not None and torch.is_ancestor(instead[0], right):
            return "missing-layer", f"{text}, from which it is computed", patch
        return "merge-mode", text, patch
    return "merge-mode", f"join: Keras the {words} of {len(case.layer.inputs)} values, port {_said(case)}", patch


def _operands(case: Case) -> tuple[list[int], list[int]]:
    """Keras values that the port does not join, and torch values that it joins in their place."""
    own = {v for i in case.steps for v in case.trace.operations[i].outputs}
    taken = {v for i in case.steps for v in case.trace.operations[i].inputs} - own
    known = {u: v for u in case.layer.inputs if (v := case.alignment.torch_value(u)) is not None}
    if len(known) < len(case.layer.inputs):
        return [], []
    lacking = [u for u, v in known.items() if not any(_comes_from(case, t, {v}) for t in taken)]
    return lacking, sorted(t for t in taken if not _comes_from(case, t, set(known.values())))


def _comes_from(case: Case, value: int, sources: Set[int]) -> bool:
    """Whether a value is one of others, or one of them moved."""
    while value not in sources:
        node = case.alignment.torch.node(value)
        if node is None or node.kind not in ("move", "identity") or len(node.operands) != 1:
            return False
        value = node.operands[0]
    return True


def _sources(case: Case, keras_values: Sequence[int]) -> list[str]:
    return [case.reference.layers[case.position_of(u)].name for u in keras_values]


def _joins_only(case: Case) -> bool:
    """Whether the layer's operations do nothing but join values."""
    own = [case.trace.operations[i] for i in case.steps]
    choosing = any(step.op == "where" for step in own) or _kind(case) == "matmul"
    kinds = (*_KINDS, "act") if choosing and all(map(_chooses, own)) else _KINDS
    return bool(own) and only(case, kinds)


def _chooses(step: Operation) -> bool:
    kind, _ = operations.kind(step)
    return kind != "act" or step.op in _CHOICES or step.op in ("clamp_min", "clamp")


def _said(case: Case) -> str:
    """What the port's operations are, in order."""
    names = [case.trace.operations[i].op for i in case.steps]
    return ", ".join(dict.fromkeys(names))
