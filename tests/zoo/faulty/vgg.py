"""Convolutions, poolings, a flattening and Dense layers: the faults of kernels, windows, activations and inputs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Net, Subject, Variant
from tests.zoo.layers import conv2d, dense
from tests.zoo.styles import ChannelsLast


def vgg(k: Any) -> Any:
    x = inputs = k.Input((12, 12, 3))
    for name, filters in (("conv1a", 6), ("conv1b", 6)):
        x = k.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
    x = k.layers.MaxPooling2D(name="pool1")(x)
    for name in ("conv2a", "conv2b", "conv2c"):
        x = k.layers.Conv2D(8, 3, padding="same", activation="relu", name=name)(x)
    x = k.layers.MaxPooling2D(name="pool2")(x)
    x = k.layers.Flatten(name="flatten")(x)
    x = k.layers.Dense(16, activation="relu", name="fc1")(x)
    x = k.layers.Dropout(0.5, name="drop")(x)
    x = k.layers.Dense(16, activation="tanh", name="fc2")(x)
    return k.Model(inputs, k.layers.Dense(5, activation="softmax", name="predictions")(x))


class Vgg(Net):
    """Modules in order."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        for name in ("conv1a", "conv1b", "conv2a", "conv2b", "conv2c"):
            setattr(self, name, conv2d(w[name], padding=1))
        self.fc1, self.fc2, self.predictions = dense(w["fc1"]), dense(w["fc2"]), dense(w["predictions"])

    def forward(self, x: Tensor) -> Any:
        x = self.features(self.prepared(x))
        x = x if self.has("channels_first") else x.permute(0, 2, 3, 1)
        x = self.fc1(x.flatten(1))
        x = F.gelu(x) if self.has("gelu") else F.relu(x)
        x = F.dropout(x, 0.5, training=self.has("dropout"))
        x = self.predictions(torch.tanh(self.fc2(x)))
        x = F.relu(x) if self.has("relu_of_logits") else x
        return x if self.has("logits") else x.softmax(1)

    def prepared(self, x: Tensor) -> Tensor:
        x = x / 255 if self.has("to_1") else x
        x = x[:, [2, 1, 0]] if self.has("bgr") else x
        return x.transpose(2, 3) if self.has("height_width") else x

    def features(self, x: Tensor) -> Tensor:
        net: Any = self
        x = net.conv1b(F.relu(net.conv1a(x)))
        x = x if self.has("no_relu") else F.relu(x)
        x = self.pooled(x)
        x = net.conv2a(x)
        x = F.relu(net.conv2b(F.leaky_relu(x, 0.01) if self.has("leaky") else F.relu(x)))
        x = x if self.has("no_convolution") else F.relu(net.conv2c(x))
        return F.max_pool2d(x, 2)

    def pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, 1) if self.has("window") else F.max_pool2d(x, 2)


class Functional(nn.Module):
    """(N, H, W, C), functions, activations behind the pooling, columns of fc1 reordered for (C, H, W)."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.w = {name: w[name] for name in ("conv1a", "conv1b", "conv2a", "conv2b", "conv2c")}
        self.heads = {name: w[name] for name in ("fc1", "fc2", "predictions")}
        kernel = self.heads["fc1"][0]
        self.heads["fc1"][0] = kernel.reshape(3, 3, 8, 16).permute(2, 0, 1, 3).reshape(72, 16)

    def forward(self, x: Tensor) -> Any:
        x = x.permute(0, 3, 1, 2)
        for name, (kernel, bias) in self.w.items():
            x = F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding="same")
            x = F.max_pool2d(x, 2) if name in ("conv1b", "conv2c") else x
            x = x.clamp(min=0)
        x = x.reshape(len(x), -1)
        for (kernel, bias), function in zip(self.heads.values(), (torch.relu, torch.tanh, torch.exp), strict=True):
            x = function(x @ kernel + bias)
        return x / x.sum(1, keepdim=True)


def sequential(w: Weights) -> nn.Module:
    net: Any = Vgg(w)
    convolutions = (net.conv1a, net.conv1b, net.conv2a, net.conv2b, net.conv2c)
    layers = [layer for convolution in convolutions for layer in (convolution, nn.ReLU(inplace=True))]
    layers.insert(4, nn.MaxPool2d(2, 2))

    heads = (nn.Flatten(), net.fc1, nn.ReLU(), nn.Dropout(0.5), net.fc2, nn.Tanh(), net.predictions, nn.Softmax(-1))
    made_of: Any = nn.Sequential(*layers, nn.MaxPool2d(2, 2), ChannelsLast(), *heads)
    return made_of.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def dilate(net: Any) -> None:
    net.conv2b.dilation, net.conv2b.padding = (2, 2), (2, 2)


FAULTS = {
    "rows": Fault("conv2b", "conv-kernel-layout", made.changed("conv2b", made.rows)),
    "in_out": Fault("conv2c", "conv-kernel-layout", made.changed("conv2c", made.in_out)),
    "reshaped": Fault("conv2a", "conv-kernel-layout", made.changed("conv2a", made.reshaped)),
    "rotated": Fault("conv1b", "conv-kernel-flipped", made.changed("conv1b", made.rotated)),
    "swapped": Fault("conv2b conv2c", "weights-swapped", made.exchanged("conv2b", "conv2c")),
    "of_another": Fault("conv2c", "weights-of-other-layer", made.taken(conv2c="conv2b")),
    "not_transposed": Fault("fc2", "dense-transposed", made.changed("fc2", made.in_out)),
    "half": Fault("fc1", "weights-rounded", made.changed("fc1", made.half)),
    "one_element": Fault("conv2a", "weights-differ", made.changed("conv2a", made.one_element)),
    "fresh": Fault("conv1a", "weights-not-loaded", module=lambda net: net.conv1a.reset_parameters()),
    "no_bias": Fault("conv2b", "bias-missing", made.changed("conv2b", torch.zeros_like, 1)),
    "dilation": Fault("conv2b", "dilation", module=dilate),
    "reflect": Fault("conv2a", "padding-mode", module=lambda net: setattr(net.conv2a, "padding_mode", "reflect")),
    "window": Fault("pool1", "pool-size"),
    "no_relu": Fault("conv1b", "missing-layer"),
    "leaky": Fault("conv2a", "activation-kind"),
    "no_convolution": Fault("conv2c", "missing-layer"),
    "channels_first": Fault("fc1", "flatten-order"),
    "gelu": Fault("fc1", "activation-kind"),
    "dropout": Fault("drop", "train-mode"),
    "relu_of_logits": Fault("predictions", "extra-layer"),
    "logits": Fault("predictions", "softmax"),
    "to_1": Fault("conv1a", "input-scale"),
    "bgr": Fault("conv1a", "input-channels"),
    "height_width": Fault("conv1a", "input-layout"),
}
PAIRS = {
    "rows_and_no_bias": "",
    "rotated_and_no_relu": "",
    "bgr_and_to_1": "",
    "channels_first_and_gelu": "",
}
VARIANTS = {"functional": Variant(Functional, "conv1b conv2c"), "sequential": Variant(sequential)}
SUBJECT = Subject("faulty_vgg", vgg, Vgg, FAULTS, PAIRS, VARIANTS)
