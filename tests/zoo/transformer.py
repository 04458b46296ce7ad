"""Whole Transformer blocks: pre-norm and post-norm encoders, a decoder, positions, patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.attention import linear, multihead, output, projection
from tests.zoo.case import Case, Weights, wrong
from tests.zoo.layers import conv2d, dense, embedding, layer_norm

# -- an encoder block, normalised after each addition ------------------------------------------------------------------


def post_norm(k: Any) -> Any:
    inputs = k.Input((5, 6))
    x = k.layers.Dense(8, name="embed")(inputs)
    attended = k.layers.MultiHeadAttention(2, 4, dropout=0.1, name="mha")(x, x)
    attended = k.layers.Dropout(0.1, name="drop1")(attended)
    x = k.layers.LayerNormalization(epsilon=1e-6, name="norm1")(k.layers.Add(name="add1")([x, attended]))
    hidden = k.layers.Dense(12, activation="relu", name="ff1")(x)
    hidden = k.layers.Dropout(0.1, name="drop2")(k.layers.Dense(8, name="ff2")(hidden))
    x = k.layers.LayerNormalization(epsilon=1e-6, name="norm2")(k.layers.Add(name="add2")([x, hidden]))
    x = k.layers.GlobalAveragePooling1D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="head")(x))


def encoder_layer(
    w: Weights | dict[str, list[Tensor]], eps: float = 1e-6, first: bool = False, activation: Any = F.relu
) -> Any:
    """``nn.TransformerEncoderLayer`` with the weights of mha, norm1, ff1, ff2 and norm2."""
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.1, activation, eps, batch_first=True, norm_first=first)
    layer.self_attn = multihead(w["mha"])
    layer.linear1, layer.linear2 = dense(w["ff1"]), dense(w["ff2"])
    layer.norm1, layer.norm2 = layer_norm(w["norm1"], eps), layer_norm(w["norm2"], eps)
    return layer


class Module(nn.Module):
    """torch's own encoder layer."""

    def __init__(self, w: Weights, **config: Any) -> None:
        super().__init__()
        self.embed, self.head, self.layer = dense(w["embed"]), dense(w["head"]), encoder_layer(w, **config)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.layer(self.embed(x)).mean(1)).softmax(1)


class Stacked(Module):
    """As it stands in an ``nn.TransformerEncoder``."""

    def __init__(self, w: Weights, **config: Any) -> None:
        super().__init__(w)
        self.layer = nn.TransformerEncoder(encoder_layer(w, **config), 1, enable_nested_tensor=False)
        self.layer.layers[0].load_state_dict(encoder_layer(w, **config).state_dict())


class Block(nn.Module):
    """The block written by hand."""

    def __init__(self, w: Weights, eps: float = 1e-6) -> None:
        super().__init__()
        self.embed, self.head, self.attn = dense(w["embed"]), dense(w["head"]), multihead(w["mha"])
        self.ff1, self.ff2 = dense(w["ff1"]), dense(w["ff2"])
        self.norm1, self.norm2 = layer_norm(w["norm1"], eps), layer_norm(w["norm2"], eps)
        self.dropout = nn.Dropout(0.1)

    def attend(self, x: Tensor) -> Any:
        return self.dropout(self.attn(x, x, x, need_weights=False)[0])

    def feed(self, x: Tensor) -> Any:
        return self.dropout(self.ff2(self.ff1(x).relu()))

    def block(self, x: Tensor) -> Any:
        x = self.norm1(x + self.attend(x))
        return self.norm2(self.feed(x) + x)

    def forward(self, x: Tensor) -> Any:
        return F.softmax(self.head(self.block(self.embed(x)).mean(dim=1)), dim=-1)


class NoSecondResidual(Block):
    def block(self, x: Tensor) -> Any:
        x = self.norm1(x + self.attend(x))
        return self.norm2(self.feed(x))


class NoFirstResidual(Block):
    def block(self, x: Tensor) -> Any:
        x = self.norm1(self.attend(x))
        return self.norm2(x + self.feed(x))


class ResidualOfTheInput(Block):
    """The second addition takes what the block was given, not what was normalised."""

    def block(self, x: Tensor) -> Any:
        y = self.norm1(x + self.attend(x))
        return self.norm2(x + self.feed(y))


