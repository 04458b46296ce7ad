"""The catalogue of porting faults: every id has a detector, is made in several models, and is measured."""

from __future__ import annotations

import collections
import re

import pytest

from pytest_kerasdiff import checklist
from pytest_kerasdiff.diagnosis import registry
from tests import measure
from tests.zoo import faulty
from tests.zoo.causes import CAUSES
from tests.zoo.places import PLACES, WORDS

WHOLE = {
    *("bn-momentum", "frozen", "tf32", "float16", "autocast", "nondeterministic", "input-resize", "stale-reference")
}
"""Ids that no change of one layer undoes: checks of the model find them."""
FEW_PAIRS = 20


def expected(port: str) -> list[str]:
    """Ids that are named and confirmed in a port."""
    return [] if "?" in CAUSES[port] or CAUSES[port] == "-" else CAUSES[port].split()


def test_every_id_has_a_detector() -> None:
    detected = {name for detector in registry.DETECTORS for name in detector.ids}
    detected |= {*registry.OF_SEVERAL_LAYERS, *registry.OF_CHECKS, *registry.NEVER}
    assert detected == set(PLACES)
    assert set(registry.OF_CHECKS.values()) <= set(checklist.OF_THE_MODEL)


def test_every_id_that_is_expected_is_one_of_the_catalogue() -> None:
    named = {one.lstrip("?") for ids in CAUSES.values() for one in ids.split()}
    stated = {one for _, ids in faulty.TRUTH.values() for one in ids.split()}
    assert named - {"-"} | stated <= set(PLACES)


@pytest.mark.parametrize("name", [name for name in PLACES if name not in WHOLE])
def test_an_id_is_confirmed_in_two_models(name: str) -> None:
    assert len({port.split(":")[0] for port in CAUSES if name in expected(port)}) >= 2


def test_faults_are_made_two_at_once() -> None:
    pairs = [port for port in CAUSES if len(expected(port)) > 1 and "_and_" in port]
    assert len(pairs) >= FEW_PAIRS


def test_every_fault_of_the_tables_is_made_in_some_way() -> None:
    for subject in faulty.SUBJECTS:
        for pair in subject.pairs:
            assert len([name for name in pair.split("_and_") if name in subject.faults]) == 2, pair


# -- the table ---------------------------------------------------------------------------------------------------------


def rows() -> dict[str, list[str]]:
    """Cells of CATALOGUE.md's table by id, without the words."""
    text = measure.DOCUMENT.read_text("utf-8").partition(measure.BEGIN)[2].partition(measure.END)[0]
    found = (re.fullmatch(r"\| `([\w-]+)` \| (.*) \|", line) for line in text.splitlines())
    cells = {row[1]: row[2].split(" | ") for row in found if row is not None}
    assert {name: own[0] for name, own in cells.items()} == WORDS, "write it anew: python -m tests.measure"
    return {name: own[1:] for name, own in cells.items()}


def test_the_table_counts_the_ports_that_there_are() -> None:
    ports: dict[str, list[str]] = collections.defaultdict(list)
    for (case, _), truth in measure.truths().items():
        for name in truth.ids:
            ports[name].append(case)
    assert list(rows()) == list(PLACES), "write it anew: python -m tests.measure"
    for name, (place, number, models, *_) in rows().items():
        assert place == PLACES[name]
        wanted = (str(len(ports[name])), str(len(set(ports[name])))) if ports[name] else ("–", "–")
        assert (number, models) == wanted, f"{name}: write it anew: python -m tests.measure"


def test_the_table_says_what_the_tests_expect() -> None:
    """What is confirmed is what ``tests.zoo.causes`` expects, at the layers that the cases expect."""
    known = measure.truths()
    for name, cells in rows().items():
        own = [f"{case}:{port}" for (case, port), truth in known.items() if name in truth.ids]
        if own:
            found = [name in CAUSES[port].replace("?", "").split() for port in own]
            assert cells[3] == cells[1], f"{name}: not all are detected"
            assert cells[5] == str(sum(found)), name
            assert cells[6] == str(sum(name in expected(port) for port in own)), name
