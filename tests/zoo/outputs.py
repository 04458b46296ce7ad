"""What ports return, and models whose parts are used twice or in another order."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Port, Weights, load, wrong
from tests.zoo.layers import batch_norm, conv2d, dense


def two_heads(k: Any) -> Any:
    inputs = k.Input((6,))
    x = k.layers.Dense(5, activation="relu", name="body")(inputs)
    y = k.layers.Dense(4, activation="tanh", name="left")(x)
    z = k.layers.Dense(4, activation="sigmoid", name="right")(x)
    return k.Model(inputs, [k.layers.Dense(3, activation="softmax", name="kind")(y), k.layers.Dense(1, name="age")(z)])


class Heads(nn.Module):
    """Two heads, given back as ``give`` wants."""

    def __init__(self, w: Weights, give: Callable[[Tensor, Tensor], Any] = lambda kind, age: (kind, age)) -> None:
        super().__init__()
        self.body, self.left, self.right = dense(w["body"]), dense(w["left"]), dense(w["right"])
        self.kind, self.age, self.give = dense(w["kind"]), dense(w["age"]), give

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.body(x))
        age = self.age(torch.sigmoid(self.right(x)))
        return self.give(self.kind(torch.tanh(self.left(x))).softmax(1), age)


def image_out(k: Any) -> Any:
    x = inputs = k.Input((5, 4, 3))
    x = k.layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(x)
    return k.Model(inputs, k.layers.Conv2D(3, 3, padding="same", name="image")(x))


class ImageOut(nn.Module):
    """An image in torch's layout, of a batch of one: an axis as short as any other of a single position."""

    def __init__(self, w: Weights, padding: tuple[int, ...] = (1, 1, 1, 1)) -> None:
        super().__init__()
        self.first, self.image, self.padding = conv2d(w["first"], padding=1), conv2d(w["image"]), padding

    def forward(self, x: Tensor) -> Any:
        return self.image(F.pad(F.relu(self.first(x)), self.padding))


class Answer(NamedTuple):
    kind: Tensor
    age: Tensor


@dataclasses.dataclass
class Data:
    kind: Tensor
    age: Tensor
    loss: Tensor | None = None


class ModelOutput(OrderedDict[str, Any]):
    """As in transformers: a dict whose values are attributes, and a tuple of those that are there."""

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self[key] for key in self)


class Exchanged(Heads):
    """The branches end in each other's activation."""

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.body(x))
        age = self.age(torch.tanh(self.right(x)))
        return self.kind(torch.sigmoid(self.left(x))).softmax(1), age


GIVEN: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "list": lambda kind, age: [kind, age],
    "dict": lambda kind, age: {"kind": kind, "age": age},
    "named_tuple": Answer,
    "dataclass": Data,
    "model_output": lambda kind, age: ModelOutput(kind=kind, age=age),
    "nested": lambda kind, age: (kind, (age,)),
    "more": lambda kind, age: (kind, age, kind.argmax(1), None),
}


def one(k: Any) -> Any:
    inputs = k.Input((6,))
    x = k.layers.Dense(5, activation="relu", name="body")(inputs)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class One(nn.Module):
    """One output in a wrapper."""

    def __init__(self, w: Weights, give: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head, self.give = dense(w["body"]), dense(w["head"]), give

    def forward(self, x: Tensor) -> Any:
        hidden = F.relu(self.body(x))
        return self.give(self.head(hidden), hidden)


# -- equal weights -----------------------------------------------------------------------------------------------------


def twins(k: Any) -> Any:
    inputs = k.Input((5,))
    x = k.layers.Dense(5, activation="tanh", name="first")(inputs)
    x = k.layers.Dense(5, activation="sigmoid", name="second")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


def equal(model: Any) -> None:
    model.get_layer("second").set_weights(model.get_layer("first").get_weights())


class Twins(nn.Module):
    """One module called for two Keras layers of equal weights."""

    def __init__(self, w: Weights, second: Callable[[Tensor], Tensor] = torch.sigmoid) -> None:
        super().__init__()
        self.shared, self.head, self.second = dense(w["first"]), dense(w["head"]), second

    def forward(self, x: Tensor) -> Any:
        return self.head(self.second(self.shared(self.shared(x).tanh())))


# -- one axis as two, two as one ---------------------------------------------------------------------------------------


def signal(k: Any) -> Any:
    x = inputs = k.Input((13, 2))
    x = k.layers.Conv1D(4, 3, 2, padding="same", name="conv")(x)
    x = k.layers.LeakyReLU(name="leaky")(k.layers.BatchNormalization(name="bn")(x))
    x = k.layers.Conv1D(4, 2, dilation_rate=2, activation="relu", name="dilated")(x)
    x = k.layers.MaxPooling1D(2, name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, name="fc")(k.layers.Flatten(name="flatten")(x)))


