"""The port of each Keras layer: a module that takes and gives channels first, (N, C, …), where there are channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.rebuilt import windows

Config = Mapping[str, Any]


def build(kind: str, config: Config, weights: Sequence[Tensor]) -> nn.Module:
    """The port of one layer.

    Args:
        kind: Keras class.
        config: The layer's config.
        weights: Its weights in Keras's order and layout.
    """
    module = BUILDERS[kind](config, list(weights)) if kind in BUILDERS else windows.build(kind, config, list(weights))
    name = activation_name(config.get("activation")) if kind not in ("Activation",) else "linear"
    return module if name == "linear" else nn.Sequential(module, activation(name))


def activation_name(stated: Any) -> str:
    """Name of an activation in a config, which may state a whole layer."""
    if stated is None:
        return "linear"
    return str(stated["class_name"] if isinstance(stated, dict) else stated).lower()


class Function(nn.Module):
    """One function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs)


def activation(name: str) -> nn.Module:
    """An activation with the defaults that its name has in Keras 3."""
    known: dict[str, Callable[[], nn.Module]] = {
        "linear": nn.Identity,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "elu": nn.ELU,
        "selu": nn.SELU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "swish": nn.SiLU,
        "mish": nn.Mish,
        "softplus": nn.Softplus,
        "softsign": nn.Softsign,
        "hard_sigmoid": nn.Hardsigmoid,
        "hard_silu": nn.Hardswish,
        "hard_swish": nn.Hardswish,
        "leaky_relu": lambda: nn.LeakyReLU(0.2),
        "exponential": lambda: Function(torch.exp),
        "softmax": lambda: nn.Softmax(dim=1),  # the channels, which Keras has last
    }
    return known[name]()


def channels_last(x: Tensor) -> Tensor:
    """(N, C, …) → (N, …, C)."""
    return x.movedim(1, -1) if x.ndim > 2 else x


def channels_first(x: Tensor) -> Tensor:
    """(N, …, C) → (N, C, …)."""
    return x.movedim(-1, 1) if x.ndim > 2 else x


class Last(nn.Module):
    """A module of torch that works on the last axis, where ours is the second."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(self.inner(channels_last(x)))


def fill(module: nn.Module, **tensors: Tensor | None) -> nn.Module:
    """Copy tensors into a module's parameters and buffers; shapes must be equal."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor is not None:
                assert own[name].shape == tensor.shape, f"{name}: {tuple(tensor.shape)} for {tuple(own[name].shape)}"
                own[name].copy_(tensor)
    return module


def dense(config: Config, weights: list[Tensor]) -> nn.Module:
    kernel = weights[0]
    linear = nn.Linear(kernel.shape[0], kernel.shape[1], bias=len(weights) > 1)
    return Last(fill(linear, weight=kernel.T, bias=weights[1] if len(weights) > 1 else None))


class BatchNorm(nn.Module):
    """BatchNorm of whatever rank."""

    def __init__(self, config: Config, weights: list[Tensor]) -> None:
        super().__init__()
        *affine, mean, variance = weights
        axis = config["axis"][0] if isinstance(config["axis"], list) else config["axis"]
        assert axis in (-1, 1, 2, 3, 4)
        self.norm = nn.BatchNorm2d(len(mean), eps=config["epsilon"])
        scale = affine.pop(0) if config["scale"] else torch.ones_like(mean)
        shift = affine.pop(0) if config["center"] else torch.zeros_like(mean)
        fill(self.norm, weight=scale, bias=shift, running_mean=mean, running_var=variance)
        self.norm._check_input_dim = lambda input: None  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


def layer_norm(config: Config, weights: list[Tensor]) -> nn.Module:
    weights = list(weights)
    scale = weights.pop(0) if config["scale"] else None
    shift = weights.pop(0) if config["center"] else None
    size = scale if scale is not None else shift
    assert size is not None
    norm = nn.LayerNorm(len(size), eps=config["epsilon"])
    return Last(fill(norm, weight=scale, bias=shift))


def group_norm(config: Config, weights: list[Tensor]) -> nn.Module:
    scale, shift = weights
    groups = config["groups"] if config["groups"] > 0 else len(scale)
    return fill(nn.GroupNorm(groups, len(scale), eps=config["epsilon"]), weight=scale, bias=shift)


class Normalization(nn.Module):
    """(x - mean) / deviation for each channel."""

    def __init__(self, config: Config, weights: list[Tensor]) -> None:
        super().__init__()
        stated = [torch.tensor(config[key]) for key in ("mean", "variance") if config.get(key) is not None]
        mean, variance = weights or stated
        self.mean = nn.Buffer(mean.reshape(-1))
        self.variance = nn.Buffer(variance.reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *(1 for _ in range(x.ndim - 2)))
        return (x - self.mean.view(shape)) / self.variance.view(shape).sqrt()


