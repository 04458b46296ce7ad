"""Who may import whom: the table of ARCHITECTURE.md, compared with the imports of every module."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "pytest_kerasdiff"
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))
BY_NAME = "by name"
"""Entry of the table for a module that imports what a text names, which this test cannot see."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table. `late` is what only functions and type checkers may import."""

    module: str
    own: frozenset[str]
    others: frozenset[str]
    late: frozenset[str]


def read_table() -> dict[str, Row]:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    body = text.partition("<!-- imports -->")[2].partition("<!-- /imports -->")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")][2:]  # without the title and the rule
    rows: dict[str, Row] = {}
    for line in lines:
        modules, own, others, late = (
            frozenset(name.strip(" `") for name in cell.split(",")) - {"–"} for cell in line.strip("| ").split("|")
        )
        for module in modules:
            rows[module] = Row(module, own, others, late)
    return rows


def row_name(module: str) -> str:
    """Name in the table of a dotted module: `align/*` for a module of a sub-package, else its own name."""
    parts = module.split(".")[1:]
    if not parts:
        return "__init__"
    return f"{parts[0]}/*" if (ROOT / PACKAGE / parts[0]).is_dir() else parts[0]


def imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """(what is imported, in the table's names; whether when the module is imported; line) of each import of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; the package is named in full"
            names = [of_from(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("__import__", "import_module"):
            names = [BY_NAME]
        else:
            continue
        for name in names:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names:
                yield (row_name(name) if top == PACKAGE else top), id(node) not in late, node.lineno


def of_from(module: str, name: str) -> str:
    """Dotted module that `from module import name` needs."""
    if module.split(".")[0] != PACKAGE:
        return module
    path = ROOT.joinpath(*module.split("."))
    return f"{module}.{name}" if (path / name).is_dir() or (path / f"{name}.py").exists() else module


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def own_row(path: Path) -> str:
    return row_name(module_of(path))


TABLE = read_table()


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_module_imports_what_the_table_allows(path: Path) -> None:
    assert own_row(path) in TABLE, f"{own_row(path)} has no row in ARCHITECTURE.md: say there what it may import"
    row = TABLE[own_row(path)]
    for name, at_import, line in imports(path):
        if name in ("__init__", row.module):
            continue
        allowed = row.own | row.others | (frozenset() if at_import else row.late)
        when = "" if at_import else " inside a function"
        assert name in allowed, (
            f"{path.relative_to(ROOT)}:{line} imports {name}{when}; its row in ARCHITECTURE.md does not"
        )


def test_the_table_allows_nothing_that_no_module_needs() -> None:
    early: dict[str, set[str]] = {name: set() for name in TABLE}
    late: dict[str, set[str]] = {name: set() for name in TABLE}
    for path in SOURCES:
        for name, at_import, _ in imports(path):
            if name not in ("__init__", own_row(path)):
                (early if at_import else late).setdefault(own_row(path), set()).add(name)
    for row in TABLE.values():
        assert row.own | row.others == early[row.module], f"{row.module}: early imports"
        assert row.late == late[row.module] - early[row.module], f"{row.module}: imports inside functions"


def test_a_row_imports_rows_above_it() -> None:
    above = {"__init__"}
    for row in TABLE.values():
        assert row.own <= above, f"{row.module} imports {row.own - above}, which stands below it: a cycle, or move it"
        above.add(row.module)


def test_every_row_is_a_module() -> None:
    assert set(TABLE) == {own_row(path) for path in SOURCES}


def users_of(library: str) -> set[str]:
    return {name for name, row in TABLE.items() if library in row.others | row.late}


def test_each_framework_has_one_home() -> None:
    """The sentences of the design, so that the table itself cannot be widened unnoticed."""
    assert users_of("pytest") == {"plugin", "session", "speed", "items", "fixtures"}
    assert users_of("torch") | users_of("safetensors") == {"candidate/*"}
    assert users_of("keras") | users_of("tf_keras") | users_of("tensorflow") == {"reference/*"}
    assert TABLE["plugin"].own == {"options", "errors"}
    assert {name for name, row in TABLE.items() if "plugin" in row.own | row.late} == {"items", "fixtures"}
    assert users_of(BY_NAME) == {"specs", "reference/*"}  # the user's modules; keras or tf_keras


def test_importing_the_plugin_imports_the_standard_library_and_pytest() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_kerasdiff.plugin; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert set(run.stdout.split()) - sys.stdlib_module_names == {PACKAGE}


def test_every_package_is_distributed() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    files = [path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sorted(stated) == sorted({".".join(path.parent.relative_to(ROOT).parts) for path in files})
