"""Models that one side cannot run in float64: judged by the float32 rule, and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import helpers
from tests.helpers import Report

POOL = helpers.functional(
    [
        helpers.layer("InputLayer", "x", None, batch_shape=[None, 4, 4, 4, 2], dtype="float32"),
        helpers.layer("MaxPooling3D", "pool", "x", pool_size=[2, 2, 2], strides=[2, 2, 2], padding="valid"),
        helpers.layer("Flatten", "flat", "pool"),
    ],
    "flat",
)
PORTS = """
import torch, torch.nn.functional as F
from torch import nn


class Pool(nn.Module):
    def __init__(self, pool=F.max_pool3d, single=False):
        super().__init__()
        self.pool, self.single = pool, single
        self.register_buffer("unit", torch.ones(1, dtype=torch.float32))

    def forward(self, x):
        if self.single and x.dtype is not torch.float32:
            raise RuntimeError("expected scalar type Float but found Double")
        return self.pool(x, 2).permute(0, 2, 3, 4, 1).flatten(1)


def right(): return Pool().eval()
def wrong(): return Pool(F.avg_pool3d).eval()
def single(): return Pool(single=True).eval()
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """A model that TensorFlow cannot run in float64 on CPU, against three ports."""
    folder = tmp_path_factory.mktemp("precision")
    helpers.write_keras(folder / "net.h5", POOL, {})
    (folder / "ports.py").write_text(PORTS)
    (folder / "reference").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        compared = helpers.compare(folder / "net.h5", "ports:right", folder / "reference")
    (folder / "cases").mkdir()
    (folder / "cases" / "ports.py").symlink_to(folder / "ports.py")
    return helpers.judge(compared, {n: {"torch": f"ports:{n}"} for n in ("right", "wrong", "single")}, folder / "cases")


def test_a_model_that_keras_cannot_run_in_float64_is_judged_in_float32(reports: dict[str, Report]) -> None:
    assert (reports["right"]["verdict"], reports["right"]["precision"]) == ("pass", "float32")
    assert any(note.startswith("Keras cannot run this model in float64") for note in reports["right"]["notes"])


def test_float32_still_finds_the_fault(reports: dict[str, Report]) -> None:
    assert helpers.at(reports["wrong"], "fault") == {"pool"}


def test_a_port_that_cannot_run_in_float64_is_run_in_float32_and_said(reports: dict[str, Report]) -> None:
    assert (reports["single"]["verdict"], reports["single"]["precision"]) == ("pass", "float32")
    assert any(note.startswith("the port cannot run in float64") for note in reports["single"]["notes"])
    assert reports["single"]["environment"]["candidate_precision"] == "float32"
    assert reports["right"]["environment"]["candidate_precision"] == "float64"


def test_a_layer_without_a_cpu_kernel_is_compiled_and_said(tmp_path: Path) -> None:
    from pytest_kerasdiff import child, tracefile
    from pytest_kerasdiff.options import Settings

    conv = {"filters": 2, "kernel_size": [3, 3], "data_format": "channels_first", "padding": "same"}
    config = helpers.functional(
        [
            helpers.layer("InputLayer", "x", None, batch_shape=[None, 3, 5, 4], dtype="float32"),
            helpers.layer("Conv2D", "conv", "x", **conv),
        ],
        "conv",
    )
    weights = {"conv": {"kernel": np.ones((3, 3, 3, 2), np.float32), "bias": np.zeros(2, np.float32)}}
    path = helpers.write_keras(tmp_path / "net.h5", config, weights)
    assert helpers.record({"run": Settings(path)}, tmp_path) == {"run": ""}
    trace = tracefile.read(tmp_path / "run" / child.REFERENCE_TRACE)
    assert trace.notes == ("TensorFlow has no CPU kernel for conv: compiled by XLA",)
    image, output = trace.values[trace.inputs[0]], trace.values[trace.outputs[0]]
    assert output.dtype == np.float64
    assert output.shape == (2, 2, 5, 4)
    assert output[0, 0, 2, 2] == pytest.approx(image[0, :, 1:4, 1:4].sum())


def test_the_file_is_removed_that_the_first_attempt_began(tmp_path: Path) -> None:
    from pytest_kerasdiff.tracefile import TraceWriter

    TraceWriter(tmp_path / "trace.h5").discard()
    assert list(tmp_path.iterdir()) == []
