"""Recorded references: what they hold, what is refused as stale, and that they say what a run with Keras says."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pytest_kerasdiff import child, compact, derived, modelfile, recorded, tracefile
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import InputRule, Manifest
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.trace import FurtherRuns, Layer
from tests import helpers
from tests.helpers import DATA, ROOT

NO_KERAS = 'raise ImportError("Keras is not to be imported")'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model, its recorded reference, and no Keras that could be imported."""
    folder = tmp_path_factory.mktemp("recorded")
    helpers.write_tiny(folder / "net.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT)
    done = helpers.program(folder, "net.h5", "--record", "kept/ref.h5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"recorded: {folder / 'kept' / 'ref.h5'} (")
    for name in ("keras", "tf_keras", "tensorflow"):
        (folder / f"{name}.py").write_text(NO_KERAS)
    return folder


def judged(folder: Path, port: str, *more: str) -> dict[str, Any]:
    done = helpers.program(folder, "net.h5", "--torch", f"port:{port}", "--report", "out", *more)
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    return report


def conclusions(report: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on where the reference is from: all but numbers at the rounding of float64."""
    keys = ("status", "torch", "operations", "matched_by", "inherits_from", "reason", "not_exercised", "pattern")
    layers = {
        la["name"]: [[la[key] for key in keys], [(c["id"], c["confirmed"], c["patch"]) for c in la["causes"]]]
        for la in report["layers"]
    }
    checks = [(c["layer"], c["check"], c["status"], c["cause"]) for c in report["checks"]]
    return {"layers": layers, "checks": checks, **{key: report[key] for key in ("verdict", "summary", "inputs")}}


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["build", "wrong", "wrong_eps"])
def test_it_says_what_a_run_with_keras_says(made: Path, tmp_path: Path, port: str) -> None:
    report = judged(made, port, "--reference", "kept/ref.h5")
    assert report["reference"] == {"source": "recorded", "path": str(made / "kept" / "ref.h5"), "compact": False}
    for name in ("net.h5", "port.py"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    expected = judged(tmp_path, port)
    assert conclusions(report) == conclusions(expected)
    if port == "wrong":
        named = {la["name"]: [(c["id"], c["confirmed"]) for c in la["causes"]] for la in report["layers"]}
        assert named["conv2d_3"] == [("same-padding", True)]
        assert named["dense"] == [("softmax", True)]
        assert report["repaired"]["after"] < 1e-12


def test_nothing_else_is_written_over(made: Path, tmp_path: Path) -> None:
    for name in ("net.h5", "port.py"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    before = (tmp_path / "net.h5").read_bytes()
    done = helpers.program(tmp_path, "net.h5", "--record", "net.h5")
    assert done.returncode == 2
    assert "net.h5 is there, and is no recorded reference: it is not written over" in done.stderr
    done = helpers.program(tmp_path, "net.h5", "--torch", "port:build", "--reference", "net.h5")
    assert done.returncode == 2
    assert "not a recorded reference" in done.stderr
    assert "--record" not in done.stderr
    code = (tmp_path / "port.py").read_text()
    done = helpers.program(
        tmp_path,
        "net.h5",
        "--torch",
        "port:build",
        "--reference",
        made / "kept" / "ref.h5",
        "--write-manifest",
        "port.py",
    )
    assert done.returncode == 2
    assert "port.py is there, and is no manifest: it is not written over" in done.stderr
    assert ((tmp_path / "net.h5").read_bytes(), (tmp_path / "port.py").read_text()) == (before, code)


RESNET_PORTS = """
from model.resnet8 import build as right

def eps(path):
    model = right(path)
    model.b1.bn2.eps = 1e-5
    return model

def eps_and_head(path):
    model = eps(path)
    model.fc.bias.data[0] += 1000
    return model
"""


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ResNet8's compact reference, and no Keras that could be imported."""
    folder = tmp_path_factory.mktemp("compact")
    (folder / "net.h5").symlink_to(ROOT / "model" / "resnet8.h5")
    (folder / "port.py").write_text(RESNET_PORTS)
    done = helpers.program(folder, "net.h5", "--record", "ref.h5", "--compact")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "ref.h5").stat().st_size < 300_000
    (folder / "keras.py").write_text(NO_KERAS)
    return folder


def test_a_compact_one_proves_a_right_port(resnet: Path) -> None:
    report = judged(resnet, "right", "--reference", "ref.h5")
    assert report["reference"]["compact"] is True
    assert (report["verdict"], helpers.at(report, "pass")) == ("pass", {la["name"] for la in report["layers"]})
    assert all(la["isolated"]["max_abs"] < 1e-8 for la in report["layers"])
    assert helpers.failed_checks(report) == set()


@pytest.mark.parametrize(("port", "also"), [("eps", set()), ("eps_and_head", {"dense"})])
def test_a_compact_one_says_where_first(resnet: Path, port: str, also: set[str]) -> None:
    """The head is judged alone, too: what it takes is so small that it is kept as it is."""
    report = judged(resnet, port, "--reference", "ref.h5")
    assert report["verdict"] == "fail"
    (first,) = helpers.at(report, "fault") - also
    assert also <= helpers.at(report, "fault")
    status = {la["name"]: la for la in report["layers"]}
    assert status[first]["class"] == "BatchNormalization"
    assert re.fullmatch(
        r"differs from Keras's in some element by [\d.e-]+ or more", status[first]["isolated"]["reason"]
    )
    behind = [la for la in report["layers"] if la["reason"] == compact.NOT_JUDGED]
    assert len(behind) > 10
    assert {la["inherits_from"] for la in behind} == {first}
    assert (first, "eps") in {(c["layer"], c["check"]) for c in report["checks"] if c["status"] == "fail"}
    assert any("where it is wrong first" in note for note in report["notes"])
    assert not any(la["causes"] for la in report["layers"])


def test_a_compact_one_tests_nothing_it_cannot_know(resnet: Path) -> None:
    done = helpers.program(resnet, "net.h5", "--torch", "port:right", "--reference", "ref.h5", "--seed", "3")
    assert done.returncode == 2
    assert "stale: recorded from another seed" in done.stderr
    assert done.stderr.rstrip().endswith("--seed=3 --compact")
    done = helpers.program(resnet, "net.h5", "--torch", "port:right", "--compact")
    assert (done.returncode, "it goes with --record=PATH" in done.stderr) == (2, True)


ACTIVATION = np.random.default_rng(5).normal(size=(4, 12, 12, 8))


@pytest.mark.parametrize("rule", ["float64", "float32"])
def test_a_sketch_tells_one_wrong_element_and_lets_rounding_pass(rule: str) -> None:
    kept = compact.sketch(ACTIVATION)
    assert kept is not None
    assert kept.projections.shape == (compact.PROJECTIONS, 8)
    assert compact.compare(ACTIVATION, kept, 1e-5, rule).passes
    rounded = ACTIVATION * (1 + 1e-13) if rule == "float64" else ACTIVATION.astype(np.float32)
    assert compact.compare(rounded, kept, 1e-5, rule).passes
    wrong = ACTIVATION.copy()
    wrong[2, 3, 4, 5] += 1e-2
    error = compact.compare(wrong, kept, 1e-5, rule)
    assert not error.passes
    least = float(error.reason.split(" by ")[1].split()[0])
    assert 0 < least <= 1e-2
    for changed in (
        ACTIVATION[..., ::-1],
        ACTIVATION.transpose(0, 2, 1, 3),
        ACTIVATION * 1.001,
        np.maximum(ACTIVATION, 0),
    ):
        assert not compact.compare(changed, kept, 1e-5, rule).passes


def test_a_sketch_says_what_cannot_be_compared() -> None:
    kept = compact.sketch(ACTIVATION)
    assert kept is not None
    assert "shape" in compact.compare(ACTIVATION[:2], kept, 1e-5, "float64").reason
    assert "not finite" in compact.compare(np.full_like(ACTIVATION, np.nan), kept, 1e-5, "float64").reason
    for given in (ACTIVATION[:1, :4, :4], ACTIVATION.astype(np.float32), np.where(ACTIVATION > 3, np.inf, ACTIVATION)):
        assert compact.sketch(given) is None, "kept as it is"


def test_what_is_proven_stands_for_what_is_not_kept() -> None:
    kept = compact.sketch(ACTIVATION)
    assert kept is not None
    values = compact.Values({0: RANDOM}, {1: kept})
    assert list(values) == [0, 1]
    assert 1 not in values
    with pytest.raises(compact.UnknownError):
        values[1]
    assert not values.compare(1, -ACTIVATION, 1e-5, "float64").passes
    assert 1 not in values
    assert values.compare(1, ACTIVATION, 1e-5, "float64").passes
    assert np.array_equal(values[1], ACTIVATION)


def test_projections_are_the_same_everywhere() -> None:
    """What one version of numpy has recorded, another one reads."""
    kept = compact.sketch(np.arange(4000, dtype=np.float64).reshape(1000, 4))
    assert kept is not None
    assert kept.projections[:, 0].tolist() == [132328.0, 24920.0, 46728.0, 13216.0]
    assert kept.samples[:3].tolist() == [3384.0, 1889.0, 2787.0]


def test_pytest_records_and_uses_it(made: Path, tmp_path: Path) -> None:
    for name in ("net.h5", "port.py"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\nkerasdiff_torch = port:build\n")
    done = helpers.run_pytest(tmp_path, "--keras-model=net.h5", "--kerasdiff-record=ref.h5", "-q")
    assert done.returncode == 0, done.stdout
    (tmp_path / "keras.py").write_text(NO_KERAS)
    for workers in ("0", "2"):
        done = helpers.run_pytest(
            tmp_path, "--keras-model=net.h5", "--kerasdiff-reference=ref.h5", "-n", workers, "-p", "no:cacheprovider"
        )
        assert done.returncode == 0, done.stdout
        assert f"{len(helpers.tiny_checks()) + len(helpers.LAYERS)} passed" in done.stdout
    done = helpers.run_pytest(
        tmp_path, "--keras-model=net.h5", "--kerasdiff-reference=ref.h5", "--kerasdiff-torch=port:wrong", "-q"
    )
    assert done.returncode == 1


def test_a_file_of_weights_is_listed_from_it(tmp_path: Path) -> None:
    helpers.write_keras(tmp_path / "net.h5", None, helpers.tiny_weights())
    (tmp_path / "builders.py").write_text(helpers.KERAS_BUILDERS)
    port = helpers.TINY_PORT.replace('file["model_weights"][layer]', "file[layer]")
    (tmp_path / "port.py").write_text(port)
    done = helpers.program(tmp_path, "net.h5", "--keras", "builders:build", "--record", "ref.h5")
    assert done.returncode == 0, done.stderr
    (tmp_path / "keras.py").write_text(NO_KERAS)
    command = ("--keras-model=net.h5", "--kerasdiff-keras=builders:build", "--kerasdiff-torch=port:build")
    done = helpers.run_pytest(tmp_path, *command, "--kerasdiff-reference=ref.h5", "-v")
    assert done.returncode == 0, done.stdout
    assert "net.h5::conv2d_3::output PASSED" in done.stdout
    done = helpers.run_pytest(tmp_path, *command, "--kerasdiff-reference=ref.h5", "--collect-only", "-q")
    assert "net.h5::conv2d_3::weights" in done.stdout
    with (tmp_path / "builders.py").open("a") as code:
        code.write("\n# changed\n")
    done = helpers.run_pytest(tmp_path, *command, "--kerasdiff-reference=ref.h5", "-q")
    assert done.returncode == 4
    assert "other code that builds the Keras model" in done.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--record", "a.h5", "--reference", "kept/ref.h5"), "--record and --reference"),
        (("--reference", "missing.h5"), "no such file"),
        (("--reference", "net.h5"), "not a recorded reference"),
        (("--reference", "kept/ref.h5", "--batch", "3"), "stale: recorded from another batch size"),
        (("--record", "port.py/ref.h5"), "cannot be written"),
    ],
)
def test_what_cannot_be_is_one_line(made: Path, more: tuple[str, ...], words: str) -> None:
    torch = () if "port.py/ref.h5" in more else ("--torch", "port:build")
    (made / "keras.py").unlink()
    done = helpers.program(made, "net.h5", *torch, *more)
    (made / "keras.py").write_text(NO_KERAS)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line
    if "--reference" in more and not {"--record", "net.h5"} & {*more}:  # no hint that writes over the model
        assert f"python -m pytest_kerasdiff {made / 'net.h5'} --record=" in line
    assert not helpers.left_behind(made / "tmp")


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "stated", "words"),
    [
        (lambda s: dataclasses.replace(s, seed=1), Manifest(), "another seed"),
        (lambda s: dataclasses.replace(s, precision="float32"), Manifest(), "another precision"),
        (lambda s: dataclasses.replace(s, keras="a:b"), Manifest(), "other code that builds the Keras model"),
        (lambda s: s, Manifest(inputs={"": InputRule(range=(0, 1))}), r"other \[inputs\] of the manifest"),
    ],
)
def test_what_was_made_from_something_else_is_stale(
    made: Path, change: Callable[[Settings], Settings], stated: Manifest, words: str
) -> None:
    settings = Settings(made / "net.h5")
    recorded.read(made / "kept" / "ref.h5", settings, Manifest())
    with pytest.raises(RunError, match=f"stale: recorded from {words}; renew it"):
        recorded.read(made / "kept" / "ref.h5", change(settings), stated)


