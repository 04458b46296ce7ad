"""Annotations for GitHub: at the port's line, once for each finding, with what the runner reads escaped."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_kerasdiff.writers import github
from tests import helpers, reports

THERE = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/repo"}


def lines(report: reports.Report, environment: dict[str, str] = THERE) -> list[str]:
    return list(github.lines(report, environment, Path("/repo/sub")))


def test_faults_and_checks_are_told_once_where_the_port_is() -> None:
    found = lines(reports.failing())
    assert found[0] == (
        "::error file=sub/port.py,line=30,title=conv_2 (Conv2D)::isolated 2.37 of scale 2, limit 1e-05%0A"
        "same-padding: Keras pads (0, 1), the port (1, 1) [port.py:30]; pad with F.pad(x, (0, 1, 0, 1)), and set "
        "padding=0"
    )
    titles = [re.search(r"title=(.*?)::", line)[1] for line in found]  # type: ignore[index]
    assert titles == ["conv_2 (Conv2D)", "mix (Dense)", "aux (Dense)", "model%3A decisions"]


def test_warnings_are_warnings_and_all_else_is_silent() -> None:
    (line,) = lines(reports.passing())
    assert line.startswith("::warning title=model%3A frozen::2 parameters")


def test_elsewhere_there_are_none() -> None:
    assert not lines(reports.failing(), {})
    assert not lines(reports.failing(), {"GITHUB_ACTIONS": "false"})


def test_what_a_model_says_gives_no_command() -> None:
    bad = "a\n::set-output name=x::y\r%0A,b:c"
    layer = reports.layer(bad, bad, "fault", source=f"{bad}:3", pattern=bad)
    (line,) = lines(reports.report([layer]))
    assert "\n" not in line
    assert "\r" not in line
    head, _, message = line[2:].partition("::")
    assert head.count(",") == 2  # file, line, title
    assert "%250A" in message


def test_pytest_and_the_program_print_them(tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    there = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path)}
    run = helpers.run_pytest(
        tmp_path, "--keras-model=net.h5", "--kerasdiff-torch=port:wrong", "--tb=no", "-n", "2", **there
    )
    program = helpers.program(tmp_path, "net.h5", "--torch", "port:wrong", **there)
    for done in (run, program):
        assert done.stdout.count("\n::error file=port.py,line=30,title=conv2d_3 (Conv2D)::isolated ") == 1
