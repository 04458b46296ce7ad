"""Seeds: windows, activation functions, joins and modes that are set wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_kerasdiff.change import Change, Edit, Here, Step, Taken, put_before, removed
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.selftest.seed import Seed, edited, is_simple, named, of_kind
from pytest_kerasdiff.trace import Operation, Value

_RELU = Step("relu", {"self": Here()})


def paddings(case: Case) -> Iterator[Seed]:
    """Padding at the other side, and of another kind."""
    for operation in named(case, "pad", "constant_pad_nd"):
        numbers = operation.arguments.get("pad")
        if not isinstance(numbers, list | tuple) or not numbers:
            continue
        mirrored = [n for i in range(0, len(numbers), 2) for n in (numbers[i + 1], numbers[i])]
        if mirrored != list(numbers):
            change = edited(case, operation, Edit(arguments={"pad": mirrored}))
            yield Seed(_padding_id(case), f"padding {tuple(mirrored)} for {tuple(numbers)}", change)
    for operation in of_kind(case, "conv"):
        own, dims = operation.arguments.get("padding"), len(case.trace.shapes[operation.outputs[0]]) - 2
        several = [own] * dims if isinstance(own, int) else list(own or []) if not isinstance(own, str) else []
        several = several * dims if len(several) == 1 else several
        if "transpose" in operation.op or not several or not any(several):
            continue
        flat = [n for p in several[::-1] for n in (p + 1, p - 1)] if all(several) else []
        if flat:
            pad = Step("constant_pad_nd", {"self": Here(), "pad": flat, "value": 0.0})
            edit = Edit(before={"input": (pad,)}, arguments={"padding": [0] * dims})
            yield Seed(_padding_id(case), "padding one pixel off", edited(case, operation, edit))
        border = [n for p in several[::-1] for n in (p, p)]
        if dims == 2:
            pad = Step("replication_pad2d", {"self": Here(), "padding": border})
            edit = Edit(before={"input": (pad,)}, arguments={"padding": [0] * dims})
            yield Seed("padding-mode", "borders that repeat pixels", edited(case, operation, edit))


def _padding_id(case: Case) -> str:
    """What the catalogue calls a wrong padding of a layer."""
    kind, causal = case.layer.class_name, case.layer.config.get("padding") == "causal"
    if kind.startswith("ZeroPadding"):
        return "zero-padding-layer"
    if kind.startswith("Cropping"):
        return "cropping"
    if kind.endswith("Transpose"):
        return "transposed-conv"
    return "causal-padding" if causal else "pool-padding" if "Pooling" in kind else "same-padding"


def windows(case: Case) -> Iterator[Seed]:
    """A window that begins elsewhere, poolings of another kind, padding that counts."""
    for operation in of_kind(case, "conv"):
        stride = operation.arguments.get("stride", 1)
        numbers = [stride] if isinstance(stride, int) else list(stride)
        shape = case.trace.shapes[operation.inputs[0]]
        if max(numbers, default=1) > 1 and "transpose" not in operation.op and len(shape) > 2:
            axes = list(range(2, len(shape)))
            shift = Step("roll", {"self": Here(), "shifts": [-1] * len(axes), "dims": axes})
            change = edited(case, operation, Edit(before={"input": (shift,)}))
            yield Seed("stride", "every other pixel, from the second on", change, ("same-padding", "extra-layer"))
        dilation = operation.arguments.get("dilation", 1)
        spread = [dilation] if isinstance(dilation, int) else list(dilation)
        if max(spread) > 1:
            yield Seed("dilation", "dilation 1", edited(case, operation, _without_dilation(operation, spread)))
    for operation in named(case, "max_pool2d", "avg_pool2d"):
        keep = {n: Taken(n) for n in ("self", "kernel_size", "stride", "padding", "ceil_mode")}
        other = "avg_pool2d" if operation.op == "max_pool2d" else "max_pool2d"
        yield Seed("pool-kind", f"{other} for {operation.op}", edited(case, operation, Edit(instead=Step(other, keep))))
        padding = operation.arguments.get("padding", 0)
        if operation.op == "avg_pool2d" and any([padding] if isinstance(padding, int) else padding):
            counted = not operation.arguments.get("count_include_pad", True)
            change = edited(case, operation, Edit(arguments={"count_include_pad": counted}))
            yield Seed("pool-padding", "the padding counted", change)
    for operation in named(case, "adaptive_avg_pool2d", "mean"):
        if "Pooling" in case.layer.class_name and operation.op == "mean" and operation.arguments.get("dim"):
            instead = Step("amax", {n: Taken(n) for n in ("self", "dim", "keepdim")})
            yield Seed("pool-kind", "the maximum for the mean", edited(case, operation, Edit(instead=instead)))
        elif operation.op == "adaptive_avg_pool2d":
            instead = Step("amax", {"self": Taken("self"), "dim": [-2, -1], "keepdim": True})
            yield Seed("pool-kind", "the maximum for the mean", edited(case, operation, Edit(instead=instead)))


def _without_dilation(operation: Operation, spread: list[int]) -> Edit:
    """Dilation 1, with as much less padding; where sizes then do not fit, the seed does not run and is left out."""
    padding = operation.arguments.get("padding", 0)
    narrower: Any = padding
    if not isinstance(padding, str):
        own = [padding] if isinstance(padding, int) else list(padding)
        narrower = [p // spread[min(i, len(spread) - 1)] for i, p in enumerate(own)]
    return Edit(arguments={"dilation": [1] * len(spread), "padding": narrower})


def activations(case: Case) -> Iterator[Seed]:
    """An activation function of another kind, with another number, left out, or moved before the normalisation."""
    if not is_simple(case):
        return
    for operation in of_kind(case, "act"):
        takes = "self" if "self" in operation.arguments else "input"
        if len(operation.inputs) != 1 or not isinstance(operation.arguments.get(takes), Value):
            continue
        if operation.op == "softmax" or operation.op.endswith("_softmax"):
            yield Seed("softmax", "no softmax", edited(case, operation, removed(takes)), ("missing-layer",))
            again = Step("softmax", {"self": Here(), "dim": operation.arguments.get("dim", -1)})
            yield Seed("softmax", "softmax twice", edited(case, operation, Edit(after=(again,))), ("extra-layer",))
            continue
        yield Seed("missing-layer", f"no {operation.op}", edited(case, operation, removed(takes)),
                   ("activation-kind", "layer-order"))  # fmt: skip
        if operation.op in ("relu", "relu_"):
            bent = Step("leaky_relu", {"self": Taken(takes), "negative_slope": 0.01})
            yield Seed("activation-kind", "a leaky ReLU", edited(case, operation, Edit(instead=bent)),
                       ("activation-slope",))  # fmt: skip
            capped = Step("hardtanh", {"self": Taken(takes), "min_val": 0.0, "max_val": 6.0})
            yield Seed("activation-kind", "ReLU6", edited(case, operation, Edit(instead=capped)),
                       ("activation-slope",))  # fmt: skip
        elif operation.op == "leaky_relu":
            slope = operation.arguments.get("negative_slope", 0.01)
            other = 0.01 if slope != 0.01 else 0.3
            yield Seed("activation-slope", f"slope {other:g} for {slope:g}",
                       edited(case, operation, Edit(arguments={"negative_slope": other})))  # fmt: skip
        elif operation.op in ("tanh", "sigmoid", "gelu", "silu"):
            instead = Step("relu" if operation.op != "sigmoid" else "hardsigmoid", {"self": Taken(takes)})
            yield Seed("activation-kind", f"{instead.op} for {operation.op}",
                       edited(case, operation, Edit(instead=instead)))  # fmt: skip


def extras(case: Case) -> Iterator[Seed]:
    """An operation that Keras does not have."""
    if not is_simple(case):
        return
    for operation in of_kind(case, "norm", "add"):
        if len(operation.outputs) == 1:
            tanh = Step("tanh", {"self": Here()})
            yield Seed("extra-layer", "a tanh behind it", edited(case, operation, Edit(after=(tanh,))),
                       ("activation-kind",))  # fmt: skip


def orders(case: Case) -> Iterator[Seed]:
    """The activation before the normalisation."""
    for norm in of_kind(case, "norm"):
        takers = case.takers(norm.outputs[0])
        if len(takers) != 1:
            continue
        at, argument = takers[0]
        operation = case.trace.operations[at]
        if operation.op in ("relu", "relu_") and argument == "self":
            takes = "input" if "input" in norm.arguments else "self"
            edits = {case.place(norm): Edit(before={takes: (_RELU,)}), at: removed("self")}
            yield Seed("layer-order", "the activation before the normalisation", Change(edits=edits),
                       ("missing-layer", "extra-layer"))  # fmt: skip


def joins(case: Case) -> Iterator[Seed]:
    """Operands in another order, another join, a shortcut that is not added."""
    for operation in of_kind(case, "concat") if case.layer.class_name == "Concatenate" else ():
        tensors = operation.arguments.get("tensors")
        if isinstance(tensors, list | tuple) and len(tensors) > 1:
            change = edited(case, operation, Edit(arguments={"tensors": list(tensors)[::-1]}))
            yield Seed("concat-order", "operands in reverse order", change)
    for operation in named(case, "add"):
        if len(operation.inputs) == 2 and case.layer.class_name in ("Add", "Average"):
            instead = Step("sub", {"self": Taken("self"), "other": Taken("other")})
            yield Seed("merge-mode", "a difference for the sum", edited(case, operation, Edit(instead=instead)))
            yield Seed("missing-layer", "the shortcut not added", edited(case, operation, removed("self")),
                       ("merge-mode",))  # fmt: skip


def modes(case: Case) -> Iterator[Seed]:
    """A normalisation or a dropout in training mode."""
    for operation in named(case, "batch_norm"):
        change = edited(case, operation, Edit(arguments={"training": True}))
        yield Seed("train-mode", "the normalisation in training mode", change)


def resampling(case: Case) -> Iterator[Seed]:
    """Another interpolation."""
    for operation in named(case, "upsample_nearest2d", "upsample_bilinear2d"):
        size = case.trace.shapes[operation.outputs[0]][-2:]
        if operation.op == "upsample_nearest2d":
            instead = Step("upsample_bilinear2d", {"self": Taken("self"), "output_size": list(size),
                                                   "align_corners": False})  # fmt: skip
        else:
            instead = Step("upsample_nearest2d", {"self": Taken("self"), "output_size": list(size)})
        yield Seed("upsampling", f"{instead.op} for {operation.op}", edited(case, operation, Edit(instead=instead)))


def inputs(case: Case) -> Iterator[Seed]:
    """The input divided by 255, its channels reversed, its rows and columns exchanged: before the first operation."""
    if case.layer.class_name != "InputLayer" or case.value is None:
        return
    takers = case.takers(case.value)
    shape = case.trace.shapes[case.value]
    if case.reference.values[case.layer.outputs[0]].dtype.kind != "f" or not takers:
        return

    divide = Step("div", {"self": Here(), "other": 255.0})
    yield Seed(
        "input-scale",
        "the input divided by 255",
        Change(edits=put_before(takers, [divide])),
        ("rescaling", "extra-layer"),
    )
    first = case.trace.operations[takers[0][0]]
    channels_first = len(shape) == 4 and first.op not in ("permute", "transpose", "movedim")
    at = 1 if channels_first else -1
    if len(shape) == 4 and shape[at] > 1:
        reverse = Step("flip", {"self": Here(), "dims": [at]})
        yield Seed(
            "input-channels",
            "the channels in reverse order",
            Change(edits=put_before(takers, [reverse])),
            ("conv-kernel-layout",),
        )
        rows, columns = (2, 3) if channels_first else (1, 2)
        turn = Step("transpose", {"self": Here(), "dim0": rows, "dim1": columns})
        yield Seed(
            "input-layout",
            "rows and columns exchanged",
            Change(edits=put_before(takers, [turn])),
            ("permute", "conv-kernel-layout"),
        )
