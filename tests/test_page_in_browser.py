"""The page of a report in a browser: it asks for nothing, runs nothing but its own script, and is usable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_kerasdiff.writers import page
from tests import helpers, made_reports

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = helpers.chromium()
    if program is None:
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program)
        yield opened
        opened.close()


class Opened:
    """A page in the browser, and what happened there."""

    def __init__(self, browser: Browser, file: Path, hash: str = "", **settings: Any) -> None:
        self.events: list[str] = []
        self.requests: list[str] = []
        self.page: Page = browser.new_page(**settings)
        self.page.set_default_timeout(30_000)
        self.page.on("console", lambda message: self.events.append(message.text))
        self.page.on("pageerror", lambda error: self.events.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = file.as_uri()
        self.page.goto(self.url + hash)

    def _dismiss(self, dialog: Dialog) -> None:
        self.events.append(f"a dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Opens a report in the browser; at the end, nothing may have gone wrong there."""
    opened: list[Opened] = []

    def show(report: made_reports.Report, hash: str = "", **settings: Any) -> Page:
        file = tmp_path / "report.html"
        file.write_text(page.render(report), "utf-8")
        opened.append(Opened(browser, file, hash, **settings))
        return opened[-1].page

    yield show
    for one in opened:
        assert one.events == []
        assert [url for url in one.requests if not url.startswith("data:image/png")] == [one.url]
        one.page.close()


def test_a_page_opens_from_the_disk(show: Any) -> None:
    opened: Page = show(made_reports.mixed())
    assert opened.locator("h1").inner_text() == "✗ NOT equivalent"
    assert opened.locator(".sortable button").count() == 10  # the script ran
    assert opened.evaluate("getComputedStyle(document.querySelector('.badge')).fontWeight") == "600"


def shown(page: Page) -> list[str]:
    return page.locator("#table tbody tr:visible th").all_inner_texts()


def test_layers_are_found_by_words_and_status(show: Any) -> None:
    opened: Page = show(made_reports.mixed())
    assert len(shown(opened)) == 7
    opened.get_by_label("Search").fill("STAGE.3")
    assert shown(opened) == ["conv2d_3"]
    assert opened.locator("output").inner_text() == "1 of 7 layers"
    opened.get_by_label("Search").fill("")
    opened.get_by_label("Status").select_option(label="at fault")
    assert shown(opened) == ["conv2d_3"]
    opened.get_by_label("Status").select_option(label="pass")
    assert shown(opened) == ["conv2d_1", "conv2d_2", "conv2d_7"]
    opened.get_by_label("Search").fill("nowhere")
    assert shown(opened) == []


def test_layers_are_sorted_by_a_column(show: Any) -> None:
    layers = [made_reports.layer(i, isolated=made_reports.error(e)) for i, e in enumerate((2e-9, 1e-10, None, 0.5), 1)]
    layers.append(made_reports.layer(5, "declared"))
    opened: Page = show(made_reports.report(layers))
    head = opened.locator("#table thead th", has_text="isolated")
    assert opened.locator("#table th[aria-sort]").inner_text().startswith("#")
    head.get_by_role("button").press("Enter")
    assert shown(opened) == ["conv2d_2", "conv2d_1", "conv2d_4", "conv2d_3", "conv2d_5"]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert shown(opened) == ["conv2d_5", "conv2d_3", "conv2d_4", "conv2d_1", "conv2d_2"]
    assert head.get_attribute("aria-sort") == "descending"
    assert opened.locator("#table th[aria-sort]").count() == 1


def test_what_is_not_there_is_sorted_last(show: Any) -> None:
    layers = [made_reports.layer(i, torch=torch) for i, torch in enumerate(("b", None, "a", "1.5"), 1)]
    opened: Page = show(made_reports.report(layers))
    opened.get_by_role("button", name="torch partner").click()
    assert shown(opened) == ["conv2d_4", "conv2d_3", "conv2d_1", "conv2d_2"]


def is_open(page: Page, number: int) -> bool:
    return bool(page.evaluate(f"document.getElementById('layer-{number}').open"))


def test_a_link_opens_the_layer(show: Any) -> None:
    opened: Page = show(made_reports.mixed())
    assert not is_open(opened, 3)
    for place in (
        "#faults h3 a",
        "#graph svg a.fault",
        "#depth svg a:nth-of-type(3)",
        "#table tr[data-status=fault] a",
    ):
        opened.locator(place).first.click()
        opened.wait_for_function("document.getElementById('layer-3').open")
        assert opened.locator("#layer-3 summary").bounding_box()["y"] < 900  # type: ignore[index]
        opened.locator("#layer-3 > summary").click()
        assert not is_open(opened, 3)
    opened.evaluate("location.hash = '#layer-5'")
    opened.wait_for_function("document.getElementById('layer-5').open")
    assert opened.locator("#layer-5 svg.histogram").is_visible()


def test_an_address_with_a_layer_opens_it(show: Any) -> None:
    opened: Page = show(made_reports.deep(200), "#layer-100")
    assert is_open(opened, 100)
    assert not is_open(opened, 99)
    opened.wait_for_function("document.querySelector('#layer-100 summary').getBoundingClientRect().top < 300")
    assert opened.evaluate("document.activeElement.parentElement.id") == "layer-100"


