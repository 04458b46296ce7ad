"""Operations of a layer that Keras does not have, and operands that are not what Keras's layer takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from pytest_kerasdiff.align.graph import Node
from pytest_kerasdiff.align.kinds import IDENTITIES, activation_of
from pytest_kerasdiff.change import Change, Edit, Step, removed
from pytest_kerasdiff.curves import difference
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way, arguments_with
from pytest_kerasdiff.trace import Operation, Value

_REMOVED = frozenset({"act", "affine", "norm", "identity", "pool", "pad", "opaque"})
_JOINS = frozenset({"add", "sub", "mul", "div", "maximum", "minimum"})
_ACTIVATIONS = (
    "relu leaky_relu prelu elu selu celu gelu silu mish softplus sigmoid tanh relu6 hardtanh hardsigmoid hardswish "
    "softmax _softmax log_softmax softsign softshrink hardshrink log_sigmoid"
)
_NORMALISATIONS = "batch_norm layer_norm group_norm instance_norm rms_norm"
_FUNCTIONS = frozenset([*_ACTIVATIONS.split(), *_NORMALISATIONS.split()])
"""Operations that stand for a layer of their own wherever they are."""
_DROPOUTS = frozenset(
    ["dropout", "dropout1d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout", "bernoulli"]
)
_RANDOM = frozenset(["rand_like", "randn_like", "bernoulli", "rand", "randn", "normal", "uniform", "randint_like"])
_REORDERS = frozenset({"index", "index_select", "gather", "take"})
"""Operations that bring the channels of an input into another order."""
_MOST = 16
"""Operations of a layer that are left out one after the other."""


def concerns(case: Case) -> bool:
    """Whether the layer has operations and is wrong."""
    return bool(case.layer.inputs) and case.verdict.status == "fault" and bool(case.steps)


def functions(case: Case) -> Iterator[Suspicion]:
    """Each activation function left out, where the port has more than one and what is left may be Keras's."""
    acting = [step for step in case.steps if case.trace.operations[step].op in (*_ACTIVATIONS.split(), "neg")]
    nodes, keras = case.alignment.torch.nodes, activation_of(case.layer.class_name, case.layer.config)
    for step in reversed(acting) if len(acting) > 1 else ():
        left, operation = {nodes[other].variant for other in acting if other != step}, case.trace.operations[step]
        stated = left == {keras}
        for suspicion in _left_out(case, step, nodes[step], operation):
            text = suspicion.text
            if nodes[step].variant in left:
                text = f"the port has {operation.op} once more than Keras{operation.place}"
            yield dataclasses.replace(suspicion, text=text, stated=suspicion.stated or stated)


def is_unseen(case: Case) -> bool:
    """Whether the layer is right on these inputs, and its activation function is not, where Keras has none."""
    curves = case.subject.curves
    none = activation_of(case.layer.class_name, case.layer.config) is None
    return none and not case.verdict.is_wrong and curves is not None and difference(*curves) is not None


def unseen(case: Case) -> Iterator[Suspicion]:
    """Each activation function left out: their values, where no probe input comes, show whether that is right."""
    for step in (s for s in case.steps if case.trace.operations[s].op in _FUNCTIONS):
        for suspicion in _left_out(case, step, case.alignment.torch.nodes[step], case.trace.operations[step]):
            ways = [dataclasses.replace(way, table=True) for way in suspicion.ways]
            yield dataclasses.replace(suspicion, ways=ways, stated=True)


def suspect(case: Case) -> Iterator[Suspicion]:
    """Each operation left out; then operands that are other values than what Keras's layer takes."""
    yield from _operands(case)
    for step in case.steps[:_MOST]:
        yield from left_out(case, step)


def left_out(case: Case, step: int) -> Iterator[Suspicion]:
    """One operation of a layer left out, unless it is what the layer is."""
    operation = case.trace.operations[step]
    behind_a_join = len(operation.inputs) < 2 <= len(case.layer.inputs)
    is_main = step == case.alignment.main.get(case.position) and not behind_a_join
    its_own = is_main and operation.op not in _FUNCTIONS
    if operation.op not in _DROPOUTS and not its_own:
        yield from _left_out(case, step, case.alignment.torch.nodes[step], operation)


def _left_out(case: Case, step: int, node: Node, operation: Operation) -> Iterator[Suspicion]:
    joins = node.kind in _JOINS and len(operation.inputs) > 1
    if not joins and (node.kind not in _REMOVED or len(operation.inputs) != 1):
        return
    ways, own = [], {v for u in case.layer.inputs if (v := case.alignment.torch_value(u)) is not None}
    for value in sorted(dict.fromkeys(operation.inputs), key=lambda v: v not in own):
        for name in list(arguments_with(operation, value))[:1]:
            if "." not in name:
                ways.append(Way(Change(edits={step: removed(name)})))
    if not ways:
        return
    kinds = {n.kind for n in case.alignment.keras.nodes if n.owner == case.position}
    yield Suspicion(
        _identity(case, operation, node),
        f"the port has {operation.op}{operation.place}, Keras has nothing there",
        f"leave out {operation.name}{operation.place}",
        ways,
        stated=operation.op in _FUNCTIONS and node.kind not in kinds,
        piece=f"{node.kind} {node.variant}",
    )


