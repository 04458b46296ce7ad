"""Every form of Keras file, judged end to end: its correct port passes, a wrong one fails where it is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from pytest_kerasdiff import child, modelfile
from pytest_kerasdiff.errors import RunError
from tests import helpers, keras_files
from tests.helpers import ROOT, Report
from tests.keras_files import FORMS

JUDGED = [name for name, form in FORMS.items() if not form.refused]
LISTED = [name for name in JUDGED if FORMS[name].listed]


@pytest.fixture(scope="module")
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each form that the selected tests ask for."""
    calls = [getattr(item, "callspec", None) for item in request.session.items if item.path == Path(__file__)]
    wanted = dict.fromkeys(str(call.params["form"]) for call in calls if call is not None and "form" in call.params)
    folder, found = tmp_path_factory.mktemp("files"), {}
    for loader in dict.fromkeys(FORMS[name].loader for name in wanted):
        names = [name for name in wanted if FORMS[name].loader == loader]
        command = [sys.executable, "-m", "tests.keras_files", loader, str(folder), *names]
        run = subprocess.run(
            command, cwd=ROOT, env=helpers.environment(folder), capture_output=True, text=True, timeout=600, check=False
        )
        assert run.returncode == 0, run.stderr[-3000:]
        made = json.loads((folder / f"{loader}.json").read_text("utf-8"))
        found.update({name: Path(f"{folder}/{name}/{file}") for name, file in made.items()})
    return found


@pytest.fixture(scope="module")
def judged(files: dict[str, Path], request: pytest.FixtureRequest) -> Callable[[str, str], Report]:
    """The report of a port of a form."""
    jobs = {
        (name, port): keras_files.job(name, file.name, port, file.parent.parent)
        for name, file in files.items()
        if name in JUDGED and file.exists()
        for port in FORMS[name].ports
    }
    folder = next(iter(files.values())).parent.parent
    for loader in ("keras", "tf_keras"):
        first = [j for (n, p), j in jobs.items() if FORMS[n].loader == loader and p == FORMS[n].ports[0]]
        for reader in dict.fromkeys(modelfile.read(j.settings.keras_model).keras_major for j in first):
            own = [j for j in first if modelfile.read(j.settings.keras_model).keras_major == reader]
            helpers.work("reference", own, folder)
    for (name, _), job in jobs.items():
        right = jobs[name, FORMS[name].ports[0]].folder
        if job.folder != right and (right / child.REFERENCE_TRACE).exists():
            (job.folder / child.REFERENCE_TRACE).symlink_to(right / child.REFERENCE_TRACE)
    recorded = [job for job in jobs.values() if (job.folder / child.REFERENCE_TRACE).exists()]
    helpers.work("candidate", recorded, folder)

    def report(name: str, port: str) -> Report:
        assert files[name].exists(), files[name].name
        job = jobs[name, port]
        return helpers.result(job.folder if job in recorded else jobs[name, FORMS[name].ports[0]].folder)

    return report


@pytest.mark.parametrize("form", JUDGED)
def test_the_right_port_passes(form: str, judged: Callable[[str, str], Report]) -> None:
    report = judged(form, FORMS[form].ports[0])
    assert "error" not in report, report["error"]
    assert report["verdict"] == "pass", helpers.story(report)
    assert set(helpers.statuses(report).values()) <= {"pass", "declared"}
    assert FORMS[form].reader or FORMS[form].loader in report["environment"]
    assert FORMS[form].note in " ".join(report["notes"])
    assert bool(report["notes"]) == bool(FORMS[form].note), report["notes"]


@pytest.mark.parametrize("form", JUDGED)
def test_the_wrong_port_fails_where_it_is_wrong(form: str, judged: Callable[[str, str], Report]) -> None:
    report = judged(form, FORMS[form].ports[1])
    assert "error" not in report, report["error"]
    assert helpers.at(report, "fault") == {FORMS[form].faults}, helpers.story(report)
    checks = {(layer, check) for layer, _, check in (c.rpartition(":") for c in FORMS[form].checks.split())}
    assert not helpers.unexpected_checks(report, checks), helpers.story(report)


@pytest.mark.parametrize("form", LISTED)
def test_the_file_lists_what_is_reported(
    form: str, files: dict[str, Path], judged: Callable[[str, str], Report]
) -> None:
    listed = [(entry.name, entry.class_name) for entry in modelfile.read(files[form]).layers()]
    report = judged(form, FORMS[form].ports[0])
    assert "error" not in report, report["error"]
    found = [(la["name"], la["class"]) for la in report["layers"]]
    assert sorted(listed) == sorted(found)


