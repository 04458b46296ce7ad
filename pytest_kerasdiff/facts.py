"""What a port is beside its operations, observed while it runs as it was delivered. Plain data, no framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pytest_kerasdiff.trace import Array


@dataclasses.dataclass(frozen=True, slots=True)
class PortFacts:
    """What is observed of a port.

    Attributes:
        training: Modules in training mode whose mode matters, "the model" for the whole.
        trainable: Parameters that require a gradient.
        buffers: Which of the names below are buffers, not parameters.
        changed: Parameters and buffers that a forward pass changed.
        tracks_gradient: A plain call of the model tracks gradients.
        held_bytes: Memory that such a call holds for a backward pass.
        dtypes: dtype of every parameter and buffer as delivered, by name.
        reduced: Where the forward pass computes in float16 or bfloat16: "port.py:7 (conv2d in bfloat16)".
        settings: Settings of torch that lower the precision of float32, by name, where the user's code made them.
        device: Type of the device: "cpu", "cuda".
        convolutions_in_tf32: On a CUDA device, convolutions may be computed in TF32, which is torch's default.
        deployed: Outputs in the dtype that the port was delivered in, float32.
        deployed_error: Why there are none.
        ran_in: Precision of the runs below: float32 where the port's own code cannot be run again in float64.
        first: Outputs of a run in it; empty where that is the recorded one.
        again: Outputs of another run on the same inputs.
        others: Outputs for ``probes.other_batches``.
        others_error: Why another batch gives none.
        takes_other_batches: False for an archive, whose batch size may be a part of it.
        momentum: Momentum of each BatchNorm module, by path.
        dropout: Rate of each dropout module, by path.
    """

    training: Sequence[str] = ()
    trainable: Sequence[str] = ()
    buffers: Sequence[str] = ()
    changed: Sequence[str] = ()
    tracks_gradient: bool = False
    held_bytes: int = 0
    dtypes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reduced: Sequence[str] = ()
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device: str = "cpu"
    convolutions_in_tf32: bool = False
    deployed: Sequence[Array] = ()
    deployed_error: str = ""
    ran_in: str = "float64"
    first: Sequence[Array] = ()
    again: Sequence[Array] = ()
    others: Sequence[Sequence[Array]] = ()
    others_error: str = ""
    takes_other_batches: bool = True
    momentum: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    dropout: Mapping[str, float] = dataclasses.field(default_factory=dict)