def _identity(case: Case, operation: Operation, node: Node) -> str:
    dtype = str(operation.arguments.get("dtype", ""))
    if node.kind == "identity" and dtype.endswith("float16"):
        return "float16"
    if case.layer.class_name == "Embedding" and node.kind in ("affine", "opaque"):
        return "embedding-row"
    if _is_random(case, operation):
        return "train-mode" if _drops_there(case) else "nondeterministic"
    if "softmax" in operation.op and activation_of(case.layer.class_name, case.layer.config) == "softmax":
        return "softmax"
    if node.kind in ("affine", *_JOINS) and case.layer.class_name in ("Rescaling", "Normalization"):
        return "rescaling"
    if node.kind == "affine" and _only_moved(case, operation.inputs):
        return "input-scale"
    return "extra-layer"


def _is_random(case: Case, operation: Operation) -> bool:
    """Whether an operand of an operation is drawn at random."""
    inner = {v: case.trace.operations[step] for step in case.steps for v in case.trace.operations[step].outputs}
    pending, seen = list(operation.inputs), set[int]()
    while pending:
        value = pending.pop()
        step = inner.get(value)
        if step is not None and value not in seen:
            seen.add(value)
            if step.op in _RANDOM:
                return True
            pending += step.inputs
    return False


def _drops_there(case: Case) -> bool:
    """Whether the layer takes what a layer of Keras gives that is random in training."""
    return any(case.reference.layers[case.position_of(v)].class_name in IDENTITIES for v in case.layer.inputs)


def _only_moved(case: Case, values: Sequence[int]) -> bool:
    """Whether values are inputs of the model, moved or scaled and no more."""
    while len(set(values)) == 1:
        node = case.alignment.torch.node(values[0])
        if node is None:
            return values[0] in case.trace.inputs
        moves = case.trace.operations[case.alignment.torch.producer[values[0]]].op in _REORDERS
        if node.kind not in ("move", "identity", "affine") and not moves:
            return False
        values = node.operands
    return False


def _operands(case: Case) -> Iterator[Suspicion]:
    """An operand that is the value of another Keras layer than the one that gives this layer's input."""
    steps = case.steps
    inner = {v for step in steps for v in case.trace.operations[step].outputs}
    wanted = [case.alignment.torch_value(u) for u in case.layer.inputs]
    taken = [
        (step, name, v)
        for step in steps
        for v in dict.fromkeys(case.trace.operations[step].inputs)
        if v not in inner
        for name in arguments_with(case.trace.operations[step], v)
    ]
    has = {v for _, _, v in taken}
    lacks = [(u, t) for u, t in zip(case.layer.inputs, wanted, strict=True) if t is not None and t not in has]
    for keras_value, torch_value in lacks[:2]:
        wrong = [one for one in taken if one[2] not in wanted] or [
            one for one in taken if sum(t == one[2] for _, _, t in taken) > wanted.count(one[2])
        ]
        ways = [
            Way(Change(edits=_exchanged(several, torch_value)))
            for several in [*_of_the_join(case, wanted), *_together(wrong)]
            if all(_comes_before(case, torch_value, step) for step, _, _ in several)
        ]
        if not ways:
            continue
        name = case.reference.layers[case.position_of(keras_value)].name
        step, _, other = wrong[0]
        source = case.trace.operations[step].source
        yield Suspicion(
            "missing-layer" if other in wanted else _relation(case, keras_value, other),
            f"Keras takes the value of {name}, the port takes {_called(case, other)} [{source}]",
            f"take the value of {name} [{source}]",
            ways,
            piece=f"{other} for {torch_value}",
        )


def _of_the_join(case: Case, wanted: Sequence[int | None]) -> Iterator[list[tuple[int, str, int]]]:
    """Operands of the layer's own operation that are computed from none of the values that the layer takes."""
    main = case.alignment.main.get(case.position)
    if main is None or len(case.layer.inputs) < 2:
        return
    operation, graph = case.trace.operations[main], case.alignment.torch
    for value in dict.fromkeys(operation.inputs):
        steps = graph.between([w for w in wanted if w is not None], value)
        reached = {operand for v in steps if (node := graph.node(v)) is not None for operand in node.operands}
        if value not in wanted and not reached & set(wanted):
            yield [(main, name, value) for name in arguments_with(operation, value)]


def _together(wrong: Sequence[tuple[int, str, int]]) -> list[list[tuple[int, str, int]]]:
    """Places that take the same value together, then each alone."""
    if not wrong:
        return []
    values = dict.fromkeys(v for _, _, v in wrong)
    found = [[one for one in wrong if one[2] == v] for v in values]
    return [*found, *([one] for group in found if len(group) > 1 for one in group)][:8]


def _exchanged(several: Sequence[tuple[int, str, int]], torch_value: int) -> dict[int, Edit]:
    edits: dict[int, Edit] = {}
    for step, name, _ in several:
        before = edits[step].before if step in edits else {}
        edits[step] = Edit({**before, name: (Step("alias", {"self": Value(torch_value)}),)})
    return edits


def _comes_before(case: Case, torch_value: int, step: int) -> bool:
    return case.alignment.torch.producer.get(torch_value, -1) < step


def _called(case: Case, torch_value: int) -> str:
    for keras_value in case.alignment.pairs:
        if case.alignment.pairs[keras_value] == torch_value and keras_value in case.judge.layer_of:
            return f"that of {case.reference.layers[case.position_of(keras_value)].name}"
    producer = case.alignment.torch.producer.get(torch_value)
    return "the input" if producer is None else f"that of {case.trace.operations[producer].name}"


def _relation(case: Case, keras_value: int, torch_value: int) -> str:
    """What is there too much or too little between the value that should be taken and the one that is."""
    right = case.alignment.torch_value(keras_value)
    further = right is not None and case.alignment.torch.is_ancestor(right, torch_value)
    return "extra-layer" if further else "missing-layer"
