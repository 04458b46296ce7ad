"""A layer at fault in a folder of its own: the script shows with torch alone what the report says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

from pytest_kerasdiff import bundle, verdict
from pytest_kerasdiff.candidate import recorder
from pytest_kerasdiff.candidate.program import Program
from tests import helpers

DRAW = np.random.default_rng(4)


def run(folder: Path) -> str:
    """What the script prints, run where neither this project nor the port can be imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-c",
         "import sys, runpy; sys.modules['pytest_kerasdiff'] = sys.modules['port'] = sys.modules['keras'] = None; "
         "runpy.run_path(sys.argv[1])", str(folder / "repro.py")],
        cwd=folder.parent, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    return tmp_path


def test_the_script_shows_what_the_report_says(folder: Path) -> None:
    done = helpers.program(folder, "net.h5", "--torch", "port:wrong", "--bundle", "out/bundle", "--report", "out")
    assert done.returncode == 1, done.stderr
    report = json.loads((folder / "out" / "report.json").read_text())
    faults = {f"{i:03d}-{la['name']}": la for i, la in enumerate(report["layers"]) if la["status"] == "fault"}
    assert sorted(path.name for path in (folder / "out" / "bundle").iterdir()) == sorted(faults)
    assert set(faults) == {"001-conv2d_3", "005-dense"}
    for name, layer in faults.items():
        own = folder / "out" / "bundle" / name
        assert sorted(path.name for path in own.iterdir()) == ["layer.json", "repro.py", "tensors.npz"]
        shown = re.match(r"max\|Δ\| (\S+) of scale (\S+), limit (\S+)\n", run(own))
        assert shown is not None
        assert [float(text) for text in shown.groups()] == [
            float(f"{layer['isolated'][key]:.3g}") for key in ("max_abs", "scale", "limit")
        ]
        assert len((own / "repro.py").read_text().splitlines()) < 35
        assert json.loads((own / "layer.json").read_text())["config"] == layer["config"]
    with np.load(folder / "out" / "bundle" / "001-conv2d_3" / "tensors.npz") as tensors:
        assert np.array_equal(tensors["keras_weight_kernel"], helpers.tiny_weights()["conv2d_3"]["kernel"])
        assert tensors["keras_input_0"].shape == (2, 6, 6, 2)
        assert tensors["port.conv.weight"].shape == (3, 2, 3, 3)


def test_of_a_right_port_there_is_none_and_a_compact_reference_has_no_inputs(folder: Path) -> None:
    done = helpers.program(folder, "net.h5", "--torch", "port:build", "--bundle", "bundle")
    assert done.returncode == 0, done.stderr
    assert not (folder / "bundle").exists()
    assert helpers.program(folder, "net.h5", "--record", "ref.h5", "--compact").returncode == 0
    own = ("net.h5", "--torch", "port:wrong", "--reference", "ref.h5", "--bundle", "bundle")
    done = helpers.program(folder, *own)
    assert done.returncode == 1
    if not (folder / "bundle").exists():  # small activations are recorded whole
        assert "--bundle: conv2d_3 is left out" in done.stdout


def test_pytest_writes_it_too_and_once_more_over_itself(folder: Path) -> None:
    for _ in range(2):
        done = helpers.run_pytest(
            folder, "--keras-model=net.h5", "--kerasdiff-torch=port:wrong", "--kerasdiff-bundle=bundle", "-n", "2", "-q"
        )
        assert done.returncode == 1
        assert sorted(path.name for path in (folder / "bundle").iterdir()) == ["001-conv2d_3", "005-dense"]
    (folder / "file").write_text("")
    done = helpers.program(folder, "net.h5", "--torch", "port:wrong", "--bundle", "file")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(r"error: \S*file: cannot be written \(--bundle\): ", done.stderr)


def test_of_several_outputs_the_worst_alone_is_shown() -> None:
    right, wrong = verdict.compare(np.zeros(3), np.zeros(3), 1e-5, "float64"), verdict.failed("shape (2,)")

    def judge(*errors: verdict.Error) -> Any:
        return SimpleNamespace(
            layers=[SimpleNamespace(outputs=tuple(range(len(errors))))],
            alignment=SimpleNamespace(torch_value=lambda v: 10 + v),
            alone=lambda position, torch_value, value: errors[value],
        )

    assert bundle._worst(judge(right, wrong, right), 0) == (1, 11)
    off = verdict.compare(np.full(3, 0.5), np.zeros(3), 1e-5, "float64")
    assert bundle._worst(judge(right, right, off), 0) == (2, 12)
    assert bundle._worst(judge(right), 0) == (0, 10)


