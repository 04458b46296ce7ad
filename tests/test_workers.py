"""Workers of pytest-xdist that see neither the folder of a run nor the paths of the controlling process.

Those on other hosts are started by execnet's socket server in another folder. What such a worker gets it gets over its
connection, whether or not the two are in truth on one machine.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import helpers
from tests.test_fixtures import fake, outcomes, own, reports
from tests.test_plugin import FAKE_ENGINE, WEIGHTS_ONLY, Done, fake_weights, run_fake
from tests.test_switches import marked

__all__ = ["fake", "reports"]  # fixtures of other files
#: Stands in for the engine on another host, which is never asked to compare anything.
NO_ENGINE = """
from pytest_kerasdiff import supervisor


def refuse(*arguments, **named):
    raise AssertionError("nothing is compared here")


supervisor.Run = refuse
supervisor.scan = lambda settings, rootdir: None
"""
#: Has xdist copy a folder; that it will not for ever is a warning.
COPY = "--rsyncdir={} -W default"
ONE = ("--keras-model=model.h5", "--kerasdiff-torch=port:build")


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of another host."""
    return tmp_path_factory.mktemp("host")


@contextlib.contextmanager
def served(host: Path, **more: str) -> Iterator[str]:
    """``socket=HOST:PORT`` of a server that starts workers in a folder, one at a time.

    Args:
        host: The folder.
        more: Environment of the workers.
    """
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        pytest.skip(f"no sockets here: {error}")
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "execnet.script.socketserver", "127.0.0.1:0"],
        cwd=host,
        env=helpers.environment(host, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        found = re.search(r"'127\.0\.0\.1', (\d+)", server.stdout.readline())
        assert found is not None
        # What the server and its workers print is read by nobody, and fits into a pipe.
        yield f"socket=127.0.0.1:{found[1]}"
    finally:
        server.kill()
        server.communicate()


def project(folder: Path) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    helpers.write_tiny(folder / "model.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT)
    return folder


@pytest.fixture
def server(host: Path) -> Iterator[str]:
    """A server whose workers load the plugins that ``run_fake`` names."""
    (host / "fake_engine.py").write_text(NO_ENGINE)
    with served(host, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1") as address:
        yield address


def copied(fake: Path, host: Path) -> Path:
    """A copy of the project on the other host."""
    own_files = ("tmp", "*.log", ".pytest_cache", "__pycache__", "model.json", "fake_engine.py")
    return shutil.copytree(fake, host / "project", ignore=shutil.ignore_patterns(*own_files))


def distributed(*specs: str) -> tuple[str, ...]:
    return (
        "-p",
        "xdist",
        "--dist=load",
        "--maxschedchunk=1",
        "--max-worker-restart=0",
        *(f"--tx={spec}" for spec in specs),
    )


def used(run: subprocess.CompletedProcess[str]) -> set[str]:
    """Names of the workers that have run a test."""
    return set(re.findall(r"^\[(gw\d+)\]", run.stdout, re.MULTILINE))


# -- with both frameworks --------------------------------------------------------------------------------------------


def test_a_worker_on_another_host_passes_a_right_port(tmp_path: Path, host: Path) -> None:
    here = project(tmp_path)
    project(host / "copy")
    with served(host) as server:
        run = helpers.run_pytest(here, *ONE, "-v", *distributed(f"{server}//chdir=copy"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert used(run) == {"gw0"}
    assert set(Done(here, run).outcomes.values()) == {"PASSED"}
    assert "equivalent: 6 of 6 layers pass" in run.stdout
    assert helpers.left_behind(here / "tmp") == helpers.left_behind(host / "tmp") == []
    assert helpers.processes_of(here) == []


def test_a_worker_beside_one_on_another_host_fails_a_wrong_port_where_it_is_wrong(tmp_path: Path, host: Path) -> None:
    here = project(tmp_path)
    project(host / "copy")
    arguments = (ONE[0], "--kerasdiff-torch=port:wrong", "-v", *distributed("popen", "{}//chdir=copy"))
    with served(host) as server:
        run = helpers.run_pytest(here, *(argument.format(server) for argument in arguments))
    assert run.returncode == 1, run.stdout + run.stderr
    assert used(run) == {"gw0", "gw1"}
    failed = {name for name, outcome in Done(here, run).outcomes.items() if outcome == "FAILED"}
    inherit = ("batch_normalization", "activation", "flatten")
    assert failed == {
        *(f"model.h5::{name}::output" for name in ("conv2d_3", *inherit, "dense")),
        *(f"model.h5::{layer}::{check}" for layer, check in helpers.TINY_WRONG),
    }
    assert "  fault     conv2d_3 (Conv2D) → conv  [port.py:30]" in run.stdout


# -- with an engine that is replaced in the controlling process, and would fail on the other host ---------------------


def test_a_folder_that_xdist_copies(fake: Path, host: Path, server: str, tmp_path: Path) -> None:
    done = run_fake(fake, *distributed("popen", server), *COPY.format(fake).split(), fake)
    assert done.run.returncode == 0, done.run.stdout + done.run.stderr
    assert used(done.run) == {"gw0", "gw1"}
    assert "model.h5::conv2d_3::output" in done.outcomes
    assert done.engine("start") == done.engine("wait") == ["model.h5"]
    assert (host / "pyexecnetcache" / tmp_path.name / "model.h5").is_file()


def test_a_file_of_weights_whose_layers_the_other_host_is_sent(fake: Path, host: Path, server: str) -> None:
    (fake / "net.json").write_text((fake / "model.json").read_text("utf-8"))
    fake_weights(fake)
    (fake / "pytest.ini").write_text("[pytest]\n")
    copied(fake, host)
    (host / "project" / "layers.json").unlink()
    alone = run_fake(fake, *WEIGHTS_ONLY)
    done = run_fake(fake, *WEIGHTS_ONLY, *distributed(f"{server}//chdir=project", "popen"))
    assert done.outcomes == alone.outcomes
    assert {"weights.h5::conv2d_3::output", "weights.h5::dense::weights"} < done.outcomes.keys()


def test_a_marker_of_another_host_turns_a_check_off(fake: Path, host: Path, server: str) -> None:
    test = "model.h5::batch_normalization::eps"
    marked(fake, test)
    copied(fake, host)
    done = run_fake(fake, *distributed(f"{server}//chdir=project"))
    assert done.outcomes[test] == "SKIPPED"
    assert ", 1 off" in done.run.stdout


def test_a_fixture_has_the_report_of_a_model_that_is_collected(fake: Path, host: Path, server: str) -> None:
    own(fake, "kerasdiff: assert kerasdiff.passes", "keras_config: assert len(keras_config) == 6")
    copied(fake, host)
    done = run_fake(fake, *distributed(f"{server}//chdir=project"))
    assert done.run.returncode == 0, done.run.stdout + done.run.stderr
    assert done.outcomes["test_own.py::test_0"] == done.outcomes["test_own.py::test_1"] == "PASSED"


def test_a_fixture_says_why_another_host_has_no_report(fake: Path, server: str) -> None:
    own(fake, "kerasdiff: pass", "keras_config: assert len(keras_config) == 6")
    done = run_fake(fake, *distributed(server), *COPY.format(fake).split(), fake / "test_own.py")
    assert outcomes(done) == ["ERROR", "PASSED"]
    line = (
        "model.h5: workers on other hosts have its report only where its tests are collected: name it with "
        "--keras-model, or run this test on this host"
    )
    assert line in done.run.stdout.splitlines()
    assert done.asked() == []


def test_a_model_that_is_missing_on_another_host_is_one_line(fake: Path, host: Path, server: str) -> None:
    (copied(fake, host) / "model.h5").unlink()
    done = run_fake(fake, *ONE, *distributed("popen", f"{server}//chdir=project"))
    assert done.run.returncode == 4
    assert helpers.errors(done.run.stderr.splitlines()) == [
        f"ERROR: worker gw1: {host / 'project' / 'model.h5'}: no such file; it is on another host: copy the project "
        "there (--rsyncdir), or use a folder that both share"
    ]
    assert "Traceback" not in done.run.stdout + done.run.stderr


@pytest.mark.parametrize("change", ["model", "manifest", "ini"])
def test_another_model_on_another_host_lets_no_test_be_left_out(
    fake: Path, host: Path, server: str, change: str
) -> None:
    there = copied(fake, host)
    line = "model.h5: the model, its manifest or the ini are other ones than those of the controlling process"
    if change == "model":
        config = helpers.tiny_config()
        del config["config"]["layers"][3]
        helpers.write_keras(there / "model.h5", config, helpers.tiny_weights())
        line += " (activation::finite …)"
    elif change == "manifest":
        (fake / "kerasdiff.toml").write_text('[preprocess]\nkeras = "a:b"\ntorch = "a:c"\nshape = [6, 6, 2]\n')
        line += " (model::preprocessing)"
    else:
        (there / "pytest.ini").unlink()
        line = "0 Keras models are configured, in the controlling process 1"
    done = run_fake(fake, *distributed(f"{server}//chdir=project"))
    assert done.run.returncode == 4, done.run.stdout + done.run.stderr
    (error,) = helpers.errors(done.run.stderr.splitlines())
    assert f"worker gw0: {line}; it is on another host" in error


def test_a_run_that_cannot_be_made_is_a_usage_error_beside_another_host_too(
    fake: Path, host: Path, server: str
) -> None:
    note = 'note("wait", self.settings)\n'
    engine = FAKE_ENGINE.replace(note, f'{note}        raise RunError("no such port")\n')
    (fake / "fake_engine.py").write_text(f"from pytest_kerasdiff.errors import RunError\n{engine}")
    copied(fake, host)
    done = run_fake(fake, *distributed("popen", f"{server}//chdir=project"))
    assert (done.run.returncode, done.outcomes) == (4, {})
    assert helpers.errors(done.run.stderr.splitlines()) == ["ERROR: no such port"]


def test_a_worker_in_another_folder_of_this_host_reads_the_report(fake: Path, host: Path) -> None:
    there = copied(fake, host)
    done = run_fake(fake, *distributed(f"popen//chdir={there}"))
    assert done.run.returncode == 0, done.run.stdout + done.run.stderr
    assert done.engine("wait") == ["model.h5"]
    assert not (there / "engine.log").exists()
