"""The page of a report as text: complete, sound in form, and harmless whatever its report says."""

from __future__ import annotations

import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pytest_kerasdiff import reportfile
from pytest_kerasdiff.writers import files, page
from tests import helpers, made_reports

ROOT = Path(__file__).parents[1]
VOID = {"meta", "input", "img", "br", "hr", "link"}


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
    text = page.render(made_reports.hostile())
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
    listed = {
        path for pattern in stated["pytest_kerasdiff.writers.templates"] for path in folder.glob(f"templates/{pattern}")
    }
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
