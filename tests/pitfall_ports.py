"""Ports of the tiny model of ``helpers``, each with one of the mistakes that its name says. ``right`` has none."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import h5py
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tiny(nn.Module):
    """The port; what wrong ones do otherwise is a method or an argument."""

    def __init__(self, path: str, eps: float = 1e-3, stride: int = 2, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, stride=stride, bias=bias)
        self.bn = nn.BatchNorm2d(3, eps=eps, momentum=0.01)
        self.fc = nn.Linear(27, 4)
        with h5py.File(path, "r") as file:

            def weight(layer: str, name: str) -> Tensor:
                return torch.from_numpy(file[f"model_weights/{layer}/{layer}/{name}:0"][()])

            self.conv.weight.data = weight("conv2d_3", "kernel").permute(3, 2, 0, 1).contiguous()
            if bias:
                self.conv.bias.data = weight("conv2d_3", "bias")  # type: ignore[union-attr]
            self.bn.weight.data = weight("batch_normalization", "gamma")
            self.bn.bias.data = weight("batch_normalization", "beta")
            self.bn.running_mean = weight("batch_normalization", "moving_mean")
            self.bn.running_var = weight("batch_normalization", "moving_variance")
            self.fc.weight.data = weight("dense", "kernel").T.contiguous()
            self.fc.bias.data = weight("dense", "bias")

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(self.padded(x))))

    def padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 1, 0, 1))

    def flat(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)

    def head(self, x: Tensor) -> Tensor:
        return torch.softmax(x, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc(self.flat(self.features(x))))


def _frozen(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False).eval()


def _with(path: str, **methods: Callable[..., Tensor]) -> nn.Module:
    return _frozen(type("Tiny", (Tiny,), methods)(path))


def right(path: str) -> nn.Module:
    return _frozen(Tiny(path))


# -- weights ---------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def made_in_inference(path: str) -> nn.Module:
    return right(path)


def over_devices(path: str) -> nn.Module:
    """Hands on what it is given: it has a mode, and heeds none."""
    return nn.DataParallel(right(path))


def through_float32(path: str) -> nn.Module:
    """Rounds its input, which is the same in float32."""
    return _with(path, forward=lambda self, x: Tiny.forward(self, x.float().to(self.conv.weight.dtype)))


def left_at_initialisation(path: str) -> nn.Module:
    torch.manual_seed(0)
    model = Tiny(path)
    model.fc.reset_parameters()
    return _frozen(model)


def statistics_left(path: str) -> nn.Module:
    model = Tiny(path)
    model.bn.reset_running_stats()
    return _frozen(model)


def bias_left_out(path: str) -> nn.Module:
    return _frozen(Tiny(path, bias=False))


def bias_transposed(path: str) -> nn.Module:
    """The bias of a layer is laid out in another order: reversed here, as a wrong reshape does."""
    model = Tiny(path)
    model.fc.bias.data = model.fc.bias.data.flip(0)
    return _frozen(model)


def auxiliary_head(path: str) -> nn.Module:
    model = Tiny(path)
    model.aux = nn.Linear(27, 2)
    return _frozen(model)


def one_bias_for_two_layers(path: str) -> nn.Module:
    """The normalisation shares the convolution's bias."""
    model = Tiny(path)
    assert model.conv.bias is not None
    model.bn.bias = model.conv.bias  # type: ignore[assignment]
    return _frozen(model)


# -- shapes ----------------------------------------------------------------------------------------------------------


def stride_of_one(path: str) -> nn.Module:
    class Model(Tiny):
        def flat(self, x: Tensor) -> Tensor:
            return super().flat(x[:, :, :3, :3])

    return _frozen(Model(path, stride=1))


def channels_first_flattened(path: str) -> nn.Module:
    return _with(path, flat=lambda self, x: x.flatten(1))


def channels_reversed(path: str) -> nn.Module:
    """The port takes BGR where the Keras model takes RGB."""
    return _with(path, padded=lambda self, x: F.pad(x.flip(1), (0, 1, 0, 1)))


# -- modes -----------------------------------------------------------------------------------------------------------


def training_mode(path: str) -> nn.Module:
    return Tiny(path).requires_grad_(False).train()


def one_module_in_training_mode(path: str) -> nn.Module:
    model = Tiny(path)
    _frozen(model)
    model.bn.train()
    return model


