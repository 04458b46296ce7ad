"""Masks of Embedding and Masking, and the layers that they reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.zoo.bidirectional import halves
from tests.zoo.case import Case, Weights, wrong
from tests.zoo.embedding import table
from tests.zoo.gates import R_Z_N, linear, rnn


def words(layer: Callable[[Any], Any], more: Callable[[Any, Any], Any] = lambda k, x: x) -> Callable[[Any], Any]:
    """Tokens of which 0 is padding, an embedding, a recurrent layer, ``more``, Dense."""

    def build(k: Any) -> Any:
        tokens = k.Input((None,), dtype="int32")
        x = k.layers.Embedding(30, 5, mask_zero=True, name="words")(tokens)
        return k.Model(tokens, k.layers.Dense(3, name="head")(more(k, layer(k)(x))))

    return build


def masked(layer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Steps of which -1 is padding, Masking, a recurrent layer, Dense."""

    def build(k: Any) -> Any:
        steps = k.Input((7, 5))
        x = k.layers.Masking(-1.0, name="masking")(steps)
        return k.Model(steps, k.layers.Dense(3, name="head")(layer(k)(x)))

    return build


def lstm(k: Any) -> Any:
    return k.layers.LSTM(4, name="rnn")


def gru(k: Any) -> Any:
    return k.layers.GRU(4, name="rnn")


def sequences(k: Any) -> Any:
    return k.layers.LSTM(4, return_sequences=True, name="rnn")


def both_ways(k: Any) -> Any:
    return k.layers.Bidirectional(k.layers.LSTM(4), name="rnn")


class Packed(nn.Module):
    """pack_padded_sequence with the lengths of the sentences."""

    def __init__(
        self,
        w: Weights,
        kind: type[nn.RNNBase] = nn.LSTM,
        order: Any = (0,),
        two: bool = False,
        packed: bool = True,
        shift: int = 0,
    ) -> None:
        super().__init__()
        layers = halves(w["rnn"]) if two else [w["rnn"]]
        self.words = table(w["words"], shift, padding_idx=None)
        self.rnn, self.head = rnn(kind, *layers, bidirectional=two, order=order), linear(w["head"])
        self.two, self.packed = two, packed

    def forward(self, tokens: Tensor) -> Any:
        x: Any = self.words(tokens)
        if self.packed:
            lengths = (tokens != 0).sum(dim=1).cpu()
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.rnn(x)
        h = state[0] if isinstance(state, tuple) else state
        return self.head(torch.cat([h[-2], h[-1]], dim=1) if self.two else h[-1])


class LastStep(nn.Module):
    """The whole sequence, then the step of the last word."""

    def __init__(self, w: Weights, off: int = 1) -> None:
        super().__init__()
        self.words, self.rnn, self.head = table(w["words"]), rnn(nn.LSTM, w["rnn"]), linear(w["head"])
        self.off = off

    def forward(self, tokens: Tensor) -> Any:
        out, _ = self.rnn(self.words(tokens))
        last = (tokens != 0).sum(1) - self.off
        return self.head(out[torch.arange(len(out)), last])


class Loop(nn.Module):
    """A loop that keeps the state where a step is padding: one of which every feature has the value that masks."""

    def __init__(
        self, w: Weights, ignore: bool = False, mask: Callable[[Tensor], Tensor] = lambda x: (x != -1).any(dim=-1)
    ) -> None:
        super().__init__()
        self.rnn, self.head, self.ignore = rnn(nn.GRU, w["rnn"], order=R_Z_N), linear(w["head"]), ignore
        self.mask = mask

    def forward(self, x: Tensor) -> Any:
        mask = self.mask(x)
        h = torch.zeros(1, x.shape[0], 4)
        for t in range(x.shape[1]):
            _, new = self.rnn(x[:, t : t + 1], h)
            h = new if self.ignore else torch.where(mask[:, t].view(1, -1, 1), new, h)
        return self.head(h[0])


