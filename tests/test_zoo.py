"""The zoo, judged: in correct ports no layer is at fault, in wrong ones exactly the layer that is wrong."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_kerasdiff import child
from pytest_kerasdiff.align import kinds
from tests import helpers
from tests.helpers import ROOT, Report
from tests.zoo import make
from tests.zoo.case import RIGHT
from tests.zoo.cases import CASES
from tests.zoo.causes import CAUSES

ALL_KINDS = "test_every_kind_of_layer_has_a_right_and_a_wrong_port"
NOT_BUILT = {"CuDNNGRU", "CuDNNLSTM", "RandomHeight", "RandomShear", "RandomWidth", "SyncBatchNormalization"}
"""Classes of files of Keras 2 only, that Keras cannot load again, or that need several devices."""
Judged = Callable[[str, str, str], Report]


def parameters(ports: Callable[[str, str], list[str]]) -> list[tuple[str, str, str]]:
    """(loader, case, port) of all cases; ``ports`` gives those of a loader and a case."""
    return [(own, name, port) for name, case in CASES.items() for own in case.loaders for port in ports(own, name)]


def wrong(loader: str, name: str) -> list[str]:
    """Wrong ports of a case: all with one Keras, with the other one of them; both give the engine the same trace."""
    case = CASES[name]
    return list(case.wrong)[: None if loader == case.loaders[0] else 1]


def judge_all(loader: str, calls: list[tuple[str, str]], folder: Path) -> dict[str, str]:
    """Judge all (case, port) of one Keras.

    Returns:
        Name of each case that cannot be made → why.
    """
    command = [sys.executable, "-m", "tests.zoo.make", loader, str(folder), *dict.fromkeys(name for name, _ in calls)]
    own = helpers.environment(folder)
    run = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=1800, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    errors: dict[str, str] = json.loads((folder / "errors.json").read_text("utf-8"))
    jobs = [make.job(CASES[name], port, folder) for name, port in calls if name not in errors]
    for job in jobs:
        if job.folder.name != RIGHT:
            (job.folder / child.REFERENCE_TRACE).symlink_to(job.folder.parent / RIGHT / child.REFERENCE_TRACE)
    helpers.work("candidate", jobs, folder)
    return errors


@pytest.fixture(scope="session")
def judged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """The report of a port of a case; all that the selected tests ask for are made at once."""
    wanted = [
        (call.params["loader"], call.params["name"], call.params["port"])
        for item in request.session.items
        if item.path == Path(__file__) and (call := getattr(item, "callspec", None)) is not None
    ]
    if any(item.name == ALL_KINDS for item in request.session.items):
        wanted += [call for call in parameters(lambda loader, name: [RIGHT]) if call not in wanted]
    wanted = list(dict.fromkeys(wanted))  # of two tests of one port
    folders = {loader: tmp_path_factory.mktemp(loader) for loader in dict.fromkeys(loader for loader, _, _ in wanted)}

    def judge(loader: str) -> dict[tuple[str, str], str]:
        calls = [(name, port) for own, name, port in wanted if own == loader]
        return {(loader, name): error for name, error in judge_all(loader, calls, folders[loader]).items()}

    errors: dict[tuple[str, str], str] = {}
    with concurrent.futures.ThreadPoolExecutor() as pool:  # each runs processes of its own
        for found in pool.map(judge, folders):
            errors |= found

    def report(loader: str, name: str, port: str) -> Report:
        assert (loader, name) not in errors, errors[loader, name]
        return helpers.result(make.job(CASES[name], port, folders[loader]).folder)

    return report


@pytest.mark.parametrize(("loader", "name", "port"), parameters(lambda loader, name: [RIGHT]))
def test_a_right_port_passes(loader: str, name: str, port: str, judged: Judged) -> None:
    report = judged(loader, name, port)
    assert "error" not in report, report["error"]
    declared = CASES[name].declared
    # Keras 3 lists the operations that compute a mask, whose names depend on the models made before.
    masks = {la["name"] for la in report["layers"] if la["status"] == "declared" and la["reason"].startswith("a mask")}
    found = {name for name, status in helpers.statuses(report).items() if status != "pass"} - masks
    assert found == declared, helpers.story(report)
    assert helpers.failed_checks(report) == set(), helpers.story(report)
    assert helpers.failed_whole(report) == {}
    assert not any(la["causes"] or la["pattern"] for la in report["layers"]), helpers.story(report)
    assert report["repaired"] is None
    assert report["verdict"] == "pass"


@pytest.mark.parametrize(("loader", "name", "port"), parameters(wrong))
def test_a_wrong_port_fails_where_it_is_wrong(loader: str, name: str, port: str, judged: Judged) -> None:
    report, expected = judged(loader, name, port), CASES[name].wrong[port]
    assert "error" not in report, report["error"]
    assert helpers.at(report, "fault") == expected.faults, helpers.story(report)
    assert helpers.at(report, "unpaired") == set(), helpers.story(report)
    assert not helpers.unexpected_checks(report, expected.checks), helpers.story(report)
    assert report["verdict"] == "fail"


@pytest.mark.parametrize(
    ("loader", "name", "port"),
    [call for call in parameters(wrong) if ":".join(call[1:]) in CAUSES],
)
def test_a_wrong_port_is_diagnosed(loader: str, name: str, port: str, judged: Judged) -> None:
    report, expected = judged(loader, name, port), CAUSES[f"{name}:{port}"].split()
    assert "error" not in report, report["error"]
    wanted = {one.lstrip("?") for one in expected if one != "-"}
    concerned = [la for la in report["layers"] if la["status"] == "fault" or la["causes"]]
    assert concerned
    found = {cause["id"] for la in concerned for cause in la["causes"]}
    if expected == ["-"]:
        assert not any(cause["confirmed"] for la in concerned for cause in la["causes"]), helpers.story(report)
        assert all(la["pattern"] for la in concerned if la["status"] == "fault")
        return
    assert found == wanted, helpers.story(report)
    if not any(one.startswith("?") for one in expected):
        assert all(any(c["confirmed"] for c in la["causes"]) for la in concerned), helpers.story(report)
        before, after = report["repaired"]["before"], report["repaired"]["after"]
        assert after is not None, helpers.story(report)
        # What the model's output does not show (zeros in a maximum, behind others) leaves nothing to repair there.
        shown = before is None or before > report["tolerance"]
        limit = max((before or 1) / 100, 1e-9) if shown else report["tolerance"]
        assert after <= limit, helpers.story(report)


def test_every_kind_of_layer_has_a_right_and_a_wrong_port(judged: Judged) -> None:
    found = {
        layer["class"]
        for call in parameters(lambda loader, name: [RIGHT] if CASES[name].wrong else [])
        for layer in judged(*call)["layers"]
    }
    assert {name for kind in kinds.TABLE for name in kind.classes} - found == NOT_BUILT
