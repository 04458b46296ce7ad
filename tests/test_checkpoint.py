"""SavedModel folders: the config and the numbers are read, and nothing that could run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import helpers

MAKE = """
import numpy as np, tf_keras
from tf_keras import layers
given = layers.Input((6, 4), name="given")
inner = tf_keras.Sequential([layers.Dense(5), layers.BatchNormalization(epsilon=0.01)], name="inner")
both = layers.Bidirectional(layers.LSTM(3), name="both")
model = tf_keras.Model(given, both(inner(given)))
random = np.random.default_rng(0)
model.set_weights([random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
model.compile("adam", "mse")  # what an optimizer keeps is no weight of the model
model.fit(np.ones((2, 6, 4)), np.ones((2, 6)), verbose=0)
model.save("net")
model.save("net.h5")
np.savez("net.npz", *model.get_weights())
"""
PORT = """
import numpy as np, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, weights):
        super().__init__()
        kernel, bias, gamma, beta, mean, variance = weights[:6]
        self.dense, self.norm = nn.Linear(4, 5), nn.BatchNorm1d(5, eps=0.01)
        self.both = nn.LSTM(5, 3, batch_first=True, bidirectional=True)
        state = {"dense.weight": kernel.T, "dense.bias": bias, "norm.weight": gamma, "norm.bias": beta,
                 "norm.running_mean": mean, "norm.running_var": variance}
        for end, (kernel, recurrent, bias) in {"": weights[6:9], "_reverse": weights[9:]}.items():
            state |= {f"both.weight_ih_l0{end}": kernel.T, f"both.weight_hh_l0{end}": recurrent.T,
                      f"both.bias_ih_l0{end}": bias, f"both.bias_hh_l0{end}": bias * 0}
        self.load_state_dict({name: torch.tensor(np.array(value)) for name, value in state.items()}, strict=False)
        self.eval()

    def forward(self, x):
        x = self.norm(self.dense(x).transpose(1, 2)).transpose(1, 2)
        _, (state, _) = self.both(x)
        return torch.cat([state[0], state[1]], 1)

def read():
    with np.load("net.npz") as file:
        return [file[f"arr_{i}"] for i in range(len(file.files))]

def build(path):
    return Net(read())

def wrong(path):
    weights = read()
    weights[4] = weights[4] + 0.5
    return Net(weights)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``net``, a SavedModel, the same as ``net.h5``, and ports."""
    folder = tmp_path_factory.mktemp("saved")
    command = [sys.executable, "-c", MAKE]
    subprocess.run(command, cwd=folder, env=helpers.environment(folder), capture_output=True, check=True)
    (folder / "port.py").write_text(PORT)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return shutil.copytree(saved, tmp_path / "copy")


def test_weights_are_those_that_an_hdf5_file_has(folder: Path) -> None:
    """Nothing of the graph is read: it may be anything."""
    (folder / "net" / "saved_model.pb").write_bytes(b"")
    done = helpers.program(folder, "net", "--torch", "port:build", "--report", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    hdf5 = helpers.program(folder, "net.h5", "--torch", "port:build", "--report", "hdf5")
    assert hdf5.returncode == 0
    reports = [json.loads((folder / name / "report.json").read_text("utf-8")) for name in ("out", "hdf5")]
    assert [la["name"] for la in reports[0]["layers"]] == [la["name"] for la in reports[1]["layers"]]
    assert [la["cumulative"] for la in reports[0]["layers"]] == [la["cumulative"] for la in reports[1]["layers"]]
    done = helpers.program(folder, "net", "--torch", "port:wrong", "--report", "out")
    assert done.returncode == 1
    report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    assert helpers.at(report, "fault") == {"inner/batch_normalization"}


def replace(path: Path, pattern: bytes, by: bytes) -> None:
    """Exchange bytes of a file for as many others."""
    data = path.read_bytes()
    assert len(pattern) == len(by)
    assert data.count(pattern) > 0
    path.write_bytes(data.replace(pattern, by))


@pytest.mark.promise("a broken file is one clear line")
@pytest.mark.parametrize(
    ("name", "pattern", "by", "words"),
    [
        ("keras_metadata.pb", b'"units": 5', b'"units": 4', r"kernel:0 has the shape \(4, 4\), what is there"),
        ("keras_metadata.pb", b'"center": true, ', b'"center":false, ', r"12 weights are there, and the model has 11"),
        ("variables/variables.index", b"\x00", b"\x01", r"cannot load the weights: "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(name: str, pattern: bytes, by: bytes, words: str, folder: Path) -> None:
    replace(folder / "net" / name, pattern, by)
    done = helpers.program(folder, "net", "--torch", "port:build")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {folder / 'net'}: ")
    assert re.search(words, line)


def test_without_its_variables_it_is_one_line(folder: Path) -> None:
    shutil.rmtree(folder / "net" / "variables")
    done = helpers.program(folder, "net", "--torch", "port:build")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {folder / 'net'}: cannot load the weights: ")
