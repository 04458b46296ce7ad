"""Embeddings and two encoder layers, normalised after and before: attention, layouts of heads, order of layers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights, load
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Given, Net, Subject, Variant
from tests.zoo.layers import dense, embedding, layer_norm

HEADS, WIDTH = 4, 16


def transformer(k: Any) -> Any:
    def norm(x: Any, name: str) -> Any:
        return k.layers.LayerNormalization(epsilon=1e-6, name=name)(x)

    def wide(x: Any, name: str, activation: str) -> Any:
        return k.layers.Dense(WIDTH, name=f"{name}b")(k.layers.Dense(WIDTH, activation, name=f"{name}a")(x))

    tokens, positions = k.Input((6,), dtype="int32", name="tokens"), k.Input((6,), dtype="int32", name="positions")
    x = k.layers.Rescaling(4.0, name="scale")(k.layers.Embedding(15, WIDTH, name="tok")(tokens))
    x = norm(k.layers.Add(name="sum")([x, k.layers.Embedding(9, WIDTH, name="pos")(positions)]), "ln0")
    y = k.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="mha1")(x, x)
    x = norm(k.layers.Add(name="add1")([x, y]), "ln1")
    x = norm(k.layers.Add(name="add2")([x, wide(x, "ff1", "gelu")]), "ln2")
    y = norm(x, "ln3")
    x = k.layers.Add(name="add3")([x, k.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="mha2")(y, y)])
    x = k.layers.Add(name="add4")([x, wide(norm(x, "ln4"), "ff2", "relu")])
    x = k.layers.GlobalMaxPooling1D(name="top")(x)
    return k.Model([tokens, positions], k.layers.Dense(5, activation="softmax", name="out")(x))


class Attention(Net):
    """Linear maps over all heads at once, the scores by hand."""

    def __init__(self, weights: list[Tensor], name: str, faults: Collection[str]) -> None:
        super().__init__([fault.removeprefix(f"{name}_") for fault in faults])
        *maps, kernel, bias = weights
        self.query, self.key, self.value = (
            dense([maps[i].reshape(WIDTH, -1), maps[i + 1].flatten()]) for i in range(0, 6, 2)
        )
        self.out = dense([kernel.reshape(-1, WIDTH), bias])

    def forward(self, x: Tensor) -> Any:
        n, steps, _ = x.shape
        shape = (n, steps, HEADS, WIDTH // HEADS)
        q, k, v = (m(x).view(shape).transpose(1, 2) for m in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3)
        scores = scores if self.has("no_scale") else scores / (WIDTH if self.has("scale") else WIDTH // HEADS) ** 0.5
        if self.has("causal"):
            scores = scores.masked_fill(torch.ones(steps, steps, dtype=torch.bool).triu(1), -torch.inf)
        x = scores.softmax(2 if self.has("axis") else 3) @ v
        return self.out(x.transpose(1, 2).reshape(n, steps, WIDTH))


class Encoder(Net):
    """Modules in order."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        self.tok, self.pos = embedding(w["tok"]), embedding(w["pos"])
        for name in ("ln0", "ln1", "ln2", "ln3", "ln4"):
            setattr(self, name, layer_norm(w[name], 1e-6))
        for name in ("ff1a", "ff1b", "ff2a", "ff2b", "out"):
            setattr(self, name, dense(w[name]))
        self.mha1, self.mha2 = (Attention(w[name], name, faults) for name in ("mha1", "mha2"))

    def forward(self, tokens: Tensor, positions: Tensor) -> Any:
        net: Any = self
        x = net.tok(tokens) * (1 if self.has("not_scaled") else 4)
        x = net.ln0(x if self.has("no_positions") else x + net.pos(positions))
        y = net.mha1(x)
        x = x + net.ln1(y) if self.has("norm_first") else net.ln1(y if self.has("no_residual") else x + y)
        y = F.gelu(net.ff1a(x), approximate="tanh" if self.has("tanh") else "none")
        x = net.ln2(x + net.ff1b(y))
        x = x + net.mha2(net.ln3(x))
        y = net.ff2a(x if self.has("no_norm") else net.ln4(x))
        x = x + net.ff2b(y if self.has("no_relu") else F.relu(y))
        x = net.out(x.amax(1))
        return x.softmax(1)


def packed(attention: Any) -> nn.MultiheadAttention:
    """The module of torch that does what a layer by hand does."""
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    maps = (attention.query, attention.key, attention.value)
    load(
        module,
        in_proj_weight=torch.cat([m.weight for m in maps]),
        in_proj_bias=torch.cat([m.bias for m in maps]),
        **{"out_proj.weight": attention.out.weight, "out_proj.bias": attention.out.bias},
    )
    return module


