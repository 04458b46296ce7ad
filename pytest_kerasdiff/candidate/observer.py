"""Observe a port as the product runs it: its modes, dtypes and settings, and what calling it does and gives."""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_kerasdiff import probes
from pytest_kerasdiff.candidate import recorder, source
from pytest_kerasdiff.candidate.program import array_of
from pytest_kerasdiff.errors import first_line
from pytest_kerasdiff.facts import PortFacts
from pytest_kerasdiff.trace import Array

Call = Callable[[Sequence[torch.Tensor]], Any]
"""Calls the model with its inputs in order, as the recorded run did."""

_MODE_MATTERS = (
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.modules.instancenorm._InstanceNorm,
    torch.nn.modules.dropout._DropoutNd,
    torch.nn.RReLU,
    torch.nn.RNNBase,
    torch.nn.MultiheadAttention,
)
"""Modules of torch that do something else in training mode; a convolution or a ReLU does the same."""
_REDUCED = (torch.float16, torch.bfloat16)
_SAME = 1e-12
"""Difference, relative to an output's scale, below which a larger batch has given the same: rounding in float64."""


def settings_of_precision() -> dict[str, str]:
    """Settings that lower the precision of float32, where they differ from torch's defaults.

    Source: the defaults of torch.backends.cuda.matmul.allow_tf32 and torch.get_float32_matmul_precision.
    """
    found = {}
    if torch.backends.cuda.matmul.allow_tf32:
        found["torch.backends.cuda.matmul.allow_tf32"] = "True"
    if torch.get_float32_matmul_precision() != "highest":
        found["torch.get_float32_matmul_precision()"] = torch.get_float32_matmul_precision()
    for device in ("cuda", "cpu"):
        if torch.is_autocast_enabled(device):
            found[f"torch.is_autocast_enabled({device!r})"] = "True"
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Switches:
    """Switches of torch that the recorder turns off, as the user's code left them."""

    matmul_tf32: bool
    convolution_tf32: bool
    fastpath: bool

    @classmethod
    def now(cls) -> Switches:
        """As they are."""
        backends = torch.backends
        return cls(backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.mha.get_fastpath_enabled())

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """A context in which they are so again."""
        before = Switches.now()
        self._set()
        try:
            yield
        finally:
            before._set()

    def _set(self) -> None:
        torch.backends.cuda.matmul.allow_tf32 = self.matmul_tf32
        torch.backends.cudnn.allow_tf32 = self.convolution_tf32
        torch.backends.mha.set_fastpath_enabled(self.fastpath)


def modes(model: torch.nn.Module) -> list[str]:
    """Modules in training mode whose mode matters: the model itself, those of torch that heed it, the user's own."""
    # A graph made from a model has the mode it was made in, and what only hands on has none; only modules of torch that
    # it calls heed their flags.
    own = not isinstance(model, torch.fx.GraphModule | torch.nn.DataParallel)
    found = ["the model"] if own and getattr(model, "training", False) else []
    for path, module in model.named_modules():
        heeds = isinstance(module, _MODE_MATTERS) or (own and not type(module).__module__.startswith("torch.nn."))
        if path and heeds and getattr(module, "training", False):
            found.append(path)
    return found


