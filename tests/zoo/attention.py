"""MultiHeadAttention: packed and separate projections, kernels of several heads, masks, several axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.layers import dense, embedding

Reshape = Callable[[Tensor], Tensor]


def projection(kernel: Tensor) -> Tensor:
    """A query, key or value kernel (dim, heads, head_dim) as Linear's weight."""
    return kernel.flatten(1).T


def output(kernel: Tensor) -> Tensor:
    """An output kernel (heads, head_dim, dim) as Linear's weight."""
    return kernel.flatten(0, 1).T


def linear(kernel: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A Linear layer with a weight in torch's layout."""
    module = nn.Linear(kernel.shape[1], kernel.shape[0], bias=bias is not None)
    load(module, weight=kernel, **({} if bias is None else {"bias": bias.flatten()}))
    return module


def multihead(
    w: list[Tensor], heads: int = 2, kernel: Callable[[Tensor], Tensor] = projection
) -> nn.MultiheadAttention:
    """``nn.MultiheadAttention`` with packed projections."""
    q, qb, k, kb, v, vb, o, ob = w
    module = nn.MultiheadAttention(len(ob), heads, batch_first=True)
    load(
        module,
        in_proj_weight=torch.cat([kernel(q), kernel(k), kernel(v)]),
        in_proj_bias=torch.cat([qb.flatten(), kb.flatten(), vb.flatten()]),
    )
    load(module.out_proj, weight=output(o), bias=ob)
    return module


class Around(nn.Module):
    """Dense, attention of what it gives with itself, Dense."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.embed, self.head = dense(w["embed"]), dense(w["head"])

    def attend(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Any:
        return self.head(self.attend(self.embed(x)))


def around(attend: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """The Keras model of ``Around``; ``attend`` gets Keras and the tensor."""

    def build(k: Any) -> Any:
        inputs = k.Input((5, 6))
        x = attend(k, k.layers.Dense(8, name="embed")(inputs))
        return k.Model(inputs, k.layers.Dense(3, name="head")(x))

    return build


# -- nn.MultiheadAttention ---------------------------------------------------------------------------------------------


class Packed(Around):
    """The module, called with the mask that Keras's ``use_causal_mask`` makes, or another."""

    def __init__(
        self,
        w: Weights,
        kernel: Callable[[Tensor], Tensor] = projection,
        mask: Callable[[Tensor], Tensor] | None = None,
        heads: int = 2,
    ) -> None:
        super().__init__(w)
        self.mha, self.mask = multihead(w["mha"], heads, kernel), mask

    def attend(self, x: Tensor) -> Any:
        mask = None if self.mask is None else self.mask(torch.ones(5, 5, dtype=torch.bool))
        return self.mha(x, x, x, need_weights=False, attn_mask=mask)[0]


def above(square: Tensor) -> Tensor:
    return torch.triu(square, 1)


def exchanged(w: Weights) -> nn.Module:
    port = Packed(w)
    q, qb, k, kb, *_ = w["mha"]
    with torch.no_grad():
        port.mha.in_proj_weight[:16] = torch.cat([projection(k), projection(q)])
        port.mha.in_proj_bias[:16] = torch.cat([kb.flatten(), qb.flatten()])
    return port


def not_loaded(w: Weights) -> nn.Module:
    port = Packed(w)
    port.mha = nn.MultiheadAttention(8, 2, batch_first=True)
    return port


def without_output_bias(w: Weights) -> nn.Module:
    port = Packed(w)
    nn.init.zeros_(port.mha.out_proj.bias)
    return port


def output_transposed(w: Weights) -> nn.Module:
    port = Packed(w)
    load(port.mha.out_proj, weight=output(w["mha"][6]).T)
    return port


class SequenceFirst(Packed):
    """The module takes (length, batch, elements) by default."""

    def __init__(self, w: Weights, moved: bool = True) -> None:
        super().__init__(w)
        self.mha.batch_first, self.moved = False, moved

    def attend(self, x: Tensor) -> Any:
        if not self.moved:
            return self.mha(x, x, x)[0]
        x = x.transpose(0, 1)
        return self.mha(x, x, x)[0].transpose(0, 1)


def exported(port: Callable[[Weights], nn.Module]) -> Callable[[Weights], Any]:
    """The port as `torch.export` writes it down: attention is many operations there."""

    def build(w: Weights) -> Any:
        program: Any = torch.export.export(port(w).eval(), (torch.zeros(2, 5, 6),)).module()
        program.eval = lambda: program
        return program

    return build


def traced(port: Callable[[Weights], nn.Module]) -> Callable[[Weights], Any]:
    def build(w: Weights) -> Any:
        trace: Any = torch.jit.trace
        return trace(port(w).eval(), torch.zeros(2, 5, 6))

    return build


# -- written by hand ---------------------------------------------------------------------------------------------------


class ByHand(Around):
    """Three Linear layers, view and transpose, matmul and softmax; keys of 3 and values of 5 elements."""

    def __init__(self, w: Weights, scale: float = 3**-0.5, dim: int = -1, bias: bool = True) -> None:
        super().__init__(w)
        q, qb, k, kb, v, vb, o, ob = w["mha"]
        self.q, self.k, self.v = linear(projection(q), qb), linear(projection(k), kb), linear(projection(v), vb)
        self.out = linear(output(o), ob if bias else None)
        self.scale, self.dim = scale, dim

    def attend(self, x: Tensor) -> Any:
        n, length, _ = x.shape
        q = self.q(x).view(n, length, 2, -1).transpose(1, 2)
        k = self.k(x).view(n, length, 2, -1).transpose(1, 2)
        v = self.v(x).view(n, length, 2, -1).transpose(1, 2)
        scores = torch.matmul(q, k.transpose(-2, -1)) * self.scale
        x = torch.matmul(scores.softmax(self.dim), v)
        return self.out(x.transpose(1, 2).reshape(n, length, -1))


class HeadsLast(ByHand):
    """The heads are taken from the wrong end of the projections."""

    def attend(self, x: Tensor) -> Any:
        n, length, _ = x.shape
        q = self.q(x).view(n, length, -1, 2).permute(0, 3, 1, 2)
        k = self.k(x).view(n, length, -1, 2).permute(0, 3, 1, 2)
        v = self.v(x).view(n, length, -1, 2).permute(0, 3, 1, 2)
        x = ((q @ k.mT) * self.scale).softmax(-1) @ v
        return self.out(x.transpose(1, 2).reshape(n, length, -1))


class Viewed(ByHand):
    """The projections are given the shape (batch, heads, length, elements) at once."""

    def attend(self, x: Tensor) -> Any:
        n, length, _ = x.shape
        q, k, v = (part(x).view(n, 2, length, -1) for part in (self.q, self.k, self.v))
        x = ((q @ k.mT) * self.scale).softmax(-1) @ v
        return self.out(x.transpose(1, 2).reshape(n, length, -1))


class NotTransposedBack(ByHand):
    """The heads are not moved back beside their elements before they are joined."""

    def attend(self, x: Tensor) -> Any:
        n, length, _ = x.shape
        q, k, v = (part(x).view(n, length, 2, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.out((((q @ k.mT) * self.scale).softmax(-1) @ v).reshape(n, length, -1))


class Chunked(Around):
    """One packed Linear without a bias, its result cut in three, fused attention."""

    def __init__(self, w: Weights, order: tuple[int, int, int] = (0, 1, 2), scale: float | None = None) -> None:
        super().__init__(w)
        q, k, v, o = w["mha"]
        self.qkv = linear(torch.cat([projection(q), projection(k), projection(v)]))
        self.out = linear(output(o))
        self.order, self.scale = order, scale

    def attend(self, x: Tensor) -> Any:
        parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (parts[i].unflatten(-1, (4, -1)).transpose(1, 2) for i in self.order)
        return self.out(F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2).flatten(2))


class OneReshape(Chunked):
    """As in timm: the packed projection is given the shape (3, batch, heads, length, elements) at once."""

    def attend(self, x: Tensor) -> Any:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, 4, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.out(x.transpose(1, 2).reshape(n, length, -1))


class HeadsFirst(Chunked):
    """The packed projection is read as (heads, 3, elements), which it is not."""

    def attend(self, x: Tensor) -> Any:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 4, 3, -1).permute(3, 0, 2, 1, 4).unbind(0)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Einsum(Around):
    """Keras's own formulas: kernels in Keras's shape, einsum throughout; the output has another width."""

    def __init__(self, w: Weights, scores: str = "bqhd,bkhd->bhqk", scale: float = 2.0) -> None:
        super().__init__(w)
        names = ["q", "qb", "k", "kb", "v", "vb", "o", "ob"]
        self.w = nn.ParameterDict(dict(zip(names, map(nn.Parameter, w["mha"]), strict=True)))
        self.scores, self.scale = scores, scale

    def attend(self, x: Tensor) -> Any:
        w = self.w
        q = torch.einsum("bld,dhk->blhk", x, w["q"]) + w["qb"]
        k = torch.einsum("bld,dhk->blhk", x, w["k"]) + w["kb"]
        v = torch.einsum("bld,dhk->blhk", x, w["v"]) + w["vb"]
        weights = F.softmax(torch.einsum(self.scores, q, k) / self.scale, dim=-1)
        return torch.einsum("blhk,hkd->bld", torch.einsum("bhqk,bkhd->bqhd", weights, v), w["o"]) + w["ob"]


# -- two inputs --------------------------------------------------------------------------------------------------------


def cross(k: Any) -> Any:
    text, image = k.Input((5, 6), name="text"), k.Input((7, 4), name="image")
    x, y = k.layers.Dense(8, name="embed")(text), k.layers.Dense(6, activation="relu", name="look")(image)
    x = k.layers.MultiHeadAttention(2, 4, name="mha")(x, y)
    return k.Model([text, image], k.layers.Dense(3, name="head")(x))


class Cross(nn.Module):
    """``nn.MultiheadAttention`` whose keys and values have another width than its queries."""

    def __init__(self, w: Weights, values: bool = False) -> None:
        super().__init__()
        self.embed, self.look, self.head = dense(w["embed"]), dense(w["look"]), dense(w["head"])
        q, qb, k, kb, v, vb, o, ob = w["mha"]
        self.mha = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
        load(
            self.mha,
            q_proj_weight=projection(q),
            k_proj_weight=projection(v if values else k),
            v_proj_weight=projection(k if values else v),
            in_proj_bias=torch.cat([qb.flatten(), kb.flatten(), vb.flatten()]),
        )
        load(self.mha.out_proj, weight=output(o), bias=ob)

    def forward(self, text: Tensor, image: Tensor) -> Any:
        seen = self.look(image).relu()
        attended, _ = self.mha(self.embed(text), seen, seen)
        return self.head(attended)


class CrossByHand(Cross):
    """The same, written out; query and key may be exchanged only where both have as many elements."""

    def forward(self, text: Tensor, image: Tensor) -> Any:
        text, image = self.embed(text), F.relu(self.look(image))
        qb, kb, vb = self.mha.in_proj_bias.chunk(3)
        q = F.linear(text, self.mha.q_proj_weight, qb).view(-1, 5, 2, 4).transpose(1, 2)
        k = F.linear(image, self.mha.k_proj_weight, kb).view(-1, 7, 2, 4).transpose(1, 2)
        v = F.linear(image, self.mha.v_proj_weight, vb).view(-1, 7, 2, 4).transpose(1, 2)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        return self.head(self.mha.out_proj(attended))


def scored(k: Any) -> Any:
    inputs = k.Input((5, 6))
    x = k.layers.Dense(8, name="embed")(inputs)
    x, scores = k.layers.MultiHeadAttention(2, 4, name="mha")(x, x, return_attention_scores=True)
    return k.Model(inputs, [k.layers.Dense(3, name="head")(x), scores])


class Scored(Packed):
    """The scores of every head are an output too; the module means them by default."""

    def __init__(self, w: Weights, mean: bool = False) -> None:
        super().__init__(w)
        self.mean = mean

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        x, scores = self.mha(x, x, x, average_attn_weights=self.mean)
        return self.head(x), scores


# -- masks -------------------------------------------------------------------------------------------------------------


def masked(k: Any) -> Any:
    inputs, mask = k.Input((5, 6), name="x"), k.Input((5, 5), dtype="int32", name="mask")
    x = k.layers.Dense(8, name="embed")(inputs)
    x = k.layers.MultiHeadAttention(2, 4, name="mha")(x, x, attention_mask=mask)
    return k.Model([inputs, mask], k.layers.Dense(3, name="head")(x))


class Masked(nn.Module):
    """Keras's mask is true where attention is allowed; the module's, where it is not."""

    def __init__(self, w: Weights, inverted: bool = False, ignored: bool = False) -> None:
        super().__init__()
        self.embed, self.mha, self.head = dense(w["embed"]), multihead(w["mha"]), dense(w["head"])
        self.inverted, self.ignored = inverted, ignored

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        x = self.embed(x)
        blocked = (mask == (1 if self.inverted else 0)).repeat_interleave(2, dim=0)
        return self.head(self.mha(x, x, x, attn_mask=None if self.ignored else blocked)[0])


class MaskedByHand(Masked):
    """The mask is subtracted from the scores, as Keras does."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        x = self.embed(x)
        q, k, v = F.linear(x, self.mha.in_proj_weight, self.mha.in_proj_bias).chunk(3, -1)
        q, k, v = (t.view(-1, 5, 2, 4).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(2, 3) / math.sqrt(4)
        scores = scores.masked_fill(mask.unsqueeze(1) == 0, -1e9)
        return self.head(self.mha.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 5, 8)))


def padded(k: Any) -> Any:
    inputs = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(11, 8, mask_zero=True, name="embed")(inputs)
    x = k.layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Padded(nn.Module):
    """The Embedding's mask reaches queries and keys; Keras 2 adds it to the scores."""

    def __init__(self, w: Weights, mask: bool = True) -> None:
        super().__init__()
        self.embed, self.mha, self.head = embedding(w["embed"]), multihead(w["mha"]), dense(w["head"])
        self.mask = mask

    def forward(self, tokens: Tensor) -> Any:
        x, real = self.embed(tokens), tokens != 0
        both = (real[:, :, None] & real[:, None, :]).repeat_interleave(2, 0)
        x, _ = self.mha(x, x, x, attn_mask=(1.0 - both.to(x.dtype)) * -1e9 if self.mask else None)
        return self.head(x)


class PaddedByHand(Padded):
    """Keras 3 weighs all keys alike where a query is padding."""

    def __init__(self, w: Weights, mask: bool = True, queries: bool = True) -> None:
        super().__init__(w, mask)
        self.queries = queries

    def forward(self, tokens: Tensor) -> Any:
        x, real = self.embed(tokens), (tokens != 0).unsqueeze(1)
        q, k, v = F.linear(x, self.mha.in_proj_weight, self.mha.in_proj_bias).chunk(3, -1)
        q, k, v = (t.view(*t.shape[:-1], 2, 4).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.mT / 2
        if self.mask:
            both = ((real.mT if self.queries else torch.ones_like(real.mT)) & real).unsqueeze(1)
            scores = torch.where(both, scores, torch.finfo(scores.dtype).min)
        return self.head(self.mha.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)))


