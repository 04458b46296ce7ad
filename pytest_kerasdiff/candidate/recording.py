"""The state of one recorded pass: which tensor is which value, and what was written where.

A ``TorchDispatchMode`` under ``inference_mode`` sees every operation before it decomposes, whoever calls it: modules,
functional code, TorchScript. Operations that do not depend on the model's input become constants that remember their
parameters; writes in place become new values.
"""

from __future__ import annotations

import json
import platform
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_kerasdiff.candidate import source, stacks
from pytest_kerasdiff.candidate.instruction import Instruction
from pytest_kerasdiff.candidate.program import Program, overlay
from pytest_kerasdiff.trace import Array, CandidateTrace, Constant, ConstantData, Operation, Value

_SHAPE_ONLY = {
    "zeros_like",
    "ones_like",
    "empty_like",
    "full_like",
    "new_zeros",
    "new_ones",
    "new_empty",
    "new_full",
    "rand_like",
    "randn_like",
}


class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands every operation to a recording."""

    def __init__(self, recording: Recording) -> None:
        """Know where to."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = recording


def _dispatch(mode: Mode, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    return mode.recording.operation(func, tuple(args), dict(kwargs or {}))


# Assigned after the class is made: a class that defines it imports all of torch._dynamo at its first call, over 1 s.
Mode.__torch_dispatch__ = _dispatch  # type: ignore[method-assign, assignment]


class Recording:
    """The state of one recorded pass: which tensor is which value, and what was written where."""

    def __init__(self, model: torch.nn.Module, precision: torch.dtype) -> None:
        """Know the model's parameters and buffers by name."""
        self._model, self._precision = model, precision
        self._held: dict[int, Callable[[], torch.Tensor | None]] = {}  # an id may be another tensor's later
        self._memories: dict[int, StorageWeakRef] = {}  # so that no other memory gets the address of one that is gone
        self._brought: list[torch.Tensor] = []
        self._known: dict[int, Value | Constant] = {}
        self._seen: dict[int, int] = {}  # writes to its memory that a tensor's value includes
        self._writes: dict[int, list[tuple[int, tuple[Any, ...]]]] = {}
        self._promoted: dict[int, torch.Tensor] = {}
        self._constants: dict[int, torch.Tensor] = {}
        self._constants_in: dict[int, list[int]] = {}
        self._origins: dict[int, tuple[str, ...]] = {}
        self._values = 0
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._steps: list[tuple[Instruction, str, tuple[str, int], bool, str]] = []
        self._modules: list[tuple[str, int, bool]] = [("", 0, False)]
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._calls: Counter[str] = Counter()
        self._samples: set[int] = set()
        self.casts: list[str] = []
        self.strangers: list[str] = []
        """Where arrays of floats come into play that no parameter, buffer, attribute or operation has made.

        Those alone that may have a row for each sample.
        """
        self.reached: list[tuple[str, str]] = []
        # A forward pass in training mode changes them.
        self._buffers = {name: tensor.detach().clone() for name, tensor in model.named_buffers()}
        names: dict[int, str] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            names.setdefault(id(tensor), name)
            self._constant(tensor, (names[id(tensor)],))

    # -- the modules -------------------------------------------------------------------------------------------------

    def enter(self, module: torch.nn.Module, args: Any) -> None:
        """Note that a module's forward begins."""
        path = self._paths.get(id(module), self._modules[-1][0])
        number = self._calls[path]
        self._calls[path] += 1
        own = type(module).__module__.startswith("torch.nn.")
        self._modules.append((path, number, own))
        self.reached.append((path, type(module).__name__))

    def leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """Note that a module's forward has ended."""
        self._modules.pop()
        if sys.exc_info()[0] is None and self.reached:
            self.reached.pop()

    # -- the operations ----------------------------------------------------------------------------------------------

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation and record it."""
        if stacks.is_stack(func, args):
            return stacks.run(func, args, self._call)
        made = self._one(func, args, kwargs)
        return stacks.apart(made, self._call) if stacks.has_two_directions(func, args) else made

    def _call(self, func: Any, args: tuple[Any, ...]) -> Any:
        return self.operation(func, args, {})

    def _one(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = pytree.tree_map(self._argument, (args, kwargs))
        op = func._schema.name.split("::")[-1]
        # Reading may add steps (see _current), and a write destroys what memory held: both come before the call.
        symbols = pytree.tree_map(self._symbol, (args, kwargs))
        leaves = pytree.tree_leaves(symbols)
        depends = any(isinstance(leaf, Value) for leaf in leaves) and op not in _SHAPE_ONLY
        where = _written(func, args, kwargs)
        targets = [kwargs[w] if isinstance(w, str) else args[w] for w in where]
        for target in targets:
            self._preserve(_memory(target))
        result = func(*args, **kwargs)
        written_ids = {id(target) for target in targets}
        tensors = [t for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]
        if not where and all(self._knows(t) for t in tensors):
            return result  # contiguous, dropout in eval: the argument itself came back
        if depends:
            # An operation in place gives back what it wrote; as a step it has that one value.
            outputs = tuple(None if id(t) in written_ids else self._value(t) for t in tensors)
            written = tuple(self._write(target) for target in targets)
            # Run again on other values, strides may differ: what was a view there may need a copy.
            again = torch.ops.aten.reshape.default if func is torch.ops.aten.view.default else func
            self._step(Instruction(again, symbols[0], symbols[1], where, outputs, written), op)
        else:
            origins = tuple(
                sorted({o for leaf in leaves if isinstance(leaf, Constant) for o in self._origins[leaf.index]})
            )
            for t in tensors:
                if id(t) not in written_ids and not self._knows(t):
                    self._constant(t, origins)
            for target in targets:
                self._rewrite(target, origins)
        return result

    def _argument(self, leaf: Any) -> Any:
        """Raise float32 to the run's precision where user code asks for it by name or brings a tensor of its own."""
        if self._precision is not torch.float64:
            return leaf
        if leaf is torch.float32:
            where = source.caller()
            if where not in self.casts:
                self.casts.append(where)
            return torch.float64
        if isinstance(leaf, torch.Tensor) and leaf.dtype is torch.float32 and not self._knows(leaf):
            if id(leaf) not in self._promoted:
                self._brought.append(leaf)
                # As the user's tensor: torch makes views of a normal one differently, even in inference mode.
                with torch.inference_mode(leaf.is_inference()):
                    self._promoted[id(leaf)] = leaf.double()
            return self._promoted[id(leaf)]
        return leaf

    def _symbol(self, leaf: Any) -> Any:
        return self._current(leaf) if isinstance(leaf, torch.Tensor) else leaf

    def _current(self, tensor: torch.Tensor) -> Value | Constant:
        """What a tensor holds now, after all writes to the memory it shares."""
        key = id(tensor)
        if not self._knows(tensor):
            name = self._own_name(tensor)
            if not name and tensor.is_floating_point() and not self._samples.isdisjoint(tensor.shape):
                self.strangers.append(source.caller())
            self._constant(tensor, name)
        writes = self._writes.get(_memory(tensor), [])
        for number, geometry in writes[self._seen[key] :]:
            if geometry == _geometry(tensor):
                self._known[key] = Value(number)
                continue
            size = tensor.untyped_storage().nbytes() // tensor.element_size()
            before = self._known[key]
            after = self._value(tensor)
            self._step(
                Instruction(overlay, (before, Value(number), size, _geometry(tensor), geometry), {}, (), (after,), ()),
                "overlay",
            )
        self._seen[key] = len(writes)
        return self._known[key]

    def _value(self, tensor: torch.Tensor) -> int:
        number = self._values
        self._values += 1
        self._shapes[number] = tuple(tensor.shape)
        self._hold(tensor, Value(number), weakref.ref(tensor))
        return number

    def _constant(self, tensor: torch.Tensor, origins: tuple[str, ...]) -> None:
        number = len(self._constants)
        self._constants[number] = tensor
        self._constants_in.setdefault(_memory(tensor), []).append(number)
        self._origins[number] = origins
        self._hold(tensor, Constant(number), lambda: tensor)

    def _hold(self, tensor: torch.Tensor, what: Value | Constant, held: Callable[[], torch.Tensor | None]) -> None:
        memory = _memory(tensor)
        if memory not in self._memories and memory != id(tensor):
            self._memories[memory] = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        self._held[id(tensor)], self._known[id(tensor)] = held, what
        self._seen[id(tensor)] = len(self._writes.get(memory, []))

    def _knows(self, tensor: torch.Tensor) -> bool:
        held = self._held.get(id(tensor))
        return held is not None and held() is tensor

    def _preserve(self, memory: int) -> None:
        """Before memory is written: constants in it, which earlier steps may have read, keep what they held."""
        for number in self._constants_in.pop(memory, ()):
            self._constants[number] = self._constants[number].clone()

    def _write(self, tensor: torch.Tensor) -> int:
        number = self._value(tensor)
        self._writes.setdefault(_memory(tensor), []).append((number, _geometry(tensor)))
        self._seen[id(tensor)] = len(self._writes[_memory(tensor)])
        return number

    def _rewrite(self, tensor: torch.Tensor, origins: tuple[str, ...]) -> None:
        """A constant was written with constants: every constant that shares its memory holds something else now."""
        memory = _memory(tensor)
        for key, known in list(self._known.items()):
            held = self._held[key]()
            if isinstance(known, Constant) and held is not None and _memory(held) == memory:
                self._constant(held, tuple(sorted({*self._origins[known.index], *origins})))

    def _own_name(self, tensor: torch.Tensor) -> tuple[str, ...]:
        """``module.attribute`` of a tensor that a module holds as a plain attribute."""
        for path, module in self._model.named_modules():
            for name, value in vars(module).items():
                if value is tensor:
                    return (f"{path}.{name}".lstrip("."),)
        return ()

    def _step(self, instruction: Instruction, op: str) -> None:
        path, number, own = self._modules[-1]
        self._steps.append((instruction, op, (path, number), own, source.caller()))

    # -- the result --------------------------------------------------------------------------------------------------

    def input(self, tensor: torch.Tensor) -> int:
        """Make a tensor an input of the program."""
        self._samples.update(tensor.shape[:1])
        return self._value(tensor)

    def program(
        self,
        inputs: Mapping[int, torch.Tensor],
        outputs: Sequence[torch.Tensor],
        notes: Sequence[str],
        output_names: Sequence[str],
    ) -> Program:
        """The finished program."""
        symbols = [self._current(t) for t in outputs]
        names = self._names()
        operations = tuple(self._as_operation(name, *step) for name, step in zip(names, self._steps, strict=True))
        constants = {i: ConstantData(_constant_array(t), self._origins[i]) for i, t in self._constants.items()}
        parameters = {name: _constant_array(t) for name, t in [*self._model.named_parameters(), *self._buffers.items()]}
        trace = CandidateTrace(
            operations,
            tuple(inputs),
            tuple(s.index if isinstance(s, Value) else None for s in symbols),
            dict(self._shapes),
            constants,
            parameters,
            {
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "device": str(next(iter(inputs.values())).device),
                "output_names": json.dumps(list(output_names)),
                "candidate_precision": str(self._precision).removeprefix("torch."),
                **({"converts_to": "float32"} if self.casts else {}),
            },
            tuple(notes),
        )
        return Program(
            trace,
            [step[0] for step in self._steps],
            # Apart from the module, whose dtypes and buffers may change from here on.
            {number: tensor.detach() for number, tensor in self._constants.items()},
            {n: t.clone() for n, t in inputs.items()},
            {s.index: t for s, t in zip(symbols, outputs, strict=True) if isinstance(s, Value)},
            self._precision,
        )

    def _names(self) -> list[str]:
        steps_of_call = Counter(call for _, _, call, _, _ in self._steps)
        seen: Counter[str] = Counter()
        names = []
        for _, op, call, own, _ in self._steps:
            path = call[0]
            op = op.rstrip("_") if not op.startswith("_") else op.strip("_")
            alone = own and path and steps_of_call[call] == 1
            name = path if alone else f"{path}.{op}" if path else op
            names.append(f"{name}@{seen[name]}" if seen[name] else name)
            seen[name] += 1
        return names

    def _as_operation(
        self, name: str, instruction: Instruction, op: str, call: tuple[str, int], own: bool, source: str
    ) -> Operation:
        leaves = pytree.tree_leaves((instruction.args, dict(instruction.kwargs)))
        base = op.rstrip("_") if not op.startswith("_") else op
        return Operation(
            name,
            base,
            call[0],
            source,
            tuple(leaf.index for leaf in leaves if isinstance(leaf, Value)),
            tuple(leaf.index for leaf in leaves if isinstance(leaf, Constant)),
            tuple(instruction.gives()),
            _named_arguments(instruction),
        )


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int | str, ...]:
    """Arguments that an operation writes in place, by position or by name.

    Source: the schema's alias annotations, ``Tensor(a!)``.
    """
    found: list[int | str] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        if position < len(args) and isinstance(args[position], torch.Tensor) and not argument.kwarg_only:
            found.append(position)
        elif isinstance(kwargs.get(argument.name), torch.Tensor):
            found.append(argument.name)
    return tuple(found)


def _named_arguments(instruction: Instruction) -> dict[str, Any]:
    schema = getattr(instruction.function, "_schema", None)
    if schema is None:
        return {}
    arguments: dict[str, Any] = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    arguments.update({a.name: v for a, v in zip(schema.arguments, instruction.args, strict=False)})
    arguments.update(instruction.kwargs)
    return {
        name: str(v) if isinstance(v, torch.dtype | torch.device | torch.layout | torch.memory_format) else v
        for name, v in arguments.items()
    }


def _memory(tensor: torch.Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except NotImplementedError:  # a sparse tensor has no one memory, and no views of it
        return id(tensor)


def _geometry(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset()


def _constant_array(tensor: torch.Tensor) -> Array:
    detached = tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
    return (detached.float() if detached.dtype in (torch.bfloat16, torch.float16) else detached).cpu().numpy()
