"""What fine-tuning the port would need; no check, because inference does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_kerasdiff.checks.subject import Outcome, Whole


def check(whole: Whole) -> Outcome:
    """Note momentum, regularisers and dropout rates of the Keras model in torch's terms. Never fails.

    Source: torch's momentum is the weight of the new statistic, Keras's that of the old one: momentum = 1 - Keras's.
    Keras's L2(λ) adds λ·Σw² to the loss, whose gradient is 2λw; SGD's ``weight_decay`` adds ``weight_decay``·w.
    """
    notes = [*_momenta(whole), *_regularisers(whole), *_dropouts(whole)]
    return Outcome("", "; ".join(notes) or "no momentum, regulariser or dropout rate in the Keras model")


def _configs(whole: Whole, *keys: str) -> Iterator[tuple[str, str, Any]]:
    for layer in whole.reference.layers:
        for key in keys:
            if layer.config.get(key) is not None:
                yield layer.name, key, layer.config[key]


def _momenta(whole: Whole) -> Iterator[str]:
    stated = {float(value) for name, _, value in _configs(whole, "momentum")}
    for value in sorted(stated):
        yield f"BatchNorm momentum {value:g} in Keras is momentum={1 - value:.6g} in torch"
    wanted = {float(f"{1 - value:.6g}") for value in stated}
    own = {p: m for p, m in whole.facts.momentum.items() if wanted and (m is None or float(f"{m:.6g}") not in wanted)}
    if own:
        path, port = next(iter(own.items()))
        yield f"the port has another momentum in {len(own)} modules ({path}: {port})"


def _regularisers(whole: Whole) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for layer, key, value in _configs(
        whole, *(f"{w}_regularizer" for w in ("kernel", "bias", "depthwise", "pointwise", "recurrent", "embeddings",
                                             "gamma", "beta"))
    ):  # fmt: skip
        for kind, number in _strengths(value):
            if kind == "l2":
                words = f"L2({number:g}) is weight_decay={2 * number:g} of plain SGD"
            else:
                words = f"L1({number:g}) has no option in torch's optimisers: add it to the loss"
            found.setdefault(words, []).append(f"{layer} {key.removesuffix('_regularizer')}")
    for words, where in found.items():
        yield f"{words} ({', '.join(where[:3])}{' …' * (len(where) > 3)})"


def _strengths(value: Any) -> Iterator[tuple[str, float]]:
    config = value.get("config", {}) if isinstance(value, Mapping) else {}
    for kind in ("l2", "l1"):
        number = config.get(kind)
        if isinstance(number, int | float) and number:
            yield kind, float(number)


def _dropouts(whole: Whole) -> Iterator[str]:
    keras = {name: float(value) for name, _, value in _configs(whole, "rate") if isinstance(value, int | float)}
    recurrent = {f"{n} {k}": float(v) for n, k, v in _configs(whole, "dropout", "recurrent_dropout") if v}
    if keras or recurrent:
        yield "dropout in Keras: " + ", ".join(f"{name} {rate:g}" for name, rate in (keras | recurrent).items())
        port = whole.facts.dropout
        yield "in the port: " + (", ".join(f"{path} {rate:g}" for path, rate in port.items()) or "no dropout modules")
