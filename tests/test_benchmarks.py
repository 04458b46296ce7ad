"""The benchmarks: commands take turns, figures are paired, the table says what is met; no time is asserted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as program
from benchmarks import bench, models, paired, process, table
from benchmarks.paired import Spread
from benchmarks.process import Command, CommandError, Sample
from benchmarks.rows import registry, start
from benchmarks.table import Line
from tests import helpers
from tests.helpers import ROOT


def toy(folder: Path, code: str, name: str = "toy", **more: Any) -> Command:
    return Command(name, (sys.executable, "-S", "-c", code), folder, **more)


def sample(wall_s: float) -> Sample:
    return Sample(wall_s, 0.0, {}, "")


# -- one command -----------------------------------------------------------------------------------------------------


def test_a_run_gives_its_time_its_output_and_the_file_it_wrote(tmp_path: Path) -> None:
    code = "print('said'); open('made.json', 'w').write('3')"
    found = process.run(toy(tmp_path, code, result=tmp_path / "made.json"))
    assert (found.printed.strip(), found.result) == ("said", "3")
    assert found.cpu_s > 0
    assert found.wall_s > 0


def test_an_older_result_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text("old")
    with pytest.raises(CommandError, match=r"toy: did not write .*made\.json"):
        process.run(toy(tmp_path, "pass", result=tmp_path / "made.json"))


def test_a_command_that_fails_is_one_line_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as raised:
        process.run(toy(tmp_path, "print('a'); print('the reason'); raise SystemExit(3)"))
    assert str(raised.value).startswith("toy: ended with status 3: the reason; in ")
    assert "\n" not in str(raised.value)


def test_the_figures_a_script_prints_are_found_among_other_lines(tmp_path: Path) -> None:
    code = "import sys; print('{\"pass_s\": 2}', flush=True); print('a warning', file=sys.stderr)"
    assert process.printed_figures(process.run(toy(tmp_path, code))) == {"pass_s": 2}


def test_a_status_of_its_own_is_no_failure(tmp_path: Path) -> None:
    process.run(toy(tmp_path, "raise SystemExit(1)", statuses=(1,)))
    with pytest.raises(CommandError):
        process.run(toy(tmp_path, "pass", statuses=(1,)))


def test_a_program_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="toy: nowhere: No such file"):
        process.run(Command("toy", ("nowhere",), tmp_path))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_memory_of_a_child_is_its_own_and_its_largest(tmp_path: Path) -> None:
    child = (
        "import time; x = bytearray(80 << 20); x[::4096] = b'1' * len(x[::4096]); del x; time.sleep(0.5) # the child"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {child!r}])"
    found = process.run(toy(tmp_path, code, watch={"child": "# the child", "parent": "import subprocess"}))
    assert 80 < found.peak_mib["child"] < 130


# -- taking turns ----------------------------------------------------------------------------------------------------


def test_commands_take_turns(tmp_path: Path) -> None:
    commands = [toy(tmp_path, f"open('log', 'a').write({letter!r})") for letter in "AB"]
    rounds = paired.take_turns(commands, 3)
    assert (tmp_path / "log").read_text() == "ABABABAB"  # the first round does not count
    assert [len(one) for one in rounds] == [2, 2, 2]
    paired.take_turns(commands, 1, warm_up=False)
    assert (tmp_path / "log").read_text() == "ABABABABAB"


def test_ratios_are_of_the_same_round() -> None:
    rounds = [(sample(1), sample(2)), (sample(10), sample(20)), (sample(3), sample(4))]
    assert paired.ratios(rounds) == Spread(0.5, 0.5, 0.625)
    assert paired.wall_s(rounds, 1) == 4


def test_one_figure_is_its_own_spread() -> None:
    assert paired.spread([2.5]) == Spread(2.5, 2.5, 2.5)
    assert paired.spread([4, 1, 3, 2, 5]) == Spread(3, 2, 4)


# -- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("median", "budget", "met"), [(1.0, 1.0, True), (1.01, 1.0, False), (9.0, None, None)])
def test_a_budget_is_met_by_the_median(median: float, budget: float | None, met: bool | None) -> None:
    assert Line("first", "net", Spread(median, 0.1, 10), "", budget, "").met is met


def test_the_table_shows_what_is_missed_and_what_cannot_be_measured() -> None:
    lines = [
        Line("first", "net", Spread(0.8123, 0.79, 0.84), "", 0.85, "1 s"),
        Line("collection", "1000 layers", Spread(12.34, 11, 123.4), "s", 0.5, "2 s"),
        Line("cached", "net", None, "", 1.1, "no cache"),
        Line("eager", "net", Spread(0.02, 0.01, 0.03), "", None, ""),
    ]
    cells = [[cell.strip() for cell in line.split("|")] for line in table.render(lines).splitlines()]
    assert cells[0] == list(table.HEAD)
    assert cells[2] == ["first", "net", "0.812 (0.790 to 0.840)", "≤ 0.85", "yes", "1 s"]
    assert cells[3] == ["collection", "1000 layers", "12.3 s (11.0 to 123)", "≤ 0.5 s", "MISSED", "2 s"]
    assert cells[4] == ["cached", "net", "–", "≤ 1.1", "–", "no cache"]
    assert cells[5] == ["eager", "net", "0.020 (0.010 to 0.030)", "–", "–", ""]


# -- rows ------------------------------------------------------------------------------------------------------------


def test_every_row_is_measured_on_models_that_are_there_or_on_its_own() -> None:
    for row in registry.ROWS:
        assert (row.of_model is None) != (row.alone is None), row.name
        assert set(row.models) <= set(models.NAMES)


def test_modules_that_only_the_plugin_brings_are_named() -> None:
    before = ["json", "numpy", "numpy.linalg", "xdist"]
    assert start.foreign([*before, "pytest_kerasdiff.plugin", "csv"], before) == []
    assert start.foreign([*before, "h5py", "h5py.h5", "torch.nn"], before) == ["h5py", "torch"]


@pytest.mark.parametrize("build", ["build", "all_twice"])
def test_models_are_files_with_ports_that_run(build: str, tmp_path: Path) -> None:
    made = models.Models(tmp_path)
    for model, expected in ((made.chain(3, 8, 4), ["2", "4"]), (made.blocks(7), ["2", "3", "8", "8"])):
        _, _, channels = models.input_shape(model.file)
        code = (
            f"import sys, torch; from benchmarks import ports; port = ports.{build}({str(model.file)!r}); "
            f"print(*port(torch.ones(2, {channels}, 8, 8)).shape)"
        )
        assert process.run(Command("port", (sys.executable, "-c", code), tmp_path)).printed.split() == expected


def test_a_first_run_uses_no_cache_where_there_is_one(tmp_path: Path) -> None:
    net = models.Model("net", tmp_path / "net.h5", "port:build")
    made = bench.Bench(tmp_path, 1, models.Models(tmp_path))
    assert bench.NO_CACHE in made.product("first net", net).arguments
    assert bench.NO_CACHE not in made.product("cached net", net, cached=True).arguments


def run_program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=helpers.environment(folder), capture_output=True, text=True, timeout=300, check=False
    )


def test_one_row_as_the_program_prints_it(tmp_path: Path) -> None:
    run = run_program(tmp_path, "--rows", "unused", "--repeats", "1", "--json", str(tmp_path / "figures.json"))
    assert run.returncode == 0, run.stderr
    machine, _, head, _, *lines = run.stdout.splitlines()
    assert re.search(r"\d+ cores · load .* · pytest \d.* · torch ", machine)
    assert [cell.strip() for cell in head.split("|")] == list(table.HEAD)
    assert [line.partition("|")[0].strip() for line in lines[:3]] == ["unused"] * 3
    written = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert [line["unit"] for line in written["lines"]] == ["ms", "ms", "imports"]
    assert written["lines"][2]["value"]["median"] == 0, written["lines"][2]["absolute"]
    assert helpers.left_behind(tmp_path / "tmp") == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--rows", "first,second"), "'second' is none of first, "),
        (("--models", "VGG"), "'VGG' is none of ResNet8, "),
        (("--repeats", "0"), "'0' is no number of rounds"),
        (("--json", "nowhere/figures.json"), "there is no folder nowhere"),
    ],
)
def test_wrong_arguments_end_with_2(arguments: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        program.main(arguments)
    assert raised.value.code == 2
    assert line in capsys.readouterr().err


def test_a_command_that_fails_ends_the_program_with_2_and_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(_: bench.Bench) -> list[Line]:
        return [Line("good", "net", Spread(1, 1, 1), "", None, "")]

    def failing(_: bench.Bench) -> list[Line]:
        raise CommandError("bad: ended with status 3: the reason")

    monkeypatch.setattr(
        registry, "ROWS", (registry.Row("first", "", alone=measured), registry.Row("cached", "", alone=failing))
    )
    assert program.main([]) == 2
    out, err = capsys.readouterr()
    assert "good" in out.splitlines()[4]
    assert err.splitlines()[-1] == "error: bad: ended with status 3: the reason"