#: Says at the end which frameworks the pytest process has imported.
CONFTEST = """
import sys


def pytest_unconfigure():
    print("imported:", sorted({"torch", "keras", "tf_keras", "tensorflow"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("form", ["keras_h5"])
def test_collecting_imports_no_framework(form: str, files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    models = [f"--keras-model={path}" for name, path in files.items() if name in LISTED and path.exists()]
    run = helpers.run_pytest(tmp_path, "--collect-only", "-q", "-p", "no:cacheprovider", "--rootdir=.", *models)
    assert "imported: []" in run.stdout.splitlines(), run.stdout[-2000:] + run.stderr
    assert [m for m in models if f"{m.partition('=')[2]}::" not in run.stdout] == [], run.stdout[-3000:] + run.stderr


def collected(run: subprocess.CompletedProcess[str]) -> set[str]:
    return {line.split("::", 1)[1] for line in run.stdout.splitlines() if "::" in line}


@pytest.mark.parametrize("form", ["keras_weights"])
def test_a_file_of_weights_is_listed_and_judged_under_pytest(form: str, files: dict[str, Path]) -> None:
    folder = files[form].parent
    builder, port = f"--kerasdiff-keras={FORMS[form].settings['keras']}", "--kerasdiff-torch=tests.file_ports:net"
    options = (f"--keras-model={files[form]}", builder, port, "--rootdir=.")
    listed = helpers.run_pytest(folder, *options, "--collect-only", "-q", "-n", "2", "-p", "no:cacheprovider")
    names = collected(listed)
    assert names >= {"image::output", "conv::output", "conv::weights", "norm::eps", "relu::hyper", "dense::output"}
    run = helpers.run_pytest(folder, *options, "-v", "-n", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    passed = {line.split("::", 1)[1].split()[0] for line in run.stdout.splitlines() if "PASSED" in line}
    assert passed == names


@pytest.mark.parametrize("form", ["keras_names_h5", "tf_keras_names_h5"])
def test_a_test_is_selected_by_its_node_id_whatever_the_layer_is_called(form: str, files: dict[str, Path]) -> None:
    port = f"--kerasdiff-torch=tests.file_ports:{FORMS[form].ports[0]}"
    options = (f"--keras-model={files[form].name}", port, "--rootdir=.", "-p", "no:cacheprovider")
    folder = files[form].parent
    every = helpers.run_pytest(folder, *options, "--collect-only", "-q")
    ids = [line for line in every.stdout.splitlines() if line.endswith("::output")]
    assert len(ids) == 1 + len(keras_files.NAMES[FORMS[form].loader])
    run = helpers.run_pytest(folder, *options, *ids, "-v")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("PASSED") == len(ids)


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.refused])
def test_what_holds_no_layers_is_refused(form: str, files: dict[str, Path]) -> None:
    with pytest.raises(RunError, match=FORMS[form].refused):
        modelfile.read(files[form])


def test_an_operation_that_keras_of_tensorflow_2_0_stored_is_a_layer(tmp_path: Path) -> None:
    """It is called tf_op_layer_Relu, and Relu in its config."""
    own = helpers.tiny_config()
    layer = own["config"]["layers"][3]
    node = {"name": "Relu", "op": "Relu", "input": ["x"], "attr": {"T": {"type": "DT_FLOAT"}}}
    config = {"name": "Relu", "trainable": True, "dtype": "float32", "node_def": node, "constants": {}}
    layer.update(class_name="TensorFlowOpLayer", name="tf_op_layer_Relu", config=config)
    text = json.dumps(own).replace('[["activation", 0', '[["tf_op_layer_Relu", 0')
    model = helpers.write_keras(tmp_path / "net.h5", json.loads(text), helpers.tiny_weights())
    with h5py.File(model, "a") as file:
        file.attrs["keras_version"] = "2.3.0-tf"
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    command = ("--keras-model=net.h5", "--kerasdiff-torch=port:build", "-v")
    done = helpers.run_pytest(tmp_path, *command)
    assert done.returncode == 0, done.stdout
    assert "net.h5::tf_op_layer_Relu::output PASSED" in done.stdout