class NormsExchanged(Block):
    def block(self, x: Tensor) -> Any:
        x = self.norm2(x + self.attend(x))
        return self.norm1(x + self.feed(x))


class Gelu(Block):
    def feed(self, x: Tensor) -> Any:
        return self.ff2(F.gelu(self.ff1(x)))


# -- two blocks --------------------------------------------------------------------------------------------------------


def two(k: Any) -> Any:
    x = inputs = k.Input((5, 8))
    for i in "ab":
        y = k.layers.MultiHeadAttention(2, 4, name=f"mha_{i}")(x, x)
        x = k.layers.LayerNormalization(epsilon=1e-5, name=f"norm1_{i}")(k.layers.add([x, y], name=f"add1_{i}"))
        y = k.layers.Dense(12, activation="relu", name=f"ff1_{i}")(x)
        y = k.layers.Dense(8, name=f"ff2_{i}")(y)
        x = k.layers.LayerNormalization(epsilon=1e-5, name=f"norm2_{i}")(k.layers.add([x, y], name=f"add2_{i}"))
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Two(nn.Module):
    """``nn.TransformerEncoder`` begins with clones of one layer; ``order`` says whose weights each gets."""

    def __init__(self, w: Weights, order: str = "ab") -> None:
        super().__init__()
        self.head = dense(w["head"])
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2)
        for layer, i in zip(self.encoder.layers, order, strict=True):
            one = {name: w[f"{name}_{i}"] for name in ("mha", "ff1", "ff2", "norm1", "norm2")}
            layer.load_state_dict(encoder_layer(one, eps=1e-5).state_dict())

    def forward(self, x: Tensor) -> Any:
        return self.head(self.encoder(x))


# -- an encoder block, normalised before attention and feed-forward ----------------------------------------------------


def pre_norm(activation: str) -> Callable[[Any], Any]:
    def build(k: Any) -> Any:
        tokens = k.Input((6,), dtype="int32")
        x = k.layers.Embedding(20, 8, name="embed")(tokens)
        y = k.layers.LayerNormalization(name="norm1")(x)
        y = k.layers.MultiHeadAttention(2, 4, name="mha")(y, y, use_causal_mask=True)
        x = k.layers.Add(name="add1")([x, y])
        y = k.layers.LayerNormalization(name="norm2")(x)
        y = k.layers.Dense(12, activation=activation, name="ff1")(y)
        y = k.layers.Dense(8, name="ff2")(y)
        x = k.layers.Add(name="add2")([x, y])
        x = k.layers.LayerNormalization(epsilon=1e-5, name="norm3")(x)
        return k.Model(tokens, k.layers.Dense(20, name="head")(x))

    return build


class Decoder(nn.Module):
    """A small language model around torch's encoder layer, which a causal mask makes a decoder."""

    def __init__(self, w: Weights, activation: Any = F.gelu, eps: float = 1e-3, last: float = 1e-5) -> None:
        super().__init__()
        self.embed, self.head, self.norm = embedding(w["embed"]), dense(w["head"]), layer_norm(w["norm3"], last)
        self.layer = encoder_layer(w, eps=eps, first=True, activation=activation)
        self.causal = True

    def forward(self, tokens: Tensor) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1]) if self.causal else None
        return self.head(self.norm(self.layer(self.embed(tokens), src_mask=mask, is_causal=self.causal)))


def not_causal(w: Weights) -> nn.Module:
    port = Decoder(w)
    port.causal = False
    return port


def post_norm_instead(w: Weights) -> nn.Module:
    port = Decoder(w)
    port.layer.norm_first = False
    return port


