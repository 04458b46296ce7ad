"""The documents: commands are run, what they print is compared, tables agree with the code, links lead somewhere.

``python tests/test_docs.py`` writes README's tables of options and of layers anew.

A comment above a code block of README says what is done with it: ``run: exit N`` runs its commands, ``prints`` is
looked for in what the last one printed, ``file: NAME`` is written for those that follow. In printed text "…" stands
for anything, on a line of its own for any number of lines, and numbers with a fraction may differ by rounding.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import checklist, manifest, options
from pytest_kerasdiff.align import kinds
from pytest_kerasdiff.checks import concerned
from pytest_kerasdiff.selftest.run import Sown

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = sorted(ROOT.glob("*.md"))
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?|-?\d+e[+-]\d+")
NOISE = 1e-9
"""Below it, differences between two correct float64 computations; they depend on the processor."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block: the comment above it (empty where there is none), its language, its text."""

    comment: str
    language: str
    text: str


def blocks(document: Path) -> list[Block]:
    pattern = r"(?:^<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    found = re.finditer(pattern, document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(match["comment"] or "", match["language"], match["text"]) for match in found]


# -- the tables --------------------------------------------------------------------------------------------


def option_table() -> str:
    lines = [
        "| pytest | program | ini | default | meaning |",
        "|---|---|---|---|---|",
        "| `--keras-model PATH` | first argument | `keras_model` | – | Keras file or SavedModel folder whose port is "
        "judged; repeatable, one a line in the ini |",
    ]
    for option in options.OPTIONS:
        value = f" {option.metavar}" if option.metavar else ""
        default = option.default
        none = default is False or default in (None, ())
        shown = "–" if none else f"{default:g}" if option.name == "tol" else str(default)
        cells = (f"`{option.flag}{value}`", f"`{option.program_flag}`", f"`{option.ini}`", shown, option.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def layer_table() -> str:
    lines = ["| Keras layers | taken as | compared |", "|---|---|---|"]
    for kind in kinds.TABLE:
        made = {name: ["output", *concerned.of_layer(name, kind.typical)] for name in kind.classes}
        for compared in {tuple(names): None for names in made.values()}:
            classes = [name for name, names in made.items() if tuple(names) == compared]
            cells = (", ".join(classes), kind.words, ", ".join(f"`{name}`" for name in compared))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def check_table() -> str:
    lines = ["| check | per | passes when |", "|---|---|---|"]
    lines += [f"| `{name}` | layer | {words} |" for name, words in checklist.OF_A_LAYER.items()]
    lines += [f"| `{name}` | model | {words} |" for name, words in checklist.OF_THE_MODEL.items()]
    return "\n".join(lines)


TABLES = {"options": option_table, "checks": check_table, "layers": layer_table}
"""What stands between ``<!-- NAME: … -->`` and ``<!-- /NAME -->`` in README."""


def with_tables(text: str) -> str:
    for name, table in TABLES.items():
        begin, end = re.search(rf"<!-- {name}: [^\n]* -->\n", text), text.index(f"<!-- /{name} -->")
        assert begin is not None
        text = f"{text[: begin.end()]}{table()}\n{text[end:]}"
    return text


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_current(name: str) -> None:
    text = README.read_text("utf-8")
    assert TABLES[name]() in text, "write it anew: python tests/test_docs.py"
    assert with_tables(text) == text


# -- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of README has: the worked example and the configuration, without the tests."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "model", folder / "model", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests").mkdir()
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    start = {"pytest": [sys.executable, "-m", "pytest"], "python": [sys.executable]}[program]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_", "COVERAGE_"))}
    return subprocess.run(
        [*start, *arguments],
        cwd=folder,
        env={**environment, "COLUMNS": "100", "PY_COLORS": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def says(expected: str, printed: str) -> bool:
    """Whether a printed line is the documented one."""
    pieces = [re.escape(NUMBER.sub("\0", piece)) for piece in expected.split("…")]
    shape = ".*".join(pieces).replace(re.escape("\0"), f"({NUMBER.pattern})")
    match = re.fullmatch(shape, printed)
    if match is None:
        return False
    pairs = [(float(a), float(b)) for a, b in zip(NUMBER.findall(expected), match.groups(), strict=True)]
    return all(math.isclose(a, b, rel_tol=0.02, abs_tol=NOISE) for a, b in pairs)


def missing_line(expected: str, printed: str) -> str:
    """The first documented line that was not printed, in order; empty where all were."""
    lines, at, anywhere = printed.splitlines(), 0, True
    for line in expected.splitlines():
        if line == "…":
            anywhere = True
            continue
        places = range(at, len(lines)) if anywhere else range(at, min(at + 1, len(lines)))
        place = next((i for i in places if says(line, lines[i])), None)
        if place is None:
            return line
        at, anywhere = place + 1, False
    return ""


def test_the_comparison_of_printed_lines() -> None:
    printed = "head\nlimit 1e-05, worst 0.00513\na 2.66e-15 b\ntail"
    assert missing_line("limit 1e-05, worst 0.00514\na 1.0e-14 b", printed) == ""
    assert missing_line("head\n…\na … b\ntail", printed) == ""
    assert missing_line("head\ntail", printed) == "tail"
    assert missing_line("limit 1e-05, worst 0.00613", printed) != ""
    assert missing_line("tail\n…\nhead", printed) == "head"
    assert not says("29 of 30 layers", "30 of 30 layers")


def test_the_commands_of_readme_do_what_it_says(clone: Path) -> None:
    printed, ran = "", 0
    for block in blocks(README):
        kind, _, argument = block.comment.partition(": ")
        if kind == "file":
            (clone / argument).write_text(block.text, "utf-8")
        elif kind == "run":
            for command in block.text.splitlines():
                done = run(command, clone)
                printed, ran = done.stdout + done.stderr, ran + 1
                assert done.returncode == int(argument.removeprefix("exit ")), f"{command}\n{printed}"
        elif kind == "prints":
            missing = missing_line(block.text, printed)
            assert not missing, f"not printed, or not there:\n{missing}\n\nPrinted was:\n{printed}"
        else:
            assert kind in ("", "ini", "manifest"), f"README has a block for {block.comment!r}: nobody reads that"
    assert ran >= 5
    report = json.loads((clone / "out" / "report.json").read_text("utf-8"))
    check_report_fields(report)
    accuracy = json.loads((clone / "out" / "accuracy" / "report.json").read_text("utf-8"))["accuracy"]
    assert documented_fields("accuracy") == set(accuracy)
    speed = json.loads((clone / "out" / "speed" / "report.json").read_text("utf-8"))["throughput"]
    assert documented_fields("measured") == set(speed["measured"][0])
    written = manifest.read(clone / "out" / "kerasdiff.toml")
    assert len(written.layers) == report["summary"]["layers"] - 1  # all but the input
    assert {layer["matched_by"] for layer in report["layers"][1:]} == {"manifest"}


def check_report_fields(report: dict[str, Any]) -> None:
    layer = report["layers"][1]
    assert documented_fields("report") == set(report)
    assert documented_fields("layer") == set(layer)
    assert documented_fields("error") == set(layer["isolated"])
    assert documented_fields("seeded") == {field.name for field in dataclasses.fields(Sown)}
    text = README.read_text("utf-8")
    for name in (*report["summary"], *report["checks"][0], *report["inputs"]["input_1"]):
        assert f"`{name}`" in text


def documented_fields(table: str) -> set[str]:
    text = README.read_text("utf-8").partition(f"<!-- fields: {table} -->\n")[2].partition("\n\n")[0]
    assert text, f"README has no table of the fields of {table}"
    return {name for row in text.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}


def test_the_manifests_of_readme_are_valid(tmp_path: Path) -> None:
    texts = [block.text for block in blocks(README) if block.comment == "manifest"]
    found = [manifest.read(write(tmp_path / f"{i}.toml", text)) for i, text in enumerate(texts)]
    assert [m.torch for m in found] == ["package.port:build", "package.port:build", None]
    assert len(found[2].switches) == 3
    keys = set(tomllib.loads(texts[1]))
    assert keys == {"torch", "inputs", "layers", "declared", "tolerance", "preprocess", "checks"}


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_options_in_the_documents_are_there() -> None:
    known = {option.flag for option in options.OPTIONS}
    for document in DOCUMENTS:
        for flag in re.findall(r"--kerasdiff-[a-z-]*[a-z]", document.read_text("utf-8")):
            assert flag in known, f"{document.name} speaks of {flag}"


def test_the_ini_of_readme_names_keys_that_there_are() -> None:
    (block,) = (b for b in blocks(README) if b.comment == "ini")
    keys = tomllib.loads(block.text)["tool"]["pytest"]["ini_options"]
    assert set(keys) <= {"keras_model", *(option.ini for option in options.OPTIONS)}


# -- the first two commands, and CI ----------------------------------------------------------------------------------


def test_ci_runs_the_first_two_commands_of_readme() -> None:
    main, tests = (block.text.strip() for block in blocks(README)[:2])
    assert "--keras-model=model/resnet8.h5" in main
    assert main.count("\n") == tests.count("\n") == 0
    assert tests.endswith("tox")
    lines = [line for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines() if line and line[0] != "#"]
    start = ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."']
    browser = "{ apt-get update && apt-get install -y --no-install-recommends chromium; }"
    start.append(f"command -v chromium || {browser} || echo 'no chromium'")
    remove = r'python -c "__import__(\"shutil\").rmtree(__import__(\"sys\").prefix)"'
    start.append(f"export TOX_OVERRIDE='testenv.commands_post={remove}'")
    assert lines == [*start, "(", tests, ")", "(", main, ")"]
    assert (ROOT / ".ci" / "run").read_text("utf-8").startswith("#!/usr/bin/env bash\n")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    # Nothing but the title and a sentence stands before them.
    assert README.read_text("utf-8").index(main) < 300
    # Each has its own environment, and tox leaves no file where the other's is to be.
    assert main.split()[3] != tests.split()[3]
    assert "\nvenv_redirect = false\n" in (ROOT / "tox.ini").read_text("utf-8")


# Stands for python3.11, pip, tox and pytest: writes down that it was called, fails where it is told to.
STUB = """#!/usr/bin/env bash
name=$(basename "$0")
echo "$name $(dirname "$0")" >> "$CALLS"
if [ "$name" = python3.11 ]; then
  mkdir -p "$3/bin"
  for tool in pip tox pytest; do cp "$0" "$3/bin/$tool"; done
fi
[ "$name" != "$FAILING" ]
"""


@pytest.mark.parametrize(
    ("failing", "called"),
    [
        ("nothing", ["python3.11", "pip", "tox", "python3.11", "pip", "pytest"]),
        ("python3.11", ["python3.11"]),
        ("pip", ["python3.11", "pip"]),
        ("tox", ["python3.11", "pip", "tox"]),
        ("pytest", ["python3.11", "pip", "tox", "python3.11", "pip", "pytest"]),
    ],
)
def test_ci_fails_where_a_step_fails(failing: str, called: list[str], tmp_path: Path) -> None:
    (tmp_path / "clone" / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "clone" / ".ci")
    for name in ("python3.11", "chromium"):
        write(tmp_path / name, STUB).chmod(0o755)
    done = subprocess.run(
        ["bash", tmp_path / "clone" / ".ci" / "run"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "FAILING": failing},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()] == called
    assert (done.returncode == 0) is (failing == "nothing")


def test_the_table_of_promises_has_every_promise_and_none_is_broken() -> None:
    """``pytest -m promise --promises=docs/promises.md`` writes it; words in it are those of the markers."""
    marked = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        marked |= set(re.findall(r'mark\.promise\(\s*"([^"]+)"', path.read_text("utf-8")))
    rows = [
        row.strip("| ").split(" | ")
        for row in (ROOT / "docs" / "promises.md").read_text("utf-8").splitlines()
        if row.startswith("| ") and "`" in row
    ]
    assert {row[0] for row in rows} == marked
    for _, tests, cases, result in rows:
        assert int(cases) > 0
        assert result.startswith("holds")
        for test in re.findall(r"`([^`]+)`", tests):
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text("utf-8")


def test_constraints_pin_whole_versions_of_all_that_is_required() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9.]*(post\d+)?", line), line
    pinned = {normalised(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    required = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    needed = {normalised(re.split(r"[<>=\[ ]", requirement)[0]) for requirement in required} - {project["name"]}
    assert needed <= pinned
    assert {"tox", "mypy", "ruff", "hypothesis", "scikit-learn"} <= pinned
    assert "torch==2.13.0" in lines


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# -- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text("utf-8")
    # As GitHub makes them: lower case, without punctuation, spaces as hyphens.
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, f"{document.name}: no section {target}"
        elif not target.startswith("https://"):
            assert (document.parent / target.partition("#")[0]).exists(), f"{document.name}: no file {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_the_documents_are_there(document: Path) -> None:
    folders = (ROOT, ROOT / "pytest_kerasdiff")
    for name in re.findall(r"`([\w./-]*/[\w.-]+\.(?:py|toml|md|txt|ini))`", document.read_text("utf-8")):
        assert any((folder / name).exists() for folder in folders), f"{document.name} names {name}"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text("utf-8")), "utf-8")
