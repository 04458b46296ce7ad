"""An ONNX model as a torch module: one submodule for each node, which computes it with torch's operations.

So a file is a port like any other: recorded, aligned, judged in float64 and repaired in trials, layer by layer, under
the names of its nodes. Operators that are not in the table are refused by name.

Source of what each operator does: the ONNX operator schemas, https://onnx.ai/onnx/operators/, of the opsets 9 to 21.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_kerasdiff.errors import RunError

Attributes = Mapping[str, Any]
_ROUNDING = 1e-2
"""Of an output's scale: more than float32 makes of any model, less than another meaning of an operator does."""
Operator = Callable[[list[Any], Attributes], Any]
"""(inputs, None where one is left out; attributes) → the output, or a tuple of them."""


def load(path: Path) -> torch.nn.Module:
    """Read a model.

    Raises:
        RunError: The file cannot be read, onnx is not installed, or the model has operators that are not known.
    """
    try:
        import onnx
    except ImportError:
        raise RunError(f"{path}: reading .onnx needs onnx: pip install 'pytest-kerasdiff[onnx]'") from None
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: not a valid ONNX model: {type(error).__name__}: {reason[:200]}") from None
    unknown = sorted({words for node in model.graph.node if (words := _unknown(node))})
    if unknown:
        raise RunError(f"{path}: what is not supported: {', '.join(unknown)}")
    if model.graph.sparse_initializer:
        raise RunError(f"{path}: what is not supported: sparse constants")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    return Graph(model.graph, opset, path)


def confirm(graph: Graph, inputs: Sequence[np.ndarray[Any, Any]], outputs: Sequence[np.ndarray[Any, Any]]) -> None:
    """Compare what was computed here with what onnxruntime makes of the file, where that is installed and can run it.

    Args:
        graph: The model.
        inputs: What it was given, in the order of ``graph.takes``.
        outputs: What it gave, in whatever precision.

    Raises:
        RunError: The two differ by more than float32 explains: what is judged is not what will be deployed.
    """
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
        given = [array.astype(np.float32) if array.dtype.kind == "f" else array for array in inputs]
        theirs = session.run(None, dict(zip(graph.takes, given, strict=True)))
    except Exception:  # it takes fewer models than are valid, and raises what it likes
        return
    for name, one, other in zip(graph.gives, outputs, theirs, strict=False):
        other = np.asarray(other)
        if other.dtype.kind != "f" or not np.isfinite(other).all():
            continue
        scale = float(np.abs(other).max(initial=0))
        apart = float(np.abs(one - other).max(initial=0)) if one.shape == other.shape else float("inf")
        if not apart <= _ROUNDING * max(scale, 1e-3):
            raise RunError(
                f"{graph.path}: onnxruntime gives another {name} than its operators as they are known here: "
                + (f"{apart:.3g} apart of scale {scale:.3g}" if one.shape == other.shape else f"shape {other.shape}")
                + "; please report the file"
            )


