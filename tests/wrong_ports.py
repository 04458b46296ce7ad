"""Wrong ports of ResNet8: each is `model.resnet8` with one or two mistakes that people make."""

from __future__ import annotations

import types

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.convert import convert
from model.resnet8 import ResidualBlock, ResNet8


def _port(path: str) -> ResNet8:
    model = ResNet8()
    model.load_state_dict(convert(path, model).state)
    return model.requires_grad_(False).eval()


def correct(path: str) -> nn.Module:
    """No mistake."""
    return _port(path)


def eps(path: str) -> nn.Module:
    """One normalisation has torch's epsilon."""
    model = _port(path)
    model.b2.bn1.eps = 1e-5
    return model


def symmetric_padding(path: str) -> nn.Module:
    """One convolution of stride 2 pads (1, 1) where Keras pads (0, 1)."""
    model = _port(path)
    _pad_symmetrically(model)
    return model


def _pad_symmetrically(model: ResNet8) -> None:
    conv = model.b2.conv1

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, padding=1)

    conv.forward = types.MethodType(forward, conv)  # type: ignore[method-assign]


def eps_and_padding(path: str) -> nn.Module:
    """Two mistakes far apart."""
    model = _port(path)
    _pad_symmetrically(model)
    model.b3.bn2.eps = 1e-5
    return model


def height_and_width_exchanged(path: str) -> nn.Module:
    """A kernel copied as (out, in, W, H)."""
    model = _port(path)
    model.b1.conv2.weight.data = model.b1.conv2.weight.data.transpose(2, 3).contiguous()
    return model


def weights_swapped(path: str) -> nn.Module:
    """Two convolutions of the same shape hold each other's weights."""
    model = _port(path)
    first, second = model.b1.conv1, model.b1.conv2
    first.weight.data, second.weight.data = second.weight.data, first.weight.data
    first.bias, second.bias = second.bias, first.bias
    return model


def relu_missing(path: str) -> nn.Module:
    """The first rectifier of a block is forgotten."""
    model = _port(path)

    def forward(self: ResidualBlock, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = self.bn2(self.conv2(y))
        return F.relu(self.shortcut(x) + y)

    model.b2.forward = types.MethodType(forward, model.b2)  # type: ignore[method-assign]
    return model


def bias_missing(path: str) -> nn.Module:
    """A convolution before a normalisation is made without a bias, which Keras has."""
    model = _port(path)
    model.b3.conv1.bias = None
    return model


def statistics_missing(path: str) -> nn.Module:
    """Running mean and variance of one normalisation keep their initial values."""
    model = _port(path)
    model.b1.bn2.reset_running_stats()
    return model


def shortcut_untrained(path: str) -> nn.Module:
    """A shortcut keeps its initial weights."""
    model = _port(path)
    torch.manual_seed(0)
    shortcut = model.b2.shortcut
    assert isinstance(shortcut, nn.Conv2d)
    with torch.no_grad():
        shortcut.reset_parameters()
    return model


def softmax_missing(path: str) -> nn.Module:
    """The port returns logits."""
    model = _port(path)

    def forward(self: ResNet8, x: Tensor) -> Tensor:
        x = self.b3(self.b2(self.b1(F.relu(self.stem(x)))))
        return self.fc(torch.flatten(F.avg_pool2d(x, kernel_size=8), 1))  # type: ignore[no-any-return]

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]
    return model


def pixels_divided(path: str) -> nn.Module:
    """The port scales pixels to 0..1; the Keras model takes them raw."""
    model = _port(path)

    def forward(self: ResNet8, x: Tensor) -> Tensor:
        return ResNet8.forward(self, x / 255)

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]
    return model


def training_mode(path: str) -> nn.Module:
    """``eval()`` is forgotten: normalisations use the statistics of the batch."""
    return _port(path).train()


def shortcut_of_other_pixels(path: str) -> nn.Module:
    """A shortcut of stride 2 begins with the second pixel."""
    model = _port(path)
    shortcut = model.b2.shortcut

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x[:, :, 1:, 1:], self.weight, self.bias, self.stride)

    shortcut.forward = types.MethodType(forward, shortcut)  # type: ignore[method-assign]
    return model


def shortcut_of_zeros(path: str) -> nn.Module:
    """A shortcut fills the new channels with zeros, where Keras has a convolution."""
    model = _port(path)

    class Zeros(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))

    model.b2.shortcut = Zeros()  # type: ignore[assignment]
    return model


def shortcut_of_stride_1(path: str) -> nn.Module:
    """A shortcut that keeps the resolution cannot be added."""
    model = _port(path)
    assert isinstance(model.b2.shortcut, nn.Conv2d)
    model.b2.shortcut.stride = (1, 1)
    return model


def one_convolution_twice(path: str) -> nn.Module:
    """A block calls its first convolution in the place of the second."""
    model = _port(path)
    model.b1.conv2 = model.b1.conv1
    return model
