"""TorchScript and exported programs as ports: the same verdict as the module, and nothing opened without trust."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests import helpers
from tests.helpers import Report

SAVE = """
import warnings
import torch, port
warnings.simplefilter("ignore")
example = torch.zeros(2, 2, 6, 6)
for name in ("build", "wrong"):
    module = getattr(port, name)("net.h5")
    torch.jit.trace(module, example).save(f"{name}.pt")
    torch.export.save(torch.export.export(module, (example,)), f"{name}.pt2")
torch.save(module.state_dict(), "state.pt")
"""
CASES: dict[str, dict[str, Any]] = {
    "script": {"torch": "build.pt", "trust": True},
    "wrong-script": {"torch": "wrong.pt", "trust": True},
    "export": {"torch": "build.pt2", "trust": True},
    "wrong-export": {"torch": "wrong.pt2", "trust": True},
    "untrusted": {"torch": "build.pt2"},
    "state-dict": {"torch": "state.pt", "trust": True},
    "missing": {"torch": "none.pt", "trust": True},
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """The report of every case, from one Keras run and one torch process."""
    folder = tmp_path_factory.mktemp("archives")
    helpers.write_tiny(folder / "net.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT)
    subprocess.run([sys.executable, "-c", SAVE], cwd=folder, check=True, timeout=180)
    (folder / "reference").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        compared = helpers.compare(folder / "net.h5", "port:build", folder / "reference")
    (folder / "cases").mkdir()
    for archive in folder.glob("*.pt*"):
        (folder / "cases" / archive.name).symlink_to(archive)
    return helpers.judge(compared, CASES, folder / "cases")


@pytest.mark.parametrize("name", ["script", "export"])
def test_a_right_archive_passes_in_every_layer(name: str, reports: dict[str, Report]) -> None:
    assert reports[name]["verdict"] == "pass"
    assert reports[name]["precision"] == "float64"
    assert set(helpers.statuses(reports[name])) == set(helpers.LAYERS)


@pytest.mark.parametrize("name", ["wrong-script", "wrong-export"])
def test_a_wrong_archive_fails_in_the_layers_that_are_wrong(name: str, reports: dict[str, Report]) -> None:
    assert helpers.at(reports[name], "fault") == {"conv2d_3", "dense"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("untrusted", "can run code stored in it; if you trust it, add --kerasdiff-trust"),
        ("state-dict", "a state dict goes with --kerasdiff-weights"),
        ("missing", "none.pt: no such file"),
    ],
)
def test_what_cannot_be_opened_is_refused(name: str, words: str, reports: dict[str, Report]) -> None:
    assert words in reports[name]["error"]
