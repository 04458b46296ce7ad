"""The one table of options, and the frozen settings made from it.

pytest's flags, its ini keys, the program's arguments and the README's table all come from ``OPTIONS``.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_kerasdiff import checklist
from pytest_kerasdiff.checklist import Switch
from pytest_kerasdiff.errors import RunError

_LARGEST_BATCH = 2**16
TOL = 1e-5
"""The tolerance where none is given."""


class Shard(NamedTuple):
    """A part of the data: every ``of``-th batch, beginning with the ``number``-th, counted from 1."""

    number: int
    of: int

    def takes(self, batch: int) -> bool:
        """Whether a batch, counted from 0, is in this part."""
        return batch % self.of == self.number - 1

    def __str__(self) -> str:
        """As it is given."""
        return f"{self.number}/{self.of}"


WHOLE = Shard(1, 1)
"""All of the data."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What one run was asked to do. Paths are absolute; every field has the meaning of its row in ``OPTIONS``."""

    keras_model: Path
    torch: str | None = None
    keras: str | None = None
    weights: Path | None = None
    manifest: Path | None = None
    write_manifest: Path | None = None
    tol: float = TOL
    precision: str = "float64"
    batch: int = 2
    seed: int = 0
    device: str = "cpu"
    inputs: Path | None = None
    report: Path | None = None
    bundle: Path | None = None
    trust: bool = False
    timeout: float | None = None
    max_memory: float | None = None
    selftest: bool = False
    no_cache: bool = False
    record: Path | None = None
    reference: Path | None = None
    compact: bool = False
    data: str | None = None
    metric: str | None = None
    min_accuracy: float | None = None
    max_drop: float | None = None
    max_flips: int | None = None
    samples: tuple[int, ...] = ()
    shard: Shard = WHOLE
    onnx: bool = False
    throughput: tuple[int, ...] = ()
    min_speed: float | None = None
    baseline: Path | None = None
    max_slowdown: float = 0.2
    off: tuple[Switch, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-serialisable values."""
        values = {key: str(value) if isinstance(value, Path) else value for key, value in self._items()}
        return {**values, "off": [dataclasses.asdict(switch) for switch in self.off]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        """Rebuild settings from ``to_json``."""
        paths = {option.name for option in OPTIONS if option.is_path} | {"keras_model"}
        values: dict[str, Any] = {k: Path(v) if k in paths and v is not None else v for k, v in data.items()}
        lists: dict[str, Any] = {name: tuple(data[name]) for name in ("samples", "throughput")}
        lists["shard"] = Shard(*data["shard"])
        return cls(**{**values, **lists, "off": tuple(Switch(**switch) for switch in data["off"])})

    @property
    def asked_checks(self) -> frozenset[str]:
        """Checks that are made because an option asks for what they look at."""
        asked = {"accuracy": self.data is not None, "throughput": bool(self.throughput), "onnx": self.onnx}
        return frozenset(name for name, wanted in asked.items() if wanted)

    def _items(self) -> list[tuple[str, Any]]:
        return [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One row of the table.

    Attributes:
        name: Field of ``Settings``; the flags and the ini key are made from it.
        meaning: One line of help.
        convert: Turns the text given by the user into the value; raises ValueError with the valid values.
        metavar: Placeholder of the value in help texts; empty for a switch.
        repeats: It may be given several times, in the ini one a line; those of the ini count, too.
    """

    name: str
    meaning: str
    convert: Callable[[str], Any]
    metavar: str
    repeats: bool = False

    @property
    def flag(self) -> str:
        """The pytest flag, for example ``--kerasdiff-torch``."""
        return "--kerasdiff-" + self.name.replace("_", "-")

    @property
    def program_flag(self) -> str:
        """The program's flag, for example ``--torch``."""
        return "--" + self.name.replace("_", "-")

    @property
    def ini(self) -> str:
        """The ini key, for example ``kerasdiff_torch``."""
        return "kerasdiff_" + self.name

    @property
    def is_path(self) -> bool:
        """Whether the value is a path, relative to where it was given."""
        return self.convert is _path

    def in_folder(self, text: str, folder: Path) -> str:
        """The text with a path made absolute, where it is one."""
        named = self.is_path or (self.convert is _path_or_code and not _is_code(text))
        return str(_absolute(folder / text)) if named else text

    @property
    def default(self) -> Any:
        """The value when nothing is given."""
        return Settings.__dataclass_fields__[self.name].default


def _absolute(path: Path) -> Path:
    """A path without links; as it is where its links lead to themselves."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _may_be_written(folder: Path) -> bool:
    """Whether a folder is there and can be written, or can be made."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK)


def _path(text: str) -> Path:
    return Path(text)


def _text(text: str) -> str:
    return text


def _path_or_code(text: str) -> str:
    return text


def _is_code(text: str) -> bool:
    """Whether a text is ``module:callable``, and no path."""
    return bool(re.fullmatch(r"[\w.]+:[\w.]+", text))


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise ValueError("a number, 0 or greater, such as 0.01")
    return value


def _part(text: str) -> float:
    value = _share(text)
    if value >= 1:
        raise ValueError("a share, 0 or greater and less than 1, such as 0.2 for a fifth")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ValueError("a number, such as 0.92")
    return value


def _positive(kind: Callable[[str], Any], text: str) -> Any:
    value = kind(text)
    if not 0 < value < float("inf"):
        raise ValueError("a number greater than 0")
    return value


def _above_0(words: str) -> Callable[[str], float]:
    """What converts a number greater than 0, and says else in these words what is expected."""

    def convert(text: str) -> float:
        try:
            return float(_positive(float, text))
        except ValueError:
            raise ValueError(words) from None

    return convert


_tolerance = _above_0("a number greater than 0, such as 1e-5")
_ratio = _above_0("a number greater than 0, such as 0.8")
_seconds = _above_0("a number of seconds greater than 0, such as 600")
_gib = _above_0("a number of GiB greater than 0, such as 8")


def _batch(text: str) -> int:
    try:
        return int(_positive(int, text))
    except ValueError:
        raise ValueError("a whole number greater than 0") from None


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise ValueError("a whole number, 0 or greater")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(dict.fromkeys(_batch(size) for size in text.split(",")))
    except ValueError:
        sizes = ()
    if not sizes or max(sizes) > _LARGEST_BATCH:
        raise ValueError(f"batch sizes by commas, at most {_LARGEST_BATCH}, such as 1,32")
    return sizes


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(_whole(number) for number in text.split(",")))
    except ValueError:
        raise ValueError("numbers of samples by commas, from 0 on, such as 0,17") from None


