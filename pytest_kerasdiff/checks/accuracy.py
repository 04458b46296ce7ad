"""The check of accuracy: what both models decide on the user's data, against what the user asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_kerasdiff import text
from pytest_kerasdiff.checks import preprocessing
from pytest_kerasdiff.checks.subject import Outcome, Whole

_LISTED = 3


def check(whole: Whole) -> Outcome:
    """Fail where the port is less accurate than asked for, or decides otherwise than Keras; say what feeds it wrong.

    Where no limit is given, no decision may be another one, ties apart; where nothing is decided, outputs must be as
    near as two correct float32 computations are.
    """
    if why := whole.unmeasured.get("accuracy"):
        return Outcome("accuracy", "; ".join([why, *_fed_differently(whole)]))
    found = whole.measured["accuracy"]
    said, broken = describe(found), list(broken_limits(found))
    if found["shard"] is not None:
        said = f"part {found['shard']} of the data, whose reports are to be merged: {said}"
    if not broken:
        return Outcome("", said)
    broken += _fed_differently(whole)
    if any(verdict.is_wrong for verdict in whole.verdicts):
        broken.append("see the layers at fault")
    return Outcome("accuracy", f"{'; '.join(broken)}. {said}")


def _fed_differently(whole: Whole) -> Iterator[str]:
    """What the two preprocessing functions make differently."""
    if whole.preprocessed is not None and whole.stated.preprocess is not None:
        fed = preprocessing.judge(whole.preprocessed, whole.stated.preprocess, whole.tol)
        if fed.cause:
            yield f"the two are fed differently: {fed.cause}: {fed.message}"


def broken_limits(found: Mapping[str, Any]) -> Iterator[str]:
    """The limits that what was measured does not keep, in words; ``found`` is the report's field ``accuracy``.

    Of a part of the data only what all of it cannot make good again: flips.
    """
    limits, keras, torch = found["limits"], found["keras"], found["torch"]
    is_whole = found["shard"] is None
    if is_whole and (least := limits["min_accuracy"]) is not None:
        if found["metric"] in (None, "rmse"):
            yield "no accuracy to hold against the smallest one: the data has no classes; name a --kerasdiff-metric"
        elif _is_less(torch["value"], least):
            own = (
                f" (Keras's own is {_number(keras['value'])}: see the data)" if _is_less(keras["value"], least) else ""
            )
            yield f"accuracy {_number(torch['value'])} is less than {least:g}{own}"
    if (drop := limits["max_drop"]) is not None and is_whole:
        if torch is None:
            yield "no drop to be seen: the data has no labels"
        elif found["difference"] is None:
            yield f"{found['metric']} {_number(torch['value'])}, Keras {_number(keras['value'])}: no drop to be seen"
        elif -found["difference"] > drop:
            yield f"{-found['difference']:.5g} worse than Keras, at most {drop:g} allowed"
    flips = limits["max_flips"]
    if flips is None and drop is None:
        flips = 0
        outputs = found["outputs"]
        if not found["decisions"] and not (outputs["max_abs"] is not None and outputs["max_abs"] <= outputs["near"]):
            much = "not finite at the same places" if outputs["max_abs"] is None else f"{outputs['max_abs']:.3g} apart"
            yield f"outputs {much}, limit {outputs['near']:.3g}"
    if flips is not None and found["flips"] > flips:
        yield f"{text.count(found['flips'], 'decision')} flipped, at most {flips} allowed"


def _is_less(value: float | None, least: float) -> bool:
    return value is None or value < least


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.5g}"


def describe(found: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    parts = []
    if found["torch"] is not None:
        keras, torch = found["keras"], found["torch"]
        parts.append(f"{found['metric']} {_number(torch['value'])}, Keras {_number(keras['value'])}")
        if "top_5" in torch:
            parts.append(f"top-5 {torch['top_5']:.5g}, Keras {keras['top_5']:.5g}")
        if found["difference_interval"] is not None and None not in found["difference_interval"]:
            low, high = found["difference_interval"]
            parts.append(f"difference {found['difference']:+.3g} (95 % {low:+.3g} … {high:+.3g})")
    of = f"of {found['decisions']}" if found["decisions"] != found["samples"] else ""
    if found["decisions"]:
        ties = f", {found['ties']} more by a tie" if found["ties"] else ""
        parts.append(" ".join(f"{text.count(found['flips'], 'flip')} {of}".split()) + ties)
        parts += _listed(found)
    if (test := found["mcnemar"]) is not None and test["keras_only"] + test["torch_only"]:
        parts.append(
            f"right alone: Keras {test['keras_only']}, the port {test['torch_only']}, McNemar p {test['p']:.2g}"
        )
    if not parts and found["outputs"]["max_abs"] is not None:
        parts = [f"outputs at most {found['outputs']['max_abs']:.3g} apart"]
    return f"{text.count(found['samples'], 'sample')}: {', '.join(parts) or 'outputs not finite at the same places'}"


def _listed(found: Mapping[str, Any]) -> Iterator[str]:
    """The flips with the largest margins."""
    flips = [flip for flip in found["flipped"] if not flip["tie"]]
    flips.sort(key=lambda flip: -(flip["keras_margin"] or float("inf")))
    for flip in flips[:_LISTED]:
        place = "".join(f", {i}" for i in flip["at"])
        margins = ", ".join(
            "∞" if flip[side] is None else f"{flip[side]:.2g}" for side in ("keras_margin", "torch_margin")
        )
        yield f"sample {flip['sample']}{place}: {flip['keras']} → {flip['torch']} (margins {margins})"
    if len(flips) > _LISTED:
        yield "…"
