"""Images at two sizes: a block with squeeze and excitation, shortcuts that share what is before them, a way back up."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.zoo.case import Weights
from tests.zoo.faulty.fault import Fault, Net, Subject
from tests.zoo.layers import batch_norm, conv2d, dense


def pyramid(k: Any) -> Any:
    def unit(x: Any, name: str, **config: Any) -> Any:
        x = k.layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv", **config)(x)
        return k.layers.BatchNormalization(name=f"{name}_bn")(x)

    x = inputs = k.Input((16, 16, 3))
    x = k.layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(x)
    x = k.layers.ReLU(name="stem_relu")(unit(x, "stem"))
    x = k.layers.MaxPooling2D(2, name="pool")(x)
    y = unit(k.layers.ReLU(name="a_relu")(unit(x, "a1")), "a2")
    z = k.layers.Conv2D(8, 1, name="a_short")(x)
    s = k.layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    s = k.layers.Conv2D(4, 1, activation="relu", name="reduce")(s)
    s = k.layers.Conv2D(8, 1, activation="sigmoid", name="excite")(s)
    y = k.layers.Multiply(name="scaled")([y, s])
    x = fine = k.layers.Add(name="a_add")([y, z])
    x = k.layers.AveragePooling2D(3, 2, padding="same", name="down")(x)
    y = unit(k.layers.Activation("swish", name="b_act")(x), "b")
    x = k.layers.Add(name="b_add")([x, y])
    u = k.layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    u = k.layers.Concatenate(name="skip")([u, fine])
    u = k.layers.Conv2D(4, 1, activation="relu", name="lateral")(u)
    u = k.layers.Conv2D(2, 3, padding="same", name="mask")(u)
    x = k.layers.GlobalAveragePooling2D(name="gap")(k.layers.ReLU(name="top_relu")(x))
    return k.Model(inputs, [u, k.layers.Dense(5, activation="softmax", name="classes")(x)])


class Pyramid(Net):
    """Modules."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        for name in ("stem", "a1", "a2", "b"):
            setattr(self, f"{name}_conv", conv2d(w[f"{name}_conv"], padding=1))
            setattr(self, f"{name}_bn", batch_norm(w[f"{name}_bn"]))
        self.a_short, self.reduce, self.excite = conv2d(w["a_short"]), conv2d(w["reduce"]), conv2d(w["excite"])
        self.lateral, self.mask, self.classes = conv2d(w["lateral"]), conv2d(w["mask"], padding=1), dense(w["classes"])

    def unit(self, x: Tensor, name: str) -> Tensor:
        x = getattr(self, f"{name}_conv")(x)
        return x if self.has(f"no_{name}_bn") else getattr(self, f"{name}_bn")(x)

    def forward(self, x: Tensor) -> Any:
        x = x / 255 if self.has("to_one") else x / 127.5 - 1
        x = self.unit(x, "stem")
        x = x if self.has("no_stem_relu") else F.relu(x)
        x = F.max_pool2d(x, 2)
        x = x * 0.5 if self.has("halved") else x
        x = F.elu(x - 1) if self.has("elu_for_both") else x
        y = self.unit(F.relu(self.unit(x, "a1")), "a2")
        if self.has("relu_behind"):
            y = F.relu(y)
        z = x if self.has("no_short") else self.a_short(F.relu(x - 0.5) if self.has("relu_of_short") else x)
        s = (x if self.has("squeezes_the_input") else y).mean((2, 3), keepdim=True)
        s = self.excite(F.relu(self.reduce(s)))
        s = (
            s.softmax(1)
            if self.has("softmax_gate")
            else F.hardsigmoid(s)
            if self.has("hard_gate")
            else torch.sigmoid(s)
        )
        if self.has("gate_of_sum"):
            y = (y + z) * s
        elif self.has("no_gate"):
            y = y + z
        elif self.has("residual_gate"):
            y = y + y * s + z
        else:
            y = y * s + z
        x = fine = F.relu(y) if self.has("relu_after_add") else y
        if self.has("zeros_counted"):
            x = F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)
        else:
            ones = F.pad(torch.ones_like(x), (0, 1, 0, 1))
            x = F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2) / F.avg_pool2d(ones, 3, 2)
        a = F.silu(x)
        y = self.unit(a, "b")
        x = (a if self.has("shortcut_behind_act") else x) + y
        x = x - 0.25 if self.has("shifted") else x
        u = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.has("align_corners"))
        u = torch.cat([u, u if self.has("twice") else z if self.has("skip_of_short") else fine], 1)
        u = self.mask(F.relu(self.lateral(u)))
        x = x if self.has("no_top_relu") else F.relu(x)
        x = x.amax((2, 3)) if self.has("maximum") else x.mean((2, 3))
        classes = self.classes(x).softmax(1)
        return u, classes


FAULTS = {
    "to_one": Fault("rescale", "rescaling"),
    "no_stem_bn": Fault("stem_bn", "missing-layer"),
    "no_stem_relu": Fault("stem_relu", "missing-layer"),
    "halved": Fault("a1_conv", "extra-layer"),
    "elu_for_both": Fault("a1_conv", "extra-layer"),
    "no_a1_bn": Fault("a1_bn", "missing-layer"),
    "no_a2_bn": Fault("a2_bn", "missing-layer"),
    "no_b_bn": Fault("b_bn", "missing-layer"),
    "relu_behind": Fault("squeeze", "extra-layer"),
    "no_short": Fault("a_short", "missing-layer"),
    "relu_of_short": Fault("a_short", "extra-layer"),
    "squeezes_the_input": Fault("squeeze", "missing-layer"),
    "softmax_gate": Fault("excite", "activation-kind"),
    "hard_gate": Fault("excite", "activation-kind"),
    "gate_of_sum": Fault("scaled a_add", "merge-mode missing-layer"),
    "no_gate": Fault("scaled", "missing-layer"),
    "residual_gate": Fault("scaled", "merge-mode"),
    "relu_after_add": Fault("down", "extra-layer"),
    "zeros_counted": Fault("down", "pool-padding"),
    "shortcut_behind_act": Fault("b_add", "extra-layer"),
    "shifted": Fault("b_add", "extra-layer"),
    "align_corners": Fault("up", "upsampling"),
    "twice": Fault("skip", "concat-order"),
    "skip_of_short": Fault("skip", "missing-layer"),
    "no_top_relu": Fault("top_relu", "missing-layer"),
    "maximum": Fault("gap", "pool-kind"),
}
SUBJECT = Subject("faulty_pyramid", pyramid, Pyramid, FAULTS)
