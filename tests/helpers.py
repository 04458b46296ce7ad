"""What several test files share: tiny Keras files written without Keras, their ports, and ways to compare them."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from pytest_kerasdiff import child, supervisor
from pytest_kerasdiff.checklist import MODEL
from pytest_kerasdiff.checks import concerned
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parents[2] / "shared" / "data"
KERAS = "3.15.1"
LAYERS = ("input_1", "conv2d_3", "batch_normalization", "activation", "flatten", "dense")

Weights = dict[str, dict[str, npt.NDArray[np.float32]]]
Report = dict[str, Any]


# -- Keras files -----------------------------------------------------------------------------------------------------


def layer(kind: str, name: str, source: str | None, **config: Any) -> dict[str, Any]:
    """One layer of a functional model as a legacy Keras config lists it."""
    return {
        "class_name": kind,
        "config": {"name": name, **config},
        "name": name,
        "inbound_nodes": [[[source, 0, 0, {}]]] if source else [],
    }


def functional(layers: Sequence[Mapping[str, Any]], output: str) -> dict[str, Any]:
    """The config of a functional model whose inputs are its InputLayers."""
    inputs = [[la["name"], 0, 0] for la in layers if la["class_name"] == "InputLayer"]
    config = {"name": "model", "layers": list(layers), "input_layers": inputs, "output_layers": [[output, 0, 0]]}
    return {"class_name": "Functional", "config": config}


def tiny_config() -> dict[str, Any]:
    """Convolution of stride 2, normalisation, rectifier, flatten over (3, 3, 3), softmax."""
    return functional(
        [
            layer("InputLayer", "input_1", None, batch_input_shape=[None, 6, 6, 2], dtype="float32"),
            layer("Conv2D", "conv2d_3", "input_1", filters=3, kernel_size=[3, 3], strides=[2, 2], padding="same"),
            layer("BatchNormalization", "batch_normalization", "conv2d_3", epsilon=1e-3, axis=[3]),
            layer("Activation", "activation", "batch_normalization", activation="relu"),
            layer("Flatten", "flatten", "activation"),
            layer("Dense", "dense", "flatten", units=4, activation="softmax"),
        ],
        "dense",
    )


def tiny_checks() -> list[tuple[str, str]]:
    """(layer, check) of every check of the tiny model."""
    layers = [(la["name"], la["class_name"], la["config"]) for la in tiny_config()["config"]["layers"]]
    of_layers = [(name, check) for name, kind, config in layers for check in concerned.of_layer(kind, config)]
    return [*of_layers, *((MODEL, check) for check in concerned.of_model(Manifest()))]


TINY_WRONG = {("conv2d_3", "hyper"), ("dense", "hyper"), (MODEL, "outputs"), (MODEL, "decisions")}
"""Checks that fail in the port `wrong` of the tiny model."""


def tiny_weights() -> Weights:
    """Weights of the tiny model, none of them a default."""
    draw = np.random.default_rng(7)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return draw.normal(0, 0.5, shape).astype(np.float32)

    return {
        "conv2d_3": {"kernel": normal(3, 3, 2, 3), "bias": normal(3)},
        "batch_normalization": {
            "gamma": 1 + normal(3),
            "beta": normal(3),
            "moving_mean": normal(3),
            "moving_variance": draw.uniform(0.5, 2, 3).astype(np.float32),
        },
        "dense": {"kernel": 0.2 * normal(27, 4), "bias": normal(4)},
    }


def write_keras(
    path: Path,
    config: Mapping[str, Any] | None,
    weights: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    version: str = KERAS,
) -> Path:
    """Write a legacy ``.h5`` as Keras does; without a config it is a file of weights only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        root = file.create_group("model_weights") if config is not None else file
        names = [la["name"] for la in config["config"]["layers"]] if config is not None else list(weights)
        root.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = root.create_group(name)
            arrays = weights.get(name, {})
            group.attrs["weight_names"] = [f"{name}/{weight}:0".encode() for weight in arrays]
            for weight, array in arrays.items():
                group.create_dataset(f"{name}/{weight}:0", data=array)
    return path


def write_tiny(path: Path) -> Path:
    """Write the tiny model."""
    return write_keras(path, tiny_config(), tiny_weights())