def _unknown(node: Any) -> str:
    """What of a node is not known, in words; an attribute that nothing reads would be ignored in silence."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _TABLE:
        return f"the operator {node.op_type}"
    known, harmless = _ATTRIBUTES.get(node.op_type, "").split(), _WITHOUT_EFFECT.get(node.op_type, {})
    for attribute in node.attribute:
        value = _attribute(attribute)
        if attribute.name in harmless and harmless[attribute.name](value):
            continue
        if attribute.name not in known:
            return f"{node.op_type} with {attribute.name}"
        if (node.op_type, attribute.name) == ("Cast", "to") and value not in _DTYPES:
            return f"Cast to type {value}"
    return ""


class Graph(torch.nn.Module):
    """A model: takes its inputs in order, or by the names in ``takes``."""

    def __init__(self, graph: Any, opset: int, path: Path) -> None:
        """Make a submodule of each node, and a parameter or buffer of each constant.

        Args:
            graph: onnx's GraphProto.
            opset: Version of the operators.
            path: Of the file.
        """
        super().__init__()
        self.path = path
        from onnx import numpy_helper

        self._held: dict[str, str] = {}
        sizes = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]}
        for constant in graph.initializer:
            self._hold(constant.name, numpy_helper.to_array(constant), constant.name in sizes)
        self.takes = [i.name for i in graph.input if i.name not in self._held]
        own = [i.type.tensor_type.shape for i in graph.input if i.name not in self._held]
        self._shapes = [tuple(axis.dim_value for axis in shape.dim) for shape in own]
        self.gives = [o.name for o in graph.output]
        self._order: list[tuple[str, list[str], list[str]]] = []
        for node in graph.node:
            attributes = {a.name: _attribute(a) for a in node.attribute}
            if node.op_type == "Constant":
                (value,) = attributes.values()
                array = value if isinstance(value, np.ndarray) else np.asarray(value)
                self._hold(node.output[0], array.astype(np.float32) if array.dtype == np.float64 else array, True)
                continue
            context = {"opset": opset, "outputs": len(node.output)}
            name = self._free_name(node.name or f"{node.op_type}_{len(self._order)}")
            self.add_module(name, Node(_TABLE[node.op_type], {**attributes, **context}))
            self._order.append((name, list(node.input), list(node.output)))
        self.eval()

    def _hold(self, name: str, array: np.ndarray[Any, Any], is_number: bool) -> None:
        """Keep a constant: a parameter, unless it is a number or a size of the graph's own."""
        own = self._held[name] = self._free_name(name)
        tensor = torch.from_numpy(np.array(array))
        if tensor.is_floating_point() and tensor.ndim and not is_number:
            self.register_parameter(own, torch.nn.Parameter(tensor, requires_grad=False))
        else:
            self.register_buffer(own, tensor)

    def _free_name(self, name: str) -> str:
        """A name that torch allows and nothing else has."""
        wanted = re.sub(r"[.:]", "_", name) or "constant"
        taken, own, number = {*self._modules, *self._parameters, *self._buffers, *dir(self)}, wanted, 1
        while own in taken:
            own, number = f"{wanted}_{number}", number + 1
        return own

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the nodes in their order."""
        inputs = inputs or tuple(named[name] for name in self.takes if name in named)
        if len(inputs) != len(self.takes):
            raise ValueError(f"the ONNX model takes {len(self.takes)} inputs: {', '.join(self.takes)}")
        for name, stated, given in zip(self.takes, self._shapes, inputs, strict=True):
            if len(stated) != given.ndim or any(s and s != g for s, g in zip(stated, given.shape, strict=True)):
                shape = ", ".join(str(size or "any") for size in stated)
                raise ValueError(
                    f"the ONNX model takes {name} of shape ({shape}), given {tuple(given.shape)}; one of a fixed batch "
                    "is compared with --kerasdiff-batch"
                )
        values: dict[str, Any] = {"": None, **{name: getattr(self, own) for name, own in self._held.items()}}
        values.update(zip(self.takes, inputs, strict=True))
        for name, takes, gives in self._order:
            result = self._modules[name](*(values[value] for value in takes))  # type: ignore[misc]
            several = result if isinstance(result, tuple) else (result,)
            values.update(zip(gives, several, strict=False))
        outputs = tuple(values[name] for name in self.gives)
        return outputs[0] if len(outputs) == 1 else outputs


class Node(torch.nn.Module):
    """One node."""

    def __init__(self, operator: Operator, attributes: Attributes) -> None:
        """Know what it computes."""
        super().__init__()
        self._operator, self._attributes = operator, attributes

    def forward(self, *inputs: Tensor | None) -> Any:
        """Compute it."""
        return self._operator(list(inputs), self._attributes)


def _attribute(attribute: Any) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value.decode() if isinstance(value, bytes) else value


def _ints(value: Any) -> list[int]:
    return [int(i) for i in value.tolist()] if isinstance(value, Tensor) else [int(i) for i in value]


def _axes(inputs: list[Any], attributes: Attributes, place: int = 1) -> list[int] | None:
    """Axes, an attribute in older opsets and an input in newer ones."""
    given = inputs[place] if len(inputs) > place and inputs[place] is not None else attributes.get("axes")
    return None if given is None else _ints(given)


# -- windows -----------------------------------------------------------------------------------------------------------


def _pads(
    a: Attributes, x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Padding at the beginning of each axis, then at the end of each."""
    auto, axes = a.get("auto_pad", "NOTSET"), len(kernel)
    if auto in ("NOTSET", ""):
        return _ints(a.get("pads", [0] * (2 * axes)))
    if auto == "VALID":
        return [0] * (2 * axes)
    begin, end = [], []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        less, more = total // 2, total - total // 2
        begin.append(less if auto == "SAME_UPPER" else more)
        end.append(more if auto == "SAME_UPPER" else less)
    return begin + end


