"""Residual blocks whose normalisations come first: statistics, shortcuts, strides, borders, and the order of layers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Net, Subject, Variant
from tests.zoo.layers import batch_norm, conv2d, dense

EPS = 1.001e-5


def resnet(k: Any) -> Any:
    def normal(x: Any, name: str) -> Any:
        x = k.layers.BatchNormalization(epsilon=EPS, name=f"{name}_bn")(x)
        return k.layers.ReLU(name=f"{name}_relu")(x)

    def block(x: Any, name: str, stride: int) -> Any:
        y = normal(x, f"{name}0")
        z = k.layers.Conv2D(16, 1, stride, name=f"{name}_short")(y) if stride > 1 else x
        y = normal(k.layers.Conv2D(8, 1, use_bias=False, name=f"{name}1")(y), f"{name}1")
        y = k.layers.ZeroPadding2D(1, name=f"{name}_pad")(y)
        y = normal(k.layers.Conv2D(8, 3, stride, use_bias=False, name=f"{name}2")(y), f"{name}2")
        return k.layers.Add(name=f"{name}_add")([z, k.layers.Conv2D(16, 1, name=f"{name}3")(y)])

    x = inputs = k.Input((20, 20, 3))
    x = k.layers.Conv2D(8, 5, 2, padding="same", name="stem")(x)
    x = k.layers.MaxPooling2D(3, 1, padding="same", name="pool")(x)
    x = block(block(x, "a", 2), "b", 1)
    x = k.layers.GlobalAveragePooling2D(name="gap")(normal(x, "post"))
    return k.Model(inputs, k.layers.Dense(6, activation="softmax", name="predictions")(x))


class Block(Net):
    """Normalisation, activation, convolution, three times."""

    def __init__(self, w: Weights, name: str, stride: int, faults: Collection[str]) -> None:
        super().__init__([fault.removeprefix(f"{name}_") for fault in faults])
        self.bn0, self.bn1, self.bn2 = (batch_norm(w[f"{name}{i}_bn"], EPS) for i in range(3))
        moved = self.has("stride_moved")
        self.conv1 = conv2d(w[f"{name}1"], stride if moved else 1)
        self.conv2 = conv2d(w[f"{name}2"], 1 if moved else stride)
        self.conv3 = conv2d(w[f"{name}3"])
        self.short: Any = conv2d(w[f"{name}_short"], stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Any:
        first = self.bn0(F.relu(x)) if self.has("relu_first") else self.bn0(x)
        y = first if self.has("relu_first") or self.has("no_relu") else F.relu(first)
        short = x if isinstance(self.short, nn.Identity) else self.short(y)
        y = self.conv1(y)
        y = self.bn1(y) if not self.has("no_norm") else y
        y = F.pad(F.relu(y), (0, 2, 0, 2) if self.has("pad_after") else (1, 1, 1, 1))
        y = self.conv3(F.relu(self.bn2(self.conv2(y))))
        y = y if self.has("no_shortcut") else short + y
        return F.relu(y) if self.has("relu_behind") else y


class ResNet(Net):
    """Blocks of modules."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        self.stem, self.predictions = conv2d(w["stem"], 2), dense(w["predictions"])
        self.a, self.b = Block(w, "a", 2, faults), Block(w, "b", 1, faults)
        self.post_bn = batch_norm(w["post_bn"], EPS)

    def forward(self, x: Tensor) -> Any:
        if self.has("caffe"):
            x = x[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68], dtype=x.dtype)[:, None, None]
        x = x.mT if self.has("height_width") else x
        x = x.flip(1) if self.has("bgr") else x
        x = self.pooled(self.stem(F.pad(x, (2, 2, 2, 2) if self.has("symmetric") else (1, 2, 1, 2))))
        x = F.relu(self.post_bn(self.b(self.a(x))))
        return self.predictions(x.mean((2, 3))).softmax(1)

    def pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1) if self.has("zeros") else F.max_pool2d(x, 3, 1, 1)


