"""The report and the conversion report as Markdown; the expected texts lie beside this file."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_kerasdiff.writers import conversion, markdown
from tests import reports

HOSTILE = "<script>alert(1)</script> | `x` *y* [a](http://b) @team ![i](j) ``` \\"


def rendered(words: str) -> str:
    made: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(words)
    return made


@pytest.mark.parametrize("form", [markdown, conversion])
@pytest.mark.parametrize("made", [reports.passing, reports.failing], ids=["passing", "failing"])
def test_it_reads_as_agreed(form: Any, made: Any, file_regression: Any) -> None:
    file_regression.check(form.render(made()), extension=".md", encoding="utf-8")


def test_it_is_short_where_all_is_well() -> None:
    right = reports.report([reports.layer(f"conv_{i}") for i in range(200)], [reports.check("weights", "conv_1")])
    assert len(markdown.render(right)) < 500
    assert markdown.render(right).startswith("### equivalent: `net.h5` → `port:build`\n")


def test_of_many_layers_that_inherit_some_are_named() -> None:
    layers = [reports.layer("conv", status="fault"), *(reports.layer(f"l{i}", status="inherited") for i in range(500))]
    made = markdown.render(reports.report(layers))
    assert "`l19` … (500 in all)." in made
    assert "`l20`" not in made


@pytest.mark.promise("names and messages of a model are shown as text")
@pytest.mark.parametrize("form", [markdown, conversion])
def test_whatever_a_model_is_called_is_text(form: Any) -> None:
    layer = reports.layer(
        HOSTILE, HOSTILE, "fault", torch=HOSTILE, source=HOSTILE, pattern=HOSTILE, reason=HOSTILE, operations=[HOSTILE],
        causes=[reports.cause(text=HOSTILE, patch=HOSTILE, one=HOSTILE)],
    )  # fmt: skip
    check = reports.check(HOSTILE, HOSTILE, "fail", "eps", HOSTILE)
    warning = reports.check("frozen", cause="x", message=HOSTILE)
    report = reports.report(
        [layer], [check, warning], torch=HOSTILE, keras_model=HOSTILE, notes=[HOSTILE], unused_parameters={HOSTILE: ""}
    )
    words = form.render(report)
    html = rendered(words)
    assert "<script" not in html
    assert "<img" not in html
    assert "<a " not in html
    assert "<em>" not in html
    assert html.count("<h4>") + html.count("<h3>") == (2 if form is markdown else 0)
    outside = re.sub("<(code|pre).*?</\\1>", "", html, flags=re.DOTALL)
    assert "@\u200bteam" in outside
    assert "@team" not in outside


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_code_shows_what_it_was_given(words: str) -> None:
    own = " ".join(words.split())
    inside = MarkdownIt("commonmark").parseInline(markdown.code(words).replace("\\|", "|"))[0].children
    assert inside is not None
    assert [(token.type, token.content) for token in inside] == [("code_inline", own or " ")]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_plain_words_stay_as_they_are(words: str) -> None:
    inside = MarkdownIt("commonmark").parseInline("x" + markdown.plain(words))[0].children or []
    assert {token.type for token in inside} <= {"text"}
    shown = "".join(token.content for token in inside).replace("\u200b", "")
    assert shown == "x" + " ".join(words.split()).replace("\u200b", "")