def test_other_weights_are_stale(made: Path, tmp_path: Path) -> None:
    weights = helpers.tiny_weights()
    weights["dense"]["bias"] = weights["dense"]["bias"] + np.float32(1e-6)
    helpers.write_keras(tmp_path / "net.h5", helpers.tiny_config(), weights)
    with pytest.raises(RunError, match="stale: recorded from another model file, or other weights"):
        recorded.read(made / "kept" / "ref.h5", Settings(tmp_path / "net.h5"), Manifest())


def test_another_format_is_refused(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefile, "FORMAT", tracefile.FORMAT + 1)
    with pytest.raises(RunError, match="another version of pytest-kerasdiff"):
        recorded.read(made / "kept" / "ref.h5", Settings(made / "net.h5"), Manifest())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_one_is_refused(made: Path, tmp_path: Path, share: float) -> None:
    whole = (made / "kept" / "ref.h5").read_bytes()
    (tmp_path / "ref.h5").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RunError, match="not a recorded reference, or a damaged one"):
        recorded.read(tmp_path / "ref.h5", Settings(made / "net.h5"), Manifest())


def header(**changes: Any) -> Callable[[h5py.File], None]:
    """Change what a recorded reference says of itself; None takes an entry out."""

    def change(file: h5py.File) -> None:
        said = json.loads(bytes(file["header"][()]))
        said = {name: value for name, value in {**said, **changes}.items() if value is not None}
        del file["header"]
        file["header"] = np.frombuffer(json.dumps(said).encode(), np.uint8)

    return change


