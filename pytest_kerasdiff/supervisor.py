"""Start the two child processes, watch them, and hand over the report."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from pytest_kerasdiff import child, phases, turns
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import Settings

SIDES = ("reference", "candidate")
_FRAMEWORKS = {"reference": "Keras", "candidate": "torch", child.SCAN: "h5py"}
_RESULTS = {"reference": child.REFERENCE_TRACE, "candidate": child.REPORT, child.SCAN: child.SCANNED}
_POLL_S = 0.02
_FULL_BYTES = 2**16
"""A disk with less room is full: a process may have died of it without a word."""
_ENDING_S = 2.0
"""How long a process that is told to end may take to tidy up, before it is killed."""
_REMOVES = 'read -r _; for _ in 1 2 3 4 5; do rm -rf -- "$1" && break; sleep 1; done'
_UNWRITTEN = re.compile(r"file write failed: [^|]*?filename = '([^']+)'.*?error message = '([^']+)'")
"""Words of HDF5's library, which may crash after them. Source: src/H5FDsec2.c."""


class Run:
    """One comparison under way: a reference process and a candidate process, and the folder they write into."""

    def __init__(
        self,
        settings: Settings,
        rootdir: Path,
        folder: Path | None = None,
        sides: Sequence[str] = SIDES,
        cache: Path | None = None,
        starts: bool = True,
    ) -> None:
        """Make the run's folder, and start the processes.

        Args:
            settings: What to do.
            rootdir: Where the manifest is looked for after the model's folder.
            folder: Existing folder for the run's files; a temporary one if None.
            sides: Which processes; the reference process alone knows the layers.
            cache: Folder in which references are kept between runs; None where nothing is.
            starts: Whether it begins now, and not only when ``start`` is called or somebody waits.

        Raises:
            RunError: The memory is limited, and this system does not tell how much a process has; or the folder cannot
                be written.
        """
        if settings.max_memory is not None and not phases.resident_bytes(os.getpid()):
            raise RunError("--kerasdiff-max-memory: this system does not tell how much memory a process has")
        self.settings = settings
        self._temporary = Temporary(folder)
        self.folder = self._temporary.path
        job = child.Job(settings, self.folder, rootdir, tuple(p for p in sys.path if p), cache)
        self._cache, self._sys_path = cache, job.sys_path
        self.sides = tuple(side for side in sides if side != "reference" or settings.reference is None)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, IO[bytes]] = {}
        self._began = time.monotonic()
        try:
            with _said(self.folder):
                self._job = job.write()
            if starts:
                self.start()
        except BaseException:
            self.close()
            raise

    def start(self, at_once: int = 1) -> None:
        """Start the processes, where that has not been done; ``at_once`` runs divide the processor's cores."""
        if self._children:
            return
        # Spinning threads of one framework starve the other: measured 1.26 times on ResNet50 with two cores.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(self._sys_path)}
        if "KERAS_HOME" not in environment and not Path("~/.keras/keras.json").expanduser().exists():
            environment["KERAS_HOME"] = str(self.folder)  # where there is none, Keras writes one
        if at_once > 1:
            threads = str(max(1, child.cores() // at_once))
            environment |= {child.THREADS: threads, "TF_NUM_INTRAOP_THREADS": threads}
        self._began = time.monotonic()
        pair = socket.socketpair() if self.settings.throughput and len(self.sides) == len(SIDES) else ()
        ends = dict(zip(self.sides, pair, strict=False))
        for side in self.sides:
            end = ends.get(side)
            own = {} if end is None else {turns.VARIABLE: str(end.fileno())}
            with _said(self.folder):
                log = self._logs[side] = (self.folder / f"{side}.log").open("wb")
            self._children[side] = subprocess.Popen(
                # -P: a file of the current folder is no module of the standard library, whatever it is called.
                [sys.executable, "-P", "-m", f"pytest_kerasdiff.{side}", str(self._job)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**environment, **own},
                pass_fds=() if end is None else (end.fileno(),),
                process_group=0,  # what is sent to this one's group ends this one, and that ends them and tidies up
            )
        for end in pair:
            end.close()  # so that each child sees the other's end

    @property
    def runs(self) -> bool:
        """Whether it has been started, and is neither finished nor dead."""
        return (
            bool(self._children)
            and not (self.folder / child.REPORT).exists()
            and all(p.poll() is None or self._has_ended(side) for side, p in self._children.items())
        )

    @property
    def started(self) -> bool:
        """Whether it has begun."""
        return bool(self._children)

    def doing(self) -> list[str]:
        """What each process is doing, in words."""
        found = []
        for side in self.sides:
            with contextlib.suppress(OSError):
                if self._children[side].poll() is None:
                    found.append(phases.progress_file(self.folder, side).read_text("utf-8"))
        return [words for words in found if words]

    def wait(self, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Wait for the report; ``watch`` is called again and again meanwhile.

        Raises:
            RunError: A side says why the run cannot be made, or died; the line carries its last words.
        """
        report: dict[str, Any] = self._result(child.REPORT, self.sides, watch=watch)
        if self.settings.record is not None:
            self.finish_reference(watch)
        return report

    def finish_reference(self, watch: Callable[[], None] = lambda: None) -> None:
        """Wait for the end of the reference process, which writes the recorded reference last; see ``wait``.

        Raises:
            RunError: It says why that cannot be, or died.
        """
        while (status := self._children["reference"].poll()) is None:
            self._hold_to_limits()
            watch()
            time.sleep(_POLL_S)
        if status != 0:
            raise RunError(self._last_words("reference", status))

    def wait_for_scan(self) -> None:
        """Wait until the model can be read without a fear of HDF5's library.

        Raises:
            RunError: It is refused, or the library crashed or came to no end; or a side died otherwise.
        """
        self._result(child.SCANNED, self.sides, is_json=False)

    def layers(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Wait for the name, the class and the config of every call of every layer.

        Raises:
            RunError: The reference process says why they cannot be known, or died.
        """
        self._result(child.REFERENCE_TRACE, ("reference",), is_json=False)
        return [tuple(entry) for entry in json.loads((self.folder / child.LAYERS).read_text("utf-8"))]

    def _result(
        self, name: str, sides: Sequence[str], is_json: bool = True, watch: Callable[[], None] = lambda: None
    ) -> Any:
        self.start()
        path = self.folder / name
        while True:
            if path.exists():
                return json.loads(path.read_text("utf-8")) if is_json else None
            for side in sides:
                status = self._children[side].poll()
                if status is not None and not self._has_ended(side):
                    raise RunError(self._last_words(side, status))
            self._hold_to_limits()
            watch()
            time.sleep(_POLL_S)

    def _hold_to_limits(self) -> None:
        """Stop what takes longer, or more memory, than the user allows.

        Raises:
            RunError: Something does.
        """
        seconds, gib = self.settings.timeout, self.settings.max_memory
        if seconds is not None and time.monotonic() - self._began > seconds:
            doing = "; ".join(self.doing())
            raise RunError(f"stopped after {seconds:g} s (--kerasdiff-timeout){f', while: {doing}' if doing else ''}")
        for side, process in self._children.items() if gib is not None else ():
            has = phases.resident_bytes(process.pid) / 2**30 if process.poll() is None else 0.0
            if gib is not None and has > gib:
                raise RunError(
                    f"the {side} process ({_FRAMEWORKS[side]}) was stopped at {has:.2f} GiB, {gib:g} GiB are allowed "
                    "(--kerasdiff-max-memory)"
                )

    def close(self) -> None:
        """End both processes and remove the run's folder."""
        for process in self._children.values():
            with contextlib.suppress(BrokenPipeError):
                if process.stdin:
                    process.stdin.close()  # which tells it to end
        for process in self._children.values():
            try:
                process.wait(_ENDING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # What it was writing aside when it was ended, or when HDF5 crashed on a full disk.
            with contextlib.suppress(OSError):
                for left in self._cache.glob(f".*.{process.pid}") if self._cache is not None else ():
                    left.unlink()
        for log in self._logs.values():
            log.close()
        self._temporary.remove()

    def _has_ended(self, side: str) -> bool:
        """Whether a process has ended as it should, with its result."""
        return self._children[side].poll() == 0 and (self.folder / _RESULTS[side]).exists()

    def _last_words(self, side: str, status: int) -> str:
        if not self.folder.is_dir():
            return f"{self.folder}: the folder of the run was removed while it ran"
        error = child.error_file(self.folder, side)
        if error.exists():
            return str(json.loads(error.read_text("utf-8"))["message"])
        for folder in (self.folder, self._cache):
            if folder is not None and folder.exists() and shutil.disk_usage(folder).free < _FULL_BYTES:
                return f"{folder}: cannot be written: {os.strerror(errno.ENOSPC)}"
        if status == 0 and (self.folder / _RESULTS[side]).is_symlink():
            return f"{self._cache}: what was kept of Keras was removed while it was needed: run it once more"
        log = (self.folder / f"{side}.log").read_text("utf-8", "replace")
        if unwritten := _UNWRITTEN.search(log):
            return "{}: cannot be written: {}".format(*unwritten.groups())
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        lines = [line for line in log.splitlines() if line.strip()]
        tail = " | ".join(line.strip() for line in lines[-3:])
        words = tail[-600:] or "(none)"
        return f"the {side} process ({_FRAMEWORKS[side]}) {how} without a result; its last words: {words}"


class Temporary:
    """A temporary folder that is removed however this process ends, by one that waits for that."""

    def __init__(self, within: Path | None = None) -> None:
        """Make it.

        Raises:
            RunError: It cannot be made.
        """
        with _said(within or "the folder for temporary files"):
            self.path = Path(tempfile.mkdtemp(prefix="kerasdiff-", dir=within))
        self._remover: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):  # without a shell it is removed where this process ends by itself
            self._remover = subprocess.Popen(
                ["sh", "-c", _REMOVES, "sh", str(self.path.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                process_group=0,
            )

    def remove(self) -> None:
        """Remove it now."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._remover is not None and self._remover.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._remover.stdin.close()
            self._remover.wait()


@contextlib.contextmanager
def _said(folder: Path | str) -> Iterator[None]:
    """Say where nothing can be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from None


def scan(settings: Settings, rootdir: Path) -> None:
    """Have a model scanned where no run does it; see ``Run.wait_for_scan``.

    Raises:
        RunError: See there.
    """
    run = Run(settings, rootdir, sides=(child.SCAN,))
    try:
        with contextlib.suppress(ImportError):  # modelfile names it
            import h5py  # noqa: F401  # whoever has a model scanned reads it next; the scan's process imports it now
        run.wait_for_scan()
    finally:
        run.close()