#: The port of the tiny model; `wrong` pads symmetrically and leaves the softmax out, `wrong_eps` has torch's epsilon.
TINY_PORT = """
import h5py
import torch
import torch.nn.functional as F
from torch import nn


def weight(file, layer, name):
    return torch.from_numpy(file["model_weights"][layer][f"{layer}/{name}:0"][()])


class Tiny(nn.Module):
    def __init__(self, path, padding=(0, 1, 0, 1), softmax=True, eps=1e-3):
        super().__init__()
        self.padding, self.softmax = padding, softmax
        self.conv = nn.Conv2d(2, 3, 3, stride=2)
        self.bn = nn.BatchNorm2d(3, eps=eps)
        self.fc = nn.Linear(27, 4)
        with h5py.File(path, "r") as f:
            self.conv.weight.data = weight(f, "conv2d_3", "kernel").permute(3, 2, 0, 1).contiguous()
            self.conv.bias.data = weight(f, "conv2d_3", "bias")
            self.bn.weight.data = weight(f, "batch_normalization", "gamma")
            self.bn.bias.data = weight(f, "batch_normalization", "beta")
            self.bn.running_mean = weight(f, "batch_normalization", "moving_mean")
            self.bn.running_var = weight(f, "batch_normalization", "moving_variance")
            self.fc.weight.data = weight(f, "dense", "kernel").T.contiguous()
            self.fc.bias.data = weight(f, "dense", "bias")

    def forward(self, x):
        x = F.relu(self.bn(self.conv(F.pad(x, self.padding))))
        x = self.fc(x.permute(0, 2, 3, 1).flatten(1))
        return torch.softmax(x, 1) if self.softmax else x


def build(path):
    return Tiny(path).eval()


def wrong(path):
    return Tiny(path, padding=(1, 1, 1, 1), softmax=False).eval()


def wrong_eps(path):
    return Tiny(path, eps=1e-5).eval()
"""


#: Code that builds the tiny model in Keras.
KERAS_BUILDERS = """
import keras


def build(units=4, activation=lambda name: keras.layers.Activation("relu", name=name)):
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, 2, padding="same", name="conv2d_3")(x)
    x = layers.BatchNormalization(name="batch_normalization")(x)
    x = activation(name="activation")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(units, activation="softmax", name="dense")(x))


def float32():
    keras.mixed_precision.set_global_policy("float32")
    return build()


def other():
    return build(units=5)


class Draws(keras.layers.Layer):
    def call(self, x):
        return keras.ops.relu(x) + 1e-3 * keras.random.normal(keras.ops.shape(x))


class Counts(keras.layers.Layer):
    calls = 0

    def call(self, x):
        self.calls += 1
        return keras.ops.relu(x) * self.calls


def draws():
    return build(activation=Draws)


def counts():
    return build(activation=Counts)


def number():
    return 3


def raises():
    raise ValueError("no")
"""


# -- running ---------------------------------------------------------------------------------------------------------


#: Whether pytest's list of failed tests says why each did, also where that is not told by an exception of Python.
SUMMARY_SAYS_WHY = pytest.version_tuple >= (9,)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a run whose modules are in ``folder``, and whose temporary files stay there too."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    own = {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "TMPDIR": str(temporary),
        "PYTEST_ADDOPTS": "-p no:hypothesispytest",  # a second that no run has a use for
    }
    # A test that runs in a worker of xdist starts runs that do not.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return {**outer, **own, **more}


def share_cache(folder: Path) -> None:
    """Let runs in a folder find what Keras computed for other tests, by content; one that has a cache keeps it.

    Most tests are about the port. Without this, each would import TensorFlow to compute the same once more.
    """
    if not (folder / ".pytest_cache").exists():
        (folder / ".pytest_cache" / "d").mkdir(parents=True)
        (folder / ".pytest_cache" / "d" / "kerasdiff").symlink_to(_kept())


def own_cache(folder: Path) -> None:
    """Let runs in a folder keep a cache of their own."""
    (folder / ".pytest_cache").mkdir()