def take(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


CHANGED: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "no format": (header(format=None), "KeyError: 'format'"),
    "made from nothing": (header(made_from=3), "AttributeError"),
    "layers of a wrong form": (header(layers=[["dense"]]), "ValueError"),
    "no layers": (header(layers=[]), "or one that no layer gives"),
    "an output that is not there": (header(outputs=[99]), "or one that no layer gives"),
    "no outputs": (header(outputs=[]), "the model has no output"),
    "a layer fed by what comes after": (
        header(layers=[["a", "ReLU", {}, [0], [0], []]]), "layer a takes what no layer before it gives",
    ),
    "no values": (take("values"), "KeyError"),
    "no value": (take("values/0"), "value 0 is not there"),
    "no further runs": (take("further"), "KeyError"),
    "a value of another name": (lambda file: file["values"].move("0", "abc"), "ValueError"),
}  # fmt: skip


@pytest.mark.promise("a broken file is one clear line")
@pytest.mark.parametrize("case", CHANGED)
def test_one_that_was_changed_is_one_line(case: str, made: Path, tmp_path: Path) -> None:
    change, words = CHANGED[case]
    shutil.copy(made / "kept" / "ref.h5", tmp_path / "ref.h5")
    with h5py.File(tmp_path / "ref.h5", "a") as file:
        change(file)
    with pytest.raises(RunError) as raised:
        recorded.read(tmp_path / "ref.h5", Settings(made / "net.h5"), Manifest())
    assert str(raised.value).startswith(
        f"{tmp_path / 'ref.h5'}: a damaged recorded reference (--kerasdiff-reference): "
    )
    assert words in str(raised.value)