# -- several axes ------------------------------------------------------------------------------------------------------


def image(k: Any) -> Any:
    inputs = k.Input((3, 4, 2))
    x = k.layers.Conv2D(8, 1, name="stem")(inputs)
    x = k.layers.MultiHeadAttention(2, 4, attention_axes=(1, 2), name="mha")(x, x)
    return k.Model(inputs, k.layers.Conv2D(3, 1, activation="relu", name="head")(x))


class Pixels(nn.Module):
    """Every pixel attends to every pixel: both axes become one, and two again."""

    def __init__(self, w: Weights, rows: bool = False) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 3, 1)
        for module, name in ((self.stem, "stem"), (self.head, "head")):
            load(module, weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])
        self.mha, self.rows = multihead(w["mha"]), rows

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.rows:
            pixels = x.permute(0, 2, 3, 1).flatten(0, 1)
            x = self.mha(pixels, pixels, pixels)[0].reshape(-1, 3, 4, 8).permute(0, 3, 1, 2)
        else:
            pixels = x.flatten(2).transpose(1, 2)
            x = self.mha(pixels, pixels, pixels)[0].transpose(1, 2).view_as(x)
        return F.relu(self.head(x))


def attention(**config: Any) -> Callable[[Any], Any]:
    """MultiHeadAttention of a tensor with itself."""
    causal = {"use_causal_mask": True} if config.pop("causal", False) else {}
    return around(lambda k, x: k.layers.MultiHeadAttention(**config, name="mha")(x, x, **causal))