def _padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """The input, padded where the two ends differ, and the padding that is left to the operation."""
    axes = len(pads) // 2
    begin, end = pads[:axes], pads[axes:]
    if list(begin) == list(end):
        return x, list(begin)
    widths = [w for i in reversed(range(axes)) for w in (begin[i], end[i])]
    return F.pad(x, widths, value=value), [0] * axes


def _each(a: Attributes, name: str, axes: int) -> list[int]:
    return _ints(a.get(name, [1] * axes))


def _conv(i: list[Any], a: Attributes) -> Tensor:
    x, kernel, axes = i[0], i[1].shape[2:], i[1].ndim - 2
    strides, dilations = _each(a, "strides", axes), _each(a, "dilations", axes)
    x, padding = _padded(x, _pads(a, x, kernel, strides, dilations))
    function: Any = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return function(x, i[1], i[2] if len(i) > 2 else None, strides, padding, dilations, a.get("group", 1))  # type: ignore[no-any-return]


def _conv_transpose(i: list[Any], a: Attributes) -> Tensor:
    axes = i[1].ndim - 2
    strides, dilations = _each(a, "strides", axes), _each(a, "dilations", axes)
    more = _ints(a.get("output_padding", [0] * axes))
    function: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    pads = _ints(a.get("pads", [0] * (2 * axes)))
    full = [
        (size - 1) * s + (k - 1) * d + 1 + m
        for size, s, k, d, m in zip(i[0].shape[2:], strides, i[1].shape[2:], dilations, more, strict=True)
    ]
    wanted = None
    if "output_shape" in a:
        wanted = _ints(a["output_shape"])[-axes:]
    elif str(a.get("auto_pad", "")).startswith("SAME"):
        wanted = [size * s for size, s in zip(i[0].shape[2:], strides, strict=True)]
    if wanted is not None:
        total = [have - want for have, want in zip(full, wanted, strict=True)]
        if min(total) < 0:
            raise ValueError("ConvTranspose: an output larger than what its windows reach")
        begin = [t // 2 if a.get("auto_pad") == "SAME_UPPER" else t - t // 2 for t in total]
        pads = begin + [t - b for t, b in zip(total, begin, strict=True)]
    made: Tensor = function(i[0], i[1], i[2] if len(i) > 2 else None, strides, 0, more, a.get("group", 1), dilations)
    for axis in range(axes):
        made = made.narrow(axis + 2, pads[axis], made.shape[axis + 2] - pads[axis] - pads[axes + axis])
    return made


def _max_pool(i: list[Any], a: Attributes) -> Tensor:
    kernel = _ints(a["kernel_shape"])
    strides, dilations = _each(a, "strides", len(kernel)), _each(a, "dilations", len(kernel))
    pads, ceil = _pads(a, i[0], kernel, strides, dilations), bool(a.get("ceil_mode", 0))
    if max(dilations) > 1 and str(a.get("auto_pad", "")).startswith("SAME"):
        raise ValueError("MaxPool: auto_pad with dilations")
    x, padding = _padded(i[0], pads, float("-inf"))
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        x, padding = F.pad(i[0], [w for p in reversed(padding) for w in (p, p)], value=float("-inf")), [0] * len(kernel)
    _refuse_ceil("MaxPool", ceil and x is not i[0])
    function: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    return function(x, kernel, strides, padding, dilations, ceil)  # type: ignore[no-any-return]


def _average_pool(i: list[Any], a: Attributes) -> Tensor:
    kernel = _ints(a["kernel_shape"])
    strides = _each(a, "strides", len(kernel))
    pads, counts = _pads(a, i[0], kernel, strides, [1] * len(kernel)), bool(a.get("count_include_pad", 0))
    function: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    ceil = bool(a.get("ceil_mode", 0))
    x, padding = _padded(i[0], pads)
    if x is i[0] and all(2 * p <= k for p, k in zip(padding, kernel, strict=True)):
        return function(x, kernel, strides, padding, ceil, counts)  # type: ignore[no-any-return]
    _refuse_ceil("AveragePool", ceil)
    axes = len(kernel)
    widths = [w for n in reversed(range(axes)) for w in (pads[n], pads[axes + n])]
    means: Tensor = function(F.pad(i[0], widths), kernel, strides, 0)
    if counts:
        return means
    inside: Tensor = function(F.pad(torch.ones_like(i[0]), widths), kernel, strides, 0)
    return means / inside


def _refuse_ceil(name: str, is_padded_before: bool) -> None:
    """Refuse what torch has no way to say: windows that begin in a padding, which it leaves out of its own alone."""
    if is_padded_before:
        raise ValueError(f"{name}: ceil_mode with a padding of two widths, or one that is wider than half the window")


def _global(reduce: Callable[..., Tensor]) -> Operator:
    return lambda i, a: reduce(i[0], dim=tuple(range(2, i[0].ndim)), keepdim=True)


# -- layers ------------------------------------------------------------------------------------------------------------


def _gemm(i: list[Any], a: Attributes) -> Tensor:
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    x = i[0].mT if a.get("transA") else i[0]
    kernel = i[1] if a.get("transB") else i[1].mT
    bias = i[2] if len(i) > 2 else None
    if alpha == 1 and (bias is None or (beta == 1 and bias.ndim == 1)):
        return F.linear(x, kernel, bias)
    product: Tensor = alpha * F.linear(x, kernel)
    return product if bias is None else product + beta * bias


def _batch_norm(i: list[Any], a: Attributes) -> Tensor:
    if a.get("training_mode"):
        raise ValueError("BatchNormalization in training mode")
    return F.batch_norm(i[0], i[3], i[4], i[1], i[2], False, 0.0, a.get("epsilon", 1e-5))


def _layer_norm(i: list[Any], a: Attributes) -> Tensor:
    axis = a.get("axis", -1) % i[0].ndim
    bias = i[2] if len(i) > 2 else None
    return F.layer_norm(i[0], i[0].shape[axis:], i[1], bias, a.get("epsilon", 1e-5))


def _instance_norm(i: list[Any], a: Attributes) -> Tensor:
    return F.instance_norm(i[0], None, None, i[1], i[2], True, 0.0, a.get("epsilon", 1e-5))


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def call(i: list[Any], a: Attributes) -> Tensor:
        if a["opset"] >= 13:
            return function(i[0], dim=a.get("axis", -1))
        axis = a.get("axis", 1) % i[0].ndim  # of everything from this axis on
        return function(i[0].flatten(axis), dim=axis).reshape(i[0].shape)

    return call


def _clip(i: list[Any], a: Attributes) -> Tensor:
    low = i[1] if len(i) > 1 else a.get("min")
    high = i[2] if len(i) > 2 else a.get("max")
    low, high = (v.item() if isinstance(v, Tensor) else v for v in (low, high))
    return torch.clamp(i[0], low, high)


def _prelu(i: list[Any], a: Attributes) -> Tensor:
    return torch.where(i[0] > 0, i[0], i[0] * i[1])


def _hard_sigmoid(i: list[Any], a: Attributes) -> Tensor:
    return torch.clamp(i[0] * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1)


def _selu(i: list[Any], a: Attributes) -> Tensor:
    if "alpha" in a or "gamma" in a:
        alpha, gamma = a.get("alpha", 1.67326319217681884765625), a.get("gamma", 1.05070102214813232421875)
        bent = torch.where(i[0] > 0, i[0], alpha * torch.expm1(i[0]))
        return torch.mul(bent, gamma)
    return F.selu(i[0])


def _gelu(i: list[Any], a: Attributes) -> Tensor:
    return F.gelu(i[0], approximate=a.get("approximate", "none"))


def _einsum(i: list[Any], a: Attributes) -> Tensor:
    return torch.einsum(a["equation"], *i)


# -- shapes ------------------------------------------------------------------------------------------------------------


def _reshape(i: list[Any], a: Attributes) -> Tensor:
    sizes = _ints(i[1])
    if not a.get("allowzero"):
        sizes = [i[0].shape[n] if size == 0 else size for n, size in enumerate(sizes)]
    return i[0].reshape(sizes)  # type: ignore[no-any-return]


def _flatten(i: list[Any], a: Attributes) -> Tensor:
    axis = a.get("axis", 1)
    axis = axis + i[0].ndim if axis < 0 else axis
    return i[0].reshape(int(np.prod(i[0].shape[:axis], dtype=np.int64)), -1)  # type: ignore[no-any-return]


def _transpose(i: list[Any], a: Attributes) -> Tensor:
    return i[0].permute(_ints(a.get("perm", reversed(range(i[0].ndim)))))  # type: ignore[no-any-return]


def _squeeze(i: list[Any], a: Attributes) -> Tensor:
    axes = _axes(i, a)
    return i[0].squeeze() if axes is None else i[0].squeeze(tuple(axes))  # type: ignore[no-any-return]


def _unsqueeze(i: list[Any], a: Attributes) -> Tensor:
    x, axes = i[0], _axes(i, a)
    assert axes is not None
    for axis in sorted(n % (x.ndim + len(axes)) for n in axes):
        x = x.unsqueeze(axis)
    return x  # type: ignore[no-any-return]


def _pad(i: list[Any], a: Attributes) -> Tensor:
    pads = _ints(i[1]) if len(i) > 1 and i[1] is not None else _ints(a["pads"])
    value = float(i[2]) if len(i) > 2 and i[2] is not None else a.get("value", 0.0)
    axes = [n % i[0].ndim for n in _axes(i, {}, 3) or range(i[0].ndim)]
    begin, end = dict(zip(axes, pads[: len(axes)], strict=True)), dict(zip(axes, pads[len(axes) :], strict=True))
    modes, stated = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}, a.get("mode", "constant")
    if stated not in modes:
        raise ValueError(f"Pad: mode {stated}")
    mode = modes[stated]
    last = range(i[0].ndim) if mode == "constant" else range(2, i[0].ndim)
    if any(begin.get(axis, 0) or end.get(axis, 0) for axis in {*axes} - {*last}):
        raise ValueError(f"Pad: {mode} of the first two axes")
    widths = [w for axis in reversed(last) for w in (begin.get(axis, 0), end.get(axis, 0))]
    return F.pad(i[0], widths, mode, value) if mode == "constant" else F.pad(i[0], widths, mode)


