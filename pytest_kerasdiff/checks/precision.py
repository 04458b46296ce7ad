"""The check that float32 is float32."""

from __future__ import annotations

from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.text import shortened

_REDUCED = ("float16", "bfloat16")


def check(whole: Whole) -> Outcome:
    """Fail where the port computes in less than float32 and the Keras model does not.

    TF32 matters on CUDA devices only; a port that allows it fails on any, because its product will run on one.
    """
    facts = whole.facts
    stated = sorted(d for layer in whole.reference.layers for d in _policies(layer.config.get("dtype")) if "16" in d)
    if stated:
        return Outcome("", f"the Keras model states {stated[0]} itself")
    if facts.settings:
        said = ", ".join(f"{name} is {value}" for name, value in facts.settings.items())
        cause = "autocast" if any("autocast" in name for name in facts.settings) else "tf32"
        return Outcome(cause, f"{said}: float32 products are rounded to fewer bits; leave torch's default")
    halves = [name for name, dtype in facts.dtypes.items() if dtype in _REDUCED]
    if halves:
        return Outcome("float16", f"{shortened(halves)} of dtype {facts.dtypes[halves[0]]}; call .float() on the port")
    if facts.reduced:
        return Outcome(
            "autocast", f"computed in reduced precision at {shortened(facts.reduced)}; leave autocast and casts out"
        )
    if facts.convolutions_in_tf32:
        return Outcome(
            "tf32",
            "on this device torch computes convolutions in TF32, which is its default; set "
            "torch.backends.cudnn.allow_tf32 = False where float32 is meant",
            warns=True,
        )
    return Outcome("", "float32 throughout")


def _policies(stated: object) -> list[str]:
    """Names of dtypes as a layer's config states them: a text, or a serialised policy."""
    if isinstance(stated, dict):
        stated = stated.get("config", {}).get("name")
    return [stated] if isinstance(stated, str) else []
