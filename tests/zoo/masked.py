"""Masks that go further: through dropout and stacks, into joins, attention and decoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.zoo.bidirectional import halves
from tests.zoo.case import Case, Weights, wrong
from tests.zoo.embedding import table
from tests.zoo.gates import linear, rnn
from tests.zoo.masking import words

OTHER = (0, 1, 3, 2)


def packed(x: Tensor, tokens: Tensor) -> Any:
    return pack_padded_sequence(x, (tokens != 0).sum(1).cpu(), batch_first=True, enforce_sorted=False)


def stack(k: Any, x: Any) -> Any:
    return k.layers.LSTM(4, name="second")(k.layers.Dropout(0.5, name="drop")(x))


def sequences(k: Any) -> Any:
    return k.layers.LSTM(4, return_sequences=True, name="first")


class Stack(nn.Module):
    """Both layers in one module, the words packed."""

    def __init__(self, w: Weights, wrong: str = "", pack: bool = True) -> None:
        super().__init__()
        self.words, self.head, self.pack = table(w["words"]), linear(w["head"]), pack
        self.rnn = rnn(nn.LSTM, w["first"], w["second"])
        if wrong:  # the gates of one layer in another order
            weight = getattr(self.rnn, f"weight_hh_l{wrong}")
            weight.data = torch.cat([weight.data.chunk(4)[i] for i in OTHER])

    def forward(self, tokens: Tensor) -> Any:
        x = self.words(tokens)
        _, (h, _) = self.rnn(packed(x, tokens) if self.pack else x)
        return self.head(h[-1])


def both_ways(k: Any) -> Any:
    return k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True), name="rnn")


class BothWays(nn.Module):
    """Bidirectional gives zeros where a step is padding, and so does pad_packed_sequence."""

    def __init__(self, w: Weights, pack: bool = True, order: tuple[int, ...] = (0,)) -> None:
        super().__init__()
        self.words, self.head, self.pack = table(w["words"]), linear(w["head"]), pack
        self.rnn = rnn(nn.LSTM, *halves(w["rnn"]), bidirectional=True, order=order)

    def forward(self, tokens: Tensor) -> Any:
        x = self.words(tokens)
        out, _ = self.rnn(packed(x, tokens) if self.pack else x)
        if self.pack:
            out, _ = pad_packed_sequence(out, batch_first=True, total_length=tokens.shape[1])
        return self.head(out)


def joined(k: Any) -> Any:
    """Two embeddings of one text, one after the other."""
    tokens = k.Input((9,), dtype="int32")
    first = k.layers.Embedding(30, 5, mask_zero=True, name="words")(tokens)
    second = k.layers.Embedding(30, 4, mask_zero=True, name="more")(tokens)
    x = k.layers.LSTM(4, name="rnn")(k.layers.Concatenate(name="join")([first, second]))
    return k.Model(tokens, k.layers.Dense(3, name="head")(x))


class Joined(nn.Module):
    def __init__(self, w: Weights, pack: bool = True, exchanged: bool = False) -> None:
        super().__init__()
        self.words, self.more = table(w["words"]), table(w["more"])
        self.rnn, self.head = rnn(nn.LSTM, w["rnn"]), linear(w["head"])
        self.pack, self.exchanged = pack, exchanged

    def forward(self, tokens: Tensor) -> Any:
        both = [self.words(tokens), self.more(tokens)]
        x = torch.cat(both[::-1] if self.exchanged else both, dim=-1)
        _, (h, _) = self.rnn(packed(x, tokens) if self.pack else x)
        return self.head(h[0])


def attended(k: Any) -> Any:
    """A query attends to masked words."""
    query, tokens = k.Input((6, 5), name="query"), k.Input((9,), dtype="int32", name="tokens")
    x = k.layers.Embedding(30, 5, mask_zero=True, name="words")(tokens)
    x = k.layers.Attention(name="attention")([query, x])
    return k.Model([query, tokens], k.layers.Dense(3, name="head")(x))


def attended_itself(k: Any) -> Any:
    """Masked words attend to each other: what padding asks for is zero."""
    tokens = k.Input((9,), dtype="int32", name="tokens")
    x = k.layers.Embedding(30, 5, mask_zero=True, name="words")(tokens)
    return k.Model(tokens, k.layers.Dense(3, name="head")(k.layers.Attention(name="attention")([x, x])))


class AttendedItself(nn.Module):
    def __init__(self, w: Weights, zeros: bool = True) -> None:
        super().__init__()
        self.words, self.head, self.zeros = table(w["words"]), linear(w["head"]), zeros

    def forward(self, tokens: Tensor) -> Any:
        x, padding = self.words(tokens), tokens == 0
        scores = (x @ x.transpose(1, 2)).masked_fill(padding.unsqueeze(1), float("-inf"))
        x = scores.softmax(-1) @ x
        return self.head(x.masked_fill(padding.unsqueeze(-1), 0.0) if self.zeros else x)


class Attended(nn.Module):
    def __init__(self, w: Weights, mask: bool = True) -> None:
        super().__init__()
        self.words, self.head, self.mask = table(w["words"]), linear(w["head"]), mask

    def forward(self, query: Tensor, tokens: Tensor) -> Any:
        x = self.words(tokens)
        scores = query @ x.transpose(1, 2)
        if self.mask:
            scores = scores.masked_fill((tokens == 0).unsqueeze(1), float("-inf"))
        return self.head(scores.softmax(-1) @ x)


def translation(k: Any) -> Any:
    """Masked words on both sides."""
    source, target = (k.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    x = k.layers.Embedding(30, 5, mask_zero=True, name="words")(source)
    _, h, c = k.layers.LSTM(4, return_state=True, name="encoder")(x)
    y = k.layers.Embedding(20, 6, name="others")(target)
    y = k.layers.LSTM(4, return_sequences=True, name="decoder")(y, initial_state=[h, c])
    return k.Model([source, target], k.layers.Dense(20, "softmax", name="head")(y))


class Translation(nn.Module):
    def __init__(self, w: Weights, pack: bool = True, order: tuple[int, ...] = (0,)) -> None:
        super().__init__()
        self.words, self.others, self.head = table(w["words"]), table(w["others"]), linear(w["head"])
        self.encoder, self.decoder = rnn(nn.LSTM, w["encoder"]), rnn(nn.LSTM, w["decoder"], order=order)
        self.pack = pack

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x = self.words(source)
        _, state = self.encoder(packed(x, source) if self.pack else x)
        out, _ = self.decoder(self.others(target), state)
        return torch.softmax(self.head(out), dim=-1)


class Padded(Stack):
    """The padding goes through both layers, which read from left to right, and the last word's step is taken."""

    def __init__(self, w: Weights, last: bool = True, wrong: str = "") -> None:
        super().__init__(w, wrong)
        self.last = last

    def forward(self, tokens: Tensor) -> Any:
        out, _ = self.rnn(self.words(tokens))
        at = (tokens != 0).sum(1) - 1
        return self.head(out[torch.arange(len(tokens)), at] if self.last else out[:, -1])