def _slice(i: list[Any], a: Attributes) -> Tensor:
    given = [None if v is None else _ints(v) for v in i[1:]]
    starts, ends = (given[0], given[1]) if given else (_ints(a["starts"]), _ints(a["ends"]))
    assert starts is not None
    assert ends is not None
    axes = (given[2] if len(given) > 2 else a.get("axes")) or list(range(len(starts)))
    steps = (given[3] if len(given) > 3 else None) or [1] * len(starts)
    x = i[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
        else:
            places = range(x.shape[axis])[slice(start, end if end >= -x.shape[axis] else None, step)]
            x = x.index_select(axis, torch.tensor(list(places), device=x.device))
    return x  # type: ignore[no-any-return]


def _gather(i: list[Any], a: Attributes) -> Tensor:
    axis = a.get("axis", 0) % i[0].ndim
    places = i[1].long()
    places = torch.where(places < 0, places + i[0].shape[axis], places)
    if axis == 0 and i[0].ndim == 2 and i[0].is_floating_point():
        return F.embedding(places, i[0])
    found = i[0].index_select(axis, places.reshape(-1))
    return found.reshape((*i[0].shape[:axis], *places.shape, *i[0].shape[axis + 1 :]))  # type: ignore[no-any-return]


def _split(i: list[Any], a: Attributes) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    sizes = i[1] if len(i) > 1 and i[1] is not None else a.get("split")
    if sizes is not None:
        return torch.split(i[0], _ints(sizes), axis)
    return torch.chunk(i[0], a["outputs"], axis)


def _reduce(function: Callable[..., Any]) -> Operator:
    def call(i: list[Any], a: Attributes) -> Any:
        axes, keep = _axes(i, a) or None, bool(a.get("keepdims", 1))
        if axes is None and a.get("noop_with_empty_axes"):
            return i[0]
        return function(i[0], dim=tuple(range(i[0].ndim)) if axes is None else tuple(axes), keepdim=keep)

    return call


def _resize(i: list[Any], a: Attributes) -> Tensor:
    """Nearest, linear or cubic, of the axes after the channels."""
    x, mode, place = i[0], a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    sizes, factors = _ints(i[3]) if len(i) > 3 and i[3] is not None else [], None
    if not sizes:
        factors = [float(f) for f in (i[2] if len(i) > 2 else i[1]).tolist()]
        sizes = [int(size * f) for size, f in zip(x.shape, factors, strict=True)]
    if list(x.shape[:2]) != sizes[:2] or (factors is not None and factors[:2] != [1, 1]):
        raise ValueError(f"Resize of other axes than the last: {tuple(x.shape)} to {tuple(sizes)}")
    # A place is computed from the factor that is stated, which need not be that of the sizes: 5 · 1.5 is 7, not 7.5.
    to: dict[str, Any] = {"size": sizes[2:]} if factors is None else {"scale_factor": factors[2:]}
    if place == "pytorch_half_pixel" and any(new == 1 < old for new, old in zip(sizes[2:], x.shape[2:], strict=True)):
        raise ValueError("Resize: pytorch_half_pixel to a size of 1")
    if mode == "nearest":
        stated = factors[2:] if factors is not None else [n / o for n, o in zip(sizes[2:], x.shape[2:], strict=True)]
        whole = all(factor == int(factor) for factor in stated)
        if factors is not None and any(f != int(f) and 1 / f != int(1 / f) for f in factors[2:]):
            raise ValueError(f"Resize: nearest by {factors[2:]}")
        floors = place == "asymmetric" and a.get("nearest_mode", "round_prefer_floor") == "floor"
        exact = (
            place.startswith(("half_pixel", "pytorch"))
            and a.get("nearest_mode", "round_prefer_floor") == "round_prefer_floor"
        )
        if not (floors or (whole and exact)):
            raise ValueError(f"Resize: nearest with {place} and {a.get('nearest_mode')}")
        return F.interpolate(x, **to, mode="nearest" if floors else "nearest-exact")
    if place not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise ValueError(f"Resize: {mode} with {place}")
    names = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}
    if x.ndim not in names.get(mode, ()):
        raise ValueError(f"Resize: {mode} of {x.ndim - 2} axes")
    return F.interpolate(x, **to, mode=names[mode][x.ndim], align_corners=place == "align_corners")


