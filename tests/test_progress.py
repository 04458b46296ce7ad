"""What is shown of a run under way."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_kerasdiff import phases
from pytest_kerasdiff.phases import Phases
from pytest_kerasdiff.progress import LONG_S, Progress
from tests import helpers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_shows_how_far_it_is_in_one_line() -> None:
    lines: list[str] = []
    over: list[str] = []
    clock = Clock()
    progress = Progress(lines.append, over.append, clock)
    progress.show(["Keras: loading the model"])
    assert over == []  # a short wait is not worth a word
    clock.now = 1.0
    for doing in (["Keras: layer 1 of 9", "torch: running the port"], ["Keras: layer 2 of 9"], ["Keras: layer 2 of 9"]):
        progress.show(doing)
    assert over == ["kerasdiff: Keras: layer 1 of 9 · torch: running the port", "kerasdiff: Keras: layer 2 of 9"]
    progress.end()
    assert (over[-1], lines) == ("", [])


def test_a_log_has_one_line_for_each_long_phase() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = Progress(lines.append, None, clock)
    for number in range(1, 101):
        clock.now += 0.1
        progress.show([f"Keras: layer {number} of 100", "short" if number < 20 else f"short {number}"])
    progress.end()
    assert lines == ["kerasdiff: Keras: layer …"]


def test_a_short_run_says_nothing_in_a_log() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = Progress(lines.append, None, clock)
    for phase in ("loading", "running", "comparing"):
        progress.show([phase])
        clock.now += LONG_S - 1
        progress.show([phase])
    assert lines == []


def test_phases_have_time_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "_EVERY_S", 0.0)
    own = Phases(tmp_path, "reference")
    own.begin("load", "Keras: loading the model")
    assert phases.progress_file(tmp_path, "reference").read_text() == "Keras: loading the model"
    own.begin("run", "Keras: layer")
    own.step(3, 9)
    assert phases.progress_file(tmp_path, "reference").read_text() == "Keras: layer 3 of 9"
    own.begin("quiet")
    own.end()
    assert set(own.timing()) == {"load_s", "run_s", "quiet_s"}
    assert set(own.memory()) == {"load_peak_bytes", "run_peak_bytes", "quiet_peak_bytes"}
    assert all(seconds >= 0 for seconds in own.timing().values())
    assert phases.with_side("reference", {"load_s": 1.0}) == {"reference_load_s": 1.0}


def test_a_folder_that_has_gone_stops_nothing(tmp_path: Path) -> None:
    Phases(tmp_path / "gone", "reference").begin("load", "Keras: loading the model")


def on_a_terminal(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the program, its errors on a terminal, and what was written there."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                shown.append(part)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-m", "pytest_kerasdiff", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=helpers.environment(folder, COLUMNS="120"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(theirs)
        reader.join(10)
        os.close(ours)
    return done, b"".join(shown).decode()


def test_what_only_records_shows_how_far_it_is(tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    done, shown = on_a_terminal(tmp_path, "net.h5", "--record=ref.h5")
    assert done.returncode == 0, shown
    lines = [line.strip() for line in shown.split("\r") if line.strip()]
    assert "kerasdiff: Keras: loading the model" in lines
    assert all(line.startswith("kerasdiff: Keras: ") for line in lines)
    assert shown.endswith("\r")  # nothing is left
    assert done.stdout.startswith("recorded: ")