class TwoModules(Stack):
    """One module after the other, the words packed from the first to the last."""

    def __init__(self, w: Weights, order: tuple[int, ...] = (0,)) -> None:
        super().__init__(w)
        self.rnn = rnn(nn.LSTM, w["first"])
        self.second = rnn(nn.LSTM, w["second"], order=order)

    def forward(self, tokens: Tensor) -> Any:
        x, _ = self.rnn(packed(self.words(tokens), tokens))
        _, (h, _) = self.second(x)
        return self.head(h.squeeze(0))


CASES = [
    Case(
        "mask_modules",
        words(sequences, stack),
        TwoModules,
        declared=frozenset({"first", "drop"}),
    ),
    Case(
        "mask_stack",
        words(sequences, stack),
        Stack,
        {
            "ignored": wrong(lambda w: Stack(w, pack=False), "second"),  # the first is right where there are words
            "second": wrong(lambda w: Stack(w, "1"), "second"),
        },
        declared=frozenset({"first", "drop"}),  # between them the steps are packed
    ),
    Case(
        "mask_padded",
        words(sequences, stack),
        Padded,
        {
            "last_step": wrong(lambda w: Padded(w, last=False), "second"),
            "first": wrong(lambda w: Padded(w, wrong="0"), "first"),
        },
    ),
    Case(
        "mask_both_ways",
        words(both_ways),
        BothWays,
        {
            "ignored": wrong(lambda w: BothWays(w, pack=False), "rnn"),
            "gate_order": wrong(lambda w: BothWays(w, order=OTHER), "rnn"),
        },
    ),
    Case(
        "mask_joined",
        joined,
        Joined,
        {
            "ignored": wrong(lambda w: Joined(w, pack=False), "rnn"),
            "exchanged": wrong(lambda w: Joined(w, exchanged=True), "join"),
        },
    ),
    Case(
        "mask_attention",
        attended,
        Attended,
        {"ignored": wrong(lambda w: Attended(w, mask=False), "attention")},
        loaders=("keras",),
        suffix=".keras",
    ),
    Case(
        "mask_attention_itself",
        attended_itself,
        AttendedItself,
        {"queries_not_masked": wrong(lambda w: AttendedItself(w, zeros=False), "attention")},
        suffix=".keras",
    ),
    Case(
        "mask_encoder_decoder",
        translation,
        Translation,
        {
            "ignored": wrong(lambda w: Translation(w, pack=False), "encoder"),
            "decoder": wrong(lambda w: Translation(w, order=OTHER), "decoder"),
        },
    ),
]
