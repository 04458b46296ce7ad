"""model.convert: what it converts, what it refuses, and what it leaves on the disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from model.convert import ConversionError, convert, main, save, statistics_table
from model.resnet8 import DEFAULT_WEIGHTS, ResNet8
from tests import helpers

ROOT = Path(__file__).parents[1]

# No two sizes are equal, so that no wrong order of axes can fit by accident.
KERNEL = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
DENSE = np.arange(5 * 6, dtype=np.float32).reshape(5, 6)
WEIGHTS: dict[str, dict[str, np.ndarray]] = {
    "input_1": {},
    "conv2d": {"kernel": KERNEL, "bias": np.full(5, 0.5, np.float32)},
    "batch_normalization": {
        "gamma": np.full(5, 1.0, np.float32),
        "beta": np.full(5, 2.0, np.float32),
        "moving_mean": np.full(5, 3.0, np.float32),
        "moving_variance": np.full(5, 4.0, np.float32),
    },
    "activation": {},
    "dense": {"kernel": DENSE, "bias": np.arange(6, dtype=np.float32)},
}


class Port(nn.Module):
    """Three modules under names that the layer map knows."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.conv = nn.Conv2d(4, 5, kernel_size=(2, 3))
        self.stem.bn = nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, 6, bias=bias)


@pytest.fixture
def keras_h5(tmp_path: Path) -> Path:
    """A file as Keras 2 writes it."""
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [layer.encode() for layer in WEIGHTS]
        for layer, weights in WEIGHTS.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{weight}:0".encode() for weight in weights]
            for weight, values in weights.items():
                group[f"{layer}/{weight}:0"] = values
    return path


def add_weight(root: h5py.Group, layer: str, name: str, values: np.ndarray) -> None:
    group = root.require_group(layer)
    group.attrs["weight_names"] = np.append(group.attrs.get("weight_names", []), name).astype("S")
    group[name] = values


def replace_weight(root: h5py.Group, layer: str, name: str, values: np.ndarray) -> None:
    del root[layer][name]
    root[layer][name] = values


def test_every_weight_lands_in_torch_layout(keras_h5: Path) -> None:
    state = convert(keras_h5, Port()).state
    assert list(state) == list(Port().state_dict())
    assert all(tensor.is_contiguous() for tensor in state.values())
    for row, column, channel, output in np.ndindex(KERNEL.shape):
        assert state["stem.conv.weight"][output, channel, row, column] == KERNEL[row, column, channel, output]
    assert torch.equal(state["fc.weight"], torch.from_numpy(DENSE).T)
    assert torch.equal(state["fc.bias"], torch.arange(6.0))
    names = ("weight", "bias", "running_mean", "running_var")
    assert [state[f"stem.bn.{name}"][0].item() for name in names] == [1, 2, 3, 4]
    assert state["stem.bn.num_batches_tracked"].item() == 0
    Port().load_state_dict(state, strict=True)


def test_the_module_is_not_changed(keras_h5: Path) -> None:
    port = Port()
    before = {name: tensor.clone() for name, tensor in port.state_dict().items()}
    convert(keras_h5, port)
    assert all(torch.equal(tensor, before[name]) for name, tensor in port.state_dict().items())


def test_keras_3_names_and_chunked_lists(keras_h5: Path) -> None:
    expected = convert(keras_h5, Port()).state
    with h5py.File(keras_h5, "r+") as file:
        root = file["model_weights"]
        names = list(root.attrs["layer_names"])
        del root.attrs["layer_names"]
        root.attrs["layer_names0"], root.attrs["layer_names1"] = names[:2], names[2:]
        group = root["dense"]
        group.attrs["weight_names"] = ["dense/kernel", "dense/bias"]  # str, and no ":0"
        for weight in ("kernel", "bias"):
            group.move(f"dense/{weight}:0", f"dense/{weight}")
        root.create_group("top_level_model_weights").attrs["weight_names"] = []
    state = convert(keras_h5, Port()).state
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def external_link(root: h5py.Group) -> None:
    other = Path(root.file.filename).with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["bias"] = np.zeros(6, np.float32)
    replace_weight(root, "dense", "dense/bias:0", h5py.ExternalLink(other.name, "bias"))


