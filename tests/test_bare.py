"""With numpy and h5py alone, with torch alone, with TensorFlow alone: what works, and what is said where it does not.

Frameworks that are installed are hidden; ``tox -e bare,torch-only,tensorflow-only`` runs this where they are missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path

import pytest

from tests import helpers

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    helpers.own_cache(tmp_path)
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    return tmp_path


def hide(folder: Path, names: Collection[str]) -> None:
    """Let modules be missing for what is started in a folder."""
    for name in names:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n")


KERAS = ("keras", "tf_keras", "tensorflow")


def test_with_numpy_and_h5py_alone_tests_are_listed_and_what_is_missing_is_named(folder: Path) -> None:
    hide(folder, ("torch", *KERAS))
    own = ("--keras-model=net.h5", "--kerasdiff-torch=port:build", "-q")
    listed = helpers.run_pytest(folder, *own, "--collect-only")
    assert listed.returncode == 0, listed.stdout
    assert "net.h5::conv2d_3::output" in listed.stdout
    done = helpers.run_pytest(folder, *own)
    assert done.returncode == 4
    (line,) = helpers.errors(done.stderr.splitlines())
    assert "is not installed" in line
    assert "pip install 'pytest-kerasdiff[" in line


def test_with_torch_alone_keras_is_asked_for(folder: Path) -> None:
    if not HAS_TORCH:
        pytest.skip("torch is not installed")
    hide(folder, KERAS)
    done = helpers.program(folder, "net.h5", "--torch", "port:build")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "net.h5: needs keras, which is not installed: pip install 'pytest-kerasdiff[tensorflow]'\n"
    )


def test_with_tensorflow_alone_a_reference_is_recorded_and_torch_is_asked_for(folder: Path) -> None:
    if not HAS_TENSORFLOW:
        pytest.skip("TensorFlow is not installed")
    hide(folder, ("torch",))
    done = helpers.program(folder, "net.h5", "--record", "ref.h5")
    assert (done.returncode, done.stderr) == (0, "")
    done = helpers.program(folder, "net.h5", "--torch", "port:build", "--reference", "ref.h5")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: torch is not installed in this environment: pip install 'pytest-kerasdiff[torch]'\n"
    hide(folder, KERAS)
    refuses_and_lists(folder, "net.h5")
    if HAS_TORCH:
        (folder / "torch.py").unlink()
        done = helpers.program(folder, "net.h5", "--torch", "port:build", "--reference", "ref.h5")
        assert (done.returncode, done.stderr) == (0, "")


def test_without_frameworks_a_recorded_reference_lists_what_its_model_does_not(folder: Path) -> None:
    if not HAS_TENSORFLOW:
        pytest.skip("TensorFlow is not installed")
    helpers.write_keras(folder / "weights.h5", None, helpers.tiny_weights())
    (folder / "builders.py").write_text(helpers.KERAS_BUILDERS)
    done = helpers.program(folder, "weights.h5", "--keras", "builders:build", "--record", "ref.h5")
    assert (done.returncode, done.stderr) == (0, "")
    hide(folder, ("torch", *KERAS))
    refuses_and_lists(folder, "weights.h5", "--kerasdiff-keras=builders:build")


def refuses_and_lists(folder: Path, model: str, *more: str) -> None:
    """With a recorded reference and nothing but numpy and h5py, tests are listed, and torch is asked for."""
    own = (f"--keras-model={model}", "--kerasdiff-torch=port:build", "--kerasdiff-reference=ref.h5", "-q", *more)
    listed = helpers.run_pytest(folder, *own, "--collect-only")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert f"{model}::conv2d_3::output" in listed.stdout
    done = helpers.run_pytest(folder, *own)
    assert done.returncode == 4
    (line,) = helpers.errors(done.stderr.splitlines())
    assert line == "ERROR: torch is not installed in this environment: pip install 'pytest-kerasdiff[torch]'"
