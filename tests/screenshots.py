"""Takes README's pictures of the report anew: ``python -m tests.screenshots`` writes them into ``docs/``."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from pytest_kerasdiff.writers import page
from tests import helpers
from tests.test_docs import README, blocks

DOCS = helpers.ROOT / "docs"
PORTS = {"pass": "model.resnet8:build", "fail": "wrong_port:build"}
SIZE = (1200, 900)


def write_page(folder: Path, name: str) -> Path:
    """Compare one port of the worked example, and write its page with paths as in the folder of a user."""
    done = helpers.program(folder, "model/resnet8.h5", "--torch", PORTS[name], "--report", "out")
    assert done.stdout, done.stderr
    found = (folder / "out" / "report.json").read_text("utf-8").replace(f"{folder}/", "")
    path = folder / f"{name}.html"
    path.write_text(page.render(json.loads(found)), "utf-8")
    return path


def main() -> None:
    """Take one picture for each port."""
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        shutil.copytree(helpers.ROOT / "model", folder / "model")
        (folder / "wrong_port.py").write_text(
            next(b.text for b in blocks(README) if b.comment == "file: wrong_port.py")
        )
        browser = playwright.chromium.launch(executable_path=helpers.chromium())
        for name in PORTS:
            opened = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
            opened.goto(write_page(folder, name).as_uri())
            path = DOCS / f"report-{name}.png"
            opened.screenshot(path=path)
            Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
