"""What breaks from outside: a side is killed, hangs or needs too much memory, the disk is full, a file changes.

Each ends with one line, leaves nothing behind, and the next run is right.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import __main__, aside, cache, child, phases, supervisor
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings
from tests import helpers

pytestmark = pytest.mark.promise(
    "what breaks from outside is one line, nothing is left behind, and the next run is right"
)

PORTS = (
    helpers.TINY_PORT
    + """

def killed(path):
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(path):
    import time
    time.sleep(600)


def removes(path):
    import os, pathlib, shutil, signal, tempfile
    for folder in pathlib.Path(tempfile.gettempdir()).glob("kerasdiff-*"):
        shutil.rmtree(folder)
    os.kill(os.getpid(), signal.SIGKILL)


def swallows(path):
    port = build(path)
    port.ballast = [bytearray(2**26) for _ in range(64)]
    return port
"""
)
BUILDERS = """
import os
import signal
import time

import keras
from builders import build


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def hangs():
    time.sleep(600)


def swallows():
    ballast = [bytearray(2**26) for _ in range(64)]
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(PORTS)
    (tmp_path / "builders.py").write_text(helpers.KERAS_BUILDERS)
    (tmp_path / "bad.py").write_text(BUILDERS)
    return tmp_path


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return helpers.program(folder, "net.h5", "--report", "out", *more)


