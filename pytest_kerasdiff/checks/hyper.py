"""The check of hyper-parameters: what both sides state, and what their activation functions make of any value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pytest_kerasdiff import curves
from pytest_kerasdiff.align.kinds import activation_of, inside
from pytest_kerasdiff.checks import resizing, settings, windows
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.checks.windows import Stated
from pytest_kerasdiff.trace import CURVE_AT

_OF_SEVERAL_ELEMENTS = ("softmax", "log_softmax", "sparsemax", "glu")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional")


def check(subject: Subject) -> Outcome:
    """Compare what both sides state, and their activation functions on values that the probe inputs need not give.

    Activations that stay below 6 do not tell ReLU6 from ReLU, and near 0 a tanh is a straight line. Numbers that differ
    fail where the layer's activations are wrong; where they are right, the same is written in another way. Except for
    what activations may not show: the zeros that a port's maximum sees beyond the border.
    """
    found = list(stated(within(subject)))
    function = _function(subject)
    failing = [one for one in found if one.cause and (one.sure or subject.is_wrong)]
    if function is not None and function.cause:
        failing.insert(0, function)
    if failing:
        return Outcome(failing[0].cause, "; ".join(one.words for one in failing))
    words = [function.words] if function is not None else []
    words += [
        f"{one.words} (written in another way, the activations agree)" if one.cause else one.words for one in found
    ]
    return Outcome("", "; ".join(words) or "nothing that both sides state; the activations are compared")


def within(subject: Subject) -> Subject:
    """The subject as the layer inside a TimeDistributed sees it: without the axis of steps."""
    layer = subject.layer
    class_name, config = inside(layer.class_name, layer.config)
    if class_name == layer.class_name:
        return subject
    return dataclasses.replace(
        subject,
        layer=dataclasses.replace(layer, class_name=class_name, config=config),
        taken=[(shape[0], *shape[2:]) for shape in subject.taken],
        given=(*subject.given[:1], *subject.given[2:]),
        feeders=(),
    )


def stated(subject: Subject) -> Iterator[Stated]:
    """All that both sides state of a layer, except for functions of one element."""
    class_name, config = subject.layer.class_name, subject.layer.config
    if "Conv" in class_name and "LSTM" not in class_name:
        own = resizing.transposed if class_name.endswith("Transpose") else windows.convolution
        yield from own(subject, config)
    elif "Pooling" in class_name:
        yield from windows.pooling(subject, config)
    elif class_name.startswith(("ZeroPadding", "Cropping")):
        yield from resizing.border(subject, config)
    elif class_name.startswith("UpSampling") or class_name == "Resizing":
        yield from resizing.interpolation(subject, config)
    elif class_name == "Concatenate":
        yield from settings.concatenation(subject, config)
    elif class_name in _RECURRENT:
        yield from settings.recurrent(subject, config)
    elif class_name == "Dense":
        yield from settings.flattened(subject)
    if activation_of(class_name, config) == "softmax":
        yield from settings.softmax(subject, config)


def _function(subject: Subject) -> Stated | None:
    """Both sides' activation functions, where they are functions of one element."""
    if subject.curves is None or subject.last is None:
        return None
    at = curves.difference(*subject.curves)
    if at is None:
        return Stated("", "activation equal from -300 to 300")
    got, expected = (float(curve[at]) for curve in subject.curves)
    values = f"at {CURVE_AT[at]:.6g} Keras's function gives {expected:.6g}, the port's {got:.6g}{subject.last.place}"
    own = settings.function(subject)
    return Stated(own.cause, f"{own.words}; {values}", True)