PLAIN = attention(num_heads=2, key_dim=4)


class Head(nn.Module):
    """One head with its own three projections."""

    def __init__(self, w: list[Tensor], number: int) -> None:
        super().__init__()
        q, qb, k, kb, v, vb, *_ = w
        self.query = linear(q[:, number].T, qb[number])
        self.key = linear(k[:, number].T, kb[number])
        self.value = linear(v[:, number].T, vb[number])

    def forward(self, x: Tensor, scale: float) -> Tensor:
        scores: Tensor = self.query(x) @ self.key(x).transpose(1, 2) * scale
        values: Tensor = self.value(x)
        return torch.softmax(scores, -1) @ values


class HeadByHead(Around):
    """A module for each head, and one for what they give together."""

    def __init__(self, w: Weights, scale: float = 0.5, turned: bool = False) -> None:
        super().__init__(w)
        self.heads = nn.ModuleList(Head(w["mha"], number) for number in range(2))
        self.out, self.scale = linear(output(w["mha"][6]), w["mha"][7]), scale
        if turned:
            weight = next(self.heads[1].parameters())
            weight.data = weight.data.flip(0)

    def attend(self, x: Tensor) -> Any:
        return self.out(torch.cat([head(x, self.scale) for head in self.heads], dim=-1))


CASES = [
    Case(
        "mha_packed",
        PLAIN,
        Packed,
        {
            "layout": wrong(lambda w: Packed(w, kernel=lambda t: t.permute(2, 1, 0).reshape(8, 8)), "mha"),
            "transposed": wrong(lambda w: Packed(w, kernel=lambda t: t.reshape(8, 8)), "mha"),
            "exchanged": wrong(exchanged, "mha"),
            "not_loaded": wrong(not_loaded, "mha"),
            "output_bias": wrong(without_output_bias, "mha"),
            "output_transposed": wrong(output_transposed, "mha"),
            "heads": wrong(lambda w: Packed(w, heads=4), "mha"),
            "causal": wrong(lambda w: Packed(w, mask=above), "mha"),
        },
    ),
    Case(
        "mha_sequence_first",
        PLAIN,
        SequenceFirst,
        {"batch_attends": wrong(lambda w: SequenceFirst(w, moved=False), "mha")},
        loaders=("keras",),
    ),
    Case("mha_exported", PLAIN, exported(Packed), {"exchanged": wrong(exported(exchanged), "mha")}, loaders=("keras",)),
    Case("mha_traced", PLAIN, traced(Packed), {"exchanged": wrong(traced(exchanged), "mha")}, loaders=("keras",)),
    Case(
        "mha_exported_by_hand",
        attention(num_heads=4, key_dim=2, use_bias=False),
        exported(Chunked),
        {"scale": wrong(exported(lambda w: Chunked(w, scale=1.0)), "mha")},
        loaders=("keras",),
    ),
    Case(
        "mha_by_hand",
        attention(num_heads=2, key_dim=3, value_dim=5, output_shape=7),
        ByHand,
        {
            "scale_missing": wrong(lambda w: ByHand(w, scale=1), "mha"),
            "scale_of_all": wrong(lambda w: ByHand(w, scale=8**-0.5), "mha"),
            "scaled_twice": wrong(lambda w: ByHand(w, scale=1 / 3), "mha"),
            "scale_of_no_size": wrong(lambda w: ByHand(w, scale=0.3), "mha"),
            "softmax_axis": wrong(lambda w: ByHand(w, dim=-2), "mha"),
            "softmax_over_heads": wrong(lambda w: ByHand(w, dim=1), "mha"),
            "scale_and_axis": wrong(lambda w: ByHand(w, scale=1, dim=-2), "mha"),
            "viewed": wrong(Viewed, "mha"),
            "output_bias": wrong(lambda w: ByHand(w, bias=False), "mha"),
            "heads_last": wrong(HeadsLast, "mha"),
            "not_transposed_back": wrong(NotTransposedBack, "mha"),
        },
    ),
    Case(
        "mha_chunk",
        attention(num_heads=4, key_dim=2, use_bias=False),
        Chunked,
        {
            "query_key": wrong(lambda w: Chunked(w, (1, 0, 2)), "mha"),
            "key_value": wrong(lambda w: Chunked(w, (0, 2, 1)), "mha"),
            "scale": wrong(lambda w: Chunked(w, scale=1.0), "mha"),
            "heads_first": wrong(HeadsFirst, "mha"),
        },
    ),
    Case(
        "mha_head_by_head",
        PLAIN,
        HeadByHead,
        {
            "scale_missing": wrong(lambda w: HeadByHead(w, scale=1.0), "mha"),
            "one_head": wrong(lambda w: HeadByHead(w, turned=True), "mha"),
        },
    ),
    Case("mha_one_reshape", attention(num_heads=4, key_dim=2, use_bias=False), OneReshape),
    Case(
        "mha_einsum",
        attention(num_heads=3, key_dim=4, output_shape=(6,)),
        Einsum,
        {
            "exchanged": wrong(lambda w: Einsum(w, "bkhd,bqhd->bhqk"), "mha"),
            "scale": wrong(lambda w: Einsum(w, scale=8**0.5), "mha"),
        },
    ),
    Case(
        "mha_causal",
        attention(num_heads=2, key_dim=4, causal=True),
        lambda w: Packed(w, mask=above),
        {
            "not_causal": wrong(Packed, "mha"),
            "inverted": wrong(lambda w: Packed(w, mask=lambda m: torch.tril(m, -1)), "mha"),
            "one_ahead": wrong(lambda w: Packed(w, mask=lambda m: torch.triu(m, 2)), "mha"),
        },
    ),
    Case("mha_cross", cross, Cross, {"values": wrong(lambda w: Cross(w, values=True), "mha")}),
    Case("mha_cross_by_hand", cross, CrossByHand, {"values": wrong(lambda w: CrossByHand(w, values=True), "mha")}),
    Case("mha_scores", scored, Scored, {"mean": wrong(lambda w: Scored(w, mean=True), "mha")}),
    Case(
        "mha_mask",
        masked,
        Masked,
        {
            "inverted": wrong(lambda w: Masked(w, inverted=True), "mha"),
            "ignored": wrong(lambda w: Masked(w, ignored=True), "mha"),
        },
    ),
    Case("mha_mask_by_hand", masked, MaskedByHand),
    Case(
        "mha_padding_keras2",
        padded,
        Padded,
        {"ignored": wrong(lambda w: Padded(w, mask=False), "mha")},
        loaders=("tf_keras",),
    ),
    Case(
        "mha_padding",
        padded,
        PaddedByHand,
        {
            "ignored": wrong(lambda w: PaddedByHand(w, mask=False), "mha"),
            "keys_only": wrong(lambda w: PaddedByHand(w, queries=False), "mha"),
        },
        loaders=("keras",),
    ),
    Case("mha_two_axes", image, Pixels, {"rows": wrong(lambda w: Pixels(w, rows=True), "mha")}),
]