HOSTILE: dict[str, tuple[Callable[[h5py.Group], object], str]] = {
    "a link": (lambda values: values.__setitem__("0", h5py.ExternalLink("/elsewhere.h5", "/x")), "/0 is a link to"),
    "values elsewhere": (
        lambda values: values.create_dataset("0", (4,), "f8", external=[("/etc/hostname", 0, 32)]),
        "/values/0 keeps its values in another file (/etc/hostname)",
    ),
    "petabytes": (
        lambda values: values.create_dataset("0", (10**9, 10**6), "f8", chunks=(1024, 1024)), "its arrays declare",
    ),
}  # fmt: skip


@pytest.mark.promise("a file that would run code, read others or fill the memory is refused before it is opened")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_one_is_refused_before_it_is_read(case: str, made: Path, tmp_path: Path) -> None:
    change, words = HOSTILE[case]
    for name in ("net.h5", "port.py"):
        shutil.copy(made / name, tmp_path / name)
    shutil.copy(made / "kept" / "ref.h5", tmp_path / "ref.h5")
    with h5py.File(tmp_path / "ref.h5", "a") as file:
        del file["values"]["0"]
        change(file["values"])
    done = helpers.program(tmp_path, "net.h5", "--torch", "port:build", "--reference", "ref.h5")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'ref.h5'}: refused: ")
    assert words in done.stderr


