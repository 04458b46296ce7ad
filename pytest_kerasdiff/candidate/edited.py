"""Operations of a recorded program with changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from pytest_kerasdiff.candidate import formulas
from pytest_kerasdiff.candidate.instruction import Instruction, unwritten
from pytest_kerasdiff.change import Chain, Edit, Here, Taken
from pytest_kerasdiff.trace import Array, Constant, Operation, Value


def instruction(original: Instruction, edit: Edit, tensor: Callable[[Array], torch.Tensor]) -> Instruction:
    """An instruction with an edit, as one instruction that gives the same values.

    Args:
        original: What was recorded.
        edit: What is changed.
        tensor: Brings an array to the program's device and precision.
    """

    def plain(tree: Any) -> Any:
        return pytree.tree_map(lambda leaf: tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, tree)

    named, names = original.named(), list(original.named())
    if names:
        names = [a.name for a in original.function._schema.arguments]  # type: ignore[attr-defined]
        named |= plain(dict(edit.arguments))
    written = [names[w] if isinstance(w, int) else w for w in original.writes]
    before = {name: plain(_as_tree(chain)) for name, chain in edit.before.items()}
    instead = plain(_as_tree((edit.instead,))) if edit.instead is not None else []
    kept = [number is not None for number in original.outputs]
    run = _Edited(original.function, tuple(written), tuple(kept))
    numbers = (*(number for number in original.outputs if number is not None), *original.written)
    after = [plain(_as_tree(edit.after)), {n: plain(_as_tree(chain)) for n, chain in edit.further.items()}]
    given: tuple[Any, ...] = (named, before, instead, after)
    if not names:  # a function of this package, whose arguments have no names
        given = ({"": list(original.args)}, {}, [], given[3])
    return Instruction(run, given, {}, (), numbers, ())


def operation(original: Operation, edit: Edit) -> Operation:
    """What a trace says of an operation with an edit; what is done before and after it is not told."""
    arguments = {**original.arguments, **edit.arguments}
    op = original.op
    if edit.instead is not None:
        op = edit.instead.op.partition(".")[0]
        arguments = {
            name: original.arguments.get(value.name) if isinstance(value, Taken) else value
            for name, value in edit.instead.arguments.items()
        }
    leaves = pytree.tree_leaves(arguments)
    return dataclasses.replace(
        original,
        op=op,
        arguments=arguments,
        inputs=tuple(leaf.index for leaf in leaves if isinstance(leaf, Value)),
        constants=tuple(leaf.index for leaf in leaves if isinstance(leaf, Constant)),
    )


def _as_tree(chain: Chain) -> list[Any]:
    """Steps as lists and dicts, in which the program resolves values and constants."""
    return [[step.op, dict(step.arguments)] for step in chain]


@dataclasses.dataclass(frozen=True, slots=True)
class _Edited:
    """Runs one operation with what is done before, instead and after.

    Attributes:
        function: The operation.
        written: Names of the arguments that it writes in place.
        kept: Which of the tensors that it returns are values.
    """

    function: Callable[..., Any]
    written: Sequence[str]
    kept: Sequence[bool]

    def __call__(
        self, named: Mapping[str, Any], before: Mapping[str, Any], instead: Sequence[Any], after: Sequence[Any]
    ) -> list[torch.Tensor]:
        taken = dict(named)
        for place, chain in before.items():
            name, _, index = place.partition(".")
            if index:
                several = list(taken[name])
                several[int(index)] = _run(chain, several[int(index)], {})
                taken[name] = several
            else:
                taken[name] = _run(chain, taken[name], {})
        for name in self.written:
            taken[name] = taken[name].clone()
        if instead:
            found = _tensors(_run(instead, None, taken))
        else:
            unwritten(self.function, taken)
            result = self.function(*taken[""]) if "" in taken else self.function(**taken)
            returned = [t for t, kept in zip(_tensors(result), self.kept, strict=False) if kept]
            found = [*returned, *(taken[name] for name in self.written)]
        chains = {0: after[0], **after[1]}
        return [_run(chains[i], t, taken) if chains.get(i) else t for i, t in enumerate(found)]


def _tensors(result: Any) -> list[torch.Tensor]:
    return [t for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]


def _run(chain: Sequence[Any], here: Any, taken: Mapping[str, Any]) -> Any:
    """Run steps one after the other."""
    for op, arguments in chain:
        resolved = pytree.tree_map(lambda leaf, at=here: _resolved(leaf, at, taken), arguments)
        here = function(op)(**resolved)
    return here


def _resolved(leaf: Any, here: Any, taken: Mapping[str, Any]) -> Any:
    if isinstance(leaf, Here):
        return here
    return taken[leaf.name] if isinstance(leaf, Taken) else leaf


def function(op: str) -> Callable[..., Any]:
    """The function that a step names.

    Raises:
        ValueError: There is none.
    """
    space, _, name = op.rpartition("keras.")
    found: Any = formulas.FORMULAS.get(name) if space == "" and op.startswith("keras.") else None
    if found is None:
        found = torch.ops.aten
        for part in op.split("."):
            found = getattr(found, part, None)
    if found is None:
        raise ValueError(f"no operation {op!r}")
    return found  # type: ignore[no-any-return]
