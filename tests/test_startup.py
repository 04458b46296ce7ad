"""What keeps the start of a run short, seen in the processes of real runs.

A ``sitecustomize`` of the test notes what a process has imported, and how, when it hands over its result.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff.reference import loader
from tests import helpers

FRAMEWORKS = {"torch", "keras", "tf_keras", "tensorflow"}
COMPILERS = {"torch._dynamo", "torch._inductor", "torch.onnx"}

NOTE = """
import atexit, gc, json, os, sys
from pathlib import Path

HERE = Path(__file__).parent
COLLECTS = {}


def side():
    return Path(sys.argv[0]).parent.name


def note(event, arguments):
    if event == "import" and arguments[0] in ("torch", "keras", "tf_keras", "tensorflow"):
        COLLECTS[arguments[0]] = gc.isenabled()
    elif event in ("os.rename", "os.symlink") and os.fsdecode(arguments[1]).endswith(("report.json", "reference.h5")):
        text = json.dumps({"modules": list(sys.modules), "collects": COLLECTS, "environment": dict(os.environ)})
        (HERE / f"{side()}.noted").write_text(text)


sys.addaudithook(note)
atexit.register(lambda: (HERE / f"{side()}.cleaned").touch())
"""


def config() -> dict[str, Any]:
    """The tiny model, whose layers are to be initialised by something that nobody has."""
    made = helpers.tiny_config()
    for layer in made["config"]["layers"]:
        if layer["class_name"] in ("Conv2D", "Dense"):
            layer["config"]["kernel_initializer"] = {"class_name": "SlowAndRandom", "config": {"seed": 1}}
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("startup")
    helpers.write_keras(folder / "net.h5", config(), helpers.tiny_weights())
    (folder / "port.py").write_text(helpers.TINY_PORT)
    (folder / "sitecustomize.py").write_text(NOTE)
    return folder


def noted(folder: Path, side: str) -> dict[str, Any]:
    """What a process has noted; the note is removed."""
    path = folder / f"{side}.noted"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    path.unlink()
    return found


def run(folder: Path, port: str) -> subprocess.CompletedProcess[str]:
    return helpers.program(folder, "net.h5", "--torch", f"port:{port}")


def test_a_run_imports_no_compiler_and_collects_no_garbage_while_it_imports(folder: Path) -> None:
    done = run(folder, "build")
    assert done.returncode == 0, done.stdout + done.stderr  # so the initialisers of the file were not made
    candidate, reference = noted(folder, "candidate"), noted(folder, "reference")
    assert candidate["collects"] == {"torch": False}
    assert "keras" in reference["collects"]
    assert set(reference["collects"].values()) == {False}
    assert not COMPILERS & set(candidate["modules"])
    assert "torch" not in reference["modules"]
    for own in (candidate, reference):
        assert own["environment"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert not (folder / "reference.cleaned").exists()  # neither the interpreter nor the frameworks clean up


def test_the_diagnosis_of_a_wrong_port_imports_no_compiler(folder: Path) -> None:
    done = run(folder, "wrong")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "  cause        same-padding: " in done.stdout
    assert "confirmed on a second input" in done.stdout
    modules = set(noted(folder, "candidate")["modules"])
    assert "pytest_kerasdiff.diagnosis.trial" in modules
    assert not (COMPILERS | FRAMEWORKS - {"torch"}) & modules


def test_a_cached_reference_needs_no_framework(folder: Path) -> None:
    for _ in range(2):
        assert run(folder, "build").returncode == 0
    assert not FRAMEWORKS & set(noted(folder, "reference")["modules"])


def test_pytest_starts_the_processes_before_it_imports_numpy() -> None:
    code = "import sys; from pytest_kerasdiff import items, session; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr


def test_all_initialisers_are_zeros() -> None:
    given = {
        "layers": [
            {"kernel_initializer": {"class_name": "Orthogonal", "config": {}}, "bias_initializer": "random_normal"},
            {"cell": {"recurrent_initializer": "orthogonal", "gamma_initializer": None}},
        ]
    }
    zeros = {"class_name": "Zeros", "config": {}}
    assert loader.with_precision(given, "float64") == {
        "layers": [
            {"kernel_initializer": zeros, "bias_initializer": zeros},
            {"cell": {"recurrent_initializer": zeros, "gamma_initializer": None}},
        ]
    }
