"""Random changes of images, which do nothing in inference, and crops of the middle, which do."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong
from tests.zoo.layers import conv2d, dense

BOTH = ("RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "RandomContrast", "RandomBrightness")
ONLY_3 = (
    *("RandomColorDegeneration", "RandomColorJitter", "RandomElasticTransform", "RandomErasing", "RandomGaussianBlur"),
    *("RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomSaturation"),
    "RandomSharpness",
)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "RandomFlip": ("horizontal",),
    "RandomTranslation": (0.1, 0.1),
    "RandomColorJitter": (),
    "RandomElasticTransform": (),
    "RandomErasing": (),
    "RandomGaussianBlur": (),
    "RandomGrayscale": (),
    "RandomInvert": (),
    "RandomPerspective": (),
    "RandomPosterization": (4,),
}


def augmented(names: tuple[str, ...]) -> Any:
    def build(k: Any) -> Any:
        x = inputs = k.Input((10, 9, 3))
        for name in names:
            x = getattr(k.layers, name)(*ARGUMENTS.get(name, (0.2,)), name=name.lower())(x)
        x = k.layers.CenterCrop(8, 6, name="middle")(x)
        x = k.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
        return k.Model(inputs, k.layers.Dense(2, name="head")(k.layers.GlobalMaxPooling2D(name="most")(x)))

    return build


class Plain(nn.Module):
    def __init__(self, w: Weights, first: int = 1, flip: bool = False) -> None:
        super().__init__()
        self.first, self.flip = first, flip
        self.conv, self.head = conv2d(w["conv"]), dense(w["head"])

    def forward(self, x: Tensor) -> Any:
        x = torch.flip(x, (3,)) if self.flip else x
        x = x[:, :, self.first : self.first + 8, 1:7]
        return self.head(F.relu(self.conv(x)).amax((2, 3)))


FAULTS = {
    "corner": wrong(lambda w: Plain(w, first=0), "middle"),
    "flipped": wrong(lambda w: Plain(w, flip=True), "middle"),
}
CASES = [
    Case("augmented", augmented(BOTH), Plain, FAULTS, loaders=("tf_keras",)),
    Case("augmented_archive", augmented(BOTH + ONLY_3), Plain, FAULTS, loaders=("keras",), suffix=".keras"),
]
