"""Ports as people write them: one small CNN in every style, correct, and with the faults that a style invites."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tests.zoo.case import Case, Port, Weights, load, wrong
from tests.zoo.layers import batch_norm, conv2d, dense


def cnn(k: Any) -> Any:
    x = inputs = k.Input((9, 8, 3))
    x = k.layers.Conv2D(4, 3, 2, padding="same", use_bias=False, name="conv")(x)
    x = k.layers.BatchNormalization(name="bn1")(x)
    x = k.layers.ReLU(name="relu1")(x)
    x = k.layers.DepthwiseConv2D(3, padding="same", name="dw")(x)
    x = k.layers.BatchNormalization(name="bn2")(x)
    x = k.layers.ReLU(6.0, name="relu2")(x)
    x = k.layers.MaxPooling2D(2, name="pool")(x)
    x = k.layers.Flatten(name="flatten")(x)
    return k.Model(inputs, k.layers.Dense(5, activation="softmax", name="fc")(x))


def depthwise(w: list[Tensor]) -> nn.Conv2d:
    kernel, bias = w
    module = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    load(module, weight=kernel.permute(2, 3, 0, 1), bias=bias)
    return module


class Net(nn.Module):
    """Modules, called in order."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.conv, self.bn1 = conv2d(w["conv"], 2), batch_norm(w["bn1"])
        self.dw, self.bn2, self.fc = depthwise(w["dw"]), batch_norm(w["bn2"]), dense(w["fc"])

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn1(self.conv(F.pad(x, (0, 1, 1, 1)))))
        x = F.max_pool2d(F.relu6(self.bn2(self.dw(x))), 2)
        return self.fc(x.permute(0, 2, 3, 1).flatten(1)).softmax(1)


# -- modules -----------------------------------------------------------------------------------------------------------


class ChannelsLast(nn.Module):
    """A movement as a module, for nn.Sequential."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


def sequential(w: Weights, last: bool = True) -> nn.Module:
    net = Net(w)
    return nn.Sequential(
        nn.ZeroPad2d((0, 1, 1, 1)),
        net.conv,
        net.bn1,
        nn.ReLU(inplace=True),
        net.dw,
        net.bn2,
        nn.ReLU6(inplace=True),
        nn.MaxPool2d(2),
        *([ChannelsLast()] if last else []),
        nn.Flatten(),
        net.fc,
        nn.Softmax(dim=1),
    )


class Unused(Net):
    """Modules defined in another order than they are called, and some that are never called."""

    def __init__(self, w: Weights) -> None:
        nn.Module.__init__(self)
        self.fc, self.aux = dense(w["fc"]), nn.Linear(7, 5)
        self.bn2, self.dw, self.bn1, self.conv = Net(w).bn2, depthwise(w["dw"]), Net(w).bn1, conv2d(w["conv"], 2)
        self.temperature = nn.Parameter(torch.ones(()))
        self.spare = copy.deepcopy(self.conv)


class Loop(nn.Module):
    """Modules in lists, chosen by Python's control flow."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        net = Net(w)
        self.blocks = nn.ModuleList([nn.ModuleDict({"conv": net.conv, "norm": net.bn1})])
        self.blocks.append(nn.ModuleDict({"conv": net.dw, "norm": net.bn2}))
        self.classifier = net.fc

    def forward(self, x: Tensor) -> Any:
        block: Any
        for number, block in enumerate(self.blocks):
            if number == 0 and x.shape[-1] % 2 == 0:
                x = F.pad(x, (0, 1, 1, 1))
            x = block["norm"](block["conv"](x))
            x = x.clamp(min=0) if number == 0 else torch.clamp(x, 0, 6)
        x = F.max_pool2d(x, kernel_size=2, stride=2)
        return torch.softmax(self.classifier(torch.flatten(x.movedim(1, -1), 1)), dim=-1)