class Signal(nn.Module):
    """In one dimension; takes (N, L, C) and moves the channels itself."""

    def __init__(self, w: Weights, slope: float = 0.3) -> None:
        super().__init__()
        self.conv, self.dilated = nn.Conv1d(2, 4, 3, 2, padding=1), nn.Conv1d(4, 4, 2, dilation=2)
        for module, name in ((self.conv, "conv"), (self.dilated, "dilated")):
            load(module, weight=w[name][0].permute(2, 1, 0), bias=w[name][1])
        self.norm, self.fc, self.slope = batch_norm(w["bn"], module=nn.BatchNorm1d), dense(w["fc"]), slope

    def forward(self, x: Tensor) -> Any:
        x = F.leaky_relu(self.norm(self.conv(x.transpose(1, 2))), self.slope)
        x = F.max_pool1d(F.relu(self.dilated(x)), 2)
        return self.fc(x.transpose(1, 2).flatten(1))


class Plane(Signal):
    """The same in two dimensions, one of size 1, as for hardware that knows nothing else."""

    def forward(self, x: Tensor) -> Any:
        x = x.permute(0, 2, 1).unsqueeze(2)
        x = F.conv2d(F.pad(x, (1, 1)), self.conv.weight.unsqueeze(2), self.conv.bias, stride=(1, 2))
        norm: Any = self.norm
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        x = F.leaky_relu(x, self.slope)
        x = F.conv2d(x, self.dilated.weight[:, :, None], self.dilated.bias, dilation=(1, 2)).relu()
        x = F.max_pool2d(x, (1, 2)).squeeze(2)
        return self.fc(x.permute(0, 2, 1).reshape(x.shape[0], -1))


class ChannelsFirst(Signal):
    """Takes (N, C, L), as the manifest says."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.transpose(1, 2))


def strip(k: Any) -> Any:
    x = inputs = k.Input((12, 1, 2))
    x = k.layers.Conv2D(4, (3, 1), padding="same", activation="relu", name="conv")(x)
    x = k.layers.AveragePooling2D((2, 1), name="pool")(x)
    x = k.layers.Conv2D(3, (6, 1), name="last")(x)
    return k.Model(inputs, k.layers.Flatten(name="flatten")(x))


class Strip(nn.Module):
    """A model in two dimensions, one of size 1, written in one."""

    def __init__(self, w: Weights, flipped: bool = False) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(2, 4, 3, padding=1), nn.Conv1d(4, 3, 6)
        kernel, bias = w["conv"]
        load(self.conv, weight=(kernel.flip(0) if flipped else kernel)[:, 0].permute(2, 1, 0), bias=bias)
        load(self.last, weight=w["last"][0].squeeze(1).permute(2, 1, 0), bias=w["last"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.avg_pool1d(self.conv(x.squeeze(-1)).relu(), 2)
        return self.last(x).squeeze(-1)


HEADS: dict[str, Port] = {name: (lambda w, give=give: Heads(w, give)) for name, give in GIVEN.items()}  # type: ignore[misc]
CASES = [
    Case(
        "image_of_one",
        image_out,
        ImageOut,
        {"padded_at_one_side": wrong(lambda w: ImageOut(w, (2, 0, 2, 0)), "image", "image:hyper")},
        settings={"batch": 1},
    ),
    *(Case(f"outputs_{name}", two_heads, port, loaders=("keras",)) for name, port in HEADS.items()),
    Case(
        "outputs_tuple",
        two_heads,
        Heads,
        {
            "order": wrong(lambda w: Heads(w, lambda kind, age: (age, kind)), ""),
            "activations": wrong(Exchanged, "left right", "left:hyper right:hyper"),
        },
    ),
    Case("outputs_one_tuple", one, lambda w: One(w, lambda x, hidden: (x,)), loaders=("keras",)),
    Case("outputs_one_dict", one, lambda w: One(w, lambda x, hidden: {"logits": x}), loaders=("keras",)),
    Case(
        "outputs_hidden_too",
        one,
        lambda w: One(w, lambda x, hidden: (x, {"hidden": hidden})),
        {"hidden_first": wrong(lambda w: One(w, lambda x, hidden: (hidden, x)), "head")},
        loaders=("keras",),
    ),
    Case(
        "twins",
        twins,
        Twins,
        {"tanh": wrong(lambda w: Twins(w, torch.tanh), "second", "second:hyper")},
        prepare=equal,
    ),
    Case("signal_1d", signal, Signal, {"slope": wrong(lambda w: Signal(w, 0.01), "leaky", "leaky:hyper")}),
    Case("signal_2d", signal, Plane, {"slope": wrong(lambda w: Plane(w, 0.01), "leaky", "leaky:hyper")}),
    Case("signal_channels_first", signal, ChannelsFirst, manifest="[inputs]\nlayout = [0, 2, 1]\n"),
    Case("strip", strip, Strip, {"flipped": wrong(lambda w: Strip(w, True), "conv", "conv:weights")}),
]
