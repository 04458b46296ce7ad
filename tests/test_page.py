"""The page of a report: complete, harmless whatever its report says, and usable in a browser."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_kerasdiff import reportfile
from pytest_kerasdiff.writers import files, page
from tests import helpers, made_reports

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

ROOT = Path(__file__).parents[1]
VOID = {"meta", "input", "img", "br", "hr", "link"}
HOSTILE = (
    "<script>window.ran=1;alert(1)</script>",
    '"onmouseover="window.ran=1;alert(1)" x="',
    "'><img src=x onerror=window.ran=1>",
    "{{7*7}}{% set x = 1 %}",
    "javascript:alert(1)",
    "</title></style></pre></svg><script>window.ran=1</script>",
)


class Structure(HTMLParser):
    """What is wrong with the form of a page, and what it holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self.svgs: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "svg":
            self.svgs.append([])
        elif self._open[-1:] == ["svg"]:
            self.svgs[-1].append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}, line {self.getpos()[0]}")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()


def assert_sound(text: str) -> Structure:
    found = Structure(text)
    assert found.problems == []
    assert sorted(found.ids) == sorted(set(found.ids))
    for link in found.links:
        assert link.startswith("#"), f"a link to elsewhere: {link}"
        assert link[1:] in found.ids, f"{link} leads nowhere"
    assert all("title" in inside for inside in found.svgs), "a drawing without a title"
    for _, name, value in found.attributes:
        if name in ("aria-labelledby", "aria-describedby"):
            assert set(value.split()) <= set(found.ids), f"{value} names nothing"
        assert not name.startswith("on"), f"a handler in an attribute: {name}={value}"
        assert name != "style", "the page's policy forbids styles in attributes"
    for tag, name, value in found.attributes:
        if name == "src":
            assert (tag, value[:22]) == ("img", "data:image/png;base64,")
    assert found.headings[0] == 1
    assert all(b <= a + 1 for a, b in zip(found.headings, found.headings[1:], strict=False)), found.headings
    return found


def hostile() -> made_reports.Report:
    """A report whose every text is one of ``HOSTILE``, names of fields apart."""

    def spoilt(value: Any, key: str, number: int) -> Any:
        if isinstance(value, dict):
            foreign = key in ("config", "inputs", "unused_parameters", "environment", "not_seeded")
            return {
                (f"{name}{HOSTILE[number % 6]}" if foreign else name): spoilt(one, name, number)
                for name, one in value.items()
            }
        if isinstance(value, list):
            return [spoilt(one, key, number + i) for i, one in enumerate(value)]
        kept = ("status", "verdict", "image", "check", "inherits_from")
        return f"{HOSTILE[number % 6]}{value}" if isinstance(value, str) and key not in kept else value

    made: made_reports.Report = spoilt(made_reports.mixed(), "", 0)
    made["accuracy"]["shown"] *= 2
    made["accuracy"]["shown"][0] = {**made["accuracy"]["shown"][0], "image": "javascript:alert(1)"}
    made["layers"][0]["status"] = made["checks"][0]["status"] = made["selftest"]["faults"][0]["status"] = HOSTILE[1]
    return made


# -- the text --------------------------------------------------------------------------------------------------------


def test_a_page_has_what_the_report_has() -> None:
    text = page.render(made_reports.mixed())
    assert_sound(text)
    for words in (
        "NOT equivalent", "models/net.h5", "package.port:build", "float64", "the input was given in another layout",
        "stage.3.bn.eps = 0.001", "confirmed on a second input", "net/port.py:3", "0.3 apart", "not on this machine",
        "kernel_size", "conv2d_3", "McNemar", "cat (0)", "10 more", "a recorded reference", "too slow",
        "undetectable", "the model has none", "stage.spare", "256 MiB", "--report out", "pytest-kerasdiff 0.1.0",
        "With all confirmed causes undone",
    ):  # fmt: skip
        assert words in text, words
    assert page.render(made_reports.mixed()) == text


def test_a_page_of_a_right_port_has_no_faults() -> None:
    made = made_reports.report([made_reports.layer(i) for i in (1, 2)])
    made["checks"] = [check for check in made["checks"] if check["status"] == "pass" and not check["cause"]]
    text = page.render({**made, "verdict": "pass"})
    assert_sound(text)
    assert "✓</span> equivalent" in text
    assert 'id="faults"' not in text
    assert "All checks pass without a warning" in text


@pytest.mark.parametrize("fields", ["nothing", "null", "layers without details"])
def test_what_a_report_lacks_is_left_out(fields: str) -> None:
    made = made_reports.mixed()
    if fields == "nothing":
        made = {key: made[key] for key in ("schema", "verdict", "layers", "checks")}
    elif fields == "null":
        nulls = ("accuracy", "throughput", "selftest", "repaired", "coverage", "summary", "reference", "environment")
        made |= dict.fromkeys(nulls)
        numbers = dict.fromkeys(("scale", "got", "expected", "differing"))
        for layer in made["layers"]:
            layer |= dict.fromkeys(("weights", "histogram", "error_map", "isolated", "cumulative", "torch", "source"))
        made["layers"][2]["isolated"] = {**made_reports.error(None, reason="NaN on one side"), **numbers}
    else:
        kept = ("name", "class", "torch", "status", "isolated", "cumulative")
        made["layers"] = [{key: layer[key] for key in kept} for layer in made["layers"]]
    text = page.render(made)
    assert_sound(text)
    assert "Undefined" not in text
    assert ">None<" not in text


