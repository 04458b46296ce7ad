"""The ONNX road: a second opinion on the reference, and who is alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff import fingerprint
from pytest_kerasdiff.checks import concerned, onnx
from pytest_kerasdiff.checks.subject import Outcome
from pytest_kerasdiff.manifest import Manifest
from tests import helpers
from tests.test_whole import LOGITS, whole

NEEDED = ("tf2onnx", "onnxruntime")


def asked(port: Any, keras: Any, opinion: Any, error: str = "") -> Outcome:
    single = [np.asarray(a, np.float32) for a in (port, keras)]
    deployed = [(single[0], single[1], np.asarray(keras, np.float64))]
    return onnx.check(whole(deployed=deployed, opinion=[np.asarray(opinion, np.float32)], opinion_error=error))


@pytest.mark.parametrize(
    ("port", "keras", "opinion", "cause", "words", "warns"),
    [
        (0, 0, 0, "", "Keras and the port 0 apart, Keras and ONNX 0, limit", False),
        (1e-6, 0, -1e-6, "", "Keras and the port 1.07e-06 apart", False),
        (1, 0, 0, "onnx", "the port is alone", False),
        (1, 0, 1, "onnx", "Keras is alone, the port agrees with ONNX (0 apart)", False),
        (0, 0, 1, "onnx", "ONNX is alone; tf2onnx has converted", True),
        (1, 0, -1, "onnx", "no two agree", False),
        (np.nan, 0, 0, "onnx", "the port is alone", False),
    ],
)
def test_who_is_alone_is_said(port: float, keras: float, opinion: float, cause: str, words: str, warns: bool) -> None:
    found = asked(LOGITS + port, LOGITS + keras, LOGITS + opinion)
    assert (found.cause, found.warns) == (cause, warns)
    assert words in found.message


def test_another_shape_is_alone() -> None:
    assert "the port is alone" in asked(LOGITS[:, :4], LOGITS, LOGITS).message


def test_what_was_not_made_does_not_pass() -> None:
    found = asked(LOGITS, LOGITS, LOGITS, "it raised")
    assert (found.cause, found.message, found.warns) == ("onnx", "no second opinion: it raised", True)
    assert onnx.check(whole()).cause == "onnx"


def test_the_check_is_made_where_it_is_asked_for() -> None:
    assert "onnx" not in concerned.of_model(Manifest())
    assert "onnx" in concerned.of_model(Manifest(), {"onnx"})


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    return tmp_path


def check_of(folder: Path, port: str, *more: str) -> dict[str, Any]:
    done = helpers.program(folder, "net.h5", "--torch", f"port:{port}", "--onnx", "--report", "out", *more)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    (found,) = [check for check in report["checks"] if check["check"] == "onnx"]
    return dict(found)


def test_a_right_port_agrees_and_a_wrong_one_is_alone(folder: Path) -> None:
    for name in NEEDED:
        pytest.importorskip(name)
    done = helpers.program(folder, "net.h5", "--record", "ref.h5", "--onnx")
    assert (done.returncode, done.stderr) == (0, "")
    for name in (*NEEDED, "keras"):
        (folder / f"{name}.py").write_text('raise ImportError("not to be imported")')
    right = check_of(folder, "build", "--reference", "ref.h5")
    assert right["status"] == "pass"
    assert "Keras and ONNX " in right["message"]
    wrong = check_of(folder, "wrong", "--reference", "ref.h5")
    assert (wrong["status"], wrong["cause"]) == ("fail", "onnx")
    assert "the port is alone" in wrong["message"]
    # A reference that holds one serves those who do not ask, and not the other way round.
    judge = ("net.h5", "--torch", "port:build", "--reference", "ref.h5")
    assert helpers.program(folder, *judge).returncode == 0


def test_a_converter_that_is_not_there_is_named(folder: Path) -> None:
    helpers.own_cache(folder)
    (folder / "tf2onnx.py").write_text("raise ImportError('no', name='tf2onnx')")
    done = helpers.program(folder, "net.h5", "--torch", "port:build", "--onnx")
    assert done.returncode == 2
    assert "error: --onnx needs tf2onnx, which is not installed: pip install" in done.stderr
    assert helpers.program(folder, "net.h5", "--record", "ref.h5").returncode == 0
    done = helpers.program(folder, "net.h5", "--torch", "port:build", "--reference", "ref.h5", "--onnx")
    assert done.returncode == 2
    assert "stale: recorded from another choice of --onnx; renew it" in done.stderr
    assert done.stderr.rstrip().endswith("--onnx")


def test_a_model_that_cannot_be_converted_is_a_warning(folder: Path) -> None:
    helpers.own_cache(folder)
    for name in NEEDED:
        pytest.importorskip(name)
    (folder / "tf2onnx").mkdir()
    (folder / "tf2onnx" / "__init__.py").write_text("")
    (folder / "tf2onnx" / "convert.py").write_text(
        "def from_function(*_, output_path, **__): raise ValueError(f'no such operator in {output_path}')"
    )
    (folder / "tf2onnx" / "__init__.py").write_text("from tf2onnx import convert")
    found = check_of(folder, "build")
    assert (found["status"], found["cause"]) == ("pass", "onnx")
    assert found["message"].endswith("run as such: ValueError: no such operator in the model")


def test_another_converter_is_another_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "1")
    assert not {*NEEDED, "onnx"} & set(fingerprint.versions(False))
    assert {*NEEDED, "onnx"} <= set(fingerprint.versions(True))
