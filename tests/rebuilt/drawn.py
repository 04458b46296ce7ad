"""Layers and faults that hypothesis draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from tests.rebuilt import faults, windows
from tests.rebuilt.network import Fault

Draw = Callable[[st.SearchStrategy[Any]], Any]
Described = dict[str, Any]

KINDS = (
    "Conv",
    "DepthwiseConv",
    "SeparableConv",
    "ConvTranspose",
    "MaxPooling",
    "AveragePooling",
    "GlobalMaxPooling",
    "GlobalAveragePooling",
    "ZeroPadding",
    "Cropping",
    "UpSampling",
)
RANKS = {"DepthwiseConv": (1, 2), "SeparableConv": (1, 2), "MaxPooling": (1, 2)}  # 3-D: no float64 kernel on CPU


def described(kind: str, name: str, source: str, **config: Any) -> Described:
    """A layer as the Keras process takes it."""
    return {"class": kind, "config": {"name": name, **config}, "inputs": [source]}


def class_name(kind: str, rank: int) -> str:
    """``Conv2DTranspose``, ``MaxPooling3D``."""
    return f"Conv{rank}DTranspose" if kind == "ConvTranspose" else f"{kind}{rank}D"


@st.composite
def window_layers(draw: Draw, kind: str, rank: int, shape: tuple[int, ...], name: str, source: str) -> Described:
    """A layer of a kind with whatever parameters fit an input of ``shape`` (spatial sizes, then channels)."""
    *spatial, channels = shape

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(rank)]

    config: dict[str, Any] = {}
    if "Conv" in kind:
        config["padding"] = draw(st.sampled_from(["valid", "same"] + ["causal"] * (kind == "Conv" and rank == 1)))
        config["kernel_size"] = each(1, 4)
        config["use_bias"] = draw(st.booleans())
        alike = draw(st.integers(1, 3))
        config["strides"] = [alike] * rank if "epth" in kind or "Sep" in kind else each(1, 3)
        if max(config["strides"]) == 1 and kind != "ConvTranspose":
            config["dilation_rate"] = [draw(st.integers(1, 2))] * rank if "Sep" in kind else each(1, 2)
        if config["padding"] == "valid":
            dilation = config.get("dilation_rate", [1] * rank)
            config["kernel_size"] = [
                min(k, (s - 1) // d + 1) for k, s, d in zip(config["kernel_size"], spatial, dilation, strict=True)
            ]
        if kind in ("DepthwiseConv", "SeparableConv"):
            config["depth_multiplier"] = draw(st.integers(1, 2))
        if kind != "DepthwiseConv":
            config["filters"] = draw(st.sampled_from([channels, channels, 1, 2, 3, 4]))
        if kind == "Conv":
            groups = draw(st.sampled_from([g for g in (1, 1, 2, 3) if channels % g == 0]))
            config["groups"] = groups
            config["filters"] *= groups
        if draw(st.booleans()):
            config["activation"] = draw(st.sampled_from(["relu", "tanh"]))
    elif "Global" in kind:
        config["keepdims"] = draw(st.booleans())
    elif "Pooling" in kind:
        config["padding"] = draw(st.sampled_from(["valid", "same"]))
        config["pool_size"] = [min(k, s) for k, s in zip(each(1, 3), spatial, strict=True)]
        config["strides"] = each(1, 3)
    elif kind in ("ZeroPadding", "Cropping"):
        most = [2 if kind == "ZeroPadding" else (s - 1) // 2 for s in spatial]
        sides = [[draw(st.integers(0, m)), draw(st.integers(0, m))] for m in most]
        config["padding" if kind == "ZeroPadding" else "cropping"] = sides[0] if rank == 1 else sides
    else:
        config["size"] = draw(st.integers(1, 3)) if rank == 1 else each(1, 3)
        if rank == 2:
            config["interpolation"] = draw(st.sampled_from(["nearest", "bilinear"]))
    return described(class_name(kind, rank), name, source, **config)


@st.composite
def window_faults(draw: Draw, kind: str, rank: int) -> tuple[str, Fault]:
    """A name and a fault that a person may make in a layer of a kind; it need not show."""
    shift = draw(st.sampled_from([-1, 1]))
    axes = list(range(2, 2 + rank))
    known: dict[str, Fault] = {
        "extra flip after": faults.after(lambda x: x.flip(-1)),
        "extra flip before": faults.before(lambda x: x.flip(2)),
        "extra factor after": faults.after(lambda x: x * 1.001),
        "nothing done": faults.instead(nn.Identity),
    }
    if "Conv" in kind:
        own: type[nn.Module] = windows.Transposed if kind == "ConvTranspose" else windows.Convolution
        known |= {
            "shifted": faults.setting(own, shift=shift),
            "kernel flipped": faults.tensor("weight", lambda k: k.flip(axes)),
            "kernel flipped along one axis": faults.tensor("weight", lambda k: k.flip(2)),
            "output channels rolled": faults.tensor("weight", lambda k: k.roll(1, 0)),
            "input channels rolled": faults.tensor("weight", lambda k: k.roll(1, 1)),
            "kernel transposed": faults.tensor("weight", _transposed),
            "bias lost": _without_bias,
            "activation lost": lambda m: m[0] if isinstance(m, nn.Sequential) else None,
            "extra activation after": faults.after(torch.sigmoid),
            "strides reversed": _reversed("stride"),
            "dilation": lambda m: _other_dilation(faults.part(m, own)),
        }
        if own is windows.Convolution:
            known["phase"] = faults.setting(own, phase=1)
    elif "Global" in kind:
        known["other kind"] = lambda m: faults.setting(windows.GlobalPool, largest=not m.largest)(m)
    elif "Pooling" in kind:
        known |= {
            "other kind": lambda m: faults.setting(windows.Pool, largest=not m.largest)(m),
            "shifted": lambda m: _shifted_pool(m, shift),
            "padding counts": faults.setting(windows.Pool, counts_padding=True),
            "padded with zeros": faults.setting(windows.Pool, fill=0.0),
            "window reversed": _reversed("kernel"),
            "strides reversed": _reversed("stride"),
        }
    elif kind in ("ZeroPadding", "Cropping"):
        known |= {
            "sides exchanged": lambda m: setattr(m, "sides", [(b, a) for a, b in m.sides]),  # type: ignore[union-attr]
            "axes exchanged": _reversed("sides"),
        }
    else:
        known |= {
            "other interpolation": lambda m: setattr(m, "mode", "nearest" if m.mode != "nearest" else "bilinear"),
            "axes exchanged": _reversed("factors"),
        }
    name = draw(st.sampled_from(sorted(known)))
    return name, known[name]


def _transposed(kernel: torch.Tensor) -> torch.Tensor:
    moved = kernel.transpose(-1, -2)
    return moved if moved.shape == kernel.shape and kernel.ndim > 3 else kernel.transpose(0, 1).reshape(kernel.shape)


def _without_bias(module: nn.Module) -> None:
    for own in module.modules():
        if isinstance(own, windows.Convolution | windows.Transposed):
            own.bias = None


def _shifted_pool(module: Any, shift: int) -> None:
    """An average is not divided by what the shifted window sees inside: that would be a step more than Keras's."""
    module.shift, module.counts_padding = shift, True


