"""What the diagnosis has found, apart from what finds it: a right port needs none of that."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """A cause as the report has it.

    Attributes:
        id: Id of the fault in the catalogue.
        text: What Keras has and what the port has.
        confirmed: Undoing it repairs the layer, on two independent inputs, and nothing else does as well.
        before: The layer's error as the port has it; None where there is nothing to subtract.
        after: With this cause, and those confirmed with it, undone; None where it was not tried.
        patch: The line of code that repairs the port.
    """

    id: str
    text: str
    confirmed: bool
    before: float | None
    after: float | None
    patch: str


@dataclasses.dataclass(slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        causes: Position of a layer → its causes.
        patterns: Position of a layer whose fault nothing explains → what its error looks like.
        repaired: Error of the model's outputs before and after all confirmed causes are undone; None where there are
            none.
        notes: What a reader must know.
    """

    causes: dict[int, list[Cause]] = dataclasses.field(default_factory=dict)
    patterns: dict[int, str] = dataclasses.field(default_factory=dict)
    repaired: tuple[float | None, float | None] | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