def _dropout(i: list[Any], a: Attributes) -> Tensor:
    if len(i) > 2 and i[2] is not None and bool(i[2]):
        raise ValueError("Dropout in training mode")
    return i[0]  # type: ignore[no-any-return]


_DTYPES: Mapping[int, torch.dtype | None] = {
    1: None, 11: None, 10: torch.float16, 16: torch.bfloat16, 2: torch.uint8, 3: torch.int8, 5: torch.int16,
    6: torch.int32, 7: torch.int64, 9: torch.bool,
}  # fmt: skip
"""TensorProto.DataType → dtype; None for floats, whose precision is the comparison's. In float64 nothing is rounded."""


def _cast(i: list[Any], a: Attributes) -> Tensor:
    dtype, compared_in = _DTYPES[a["to"]], torch.get_default_dtype()
    if dtype is None or (dtype.is_floating_point and compared_in is torch.float64):
        dtype = compared_in
    return i[0].to(dtype)  # type: ignore[no-any-return]


def _constant_of_shape(i: list[Any], a: Attributes) -> Tensor:
    value = torch.from_numpy(np.array(a["value"])) if "value" in a else torch.zeros(1)
    dtype = torch.get_default_dtype() if value.is_floating_point() else value.dtype
    return torch.full(_ints(i[0]), value.item(), dtype=dtype)


