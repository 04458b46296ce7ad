"""One instruction of a recorded program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from pytest_kerasdiff.trace import Value


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
    """How to run one operation again.

    Attributes:
        function: The operation.
        args: Its positional arguments, tensors as ``Value`` or ``Constant``.
        kwargs: Its keyword arguments, likewise.
        writes: Positions in ``args`` (or keys of ``kwargs``) that it writes in place.
        outputs: For each tensor it gives, the value's number; None where no later step can read it.
        written: For each written argument, the number of the value that it holds afterwards.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    writes: tuple[int | str, ...]
    outputs: tuple[int | None, ...]
    written: tuple[int, ...]

    def reads(self) -> Iterator[int]:
        """Numbers of the values it takes."""
        for leaf in pytree.tree_leaves((self.args, dict(self.kwargs))):
            if isinstance(leaf, Value):
                yield leaf.index

    def gives(self) -> Iterator[int]:
        """Numbers of the values it gives."""
        yield from (o for o in self.outputs if o is not None)
        yield from self.written

    def named(self) -> dict[str, Any]:
        """Its arguments by the names of torch's schema, defaults among them; empty for a function of this package."""
        schema: Any = getattr(self.function, "_schema", None)
        if schema is None:
            return {}
        names = [a.name for a in schema.arguments]
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        return {**defaults, **dict(zip(names, self.args, strict=False)), **self.kwargs}


def unwritten(function: Callable[..., Any], taken: MutableMapping[str, Any] | MutableSequence[Any]) -> None:
    """Give copies to what a normalisation in training mode writes, which its schema does not say.

    Source: torch.nn.functional.batch_norm updates running_mean and running_var, its arguments 3 and 4.
    """
    if function is torch.ops.aten.batch_norm.default:
        for name, place in (("running_mean", 3), ("running_var", 4)):
            at: Any = name if isinstance(taken, MutableMapping) else place
            holder: Any = taken
            if isinstance(holder[at], torch.Tensor):
                holder[at] = holder[at].clone()