def external_storage(root: h5py.Group) -> None:
    raw = Path(root.file.filename).with_name("bias.raw")
    raw.write_bytes(bytes(24))
    del root["dense"]["dense/bias:0"]
    root["dense"].create_dataset("dense/bias:0", (6,), np.float32, external=[(str(raw), 0, 24)])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(
            lambda root: add_weight(root, "conv2d", "conv2d/scale:0", np.zeros(5, np.float32)),
            r"layer 'conv2d', weight 'conv2d/scale:0': unknown for a torch Conv2d, .* kernel, bias is known",
            id="unknown-weight",
        ),
        pytest.param(
            lambda root: add_weight(root, "activation", "activation/alpha:0", np.zeros(5, np.float32)),
            r"layer 'activation', .*: no torch module for the layer; add it to LAYER_MAP",
            id="unknown-layer",
        ),
        pytest.param(
            lambda root: add_weight(root, "top_level_model_weights", "scale", np.zeros(1, np.float32)),
            r"layer 'top_level_model_weights', .*: no torch module",
            id="top-level-weight",
        ),
        pytest.param(
            lambda root: root.attrs.create("layer_names", [b"conv2d", b"dense"]),
            r"no weight for stem.bn.weight, .*, stem.bn.running_var of the torch module",
            id="layer-absent",
        ),
        pytest.param(
            lambda root: root["dense"].attrs.create("weight_names", [b"dense/kernel:0"]),
            r"no weight for fc.bias of the torch module",
            id="parameter-unfilled",
        ),
        pytest.param(
            lambda root: replace_weight(root, "dense", "dense/kernel:0", DENSE.T),
            r"'dense/kernel:0': shape \(6, 5\), .* is not the \(6, 5\) of 'fc.weight'",
            id="wrong-shape",
        ),
        pytest.param(
            lambda root: replace_weight(root, "conv2d", "conv2d/kernel:0", KERNEL[0]),
            r"'conv2d/kernel:0': shape \(3, 4, 5\)",
            id="wrong-rank",
        ),
        pytest.param(
            lambda root: replace_weight(root, "dense", "dense/bias:0", h5py.Empty("f4")),
            r"'dense/bias:0': shape \(\)",
            id="no-values",
        ),
        pytest.param(
            lambda root: replace_weight(root, "dense", "dense/kernel:0", DENSE.astype(np.float16)),
            r"'dense/kernel:0': is float16, not float32",
            id="float16",
        ),
        pytest.param(
            lambda root: root["dense"].pop("dense/bias:0"),
            r"layer 'dense', weight 'dense/bias:0': is listed but not stored",
            id="weight-not-stored",
        ),
        pytest.param(lambda root: root.pop("dense"), r"layer 'dense' is listed but not stored", id="layer-not-stored"),
        pytest.param(
            lambda root: root.attrs.create("layer_names", [b"conv2d", b"conv2d"]),
            r"'conv2d/kernel:0': 'stem.conv.weight' has a weight already",
            id="filled-twice",
        ),
        pytest.param(
            lambda root: root["dense"].attrs.pop("weight_names"),
            r"no attribute 'weight_names'",
            id="no-weight-names",
        ),
        pytest.param(lambda root: root.attrs.pop("layer_names"), r"no attribute 'layer_names'", id="no-layer-names"),
        pytest.param(
            lambda root: root.file.move("model_weights", "elsewhere"),
            r"no group 'model_weights'",
            id="no-model-weights",
        ),
        pytest.param(external_link, r"'dense/bias:0': its values lie in another file", id="external-link"),
        pytest.param(external_storage, r"'dense/bias:0': its values lie in another file", id="external-storage"),
    ],
)
def test_refuses_what_does_not_fit(keras_h5: Path, edit: Callable[[h5py.Group], None], message: str) -> None:
    with h5py.File(keras_h5, "r+") as file:
        edit(file["model_weights"])
    with pytest.raises(ConversionError, match=message) as error:
        convert(keras_h5, Port())
    assert str(error.value).startswith(f"{keras_h5}: ")


def test_refuses_a_weight_that_the_torch_module_does_not_have(keras_h5: Path) -> None:
    with pytest.raises(ConversionError, match=r"'dense/bias:0': the torch Linear has no 'fc.bias'"):
        convert(keras_h5, Port(bias=False))