def _of_one(function: Callable[[Any], Any]) -> Operator:
    return lambda i, a: function(i[0])


def _of_two(function: Callable[[Any, Any], Any]) -> Operator:
    return lambda i, a: function(i[0], i[1])


def _of_many(function: Callable[[Any, Any], Any]) -> Operator:
    def call(i: list[Any], a: Attributes) -> Any:
        result = i[0]
        for other in i[1:]:
            result = function(result, other)
        return result

    return call


def _divide(one: Tensor, other: Tensor) -> Tensor:
    return one / other if one.is_floating_point() else torch.div(one, other, rounding_mode="trunc")


_TABLE: dict[str, Operator] = {
    "Abs": _of_one(torch.abs),
    "Add": _of_two(torch.add),
    "And": _of_two(torch.logical_and),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _of_one(torch.ceil),
    "Clip": _clip,
    "Concat": lambda i, a: torch.cat(i, a["axis"]),
    "Constant": lambda i, a: None,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Cos": _of_one(torch.cos),
    "DepthToSpace": lambda i, a: _depth_to_space(i[0], a),
    "Div": _of_two(_divide),
    "Dropout": _dropout,
    "Einsum": _einsum,
    "Elu": lambda i, a: F.elu(i[0], a.get("alpha", 1.0)),
    "Equal": _of_two(torch.eq),
    "Erf": _of_one(torch.erf),
    "Exp": _of_one(torch.exp),
    "Expand": lambda i, a: i[0] * torch.ones(_ints(i[1]), dtype=i[0].dtype, device=i[0].device),
    "Flatten": _flatten,
    "Floor": _of_one(torch.floor),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "Greater": _of_two(torch.gt),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of_one(F.hardswish),
    "Identity": _of_one(lambda x: x),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda i, a: F.leaky_relu(i[0], a.get("alpha", 0.01)),
    "Less": _of_two(torch.lt),
    "Log": _of_one(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _of_two(torch.matmul),
    "Max": _of_many(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _of_many(torch.minimum),
    "Mul": _of_two(torch.mul),
    "Neg": _of_one(torch.neg),
    "Not": _of_one(torch.logical_not),
    "Or": _of_two(torch.logical_or),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _of_two(torch.pow),
    "Reciprocal": _of_one(torch.reciprocal),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _of_one(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": _selu,
    "Shape": lambda i, a: torch.tensor(i[0].shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": _of_one(torch.sigmoid),
    "Sin": _of_one(torch.sin),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _of_one(F.softplus),
    "Softsign": _of_one(F.softsign),
    "SpaceToDepth": lambda i, a: _space_to_depth(i[0], a),
    "Split": _split,
    "Sqrt": _of_one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _of_two(torch.sub),
    "Sum": _of_many(torch.add),
    "Tanh": _of_one(torch.tanh),
    "Tile": lambda i, a: i[0].repeat(_ints(i[1])),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda i, a: torch.where(i[0], i[1], i[2]),
}


def _space_to_depth(x: Tensor, a: Attributes) -> Tensor:
    block = a["blocksize"]
    n, c, h, w = x.shape
    return (
        x.reshape(n, c, h // block, block, w // block, block)
        .permute(0, 3, 5, 1, 2, 4)
        .reshape(n, c * block**2, h // block, w // block)
    )


def _depth_to_space(x: Tensor, a: Attributes) -> Tensor:
    block = a["blocksize"]
    if a.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    return (
        x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, -1, h * block, w * block)
    )


_WINDOW = "kernel_shape strides pads dilations auto_pad"
_ATTRIBUTES: Mapping[str, str] = {
    "AveragePool": "kernel_shape strides pads auto_pad count_include_pad ceil_mode",
    "BatchNormalization": "epsilon training_mode",
    "Cast": "to",
    "Clip": "min max",
    "Concat": "axis",
    "Constant": "value value_float value_floats value_int value_ints",
    "ConstantOfShape": "value",
    "Conv": f"{_WINDOW} group",
    "ConvTranspose": f"{_WINDOW} group output_padding output_shape",
    "DepthToSpace": "blocksize mode",
    "Einsum": "equation",
    "Elu": "alpha",
    "Flatten": "axis",
    "Gather": "axis",
    "Gelu": "approximate",
    "Gemm": "alpha beta transA transB",
    "HardSigmoid": "alpha beta",
    "InstanceNormalization": "epsilon",
    "LayerNormalization": "axis epsilon",
    "LeakyRelu": "alpha",
    "LogSoftmax": "axis",
    "MaxPool": f"{_WINDOW} ceil_mode",
    "Pad": "mode pads value",
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), "axes keepdims noop_with_empty_axes"),
    "Reshape": "allowzero",
    "Resize": "mode coordinate_transformation_mode nearest_mode",
    "Selu": "alpha gamma",
    "Shape": "start end",
    "Slice": "starts ends axes",
    "Softmax": "axis",
    "SpaceToDepth": "blocksize",
    "Split": "axis split num_outputs",
    "Squeeze": "axes",
    "Transpose": "perm",
    "Unsqueeze": "axes",
}
"""Attributes that the functions above read; with any other one a node is refused."""
_WITHOUT_EFFECT: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "AveragePool": {"dilations": lambda value: set(value) <= {1}},
    "BatchNormalization": {"momentum": lambda value: True, "spatial": lambda value: value == 1},
    "Cast": {"saturate": lambda value: True},
    "Dropout": {"ratio": lambda value: True, "seed": lambda value: True},
    "LayerNormalization": {"stash_type": lambda value: value == 1},
    "MaxPool": {"storage_order": lambda value: True},
    "Resize": {
        "antialias": lambda value: value == 0,
        "exclude_outside": lambda value: value == 0,
        "cubic_coeff_a": lambda value: abs(value + 0.75) < 1e-6,
        "extrapolation_value": lambda value: True,
    },
}
"""Attributes that say nothing, or what is computed anyway: of outputs or modes that are not used, and defaults."""
