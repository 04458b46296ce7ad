"""Run a torch model once, and hand it over as a program."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from pytest_kerasdiff.candidate import source
from pytest_kerasdiff.candidate.program import Program
from pytest_kerasdiff.candidate.recording import Mode, Recording
from pytest_kerasdiff.errors import RunError, UnfollowedError, in_short
from pytest_kerasdiff.trace import Array

_NEAR = 1e-3
"""Difference, relative to an output's scale, that another precision does not make."""


def record(
    model: torch.nn.Module,
    arguments: Mapping[str, Array] | Sequence[Array],
    precision: str,
    device: str,
    notes: Sequence[str] = (),
    gather: Callable[[Mapping[str, torch.Tensor]], Any] | None = None,
) -> Program:
    """Run a model once and return it as a program.

    Args:
        model: In the state to be judged; its parameters are converted to the run's precision in place.
        arguments: Inputs by position, or by name of forward's parameters.
        precision: "float64" or "float32".
        device: torch device.
        notes: What is known already and belongs into the trace.
        gather: Puts all inputs, by name or number, into the one argument that forward takes.

    Raises:
        RunError: The model raised; the line names the module reached and the user's line.
    """
    dtype = torch.float64 if precision == "float64" else torch.float32
    torch.set_default_dtype(dtype)
    # One fused operation for a whole attention block or encoder layer would hide the Keras layers inside it.
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = model.to(device=device, dtype=dtype)
    arrays = arguments if isinstance(arguments, Mapping) else {str(i): a for i, a in enumerate(arguments)}
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(np.array(a)).to(device) for name, a in arrays.items()}
        tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
        kept = {name: t.clone() for name, t in tensors.items()}
        recording = Recording(model, dtype)
        numbers = {name: recording.input(t) for name, t in tensors.items()}
        enter = torch.nn.modules.module.register_module_forward_pre_hook(recording.enter)
        leave = torch.nn.modules.module.register_module_forward_hook(recording.leave, always_call=True)
        call = caller(model, list(tensors), isinstance(arguments, Mapping), gather)
        try:
            with Mode(recording), uncompiled(), autocast_refused(dtype, torch.device(device).type):
                result = call([*tensors.values()])
        except Exception as error:
            raise RunError(_forward_error(error, recording, kept)) from error
        finally:
            enter.remove()
            leave.remove()
        outputs = tensors_in(result)
        notes = list(notes)
        if recording.casts:
            notes.append(f"conversions to float32 were run in float64 (at {', '.join(recording.casts[:5])})")
        # A dict of tensors: torch keeps the order of insertion, Keras sorts by name.
        names = list(result) if isinstance(result, dict) and len(result) == len(outputs) else []
        program = recording.program({numbers[name]: kept[name] for name in tensors}, outputs, notes, names)
        if recording.strangers or None in program.trace.outputs:
            _demand_followed(program, call, {numbers[name]: t for name, t in kept.items()}, recording.strangers)
        return program


def caller(
    model: torch.nn.Module,
    names: Sequence[str],
    by_name: bool,
    gather: Callable[[Mapping[str, torch.Tensor]], Any] | None,
) -> Callable[[Sequence[torch.Tensor]], Any]:
    """What calls a model with its inputs in order: by position, by their names, or gathered into one argument."""

    def call(tensors: Sequence[torch.Tensor]) -> Any:
        named = dict(zip(names, tensors, strict=True))
        if gather is not None:
            return model(gather(named))
        return model(**named) if by_name else model(*tensors)

    return call


def _demand_followed(
    program: Program,
    call: Callable[[Sequence[torch.Tensor]], Any],
    inputs: Mapping[int, torch.Tensor],
    strangers: Sequence[str],
) -> None:
    """Let the program be the model: on other inputs, which are the samples in reverse order, it gives the same.

    What is computed outside of torch's operations is a constant for the program, and none for the model.

    Raises:
        UnfollowedError: It gives something else.
    """
    turned = {number: tensor.flip(0) if tensor.ndim else tensor for number, tensor in inputs.items()}
    recorded = [program.recorded.get(v) if v is not None else None for v in program.trace.outputs]
    try:
        with uncompiled():
            again, others = (
                [t.detach().cpu().numpy() for t in tensors_in(call([t.clone() for t in given.values()]))]
                for given in (inputs, turned)
            )
        replayed = program.run(
            [v for v in program.trace.outputs if v is not None],
            {number: tensor.cpu().numpy() for number, tensor in turned.items()},
        )
    except Exception:  # what cannot be run again is said by the check of that
        return
    for number, before, once_more, other in zip(program.trace.outputs, recorded, again, others, strict=False):
        expected = once_more if number is None else replayed[number]
        if (before is None or alike(before, once_more, _NEAR)) and not alike(expected, other, _NEAR):
            places = ", ".join(dict.fromkeys(place for place in strangers if place))
            where = f" (its results come back at {places})" if places else ""
            raise UnfollowedError(
                "what the torch model computes cannot be followed: a part of it runs outside of torch's operations"
                f"{where}, in numpy, in lists of Python, in another thread or in a subclass of Tensor; compute it with "
                "torch"
            )


def alike(one: Array, other: Array, tolerance: float) -> bool:
    """Whether two outputs differ by no more than a tolerance, relative to their scale where that is over 1."""
    scale = float(np.abs(np.nan_to_num(other)).max(initial=1.0))
    return one.shape == other.shape and np.allclose(one, other, 0, tolerance * scale, equal_nan=True)


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """A context in which `torch.compile` compiles nothing: the program is judged, and compiling it takes long."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextlib.contextmanager
def autocast_refused(precision: torch.dtype, device: str) -> Iterator[None]:
    """A context in which ``torch.autocast`` raises where it would pass unseen: it leaves float64 as it is."""
    enter: Any = torch.autocast.__enter__

    def refuse(self: Any) -> Any:
        if precision is torch.float64 and self._enabled and self.device == device:
            raise ValueError(f"torch.autocast to {self.fast_dtype} changes float32 only")
        return enter(self)

    torch.autocast.__enter__ = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = enter  # type: ignore[method-assign]


def _forward_error(error: Exception, recording: Recording, inputs: Mapping[str, torch.Tensor]) -> str:
    shapes = ", ".join(str(tuple(t.shape)) for t in inputs.values())
    path, kind = recording.reached[-1] if recording.reached else ("", "the model")
    return (
        f"the torch model raised in {path or 'the model'} ({kind}) at {source.raised_at(error)}, given input of shape "
        f"{shapes}: {in_short(error)}"
    )


def tensors_in(result: Any) -> list[torch.Tensor]:
    """The tensors that a model returned, in order."""
    return [t for t in pytree.tree_leaves(_as_tree(result)) if isinstance(t, torch.Tensor)]


def _as_tree(result: Any) -> Any:
    """Outputs as torch's trees know them; dataclasses and objects with a ``to_tuple`` are opened."""
    if hasattr(result, "__dataclass_fields__"):
        return [getattr(result, field) for field in result.__dataclass_fields__]
    return result.to_tuple() if hasattr(result, "to_tuple") else result
