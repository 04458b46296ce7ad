"""Rescaling, Normalization and BatchNormalization in front of a kernel and behind it, folded into it together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong

Affine = tuple[Tensor | float, Tensor | float]
"""A factor and an offset of each channel."""
Spoil = Callable[[Tensor], None]


def norm(arrays: list[Tensor], eps: float = 1e-3) -> Affine:
    """A BatchNormalization."""
    gamma, beta, mean, variance = arrays
    scale = gamma / torch.sqrt(variance + eps)
    return scale, beta - mean * scale


def standard(arrays: list[Tensor]) -> Affine:
    """A Normalization."""
    mean, variance = (a.flatten() for a in arrays)
    return 1 / variance.sqrt(), -mean / variance.sqrt()


def fold(weights: list[Tensor], before: list[Affine], behind: list[Affine]) -> tuple[Tensor, Tensor]:
    """A kernel (…, in, out) and a bias, where there is one, with all that stands before and behind them."""
    kernel, added = weights[0].double(), weights[1] if len(weights) > 1 else torch.zeros(())
    for scale, shift in reversed(before):
        added = added + (kernel * torch.as_tensor(shift).reshape(-1, 1)).flatten(0, -2).sum(0)
        kernel = kernel * torch.as_tensor(scale).reshape(-1, 1)
    for scale, shift in behind:
        kernel, added = kernel * scale, added * scale + shift
    return kernel.float(), added.float().expand(kernel.shape[-1]).clone()


def one_element(kernel: Tensor) -> None:
    kernel.view(-1)[5] *= 1.5


def no_offset(bias: Tensor) -> None:
    bias.zero_()


class Layers(nn.Module):
    """Dense layers and convolutions by name, of folded weights; ``spoilt`` does something wrong to a parameter."""

    def __init__(self, spoilt: str = "", spoil: Spoil = one_element, **folded: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        for name, (kernel, bias) in folded.items():
            moved = kernel.movedim((-1, -2), (0, 1)).contiguous()
            self.register_parameter(f"{name}_kernel", nn.Parameter(moved))
            self.register_parameter(f"{name}_bias", nn.Parameter(bias))
        if spoilt:
            with torch.no_grad():
                spoil(self.get_parameter(spoilt))

    def dense(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.get_parameter(f"{name}_kernel"), self.get_parameter(f"{name}_bias"))

    def conv(self, x: Tensor, name: str, **config: Any) -> Tensor:
        return F.conv2d(x, self.get_parameter(f"{name}_kernel"), self.get_parameter(f"{name}_bias"), **config)


def table(k: Any) -> Any:
    x = inputs = k.Input((12,))
    x = k.layers.Normalization(name="norm")(x)
    x = k.layers.BatchNormalization(name="bn1")(k.layers.Dense(16, name="first")(x))
    x = k.layers.LeakyReLU(name="leaky")(x)
    x = k.layers.BatchNormalization(name="bn2")(x)
    x = k.layers.BatchNormalization(name="bn3")(k.layers.Dense(8, use_bias=False, name="second")(x))
    x = k.layers.Activation("tanh", name="tanh")(x)
    x = k.layers.Rescaling(3.0, name="thrice")(k.layers.Dense(8, name="third")(x))
    x = k.layers.Activation("elu", name="elu")(k.layers.BatchNormalization(name="bn4")(x))
    x = k.layers.Rescaling(0.5, 0.25, name="half")(x)
    x = k.layers.Dropout(0.5, name="drop")(k.layers.BatchNormalization(name="bn5")(x))
    x = k.layers.Rescaling(2.0, name="twice")(k.layers.Dense(3, name="head")(x))
    return k.Model(inputs, x)


class Table(Layers):
    """Every normalisation is in the dense layer beside it."""

    def __init__(self, w: Weights, slope: float = 0.3, eps: float = 1e-3, forget: str = "", **config: Any) -> None:
        scale, shift = standard(w["norm"])
        super().__init__(
            first=fold(w["first"], [(scale, 0 * shift if forget == "norm" else shift)], [norm(w["bn1"], eps)]),
            second=fold(w["second"], [norm(w["bn2"])], [norm(w["bn3"])]),
            third=fold(w["third"], [], [*[(3.0, 0.0)] * (forget != "thrice"), norm(w["bn4"])]),
            head=fold(w["head"], [(0.5, 0.0 if forget == "half" else 0.25), norm(w["bn5"])], [(2.0, 0.0)]),
            **config,
        )
        self.slope = slope

    def forward(self, x: Tensor) -> Any:
        x = F.leaky_relu(self.dense(x, "first"), self.slope)
        x = torch.tanh(self.dense(x, "second"))
        return self.dense(F.elu(self.dense(x, "third")), "head")


def pixels(k: Any) -> Any:
    x = inputs = k.Input((10, 12, 3))
    x = k.layers.Rescaling(1 / 255, name="scale")(x)
    x = k.layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(x)
    x = k.layers.ReLU(name="relu1")(k.layers.BatchNormalization(name="bn1")(x))
    x = k.layers.Conv2D(8, 3, name="conv")(k.layers.BatchNormalization(name="bn2")(x))
    x = k.layers.ReLU(name="relu2")(k.layers.BatchNormalization(name="bn3")(x))
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Pixels(Layers):
    """The scale of the pixels and both normalisations are in the kernels."""

    def __init__(self, w: Weights, scale: float = 1 / 255, eps: float = 1e-3, **config: Any) -> None:
        super().__init__(
            stem=fold(w["stem"], [(scale, 0.0)], [norm(w["bn1"])]),
            conv=fold(w["conv"], [norm(w["bn2"], eps)], [norm(w["bn3"])]),
            head=fold(w["head"], [], []),
            **config,
        )

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.conv(F.pad(x, (0, 1, 0, 1)), "stem", stride=2))
        return self.dense(F.relu(self.conv(x, "conv")).mean((2, 3)), "head")


def centred(k: Any) -> Any:
    x = inputs = k.Input((9, 11, 3))
    x = k.layers.Rescaling(1 / 127.5, -1, name="scale")(x)
    x = k.layers.Normalization(name="norm")(x)
    x = k.layers.Conv2D(8, 3, 2, activation="relu", name="stem")(x)
    x = k.layers.Rescaling(0.5, name="half")(k.layers.Conv2D(8, 3, name="conv")(x))
    x = k.layers.Activation("silu" if hasattr(k, "ops") else "swish", name="act")(x)
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Centred(Layers):
    """Scale, offset, mean and deviation of the pixels are in the first kernel and its bias."""

    def __init__(self, w: Weights, offset: float = -1.0, half: float = 0.5, **config: Any) -> None:
        super().__init__(
            stem=fold(w["stem"], [(1 / 127.5, offset), standard(w["norm"])], []),
            conv=fold(w["conv"], [], [(half, 0.0)]),
            head=fold(w["head"], [], []),
            **config,
        )

    def forward(self, x: Tensor) -> Any:
        x = F.silu(self.conv(F.relu(self.conv(x, "stem", stride=2)), "conv"))
        return self.dense(x.mean((2, 3)), "head")


def padded(k: Any) -> Any:
    x = inputs = k.Input((9, 11, 3))
    x = k.layers.Rescaling(1 / 255, name="scale")(x)
    x = k.layers.ZeroPadding2D(1, name="pad")(x)
    x = k.layers.Conv2D(8, 3, 2, use_bias=False, name="stem")(x)
    x = k.layers.ReLU(name="relu")(k.layers.BatchNormalization(name="bn")(x))
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Padded(Layers):
    """Scale, padding and normalisation are a part of the convolution."""

    def __init__(self, w: Weights, eps: float = 1e-3, **config: Any) -> None:
        super().__init__(
            stem=fold(w["stem"], [(1 / 255, 0.0)], [norm(w["bn"], eps)]), head=fold(w["head"], [], []), **config
        )

    def forward(self, x: Tensor) -> Any:
        return self.dense(F.relu(self.conv(x, "stem", stride=2, padding=1)).mean((2, 3)), "head")


def spoilt(port: Callable[..., nn.Module], parameter: str, spoil: Spoil, faults: str) -> Any:
    """A wrong port of which one parameter is spoilt."""
    return wrong(lambda w: port(w, spoilt=parameter, spoil=spoil), faults)


CASES = [
    Case(
        "fold_chain_dense",
        table,
        Table,
        {
            "element": spoilt(Table, "first_kernel", one_element, "bn1"),
            "element_of_second": spoilt(Table, "second_kernel", one_element, "bn3"),
            "element_of_third": spoilt(Table, "third_kernel", one_element, "bn4"),
            "element_of_head": spoilt(Table, "head_kernel", one_element, "twice"),
            "no_bias": spoilt(Table, "second_bias", no_offset, "bn3"),
            "eps": wrong(lambda w: Table(w, eps=1e-5), "bn1"),
            "norm_offset": wrong(lambda w: Table(w, forget="norm"), "bn1"),
            "scale": wrong(lambda w: Table(w, forget="thrice"), "bn4"),
            "offset": wrong(lambda w: Table(w, forget="half"), "twice"),
        },
        declared=frozenset({"norm", "first", "bn2", "second", "third", "thrice", "half", "bn5", "drop", "head"}),
    ),
    Case(
        "fold_chain_conv",
        pixels,
        Pixels,
        {
            "element": spoilt(Pixels, "stem_kernel", one_element, "bn1"),
            "element_of_second": spoilt(Pixels, "conv_kernel", one_element, "bn3"),
            "no_bias": spoilt(Pixels, "conv_bias", no_offset, "bn3"),
            "eps": wrong(lambda w: Pixels(w, eps=1e-5), "bn3"),
            "scale": wrong(lambda w: Pixels(w, scale=1 / 256), "bn1"),
        },
        declared=frozenset({"scale", "stem", "bn2", "conv"}),
    ),
    Case(
        "fold_chain_pixels",
        centred,
        Centred,
        {
            "element": spoilt(Centred, "stem_kernel", one_element, "stem"),
            "element_of_second": spoilt(Centred, "conv_kernel", one_element, "half"),
            "no_bias": spoilt(Centred, "stem_bias", no_offset, "stem"),
            "offset": wrong(lambda w: Centred(w, offset=0.0), "stem"),
            "scale": wrong(lambda w: Centred(w, half=1.0), "half"),
        },
        declared=frozenset({"scale", "norm", "conv"}),
    ),
    Case(
        "fold_chain_padded",
        padded,
        Padded,
        {
            "element": spoilt(Padded, "stem_kernel", one_element, "bn"),
            "eps": wrong(lambda w: Padded(w, eps=1e-5), "bn"),
        },
        declared=frozenset({"scale", "pad", "stem"}),
    ),
]
