"""Depthwise, grouped and separable convolutions, a squeeze-and-excitation, normalisations by groups, slopes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tests.zoo.case import Weights, load
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Net, Subject, Variant
from tests.zoo.layers import batch_norm, conv2d, dense


def mobile(k: Any) -> Any:
    x = inputs = k.Input((12, 14, 3))
    x = k.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(x)
    x = k.layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
    x = k.layers.Conv2D(8, 3, 2, use_bias=False, name="stem")(x)
    x = k.layers.ReLU(6.0, name="stem_relu")(k.layers.BatchNormalization(name="stem_bn")(x))
    x = k.layers.BatchNormalization(scale=False, name="dw_bn")(
        k.layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2, name="dw")(x)
    )
    x = y = k.layers.Activation("swish", name="dw_act")(x)
    y = k.layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    y = k.layers.Conv2D(16, 1, activation="relu", name="reduce")(y)
    y = k.layers.Conv2D(16, 1, activation="hard_sigmoid", name="expand")(y)
    x = k.layers.Multiply(name="excite")([x, y])
    x = k.layers.Conv2D(16, 3, padding="same", groups=4, name="grouped")(x)
    x = k.layers.LeakyReLU(negative_slope=0.3, name="leaky")(x)
    x = k.layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2, name="sep")(x)
    x = k.layers.GroupNormalization(4, name="gn")(x)
    x = k.layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = k.layers.AveragePooling2D(3, 1, padding="same", name="smooth")(x)
    x = k.layers.GlobalMaxPooling2D(name="top")(x)
    return k.Model(inputs, k.layers.Dense(5, activation="sigmoid", name="labels")(x))


def depthwise(kernel: Tensor, bias: Tensor | None = None, **config: Any) -> nn.Conv2d:
    """A depthwise kernel (H, W, in, multiplier)."""
    height, width, channels, times = kernel.shape
    given = channels * times
    module = nn.Conv2d(channels, given, (height, width), groups=channels, bias=bias is not None, **config)
    moved = kernel.permute(2, 3, 0, 1).reshape(given, 1, height, width)
    load(module, weight=moved, **({} if bias is None else {"bias": bias}))
    return module


class Mobile(Net):
    """Modules in order."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        self.stem, self.stem_bn = conv2d(w["stem"], 2), batch_norm(w["stem_bn"])
        self.dw = depthwise(*w["dw"], stride=2)
        beta, mean, variance = w["dw_bn"]
        slots = [beta, torch.zeros_like(beta)] if self.has("shifted") else [torch.ones_like(beta), beta]
        self.dw_bn = batch_norm([*slots, mean, variance])
        self.reduce, self.expand = conv2d(w["reduce"]), conv2d(w["expand"])
        kernel, bias = w["grouped"]
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        load(self.grouped, weight=kernel.permute(3, 2, 0, 1), bias=bias)
        kernel, *pointwise = w["sep"]
        self.sep_dw, self.sep = depthwise(kernel, padding=1), conv2d(pointwise)
        self.gn, self.prelu, self.labels = nn.GroupNorm(4, 8, eps=1e-3), nn.PReLU(8), dense(w["labels"])
        load(self.gn, weight=w["gn"][0], bias=w["gn"][1])
        load(self.prelu, weight=w["prelu"][0].flatten())

    def forward(self, x: Tensor) -> Any:
        x = self.excited(self.blurred(self.begun(x)))
        x = F.leaky_relu(self.grouped(x), 0.01 if self.has("slope") else 0.3)
        x = self.sep_dw(x)
        x = self.prelu(self.gn(self.sep(F.relu(x) if self.has("relu_between") else x)))
        x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=self.has("counts_padding"))
        x = self.labels(x.amax((2, 3)))
        return x.sigmoid()

    def begun(self, x: Tensor) -> Tensor:
        x = x if self.has("not_rescaled") else x / 127.5 - 1
        x = F.pad(x, (1, 0, 1, 0) if self.has("pad_before") else (0, 1, 0, 1))
        x = self.stem(x)
        if self.has("relu_first"):
            return self.stem_bn(F.relu6(x))  # type: ignore[no-any-return]
        x = self.stem_bn(x)
        return F.relu(x) if self.has("relu") else F.relu6(x)

    def blurred(self, x: Tensor) -> Tensor:
        x = self.dw_bn(self.dw(F.pad(x, (1, 1, 1, 1) if self.has("symmetric") else (1, 1, 0, 1))))
        return F.gelu(x) if self.has("gelu") else F.silu(x)

    def excited(self, x: Tensor) -> Tensor:
        y = x.amax((2, 3), keepdim=True) if self.has("max") else x.mean((2, 3), keepdim=True)
        y = self.expand(F.relu(self.reduce(y)))
        y = torch.sigmoid(y) if self.has("sigmoid") else F.hardsigmoid(y)
        return x + y if self.has("added") else x * y