class Functional(nn.Module):
    """Borders inside the convolutions, normalisations as scale and shift, a shortcut that samples by itself."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.w = w

    def norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, variance = self.w[f"{name}_bn"]
        scale = gamma / torch.sqrt(variance + EPS)
        return F.relu(x * scale[:, None, None] + (beta - mean * scale)[:, None, None])

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Any:
        kernel, *bias = self.w[name]
        moved = kernel.permute(3, 2, 0, 1)
        return F.conv2d(x, moved, bias[0] if bias else None, stride, padding)

    def block(self, x: Tensor, name: str, stride: int) -> Any:
        y = self.norm(x, f"{name}0")
        x = self.conv(y[..., ::stride, ::stride], f"{name}_short") if stride > 1 else x
        y = self.conv(self.norm(self.conv(y, f"{name}1"), f"{name}1"), f"{name}2", stride, 1)
        return self.conv(self.norm(y, f"{name}2"), f"{name}3") + x

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(self.conv(F.pad(x, (1, 2, 1, 2)), "stem", 2), 3, 1, 1)
        x = self.norm(self.block(self.block(x, "a", 2), "b", 1), "post").flatten(2).mean(-1)
        kernel, bias = self.w["predictions"]
        return torch.softmax(torch.addmm(bias, x, kernel), -1)


def other_pixels(net: Any) -> None:
    net.a.short = nn.Sequential(nn.ZeroPad2d((-1, 0, -1, 0)), net.a.short)


def torchs_eps(net: Any) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3


NORMS = "a0_bn a1_bn a2_bn b0_bn b1_bn b2_bn post_bn"
FAULTS = {
    "caffe": Fault("stem", "input-scale input-channels"),
    "bgr": Fault("stem", "input-channels"),
    "height_width": Fault("stem", "input-layout"),
    "symmetric": Fault("stem", "same-padding"),
    "zeros": Fault("pool", "pool-padding"),
    "a_relu_first": Fault("a0_bn a0_relu", "layer-order"),
    "a_no_relu": Fault("a0_relu", "missing-layer"),
    "a_no_norm": Fault("a1_bn", "missing-layer"),
    "a_stride_moved": Fault("a1 a2", "stride"),
    "other_pixels": Fault("a_short", "stride", module=other_pixels),
    "fresh_shortcut": Fault("a_short", "weights-not-loaded", module=lambda net: net.a.short.reset_parameters()),
    "no_bias": Fault("a_short", "bias-missing", made.changed("a_short", torch.zeros_like, 1)),
    "b_pad_after": Fault("b_pad", "zero-padding-layer"),
    "b_no_shortcut": Fault("b_add", "missing-layer"),
    "a_relu_behind": Fault("b0_bn", "extra-layer"),
    "rows": Fault("b2", "conv-kernel-layout", made.changed("b2", made.rows)),
    "statistics": Fault("b1_bn", "bn-stats-not-loaded", module=lambda net: net.b.bn1.reset_running_stats()),
    "mean_variance": Fault("b1_bn", "bn-slots-exchanged", made.ordered("b1_bn", 0, 1, 3, 2)),
    "deviation": Fault("a2_bn", "bn-slots-exchanged", made.changed("a2_bn", torch.sqrt, 3)),
    "no_gamma": Fault("a2_bn", "bn-scale-center", module=lambda net: setattr(net.a.bn2, "weight", None)),
    "norms_swapped": Fault("a1_bn a2_bn", "weights-swapped", made.exchanged("a1_bn", "a2_bn")),
    "eps": Fault(NORMS, "eps", module=torchs_eps),
    "train": Fault("post_bn", "train-mode", module=lambda net: net.post_bn.register_forward_pre_hook(into_training)),
    "one_element": Fault("a1_bn", "weights-differ", made.changed("a1_bn", made.one_element, 1)),
}


def into_training(module: nn.Module, inputs: object) -> None:
    """A hook that uses the statistics of the batch, whatever mode the port is in."""
    module.train()


PAIRS = {
    "statistics_and_deviation": "",
    "no_bias_and_other_pixels": "",
    "eps_and_one_element": "",
}
SUBJECT = Subject("faulty_resnet", resnet, ResNet, FAULTS, PAIRS, {"functional": Variant(Functional, "a_pad b_pad")})
