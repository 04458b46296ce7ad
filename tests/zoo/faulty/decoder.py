"""An encoder with a decoder: dilated and transposed convolutions, interpolations, cuts, joins, other orders of axes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights, load
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Net, Subject, Variant
from tests.zoo.layers import conv2d


def decoder(k: Any) -> Any:
    x = inputs = k.Input((12, 12, 3))
    x = e = k.layers.Conv2D(6, 3, padding="same", activation="relu", name="e1")(x)
    x = k.layers.MaxPooling2D(2, name="pool")(x)
    x = m = k.layers.Conv2D(8, 3, padding="same", dilation_rate=2, activation="relu", name="middle")(x)
    x = k.layers.Conv2DTranspose(6, 3, 2, padding="same", name="up1")(x)
    x = k.layers.Concatenate(name="cat")([e, x])
    x = k.layers.Conv2D(6, 3, groups=2, activation="elu", name="d1")(x)
    x = k.layers.UpSampling2D(2, interpolation="bilinear", name="up2")(x)
    x = k.layers.Cropping2D(((3, 5), (2, 6)), name="crop")(x)
    y = k.layers.UpSampling2D(2, name="near")(k.layers.Conv2D(6, 1, name="context")(m))
    x = k.layers.Average(name="mean")([x, y])
    x = k.layers.Permute((2, 1, 3), name="turn")(x)
    x = k.layers.Conv2DTranspose(4, 2, 2, activation="tanh", name="up3")(x)
    x = k.layers.Reshape((576, 4), name="pixels")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="classes")(x))


def transposed(weights: list[Tensor], **config: Any) -> nn.ConvTranspose2d:
    """A Conv2DTranspose of stride 2; Keras's kernel is (H, W, out, in)."""
    kernel, bias = weights
    height, width, given, taken = kernel.shape
    module = nn.ConvTranspose2d(taken, given, (height, width), 2, **config)
    load(module, weight=kernel.permute(3, 2, 0, 1), bias=bias)
    return module


class Decoder(Net):
    """Modules and functions."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        self.e1, self.middle = conv2d(w["e1"], padding=1), conv2d(w["middle"], padding=2)
        self.middle.dilation = (2, 2)
        self.up1, self.up3, self.context = transposed(w["up1"]), transposed(w["up3"]), conv2d(w["context"])
        kernel, bias = w["d1"]
        self.d1 = nn.Conv2d(12, 6, 3, groups=2)
        load(self.d1, weight=kernel.permute(3, 2, 0, 1), bias=bias)
        kernel, bias = w["classes"]
        self.classes = nn.Linear(4, 3)
        load(self.classes, weight=kernel.T, bias=bias)

    def forward(self, x: Tensor) -> Any:
        x = x[:, [2, 1, 0]] if self.has("channels") else x
        e = F.relu(self.e1(x.mT if self.has("height_width") else x))
        m = F.relu(self.middle(F.max_pool2d(e, 2)))
        x = self.up1(m)
        x = x[:, :, 1:, 1:] if self.has("cut_the_start") else x[:, :, :-1, :-1]
        x = torch.cat([x, e] if self.has("other_order") else [e, x], 1)
        x = F.elu(self.d1(x), 0.5 if self.has("alpha") else 1.0)
        x = self.joined(self.cropped(self.enlarged(x)), self.context(m))
        x = torch.tanh(self.up3(x if self.has("not_turned") else x.transpose(2, 3)))
        x = x.flatten(2).mT if not self.has("reshaped") else x.reshape(len(x), 576, 4)
        return self.classes(x).softmax(1 if self.has("over_pixels") else 2)

    def enlarged(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest" if self.has("nearest") else "bilinear")

    def cropped(self, x: Tensor) -> Tensor:
        return x[:, :, 5:-3, 6:-2] if self.has("mirrored") else x[:, :, 3:-5, 2:-6]

    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        y = F.interpolate(y, scale_factor=2, mode="nearest")
        return x + y if self.has("sum") else (x + y) / 2


class Modules(Decoder):
    """Cuts inside the transposed convolution, turned and reshaped at once."""

    def forward(self, x: Tensor) -> Any:
        e = F.relu(self.e1(x))
        m = F.relu(self.middle(F.max_pool2d(e, 2)))
        up = self.up1(m).narrow(2, 0, 12).narrow(3, 0, 12)
        x = F.elu(self.d1(torch.cat((e, up), 1)))
        x = F.pad(F.interpolate(x, size=(20, 20), mode="bilinear"), [-2, -6, -3, -5])
        x = torch.stack([x, self.context(m).repeat_interleave(2, 2).repeat_interleave(2, 3)]).mean(0)
        x = torch.tanh(self.up3(x.mT)).permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        return torch.softmax(self.classes(x), -1)


def undilated(net: Any) -> None:
    net.middle.dilation, net.middle.padding = (1, 1), (1, 1)


def ungrouped(net: Any) -> None:
    kernel, net.d1.groups = net.d1.weight, 1
    net.d1.weight = nn.Parameter(torch.cat([kernel, kernel], 1))


FAULTS = {
    "channels": Fault("e1", "input-channels"),
    "height_width": Fault("e1", "input-layout"),
    "circular": Fault("e1", "padding-mode", module=lambda net: setattr(net.e1, "padding_mode", "circular")),
    "dilation": Fault("middle", "dilation", module=undilated),
    "cut_the_start": Fault("up1", "transposed-conv"),
    "rotated": Fault("up1", "conv-kernel-flipped", made.changed("up1", made.rotated)),
    "other_order": Fault("cat", "concat-order"),
    "no_groups": Fault("d1", "groups", module=ungrouped),
    "alpha": Fault("d1", "activation-slope"),
    "nearest": Fault("up2", "upsampling"),
    "mirrored": Fault("crop", "cropping"),
    "sum": Fault("mean", "merge-mode"),
    "not_turned": Fault("turn", "permute"),
    "rows": Fault("up3", "conv-kernel-layout", made.changed("up3", made.rows)),
    "no_bias": Fault("up3", "bias-missing", made.changed("up3", torch.zeros_like, 1)),
    "reshaped": Fault("classes", "reshape"),
    "over_pixels": Fault("classes", "softmax"),
}
PAIRS = {"rows_and_no_bias": "", "mirrored_and_sum": "", "dilation_and_over_pixels": ""}
SUBJECT = Subject("faulty_decoder", decoder, Decoder, FAULTS, PAIRS, {"modules": Variant(Modules)})
