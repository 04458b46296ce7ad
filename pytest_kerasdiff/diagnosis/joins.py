"""Layers that join values: Keras's operands in Keras's order, and Keras's way to join them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.align.kinds import MERGES, parts
from pytest_kerasdiff.checks import hyper
from pytest_kerasdiff.diagnosis.arranged import only, whole_layer
from pytest_kerasdiff.diagnosis.case import Case, Suspicion
from pytest_kerasdiff.trace import Operation

_KINDS = ("add", "sub", "mul", "div", "maximum", "minimum", "affine", "pool", "concat", "matmul", "norm")
_CHOICES = frozenset({"where", "gt", "lt", "ge", "le", "pow", "square", "sqrt", "rsqrt", "logical_not"})
"""Operations of the kind "act" that choose between operands, or normalise them, and are no activation."""
_WORDS = {"add": "sum", "average": "mean", "sub": "difference", "mul": "product", "matmul": "dot product"}


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
        text = f"joined: Keras {len(case.layer.inputs)} values along axis {axis}, port others [{last.source}]"
        patch = f"torch.cat of Keras's operands in its order, along its axis {axis}"
        if stated is not None:
            text, _, patch = stated.words.partition("; ")
        if way is not None:
            yield Suspicion("concat-order", text, patch, [way])
        return
    if kind == "matmul":
        axes = config.get("axes", -1)
        ranks = [len(shape) for shape in case.subject.taken]
        both = [axes, axes] if isinstance(axes, int) else list(axes)
        arguments = {"axes": [a % n for a, n in zip(both, ranks, strict=True)]}
        way = whole_layer(case, "dot", {**arguments, "normalize": bool(config.get("normalize"))})
    else:
        way = whole_layer(case, "merged", {"kind": kind})
    if way is not None and (lacking := _left_out(case)):
        text = f"Keras joins {len(case.layer.inputs)} values, the port leaves out {', '.join(lacking)} [{last.source}]"
        yield Suspicion("missing-layer", text, f"{_WORDS.get(kind, kind)} with {', '.join(lacking)}", [way])
    elif way is not None:
        words = _WORDS.get(kind, kind)
        text = f"join: Keras the {words} of {len(case.layer.inputs)} values, port {_said(case)} [{last.source}]"
        yield Suspicion("merge-mode", text, f"take the {words} of Keras's operands", [way])


def _left_out(case: Case) -> list[str]:
    """Layers whose values the port does not join, where it joins nothing else in their place."""
    own = {v for i in case.steps for v in case.trace.operations[i].outputs}
    taken = {v for i in case.steps for v in case.trace.operations[i].inputs} - own
    known = {u: case.alignment.torch_value(u) for u in case.layer.inputs}
    if not taken <= set(known.values()):
        return []
    return [case.reference.layers[case.position_of(u)].name for u, v in known.items() if v not in taken]


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
