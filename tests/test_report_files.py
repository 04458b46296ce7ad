"""What a run leaves for people and programs: the report's folder, JUnit properties, columns of pytest-html."""

from __future__ import annotations

import html
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.writers import files
from tests import helpers, reports


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    return tmp_path


RUN = ("--keras-model=net.h5", "--kerasdiff-torch=port:wrong", "--tb=no", "-q")


def test_every_form_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    files.publish(reports.failing(), tmp_path / "new" / "out")
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(["report.json", *files.FORMS])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file: the report cannot be written: "):
        files.publish(reports.failing(), tmp_path / "file")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_properties_of_a_test_say_what_the_report_says(folder: Path, workers: str) -> None:
    helpers.run_pytest(folder, *RUN, "-n", workers, "--junitxml=junit.xml", "--kerasdiff-report=out")
    report = json.loads((folder / "out" / "report.json").read_text())
    found = {
        case.attrib["name"] if case.attrib["classname"].endswith("conv2d_3") else "": {
            p.attrib["name"]: p.attrib["value"] for p in case.iter("property")
        }
        for case in ElementTree.parse(folder / "junit.xml").iter("testcase")
    }
    (conv,) = (layer for layer in report["layers"] if layer["name"] == "conv2d_3")
    assert found["output"] == {
        "kerasdiff_status": "fault",
        "kerasdiff_cause": ", ".join(cause["id"] for cause in conv["causes"]),
        **{
            f"kerasdiff_{error}_{key}": str(conv[error][key])
            for error in ("isolated", "cumulative")
            for key in ("max_abs", "scale", "limit")
        },
    }
    assert found["hyper"] == {"kerasdiff_status": "fail", "kerasdiff_cause": "same-padding"}
    assert found["weights"] == {"kerasdiff_status": "pass"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_columns_of_pytest_html(folder: Path, workers: str) -> None:
    pytest.importorskip("pytest_html")
    (folder / "test_own.py").write_text("def test_own(): pass\n")
    helpers.run_pytest(
        folder, *RUN, "-n", workers, "test_own.py", "net.h5", "--html=page.html", "--self-contained-html"
    )
    page = (folder / "page.html").read_text("utf-8")
    data = html.unescape(page.partition('data-jsonblob="')[2].partition('"')[0])
    tests = json.loads(data)["tests"]
    rows = {name: one[0]["resultsTableRow"] for name, one in tests.items()}
    (output,) = (row for name, row in rows.items() if name.endswith("conv2d_3::output"))
    assert "<td>same-padding</td>" in output
    assert "<td>1e-05</td>" in output
    (own,) = (row for name, row in rows.items() if name.endswith("test_own"))
    assert own.count("<td></td>") == 3


@pytest.mark.promise("a worker that dies takes no report away")
def test_a_worker_that_dies_takes_no_report_away(folder: Path) -> None:
    pytest.importorskip("xdist")
    (folder / "test_dies.py").write_text("import os\ndef test_dies(): os._exit(1)\n")
    done = helpers.run_pytest(folder, *RUN, "-n", "2", "net.h5", "test_dies.py", "--kerasdiff-report=out")
    assert "node down" in done.stdout
    assert "FAILED test_dies.py::test_dies" in done.stdout
    report = json.loads((folder / "out" / "report.json").read_text())
    assert (len(report["layers"]), report["verdict"]) == (6, "fail")
    assert (folder / "out" / "report.md").exists()
