"""Models in which the faults of the catalogue are made, one at a time and two at once."""

from __future__ import annotations

from tests.zoo.case import Case
from tests.zoo.faulty import decoder, mobile, pyramid, reader, resnet, series, tabular, text, transformer, vgg
from tests.zoo.faulty.fault import Subject

SUBJECTS: tuple[Subject, ...] = tuple(
    module.SUBJECT for module in (vgg, mobile, resnet, decoder, pyramid, reader, text, series, transformer, tabular)
)
CASES: list[Case] = [case for subject in SUBJECTS for case in subject.cases()]
CAUSES: dict[str, str] = {port: ids for subject in SUBJECTS for port, ids in subject.causes().items()}
"""What is found in each of their wrong ports, as ``tests.zoo.causes`` has it."""
TRUTH: dict[str, tuple[str, str]] = {port: truth for subject in SUBJECTS for port, truth in subject.truth().items()}
"""(layers, ids) of what each of them does; what is found is the same but for known limits."""