def _reversed(attribute: str) -> Fault:
    def change(module: nn.Module) -> None:
        own = next(m for m in module.modules() if hasattr(m, attribute))
        setattr(own, attribute, type(getattr(own, attribute))(reversed(getattr(own, attribute))))

    return change


def _other_dilation(own: Any) -> None:
    own.dilation = tuple(3 - d for d in own.dilation)


@st.composite
def graphs(draw: Draw) -> tuple[list[Described], str]:
    """A graph of small layers over images or vectors: chains, branches, joins, shared layers; and its output."""
    images = draw(st.booleans())
    shape = (draw(st.integers(2, 5)), draw(st.integers(2, 5)), draw(st.integers(1, 4))) if images else (4,)
    channels = draw(st.integers(2, 4))
    model: list[Described] = [{"class": "Input", "config": {"name": "input", "shape": shape}, "inputs": []}]
    values = {"input": shape[-1]}  # what may be taken further → its channels
    shared: dict[tuple[str, int], int] = {}

    def add(kind: str, inputs: list[str], width: int, **config: Any) -> None:
        name = f"{kind.lower()}{len(model)}"
        model.append({"class": kind, "config": {"name": name, **config}, "inputs": inputs})
        values[name] = width

    for _ in range(draw(st.integers(2, 8))):
        recent = sorted(values, key=list(values).index)[-4:]
        source = draw(st.sampled_from(recent))
        width = values[source]
        what = draw(st.sampled_from(["kernel", "kernel", "norm", "act", "join", "join", "again", "concat"]))
        alike = [v for v in values if values[v] == width and v != source]
        if what == "join" and alike:
            kind = draw(st.sampled_from(["Add", "Add", "Multiply", "Subtract", "Maximum", "Average"]))
            add(kind, [source, draw(st.sampled_from(alike))], width)
        elif what == "concat" and len(values) > 1:
            other = draw(st.sampled_from([v for v in values if v != source]))
            add("Concatenate", [source, other], width + values[other])
        elif what == "norm":
            add("BatchNormalization", [source], width)
        elif what == "act":
            add("Activation", [source], width, activation=draw(st.sampled_from(["relu", "tanh", "sigmoid"])))
        elif what == "again" and any(w == width for _, w in shared):
            name = draw(st.sampled_from([n for n, w in shared if w == width]))
            first = next(la for la in model if la["config"]["name"] == name)
            value = f"{name}@{len(model)}"
            model.append({**first, "inputs": [source], "value": value})
            values[value] = shared[name, width]
        elif images:
            size = draw(st.sampled_from([1, 2, 3]))
            activation = draw(st.sampled_from(["linear", "linear", "relu", "tanh"]))
            add("Conv2D", [source], channels, filters=channels, kernel_size=size, padding="same", activation=activation)
            shared[model[-1]["config"]["name"], width] = channels
        else:
            activation = draw(st.sampled_from(["linear", "linear", "relu", "tanh"]))
            add("Dense", [source], channels, units=channels, activation=activation)
            shared[model[-1]["config"]["name"], width] = channels
    taken = {source for layer in model for source in layer["inputs"]}
    loose = [v for v in values if v not in taken]
    if len(loose) > 1:
        add("Concatenate", loose, sum(values[v] for v in loose))
    last = list(values)[-1]
    if images:
        add(draw(st.sampled_from(["Flatten", "GlobalAveragePooling2D"])), [last], 0)
        last = list(values)[-1]
    if draw(st.booleans()):
        add("Dense", [last], 3, units=3, activation="softmax")
    return model, list(values)[-1]