class PackedSteps(nn.Module):
    """Packed input, padded again; Keras repeats the last output where a step is padding."""

    def __init__(self, w: Weights, repeat: bool = True) -> None:
        super().__init__()
        self.words, self.rnn, self.head = table(w["words"]), rnn(nn.LSTM, w["rnn"]), linear(w["head"])
        self.repeat = repeat

    def forward(self, tokens: Tensor) -> Any:
        lengths = (tokens != 0).sum(1)
        packed = pack_padded_sequence(self.words(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, (h, _) = self.rnn(packed)
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=tokens.shape[1])
        mask = (tokens != 0).unsqueeze(-1)
        return self.head(torch.where(mask, out, h[-1].unsqueeze(1)) if self.repeat else out)


class Mean(nn.Module):
    """The mean over the words, without the padding."""

    def __init__(self, w: Weights, ignore: bool = False, counted: bool = False, padding: int = 0) -> None:
        super().__init__()
        self.words, self.head = table(w["words"]), linear(w["head"])
        self.ignore, self.counted, self.padding = ignore, counted, padding

    def forward(self, tokens: Tensor) -> Any:
        x = self.words(tokens)
        mask = (tokens > self.padding).unsqueeze(-1).to(x.dtype)
        if self.counted:
            return self.head((x * mask).mean(1))
        return self.head(x.mean(1) if self.ignore else (x * mask).sum(1) / mask.sum(1))


def mean(k: Any) -> Any:
    tokens = k.Input((9,), dtype="int32")
    x = k.layers.Embedding(30, 5, mask_zero=True, name="words")(tokens)
    return k.Model(tokens, k.layers.Dense(3, name="head")(k.layers.GlobalAveragePooling1D(name="pool")(x)))


CASES = [
    Case(
        "mask_lstm",
        words(lstm),
        Packed,
        {
            "ignored": wrong(lambda w: Packed(w, packed=False), "rnn"),
            "gate_order": wrong(lambda w: Packed(w, order=(0, 1, 3, 2)), "rnn"),
            "rows_shifted": wrong(lambda w: Packed(w, shift=1), "words", "words:weights"),
        },
    ),
    Case(
        "mask_gru",
        words(gru),
        lambda w: Packed(w, nn.GRU, R_Z_N),
        {"ignored": wrong(lambda w: Packed(w, nn.GRU, R_Z_N, packed=False), "rnn")},
    ),
    Case(
        "mask_bidirectional",
        words(both_ways),
        lambda w: Packed(w, two=True),
        {"ignored": wrong(lambda w: Packed(w, two=True, packed=False), "rnn")},
    ),
    Case(
        "mask_last_step",
        words(lstm),
        LastStep,
        {"one_too_early": wrong(lambda w: LastStep(w, off=2), "rnn")},
    ),
    Case(
        "mask_sequences",
        words(sequences),
        PackedSteps,
        {"zeros": wrong(lambda w: PackedSteps(w, repeat=False), "rnn")},
    ),
    Case(
        "masking_loop",
        masked(gru),
        Loop,
        # Nothing of the port knows of padding: it lacks what the one layer does, and what the other does with it.
        {
            "ignored": wrong(lambda w: Loop(w, ignore=True), "masking rnn"),
            "first_feature": wrong(lambda w: Loop(w, mask=lambda x: x[..., 0] != -1), "masking rnn"),
            "last_feature": wrong(lambda w: Loop(w, mask=lambda x: x[..., -1] != -1), "masking rnn"),
            "all_features": wrong(lambda w: Loop(w, mask=lambda x: (x != -1).all(dim=-1)), "masking rnn"),
        },
        declared=frozenset({"masking"}),
    ),
    Case(
        "mask_mean",
        mean,
        Mean,
        {
            "ignored": wrong(lambda w: Mean(w, ignore=True), "pool"),
            "counted": wrong(lambda w: Mean(w, counted=True), "pool"),
            # What the sum is divided by is computed between the two.
            "first_word": wrong(lambda w: Mean(w, padding=1), "pool head"),
        },
    ),
]