class Rescaling(nn.Module):
    """x · scale + offset, one number each or one for every channel."""

    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.scale, self.offset = config["scale"], config["offset"]

    def forward(self, x: Tensor) -> Tensor:
        def number(stated: Any) -> Any:
            stated = stated["config"]["value"] if isinstance(stated, dict) else stated
            if not isinstance(stated, list):
                return stated
            return torch.tensor(stated, dtype=x.dtype).view(1, -1, *(1 for _ in range(x.ndim - 2)))

        y: Tensor = x * number(self.scale) + number(self.offset)
        return y


class LayerScale(nn.Module):
    """ConvNeXt's factor for each channel."""

    def __init__(self, config: Config, weights: list[Tensor]) -> None:
        super().__init__()
        self.gamma = nn.Parameter(weights[0])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(1, -1, *(1 for _ in range(x.ndim - 2)))


class Scaled(nn.Module):
    """Inception-ResNet's ``a + scale · b``."""

    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.scale = config["scale"]

    def forward(self, values: list[Tensor]) -> Tensor:
        y: Tensor = values[0] + values[1] * self.scale
        return y


class Merge(nn.Module):
    """Values joined by a function of two, from the left."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *values: Any) -> Tensor:
        given = list(values[0]) if len(values) == 1 else list(values)
        result = given[0]
        for value in given[1:]:
            result = self.function(result, value)
        assert isinstance(result, Tensor)
        return result


class Average(nn.Module):
    def forward(self, values: list[Tensor]) -> Tensor:
        return torch.stack(list(values)).mean(0)


class Concatenate(nn.Module):
    """Concatenation along an axis that the config numbers in Keras's order."""

    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.axis = config["axis"]

    def forward(self, values: list[Tensor]) -> Tensor:
        rank = values[0].ndim
        return torch.cat(list(values), first_axis(self.axis, rank))


def first_axis(axis: int, rank: int) -> int:
    """Where an axis of Keras's order is with channels first."""
    axis %= rank
    return axis if axis == 0 or rank < 3 else 1 if axis == rank - 1 else axis + 1


class Softmax(nn.Module):
    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.axis = config["axis"]

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(first_axis(self.axis, x.ndim))


class Flatten(nn.Module):
    """Flatten as Keras does: pixels outside, channels inside."""

    def forward(self, x: Tensor) -> Tensor:
        return channels_last(x).flatten(1)


class Reshape(nn.Module):
    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.shape = config["target_shape"]

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(channels_last(x).reshape(len(x), *self.shape))


class Permute(nn.Module):
    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.dims = config["dims"]

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(channels_last(x).permute(0, *self.dims))


class Repeat(nn.Module):
    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.count = config["n"]

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(x.unsqueeze(1).repeat(1, self.count, 1))


class ReLU(nn.Module):
    """Keras's rectifier with its three parameters."""

    def __init__(self, config: Config, _: list[Tensor]) -> None:
        super().__init__()
        self.most, self.slope = config.get("max_value"), config.get("negative_slope") or 0.0
        assert not config.get("threshold")

    def forward(self, x: Tensor) -> Tensor:
        if self.most == 6 and not self.slope:
            return F.relu6(x)
        y = F.leaky_relu(x, self.slope) if self.slope else F.relu(x)
        return y if self.most is None else y.clamp(max=self.most)


def embedding(config: Config, weights: list[Tensor]) -> nn.Module:
    table = nn.Embedding.from_pretrained(weights[0])  # type: ignore[no-untyped-call]
    return nn.Sequential(table, Function(channels_first))


def _plain(make: Callable[[], nn.Module]) -> Callable[[Config, list[Tensor]], nn.Module]:
    return lambda config, weights: make()


IDENTITIES = (
    "Dropout SpatialDropout1D SpatialDropout2D GaussianNoise GaussianDropout ActivityRegularization Identity "
    "StochasticDepth"
)

BUILDERS: dict[str, Callable[[Config, list[Tensor]], nn.Module]] = {
    "Dense": dense,
    "BatchNormalization": BatchNorm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "Normalization": Normalization,
    "Rescaling": Rescaling,
    "LayerScale": LayerScale,
    "CustomScaleLayer": Scaled,
    "Add": _plain(lambda: Merge(torch.add)),
    "Subtract": _plain(lambda: Merge(torch.sub)),
    "Multiply": _plain(lambda: Merge(torch.mul)),
    "Maximum": _plain(lambda: Merge(torch.maximum)),
    "Minimum": _plain(lambda: Merge(torch.minimum)),
    "Average": _plain(Average),
    "Concatenate": Concatenate,
    "Flatten": _plain(Flatten),
    "Reshape": Reshape,
    "Permute": Permute,
    "RepeatVector": Repeat,
    "Activation": lambda config, _: activation(activation_name(config["activation"])),
    "ReLU": ReLU,
    "LeakyReLU": lambda config, _: nn.LeakyReLU(config["negative_slope"]),
    "ELU": lambda config, _: nn.ELU(config["alpha"]),
    "Softmax": Softmax,
    "Embedding": embedding,
    **{name: _plain(nn.Identity) for name in IDENTITIES.split()},
}