class InPlace(Net):
    """Every activation overwrites what it was given."""

    def forward(self, x: Tensor) -> Any:
        padded = x.new_zeros(x.shape[0], 3, 11, 9)
        padded[:, :, 1:10, 0:8] = x
        x = self.bn1(self.conv(padded))
        x.relu_()
        x = self.bn2(self.dw(x)).clamp_(0, 6)
        x = F.max_pool2d(x, 2).permute(0, 2, 3, 1).reshape(len(x), -1)
        x = self.fc(x)
        x -= x.max(dim=1, keepdim=True).values
        x.exp_()
        x /= x.sum(dim=1, keepdim=True)
        return x


# -- functions ---------------------------------------------------------------------------------------------------------


class Functional(nn.Module):
    """A plain dict of tensors in Keras's layout, and functions; the kernels are moved in forward."""

    def __init__(self, w: Weights, bias: bool = True, order: tuple[int, ...] = (3, 2, 0, 1)) -> None:
        super().__init__()
        self.w = {name: w[name] for name in ("conv", "bn1", "dw", "bn2", "fc")}
        self.bias, self.order = bias, order

    def norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, variance = self.w[name]
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    def forward(self, x: Tensor) -> Any:
        kernel, bias = self.w["dw"]
        x = F.conv2d(F.pad(x, (0, 1, 1, 1)), self.w["conv"][0].permute(self.order), stride=2)
        x = self.norm(x, "bn1").relu()
        x = F.conv2d(x, kernel.permute(2, 3, 0, 1), bias if self.bias else None, padding="same", groups=4)
        x = F.hardtanh(self.norm(x, "bn2"), 0.0, 6.0)
        x = F.max_pool2d(x, 2).permute(0, 2, 3, 1).reshape(-1, 16)
        return torch.softmax(x @ self.w["fc"][0] + self.w["fc"][1], dim=-1)


class ByHand(Functional):
    """Normalisation as a formula."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, variance = (t.view(1, -1, 1, 1) for t in self.w[name])
        return (x - mean) / torch.sqrt(variance + 1e-3) * gamma + beta


class ScaleAndShift(Functional):
    """Normalisation as one product and one sum."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, variance = self.w[name]
        scale = gamma * torch.rsqrt(variance.double() + 1e-3).to(gamma.dtype)
        return x * scale[:, None, None] + (beta - mean * scale)[:, None, None]