def test_an_operation_too_much_before_a_layer_is_in_its_script(folder: Path) -> None:
    with (folder / "port.py").open("a") as file:
        file.write(
            "\n\nclass Twice(Tiny):\n    def forward(self, x):\n        return super().forward(x * 1.25)\n\n\n"
            "def scaled(path):\n    return Twice(path).eval()\n"
        )
    done = helpers.program(folder, "net.h5", "--torch", "port:scaled", "--bundle", "bundle", "--report", "out")
    assert done.returncode == 1
    report = json.loads((folder / "out" / "report.json").read_text())
    faults = [layer for layer in report["layers"] if layer["status"] == "fault"]
    assert faults
    for own, layer in zip(sorted((folder / "bundle").iterdir()), faults, strict=True):
        shown = re.match(r"max\|Δ\| (\S+) of", run(own))
        assert shown is not None
        assert float(shown[1]) > layer["isolated"]["limit"]


def test_a_fault_that_is_a_shape_or_nan_is_said(folder: Path) -> None:
    with (folder / "port.py").open("a") as file:
        file.write(
            "\n\nclass Cut(Tiny):\n    def forward(self, x):\n        return super().forward(x)[:, :3]\n\n\n"
            "class Nan(Tiny):\n    def forward(self, x):\n        return super().forward(x) * float('nan')\n\n\n"
            "def cut(path):\n    return Cut(path).eval()\n\n\ndef nan(path):\n    return Nan(path).eval()\n"
        )
    assert helpers.program(folder, "net.h5", "--torch", "port:cut", "--bundle", "bundle").returncode == 1
    assert "shape (2, 3), expected (2, 4)\n" in [run(own) for own in (folder / "bundle").iterdir()]
    assert helpers.program(folder, "net.h5", "--torch", "port:nan", "--bundle", "bundle").returncode == 1
    for own in (folder / "bundle").iterdir():
        assert run(own).endswith("100.0% of elements differ\n")
    (folder / "bundle" / "mine").mkdir()
    assert helpers.program(folder, "net.h5", "--torch", "port:build", "--bundle", "bundle").returncode == 0
    assert [path.name for path in (folder / "bundle").iterdir()] == ["mine"]  # of a repaired port there are none


def test_each_of_several_models_has_its_own(folder: Path) -> None:
    shutil.copy(folder / "net.h5", folder / "other.h5")
    helpers.run_pytest(
        folder, "--keras-model=net.h5", "--keras-model=other.h5", "--kerasdiff-torch=port:wrong",
        "--kerasdiff-bundle=bundle", "-q",
    )  # fmt: skip
    assert sorted(path.name for path in (folder / "bundle").iterdir()) == ["net", "other"]


# -- any program -----------------------------------------------------------------------------------------------------


class InPlace(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y += 1
        F.relu_(y)
        y[:, 0] = 3.0
        return y


class Several(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, 1)
        values, places = second.max(-1)
        return torch.cat([first.mean(-1), values, places.to(x.dtype)], 1)


class Statements(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.masked_fill(x < 0, float("-inf")).clamp(min=-1e9)
        return F.softmax(y.flatten(1), dim=-1, dtype=torch.float64).to(memory_format=torch.contiguous_format)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 3, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.lstm(x[:, :, 0])[0]
        return found


@pytest.mark.parametrize(
    "model",
    [
        InPlace(), Several(), Statements(), Recurrent(),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding="same"), nn.BatchNorm2d(6), nn.GELU(), nn.AdaptiveAvgPool2d(2)),
        nn.Sequential(nn.ConvTranspose2d(4, 2, 2, 2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.PReLU()),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_the_lines_compute_what_the_program_computes(model: nn.Module) -> None:
    x = DRAW.standard_normal((2, 4, 6, 5))
    try:
        program: Program = recorder.record(model.eval(), [x], "float64", "cpu", (), None)
    finally:
        torch.set_default_dtype(torch.float32)
    (taken,), (output,) = program.trace.inputs, program.trace.outputs
    assert output is not None
    lines, constants = program.script(output, {taken: 't["x"]'})
    lines = f"from __future__ import annotations\n{lines}"
    known: dict[str, Any] = {
        "torch": torch, "tree_leaves": tree_leaves,
        "t": {"x": torch.from_numpy(x), **{name: torch.from_numpy(array) for name, array in constants.items()}},
    }  # fmt: skip
    with torch.inference_mode():
        exec(lines, known)
    assert np.array_equal(known[f"v{output}"].numpy(), program.run([output], {taken: x})[output])
