"""What cannot be judged is one clear line: exit status 2 of the program, 4 of pytest, no traceback, no remains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pytest_kerasdiff import reportfile
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import Settings
from tests import helpers
from tests.helpers import Compared, Report

PORTS = (
    helpers.TINY_PORT
    + '''

NUMBER = 3


def number(path):
    return 3


def raises(path):
    raise KeyError("no such weight")


def exits(path):
    raise SystemExit(1)


class Raises(Tiny):
    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).flatten(2).relu().no_such_method())


class InModule(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def forward_raises(path):
    return InModule(Raises(path)).eval()


def shape(path):
    port = Tiny(path)
    port.fc = nn.Linear(28, 4)
    return port.eval()


class Nothing(nn.Module):
    def forward(self, x):
        return None


def nothing(path):
    return Nothing()


class Constant(nn.Module):
    def forward(self, x):
        return torch.full((2, 4), 0.25)


def constant(path):
    return Constant()


def untrained(path):
    port = Tiny(path)
    for parameter in port.parameters():
        parameter.data = torch.zeros_like(parameter)
    return port.eval()


def two_outputs(path):
    class Two(Tiny):
        def forward(self, x):
            return super().forward(x), x

    return Two(path).eval()


def two_inputs(path):
    class Two(Tiny):
        def forward(self, x, y):
            return super().forward(x)

    return Two(path).eval()


def blocks(path):
    """Report that the candidate process is here, and hold the pipe open until it ends."""
    import os
    import threading

    pipe = os.open(os.environ["PIPE"], os.O_WRONLY)
    os.write(pipe, b"here")
    threading.Event().wait()
'''
)


def assert_one_line(text: str, *words: str) -> None:
    """One line, in which all the words are."""
    assert text.strip()
    assert len(text.strip().splitlines()) == 1, text
    assert "Traceback" not in text
    for word in words:
        assert word in text, text


def assert_program_refuses(folder: Path, arguments: tuple[str | Path, ...], *words: str) -> None:
    before = set(folder.iterdir()) | {folder / "tmp"}
    run = helpers.program(folder, *arguments, "--report", "out")
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stdout == ""
    assert run.stderr.startswith("error: ")
    assert_one_line(run.stderr, *(word.replace("--kerasdiff-", "--") for word in words))
    assert_clean(folder, before)


def assert_pytest_refuses(folder: Path, arguments: tuple[str | Path, ...], *words: str) -> None:
    before = set(folder.iterdir()) | {folder / "tmp"}
    plugins = ("-p", "pytest_kerasdiff.plugin", "-p", "no:cacheprovider", "--kerasdiff-report=out")
    run = helpers.run_pytest(folder, *plugins, *arguments, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert run.returncode == 4, run.stdout + run.stderr
    assert run.stderr.startswith("ERROR: ")
    assert_one_line(run.stderr, *words)
    assert "Traceback" not in run.stdout
    assert "Error" not in run.stdout
    assert_clean(folder, before)


def assert_clean(folder: Path, before: set[Path]) -> None:
    assert {p for p in folder.iterdir() if p.name not in ("__pycache__", ".pytest_cache")} <= before
    begun = [p for p in (folder / ".pytest_cache").rglob(".*") if p.name != ".gitignore"]
    assert begun == []
    assert helpers.left_behind(folder / "tmp") == []
    assert helpers.processes_of(folder) == []


# -- the Keras file, before a framework is started -------------------------------------------------------------------


def truncated(length: float) -> Callable[[Path], None]:
    """A real file cut: to a share of it, or to a number of bytes."""

    def write(path: Path) -> None:
        data = (helpers.ROOT / "model" / "resnet8.h5").read_bytes()
        path.write_bytes(data[: int(length if length > 1 else length * len(data))])

    return write


def weights_only(path: Path) -> None:
    helpers.write_keras(path, None, helpers.tiny_weights())


def foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


def config_text(text: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        helpers.write_tiny(path)
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = text

    return write


def archive(**members: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as made:
            for name, text in members.items():
                made.writestr(name.replace("_", "."), text)

    return write


def damaged_archive(path: Path) -> None:
    archive(config_json=json.dumps(helpers.tiny_config()), metadata_json="{}")(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"class_name")
    data[at : at + 10] = b"damaged!!!"
    path.write_bytes(data)


def attribute(name: str, value: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        helpers.write_tiny(path)
        with h5py.File(path, "a") as file:
            file.attrs[name] = value

    return write


def of_a_time(path: Path) -> None:
    helpers.write_tiny(path)
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
        h5py.h5a.create(file.id, b"model_config", h5py.h5t.UNIX_D32LE, h5py.h5s.create(h5py.h5s.SCALAR))


FILES: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "missing": ("net.h5", lambda path: None, ("no such file",)),
    "link-to-itself": ("net.h5", lambda path: path.symlink_to(path), ("no such file",)),
    "empty": ("net.h5", lambda path: path.write_bytes(b""), ("not a Keras file",)),
    "text": ("net.h5", lambda path: path.write_text("weights\n" * 99), ("not a Keras file", "neither HDF5")),
    "folder": ("net.h5", lambda path: path.mkdir(), ("is a folder",)),
    "truncated-to-20-bytes": ("net.h5", truncated(20), ("damaged HDF5",)),
    "truncated-to-a-tenth": ("net.h5", truncated(0.1), ("damaged HDF5",)),
    "truncated-to-half": ("net.h5", truncated(0.5), ("damaged HDF5",)),
    "truncated-by-1-percent": ("net.h5", truncated(0.99), ("damaged HDF5",)),
    "foreign-hdf5": ("net.h5", foreign_hdf5, ("not one that Keras wrote",)),
    "weights-only": ("net.h5", weights_only, ("weights only", "--kerasdiff-keras")),
    "config-not-json": ("net.h5", config_text("{"), ("model_config is not JSON",)),
    "config-not-an-object": ("net.h5", config_text("[1]"), ("not a JSON object",)),
    "config-not-utf8": ("net.h5", config_text(b"\xff\xfe"), ("model_config",)),
    "config-without-layers": ("net.h5", config_text("{}"), ("no layers",)),
    "config-of-numbers": ("net.h5", config_text('{"config": 3}'), ("config is not as",)),
    "layer-without-config": ("net.h5", config_text('{"config": {"layers": [{"config": 3}]}}'), ("config is not as",)),
    "zip-without-config": ("net.keras", archive(readme_txt="hello"), ("without config.json",)),
    "archive-config-not-json": ("net.keras", archive(config_json="no"), ("config.json is not JSON",)),
    "archive-damaged": ("net.keras", damaged_archive, ("damaged .keras",)),
    "archive-truncated": ("net.keras", lambda path: path.write_bytes(b"PK\x03\x04 and no more"), ("damaged .keras",)),
    "pipe": ("net.h5", os.mkfifo, ("neither a file nor a folder",)),
    "config-nested": ("net.h5", config_text("[" * 30000), ("model_config is not JSON", "recursion")),
    "config-that-is-a-list": ("net.h5", attribute("model_config", ["{}", "{}"]), ("model_config is no text",)),
    "config-of-a-time": ("net.h5", of_a_time, ("damaged HDF5", "No NumPy equivalent")),
    "version-that-is-a-list": ("net.h5", attribute("keras_version", ["2", "3"]), ("keras_version is no text",)),
    "archive-config-nested": ("net.keras", archive(config_json="[" * 30000), ("config.json is not JSON", "recursion")),
}


@pytest.mark.promise("a broken file is one clear line")
@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_model(case: str, tmp_path: Path) -> None:
    name, write, words = FILES[case]
    write(tmp_path / name)
    assert_pytest_refuses(tmp_path, (f"--keras-model={name}", "--kerasdiff-torch=port:build"), name, *words)
    assert_program_refuses(tmp_path, (name, "--torch", "port:build"), name, *words)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("tol", "x", ("'x'", "a number greater than 0")),
        ("tol", "-1", ("'-1'", "a number greater than 0")),
        ("tol", "nan", ("'nan'", "a number greater than 0")),
        ("precision", "float16", ("'float16'", "float64 or float32")),
        ("batch", "0", ("'0'", "a whole number greater than 0")),
        ("batch", "1.5", ("'1.5'", "a whole number greater than 0")),
        ("seed", "-3", ("'-3'", "a whole number, 0 or greater")),
    ],
)
def test_a_value_that_is_not_valid(option: str, value: str, words: tuple[str, ...], tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "model.h5")
    model = "--keras-model=model.h5"
    assert_pytest_refuses(tmp_path, (model, f"--kerasdiff-{option}={value}"), f"--kerasdiff-{option}", *words)
    assert_program_refuses(tmp_path, ("model.h5", f"--{option}={value}"), f"--{option}", *words)


# -- the torch side --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny_port.py").write_text(helpers.TINY_PORT)
    model = helpers.write_tiny(folder / "model.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        compared = helpers.compare(model, "tiny_port:build", folder)
    assert compared.report["verdict"] == "pass"
    return compared


#: Name of each manifest → its text, and words of the line.
MANIFESTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown_key": (
        "layer = 3\n",
        ("unknown_key.toml: unknown key 'layer'", "known: checks, declared, inputs, layers"),
    ),
    "not_toml": ("[layers\n", ("not_toml.toml: not TOML",)),
    "layers_not_a_table": ("layers = 3\n", ("[layers] must be a table",)),
    "layout_no_permutation": ("[inputs]\nlayout = [0, 1, 1, 2]\n", ("[inputs] layout", "a permutation of 0 … 3")),
    "layout_of_three_axes": ("[inputs]\nlayout = [0, 2, 1]\n", ("[inputs] layout", "'input_1' has 4 axes")),
    "layout_by_word": ('[inputs]\nlayout = "nchw"\n', ("'nchw'", "module:function")),
    "layout_of_words": ('[inputs]\nlayout = ["a", 1]\n', ("[inputs] layout", "permutation")),
    "layout_function_missing": ('[inputs]\nlayout = "port:nobody"\n', ("[inputs] layout", "has no 'nobody'")),
    "layout_function_raises": (
        '[inputs]\nlayout = "port:raises"\n',
        ("[inputs] layout", "port:raises raised KeyError"),
    ),
    "layout_function_no_array": ('[inputs]\nlayout = "port:number"\n', ("the torch model raised",)),
    "shape_does_not_fit": ("[inputs]\nshape = [5, 5, 2]\n", ("[inputs] shape = [5, 5, 2]", "[6, 6, 2]")),
    "shape_of_words": ('[inputs]\nshape = "small"\n', ("[inputs] shape = 'small'", "a list of sizes")),
    "range_reversed": ("[inputs]\nrange = [1, 0]\n", ("[inputs] range = [1, 0]", "[lowest, highest]")),
    "unknown_input_key": ("[inputs]\nlayot = [0, 3, 1, 2]\n", ("[inputs]: unknown key 'layot'",)),
    "unknown_input": ("[inputs.image]\nrange = [0, 1]\n", ("[inputs.image]", "it has input_1")),
    "unknown_layer": ('[layers]\nconv2d_9 = "conv"\n', ("conv2d_9",)),
    "unknown_module": ('[layers]\nconv2d_3 = "convolution"\n', ("conv2d_3", "convolution")),
    "span_of_three": ('[layers]\nconv2d_3 = ["a", "b", "c"]\n', ("[layers] conv2d_3", '["from", "to"]')),
    "tolerance_without_reason": ("[tolerance]\ndense = { tol = 1e-3 }\n", ("[tolerance] dense", "reason")),
    "declared_not_a_text": ("[declared]\ndense = 3\n", ("[declared] dense = 3",)),
    "torch_not_a_text": ("torch = 3\n", ("torch = 3",)),
}

#: Case → what differs from the default settings (texts in <> are files of the folder), and words of the line.
CASES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "no_port": ({"torch": ""}, ("no torch model is named", "--kerasdiff-torch=module:callable")),
    "no_colon": ({"torch": "port"}, ("--kerasdiff-torch", "'port'", "module:callable")),
    "no_module": ({"torch": "nowhere:build"}, ("--kerasdiff-torch", "cannot import 'nowhere'")),
    "module_raises": ({"torch": "broken:build"}, ("cannot import 'broken'", "ZeroDivisionError", "broken.py:2")),
    "module_exits": ({"torch": "exits:build"}, ("cannot import 'exits'", "SystemExit")),
    "no_attribute": ({"torch": "port:nobody"}, ("module 'port' has no 'nobody'",)),
    "not_callable": ({"torch": "port:NUMBER"}, ("not callable", "int")),
    "no_nn_module": ({"torch": "port:number"}, ("port:number returned int", "nn.Module")),
    "builder_raises": ({"torch": "port:raises"}, ("port:raises raised KeyError", "no such weight", "port.py:")),
    "builder_exits": ({"torch": "port:exits"}, ("port:exits raised SystemExit",)),
    "forward_raises": ({"torch": "port:forward_raises"}, ("raised in inner (Raises)", "port.py:", "no_such_method")),
    "shape": ({"torch": "port:shape"}, ("raised in fc (Linear)", "port.py:", "2, 2, 6, 6")),
    "two_inputs": ({"torch": "port:two_inputs"}, ("the torch model raised", "TypeError")),
    "no_output": ({"torch": "port:nothing"}, ("output",)),
    "constant_output": ({"torch": "port:constant"}, ("output",)),
    "weights_missing": ({"weights": "<none.pt>"}, ("none.pt: no such file", "--kerasdiff-weights")),
    "weights_text": ({"weights": "<text.pt>"}, ("text.pt: cannot be loaded strictly",)),
    "weights_of_another": ({"weights": "<other.pt>"}, ("other.pt: cannot be loaded strictly", "Missing key", "conv")),
    "weights_with_code": (
        {"weights": "<code.pt>"},
        ("code.pt: cannot be loaded strictly", "it holds more than tensors, which opening it would run as code"),
    ),
    "manifest_missing": ({"manifest": "<none.toml>"}, ("none.toml: no such file", "--kerasdiff-manifest")),
    "inputs_missing": ({"inputs": "<none.npy>"}, ("none.npy: no such file", "--kerasdiff-inputs")),
    "inputs_text": ({"inputs": "<text.pt>"}, ("text.pt: not a .npy or .npz file",)),
    "inputs_shape": ({"inputs": "<shape.npy>"}, ("(2, 5, 6, 2) does not fit input 'input_1'", "(None, 6, 6, 2)")),
    "inputs_axes": ({"inputs": "<axes.npy>"}, ("(6, 6, 2) does not fit input 'input_1'",)),
    "inputs_two": ({"inputs": "<two.npz>"}, ("holds 2 arrays", "1 input")),
    "inputs_text_array": ({"inputs": "<words.npy>"}, ("words.npy",)),
    "inputs_empty": ({"inputs": "<nobody.npy>"}, ("nobody.npy",)),
    "inputs_pickled": ({"inputs": "<pickled.npy>"}, ("pickled.npy: not a .npy or .npz file",)),
    "device_cuda": ({"device": "cuda"}, ("--kerasdiff-device", "'cuda'", "no CUDA")),
    "device_unknown": ({"device": "abacus"}, ("--kerasdiff-device", "'abacus'")),
    **{name: ({"manifest": f"<{name}.toml>"}, words) for name, (_, words) in MANIFESTS.items()},
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things that do not work, beside a model that does."""
    folder = tmp_path_factory.mktemp("bad")
    helpers.write_tiny(folder / "model.h5")
    (folder / "port.py").write_text(PORTS)
    (folder / "broken.py").write_text("a = 1\nb = a / 0\n")
    (folder / "exits.py").write_text("raise SystemExit('no')\n")
    (folder / "text.pt").write_text("weights\n")
    np.save(folder / "shape.npy", np.zeros((2, 5, 6, 2)))
    np.save(folder / "axes.npy", np.zeros((6, 6, 2)))
    np.save(folder / "nobody.npy", np.zeros((0, 6, 6, 2)))
    np.save(folder / "words.npy", np.full((2, 6, 6, 2), "a"))
    np.save(folder / "pickled.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(folder / "two.npz", a=np.zeros(2), b=np.zeros(2))
    for name, (text, _) in MANIFESTS.items():
        (folder / f"{name}.toml").write_text(text)
    # A process of its own: the tests of this file need no torch.
    save = "import torch; torch.save({'w': torch.zeros(1)}, 'other.pt'); torch.save(print, 'code.pt'); "
    save += "import port; torch.save(port.build('model.h5').state_dict(), 'right.pt')"
    subprocess.run([sys.executable, "-c", save], cwd=folder, check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def lines(bad: Path, tiny: Compared) -> dict[str, Report]:
    cases: dict[str, dict[str, Any]] = {
        "fine": {"torch": "port:build"},
        "fine_weights": {"torch": "port:untrained", "weights": bad / "right.pt"},
        "fine_second_output": {"torch": "port:two_outputs"},
        "untrained": {"torch": "port:untrained"},
    }
    for name, (fields, _) in CASES.items():
        cases[name] = {"torch": "port:build"}
        for field, value in fields.items():
            cases[name][field] = bad / value[1:-1] if value.startswith("<") else value or None
    return helpers.judge(tiny, cases, bad)


def test_what_is_right_beside_all_that_is_wrong_passes(lines: dict[str, Report]) -> None:
    for case in ("fine", "fine_weights", "fine_second_output"):
        assert lines[case].get("verdict") == "pass", lines[case]
    assert lines["untrained"]["verdict"] == "fail"


@pytest.mark.parametrize("case", CASES)
def test_what_the_torch_side_refuses_is_one_line(case: str, lines: dict[str, Report]) -> None:
    assert "error" in lines[case], lines[case]["verdict"]
    assert_one_line(lines[case]["error"], *CASES[case][1])


# -- the Keras side --------------------------------------------------------------------------------------------------


def test_what_keras_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "keras_builders.py").write_text(helpers.KERAS_BUILDERS)
    weights = helpers.tiny_weights()
    unknown = helpers.tiny_config()
    unknown["config"]["layers"][3]["class_name"] = "MyActivation"
    other = {**weights, "dense": {"kernel": weights["dense"]["kernel"][:20], "bias": weights["dense"]["bias"]}}
    fewer = {name: arrays for name, arrays in weights.items() if name != "dense"}
    files = {
        "fine": helpers.write_tiny(tmp_path / "fine.h5"),
        "unknown_class": helpers.write_keras(tmp_path / "unknown_class.h5", unknown, weights),
        "weights_do_not_fit": helpers.write_keras(tmp_path / "weights_do_not_fit.h5", helpers.tiny_config(), other),
        "weights_missing": helpers.write_keras(tmp_path / "weights_missing.h5", helpers.tiny_config(), fewer),
        "weights_only": helpers.write_keras(tmp_path / "weights_only.h5", None, weights),
    }
    expected = {
        "fine": (),
        "unknown_class": ("unknown_class.h5: refused", "'MyActivation', which is not known as a part"),
        "weights_do_not_fit": ("weights_do_not_fit.h5", "cannot load the weights"),
        "weights_missing": ("weights_missing.h5", "cannot load the weights"),
        "weights_only": ("weights only", "--kerasdiff-keras"),
    }
    cases = {name: Settings(path) for name, path in files.items()}
    builders = {
        "keras_no_colon": ("keras_builders", ("--kerasdiff-keras", "module:callable")),
        "keras_no_module": ("nowhere:build", ("--kerasdiff-keras", "cannot import")),
        "keras_raises": ("keras_builders:raises", ("--kerasdiff-keras", "raised ValueError", "keras_builders.py:")),
        "keras_number": ("keras_builders:number", ("--kerasdiff-keras", "returned int")),
        "keras_other": ("keras_builders:other", ("weights_only.h5", "cannot load the weights")),
        "keras_draws": ("keras_builders:draws", ("weights_only.h5: Keras gives another output", "once more (output 0")),
        "keras_counts": ("keras_builders:counts", ("weights_only.h5: Keras gives another output", "counts its calls")),
        "keras_fine": ("keras_builders:build", ()),
        "keras_fixed_dtype": ("keras_builders:float32", ()),
    }
    for name, (spec, words) in builders.items():
        cases[name] = Settings(files["weights_only"], keras=spec)
        expected[name] = words
    found = helpers.record(cases, tmp_path)
    for name, words in expected.items():
        if words:
            assert_one_line(found[name], *words)
        else:
            assert found[name] == "", name


# -- whole runs ------------------------------------------------------------------------------------------------------


def test_whole_runs_of_the_program_end_with_one_line(bad: Path) -> None:
    for case in ("no_module", "forward_raises", "unknown_key"):
        fields, words = CASES[case]
        arguments = [item for option, value in fields.items() for item in (f"--{option}", value.strip("<>"))]
        port = () if "torch" in fields else ("--torch", "port:build")
        assert_program_refuses(bad, ("model.h5", *port, *arguments, "--write-manifest", "map.toml"), *words)


def test_whole_runs_of_pytest_end_with_one_line(bad: Path) -> None:
    words = CASES["shape"][1]
    assert_pytest_refuses(bad, ("--keras-model=model.h5", "--kerasdiff-torch=port:shape"), *words)
    # Workers are running when the run turns out to be impossible.
    distributed = ("-p", "xdist", "-n", "2", "--kerasdiff-inputs=shape.npy", "--kerasdiff-torch=port:build")
    assert_pytest_refuses(bad, ("--keras-model=model.h5", *distributed), *CASES["inputs_shape"][1])


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file\n")
    with pytest.raises(RunError) as caught:
        reportfile.publish({}, tmp_path / "occupied")
    assert_one_line(str(caught.value), "occupied", "cannot be written")
    assert [p.name for p in tmp_path.iterdir()] == ["occupied"]


PROGRAM = ("-m", "pytest_kerasdiff", "model.h5", "--torch=port:blocks")
PYTEST = ("-m", "pytest", "-q", "--keras-model=model.h5", "--kerasdiff-torch=port:blocks")


@pytest.mark.promise("no process outlives the one that started it")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(
    ("command", "number", "status"),
    [
        pytest.param(PROGRAM, signal.SIGINT, 130, id="program-int"),
        pytest.param(PROGRAM, signal.SIGKILL, -9, id="program-kill"),
        pytest.param(PYTEST, signal.SIGINT, 2, id="pytest-int"),
        pytest.param(PROGRAM, signal.SIGTERM, -15, id="program-term"),
        pytest.param(PYTEST, signal.SIGTERM, -15, id="pytest-term"),
    ],
)
def test_both_processes_end_with_the_one_that_started_them(
    command: tuple[str, ...], number: signal.Signals, status: int, tmp_path: Path
) -> None:
    helpers.write_tiny(tmp_path / "model.h5")
    (tmp_path / "port.py").write_text(PORTS)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    environment = {**helpers.environment(tmp_path), "PIPE": str(pipe)}
    # Tests that run in the background of a shell ignore Ctrl-C, and so would what they start.
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, process_group=0,
    )  # fmt: skip
    signal.signal(signal.SIGINT, heeded)
    watchdog = threading.Timer(60, run.kill)
    watchdog.start()
    try:
        with pipe.open("rb", buffering=0) as stream:  # opens when the candidate process does
            assert stream.read(4) == b"here"
            os.killpg(run.pid, number)  # as a terminal does, `timeout`, or what cancels a job of a CI
            assert stream.read() == b""  # ends when the candidate process does
        assert run.wait(60) == status
    finally:
        watchdog.cancel()
        run.kill()
        run.wait()
    assert helpers.left_behind(tmp_path / "tmp") == []