class NanoGpt(nn.Module):
    """As in nanoGPT: packed Linear, split, fused attention."""

    def __init__(self, w: Weights, eps: float = 1e-3, approximate: str = "none") -> None:
        super().__init__()
        q, qb, k, kb, v, vb, o, ob = w["mha"]
        biases = torch.cat([qb.flatten(), kb.flatten(), vb.flatten()])
        self.c_attn = linear(torch.cat([projection(q), projection(k), projection(v)]), biases)
        self.c_proj = linear(output(o), ob)
        self.wte, self.lm_head, self.ln_f = embedding(w["embed"]), dense(w["head"]), layer_norm(w["norm3"], 1e-5)
        self.ln_1, self.ln_2 = layer_norm(w["norm1"], eps), layer_norm(w["norm2"], eps)
        self.mlp = nn.Sequential(dense(w["ff1"]), nn.GELU(approximate), dense(w["ff2"]))

    def attend(self, x: Tensor) -> Any:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(c, dim=2)
        k = k.view(b, t, 2, c // 2).transpose(1, 2)
        q = q.view(b, t, 2, c // 2).transpose(1, 2)
        v = v.view(b, t, 2, c // 2).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))

    def forward(self, idx: Tensor) -> Any:
        x = self.wte(idx)
        x = x + self.attend(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        return self.lm_head(self.ln_f(x))


class NoNorm(NanoGpt):
    """The feed-forward part is given what was not normalised."""

    def forward(self, idx: Tensor) -> Any:
        x = self.wte(idx)
        x = x + self.attend(self.ln_1(x))
        return self.lm_head(self.ln_f(x + self.mlp(x)))


class ResidualAfterNorm(NanoGpt):
    """The additions take what was normalised."""

    def forward(self, idx: Tensor) -> Any:
        x = self.ln_1(self.wte(idx))
        x = x + self.attend(x)
        x = x + self.mlp(self.ln_2(x))
        return self.lm_head(self.ln_f(x))


# -- encoder and decoder -----------------------------------------------------------------------------------------------


def seq2seq(k: Any) -> Any:
    source, target = k.Input((5, 6), name="source"), k.Input((4,), dtype="int32", name="target")
    memory = k.layers.Dense(8, activation="relu", name="encode")(source)
    x = k.layers.Embedding(11, 8, name="embed")(target)
    y = k.layers.MultiHeadAttention(2, 4, name="self")(x, x, use_causal_mask=True)
    x = k.layers.LayerNormalization(epsilon=1e-5, name="norm1")(k.layers.Add(name="add1")([x, y]))
    y = k.layers.MultiHeadAttention(2, 4, name="cross")(query=x, value=memory, key=memory)
    x = k.layers.LayerNormalization(epsilon=1e-5, name="norm2")(k.layers.Add(name="add2")([x, y]))
    y = k.layers.Dense(8, name="ff2")(k.layers.Dense(12, activation="relu", name="ff1")(x))
    x = k.layers.LayerNormalization(epsilon=1e-5, name="norm3")(k.layers.Add(name="add3")([x, y]))
    return k.Model([source, target], k.layers.Dense(11, activation="softmax", name="head")(x))


class Seq2Seq(nn.Module):
    """``nn.TransformerDecoderLayer``."""

    def __init__(self, w: Weights, causal: bool = True) -> None:
        super().__init__()
        self.encode, self.embed, self.head = dense(w["encode"]), embedding(w["embed"]), dense(w["head"])
        self.layer = nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)
        self.layer.self_attn, self.layer.multihead_attn = multihead(w["self"]), multihead(w["cross"])
        self.layer.linear1, self.layer.linear2 = dense(w["ff1"]), dense(w["ff2"])
        for number in (1, 2, 3):
            setattr(self.layer, f"norm{number}", layer_norm(w[f"norm{number}"], 1e-5))
        self.causal = causal

    def forward(self, source: Tensor, target: Tensor) -> Any:
        memory, x = F.relu(self.encode(source)), self.embed(target)
        mask = nn.Transformer.generate_square_subsequent_mask(4) if self.causal else None
        return self.head(self.layer(x, memory, tgt_mask=mask)).softmax(-1)


class AttendsToItself(Seq2Seq):
    """The second attention takes the target again, not the memory."""

    def forward(self, source: Tensor, target: Tensor) -> Any:
        layer, x = self.layer, self.embed(target)
        mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
        x = layer.norm1(x + layer.self_attn(x, x, x, attn_mask=mask)[0])
        memory = self.encode(source).relu()
        x = layer.norm2(x + layer.multihead_attn(x, memory, torch.cat([x, x[:, :1]], 1))[0])
        x = layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))
        return self.head(x).softmax(-1)


# -- patches -----------------------------------------------------------------------------------------------------------


def vit(k: Any) -> Any:
    inputs = k.Input((8, 12, 3))
    x = k.layers.Conv2D(8, 4, 4, name="patches")(inputs)
    x = k.layers.Reshape((6, 8), name="sequence")(x)
    y = k.layers.LayerNormalization(epsilon=1e-6, name="norm1")(x)
    y = k.layers.MultiHeadAttention(2, 4, name="mha")(y, y)
    x = k.layers.Add(name="add1")([x, y])
    y = k.layers.LayerNormalization(epsilon=1e-6, name="norm2")(x)
    y = k.layers.Dense(8, name="ff2")(k.layers.Dense(12, activation="gelu", name="ff1")(y))
    x = k.layers.Add(name="add2")([x, y])
    x = k.layers.Flatten(name="flatten")(x)
    return k.Model(inputs, k.layers.Dense(5, activation="softmax", name="head")(x))


class Vit(nn.Module):
    """Patches by a strided convolution, as everyone does it."""

    def __init__(self, w: Weights, columns: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.patches, self.head, self.columns = conv2d(w["patches"], 4), dense(w["head"]), columns
        self.block = encoder_layer(w, eps, first=True, activation="gelu")

    def sequence(self, x: Tensor) -> Any:
        return (x.mT if self.columns else x).flatten(2).transpose(1, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.block(self.sequence(self.patches(x)))
        return self.head(x.flatten(1)).softmax(1)


class Scrambled(Vit):
    """Reshaped where channels should have been moved."""

    def sequence(self, x: Tensor) -> Any:
        return x.reshape(-1, 6, 8)


CASES = [
    Case(
        "transformer_post_norm",
        post_norm,
        Block,
        {
            "no_residual1": wrong(NoFirstResidual, "add1"),
            "no_residual2": wrong(NoSecondResidual, "add2"),
            "residual_of_input": wrong(ResidualOfTheInput, "add2"),
            "norms_exchanged": wrong(NormsExchanged, "norm1 norm2"),
            "eps": wrong(lambda w: Block(w, eps=1e-5), "norm1 norm2", "norm1:eps norm2:eps"),
            "gelu": wrong(Gelu, "ff1", "ff1:hyper"),
        },
    ),
    Case(
        "transformer_encoder_layer",
        post_norm,
        Module,
        {
            "norm_first": wrong(lambda w: Module(w, first=True), "mha norm1 add2 norm2"),
            "eps": wrong(lambda w: Module(w, eps=1e-5), "norm1 norm2", "norm1:eps norm2:eps"),
            "gelu": wrong(lambda w: Module(w, activation=F.gelu), "ff1", "ff1:hyper"),
        },
    ),
    Case("transformer_encoder", post_norm, Stacked),
    Case(
        "transformer_two",
        two,
        Two,
        {
            "clones": wrong(lambda w: Two(w, "aa"), "mha_b ff1_b ff2_b norm1_b norm2_b", "ff1_b:weights ff2_b:weights"),
        },
    ),
    Case(
        "transformer_pre_norm",
        pre_norm("gelu"),
        Decoder,
        {
            "relu": wrong(lambda w: Decoder(w, activation=F.relu), "ff1", "ff1:hyper"),
            "tanh": wrong(lambda w: Decoder(w, activation=nn.GELU("tanh")), "ff1", "ff1:hyper"),
            "eps": wrong(lambda w: Decoder(w, eps=1e-5), "norm1 norm2", "norm1:eps norm2:eps"),
            "not_causal": wrong(not_causal, "mha"),
            "post_norm": wrong(post_norm_instead, "norm1 norm2 add2 norm3"),
        },
    ),
    Case(
        "transformer_gpt",
        pre_norm("gelu"),
        NanoGpt,
        {
            "no_norm": wrong(NoNorm, "norm2"),
            "tanh": wrong(lambda w: NanoGpt(w, approximate="tanh"), "ff1", "ff1:hyper"),
            "residual_after_norm": wrong(ResidualAfterNorm, "add1"),
        },
    ),
    Case(
        "transformer_decoder",
        seq2seq,
        Seq2Seq,
        {
            "not_causal": wrong(lambda w: Seq2Seq(w, causal=False), "self"),
            "values": wrong(AttendsToItself, "cross"),
        },
    ),
    Case(
        "vit",
        vit,
        Vit,
        {
            "scrambled": wrong(Scrambled, "sequence"),
            "columns": wrong(lambda w: Vit(w, columns=True), "head"),
            "eps": wrong(lambda w: Vit(w, eps=1e-5), "norm1", "norm1:eps norm2:eps"),
        },
    ),
]