@st.composite
def graph_faults(draw: Draw, layer: Described) -> tuple[str, Fault]:
    """A name and a fault of one layer of a graph."""
    kind = layer["class"]
    known: dict[str, Fault] = {}
    if kind in ("Conv2D", "Dense"):
        known |= {
            "output channels rolled": faults.tensor("weight", lambda k: k.roll(1, 0)),
            "input channels rolled": faults.tensor("weight", lambda k: k.roll(1, 1)),
            "one element": faults.tensor("weight", _one_changed),
            "bias zero": faults.tensor("bias", lambda b: b * 0),
        }
        if layer["config"].get("activation", "linear") != "linear":
            known["activation lost"] = lambda m: m[0]  # type: ignore[index]
            known["other activation"] = lambda m: nn.Sequential(m[0], nn.ELU())  # type: ignore[index]
        if kind == "Conv2D":
            known["shifted"] = faults.setting(windows.Convolution, shift=1)
            known["kernel flipped"] = faults.tensor("weight", lambda k: k.flip(2, 3))
    elif kind == "BatchNormalization":
        known |= {
            "eps": faults.setting(nn.BatchNorm2d, eps=1e-2),
            "mean": faults.tensor("running_mean", lambda m: m * 0),
            "scale and shift exchanged": _scale_and_shift,
            "lost": faults.instead(nn.Identity),
        }
    elif kind == "Activation":
        known |= {"lost": faults.instead(nn.Identity), "other": faults.instead(nn.ELU)}
    elif kind == "Concatenate":
        known["order"] = lambda m: faults.instead(lambda: Joined(lambda v: torch.cat(v[::-1], 1)))(m)
    elif kind in ("Add", "Multiply", "Subtract", "Maximum", "Average"):
        known |= {
            "operand lost": faults.instead(lambda: Joined(lambda v: v[0])),
            "other operation": faults.instead(lambda: Joined(lambda v: torch.minimum(v[0], v[1]))),
            "operands exchanged": lambda m: Joined(lambda v: m(v[::-1])),
        }
    elif kind == "GlobalAveragePooling2D":
        known["maximum"] = faults.setting(windows.GlobalPool, largest=True)
    else:
        known["channels outside"] = faults.instead(lambda: nn.Flatten())
    name = draw(st.sampled_from(sorted(known)))
    return name, known[name]


class Joined(nn.Module):
    """A function of a list of values."""

    def __init__(self, function: Callable[[list[torch.Tensor]], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: list[torch.Tensor]) -> torch.Tensor:
        return self.function(list(values))


def _one_changed(kernel: torch.Tensor) -> torch.Tensor:
    changed = kernel.clone()
    changed.view(-1)[0] += 0.5
    return changed


def _scale_and_shift(module: nn.Module) -> None:
    norm = faults.part(module, nn.BatchNorm2d)
    norm.weight, norm.bias = norm.bias, norm.weight