def momentum(model: torch.nn.Module) -> dict[str, float | None]:
    """Momentum of each BatchNorm module."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    return {path: module.momentum for path, module in model.named_modules() if isinstance(module, kind)}


def dropout(model: torch.nn.Module) -> dict[str, float]:
    """Rate of each dropout module."""
    kind = torch.nn.modules.dropout._DropoutNd
    return {path: module.p for path, module in model.named_modules() if isinstance(module, kind)}


def tensors_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def dtypes_of(model: torch.nn.Module) -> dict[str, torch.dtype]:
    """Dtype of every parameter and buffer."""
    return {name: tensor.dtype for name, tensor in tensors_of(model).items()}


def convert(model: torch.nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
    """Give parameters and buffers these dtypes, in memory of their own: the recorded program keeps its constants."""
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            tensor.data = tensor.data.to(dtypes.get(name, tensor.dtype), copy=True)


@contextlib.contextmanager
def as_delivered(
    model: torch.nn.Module, dtypes: Mapping[str, torch.dtype], switches: Switches, precision: torch.dtype
) -> Iterator[None]:
    """A context in which a recorded port is as it was delivered; ``precision`` is that of the comparison."""
    converted = dtypes_of(model)
    try:
        convert(model, dtypes)
        torch.set_default_dtype(torch.float32)
        with switches.restored():
            yield
    finally:
        convert(model, converted)
        torch.set_default_dtype(precision)


def fed_in(model: torch.nn.Module) -> torch.dtype:
    """The dtype that a product would feed a port with: that of its parameters, float32 where they differ."""
    kinds = {tensor.dtype for tensor in tensors_of(model).values() if tensor.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 else torch.float32


def observe(
    model: torch.nn.Module,
    call: Call,
    arrays: Sequence[Array],
    delivered: Mapping[str, torch.dtype],
    settings: Mapping[str, str],
    switches: Switches,
    precision: torch.dtype,
    takes_other_batches: bool,
    recorded: Sequence[Array],
) -> PortFacts:
    """Run a port that was recorded before a few times more, and note what is seen.

    Args:
        model: The port, converted to ``precision`` by the recorder; left so.
        call: How the model is called.
        arrays: Probe inputs in the port's layout.
        delivered: dtype of every parameter and buffer before it was converted.
        settings: What ``settings_of_precision`` found when the port was built.
        switches: What the recorder has turned off since.
        precision: dtype of the comparison.
        takes_other_batches: See ``PortFacts``.
        recorded: What the model gave while it was recorded.
    """
    device = next(iter(tensors_of(model).values()), torch.empty(0)).device
    found: dict[str, Any] = {
        "training": modes(model),
        "trainable": [name for name, p in model.named_parameters() if p.requires_grad],
        "buffers": [name for name, _ in model.named_buffers()],
        "dtypes": {name: str(dtype).removeprefix("torch.") for name, dtype in delivered.items()},
        "settings": dict(settings),
        "device": device.type,
        "convolutions_in_tf32": device.type == "cuda" and switches.convolution_tf32,
        "takes_other_batches": takes_other_batches,
        "momentum": momentum(model),
        "dropout": dropout(model),
    }
    with as_delivered(model, delivered, switches, precision):
        found |= _as_delivered(model, call, arrays, device)
    try:
        with recorder.autocast_refused(precision, device.type):
            again = _again(call, arrays, device, precision, recorded)
        if any(array.dtype == np.float32 for array in again["again"]) and precision is torch.float64:
            raise TypeError("the port gives float32")
        found |= again
    except Exception:  # its own code makes float32 of what the recorder had kept in float64
        convert(model, delivered)
        torch.set_default_dtype(torch.float32)
        first = run(call, arrays, device, torch.float32)
        found |= {"first": first, "ran_in": "float32", **_again(call, arrays, device, torch.float32, first)}
    return PortFacts(**found)


def _as_delivered(model: torch.nn.Module, call: Call, arrays: Sequence[Array], device: torch.device) -> dict[str, Any]:
    """Call the model as a product does that takes no precautions: gradients are tracked where nothing forbids it."""
    dtype = fed_in(model)
    given = tensors(arrays, device, dtype)
    before = {name: _mark(tensor) for name, tensor in tensors_of(model).items()}
    own = {t.untyped_storage().data_ptr() for t in [*tensors_of(model).values(), *given]}
    held: dict[int, int] = {}
    memories: list[StorageWeakRef] = []  # so that no other memory gets the address of one that is gone

    def pack(tensor: torch.Tensor) -> Any:
        """Count, and keep nothing: nobody runs a backward pass, and that of a deep port needs every activation."""
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own and memory._cdata not in held:
            held[memory._cdata] = memory.nbytes()
            memories.append(StorageWeakRef(memory))  # type: ignore[no-untyped-call]

    watch = _Watch()
    found: dict[str, Any] = {}
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept), watch, recorder.uncompiled():
            outputs = recorder.tensors_in(call(given))
        found["tracks_gradient"] = any(t.requires_grad for t in outputs)
        found["deployed"] = [array_of(t) for t in outputs]
    except Exception:  # what the recorded run has kept in the model (a cache) may be of use without gradients only
        try:
            found["deployed"] = run(call, arrays, device, dtype)
        except Exception as error:
            found["deployed_error"] = _reason(error)
    found["held_bytes"] = sum(held.values()) if found.get("tracks_gradient") else 0
    found["reduced"] = watch.reduced
    found["changed"] = [name for name, tensor in tensors_of(model).items() if before.get(name) != _mark(tensor)]
    return found


def run(call: Call, arrays: Sequence[Array], device: torch.device, precision: torch.dtype) -> list[Array]:
    """The outputs for a batch in the port's layout, without gradients."""
    with torch.inference_mode(), recorder.uncompiled():
        return [array_of(t) for t in recorder.tensors_in(call(tensors(arrays, device, precision)))]


def _again(
    call: Call, arrays: Sequence[Array], device: torch.device, precision: torch.dtype, first: Sequence[Array]
) -> dict[str, Any]:
    """Run other batches, and the same once more; the larger of the others does for that where it gives the same."""
    found: dict[str, Any] = {}
    try:
        found["others"] = [run(call, batch, device, precision) for batch in probes.other_batches(arrays)]
    except Exception as error:
        found["others_error"] = _reason(error)
    larger = found["others"][-1] if found.get("others") else []
    same = [array[: len(arrays[0])] if array.ndim else array for array in larger]
    again = bool(same) and len(same) == len(first) and all(map(_equal, same, first))
    found["again"] = same if again else run(call, arrays, device, precision)
    return found


def _equal(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and recorder.alike(one, other, _SAME)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations that compute in reduced precision."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._computed: dict[str, None] = {}
        self._converted: dict[str, None] = {}

    @property
    def reduced(self) -> list[str]:
        """Where, and by what operation; where values are only converted and back, by those conversions."""
        return list(self._computed or self._converted)

    def operation(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.dtype in _REDUCED:
                name = func._schema.name.split("::")[-1].strip("_")
                found = self._converted if name in ("to", "to_copy") else self._computed
                found[f"{source.caller()} ({name} in {str(leaf.dtype).removeprefix('torch.')})"] = None
        return result


def _dispatch(mode: _Watch, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    return mode.operation(func, args, kwargs or {})


_Watch.__torch_dispatch__ = _dispatch  # type: ignore[method-assign, assignment]  # as in recording.py


def tensors(arrays: Sequence[Array], device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    """Arrays as a port is fed with them: floats in its dtype."""
    own = [torch.from_numpy(np.array(a)).to(device) for a in arrays]
    return [t.to(dtype) if t.is_floating_point() else t for t in own]


def _mark(tensor: torch.Tensor) -> int:
    """A number that changes when an element does."""
    data = tensor.detach()
    if data.layout is not torch.strided:
        return 0
    return zlib.crc32(data.contiguous().view(-1).view(torch.uint8).cpu().numpy().tobytes()) if data.numel() else 0


def _reason(error: Exception) -> str:
    return f"{type(error).__name__} at {source.raised_at(error)}: {first_line(error)}"[:300]
