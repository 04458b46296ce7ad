"""Inputs and outputs: several of them, in every structure, order, shape and dtype."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo import parts
from tests.zoo.branches import Port
from tests.zoo.case import Case, Weights, Wrong, load, wrong

# -- several inputs --------------------------------------------------------------------------------------------------


def two_inputs(k: Any) -> Any:
    """Given in another order than they are used in, and than their names have."""
    b, a = k.Input((5,), name="b"), k.Input((5,), name="a")
    x = k.layers.Dense(4, activation="relu", name="of_a")(a)
    y = k.layers.Dense(4, activation="relu", name="of_b")(b)
    x = k.layers.Concatenate(name="join")([x, y])
    return k.Model([b, a], k.layers.Dense(3, name="out")(x))


class TwoInputs(Port):
    def make(self, w: Weights) -> None:
        self.of_a, self.of_b, self.out = (parts.dense(w, name) for name in ("of_a", "of_b", "out"))

    def forward(self, b: Tensor, a: Tensor) -> Any:
        if self.fault == "inputs_exchanged":
            a, b = b, a
        x, y = F.relu(self.of_a(a)), F.relu(self.of_b(b))
        return self.out(torch.cat([y, x] if self.fault == "join_exchanged" else [x, y], 1))


class TwoInputsByName(TwoInputs):
    def forward(self, a: Tensor, b: Tensor) -> Any:  # type: ignore[override]
        return super().forward(b, a)


def mixed_inputs(k: Any) -> Any:
    """An image, features and indices; the features are used twice."""
    image, numbers = k.Input((6, 6, 3), name="image"), k.Input((4,), name="numbers")
    word = k.Input((3,), dtype="int32", name="word")
    x = k.layers.GlobalAveragePooling2D(name="mean")(k.layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    x = k.layers.Multiply(name="gate")([x, k.layers.Dense(4, activation="sigmoid", name="gates")(numbers)])
    y = k.layers.Flatten(name="flatten")(k.layers.Embedding(9, 2, name="table")(word))
    x = k.layers.Concatenate(name="join")([x, numbers, y])
    return k.Model([image, numbers, word], k.layers.Dense(3, name="out")(x))


class MixedInputs(Port):
    def make(self, w: Weights) -> None:
        self.conv, self.table = parts.conv2d(w, "conv"), parts.embedding(w, "table")
        self.gates, self.out = parts.dense(w, "gates"), parts.dense(w, "out")

    def forward(self, image: Tensor, numbers: Tensor, word: Tensor) -> Any:
        x = F.relu(self.conv(image)).mean((2, 3))
        x = x * torch.sigmoid(self.gates(numbers))
        if self.fault == "word_shifted":
            word = (word + 1) % 9
        y = self.table(word)
        y = y.transpose(1, 2).flatten(1) if self.fault == "flatten_order" else y.flatten(1)
        if self.fault == "numbers_scaled":
            numbers = numbers / 10
        return self.out(torch.cat([x, numbers, y], 1))


def inner_embedding(k: Any) -> Any:
    """Indices, not said to be any, reach an Embedding of an inner model by a way that leaves them as they are."""
    x = inner = k.Input((6,))
    x = k.layers.Embedding(7, 4, name="table")(x)
    encoder = k.Model(inner, k.layers.GlobalAveragePooling1D(name="mean")(x), name="encoder")
    tokens = k.Input((3, 2), name="tokens")
    x = encoder(k.layers.Reshape((6,), name="row")(tokens))
    return k.Model(tokens, k.layers.Dense(3, name="out")(x))


class InnerEmbedding(Port):
    def make(self, w: Weights) -> None:
        self.table, self.out = parts.embedding(w, "encoder/table"), parts.dense(w, "out")

    def forward(self, tokens: Tensor) -> Any:
        x = self.table(tokens.flatten(1))
        return self.out(x.sum(1) if self.fault == "sum" else x.mean(1))


def nested_inputs(k: Any) -> Any:
    """A dict of inputs, a dict of outputs; neither in the order of their names."""
    left, right = k.Input((5,), name="left"), k.Input((5,), name="right")
    x = k.layers.Subtract(name="difference")([left, right])
    score = k.layers.Dense(3, name="score")(x)
    code = k.layers.Dense(3, activation="tanh", name="code")(left)
    return k.Model({"right": right, "left": left}, {"score": score, "code": code})


class NestedInputs(Port):
    def make(self, w: Weights) -> None:
        self.score, self.code = parts.dense(w, "score"), parts.dense(w, "code")

    def compute(self, left: Tensor, right: Tensor) -> dict[str, Any]:
        code = torch.tanh(self.code(right if self.fault == "code_of_right" else left))
        score = self.score(right - left if self.fault == "sign" else left - right)
        if self.fault == "outputs_exchanged":
            code, score = score, code
        return {"score": score, "code": code}

    def forward(self, left: Tensor, right: Tensor) -> Any:
        return self.compute(left, right)


class OfDict(NestedInputs):
    def forward(self, inputs: dict[str, Tensor]) -> Any:  # type: ignore[override]
        return self.compute(inputs["left"], inputs["right"])


class OfList(NestedInputs):
    def forward(self, inputs: list[Tensor]) -> Any:  # type: ignore[override]
        right, left = inputs
        return self.compute(left, right)


def unused_input(k: Any) -> Any:
    """One input is not used, one goes straight to an output."""
    a, idle, through = k.Input((4,), name="a"), k.Input((2,), name="idle"), k.Input((3,), name="through")
    return k.Model([a, idle, through], [k.layers.Dense(3, name="out")(a), through])


class UnusedInput(Port):
    def make(self, w: Weights) -> None:
        self.out = parts.dense(w, "out")

    def forward(self, a: Tensor, idle: Tensor, through: Tensor) -> Any:
        return self.out(a), through * 2 if self.fault == "doubled" else through


def twice(k: Any) -> Any:
    """The same input twice into one layer, and into two others."""
    x = k.Input((5,), name="x")
    square = k.layers.Multiply(name="square")([x, x])
    y = k.layers.Concatenate(name="join")([x, square, x])
    return k.Model(x, k.layers.Dense(3, name="out")(y))


class Twice(Port):
    def make(self, w: Weights) -> None:
        self.out = parts.dense(w, "out")

    def forward(self, x: Tensor) -> Any:
        square = x * x
        return self.out(torch.cat([square, x, x] if self.fault == "order" else [x, square, x], 1))


# -- several outputs -------------------------------------------------------------------------------------------------


def two_outputs(k: Any) -> Any:
    """An inner layer's value and the last one's, in a list; both of one shape."""
    x = inputs = k.Input((5,), name="x")
    x = k.layers.Dense(4, activation="relu", name="features")(x)
    y = k.layers.Dense(4, name="out")(x)
    return k.Model(inputs, [y, x])


class TwoOutputs(Port):
    def make(self, w: Weights) -> None:
        self.features, self.out = parts.dense(w, "features"), parts.dense(w, "out")

    def forward(self, x: Tensor) -> Any:
        before = self.features(x)
        x = F.relu(before)
        y = self.out(x)
        if self.fault == "before_the_activation":
            x = before
        return [x, y] if self.fault == "exchanged" else [y, x]


def same_output_twice(k: Any) -> Any:
    x = k.Input((5,), name="x")
    y = k.layers.Dense(4, activation="tanh", name="y")(x)
    return k.Model(x, [y, k.layers.Dense(2, name="z")(y), y])


class SameOutputTwice(Port):
    def make(self, w: Weights) -> None:
        self.y, self.z = parts.dense(w, "y"), parts.dense(w, "z")

    def forward(self, x: Tensor) -> Any:
        y = torch.tanh(self.y(x))
        return y, self.z(y), -y if self.fault == "sign" else y


def states(k: Any) -> Any:
    """A layer with several outputs, all of which are used: a sequence and two states."""
    x = k.Input((6, 3), name="x")
    sequence, h, c = k.layers.LSTM(4, return_sequences=True, return_state=True, name="lstm")(x)
    y = k.layers.Concatenate(name="join")([h, c])
    return k.Model(x, [k.layers.Dense(2, name="steps")(sequence), k.layers.Dense(3, name="last")(y)])


class States(Port):
    def make(self, w: Weights) -> None:
        kernel, recurrent, bias = w["lstm"]
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        zeros = torch.zeros_like(bias)
        load(self.lstm, weight_ih_l0=kernel.T, weight_hh_l0=recurrent.T, bias_ih_l0=bias, bias_hh_l0=zeros)
        self.steps, self.last = parts.dense(w, "steps"), parts.dense(w, "last")

    def forward(self, x: Tensor) -> Any:
        sequence, (h, c) = self.lstm(x)
        if self.fault == "states_exchanged":
            h, c = c, h
        if self.fault == "first_step":
            h = sequence[:, :1].transpose(0, 1)
        return self.steps(sequence), self.last(torch.cat([h[0], c[0]], 1))


# -- shapes ----------------------------------------------------------------------------------------------------------


def free_image(k: Any) -> Any:
    x = inputs = k.Input((None, None, 3), name="image")
    x = k.layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="conv")(x)
    x = k.layers.Conv2D(5, 3, padding="same", name="conv2")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D(name="mean")(x))


class FreeImage(Port):
    def make(self, w: Weights) -> None:
        self.conv, self.conv2 = parts.conv2d(w, "conv", stride=2), parts.conv2d(w, "conv2", padding=1)

    def forward(self, x: Tensor) -> Any:
        height, width = ((-size) % 2 for size in x.shape[2:])
        pad = (width, 1, height, 1)
        x = F.relu(self.conv(F.pad(x, (1, 1, 1, 1) if self.fault == "symmetric" else pad)))
        return self.conv2(x).mean((2, 3))


def free_sequence(k: Any) -> Any:
    x = inputs = k.Input((None,), dtype="int32", name="tokens")
    x = k.layers.Embedding(11, 4, name="table")(x)
    x = k.layers.Conv1D(5, 3, padding="causal", activation="relu", name="conv")(x)
    return k.Model(inputs, k.layers.GlobalMaxPooling1D(name="max")(x))


class FreeSequence(Port):
    def make(self, w: Weights) -> None:
        self.table, self.conv = parts.embedding(w, "table"), parts.conv1d(w, "conv")

    def forward(self, x: Tensor) -> Any:
        x = self.table(x).transpose(1, 2)
        return F.relu(self.conv(F.pad(x, (1, 1) if self.fault == "not_causal" else (2, 0)))).amax(2)


def fixed_batch(k: Any) -> Any:
    x = inputs = k.Input(batch_shape=(3, 4), name="x")
    x = k.layers.Dense(6, activation="relu", name="dense")(x)
    return k.Model(inputs, k.layers.Dense(2, name="out")(x))


class FixedBatch(Port):
    def make(self, w: Weights) -> None:
        self.dense, self.out = parts.dense(w, "dense"), parts.dense(w, "out")

    def forward(self, x: Tensor) -> Any:
        assert x.shape == (3, 4)
        x = F.relu(self.dense(x))
        return self.out(x.flip(0) if self.fault == "flipped" else x)


def volume(k: Any) -> Any:
    """A 5-D input."""
    x = inputs = k.Input((6, 5, 4, 2), name="volume")
    x = k.layers.Conv3D(3, 3, padding="same", activation="relu", name="conv")(x)
    x = k.layers.AveragePooling3D(2, name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, name="out")(k.layers.Flatten(name="flatten")(x)))


class Volume(Port):
    def make(self, w: Weights) -> None:
        kernel, bias = w["conv"]
        self.conv, self.out = nn.Conv3d(2, 3, 3, padding=1), parts.dense(w, "out")
        axes = (4, 3, 0, 2, 1) if self.fault == "axes_exchanged" else (4, 3, 0, 1, 2)
        load(self.conv, weight=kernel.permute(axes), bias=bias)

    def forward(self, x: Tensor) -> Any:
        x = F.avg_pool3d(F.relu(self.conv(x)), 2)
        return self.out((x if self.fault == "channels_first" else x.permute(0, 2, 3, 4, 1)).flatten(1))


def scalar(k: Any) -> Any:
    """Inputs of shape (): one number for each sample."""
    a, b = k.Input((), name="a"), k.Input((), name="b")
    x = k.layers.Reshape((1,), name="reshape")(k.layers.Subtract(name="difference")([a, b]))
    return k.Model([a, b], k.layers.Dense(3, name="out")(x))


class Scalar(Port):
    def make(self, w: Weights) -> None:
        self.out = parts.dense(w, "out")

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self.out((b - a if self.fault == "sign" else a - b)[:, None])


def channels_first(k: Any) -> Any:
    """Channels first in the file; Keras runs its pointwise layers so on any CPU."""
    x = inputs = k.Input((3, 6, 5), name="image")
    x = k.layers.BatchNormalization(axis=1, name="norm")(x)
    x = k.layers.Permute((2, 3, 1), name="last")(x)
    x = k.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(x)
    x = k.layers.Permute((3, 1, 2), name="first")(x)
    x = k.layers.Flatten(name="flatten")(x)
    return k.Model(inputs, k.layers.Dense(3, name="out")(x))


class ChannelsFirst(Port):
    def make(self, w: Weights) -> None:
        self.norm, self.conv = parts.batch_norm(w, "norm"), parts.conv2d(w, "conv", padding=1)
        self.out = parts.dense(w, "out")

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.conv(self.norm(x)))
        return self.out((x.permute(0, 2, 3, 1) if self.fault == "channels_last" else x).flatten(1))


# -- dtypes ----------------------------------------------------------------------------------------------------------


def dtypes(k: Any) -> Any:
    """Bytes of pixels, a boolean, a whole number."""
    pixels = k.Input((5, 4, 3), dtype="uint8", name="pixels")
    flag, number = k.Input((3,), dtype="bool", name="flag"), k.Input((3,), dtype="int64", name="number")
    x = k.layers.Rescaling(1 / 255, name="rescale")(pixels)
    x = k.layers.GlobalMaxPooling2D(name="max")(k.layers.Conv2D(4, 3, activation="relu", name="conv")(x))
    y = k.layers.Rescaling(1.0, 0.5, name="of_flag")(flag)
    z = k.layers.Rescaling(0.5, name="of_number")(number)
    x = k.layers.Concatenate(name="join")([x, y, z])
    return k.Model([pixels, flag, number], k.layers.Dense(3, name="out")(x))


class Dtypes(Port):
    def make(self, w: Weights) -> None:
        self.conv, self.out = parts.conv2d(w, "conv"), parts.dense(w, "out")

    def forward(self, pixels: Tensor, flag: Tensor, number: Tensor) -> Any:
        dtype = self.out.weight.dtype
        pixels = pixels.to(dtype)
        x = F.relu(self.conv(pixels if self.fault == "not_rescaled" else pixels / 255)).amax((2, 3))
        flags = flag.to(dtype) + (-0.5 if self.fault == "offset" else 0.5)
        return self.out(torch.cat([x, flags, number.to(dtype) * 0.5], 1))


def faults(port: type[Port], **expected: str) -> dict[str, Wrong]:
    """Wrong ports by the name of their fault, with the layers at fault."""

    def made(fault: str, layers: str) -> Wrong:
        return wrong(lambda w: port(w, fault), layers)

    return {fault: made(fault, layers) for fault, layers in expected.items()}


CASES = [
    Case(
        "two_inputs",
        two_inputs,
        TwoInputs,
        faults(TwoInputs, inputs_exchanged="of_a of_b", join_exchanged="join"),
    ),
    Case(
        "two_inputs_by_name",
        two_inputs,
        TwoInputsByName,
        faults(TwoInputsByName, inputs_exchanged="of_a of_b", join_exchanged="join"),
    ),
    Case(
        "inner_embedding",
        inner_embedding,
        InnerEmbedding,
        faults(InnerEmbedding, sum="encoder/mean"),
    ),
    *(
        Case(
            name,
            mixed_inputs,
            MixedInputs,
            faults(MixedInputs, word_shifted="table", flatten_order="join", numbers_scaled="join"),
            suffix=suffix,
        )
        for name, suffix in (("mixed_inputs", ".h5"), ("mixed_inputs_archive", ".keras"))
    ),
    *(
        Case(
            f"{name}_{suffix[1:]}",
            nested_inputs,
            port,
            faults(port, code_of_right="code", sign="difference", outputs_exchanged=""),
            suffix=suffix,
        )
        for name, port in (("nested_inputs", NestedInputs), ("dict_input", OfDict), ("list_input", OfList))
        for suffix in (".h5", ".keras")
    ),
    Case("unused_input", unused_input, UnusedInput, faults(UnusedInput, doubled="through")),
    Case("input_twice", twice, Twice, faults(Twice, order="join")),
    Case(
        "two_outputs",
        two_outputs,
        TwoOutputs,
        faults(TwoOutputs, exchanged="", before_the_activation="features"),
    ),
    Case(
        "same_output_twice",
        same_output_twice,
        SameOutputTwice,
        {"sign": wrong(lambda w: SameOutputTwice(w, "sign"), "y", "y:hyper")},
    ),
    Case("states", states, States, faults(States, states_exchanged="lstm", first_step="lstm")),
    Case("free_image", free_image, FreeImage, faults(FreeImage, symmetric="conv")),
    Case(
        "free_image_of_stated_shape",
        free_image,
        FreeImage,
        faults(FreeImage, symmetric="conv"),
        manifest="[inputs]\nshape = [10, 9, 3]\n",
    ),
    Case("free_sequence", free_sequence, FreeSequence, faults(FreeSequence, not_causal="conv")),
    Case(
        "free_sequence_of_stated_length",
        free_sequence,
        FreeSequence,
        faults(FreeSequence, not_causal="conv"),
        manifest="[inputs]\nshape = [7]\n",
    ),
    Case("fixed_batch", fixed_batch, FixedBatch, faults(FixedBatch, flipped="out")),
    Case(
        "volume",
        volume,
        Volume,
        faults(Volume, channels_first="out")
        | {"axes_exchanged": wrong(lambda w: Volume(w, "axes_exchanged"), "conv", "conv:weights")},
    ),
    Case("scalar_inputs", scalar, Scalar, faults(Scalar, sign="difference")),
    Case("channels_first", channels_first, ChannelsFirst, faults(ChannelsFirst, channels_last="out")),
    Case("dtypes", dtypes, Dtypes, faults(Dtypes, not_rescaled="rescale", offset="of_flag")),
]
