"""A report's page in a browser: ``python -m benchmarks.bare.opening LAYERS BROWSER FOLDER`` prints the seconds.

The page is of a report made up for this many layers, one of them at fault; an empty page is opened before it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playwright import sync_api

from pytest_kerasdiff.writers import page
from tests import made_reports

_LOADED_MS = "performance.getEntriesByType('navigation')[0].loadEventEnd"
"""From the begin of the navigation: https://www.w3.org/TR/navigation-timing-2/#dom-performancenavigationtiming."""


def main() -> None:
    """Open both pages in one browser, and ask it how long each took."""
    layers, browser, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    texts = {"empty": "<!doctype html><title>empty</title>", "page": page.render(made_reports.deep(layers))}
    found: dict[str, float] = {"size_mb": len(texts["page"].encode()) / 1e6}
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser)
        for name, text in texts.items():
            file = folder / f"{name}.html"
            file.write_text(text, "utf-8")
            tab = opened.new_page()
            tab.goto(file.as_uri())
            found[f"{name}_s"] = tab.evaluate(_LOADED_MS) / 1000
            tab.close()
        opened.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
