"""The report on a terminal. The expected texts lie beside this file; ``--force-regen`` writes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff.errors import RunError, printable
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
    for name in ("weights", "eval_mode", "training_notes"):  # which found nothing
        assert f"\n  {name} " in verbose.stdout
        assert f"\n  {name} " not in quiet.stdout


HOSTILE = "conv\x1b]0;owned\x07\x1b[2J\u202egnp.\x9b31m\ud800\n::error::x"


@pytest.mark.promise("names and messages of a model are shown as text")
def test_a_models_names_are_no_commands_to_the_terminal() -> None:
    layer = reports.layer(
        HOSTILE, HOSTILE, "fault", torch=HOSTILE, source=HOSTILE, causes=[reports.cause(text=HOSTILE)]
    )
    report = reports.report([layer], [reports.check(HOSTILE, HOSTILE, "fail", "x", HOSTILE)], notes=[HOSTILE])
    for width in (None, 80):
        for line in terminal.summary(report, "program", 1):
            for words in terminal.fold(line.words, width):
                assert words.isprintable(), words
                words.encode()
    assert str(RunError(HOSTILE)).replace("\n", "").isprintable()
    assert printable("naïve → ünïcode\tno tab\n") == "naïve → ünïcode\\x09no tab\n"


def test_nor_where_pytest_shows_a_test(tmp_path: Path) -> None:
    config = helpers.tiny_config()
    name = "dense\x1b[2J\u202e"
    config["config"]["layers"][-1]["name"] = config["config"]["layers"][-1]["config"]["name"] = name
    config["config"]["output_layers"] = [[name, 0, 0]]
    weights = helpers.tiny_weights()
    weights[name] = weights.pop("dense")
    helpers.write_keras(tmp_path / "net.h5", config, weights)
    (tmp_path / "port.py").write_text(helpers.TINY_PORT.replace('"dense"', repr(name)))
    done = helpers.run_pytest(tmp_path, "--keras-model=net.h5", "--kerasdiff-torch=port:wrong", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "dense\\x1b(2J\\x202e" in done.stdout
    for text in (done.stdout, done.stderr):
        assert "\x1b" not in text
        assert "\u202e" not in text