def statistics_of_the_batch(path: str) -> nn.Module:
    model = Tiny(path)
    model.bn.track_running_stats = False
    for name in ("running_mean", "running_var"):
        setattr(model.bn, name, None)
    return _frozen(model)


def dropout_left_on(path: str) -> nn.Module:
    return _with(path, flat=lambda self, x: F.dropout(Tiny.flat(self, x), 0.5))


def rate_of_zero(path: str) -> nn.Module:
    """Right: a dropout that drops nothing."""
    return _with(path, flat=lambda self, x: F.dropout(Tiny.flat(self, x), 0.0))


def random_noise(path: str) -> nn.Module:
    return _with(path, flat=lambda self, x: Tiny.flat(self, x) + 1e-3 * torch.rand(27))


def squeezed(path: str) -> nn.Module:
    """A batch of 1 loses its axis."""
    return _with(path, head=lambda self, x: torch.softmax(x.squeeze(), -1))


def written_for_two(path: str) -> nn.Module:
    """The batch size is written into a reshape."""
    return _with(path, flat=lambda self, x: x.permute(0, 2, 3, 1).reshape(2, 27))


def wrong_alone(path: str) -> nn.Module:
    """Right in a batch, wrong for a single image."""
    return _with(path, flat=lambda self, x: Tiny.flat(self, x) * (1.5 if len(x) == 1 else 1))


def right_up_to_two(path: str) -> nn.Module:
    """Right for one image and for two, wrong for three."""
    return _with(path, flat=lambda self, x: Tiny.flat(self, x) * (1.5 if len(x) > 2 else 1))


def answers_of_two(path: str) -> nn.Module:
    """Computes two images; the others get the answer of one of these."""
    return _with(path, flat=lambda self, x: Tiny.flat(self, x)[torch.arange(len(x)) % 2])


def turned_round(path: str) -> nn.Module:
    """Right for two images, the other way round for any other number."""
    return _with(path, flat=lambda self, x: Tiny.flat(self, x) if len(x) == 2 else Tiny.flat(self, x).flip(0))


def counts_its_calls(path: str) -> nn.Module:
    class Model(Tiny):
        calls: Tensor

        def __init__(self, path: str) -> None:
            super().__init__(path)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    return _frozen(Model(path))


def not_frozen(path: str) -> nn.Module:
    return Tiny(path).eval()


def without_gradient(path: str) -> nn.Module:
    """Right: parameters require a gradient, and the port itself sees to it that none is tracked."""

    class Model(Tiny):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    return Model(path).eval()


# -- outputs ---------------------------------------------------------------------------------------------------------


def softmax_missing(path: str) -> nn.Module:
    return _with(path, head=lambda self, x: x)


def softmax_twice(path: str) -> nn.Module:
    return _with(path, head=lambda self, x: torch.softmax(torch.softmax(x, 1), 1))


def log_softmax(path: str) -> nn.Module:
    return _with(path, head=lambda self, x: torch.log_softmax(x, 1))


def softmax_over_the_batch(path: str) -> nn.Module:
    return _with(path, head=lambda self, x: torch.softmax(x, 0))


def sigmoid_instead(path: str) -> nn.Module:
    return _with(path, head=lambda self, x: torch.sigmoid(x))


# -- precision -------------------------------------------------------------------------------------------------------


def overflows_in_float32(path: str) -> nn.Module:
    """Right in exact arithmetic: float32 ends at e⁸⁸."""
    return _with(path, head=lambda self, x: torch.exp(x + 300) / torch.exp(x + 300).sum(1, keepdim=True))


def half_precision(path: str) -> nn.Module:
    return _frozen(Tiny(path)).half()


def half_inside(path: str) -> nn.Module:
    return _with(path, flat=lambda self, x: Tiny.flat(self, x).bfloat16().to(x.dtype))


def autocast(path: str) -> nn.Module:
    class Model(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x).float()

    return _frozen(Model(path))


def tf32(path: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cuda.matmul.allow_tf32 = True
    return right(path)


def torchs_epsilon(path: str) -> nn.Module:
    return _frozen(Tiny(path, eps=1e-5))


def nan_inside(path: str) -> nn.Module:
    return _with(path, flat=lambda self, x: torch.where(Tiny.flat(self, x) > 1, Tiny.flat(self, x), torch.nan))
