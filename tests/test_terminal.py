"""The report on a terminal. The expected texts lie beside this file; ``--force-regen`` writes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff.writers import terminal
from tests import helpers, reports

Lines = list[str]


def lines(report: reports.Report, face: terminal.Face = "pytest", verbosity: int = 0) -> Lines:
    return [line.words for line in terminal.summary(report, face, verbosity)]


@pytest.mark.parametrize("made", [reports.passing, reports.failing], ids=["passing", "failing"])
@pytest.mark.parametrize(
    ("face", "verbosity"), [("pytest", -1), ("pytest", 0), ("pytest", 1), ("program", 0)],
    ids=["quiet", "default", "verbose", "program"],
)  # fmt: skip
def test_it_reads_as_agreed(made: Any, face: terminal.Face, verbosity: int, file_regression: Any) -> None:
    file_regression.check("\n".join(lines(made(), face, verbosity)) + "\n", encoding="utf-8")


def test_it_fits_a_terminal_of_80_columns(file_regression: Any) -> None:
    found = [part for words in lines(reports.failing(), "program") for part in terminal.fold(words, 80)]
    assert max(map(len, found)) <= 80
    file_regression.check("\n".join(found) + "\n", encoding="utf-8")


@pytest.mark.parametrize("width", [20, 40, 80])
def test_folding_loses_no_word(width: int) -> None:
    for words in lines(reports.failing(), "program"):
        assert " ".join(terminal.fold(words, width)).split() == words.split()
    assert list(terminal.fold("x" * 500, None)) == ["x" * 500]


def test_styles_say_what_words_say() -> None:
    found = {line.style for line in terminal.summary(reports.passing(), "pytest")}
    assert "bad" not in found
    verdict, *others = terminal.summary(reports.failing(), "pytest")
    assert verdict.style == "bad"
    assert [line.words.split()[0] for line in others if line.style == "bad"] == [
        "fault", "fault", "unpaired", "hyper", "decisions",
    ]  # fmt: skip


def test_colours_are_pytests_own(tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    own = ("--keras-model=net.h5", "--kerasdiff-torch=port:wrong")
    for colour, codes in (("yes", True), ("no", False)):
        done = helpers.run_pytest(tmp_path, *own, f"--color={colour}", "--tb=no")
        line = next(line for line in done.stdout.splitlines() if "NOT equivalent: " in line)
        assert ("\x1b[31m" in line) == codes
    quiet = helpers.run_pytest(tmp_path, *own, "-q", "--tb=no")
    assert "  compared  " not in quiet.stdout
    assert "  fault     conv2d_3 (Conv2D) → conv" in quiet.stdout
    verbose = helpers.run_pytest(tmp_path, *own, "-v", "--tb=no")
    assert "conv2d_3 (Conv2D) → conv  [port.py:30]\n  isolated     " in verbose.stdout
