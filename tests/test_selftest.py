"""The self-test: faults seeded into a right port are caught, and one that is missed fails it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff.change import Change
from pytest_kerasdiff.selftest import run
from pytest_kerasdiff.selftest.run import SelfTest, Sown
from pytest_kerasdiff.selftest.seed import Seed
from tests import helpers
from tests.helpers import Report

CAUGHT = Sown("eps", "bn", "epsilon 1e-05", True, ("eps",), ("bn",), True, True, ("eps",), 1e-4, 1e-5, 0.0, "caught")
UNSEEN = dataclasses.replace(CAUGHT, caught=False, by=(), blamed=(), named=False, confirmed=False, found=(), effect=0.0,
                             status="undetectable")  # fmt: skip
MISSED = dataclasses.replace(UNSEEN, effect=0.5, status="missed")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """The tiny model's right port and its wrong one, with a self-test, and the right one without."""
    folder = tmp_path_factory.mktemp("selftest")
    helpers.write_tiny(folder / "net.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        compared = helpers.compare(folder / "net.h5", "port:build", folder)
    cases: dict[str, dict[str, Any]] = {
        "right": {"torch": "port:build", "selftest": True},
        "wrong": {"torch": "port:wrong", "selftest": True},
        "plain": {"torch": "port:build"},
    }
    return helpers.judge(compared, cases, folder)


def test_every_seeded_fault_of_a_right_port_is_caught_or_undetectable(reports: dict[str, Report]) -> None:
    report = reports["right"]
    faults = report["selftest"]["faults"]
    assert report["verdict"] == "pass"
    assert {f["status"] for f in faults} <= {"caught", "undetectable"}
    ids = {f["id"] for f in faults if f["status"] == "caught"}
    assert ids >= {
        *("conv-kernel-layout", "conv-kernel-flipped", "weights-not-loaded", "weights-rounded", "weights-differ"),
        *("bias-missing", "bn-stats-not-loaded", "bn-slots-exchanged", "eps", "same-padding", "stride", "train-mode"),
        *("missing-layer", "activation-kind", "layer-order", "extra-layer", "softmax", "input-scale", "input-channels"),
    }
    for fault in faults:
        moved = fault["effect"] is None or fault["effect"] > fault["limit"]
        assert fault["caught"] or not moved, fault
    assert all("eps" in f["by"] for f in faults if f["id"] == "eps")
    (check,) = (c for c in report["checks"] if c["check"] == "selftest")
    assert check["status"] == "pass"
    assert f"{len(faults)} faults of {len({f['id'] for f in faults})} kinds seeded" in check["message"]


def test_a_wrong_port_has_no_self_test(reports: dict[str, Report]) -> None:
    report = reports["wrong"]
    assert report["selftest"] is None
    (check,) = (c for c in report["checks"] if c["check"] == "selftest")
    assert check["status"] == "fail"
    assert "repair this one first" in check["message"]


def test_it_is_made_where_it_is_asked_for(reports: dict[str, Report]) -> None:
    report = reports["plain"]
    assert report["selftest"] is None
    assert not [c for c in report["checks"] if c["check"] == "selftest"]


def test_a_missed_fault_fails_it() -> None:
    passes, fails = SelfTest((CAUGHT, UNSEEN)).result(), SelfTest((CAUGHT, MISSED)).result()
    assert (passes.status, fails.status) == ("pass", "fail")
    assert "1 caught, 1 of them named, 1 confirmed; 1 undetectable" in passes.message
    assert "1 MISSED: eps in bn" in fails.message


def test_a_self_test_that_seeded_nothing_fails() -> None:
    assert SelfTest(()).result().status == "fail"


def test_what_the_time_did_not_allow_is_said() -> None:
    assert "7 not seeded" in SelfTest((CAUGHT,), 7).result().message


def test_seeds_are_spread_over_the_model() -> None:
    seed = Seed("eps", "epsilon 1e-05 for 0.001", Change())
    chosen = [position for position, _ in run._spread((i, seed) for i in range(20))]
    assert chosen == [0, 6, 13, 19]
    assert len(list(run._spread((i, seed) for i in range(2)))) == 2


@pytest.mark.parametrize(("builder", "status"), [("build", 0), ("wrong", 1)])
def test_pytest_has_a_test_for_it(tmp_path: Path, builder: str, status: int) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    done = helpers.run_pytest(tmp_path, "--keras-model=net.h5", f"--kerasdiff-torch=port:{builder}",
                              "--kerasdiff-selftest", "-k", "selftest", "-v")  # fmt: skip
    assert done.returncode == status, done.stdout[-3000:]
    assert "net.h5::model::selftest" in done.stdout


def test_the_program_ends_with_what_was_found(tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    done = helpers.program(tmp_path, "net.h5", "--torch", "port:build", "--selftest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "faults of" in done.stdout
    assert "eps" in done.stdout