# -- what it holds -----------------------------------------------------------------------------------------------------


def test_it_leaves_out_what_follows_from_the_rest(made: Path) -> None:
    path = made / "kept" / "ref.h5"
    trace, _ = recorded.read(path, Settings(made / "net.h5"), Manifest())
    by_name = {layer.name: layer.outputs[0] for layer in trace.layers}
    with h5py.File(path, "r") as file:
        stored = {int(name) for name in file["values"]}
        assert len(file["weights"]) == 0  # all are in the model file
    assert {by_name[name] for name in ("batch_normalization", "activation", "flatten")}.isdisjoint(stored)
    assert {by_name[name] for name in ("input_1", "conv2d_3", "dense")} <= stored
    assert set(trace.values) == set(by_name.values())
    assert all(trace.values[v].shape == trace.shapes[v] for v in trace.values)
    weights = helpers.tiny_weights()
    assert all(np.array_equal(trace.weights[key], weights[key[0]][key[1]]) for key in trace.weights)


def test_resnet8_is_small_enough_to_commit(tmp_path: Path) -> None:
    done = helpers.program(tmp_path, ROOT / "model" / "resnet8.h5", "--record", tmp_path / "ref.h5")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ref.h5").stat().st_size < 1.5e6


def test_mobilenet_is_small_enough_to_commit(tmp_path: Path) -> None:
    model = DATA / "vww_96.h5"
    if not model.exists():
        pytest.skip(f"{model} is not there")
    done = helpers.program(tmp_path, model, "--record", tmp_path / "ref.h5")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ref.h5").stat().st_size < 6e6
    done = helpers.program(tmp_path, model, "--torch", "tests.ports.vww_96:build", "--reference", tmp_path / "ref.h5")
    assert done.returncode == 0, done.stdout + done.stderr


