"""What tests read: the report as objects, and the layers of a Keras file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pytest_kerasdiff.checklist import MODEL

if TYPE_CHECKING:
    from pytest_kerasdiff.modelfile import InputSpec, LayerEntry


_T = TypeVar("_T")


class UnknownNameError(KeyError):
    """There is no such layer or check; the message names similar ones."""

    def __str__(self) -> str:
        """The message as it is, where KeyError would quote it."""
        return str(self.args[0])


@dataclasses.dataclass(frozen=True, slots=True)
class Error:
    """How far a layer's output is off.

    Attributes:
        max_abs: max|Δ|; None where there was nothing to subtract, or it is not finite.
        scale: max|Keras's output|.
        limit: What is allowed.
        passes: Whether it is within the limit.
        worst: Index of the largest difference, in Keras's layout.
        got: The port's value there.
        expected: Keras's value there.
        differing: Share of elements over the limit, 0 … 1.
        reason: Why there was nothing to subtract: another shape, NaN, an operation that raised. Else empty.
    """

    max_abs: float | None
    scale: float | None
    limit: float | None
    passes: bool
    worst: tuple[int, ...]
    got: float | None
    expected: float | None
    differing: float | None
    reason: str

    @classmethod
    def of(cls, data: Mapping[str, Any] | None) -> Error | None:
        """Read an error of report.json."""
        if data is None:
            return None
        return cls(
            **{**{field.name: data[field.name] for field in dataclasses.fields(cls)}, "worst": tuple(data["worst"])}
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """What was found for one call of a Keras layer.

    Attributes:
        name: Report name: ``dense``, its second call ``dense@1``, in an inner model ``inner/dense``.
        class_name: Keras class.
        torch: Torch module or operation; None where there is none.
        operations: All torch operations of the layer, in order.
        source: Line of the port that called them.
        matched_by: "manifest", "weights" or "graph".
        status: "pass", "fault", "inherited", "unpaired" or "declared".
        reason: Why, where the status needs one.
        isolated: Error of the layer on what Keras gave its layer.
        cumulative: Error in the ordinary forward pass.
        inherits_from: Name of the layer at fault.
    """

    name: str
    class_name: str
    torch: str | None
    operations: tuple[str, ...]
    source: str | None
    matched_by: str
    status: str
    reason: str | None
    isolated: Error | None
    cumulative: Error | None
    inherits_from: str | None

    @property
    def passes(self) -> bool:
        """Whether its ``output`` test passes."""
        return self.status in ("pass", "declared")

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Layer:
        """Read a layer of report.json."""
        return cls(
            name=data["name"],
            class_name=data["class"],
            torch=data["torch"],
            operations=tuple(data["operations"]),
            source=data["source"],
            matched_by=data["matched_by"],
            status=data["status"],
            reason=data["reason"],
            isolated=Error.of(data["isolated"]),
            cumulative=Error.of(data["cumulative"]),
            inherits_from=data["inherits_from"],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """Outcome of one check.

    Attributes:
        check: Its name.
        layer: Name of the layer; "model" for a check of the model.
        status: "pass", "fail" or "off".
        cause: Id of the fault; empty where none was found. A check that passes with a cause warns.
        message: What was compared, with both values; of one that is off, the reason.
    """

    check: str
    layer: str
    status: str
    cause: str
    message: str

    @property
    def passes(self) -> bool:
        """Whether it was made and passes: one that is off does not."""
        return self.status == "pass"

    @property
    def warns(self) -> bool:
        """Whether it passes with a warning."""
        return self.passes and bool(self.cause)


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """A report as an object.

    Attributes:
        verdict: "pass" or "fail".
        layers: One for each call of each Keras layer, in the order they ran.
        checks: All checks, those of layers first.
        data: The content of report.json.
    """

    verdict: str
    layers: tuple[Layer, ...]
    checks: tuple[Check, ...]
    data: Mapping[str, Any]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Report:
        """Read a report."""
        layers, checks = (Layer.of(la) for la in data["layers"]), (Check(**check) for check in data["checks"])
        return cls(data["verdict"], tuple(layers), tuple(checks), data)

    @property
    def passes(self) -> bool:
        """Whether the port is equivalent."""
        return self.verdict == "pass"

    def layer(self, name: str) -> Layer:
        """What was found for a layer.

        Raises:
            UnknownNameError: There is no such layer.
        """
        __tracebackhide__ = True
        return _named(name, {layer.name: layer for layer in self.layers}, "layer")

    def check(self, check: str, layer: str = MODEL) -> Check:
        """The outcome of a check of a layer, or of the model.

        Raises:
            UnknownNameError: There is no such check, no such layer, or the check does not concern the layer.
        """
        __tracebackhide__ = True
        of_it = {one.layer: one for one in self.checks if one.check == check}
        if layer in of_it:
            return of_it[layer]
        _named(check, {one.check: one for one in self.checks}, "check")
        if layer != MODEL:
            self.layer(layer)
        raise UnknownNameError(f"{layer} has no check {check!r}; it is made for {', '.join(of_it)}")


class Pair(NamedTuple):
    """A Keras layer and its partner.

    Attributes:
        keras: Report name of the Keras layer.
        class_name: Its class.
        torch: Torch module or operation.
        operations: All torch operations of the layer, in order.
        source: Line of the port that called them.
    """

    keras: str
    class_name: str
    torch: str
    operations: tuple[str, ...]
    source: str | None


def pairs(report: Report) -> list[Pair]:
    """Every layer that has a partner."""
    return [
        Pair(la.name, la.class_name, la.torch, la.operations, la.source) for la in report.layers if la.torch is not None
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class KerasConfig:
    """What a Keras file says about its model; iterating gives the layers.

    Attributes:
        layers: Every call of every layer, with ``name``, ``class_name`` and ``config`` (hyper-parameters by name).
        inputs: The model's inputs, with ``name``, ``shape`` (with the batch axis) and ``dtype``.
    """

    layers: Sequence[LayerEntry]
    inputs: Sequence[InputSpec]

    def __iter__(self) -> Iterator[LayerEntry]:
        """The layers, in the order of the file."""
        return iter(self.layers)

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def layer(self, name: str) -> LayerEntry:
        """A layer by its name.

        Raises:
            UnknownNameError: There is no such layer.
        """
        __tracebackhide__ = True
        return _named(name, {layer.name: layer for layer in self.layers}, "layer")


def _named(name: str, known: Mapping[str, _T], kind: str) -> _T:
    __tracebackhide__ = True
    if name in known:
        return known[name]
    raise UnknownNameError(f"there is no {kind} {name!r}{similar(name, known)}")


def similar(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the names that are close, else all there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}"