class Fused(Mobile):
    """Normalisations in the kernels, paddings as modules, excitation by Linear."""

    def __init__(self, w: Weights) -> None:
        super().__init__(w)
        self.eval()
        net: Any = self
        net.stem, net.dw = fuse_conv_bn_eval(net.stem, net.stem_bn), fuse_conv_bn_eval(net.dw, net.dw_bn)
        del self.stem_bn, self.dw_bn
        self.ends, self.around = nn.ZeroPad2d((0, 1, 0, 1)), nn.ZeroPad2d((1, 1, 0, 1))
        self.squeeze = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense([t.reshape(16, -1).squeeze(1) for t in w["reduce"]])),
            *(nn.ReLU(), dense([t.reshape(16, -1).squeeze(1) for t in w["expand"]]), nn.Hardsigmoid()),
        )
        del self.reduce, self.expand

    def forward(self, x: Tensor) -> Any:
        x = F.hardtanh(self.stem(self.ends((x - 127.5) / 127.5)), 0.0, 6.0)
        x = self.dw(self.around(x))
        x = x * torch.sigmoid(x)
        x = self.grouped(x * self.squeeze(x)[:, :, None, None])
        x = self.prelu(self.gn(self.sep(self.sep_dw(torch.maximum(x, 0.3 * x)))))
        return torch.sigmoid(self.labels(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False).flatten(2).amax(-1)))


FAULTS = {
    "not_rescaled": Fault("rescale", "rescaling"),
    "pad_before": Fault("pad", "zero-padding-layer"),
    "eps": Fault("stem_bn", "eps", module=lambda net: setattr(net.stem_bn, "eps", 1e-5)),
    "gamma_beta": Fault("stem_bn", "bn-slots-exchanged", made.ordered("stem_bn", 1, 0, 2, 3)),
    "statistics": Fault("stem_bn", "bn-stats-not-loaded", module=lambda net: net.stem_bn.reset_running_stats()),
    "relu_first": Fault("stem_bn stem_relu", "layer-order"),
    "relu": Fault("stem_relu", "activation-slope"),
    "multiplier": Fault("dw", "depthwise-layout", made.changed("dw", made.multiplier)),
    "rows": Fault("dw", "depthwise-layout", made.changed("dw", made.rows)),
    "symmetric": Fault("dw", "same-padding"),
    "no_bias": Fault("dw", "bias-missing", made.changed("dw", torch.zeros_like, 1)),
    "shifted": Fault("dw_bn", "bn-scale-center"),
    "gelu": Fault("dw_act", "activation-kind"),
    "max": Fault("squeeze", "pool-kind"),
    "not_transposed": Fault("reduce", "conv-kernel-layout", made.changed("reduce", made.in_out)),
    "swapped": Fault("reduce expand", "weights-swapped", made.exchanged("reduce", "expand")),
    "sigmoid": Fault("expand", "activation-kind"),
    "added": Fault("excite", "merge-mode"),
    "of_another": Fault("expand", "weights-of-other-layer", made.taken(expand="reduce")),
    "slope": Fault("leaky", "activation-slope"),
    "relu_between": Fault("sep", "extra-layer"),
    "groups": Fault("gn", "groups", module=lambda net: setattr(net.gn, "num_groups", 2)),
    "group_eps": Fault("gn", "eps", module=lambda net: setattr(net.gn, "eps", 1e-5)),
    "fresh_slopes": Fault("prelu", "weights-not-loaded", module=lambda net: net.prelu.reset_parameters()),
    "counts_padding": Fault("smooth", "pool-padding"),
}
PAIRS = {
    "eps_and_gamma_beta": "",
    "multiplier_and_no_bias": "",
    "groups_and_group_eps": "",
    "max_and_added": "",
}
SUBJECT = Subject("faulty_mobile", mobile, Mobile, FAULTS, PAIRS, {"fused": Variant(Fused, "stem dw")})