def test_weights_of_an_archive_are_found_there(tmp_path: Path) -> None:
    import zipfile

    with h5py.File(tmp_path / "inner.h5", "w") as file:
        file["layers/dense/vars/0"] = np.arange(6.0)
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.write(tmp_path / "inner.h5", "model.weights.h5")
    datasets = modelfile.datasets(tmp_path / "net.keras")
    assert list(datasets) == ["layers/dense/vars/0"]
    assert np.array_equal(datasets["layers/dense/vars/0"], np.arange(6.0))
    with pytest.raises(RunError, match="has no datasets"):
        modelfile.datasets(tmp_path)


# -- values that are computed ------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(0).normal(0, 2, (2, 4, 4, 3))


def layer(kind: str, **config: Any) -> Layer:
    return Layer("la", kind, config, (0,), (1,), ())


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (layer("Activation", activation="relu"), np.maximum(RANDOM, 0)),
        (layer("ReLU", max_value=6.0, negative_slope=0.0, threshold=0.0), np.clip(RANDOM, 0, 6)),
        (layer("Activation", activation="silu"), RANDOM / (1 + np.exp(-RANDOM))),
        (layer("Activation", activation="linear"), RANDOM),
        (layer("ZeroPadding2D", padding=[[0, 1], [2, 0]]), np.pad(RANDOM, ((0, 0), (0, 1), (2, 0), (0, 0)))),
        (layer("Dropout", rate=0.5), RANDOM),
    ],
)
def test_what_a_layer_gives_is_computed(own: Layer, expected: np.ndarray[Any, Any]) -> None:
    made = derived.compute(own, [RANDOM], {}, expected.shape)
    assert derived.equals(made, expected)
    assert not derived.equals(made, expected + 1e-14)


@pytest.mark.parametrize(
    "own",
    [
        layer("ReLU", max_value=None, negative_slope=0.1, threshold=0.0),
        layer("Activation", activation="gelu"),
        layer("Conv2D", activation="relu"),
        layer("ZeroPadding2D", padding=[[0, 1], [2, 0]], data_format="channels_first"),
        layer("ReLU"),
        layer("BatchNormalization", axis=1, epsilon=1e-3),
        layer("BatchNormalization", axis=-1),
    ],
)
def test_what_is_not_known_is_stored(own: Layer) -> None:
    made = derived.compute(own, [RANDOM], {}, RANDOM.shape)
    assert made is None or not derived.equals(made, np.where(RANDOM > 0, RANDOM, 0.1 * RANDOM))


def test_few_values_are_computed_one_from_the_other(tmp_path: Path) -> None:
    layers = [Layer("input", "InputLayer", {"name": "input"}, (), (0,))]
    layers += [Layer(f"relu_{i}", "Activation", {"activation": "linear"}, (i,), (i + 1,)) for i in range(20)]
    writer = tracefile.TraceWriter(tmp_path / "trace.h5")
    for number in range(21):
        writer.add_value(number, RANDOM)
    writer.close(layers, [20], {}, [], {})
    tracefile.write_further(child.further_of(tmp_path / "trace.h5"), FurtherRuns())
    helpers.write_tiny(tmp_path / "net.h5")
    recorded.write(tmp_path / "trace.h5", tmp_path / "ref.h5", Settings(tmp_path / "net.h5"), Manifest())
    trace, _ = recorded.read(tmp_path / "ref.h5", Settings(tmp_path / "net.h5"), Manifest())
    assert all(np.array_equal(trace.values[number], RANDOM) for number in range(21))
    with h5py.File(tmp_path / "ref.h5", "r") as file:
        stored = sorted(int(name) for name in file["values"])
    gaps = np.diff(stored)
    assert gaps.max() == derived.DEPTH + 1
    assert stored[-1] == 20
