"""Sequential, functional and nested models, and layers that are called several times."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo import parts
from tests.zoo.case import Case, Weights, wrong

# -- Sequential ------------------------------------------------------------------------------------------------------


def sequential_layers(k: Any) -> list[Any]:
    layers = k.layers
    return [
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(name="pool"),
        layers.Dropout(0.5, name="drop"),
        layers.Flatten(name="flatten"),
        layers.Dense(5, name="dense"),
        layers.Softmax(name="softmax"),
    ]


def with_input(k: Any) -> Any:
    return k.Sequential([k.layers.InputLayer((8, 6, 3), name="image"), *sequential_layers(k)])


def without_input(k: Any) -> Any:
    layers = sequential_layers(k)
    layers[0] = k.layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv", input_shape=(8, 6, 3))
    return k.Sequential(layers)


def built_late(k: Any) -> Any:
    model = k.Sequential()
    for layer in sequential_layers(k):
        model.add(layer)
    model.build((None, 8, 6, 3))
    return model


def called_late(k: Any) -> Any:
    model = k.Sequential(sequential_layers(k))
    model(torch.zeros(2, 8, 6, 3).numpy())
    return model


class Sequential(nn.Module):
    """Convolution, normalisation, rectifier, pooling, then a classifier over (H, W, C)."""

    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        stem = [parts.conv2d(w, "conv", padding=1), parts.batch_norm(w, "norm"), nn.ReLU(), nn.MaxPool2d(2)]
        if fault == "relu_missing":
            del stem[2]
        if fault == "relu_first":
            stem[1], stem[2] = stem[2], stem[1]
        self.stem = nn.Sequential(*stem, nn.Dropout(0.5))
        self.fc = parts.dense(w, "dense")
        self.fault = fault

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        if self.fault != "channels_first":
            x = x.permute(0, 2, 3, 1)
        x = self.fc(x.flatten(1))
        return x if self.fault == "softmax_missing" else torch.softmax(x, 1)


SEQUENTIAL_WRONG = {
    "relu_missing": wrong(lambda w: Sequential(w, "relu_missing"), "relu"),
    "relu_first": wrong(lambda w: Sequential(w, "relu_first"), "norm relu"),
    "channels_first": wrong(lambda w: Sequential(w, "channels_first"), "dense"),
    "softmax_missing": wrong(lambda w: Sequential(w, "softmax_missing"), "softmax"),
}

# -- nested models ---------------------------------------------------------------------------------------------------


def block(k: Any, name: str, channels: int, filters: int) -> Any:
    """A functional model to be nested."""
    x = inputs = k.Input((None, None, channels))
    x = k.layers.Conv2D(filters, 3, padding="same", name="conv")(x)
    x = k.layers.BatchNormalization(name="norm")(x)
    return k.Model(inputs, k.layers.ReLU(name="relu")(x), name=name)


def head(k: Any, name: str, features: int, units: int) -> Any:
    return k.Sequential(
        [
            k.layers.InputLayer((features,)),
            k.layers.Dense(7, activation="tanh", name="hidden"),
            k.layers.Dense(units, name="out"),
        ],
        name=name,
    )


def nested(k: Any) -> Any:
    """Functional and Sequential models within a functional one."""
    x = inputs = k.Input((8, 6, 3), name="image")
    x = block(k, "stem", 3, 4)(x)
    x = k.layers.MaxPooling2D(name="pool")(x)
    x = block(k, "body", 4, 5)(x)
    x = k.layers.GlobalAveragePooling2D(name="mean")(x)
    return k.Model(inputs, head(k, "head", 5, 3)(x))


class Block(nn.Module):
    def __init__(self, w: Weights, name: str, eps: float = 1e-3, relu: bool = True) -> None:
        super().__init__()
        self.conv = parts.conv2d(w, f"{name}/conv", padding=1)
        self.norm = parts.batch_norm(w, f"{name}/norm", eps)
        self.relu = relu

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class Nested(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.stem, self.body = Block(w, "stem"), Block(w, "body", 1e-5 if fault == "eps" else 1e-3)
        self.stem.relu = fault != "relu_missing"
        self.hidden, self.out = parts.dense(w, "head/hidden"), parts.dense(w, "head/out")
        self.fault = fault

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(self.stem(x), 2)
        x = self.body(x).mean((2, 3))
        x = self.hidden(x)
        return self.out(F.relu(x) if self.fault == "relu_for_tanh" else torch.tanh(x))


def two_levels(k: Any) -> Any:
    """A model in a model in a model."""
    x = inputs = k.Input((8, 6, 3))
    x = block(k, "first", 3, 4)(x)
    x = k.layers.AveragePooling2D(2, name="pool")(x)
    x = block(k, "second", 4, 5)(x)
    backbone = k.Model(inputs, x, name="backbone")
    y = outer = k.Input((8, 6, 3), name="image")
    y = backbone(k.layers.Conv2D(3, 1, name="colours")(y))
    y = k.layers.Flatten(name="flatten")(y)
    return k.Model(outer, k.layers.Dense(3, name="dense")(y))


class TwoLevels(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.first, self.second = Block(w, "backbone/first"), Block(w, "backbone/second")
        self.colours, self.dense = parts.conv2d(w, "colours"), parts.dense(w, "dense")
        self.fault = fault

    def forward(self, x: Tensor) -> Any:
        x = self.first(self.colours(x))
        x = F.max_pool2d(x, 2) if self.fault == "max_pool" else F.avg_pool2d(x, 2)
        x = self.second(x)
        if self.fault != "channels_first":
            x = x.permute(0, 2, 3, 1)
        return self.dense(x.flatten(1))


def nested_twice(k: Any) -> Any:
    """A nested model of square images, called on its own output."""
    inner = block(k, "refine", 4, 4)
    x = inputs = k.Input((7, 6, 3), name="image")
    x = k.layers.Conv2D(4, 1, name="stem")(x)
    x = inner(x)
    x = k.layers.AveragePooling2D(2, 1, name="pool")(x)
    x = inner(x)
    return k.Model(inputs, k.layers.GlobalMaxPooling2D(name="max")(x))


class NestedTwice(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.stem = parts.conv2d(w, "stem")
        self.refine = Block(w, "refine")
        self.again = self.refine
        if fault == "not_shared":
            self.again = Block(w, "refine")
            nn.init.normal_(self.again.conv.weight)
        if fault == "eps_of_the_second":
            self.again = Block(w, "refine", 1e-5)
        self.fault = fault

    def forward(self, x: Tensor) -> Any:
        x = self.refine(self.stem(x))
        x = F.avg_pool2d(x, 2, 1)
        if self.fault != "called_once":
            x = self.again(x)
        return x.amax((2, 3))


def shared_in_shared(k: Any) -> Any:
    """A nested model that calls a layer twice, itself called twice."""
    dense, x = k.layers.Dense(5, activation="tanh", name="dense"), k.Input((5,))
    inner = k.Model(x, dense(dense(x)), name="inner")
    a, b = k.Input((5,), name="a"), k.Input((4,), name="b")
    # The nested model's first call is executed last, because it is nearer to the output.
    first = inner(a)
    second = inner(k.layers.Dense(5, activation="tanh", name="widen")(b))
    x = k.layers.Subtract(name="difference")([first, k.layers.Dense(5, name="after")(second)])
    return k.Model([a, b], k.layers.Dense(2, name="out")(x))


class SharedInShared(nn.Module):
    def __init__(self, w: Weights, other: int = -1) -> None:
        super().__init__()
        dense = [parts.dense(w, "inner/dense") for _ in range(4)]
        self.widen, self.after, self.out = (parts.dense(w, name) for name in ("widen", "after", "out"))
        if other >= 0:
            nn.init.normal_(dense[other].weight)
        self.dense = nn.ModuleList(dense)

    def inner(self, x: Tensor, call: int) -> Any:
        for number in range(2):
            x = torch.tanh(self.dense[2 * call + number](x))
        return x

    def forward(self, a: Tensor, b: Tensor) -> Any:
        first, second = self.inner(a, 0), self.inner(torch.tanh(self.widen(b)), 1)
        return self.out(first - self.after(second))


def nested_shared(k: Any) -> Any:
    """A nested model shared by two branches, with layers of their own after it."""
    encoder = k.Sequential(
        [k.layers.InputLayer((6,)), k.layers.Dense(5, activation="relu", name="in"), k.layers.Dense(4, name="code")],
        name="encoder",
    )
    a, b = k.Input((6,), name="a"), k.Input((6,), name="b")
    left = k.layers.Dense(3, name="left")(encoder(a))
    right = k.layers.Dense(3, name="right")(encoder(b))
    return k.Model([a, b], k.layers.Concatenate(name="join")([left, right]))


class NestedShared(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.encoder = nn.Sequential(parts.dense(w, "encoder/in"), nn.ReLU(), parts.dense(w, "encoder/code"))
        self.left, self.right = parts.dense(w, "left"), parts.dense(w, "right")
        if fault == "weights_exchanged":
            self.left, self.right = self.right, self.left
        self.fault = fault

    def forward(self, a: Tensor, b: Tensor) -> Any:
        a, b = self.encoder(a), self.encoder(b)
        if self.fault == "branches_exchanged":
            a, b = b, a
        left, right = self.left(a), self.right(b)
        return torch.cat([right, left] if self.fault == "join_exchanged" else [left, right], 1)


# -- shared layers ---------------------------------------------------------------------------------------------------


def shared_dense(k: Any) -> Any:
    """One Dense called three times in a row, an activation between."""
    dense, act = k.layers.Dense(6, name="dense"), k.layers.Activation("tanh", name="act")
    x = inputs = k.Input((6,), name="x")
    for _ in range(3):
        x = act(dense(x))
    return k.Model(inputs, k.layers.Dense(2, name="out")(x))


class SharedDense(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.dense, self.out = parts.dense(w, "dense"), parts.dense(w, "out")
        self.second = nn.Linear(6, 6) if fault == "not_shared" else self.dense
        self.times = 2 if fault == "called_twice" else 3

    def forward(self, x: Tensor) -> Any:
        for number in range(self.times):
            x = torch.tanh(self.second(x) if number == 1 else self.dense(x))
        return self.out(x)


def siamese(k: Any) -> Any:
    """Two images through the same layers, compared by a distance."""
    conv = k.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")
    flat, code = k.layers.Flatten(name="flat"), k.layers.Dense(5, name="code")
    a, b = k.Input((8, 7, 3), name="a"), k.Input((8, 7, 3), name="b")
    x = k.layers.Subtract(name="difference")([code(flat(conv(a))), code(flat(conv(b)))])
    return k.Model([a, b], k.layers.Dense(1, activation="sigmoid", name="same")(x))


class Siamese(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.conv, self.code, self.same = (
            parts.conv2d(w, "conv", stride=2),
            parts.dense(w, "code"),
            parts.dense(w, "same"),
        )
        self.other = parts.dense(w, "code")
        if fault == "not_shared":
            nn.init.normal_(self.other.weight)
        self.fault = fault

    def encode(self, x: Tensor, code: nn.Linear) -> Any:
        return code(F.relu(self.conv(x)).permute(0, 2, 3, 1).flatten(1))

    def forward(self, a: Tensor, b: Tensor) -> Any:
        first = self.encode(a, self.code)
        second = self.encode(a if self.fault == "one_image_twice" else b, self.other)
        x = second - first if self.fault == "sign" else first - second
        return torch.sigmoid(self.same(x))


def shared_norm(k: Any) -> Any:
    """Convolutions of their own, a normalisation and an activation that both branches share."""
    norm, act = k.layers.BatchNormalization(name="norm"), k.layers.LeakyReLU(name="act")
    x = k.Input((6, 7, 3), name="x")
    left = act(norm(k.layers.Conv2D(4, 3, padding="same", name="left")(x)))
    right = act(norm(k.layers.Conv2D(4, 1, name="right")(x)))
    return k.Model(x, k.layers.Add(name="add")([left, right]))


class SharedNorm(nn.Module):
    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.left, self.right = parts.conv2d(w, "left", padding=1), parts.conv2d(w, "right")
        self.norm = parts.batch_norm(w, "norm")
        self.norm_right = parts.batch_norm(w, "norm", 1e-5) if fault == "eps_of_one" else self.norm
        self.slope = 0.2 if fault == "slope_of_one" else 0.3

    def forward(self, x: Tensor) -> Any:
        right = F.leaky_relu(self.norm_right(self.right(x)), self.slope)
        return F.leaky_relu(self.norm(self.left(x)), 0.3) + right


CASES = [
    Case("sequential_with_input", with_input, Sequential, SEQUENTIAL_WRONG),
    Case("sequential_without_input", without_input, Sequential, SEQUENTIAL_WRONG),
    Case("sequential_built_late", built_late, Sequential, SEQUENTIAL_WRONG),
    Case("sequential_called_late", called_late, Sequential, SEQUENTIAL_WRONG),
    Case("sequential_archive", with_input, Sequential, SEQUENTIAL_WRONG, suffix=".keras"),
    *(
        Case(
            name,
            nested,
            Nested,
            {
                "eps": wrong(lambda w: Nested(w, "eps"), "body/norm", "body/norm:eps"),
                "relu_missing": wrong(lambda w: Nested(w, "relu_missing"), "stem/relu"),
                "relu_for_tanh": wrong(lambda w: Nested(w, "relu_for_tanh"), "head/hidden", "head/hidden:hyper"),
            },
            suffix=suffix,
        )
        for name, suffix in (("nested", ".h5"), ("nested_archive", ".keras"))
    ),
    Case(
        "nested_two_levels",
        two_levels,
        TwoLevels,
        {
            "max_pool": wrong(lambda w: TwoLevels(w, "max_pool"), "backbone/pool"),
            "channels_first": wrong(lambda w: TwoLevels(w, "channels_first"), "dense"),
        },
        suffix=".keras",  # layers of one name, which no .h5 of Keras 2 can hold
    ),
    Case(
        "nested_called_twice",
        nested_twice,
        NestedTwice,
        {
            "not_shared": wrong(lambda w: NestedTwice(w, "not_shared"), "refine/conv@1", "refine/conv@1:weights"),
            "eps_of_the_second": wrong(
                lambda w: NestedTwice(w, "eps_of_the_second"), "refine/norm@1", "refine/norm@1:eps"
            ),
        },
    ),
    Case(
        "shared_in_shared",
        shared_in_shared,
        SharedInShared,
        {
            "not_shared_0": wrong(lambda w: SharedInShared(w, 0), "inner/dense", "inner/dense:weights"),
            "not_shared_1": wrong(lambda w: SharedInShared(w, 1), "inner/dense@1", "inner/dense@1:weights"),
            "not_shared_2": wrong(lambda w: SharedInShared(w, 2), "inner/dense@2", "inner/dense@2:weights"),
            "not_shared_3": wrong(lambda w: SharedInShared(w, 3), "inner/dense@3", "inner/dense@3:weights"),
        },
    ),
    Case(
        "nested_shared_by_branches",
        nested_shared,
        NestedShared,
        {
            "branches_exchanged": wrong(lambda w: NestedShared(w, "branches_exchanged"), "left right"),
            "weights_exchanged": wrong(
                lambda w: NestedShared(w, "weights_exchanged"), "left right", "left:weights right:weights"
            ),
            "join_exchanged": wrong(lambda w: NestedShared(w, "join_exchanged"), "join"),
        },
    ),
    Case(
        "shared_dense",
        shared_dense,
        SharedDense,
        {"not_shared": wrong(lambda w: SharedDense(w, "not_shared"), "dense@1", "dense@1:weights")},
    ),
    Case(
        "siamese",
        siamese,
        Siamese,
        {
            "not_shared": wrong(lambda w: Siamese(w, "not_shared"), "code@1", "code@1:weights"),
            "one_image_twice": wrong(lambda w: Siamese(w, "one_image_twice"), "conv@1"),
            "sign": wrong(lambda w: Siamese(w, "sign"), "difference"),
        },
    ),
    Case(
        "shared_norm",
        shared_norm,
        SharedNorm,
        {
            "eps_of_one": wrong(lambda w: SharedNorm(w, "eps_of_one"), "norm@1", "norm@1:eps"),
            "slope_of_one": wrong(lambda w: SharedNorm(w, "slope_of_one"), "act@1", "act@1:hyper"),
        },
    ),
]
