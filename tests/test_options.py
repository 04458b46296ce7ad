"""The table of options: flags, ini keys, the program's arguments and settings come from it alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pytest_kerasdiff import __main__, options
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import OPTIONS, Settings

FOLDER = Path("/some/folder")


def resolve(**given: str | None) -> Settings:
    return options.resolve("model.h5", given, FOLDER)


def test_every_setting_is_an_option_and_every_option_a_setting() -> None:
    assert [o.name for o in OPTIONS] == [f.name for f in dataclasses.fields(Settings)][1:]
    assert all(o.meaning and not o.meaning.endswith(".") for o in OPTIONS)


def test_no_flag_begins_like_those_of_another_plugin() -> None:
    assert all(o.flag.startswith("--kerasdiff-") and o.ini.startswith("kerasdiff_") for o in OPTIONS)
    names = {o.name: (o.flag, o.program_flag, o.ini) for o in OPTIONS}
    assert names["write_manifest"] == ("--kerasdiff-write-manifest", "--write-manifest", "kerasdiff_write_manifest")


def test_the_program_takes_every_option() -> None:
    actions = {flag for action in __main__.parser()._actions for flag in action.option_strings}
    assert {o.program_flag for o in OPTIONS} <= actions
    given = vars(__main__.parser().parse_args(["model.h5", "--tol", "1e-3", "--trust"]))
    assert {name for name, value in given.items() if value is not None} == {"keras_model", "tol", "trust"}


def test_nothing_given_is_the_defaults() -> None:
    settings = resolve(torch=None, tol="")
    assert settings == Settings(FOLDER / "model.h5")
    assert (settings.tol, settings.precision, settings.batch, settings.seed, settings.device, settings.trust) == (
        *(1e-5, "float64", 2, 0, "cpu", False),
    )
    assert all(o.default == getattr(settings, o.name) for o in OPTIONS)


def test_values_are_converted_and_paths_made_absolute() -> None:
    settings = resolve(torch="a.b:c", tol="1e-3", batch="4", seed="0", trust="true", report="out", inputs="/x.npy")
    assert (settings.torch, settings.tol, settings.batch, settings.seed, settings.trust) == ("a.b:c", 1e-3, 4, 0, True)
    assert (settings.report, settings.inputs) == (FOLDER / "out", Path("/x.npy"))
    assert options.resolve("../model.h5", {}, FOLDER).keras_model == Path("/some/model.h5")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("Yes", True), ("1", True), ("false", False), ("no", False), ("0", False)]
)
def test_a_switch(text: str, value: bool) -> None:
    assert resolve(trust=text).trust is value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        *[("tol", text, "a number greater than 0") for text in ("0", "-1e-5", "nan", "inf", "1e-5x", "x")],
        *[("batch", text, "a whole number greater than 0") for text in ("0", "-1", "2.0", "two")],
        *[("seed", text, "a whole number, 0 or greater") for text in ("-1", "1.5", "x")],
        *[("precision", text, "float64 or float32") for text in ("float16", "double", "64")],
        ("trust", "maybe", "true or false"),
    ],
)
def test_a_value_that_is_not_valid_names_the_option_the_value_and_the_valid_ones(
    name: str, text: str, expected: str
) -> None:
    with pytest.raises(RunError) as caught:
        options.resolve("model.h5", {name: text}, FOLDER)
    assert str(caught.value).startswith(f"--kerasdiff-{name}: got {text!r}, expected {expected}")
    with pytest.raises(RunError, match=f"^--{name}: got "):
        options.resolve("model.h5", {name: text}, FOLDER, program=True)


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = resolve(torch="a:b", tol="1e-3", report="out", weights="w.pt", trust="true")
    assert Settings.from_json(settings.to_json()) == settings
    assert Settings.from_json(Settings(FOLDER).to_json()) == Settings(FOLDER)
