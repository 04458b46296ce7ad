"""The list of checks, and which of them the user has turned off or wants to fail."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence

from pytest_kerasdiff.errors import RunError

OF_A_LAYER = {
    "weights": "every Keras weight, brought to torch's layout, equals the torch parameter to float32's last bit",
    "eps": "the epsilons of both sides are equal",
    "hyper": "what both sides state agrees: activation function, stride, dilation, groups, padding, pool size, axis",
    "finite": "no NaN and no infinity on one side only",
}
"""Checks that are made for each layer they concern."""
OF_THE_MODEL = {
    "loaded": "no torch parameter is left at its initial values, unmatched or shared by mistake; all weights are used",
    "shapes": "both sides have the same output shapes, layer by layer",
    "counts": "both sides have as many weights, or what explains the difference is known",
    "eval_mode": "no module that heeds it is in training mode, two runs are equal, no answer depends on its batch",
    "frozen": "no parameter requires a gradient (a warning), and inference changes no parameter and no buffer",
    "no_grad": "inference tracks no gradient (a warning, with the memory held)",
    "preprocessing": "the two preprocessing functions give equal tensors for the same raw input",
    "outputs": "probabilities or logits on both sides alike",
    "decisions": "in float32, as deployed, outputs are close and every decision is the same",
    "onnx": "the Keras model as ONNX, run by onnxruntime, agrees with Keras and the port; else who is alone",
    "accuracy": "on your data, in float32, the port decides as Keras does, and is as accurate as you ask for",
    "throughput": "the port is as fast as you ask for, next to Keras or to an earlier report",
    "precision": "no TF32, autocast or half precision where float32 is claimed",
    "training_notes": "never fails: what fine-tuning the port would need to know",
}
"""Checks that are made once for each model."""
SELFTEST = "selftest"
"""The check that is made where ``--kerasdiff-selftest`` asks for it."""
MODEL = "model"
"""What stands for the layer in the results and node ids of checks of the model."""


@dataclasses.dataclass(frozen=True, slots=True)
class Switch:
    """One line of the manifest's [checks] or of the ini.

    Attributes:
        layer: Report name of a layer, "model" for checks of the model; "*" and "?" stand for any text.
        check: Name of the check.
        off: Why it is turned off; empty where it is not.
        fails: What it would only warn of fails.
        where: Who says so, for messages.
    """

    layer: str
    check: str
    off: str = ""
    fails: bool = False
    where: str = ""

    def __str__(self) -> str:
        """As a line of ``--kerasdiff-off``."""
        return f"{self.layer}::{self.check}: {self.off}"

    def matches(self, layer: str, check: str) -> bool:
        """Whether it speaks of this check of this layer; brackets in names stand for themselves."""
        pattern = self.layer.replace("[", "[[]")
        return check == self.check and fnmatch.fnmatchcase(layer, pattern)


def parse(tests: str, where: str, off: str = "", fails: bool = False) -> Switch:
    """Read ``LAYER::CHECK`` as node ids end.

    Raises:
        RunError: It is not of this form, or there is no such check.
    """
    layer, colons, check = tests.rpartition("::")
    known = [*OF_A_LAYER, *OF_THE_MODEL]
    if not colons or not layer or not check:
        raise RunError(f"{where}: got {tests!r}, expected LAYER::CHECK, such as batch_normalization::eps")
    if check == "output":
        raise RunError(f"{where}: {tests}: a layer's output cannot be turned off; give it a [tolerance], or mark its "
                       "test xfail")  # fmt: skip
    if check not in known:
        raise RunError(f"{where}: {tests}: there is no check {check!r}; known: {', '.join(known)}")
    return Switch(layer, check, off, fails, where)


def parse_lines(lines: Iterable[str], where: str) -> list[Switch]:
    """Read ``LAYER::CHECK: reason`` lines, as the ini has them.

    Raises:
        RunError: A line is not of this form, or gives no reason.
    """
    found = []
    for line in lines:
        head, _, reason = line.partition(": ")
        if not reason.strip():
            raise RunError(f"{where}: got {line!r}, expected LAYER::CHECK: reason")
        found.append(parse(head.strip(), where, off=reason.strip()))
    return found


def switch_of(switches: Sequence[Switch], layer: str, check: str) -> Switch | None:
    """The switch of a check of a layer; of several the last one said."""
    return next((switch for switch in reversed(switches) if switch.matches(layer, check)), None)


def unknown(switches: Sequence[Switch], made: Iterable[tuple[str, str]]) -> RunError | None:
    """An error for a switch that speaks of no check that is made: misspelt, it would lose its effect in silence."""
    known = list(made)
    for switch in switches:
        if not any(switch.matches(layer, check) for layer, check in known):
            return RunError(f"{switch.where}: {switch.layer}::{switch.check}: no such check is made")
    return None