@functools.cache
def _kept() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kerasdiff-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def program(folder: Path, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m pytest_kerasdiff`` in a folder."""
    share_cache(folder)
    command = [sys.executable, "-m", "pytest_kerasdiff", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment(folder, **more), capture_output=True, text=True, timeout=120, check=False
    )


def run_pytest(folder: Path, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, as a process of its own with all plugins installed."""
    share_cache(folder)
    command = [sys.executable, "-m", "pytest", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment(folder, **more), capture_output=True, text=True, timeout=180, check=False
    )


def statuses(report: Mapping[str, Any]) -> dict[str, str]:
    """Status of each layer."""
    return {la["name"]: la["status"] for la in report["layers"]}


def at(report: Mapping[str, Any], status: str) -> set[str]:
    """Names of the layers with a status."""
    return {name for name, own in statuses(report).items() if own == status}


def failed_checks(report: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(layer, check) of every check of a layer that failed."""
    return {(c["layer"], c["check"]) for c in report["checks"] if c["status"] == "fail" and c["layer"] != MODEL}


def failed_whole(report: Mapping[str, Any]) -> dict[str, str]:
    """Each check of the model that failed, with its message."""
    return {c["check"]: c["message"] for c in report["checks"] if c["status"] == "fail" and c["layer"] == MODEL}


def unexpected_checks(report: Mapping[str, Any], expected: Set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Checks of layers that failed, or did not, against what is expected; a layer at fault may fail any of its own."""
    faults, failed = at(report, "fault"), failed_checks(report)
    return sorted(expected - failed) + sorted(pair for pair in failed - expected if pair[0] not in faults)


@dataclasses.dataclass(frozen=True)
class Compared:
    """One comparison that ran both frameworks, and the reference trace it left for further ports."""

    keras_model: Path
    report: Report
    reference: Path


def chromium() -> str | None:
    """The browser for what is tried, drawn or measured in one; None where there is none."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


def compare(keras_model: Path, torch: str, folder: Path) -> Compared:
    """Run one whole comparison and keep its reference trace in ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        run = supervisor.Run(Settings(keras_model, torch=torch), folder, folder)
    try:
        report = run.wait()
        reference = folder / child.REFERENCE_TRACE
        made = run.folder / child.REFERENCE_TRACE
        shutil.copy(made, reference)
        shutil.copy(child.further_of(made), child.further_of(reference))
    finally:
        run.close()
    return Compared(keras_model, report, reference)


_WORK = """
import importlib, json, os, sys, traceback
from pathlib import Path
from pytest_kerasdiff import child
from pytest_kerasdiff.errors import RunError
side, *files = sys.argv[1:]
if side == "candidate":
    from pytest_kerasdiff import engine
    from pytest_kerasdiff.candidate.loader import Port
    work = lambda job: engine.work(job, Port)
else:
    from pytest_kerasdiff.reference.__main__ import work
for name in files:
    job = child.Job.read(Path(name))
    try:
        work(job)
    except RunError as error:
        (job.folder / "error.json").write_text(json.dumps({"error": str(error)}))
    except BaseException:
        (job.folder / "error.json").write_text(json.dumps({"error": traceback.format_exc()}))
sys.stdout.flush()
os._exit(0)
"""


def work(side: str, jobs: Sequence[child.Job], folder: Path) -> None:
    """Do one side of several jobs in one process; a job that fails leaves ``error.json`` in its folder."""
    run = subprocess.run(
        [sys.executable, "-c", _WORK, side, *(str(job.write()) for job in jobs)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]


def judge(compared: Compared, settings: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Report]:
    """Judge several ports of one model in one process that imports torch once and Keras never.

    Args:
        compared: Whose model and reference trace are used.
        settings: Name of each case → what differs from the default settings.
        folder: Where the cases' modules are, and their files go.

    Returns:
        The report of each case, or ``{"error": the line}`` where its run could not be made.
    """
    jobs = {}
    for name, fields in settings.items():
        (folder / name).mkdir()
        (folder / name / child.REFERENCE_TRACE).symlink_to(compared.reference)
        made = Settings(**{"keras_model": compared.keras_model, **fields})
        jobs[name] = child.Job(made, folder / name, folder, (str(folder), str(ROOT)))
    work("candidate", list(jobs.values()), folder)
    return {name: result(folder / name) for name in jobs}


def record(cases: Mapping[str, Settings], folder: Path) -> dict[str, str]:
    """Run the reference side of several models in one process that imports Keras once.

    Returns:
        Name of each case → the line that says why its run could not be made; empty where it could.
    """
    jobs = {}
    for name, settings in cases.items():
        (folder / name).mkdir()
        jobs[name] = child.Job(settings, folder / name, folder, (str(folder), str(ROOT)))
    work("reference", list(jobs.values()), folder)
    found = {}
    for name in jobs:
        error = folder / name / "error.json"
        found[name] = json.loads(error.read_text("utf-8"))["error"] if error.exists() else ""
        assert found[name] or (folder / name / child.REFERENCE_TRACE).exists()
    return found


def result(folder: Path) -> Report:
    """What a job left in its folder: the report, or ``{"error": the line}``."""
    path = folder / child.REPORT
    found: Report = json.loads((path if path.exists() else folder / "error.json").read_text("utf-8"))
    return found


def story(report: Report) -> str:
    """A report in a few lines, for the message of a test that expected another one."""
    lines = []
    for layer in report["layers"]:
        error = layer["isolated"] or {}
        lines.append(
            f"{layer['status']:10} {layer['name']} ({layer['class']}) {layer['torch']} {layer['operations']} "
            f"{error.get('max_abs')} of {error.get('scale')} {error.get('reason') or ''} {layer['reason'] or ''}"
        )
        lines += [
            f"  {c['id']} {c['text']} | {c['patch']} {c['before']} {c['after']} {c['confirmed']}"
            for c in layer["causes"]
        ]
    lines.append(f"repaired {report['repaired']}")
    lines += [f"{c['layer']}:{c['check']} {c['message']}" for c in report["checks"] if c["status"] == "fail"]
    return "\n".join([*lines, *report["notes"]])


def left_behind(temporary: Path) -> list[str]:
    """What a run left in its temporary folder, pytest's own aside."""
    return sorted(p.name for p in temporary.iterdir() if not p.name.startswith("pytest-of-"))


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name a path in ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and "pytest_kerasdiff." in line:
            found.append(line)
    return found


def errors(lines: Iterable[str]) -> list[str]:
    """The lines that say what is wrong, as pytest and the program print them."""
    return [line for line in lines if line.lower().startswith("error: ")]
