"""Group normalisation: how many groups the channels are in."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_kerasdiff.change import Change, Edit, Step
from pytest_kerasdiff.diagnosis import pieces
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.trace import Operation, Value

_NAMED = {"group_norm": "num_groups", "native_group_norm": "group"}
"""Operations of torch that state a number of groups, and how they call it."""


def concerns(case: Case) -> bool:
    """Whether it is a group normalisation whose activations are wrong."""
    return case.layer.class_name == "GroupNormalization" and case.verdict.is_wrong


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's number of groups; where the port states none, Keras's normalisation as a whole."""
    shape = case.reference.shapes[case.layer.inputs[0]]
    channels = shape[int(case.layer.config.get("axis", -1)) % len(shape)]
    stated = int(case.layer.config.get("groups", 32))
    keras = channels if stated == -1 else stated
    norm = next((step for step in case.subject.steps if step.op in _NAMED), None)
    if norm is None:
        yield from _otherwise(case, keras, channels)
        return
    port = norm.arguments.get(_NAMED[norm.op])
    if port != keras:
        change = Change(edits={case.place(norm): Edit(arguments={_NAMED[norm.op]: keras})})
        module = norm.name.partition("@")[0]
        text = f"groups: Keras {keras} of {channels // keras} channels, port {port}{norm.place}"
        yield Suspicion("groups", text, f"{module}.num_groups = {keras}", [Way(change)])


def _otherwise(case: Case, keras: int, channels: int) -> Iterator[Suspicion]:
    """The port normalises over something else: each channel alone, all of them, or in formulas."""
    source, value = case.alignment.torch_value(case.layer.inputs[0]), case.value
    if source is None or value is None or source == value:
        return
    piece = pieces.whole_layer(case, case.position, source)
    last: Operation = case.trace.operations[case.alignment.torch.producer[value]]
    if piece is None or case.trace.shapes[source] != case.trace.shapes[value]:
        return
    edit = Edit(instead=Step("alias", {"self": Value(source)}), after=piece.chain)
    text = f"groups: Keras {keras} of {channels // keras} channels, port {last.op} over others{last.place}"
    yield Suspicion("groups", text, f"nn.GroupNorm({keras}, {channels})", [Way(Change(edits={case.place(last): edit}))])
