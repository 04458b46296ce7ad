"""What checks see, and what they give back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.alignment import Alignment
from pytest_kerasdiff.facts import PortFacts
from pytest_kerasdiff.judge import LayerVerdict
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.trace import Array, CandidateTrace, ConstantData, Layer, Operation, ReferenceTrace


class Outcome(NamedTuple):
    """What a check found.

    Attributes:
        cause: Id of the fault in the catalogue; empty where there is none.
        message: What was compared, with both values, and where it differs what to do.
        warns: The fault fails the check only if that is asked for.
    """

    cause: str
    message: str
    warns: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check of one layer, or of the model.

    Attributes:
        check: Name of the check.
        layer: Report name of the layer; "model" for a check of the model.
        status: "pass", "fail", or "off" where the user has turned it off.
        cause: Id of the fault in the catalogue; empty where none was found. A check that passes with a cause warns.
        message: What was compared, with both values; of one that is off, the user's reason.
    """

    check: str
    layer: str
    status: str
    cause: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What a check sees of a layer.

    Attributes:
        layer: The Keras layer.
        weights: Its weights by name, float32, in Keras's layout.
        operation: The torch operation that stands for it, if there is one.
        constants: Constants of all torch operations of the layer, by their numbers in the trace.
        folded: Its weights are multiplied into another layer's.
        last: The torch operation that gives the layer's output, where it is not the layer's input.
        steps: All torch operations of the layer, in order.
        curves: What the port's and Keras's activation functions make of ``CURVE_AT``, where both are functions of one
            element.
        vouched: The activations prove weights that the port holds in another form: they pass, and on these inputs the
            layer's activation function lets a change of some weight through.
        parameters: Names of the torch parameters and buffers that an operation takes as they are.
        verdict: What was found for its activations.
        taken: Shapes of what the Keras layer takes.
        given: Shape of what the Keras layer gives.
        others: All weights of the Keras model by (layer, weight), to name the one that the port holds instead.
        port: All parameters and buffers of the port by name.
        fold: All layers whose weights are multiplied with this one's, where it is folded, and it itself, in order.
        absorbed: Layers that have no value of their own in the port, and are computed with this one.
        feeders: Keras layers that give what this one takes, each with the shape that itself takes, in order.
        sources: Torch values that are what the layer takes, in order; None where there is none.
        shapes: Shapes of the torch program's values.
        leads: Torch operations before the layer's own that only move elements, nearest first.
        least: Smallest element that a maximum pooling of Keras takes.
    """

    layer: Layer
    weights: Mapping[str, Array]
    operation: Operation | None
    constants: Mapping[int, ConstantData]
    folded: bool
    last: Operation | None = None
    steps: Sequence[Operation] = ()
    curves: tuple[Array, Array] | None = None
    vouched: bool = True
    parameters: Set[str] = frozenset()
    verdict: LayerVerdict = dataclasses.field(default_factory=LayerVerdict)
    taken: Sequence[tuple[int, ...]] = ()
    given: tuple[int, ...] = ()
    others: Mapping[tuple[str, str], Array] = dataclasses.field(default_factory=dict)
    port: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    fold: Sequence[Layer] = ()
    absorbed: Sequence[Layer] = ()
    feeders: Sequence[tuple[Layer, tuple[int, ...]]] = ()
    sources: Sequence[int | None] = ()
    shapes: Mapping[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    leads: Sequence[Operation] = ()
    least: float = 0.0

    @property
    def is_wrong(self) -> bool:
        """Whether the layer's activations alone are over their limit."""
        return self.verdict.is_wrong


@dataclasses.dataclass(frozen=True, slots=True)
class Preprocessed:
    """What the user's two preprocessing functions make of the same raw samples, (samples, …) in Keras's layout.

    Attributes:
        port: The port's side; in its own layout where it has another number of axes.
        keras: Keras's side.
        order: The permutation of Keras's axes that the port's input is; empty where the layout is a function of the
            user's, and both sides are in the port's layout.
    """

    port: npt.NDArray[np.float64]
    keras: npt.NDArray[np.float64]
    order: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """What a check sees of the model.

    Attributes:
        reference: The Keras side.
        candidate: The torch program.
        alignment: Which torch operations are which layer.
        verdicts: What was found for each layer of ``reference``.
        facts: What the port is beside its operations.
        stated: What the manifest says.
        tol: The tolerance asked for.
        outputs: (port, Keras) for each of the model's outputs, in Keras's layout where the shapes allow it; the port's
            is None where it does not depend on the input.
        deployed: (port in float32, Keras in float32, Keras in float64) for each of the model's outputs, likewise.
        first: The port's outputs of a first run, in its own layout.
        others: (number of the output, port in another batch, port in the recorded one, Keras in the other) for samples
            alone and in a batch of one more; the last is None where Keras runs no other batch.
        fixed_batch: The Keras model takes batches of one size only.
        preprocessed: The same raw samples preprocessed by both sides; None where the manifest names no functions.
        asked: Checks that are made because an option asks for them.
        opinion: The Keras model's outputs as ONNX in float32.
        opinion_error: Why there are none, where they were asked for.
        measured: What was measured beside the comparison, as the report has it: "accuracy", "throughput".
        unmeasured: What of these could not be measured on account of the port → why.
    """

    reference: ReferenceTrace
    candidate: CandidateTrace
    alignment: Alignment
    verdicts: Sequence[LayerVerdict]
    facts: PortFacts
    stated: Manifest
    tol: float
    outputs: Sequence[tuple[Array | None, Array]] = ()
    deployed: Sequence[tuple[Array, Array, Array]] = ()
    first: Sequence[Array | None] = ()
    others: Sequence[tuple[int, Array, Array, Array | None]] = ()
    fixed_batch: bool = False
    preprocessed: Preprocessed | None = None
    asked: Set[str] = frozenset()
    opinion: Sequence[Array] = ()
    opinion_error: str = ""
    measured: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    unmeasured: Mapping[str, str] = dataclasses.field(default_factory=dict)