def test_hostile_texts_do_nothing_in_a_browser(show: Any) -> None:
    opened: Page = show(made_reports.hostile(), "#layer-1")
    assert opened.evaluate("window.ran") is None
    for one in opened.locator("#layers a, #graph a, summary").all()[:12]:
        one.hover(timeout=1000)
    names = " ".join(shown(opened))
    assert all(text in names for text in made_reports.HOSTILE)
    assert "49" not in names
    assert opened.evaluate("window.ran") is None


def test_the_policy_stops_what_would_not_be_escaped(browser: Browser, tmp_path: Path) -> None:
    text = page.render(made_reports.mixed()).replace(
        "<footer>", "<script>ran=1</script><img src=x onerror=ran=2><footer>"
    )
    (tmp_path / "report.html").write_text(text, "utf-8")
    opened = Opened(browser, tmp_path / "report.html")
    assert opened.page.evaluate("window.ran") is None
    assert len(opened.events) >= 2  # it says what it refused
    opened.page.close()


def test_a_patch_is_copied(show: Any) -> None:
    opened: Page = show(made_reports.mixed())
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = opened.locator("#faults .code button").first
    button.click()
    opened.wait_for_function("document.getElementById('said').textContent === 'Copied'")
    assert opened.evaluate("navigator.clipboard.readText()") == "stage.3.bn.eps = 0.001"


def test_a_patch_is_selected_where_it_cannot_be_copied(show: Any) -> None:
    opened: Page = show(made_reports.mixed())
    opened.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(Error('not allowed')); }")
    opened.locator("#run .code button").click()
    opened.wait_for_function("document.getElementById('said').textContent === 'Selected'")
    assert opened.evaluate("getSelection().toString()").startswith("python -m pytest_kerasdiff models/net.h5")


CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const found = {};
  for (const one of document.querySelectorAll("h1, h2, .badge, .muted, a, dt, dd, small, th, td, button, svg text")) {
    let below = one, ground;
    do { ground = channels(getComputedStyle(below).backgroundColor); below = below.parentElement; }
    while (ground[3] === 0 && below);
    const style = getComputedStyle(one);
    const colour = one.closest("svg") && one.localName !== "a" ? style.fill : style.color;
    const [a, b] = [light(channels(colour)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const name = `${one.localName}.${one.className.baseVal ?? one.className}`;
    found[name] = Math.min(found[name] ?? 99, ratio);
  }
  return {ground: getComputedStyle(document.body).backgroundColor, found};
}"""


def test_texts_have_contrast_in_the_light_and_in_the_dark(show: Any) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        opened: Page = show(made_reports.mixed(), color_scheme=scheme)
        measured = opened.evaluate(CONTRAST)
        assert "h1.verdict fault" in measured["found"]
        assert {name: ratio for name, ratio in measured["found"].items() if ratio < 4.5} == {}, scheme
        grounds.add(measured["ground"])
    assert len(grounds) == 2


@pytest.mark.parametrize("width", [360, 1200])
def test_a_page_does_not_scroll_sideways(show: Any, width: int) -> None:
    made = made_reports.mixed()
    made["layers"][2] |= {"name": "a_name_without_end_" * 20, "source": "package/" * 40, "torch": "module." * 60}
    made["layers"][2]["causes"][0]["patch"] = "x" * 500
    made |= {"keras_model": "folder/" * 60, "command": "python " + "y" * 400}
    opened: Page = show(made, viewport={"width": width, "height": 800})
    opened.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_is_readable_without_its_script(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page.render(made_reports.mixed()), "utf-8")
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((tmp_path / "report.html").as_uri())
    assert opened.locator("#table tbody tr").count() == 7
    assert not opened.locator("#filter").is_visible()
    assert opened.locator("button").count() == 0
    opened.locator("#layer-3 > summary").click()
    assert opened.locator("#layer-3 table").first.is_visible()
    context.close()


def test_a_keyboard_user_gets_past_the_links(show: Any) -> None:
    opened: Page = show(made_reports.mixed())
    opened.keyboard.press("Tab")
    skip = opened.locator(".skip")
    assert opened.evaluate("document.activeElement.className") == "skip"
    assert skip.bounding_box()["y"] >= 0  # type: ignore[index]
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "content"
    opened.keyboard.press("Tab")
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_page_of_1000_layers_lays_out_only_what_is_seen(show: Any) -> None:
    """That is why it opens at once; how fast is measured by the benchmarks."""
    opened: Page = show(made_reports.deep(1000))
    seen = "one => one.querySelector('summary').checkVisibility({contentVisibilityAuto: true})"
    assert opened.locator("details.layer").count() == 1000
    assert opened.evaluate(f"[...document.querySelectorAll('details.layer')].filter({seen}).length") < 100
    last = opened.locator("details.layer").last
    last.scroll_into_view_if_needed()
    opened.wait_for_function(seen, arg=last.element_handle())