def test_a_report_of_nothing_is_a_page() -> None:
    assert_sound(page.render({"schema": 1, "verdict": "fail", "layers": [], "checks": []}))


def test_a_layer_that_is_called_twice_has_two_entries() -> None:
    layers = [made_reports.layer(i) for i in (1, 2, 3, 4)]
    layers[2]["name"] = layers[1]["name"]
    layers[2]["inputs"] = layers[3]["inputs"] = [layers[1]["name"]]
    text = page.render(made_reports.report(layers))
    assert_sound(text)
    third, fourth = (text.partition(f'id="layer-{number}"')[2].partition("</details>")[0] for number in (3, 4))
    assert 'href="#layer-2"' in third
    assert 'href="#layer-3"' in fourth


def test_hostile_texts_are_texts() -> None:
    text = page.render(hostile())
    found = assert_sound(text)
    assert text.count("<script") == text.count("</script") == 1
    assert "&lt;script&gt;window.ran=1" in text
    assert "{{7*7}}" in text
    assert not {"ran", "alert"} & {name for _, name, _ in found.attributes}
    assert [value[:5] for _, name, value in found.attributes if name == "src"] == ["data:"]


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/a.png", "data:image/svg+xml;base64,AAAA", "data:image/png;base64,AA\"><b>",
        "data:image/png;base64,AAAA\n", "data:image/png,AAAA", 5, None,
    ],
)  # fmt: skip
def test_only_a_png_in_the_report_is_a_picture(uri: object) -> None:
    made = made_reports.mixed()
    made["accuracy"]["shown"][0]["image"] = uri
    assert "<img" not in page.render(made)


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    made = made_reports.report([made_reports.layer(1, name="a\udc80b\u202e")], keras_model="\udcff.h5")
    files.publish(made, tmp_path)
    assert "a?b" in (tmp_path / "report.html").read_text("utf-8")
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == made


def test_the_policy_allows_this_script_and_style_only() -> None:
    text = page.render(made_reports.mixed())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    directives = dict(part.split(" ", 1) for part in policy.replace("&#39;", "'").split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data:"
    for name in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", directives[name])


def test_a_page_of_177_layers_is_small() -> None:
    assert len(page.render(made_reports.deep(177)).encode()) < 2**20


def test_the_templates_are_distributed() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    folder = ROOT / "pytest_kerasdiff" / "writers"
    listed = {path for pattern in stated["pytest_kerasdiff.writers"] for path in folder.glob(pattern)}
    assert listed == {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert len(listed) > 3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that a run has written, of a port with a fault."""
    folder = tmp_path_factory.mktemp("written")
    helpers.write_tiny(folder / "net.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT)
    done = helpers.program(folder, "net.h5", "--torch", "port:wrong", "--report", "out", "--batch", "3")
    assert done.returncode == 1, done.stderr
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(["report.json", *files.FORMS])
    return folder / "out" / "report.html"


def test_a_run_writes_its_page_beside_its_report(written: Path) -> None:
    text = written.read_text("utf-8")
    assert_sound(text)
    assert text == page.render(reportfile.read(written.parent))
    assert text.count('<details class="layer"') == len(helpers.LAYERS)
    faults = re.findall(r'<article class="block fault".*?href="#layer-(\d)"', text, re.DOTALL)
    assert faults == ["2", "6"]
    details = text.partition('id="layer-2"')[2].partition("</details>")[0]
    assert all(f'<svg class="{drawing}"' in details for drawing in ("histogram", "map", "bars"))


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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
        self.page.set_default_timeout(5000)
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


def test_a_written_page_opens_from_the_disk(browser: Browser, written: Path) -> None:
    opened = Opened(browser, written)
    assert opened.page.locator("h1").inner_text() == "✗ NOT equivalent"
    assert opened.page.locator(".sortable button").count() == 10  # the script ran
    assert opened.page.evaluate("getComputedStyle(document.querySelector('.badge')).fontWeight") == "600"
    assert (opened.events, opened.requests) == ([], [opened.url])
    opened.page.close()


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
    opened: Page = show(hostile(), "#layer-1")
    assert opened.evaluate("window.ran") is None
    for one in opened.locator("#layers a, #graph a, summary").all()[:12]:
        one.hover(timeout=1000)
    names = " ".join(shown(opened))
    assert all(text in names for text in HOSTILE)
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


def test_a_page_of_1000_layers_opens_at_once(show: Any) -> None:
    made = made_reports.deep(1000)
    entry = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    times = []
    for _ in range(2):  # the first one may meet a busy machine
        opened: Page = show(made)
        times.append(opened.evaluate(entry))
        if 0 < times[-1] < 2000:
            break
    assert 0 < min(times) < 2000
    assert opened.locator("details.layer").count() == 1000
