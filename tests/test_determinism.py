"""The same inputs give the same report, and a run disturbs nothing beside its cache and its report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import helpers

pytestmark = pytest.mark.promise("the same inputs give the same report, and nothing is disturbed")

Report = dict[str, Any]
_OF_THE_RUN = ("timing", "memory", "command", "reference")
"""What a report says of how it was made."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    helpers.write_tiny(tmp_path / "models" / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    return tmp_path


def report_of(folder: Path) -> Report:
    report: Report = json.loads((folder / "report.json").read_text("utf-8"))
    return {key: value for key, value in report.items() if key not in _OF_THE_RUN}


def test_the_report_is_the_same_whatever_runs_it(folder: Path) -> None:
    tests = ("--keras-model=models/net.h5", "--kerasdiff-torch=port:wrong", "-q", "--tb=no")
    ways: dict[str, tuple[str, ...]] = {"first": (), "n2": ("-n", "2"), "again": ("--kerasdiff-no-cache",)}
    for name, more in ways.items():
        helpers.run_pytest(folder, *tests, *more, f"--kerasdiff-report={name}")
    helpers.program(folder, "models/net.h5", "--torch", "port:wrong", "--report", "program")
    helpers.share_cache(folder / "models")
    modules = os.pathsep.join([str(folder), str(helpers.ROOT)])
    own = ("net.h5", "--torch", "port:wrong", "--report", "../elsewhere")
    helpers.program(folder / "models", *own, PYTHONPATH=modules)
    first = report_of(folder / "first")
    assert first["inputs"]["input_1"]["seed"] == 0
    assert first["verdict"] == "fail"
    for name in ("n2", "again", "program", "elsewhere"):
        # Lines of the port are relative to where it ran, or absolute where it is not below.
        other = json.loads(json.dumps(report_of(folder / name)).replace(f"{folder}/port.py", "port.py"))
        assert other == first, name


def test_another_number_of_threads_changes_rounding_only(folder: Path) -> None:
    for threads in ("1", "2"):
        done = helpers.program(
            folder, "models/net.h5", "--torch", "port:wrong", "--report", threads, "--no-cache",
            KERASDIFF_THREADS=threads, OMP_NUM_THREADS=threads, TF_NUM_INTRAOP_THREADS=threads,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
    one, two = (report_of(folder / threads) for threads in ("1", "2"))
    for first, second in zip(one["layers"], two["layers"], strict=True):
        assert (first["status"], [c["id"] for c in first["causes"]]) == (
            second["status"], [c["id"] for c in second["causes"]],
        )  # fmt: skip
        for error in ("isolated", "cumulative"):
            assert first[error]["max_abs"] == pytest.approx(second[error]["max_abs"], rel=1e-9, abs=1e-12)
    assert [(c["check"], c["status"]) for c in one["checks"]] == [(c["check"], c["status"]) for c in two["checks"]]


DISTURBED = """
import os
import random
import threading

import numpy

BEFORE = {
    "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
    "folder": os.getcwd(), "random": random.getstate(), "numpy": numpy.random.get_state()[1].tolist(),
    "mask": os.umask(0o22),
}

def test_nothing_is_disturbed(kerasdiff, torch_model, assert_eval_mode):
    import torch

    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
    assert {p.dtype for p in torch_model.parameters()} == {torch.float32}
    before = {name: t.clone() for name, t in torch_model.state_dict().items()}
    assert_eval_mode(torch_model)
    assert all(torch.equal(before[name], t) for name, t in torch_model.state_dict().items())
    now = {
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "folder": os.getcwd(), "random": random.getstate(), "numpy": numpy.random.get_state()[1].tolist(),
        "mask": os.umask(0o22),
    }
    assert now == BEFORE
"""


def test_the_users_process_is_as_before(folder: Path) -> None:
    (folder / "test_disturbed.py").write_text(DISTURBED)
    done = helpers.run_pytest(
        folder, "--keras-model=models/net.h5", "--kerasdiff-torch=port:build", "test_disturbed.py", "models/net.h5"
    )
    assert done.returncode == 0, done.stdout


def test_nothing_is_written_beside_the_cache_and_the_report(folder: Path) -> None:
    helpers.own_cache(folder)
    home = folder / "home"
    home.mkdir()

    def files() -> set[str]:
        made = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {
            str(path)
            for path in made
            if path.parts[0] not in (".pytest_cache", "out") and "__pycache__" not in path.parts
        }

    before = files()
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    done = helpers.run_pytest(
        folder, "--keras-model=models/net.h5", "--kerasdiff-torch=port:wrong", "--kerasdiff-report=out", "-q", **own
    )
    assert done.returncode == 1
    assert files() == before