CASES = {
    "torch killed": (("--torch=port:killed",), r"the candidate process \(torch\) was ended by signal 9 without a"),
    "its folder is removed": (("--torch=port:removes",), r"\S+kerasdiff-\w+: the folder of the run was removed while"),
    "Keras killed": (
        ("--torch=port:build", "--keras=bad:killed"), r"the reference process \(Keras\) was ended by signal 9 without",
    ),
    "torch hangs": (("--torch=port:hangs", "--timeout=6"), r"stopped after 6 s \(--timeout\), while: .*torch: loading"),
    "Keras hangs": (("--torch=port:build", "--keras=bad:hangs", "--timeout=8"), r"stopped after 8 s \(--timeout\)"),
    "torch needs too much": (
        ("--torch=port:swallows", "--max-memory=2"),
        r"the candidate process \(torch\) was stopped at 2\.\d\d GiB, 2 GiB are allowed \(--max-memory\)",
    ),
    "Keras needs too much": (
        ("--torch=port:build", "--keras=bad:swallows", "--max-memory=2"),
        r"the reference process \(Keras\) was stopped at 2\.\d\d GiB, 2 GiB are allowed \(--max-memory\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_run_ends_with_one_line_and_leaves_nothing(case: str, folder: Path) -> None:
    more, words = CASES[case]
    done = run(folder, *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(f"error: {words}", done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "out").exists()
    assert helpers.left_behind(folder / "tmp") == []
    assert not helpers.processes_of(folder / "tmp")


def test_a_fault_of_its_own_is_no_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def divide(_: object) -> int:
        return 1 // 0

    monkeypatch.setattr(__main__, "_compare", divide)
    assert __main__.main(["net.h5"]) == 2  # 1 would say that the port is wrong
    assert "please report it" in capsys.readouterr().err


def test_pytest_says_it_too(folder: Path) -> None:
    done = helpers.run_pytest(
        folder, "--keras-model=net.h5", "--kerasdiff-torch=port:hangs", "--kerasdiff-timeout=6", "-q"
    )
    assert done.returncode == 4
    assert "ERROR: stopped after 6 s (--kerasdiff-timeout)" in done.stderr


def test_limits_that_are_kept_change_nothing(folder: Path) -> None:
    done = run(folder, "--torch=port:build", "--timeout=300", "--max-memory=8")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("option", "value"), [("timeout", "0"), ("timeout", "x"), ("max-memory", "-1"), ("max-memory", "nan")]
)
def test_a_limit_is_a_number_greater_than_0(option: str, value: str, folder: Path) -> None:
    done = run(folder, "--torch=port:build", f"--{option}={value}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --{option}: got '{value}', expected a number of ")


def test_a_limit_that_cannot_be_held_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "resident_bytes", lambda process: 0)
    with pytest.raises(RunError, match="this system does not tell how much memory a process has"):
        supervisor.Run(Settings(folder / "net.h5", max_memory=1.0), folder, folder)
    assert not list(folder.glob("kerasdiff-*"))


def test_a_file_that_changes_while_it_is_read_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_kerasdiff.reference import __main__ as reference

    job = child.Job(Settings(folder / "net.h5"), folder / "run", folder, (), folder / "kept")
    job.folder.mkdir()
    entry = cache.entry(job.cache, job.settings, Manifest())
    assert entry is not None

    def make(_: object, __: object, target: Path) -> list[list[object]]:
        for path in (target, child.further_of(target)):
            path.write_bytes(b"made")
        with (folder / "net.h5").open("ab") as file:
            file.write(b" ")
        return [["dense", "Dense", {}]]

    monkeypatch.setattr(reference, "_make", make)
    with pytest.raises(RunError, match=r"net\.h5: has changed while it was read; run it again"):
        reference.work(job)
    assert cache.use(entry) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of file sizes")
def test_a_full_disk_is_one_line_and_nothing_is_believed(folder: Path) -> None:
    helpers.own_cache(folder)
    limited = (
        "import resource, runpy, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "sys.argv = ['pytest_kerasdiff', 'net.h5', '--torch=port:build', '--report=out']\n"
        "runpy.run_module('pytest_kerasdiff', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=folder, capture_output=True, text=True,
        env=helpers.environment(folder, PYTHONDONTWRITEBYTECODE="1"),  # Python 3.11 keeps what is cut off of these
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (folder / "out").exists()
    assert helpers.left_behind(folder / "tmp") == []
    right = run(folder, "--torch=port:build")
    assert right.returncode == 0, right.stderr
    assert json.loads((folder / "out" / "report.json").read_text())["reference"]["source"] == "made"


needs_mount = pytest.mark.skipif(shutil.which("mount") is None, reason="there is no `mount`")


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    """A file system of so many KiB, where this user may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@needs_mount
def test_where_nothing_can_be_written_a_run_keeps_nothing_or_says_so(folder: Path) -> None:
    command = ("--keras-model=net.h5", "--kerasdiff-torch=port:build", "-q", "-o", "cache_dir=small/cache")
    with small_disk(folder / "small", 1000):
        subprocess.run(["mount", "-o", "remount,ro", folder / "small"], check=True)
        done = helpers.run_pytest(folder, *command)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        done = helpers.run_pytest(folder, *command, "--kerasdiff-report=small/out")
        assert done.returncode == 4
        assert helpers.errors(done.stderr.splitlines()) == [
            f"ERROR: {folder / 'small' / 'out'}: cannot be written (--kerasdiff-report): name a folder that can"
        ]


@needs_mount
@pytest.mark.parametrize(
    ("where", "kib"), [("cache", 4), ("cache", 16), ("temporary files", 16), ("recorded reference", 4)]
)
def test_a_disk_that_is_full_is_what_is_said(where: str, kib: int, folder: Path) -> None:
    """Never that Keras cannot run the model, which a failure amid its layers looks like."""
    helpers.own_cache(folder)
    small = folder / {"cache": ".pytest_cache/d/kerasdiff", "temporary files": "tmp"}.get(where, "small")
    more = {"temporary files": ("--no-cache",), "recorded reference": ("--record=small/ref.h5", "--no-cache")}
    with small_disk(small, kib):
        done = run(folder, "--torch=port:build", "--batch=64", *more.get(where, ()))
        left = sorted(path.name for path in small.iterdir())
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.fullmatch(
        rf"error: {re.escape(str(small))}\S*: cannot be written: No space left on device\n", done.stderr
    )
    assert [name for name in left if not name.startswith((".gitignore", "lock-"))] == []
    assert not (folder / "out").exists()


@pytest.mark.parametrize("moment", [0.3, 1.5, 3.0, 4.5])
def test_after_kill_9_at_any_moment_the_next_run_is_right(moment: float, folder: Path) -> None:
    helpers.own_cache(folder)
    command = [sys.executable, "-m", "pytest_kerasdiff", "net.h5", "--torch=port:build", "--report=out"]
    begun = subprocess.Popen(
        command, cwd=folder, env=helpers.environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(moment)
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait()
    wrong = run(folder, "--torch=port:wrong")
    assert wrong.returncode == 1, wrong.stderr
    right = run(folder, "--torch=port:build")
    assert right.returncode == 0, right.stderr
    until = time.monotonic() + 5
    while (left := helpers.processes_of(folder / "tmp")) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    kept = [path.name for path in (folder / ".pytest_cache" / "d" / "kerasdiff").iterdir()]
    assert [name for name in kept if name.startswith(".")] == [".gitignore"]


def nothing_left(folder: Path) -> list[str]:
    """What is left of a run that was killed, once what removes it had its time."""
    until = time.monotonic() + 10
    while (left := helpers.left_behind(folder / "tmp") + helpers.processes_of(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def wait_for(pattern: str, folder: Path, begun: subprocess.Popen[Any]) -> None:
    """Wait until there is such a path, while the process that makes it lives."""
    until = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert begun.poll() is None, f"it has ended with status {begun.returncode}"
        assert time.monotonic() < until
        time.sleep(0.001)


WAITS = """
import pathlib, time

def test_waits():
    pathlib.Path("waits").touch()
    time.sleep(60)
"""
#: When a run is killed → pytest's arguments, and what is there then.
KILLED: dict[str, tuple[tuple[str, ...], str]] = {
    "its comparison has ended": (("net.h5", "test_waits.py", "--keras-model=net.h5"), "waits"),
    "others wait for their turn": (
        ("--keras-model=net.h5", "--keras-model=other.h5", "--keras-model=third.h5"),
        "tmp/kerasdiff-*/candidate.log",
    ),
    "workers run and nothing is compared": (("test_waits.py", "-n", "2", "-o", "keras_model=net.h5"), "waits"),
}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("moment", KILLED)
def test_a_pytest_that_is_killed_leaves_no_folder(moment: str, name: str, folder: Path) -> None:
    for other in ("other.h5", "third.h5"):
        shutil.copy(folder / "net.h5", folder / other)
    (folder / "test_waits.py").write_text(WAITS)
    arguments, sign = KILLED[moment]
    command = [sys.executable, "-m", "pytest", *arguments, "--kerasdiff-torch=port:build"]
    with (folder / "log").open("wb") as log:
        own = helpers.environment(folder)
        begun = subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True)
    wait_for(sign, folder, begun)
    assert helpers.left_behind(folder / "tmp")
    os.kill(begun.pid, signal.Signals[name])
    begun.wait()
    if "-n" in arguments:
        os.killpg(begun.pid, signal.SIGKILL)  # workers of xdist, which sleep
    assert nothing_left(folder) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_recorded_reference_that_was_begun_is_not_left(name: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pytest_kerasdiff", "net.h5", "--record=kept/ref.h5", "--batch=3000", "--no-cache"]
    # A shell without job control lets what it starts in the background ignore SIGINT, and so do all below it.
    restored = (
        "import os, signal, sys; signal.signal(2, signal.default_int_handler); os.execv(sys.argv[1], sys.argv[1:])"
    )
    begun = subprocess.Popen(
        [sys.executable, "-c", restored, *command], cwd=folder, env=helpers.environment(folder),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for("kept/.ref.h5.*", folder, begun)
    os.kill(begun.pid, signal.Signals[name])
    begun.wait()
    assert nothing_left(folder) == []
    assert list((folder / "kept").iterdir()) == []


def test_what_a_killed_process_left_beside_a_file_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f".ref.h5.{gone.pid}", f".ref.h5.{os.getppid()}", ".ref.h5.old", f".other.h5.{gone.pid}"):
        (tmp_path / name).touch()
    made = aside.Aside(tmp_path / "ref.h5")
    made.place()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"ref.h5", f".ref.h5.{os.getppid()}", ".ref.h5.old", f".other.h5.{gone.pid}"}


def test_a_cache_that_is_cleared_meanwhile_is_what_is_said(folder: Path) -> None:
    helpers.own_cache(folder)
    assert run(folder, "--torch=port:build").returncode == 0
    slow = "\ndef slow(path):\n    import time\n    time.sleep(5)\n    return build(path)\n"
    (folder / "port.py").write_text((folder / "port.py").read_text() + slow)
    command = [sys.executable, "-m", "pytest_kerasdiff", "net.h5", "--torch=port:slow"]
    begun = subprocess.Popen(command, cwd=folder, env=helpers.environment(folder), stderr=subprocess.PIPE, text=True)
    wait_for("tmp/kerasdiff-*/reference.h5", folder, begun)
    shutil.rmtree(folder / ".pytest_cache")
    _, said = begun.communicate()
    assert begun.returncode == 2
    cache = folder / ".pytest_cache" / "d" / "kerasdiff"
    assert said == f"error: {cache}: what was kept of Keras was removed while it was needed: run it once more\n"


# -- what the program is started in ----------------------------------------------------------------------------------

#: What is done before → the exit status, and what is said at the end of standard error.
AROUND: dict[str, tuple[str, int, str]] = {
    "latin-1": ("export PYTHONIOENCODING=latin-1", 0, ""),
    "no standard output": ("exec >&-", 0, ""),
    "no standard error": ("exec 2>&-", 0, ""),
    "a full disk behind standard output": ("exec >/dev/full", 2, "error: No space left on device\n"),
    "few files": ("ulimit -n 8", 2, "error: Too many open files\n"),
    "a folder that is gone": (
        "mkdir gone; cd gone; rmdir ../gone", 2, "error: the current folder is not there any more\n",
    ),
    "Python's safe path": ("export PYTHONSAFEPATH=1 PYTHONPATH=$ROOT", 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", AROUND)
def test_the_program_works_or_says_what_is_in_its_way(case: str, folder: Path) -> None:
    before, status, said = AROUND[case]
    helpers.share_cache(folder)
    script = f"{before}; exec {sys.executable} -m pytest_kerasdiff {folder / 'net.h5'} --torch=port:build --report=out"
    own = helpers.environment(folder, ROOT=str(helpers.ROOT))
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said), done.stdout + done.stderr
    if status == 0:
        assert json.loads((folder / "out" / "report.json").read_text("utf-8"))["verdict"] == "pass"
    if case == "latin-1":
        assert "equivalent: 6 of 6 layers pass" in done.stdout


def test_a_file_called_like_a_module_of_python_disturbs_nothing(folder: Path) -> None:
    for name in ("platform", "random", "dataclasses"):
        (folder / f"{name}.py").write_text("raise SystemError('imported')\n")
    script = str(Path(sys.executable).with_name("pytest"))
    own = helpers.environment(folder, PYTHONPATH=str(helpers.ROOT))
    command = [script, "net.h5", "--keras-model=net.h5", "--kerasdiff-torch=port:build", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