class Modules(Encoder):
    """nn.TransformerEncoderLayer for both layers."""

    def __init__(self, w: Weights) -> None:
        super().__init__(w)
        self.layers = nn.ModuleList()
        for number, act, first in ((1, F.gelu, False), (2, F.relu, True)):
            self.layers.append(self.layer(number, act, first))
        for name in ("mha1", "mha2", "ff1a", "ff1b", "ff2a", "ff2b", "ln1", "ln2", "ln3", "ln4"):
            delattr(self, name)

    def layer(self, number: int, function: Callable[[Tensor], Tensor], first: bool) -> nn.Module:
        made_of: Any = nn.TransformerEncoderLayer(
            WIDTH, HEADS, WIDTH, 0.1, function, 1e-6, batch_first=True, norm_first=first
        )
        made_of.self_attn = packed(getattr(self, f"mha{number}"))
        made_of.linear1, made_of.linear2 = getattr(self, f"ff{number}a"), getattr(self, f"ff{number}b")
        made_of.norm1, made_of.norm2 = (getattr(self, f"ln{2 * number - 1 + i}") for i in range(2))
        return made_of  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, positions: Tensor) -> Any:
        net: Any = self
        x = net.ln0(torch.add(net.pos(positions), net.tok(tokens), alpha=4))
        for layer in self.layers:
            x = layer(x)
        return F.softmax(net.out(x.max(1).values), -1)


def heads_last(kernel: Tensor) -> Tensor:
    """(dim, heads, elements) flattened as (elements, heads)."""
    return kernel.transpose(1, 2).reshape(kernel.shape)


def output_of_elements(kernel: Tensor) -> Tensor:
    """(heads, elements, dim) flattened as (elements, heads)."""
    return kernel.transpose(0, 1).reshape(kernel.shape)


def half_embedding(layer: str) -> Given:
    return made.changed(layer, lambda table: table.to(torch.bfloat16).float())


def packed_with_exchanged(net: Any) -> None:
    """The module, with the rows of query and key exchanged."""
    net.mha2.query, net.mha2.key = net.mha2.key, net.mha2.query
    module = packed(net.mha2)

    class Itself(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = module

        def forward(self, x: Tensor) -> Any:
            return self.attention(x, x, x, need_weights=False)[0]

    net.mha2 = Itself()


FAULTS = {
    "token_rows": Fault("tok", "embedding-row", made.changed("tok", lambda table: table.roll(1, 0))),
    "half": Fault("tok", "weights-rounded", half_embedding("tok")),
    "not_scaled": Fault("scale", "rescaling"),
    "no_positions": Fault("pos sum", "missing-layer", found="?missing-layer"),
    "eps": Fault("ln0", "eps", module=lambda net: setattr(net.ln0, "eps", 1e-3)),
    "gamma_beta": Fault("ln1", "bn-slots-exchanged", made.ordered("ln1", 1, 0)),
    "fresh": Fault("ln4", "weights-not-loaded", module=lambda net: net.ln4.reset_parameters()),
    "query_layout": Fault("mha1", "mha-layout", made.changed("mha1", heads_last)),
    "output_layout": Fault("mha1", "mha-layout", made.changed("mha1", output_of_elements, 6)),
    "exchanged": Fault("mha2", "weights-swapped", module=packed_with_exchanged),
    "of_another": Fault(
        "mha2", "weights-of-other-layer", made.taken(mha2="mha1"), found="weights-of-other-layer bias-missing"
    ),
    "no_bias": Fault("mha2", "bias-missing", made.changed("mha2", torch.zeros_like, 5)),
    "mha1_no_scale": Fault("mha1", "attention"),
    "mha2_scale": Fault("mha2", "attention"),
    "mha1_causal": Fault("mha1", "attention"),
    "mha2_axis": Fault("mha2", "attention"),
    "no_residual": Fault("add1", "missing-layer"),
    "norm_first": Fault("add1 ff1a add2", "layer-order", found="layer-order merge-mode"),
    "tanh": Fault("ff1a", "activation-kind"),
    "no_norm": Fault("ln4", "missing-layer"),
    "no_relu": Fault("ff2a", "missing-layer"),
    "swapped": Fault("ff2a ff2b", "weights-swapped", made.exchanged("ff2a", "ff2b")),
    "not_transposed": Fault("ff2a", "dense-transposed", made.changed("ff2a", made.in_out)),
}
PAIRS = {
    "eps_and_mha1_no_scale": "",
    "query_layout_and_output_layout": "",
    "no_bias_and_mha2_scale": "",
}
SUBJECT = Subject(
    "faulty_transformer", transformer, Encoder, FAULTS, PAIRS, {"modules": Variant(Modules, "scale")}, ".keras"
)