def _shard(text: str) -> Shard:
    number, _, of = text.partition("/")
    try:
        shard = Shard(int(number), int(of))
    except ValueError:
        shard = Shard(0, 0)
    if not 1 <= shard.number <= shard.of:
        raise ValueError("a part of so many, counted from 1, such as 2/8")
    return shard


def _precision(text: str) -> str:
    if text not in ("float64", "float32"):
        raise ValueError("float64 or float32")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "1", "yes", "false", "0", "no"):
        raise ValueError("true or false")
    return text.lower() in ("true", "1", "yes")


OPTIONS: tuple[Option, ...] = (
    Option(
        "torch",
        "`module:callable` that returns the nn.Module to judge; or a TorchScript `.pt`, an exported `.pt2`, an `.onnx`",
        _text,
        "SPEC",
    ),
    Option(
        "keras",
        "`module:callable` that builds the Keras model, where the file holds weights only, or layers of your own",
        _text,
        "SPEC",
    ),
    Option("weights", "state dict (`.pt` or `.safetensors`) loaded strictly into the module", _path, "PATH"),
    Option(
        "manifest",
        "layer map, layouts, tolerances; default: kerasdiff.toml beside the model, then rootdir",
        _path,
        "PATH",
    ),
    Option("write_manifest", "write the alignment found as a manifest", _path, "PATH"),
    Option("tol", "tolerance of every layer", _tolerance, "X"),
    Option("precision", "arithmetic of both sides: float64 or float32", _precision, "NAME"),
    Option("batch", "number of probe inputs per batch", _batch, "N"),
    Option("seed", "seed of the probe inputs", _whole, "N"),
    Option("device", "torch device of the port", _text, "NAME"),
    Option("inputs", "real probe inputs (`.npy` or `.npz`) instead of generated ones", _path, "PATH"),
    Option("report", "folder that receives the report, for programs and for people", _path, "DIR"),
    Option(
        "bundle", "folder that receives each layer at fault with a script that shows it with torch alone", _path, "DIR"
    ),
    Option("trust", "run code stored in the model files", _switch, ""),
    Option("timeout", "seconds after which a run that has not ended is stopped", _seconds, "S"),
    Option("max_memory", "GiB that each side's process may use; where it needs more, the run is stopped", _gib, "GIB"),
    Option(
        "selftest",
        "seed faults into the torch model, one at a time, and fail where a detectable one is not caught",
        _switch,
        "",
    ),
    Option("no_cache", "make the reference anew, and keep nothing of it between runs", _switch, ""),
    Option("record", "write a recorded reference: what Keras computed, as one portable file", _path, "PATH"),
    Option("reference", "use a recorded reference; Keras and TensorFlow are not needed", _path, "PATH"),
    Option("compact", "record projections in place of activations: says whether and where first", _switch, ""),
    Option(
        "data",
        "labelled data, for accuracy: `.npz` with x and y, a folder with a sub-folder a class, or `module:callable`",
        _path_or_code,
        "PATH",
    ),
    Option("metric", "`module:callable` that scores outputs in place of top-1", _text, "SPEC"),
    Option("min_accuracy", "smallest accuracy of the port that passes", _number, "X"),
    Option("max_drop", "how far the port's accuracy may be below Keras's", _share, "X"),
    Option("max_flips", "how many decisions may be other ones than Keras's", _whole, "N"),
    Option("samples", "samples of the data to show side by side in the report, such as 0,17", _numbers, "NUMBERS"),
    Option("shard", "the part of the data that this run takes, such as 2/8; the reports are merged", _shard, "K/N"),
    Option("onnx", "ask for a second opinion: the Keras model as ONNX, run by onnxruntime", _switch, ""),
    Option("throughput", "time both models in turns at these batch sizes, such as 1,32", _sizes, "SIZES"),
    Option("min_speed", "smallest ratio that passes of the port's speed to Keras's", _ratio, "X"),
    Option(
        "baseline", "report.json of an earlier run, with whose ratios of speed this one's are compared", _path, "PATH"
    ),
    Option("max_slowdown", "how far, in shares of 1, a ratio may be below the baseline's", _part, "X"),
    Option(
        "off",
        "turn a check off, with the reason, which the report shows; repeatable, one a line in the ini",
        _text,
        "LAYER::CHECK: REASON",
        repeats=True,
    ),
)