class Nhwc(Functional):
    """Every function takes and gives (N, H, W, C); only the convolutions permute."""

    def conv(self, x: Tensor, kernel: Tensor, bias: Tensor | None = None, **config: Any) -> Tensor:
        return F.conv2d(x.permute(0, 3, 1, 2), kernel, bias, **config).permute(0, 2, 3, 1)

    def norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, variance = self.w[name]
        return (x - mean) * torch.rsqrt(variance + 1e-3) * gamma + beta

    def forward(self, x: Tensor) -> Any:
        kernel, bias = self.w["dw"]
        x = F.pad(x, (0, 0, 0, 1, 1, 1))
        x = F.relu(self.norm(self.conv(x, self.w["conv"][0].permute(self.order), stride=2), "bn1"))
        x = self.norm(self.conv(x, kernel.permute(2, 3, 0, 1), bias, padding=1, groups=4), "bn2").clamp(0, 6)
        n, h, w, c = x.shape
        x = x[:, : h // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).amax(dim=(2, 4))
        return F.linear(x.flatten(1), self.w["fc"][0].T, self.w["fc"][1]).softmax(-1)


class PermuteFirst(Net):
    """Takes (N, H, W, C) and permutes inside."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.permute(0, 3, 1, 2))


def channels_last_weights(w: Weights) -> Any:
    net: Any = Net(w)
    return net.to(memory_format=torch.channels_last)


class MemoryFormat(Net):
    """Channels last in memory, channels first in name."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.contiguous(memory_format=torch.channels_last))


# -- weights in another form -------------------------------------------------------------------------------------------


def fused(w: Weights) -> Any:
    net: Any = Net(w).eval()
    net.conv, net.bn1 = fuse_conv_bn_eval(net.conv, net.bn1), nn.Identity()
    net.dw, net.bn2 = fuse_conv_bn_eval(net.dw, net.bn2), nn.Identity()
    return net


def fused_wrongly(w: Weights) -> Any:
    """Folded with torch's epsilon."""
    net: Any = Net(w).eval()
    net.bn1.eps = 1e-5
    net.conv, net.bn1 = fuse_conv_bn_eval(net.conv, net.bn1), nn.Identity()
    return net


def bias_in_mean(w: Weights, sign: float = 1.0) -> Any:
    """As timm does: the convolution has no bias, the running mean is so much smaller."""
    net: Any = Net(w)
    net.bn2.running_mean -= sign * net.dw.bias.detach()
    net.dw.bias = None
    return net


def weight_norm(w: Weights) -> nn.Module:
    net = Net(w)
    for module in (net.conv, net.fc):
        parametrizations.weight_norm(module)
    return net


def old_weight_norm(w: Weights) -> nn.Module:
    net = Net(w)
    for module in (net.conv, net.fc):
        nn.utils.weight_norm(module)
    return net


def weight_norm_not_loaded(w: Weights) -> Any:
    """The direction was loaded, the magnitude was not."""
    net: Any = Net(w)
    parametrizations.weight_norm(net.fc)
    net.fc.parametrizations.weight.original0.data.fill_(1.0)
    return net


class Moved(nn.Module):
    """A parametrisation that brings Keras's kernel into torch's layout."""

    def forward(self, kernel: Tensor) -> Tensor:
        return kernel.permute(3, 2, 0, 1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.permute(2, 3, 1, 0)


def parametrized(w: Weights) -> nn.Module:
    net = Net(w)
    nn.utils.parametrize.register_parametrization(net.conv, "weight", Moved())
    return net


# -- compiled and traced -----------------------------------------------------------------------------------------------


def traced(w: Weights) -> Any:
    trace: Any = torch.jit.trace
    return trace(Net(w).eval(), torch.zeros(2, 3, 9, 8))


def lazy(w: Weights) -> Any:
    net: Any = Net(w)
    state = net.state_dict()
    net.conv, net.fc = nn.LazyConv2d(4, 3, 2, bias=False), nn.LazyLinear(5)
    net.load_state_dict(state)
    return net


# -- precision ---------------------------------------------------------------------------------------------------------


class Casts(Net):
    """Converts to float32 by name and makes float32 constants, as much code does; in float32 that changes nothing."""

    def forward(self, x: Tensor) -> Any:
        x = x.float() * torch.tensor(1.0, dtype=torch.float32)
        x = F.relu(self.bn1(self.conv(F.pad(x, (0, 1, 1, 1)))))
        x = F.max_pool2d(F.relu6(self.bn2(self.dw(x))), 2)
        return self.fc(x.permute(0, 2, 3, 1).flatten(1)).softmax(1, dtype=torch.float32)


class Half(Net):
    """Rounds to half precision on the way."""

    def __init__(self, w: Weights, dtype: torch.dtype) -> None:
        super().__init__(w)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn1(self.conv(F.pad(x, (0, 1, 1, 1)))))
        x = self.dw(x.to(self.dtype).to(x.dtype))
        x = F.max_pool2d(F.relu6(self.bn2(x)), 2)
        return self.fc(x.permute(0, 2, 3, 1).flatten(1)).softmax(1)


class Autocast(Net):
    """Computes in bfloat16 what torch thinks may be."""

    def forward(self, x: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


def all_rounded(w: Weights) -> nn.Module:
    return Net(w).half()


def spectral_norm(w: Weights) -> nn.Module:
    """Divides a kernel by its greatest singular value, in eval mode too."""
    net = Net(w)
    parametrizations.spectral_norm(net.fc)
    return net


def compiled(w: Weights) -> Any:
    return torch.compile(Net(w).eval())


def compiled_in_place(w: Weights) -> nn.Module:
    net = Net(w)
    net.compile()
    return net


class Called(nn.Module):
    """A module whose parameters are given to it at every call."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.net = Net(w)

    def forward(self, x: Tensor) -> Any:
        return torch.func.functional_call(self.net, dict(self.net.named_parameters()), (x,))


def rounded(w: Weights) -> nn.Module:
    """Weights through half precision."""
    net = Net(w)
    net.fc.half().float()
    return net


class Einops(Net):
    """Rearranged by reshapes of six axes, as einops does it."""

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn1(self.conv(F.pad(x, (0, 1, 1, 1)))))
        x = F.relu6(self.bn2(self.dw(x)))[:, :, :4, :4]
        x = x.reshape(x.shape[0], 4, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(x.shape[0], 16, 4).amax(-1)
        return self.fc(x).softmax(1)


RIGHT: dict[str, Port] = {
    "loop": Loop,
    "in_place": InPlace,
    "by_hand": ByHand,
    "scale_and_shift": ScaleAndShift,
    "permute_first": PermuteFirst,
    "memory_format": MemoryFormat,
    "memory_format_weights": channels_last_weights,
    "weight_norm_old": old_weight_norm,
    "parametrized": parametrized,
    "trace": traced,
    "script": lambda w: torch.jit.script(Net(w).eval()),
    "fx": lambda w: fx.symbolic_trace(Net(w).eval()),
    "lazy": lazy,
    "parallel": lambda w: nn.DataParallel(Net(w)),
    "casts": Casts,
    "compiled": compiled,
    "compiled_in_place": compiled_in_place,
    "functional_call": Called,
    "einops": Einops,
}


def style(name: str, right: Port, *, declared: str = "", unused: str = "", **wrongs: Any) -> Case:
    """The CNN in one style; styles are torch's, so one Keras is enough."""
    spare = "\n".join(f'"{name}" = "not used in inference"' for name in unused.split())
    own = frozenset(declared.split())
    return Case(
        f"style_{name}", cnn, right, wrongs, ("keras",), manifest=f"[declared]\n{spare}" if spare else "", declared=own
    )


CASES = [
    *(style(name, port) for name, port in RIGHT.items()),
    style(
        "modules",
        Net,
        rounded=wrong(rounded, "fc", "fc:weights"),
        half=wrong(lambda w: Half(w, torch.float16), "dw"),
        autocast=wrong(Autocast, "conv dw fc", "conv:weights dw:weights fc:weights"),
        all_rounded=wrong(
            all_rounded, "conv bn1 dw bn2 fc", "conv:weights bn1:weights dw:weights bn2:weights fc:weights"
        ),
        spectral_norm=wrong(spectral_norm, "fc", "fc:weights"),
        bfloat16=wrong(lambda w: Half(w, torch.bfloat16), "dw"),
    ),
    style("unused", Unused, unused="aux.weight aux.bias temperature spare.weight"),
    style("sequential", sequential, flatten=wrong(lambda w: sequential(w, last=False), "fc")),
    style(
        "functional",
        Functional,
        bias=wrong(lambda w: Functional(w, bias=False), "dw", "dw:weights"),
        order=wrong(lambda w: Functional(w, order=(3, 2, 1, 0)), "conv", "conv:weights"),
    ),
    style("nhwc", Nhwc, order=wrong(lambda w: Nhwc(w, order=(3, 2, 1, 0)), "conv", "conv:weights")),
    style("fused", fused, declared="conv dw", eps=wrong(fused_wrongly, "bn1")),
    style(
        "bias_in_mean", bias_in_mean, declared="dw", sign=wrong(lambda w: bias_in_mean(w, -1.0), "dw bn2", "dw:weights")
    ),
    style("weight_norm", weight_norm, magnitude=wrong(weight_norm_not_loaded, "fc", "fc:weights")),
]
