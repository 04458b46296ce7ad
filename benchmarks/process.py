"""Run one command as a process of its own: how long it took, and how much memory it and its children had at most."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
_POLL_S = 0.01
_LIMIT_S = 1800


class CommandError(Exception):
    """A command could not be measured; the text is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What is run.

    Attributes:
        name: What it is called in messages.
        arguments: Program and arguments.
        folder: Where it is run.
        statuses: Exit statuses that are no failure.
        watch: Label → text in the command line of the process itself or of a child of it, whose memory is watched.
        environment: What is added to this process's own environment.
        result: File that it writes.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    statuses: tuple[int, ...] = (0,)
    watch: Mapping[str, str] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    result: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One run of a command.

    Attributes:
        wall_s: Time by the clock on the wall.
        cpu_s: Processor time of the process and of the children it waited for.
        peak_mib: Label → largest resident memory of the processes watched.
        printed: What it printed.
        result: What it wrote into the file that the command names; empty where it names none.
    """

    wall_s: float
    cpu_s: float
    peak_mib: Mapping[str, float]
    printed: str
    result: str = ""


def printed_figures(sample: Sample) -> dict[str, float]:
    """The line of JSON that a script prints, among whatever frameworks print."""
    figures: dict[str, float] = json.loads([li for li in sample.printed.splitlines() if li.startswith("{")][-1])
    return figures


def module(name: str, folder: Path, *arguments: str | Path | int) -> Command:
    """``python -m`` with these arguments, by this interpreter."""
    return Command(name, (sys.executable, "-m", *map(str, arguments)), folder)


def run(command: Command) -> Sample:
    """Run a command to its end.

    Raises:
        CommandError: It ended with a status that is none of its own, took too long or cannot be started.
    """
    if command.result is not None:
        command.result.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **command.environment}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        try:
            process = subprocess.Popen(
                command.arguments,
                cwd=command.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise CommandError(f"{command.name}: {command.arguments[0]}: {error.strerror}") from None
        timer = threading.Timer(_LIMIT_S, process.kill)
        timer.start()
        try:
            # wait4 alone gives the processor time of this child, apart from that of all others.
            done, status, usage = os.wait4(process.pid, os.WNOHANG if command.watch else 0)
            while not done:
                _watch(process.pid, command.watch, peaks)
                time.sleep(_POLL_S)
                done, status, usage = os.wait4(process.pid, os.WNOHANG)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen did not see its end
        output.seek(0)
        printed = output.read().decode(errors="replace")
    if process.returncode not in command.statuses:
        last = (printed.strip().splitlines() or ["(it printed nothing)"])[-1].strip()
        raise CommandError(
            f"{command.name}: ended with status {process.returncode}: {last}; in {command.folder}: "
            f"{shlex.join(command.arguments)}"
        )
    if command.result is not None and not command.result.exists():
        raise CommandError(f"{command.name}: did not write {command.result}")
    written = command.result.read_text("utf-8") if command.result is not None else ""
    return Sample(wall_s, usage.ru_utime + usage.ru_stime, peaks, printed, written)


def _watch(pid: int, labels: Mapping[str, str], peaks: dict[str, float]) -> None:
    """Note the largest resident memory so far; the kernel keeps it, so that only the last milliseconds are missed."""
    for one in (pid, *_children(pid)):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            line = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            label = next(label for label, text in labels.items() if text in line)
            _, found, own = Path(f"/proc/{one}/status").read_text().partition("VmHWM:")
            if found:  # a process that has ended, and is not waited for yet, has no memory
                peaks[label] = max(peaks.get(label, 0.0), int(own.split()[0]) / 1024)


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found