_GO_WITH: Mapping[str, tuple[str, str]] = {
    "compact": ("record", "says how a reference is recorded"),
    **dict.fromkeys(
        ("metric", "min_accuracy", "max_drop", "max_flips", "samples", "shard"), ("data", "speaks of accuracy")
    ),
    **dict.fromkeys(("min_speed", "baseline"), ("throughput", "speaks of speed")),
    "max_slowdown": ("baseline", "speaks of a baseline"),
}
"""Options that mean nothing without another one, and why."""


def resolve(
    keras_model: str, given: Mapping[str, str | Sequence[str] | None], folder: Path, program: bool = False
) -> Settings:
    """Turn texts given by the user into settings.

    Args:
        keras_model: Path of the Keras file.
        given: Text of each option by name, texts of one that repeats; missing or None where it was not given.
        folder: Folder that relative paths refer to.
        program: Name options as the program does in error messages, not as pytest does.

    Raises:
        RunError: A value is not valid; the line names the option, the value received and the valid ones.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        text, flag = given.get(option.name), option.program_flag if program else option.flag
        if not text:
            continue
        if isinstance(text, str):
            values[option.name] = _converted(option, option.in_folder(text, folder), flag)
        else:  # the one option that repeats has lines of its own language
            values[option.name] = tuple(checklist.parse_lines(text, flag))
    prefix = "--" if program else "--kerasdiff-"
    if values.get("record") is not None and values.get("reference") is not None:
        raise RunError(f"{prefix}record and {prefix}reference: a reference is either written or used")
    if values.get("record") is not None and values.get("shard") is not None:
        raise RunError(f"{prefix}shard: a recorded reference has Keras's predictions for all of the data")
    if values.get("min_speed") is not None and values.get("reference") is not None:
        raise RunError(
            f"{prefix}min-speed: with a recorded reference Keras is not run; compare with an earlier report: "
            f"{prefix}baseline=PATH"
        )
    least = values.get("min_accuracy")
    if least is not None and values.get("metric") is None and not 0 <= least <= 1:
        raise RunError(f"{prefix}min-accuracy: got {least:g}, expected a share, 0 … 1")
    for name, (other, words) in _GO_WITH.items():
        if values.get(name) is not None and not values.get(other):
            flag = prefix + name.replace("_", "-")
            (metavar,) = (option.metavar for option in OPTIONS if option.name == other)
            raise RunError(f"{flag} {words}: it goes with {prefix}{other}={metavar}")
    for name in ("report", "bundle"):  # said now, and not after the comparison
        if (folder_asked := values.get(name)) is not None and not _may_be_written(folder_asked):
            raise RunError(f"{folder_asked}: cannot be written ({prefix}{name}): name a folder that can")
    return Settings(keras_model=_absolute(folder / keras_model), **values)


def command(settings: Settings) -> str:
    """The command line of the program that makes a run with these settings, as a shell takes it."""
    words = ["python", "-m", "pytest_kerasdiff", str(settings.keras_model)]
    for option in OPTIONS:
        value = getattr(settings, option.name)
        if value == option.default:
            continue
        if option.repeats:
            words += [word for switch in value for word in (option.program_flag, str(switch))]
        elif not option.metavar:
            words.append(option.program_flag)
        else:
            several = isinstance(value, tuple) and not isinstance(value, Shard)
            words += [option.program_flag, ",".join(map(str, value)) if several else str(value)]
    return shlex.join(words)


def _converted(option: Option, text: str, flag: str) -> Any:
    try:
        return option.convert(text)
    except ValueError as error:
        raise RunError(f"{flag}: got {text!r}, expected {error}") from None