def test_refuses_a_module_without_the_mapped_names(keras_h5: Path) -> None:
    with pytest.raises(ConversionError, match=r"layer 'conv2d', .*correct LAYER_MAP"):
        convert(keras_h5, nn.Linear(5, 6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "not readable as HDF5"),
        (b"not HDF5" * 100, "not readable as HDF5"),
        (DEFAULT_WEIGHTS.read_bytes()[:5000], "not readable as HDF5"),
    ],
    ids=["missing", "empty", "text", "truncated"],
)
def test_command_line_refuses_a_bad_file_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "bad.h5"
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "out"
    out.mkdir()
    assert main([str(path), "--pt", str(out / "a.pt"), "--safetensors", str(out / "a.safetensors")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"python -m model.convert: error: {path}: {message}")
    assert printed.err.count("\n") == 1
    assert list(out.iterdir()) == []


def test_command_line_writes_both_formats(tmp_path: Path) -> None:
    pt, tensors = tmp_path / "a.pt", tmp_path / "a.safetensors"
    arguments: list[str | Path] = [DEFAULT_WEIGHTS, "--pt", pt, "--safetensors", tensors]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "model.convert", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    conversion = convert(DEFAULT_WEIGHTS, ResNet8())
    assert run.stdout == statistics_table(conversion) + "\n"
    assert sorted(tmp_path.iterdir()) == [pt, tensors]
    for state in (torch.load(pt, weights_only=True), safetensors.torch.load_file(tensors)):
        assert state.keys() == conversion.state.keys()
        for name, tensor in conversion.state.items():
            assert state[name].dtype == tensor.dtype
            assert torch.equal(state[name], tensor)
        ResNet8().load_state_dict(state, strict=True)


def test_command_line_refuses_to_write_over_its_input(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(DEFAULT_WEIGHTS.read_bytes())
    with pytest.raises(SystemExit) as error:
        main([str(path), "--pt", str(tmp_path / "." / "model.h5")])
    assert error.value.code == 2
    assert path.read_bytes() == DEFAULT_WEIGHTS.read_bytes()


def test_command_line_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DEFAULT_WEIGHTS), "--pt", str(tmp_path / "absent" / "a.pt")]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert str(tmp_path / "absent") in printed.err


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pt = tmp_path / "a.pt"
    pt.write_bytes(b"old")

    def full_disk(state: object, stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save({"a": torch.zeros(1)}, pt=pt)
    assert pt.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [pt]


def test_statistics_of_both_sides(keras_h5: Path) -> None:
    conversion = convert(keras_h5, Port())
    header, *lines = statistics_table(conversion).splitlines()
    assert header.split() == ["weight", "shape", "min", "max", "mean", "std"]
    assert len(lines) == 2 * sum(len(weights) for weights in WEIGHTS.values())
    rows = [line.replace("-> ", "").split() for line in lines]
    numbers = ["0", "119", "59.5", "34.6398"]  # 0, 1, … 119: the deviation is sqrt((120² - 1) / 12)
    assert rows[0] == ["conv2d/kernel", "2x3x4x5", *numbers]
    assert rows[1] == ["stem.conv.weight", "5x4x2x3", *numbers]
    for keras, port in zip(rows[::2], rows[1::2], strict=True):
        assert keras[2:] == port[2:]
    # The two lines are measured apart: a tensor that was changed shows.
    conversion.state["fc.bias"].mul_(2)
    changed = [line.split() for line in statistics_table(conversion).splitlines()[-2:]]
    assert changed[0][3:] != changed[1][3:]
    assert changed[0][3] == "5"


BARE_PORT = """
from model.resnet8 import ResNet8

def build():
    model = ResNet8().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model
"""


def test_the_product_verifies_what_is_written(tmp_path: Path) -> None:
    conversion = convert(DEFAULT_WEIGHTS, ResNet8())
    save(conversion.state, pt=tmp_path / "right.pt", safetensors_path=tmp_path / "right.safetensors")
    wrong = dict(conversion.state)
    wrong["b1.conv1.weight"] = wrong["b1.conv1.weight"].transpose(2, 3).contiguous()
    torch.save(wrong, tmp_path / "wrong.pt")
    torch.save({name: tensor for name, tensor in wrong.items() if name != "fc.bias"}, tmp_path / "part.pt")
    compared = helpers.compare(DEFAULT_WEIGHTS, "model.resnet8:build", tmp_path)
    cases = {
        name: {"torch": "bare:build", "weights": tmp_path / name}
        for name in ("right.pt", "right.safetensors", "wrong.pt", "part.pt")
    }
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "bare.py").write_text(BARE_PORT)
    found = helpers.judge(compared, cases, tmp_path / "cases")
    for name in ("right.pt", "right.safetensors"):
        assert found[name]["verdict"] == "pass", helpers.story(found[name])
    (fault,) = [la for la in found["wrong.pt"]["layers"] if la["status"] == "fault"]
    assert fault["name"] == "conv2d_1"
    assert [(cause["id"], cause["confirmed"]) for cause in fault["causes"]] == [("conv-kernel-layout", True)]
    assert "part.pt: cannot be loaded strictly into the model" in found["part.pt"]["error"]
