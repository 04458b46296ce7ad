"""Epsilons of normalisations."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.change import Change, Edit
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way


def concerns(case: Case) -> bool:
    """Whether the layer's epsilon was found to differ."""
    return any(check.check == "eps" and check.cause == "eps" for check in case.failed)


def suspect(case: Case) -> Iterator[Suspicion]:
    """Keras's epsilon in the place of the port's."""
    _, config = inside(case.layer.class_name, case.layer.config)
    keras = float(config["epsilon"])
    message = next(check.message for check in case.failed if check.check == "eps")
    operations = [step for step in case.subject.steps if "eps" in step.arguments]
    ways = [Way(Change(edits={case.place(o): Edit(arguments={"eps": keras})})) for o in operations]
    patch = f"{operations[0].name.partition('@')[0]}.eps = {keras:g}" if operations else message.rpartition("; ")[2]
    yield Suspicion("eps", message.partition("; ")[0], patch, ways, sure=True)
