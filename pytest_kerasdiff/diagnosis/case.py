"""A layer to be diagnosed, and what may be wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from pytest_kerasdiff.align.alignment import Alignment
from pytest_kerasdiff.align.products import Product
from pytest_kerasdiff.change import Change
from pytest_kerasdiff.checks.subject import CheckResult, Subject
from pytest_kerasdiff.judge import Judge, LayerVerdict
from pytest_kerasdiff.trace import CandidateTrace, Layer, Operation, ReferenceTrace


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One way to undo a fault in the port, to be tried.

    Attributes:
        change: What is changed.
        measured: Position of the layer whose output shows whether it helps, where that is not the layer itself: a
            layer that the port lacks has no operation to run.
        ignoring: Positions of layers whose values the port computes in the trial, where Keras's are taken else.
        whole: What is changed where the whole model is run, if it is something else.
        table: The activation function's table of values shows whether it helps: it differs where no probe comes.
    """

    change: Change
    measured: int | None = None
    ignoring: frozenset[int] = frozenset()
    whole: Change | None = None
    table: bool = False

    @property
    def in_the_whole(self) -> Change:
        """What is changed where the whole model is run."""
        return self.change if self.whole is None else self.whole


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Suspicion:
    """A possible cause.

    Attributes:
        id: Id of the fault in the catalogue.
        text: What Keras has and what the port has, in one sentence.
        patch: The line of code that repairs the port, on the user's module where that can be said; else in words.
        ways: What undoes it, the likeliest first; empty where no operation of torch does.
        stated: Both sides state it. What is only tried, because it is a frequent fault, is not.
        sure: It is a fault even where the activations do not show it.
        piece: What one side has and the other has not ("act relu"), by which two layers find that it is only in
            another place; empty for other causes.
    """

    id: str
    text: str
    patch: str
    ways: Sequence[Way] = ()
    stated: bool = True
    sure: bool = False
    piece: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    """What detectors see of a layer.

    Attributes:
        position: Of the layer.
        subject: What the checks see of it.
        judge: Alignment, layouts and verdicts; runs layers alone.
        reference: The Keras side.
        failed: The layer's checks that failed.
        product: The two layers of Keras that the layer at hand is, where one is folded into the other.
    """

    position: int
    subject: Subject
    judge: Judge
    reference: ReferenceTrace
    failed: Sequence[CheckResult] = ()
    product: Product | None = None

    @property
    def layer(self) -> Layer:
        """The Keras layer; where two are folded into one, that one."""
        return self.subject.layer

    @property
    def verdict(self) -> LayerVerdict:
        """What was found for it."""
        return self.judge.verdicts[self.position]

    @property
    def alignment(self) -> Alignment:
        """Which torch operations are which layer."""
        return self.judge.alignment

    @property
    def trace(self) -> CandidateTrace:
        """The torch program."""
        return self.judge.candidate.trace

    @property
    def value(self) -> int | None:
        """The torch value that is judged as the layer's output."""
        return self.alignment.torch_value(self.layer.outputs[0])

    @property
    def steps(self) -> list[int]:
        """Positions of the layer's torch operations, in order."""
        return self.alignment.steps(self.position, self.layer.outputs[0])

    def place(self, operation: Operation) -> int:
        """Position of one of the layer's operations in the program."""
        return next(i for i, own in enumerate(self.trace.operations) if own is operation or own == operation)

    def takers(self, torch_value: int) -> list[tuple[int, str]]:
        """(position, argument) of every operation that takes a torch value; "tensors.1" in a list."""
        return [
            (i, name)
            for i, operation in enumerate(self.trace.operations)
            if torch_value in operation.inputs
            for name in arguments_with(operation, torch_value)
        ]

    def position_of(self, keras_value: int) -> int:
        """Position of the layer that gives a Keras value."""
        return self.judge.layer_of[keras_value]


def arguments_with(operation: Operation, torch_value: int) -> Iterable[str]:
    """Names of the arguments of an operation that are a torch value."""
    for name, argument in operation.arguments.items():
        if getattr(argument, "index", None) == torch_value and type(argument).__name__ == "Value":
            yield name
        elif isinstance(argument, list | tuple):
            for i, one in enumerate(argument):
                if getattr(one, "index", None) == torch_value and type(one).__name__ == "Value":
                    yield f"{name}.{i}"
