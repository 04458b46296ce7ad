"""The manifest, ``kerasdiff.toml``: what the user says about inputs, layers and tolerances."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_kerasdiff import checklist
from pytest_kerasdiff.checklist import Switch
from pytest_kerasdiff.errors import RunError

FILE_NAME = "kerasdiff.toml"


@dataclasses.dataclass(frozen=True, slots=True)
class InputRule:
    """How one input is drawn and handed to torch.

    Attributes:
        layout: Permutation of Keras's axes, "keras" for unchanged, "module:function", or None where not said.
        shape: Sizes without the batch axis, where the Keras model leaves them free.
        range: Lowest and highest value of generated probes.
    """

    layout: tuple[int, ...] | str | None = None
    shape: tuple[int, ...] | None = None
    range: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerance:
    """A tolerance of one layer, with the reason that the report repeats."""

    tol: float
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Preprocess:
    """The two preprocessing functions, and the raw input that both are given.

    Attributes:
        keras: ``module:callable`` that makes of one raw sample what the Keras model takes.
        torch: ``module:callable`` that makes of it what the port takes.
        raw: File of real raw samples, the first axis; None where they are generated.
        shape: Sizes of one generated raw sample; None for those of the model's input.
    """

    keras: str
    torch: str
    raw: Path | None = None
    shape: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """The whole manifest; every part is optional.

    Attributes:
        path: The file, or None where there is none.
        torch: ``module:callable`` of the port.
        inputs: Rule of each input by name; the name "" stands for the only input.
        layers: Keras layer → (first, last) torch module or operation; equal where one is named.
        declared: Keras layers or torch parameters without a partner → reason.
        tolerances: Keras layer → tolerance.
        preprocess: The preprocessing functions, where both are named.
        switches: Checks that are turned off, with the reason, or are to fail where they only warn.
    """

    path: Path | None = None
    torch: str | None = None
    inputs: Mapping[str, InputRule] = dataclasses.field(default_factory=dict)
    layers: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    declared: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tolerances: Mapping[str, Tolerance] = dataclasses.field(default_factory=dict)
    preprocess: Preprocess | None = None
    switches: tuple[Switch, ...] = ()

    def check_names(self, layers: Iterable[str], parameters: Iterable[str]) -> None:
        """Refuse names of nothing: a misspelt tolerance or declaration would lose its effect in silence.

        Raises:
            RunError: [tolerance] or [declared] names neither a Keras layer nor, for the latter, a torch parameter.
        """
        known = set(layers)
        for table, names, valid in (("tolerance", self.tolerances, known),
                                    ("declared", self.declared, known | set(parameters))):  # fmt: skip
            for name in names:
                if name not in valid:
                    close = difflib.get_close_matches(name, valid, 3)
                    hint = f"; did you mean {', '.join(close)}?" if close else ""
                    raise RunError(f"{self.path}: [{table}] {name}: neither model has such a name{hint}")

    def rules(self, names: Sequence[str]) -> dict[str, InputRule]:
        """The rule of each input by its own name.

        Raises:
            RunError: The manifest names an input that the model does not have, or none where it has several.
        """
        if "" in self.inputs:
            if len(names) > 1:
                raise RunError(
                    f"{self.path}: [inputs] must name the input, as [inputs.{names[0]}]: the Keras model has "
                    f"{len(names)}: {', '.join(names)}"
                )
            return {names[0]: self.inputs[""]} if names else {}
        for name in self.inputs:
            if name not in names:
                raise RunError(
                    f"{self.path}: [inputs.{name}]: the Keras model has no such input; it has {', '.join(names)}"
                )
        return dict(self.inputs)


def find(keras_model: Path, given: Path | None, rootdir: Path) -> Manifest:
    """Read the manifest named by the user, else the one beside the model, else the one in rootdir, else an empty one.

    Raises:
        RunError: The named file is not there, or a manifest is not valid.
    """
    if given is not None:
        if not given.exists():
            raise RunError(f"{given}: no such file (--kerasdiff-manifest)")
        return read(given)
    for folder in (keras_model.parent, rootdir):
        if (folder / FILE_NAME).exists():
            return read(folder / FILE_NAME)
    return Manifest()


def port(given: str | None, stated: Manifest, keras_model: Path) -> str:
    """Spec of the port: the one given by an option, else the manifest's.

    Raises:
        RunError: Neither names one.
    """
    spec = given or stated.torch
    if spec is None:
        raise RunError(
            "no torch model is named: give --kerasdiff-torch=module:callable, or write torch = "
            f'"module:callable" into {FILE_NAME} beside {keras_model.name}'
        )
    return spec


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        RunError: Not TOML, an unknown key, or a value of the wrong kind; the line names the key.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    known = {"torch", "inputs", "layers", "declared", "tolerance", "preprocess", "checks"}
    for key in data:
        if key not in known:
            raise RunError(f"{path}: unknown key {key!r}; known: {', '.join(sorted(known))}")
    try:
        return Manifest(
            path=path,
            torch=_text(data["torch"], "torch") if "torch" in data else None,
            inputs=_inputs(_table(data, "inputs")),
            layers={name: _span(name, value) for name, value in _table(data, "layers").items()},
            declared={name: _reason(value, f"[declared] {name}") for name, value in _table(data, "declared").items()},
            preprocess=_preprocess(path, _table(data, "preprocess")) if "preprocess" in data else None,
            switches=tuple(_switch(path, name, value) for name, value in _table(data, "checks").items()),
            tolerances={name: _tolerance(name, value) for name, value in _table(data, "tolerance").items()},
        )
    except ValueError as error:
        raise RunError(f"{path}: {error}") from None


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"[{key}] must be a table")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} = {value!r}: expected a text")
    return value


def _reason(value: Any, where: str) -> str:
    if not _text(value, where).strip():
        raise ValueError(f"{where} = {value!r}: expected a reason")
    return str(value)


def _inputs(table: Mapping[str, Any]) -> dict[str, InputRule]:
    if table and all(isinstance(value, dict) for value in table.values()):
        return {name: _input_rule(f"[inputs.{name}]", value) for name, value in table.items()}
    return {"": _input_rule("[inputs]", table)} if table else {}


def _input_rule(where: str, table: Mapping[str, Any]) -> InputRule:
    for key in table:
        if key not in ("layout", "shape", "range"):
            raise ValueError(f"{where}: unknown key {key!r}; known: layout, range, shape")
    layout = table.get("layout")
    if isinstance(layout, list):
        if not all(type(axis) is int for axis in layout) or sorted(layout) != list(range(len(layout))):
            raise ValueError(f"{where} layout = {layout}: expected a permutation of 0 … {len(layout) - 1}")
        layout = tuple(layout)
    elif layout is not None and not (isinstance(layout, str) and (layout == "keras" or ":" in layout)):
        raise ValueError(
            f'{where} layout = {layout!r}: expected a permutation such as [0, 3, 1, 2], "keras", or "module:function"'
        )
    shape, limits = _sizes(table, where), table.get("range")
    if limits is not None and not (
        isinstance(limits, list)
        and len(limits) == 2
        and all(isinstance(v, int | float) for v in limits)
        and limits[0] < limits[1]
    ):
        raise ValueError(f"{where} range = {limits!r}: expected [lowest, highest]")
    return InputRule(layout, shape, (limits[0], limits[1]) if limits else None)


def _sizes(table: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    shape = table.get("shape")
    if shape is not None and not (isinstance(shape, list) and all(isinstance(s, int) and s > 0 for s in shape)):
        raise ValueError(f"{where} shape = {shape!r}: expected a list of sizes without the batch axis")
    return tuple(shape) if shape else None


def _preprocess(path: Path, table: Mapping[str, Any]) -> Preprocess:
    for key in table:
        if key not in ("keras", "torch", "raw", "shape"):
            raise ValueError(f"[preprocess]: unknown key {key!r}; known: keras, raw, shape, torch")
    for side in ("keras", "torch"):
        if side not in table:
            raise ValueError(f'[preprocess]: {side} is missing; both functions are named: {side} = "module:function"')
        if not isinstance(table[side], str) or not all(table[side].partition(":")):
            raise ValueError(f'[preprocess] {side} = {table[side]!r}: expected "module:function"')
    if "raw" in table and "shape" in table:
        raise ValueError("[preprocess]: raw and shape: give one of them, the samples of a file have a shape")
    # Absolute, because the processes that read it may run in other folders.
    raw = (path.parent / _text(table["raw"], "[preprocess] raw")).resolve() if "raw" in table else None
    return Preprocess(table["keras"], table["torch"], raw, _sizes(table, "[preprocess]"))


def _span(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return value, value
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        return value[0], value[1]
    raise ValueError(f'[layers] {name} = {value!r}: expected a torch module or operation, or ["from", "to"]')


def _tolerance(name: str, value: Any) -> Tolerance:
    if not (
        isinstance(value, dict)
        and isinstance(value.get("tol"), int | float)
        and 0 < value["tol"] < float("inf")
        and isinstance(value.get("reason"), str)
        and value["reason"].strip()
    ):
        raise ValueError(f'[tolerance] {name} = {value!r}: expected {{ tol = 1e-4, reason = "why" }}')
    return Tolerance(float(value["tol"]), value["reason"])


def _switch(path: Path, tests: str, value: Any) -> Switch:
    where = f"{path}: [checks]"
    if value == "fail":
        return checklist.parse(tests, where, fails=True)
    if isinstance(value, dict) and list(value) == ["off"] and isinstance(value["off"], str) and value["off"].strip():
        return checklist.parse(tests, where, off=value["off"])
    raise ValueError(f'[checks] {tests} = {value!r}: expected {{ off = "why" }} or "fail"')


def write(
    path: Path,
    layers: Mapping[str, str | tuple[str, str]],
    declared: Mapping[str, str],
    layouts: Mapping[str, Sequence[int]],
    torch: str | None,
    stated: Manifest | None = None,
) -> None:
    """Write an alignment as a manifest that ``read`` takes back, for review.

    What ``stated`` says of inputs, preprocessing, tolerances and torch parameters is carried over.

    Raises:
        RunError: It cannot be written; what was there before is there still.
    """
    stated = stated or Manifest()
    lines = [f"torch = {json.dumps(torch)}\n"] if torch else []
    rules = stated.rules(list(layouts))
    for name, layout in layouts.items():
        rule = rules.get(name, InputRule())
        given = {
            "layout": rule.layout if isinstance(rule.layout, str) else layout,
            "shape": rule.shape,
            "range": rule.range,
        }
        lines.append(f"[inputs.{json.dumps(name)}]")
        lines += [f"{key} = {_toml(value)}" for key, value in given.items() if value]
        lines.append("")
    lines.append("[layers]")
    lines += [
        f"{json.dumps(name)} = {json.dumps(span if isinstance(span, str) else list(span))}"
        for name, span in layers.items()
    ]
    if declared := {**declared, **stated.declared}:
        lines += ["\n[declared]"] + [f"{json.dumps(name)} = {json.dumps(reason)}" for name, reason in declared.items()]
    if stated.tolerances:
        lines.append("\n[tolerance]")
    for name, own in stated.tolerances.items():
        lines.append(f"{json.dumps(name)} = {{ tol = {own.tol!r}, reason = {json.dumps(own.reason)} }}")
    if stated.preprocess is not None:
        lines += ["\n[preprocess]", *_preprocess_lines(path, stated.preprocess)]
    if stated.switches:
        lines.append("\n[checks]")
    for switch in stated.switches:
        told = f"{{ off = {json.dumps(switch.off)} }}" if switch.off else '"fail"'
        lines.append(f"{json.dumps(f'{switch.layer}::{switch.check}')} = {told}")
    if path.exists():
        try:
            read(path)
        except RunError:
            raise RunError(
                f"--kerasdiff-write-manifest: {path} is there, and is no manifest: it is not written over"
            ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()  # a link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None


def _preprocess_lines(path: Path, stated: Preprocess) -> list[str]:
    # Relative to the new file, so that both can be moved together.
    raw = Path(os.path.relpath(stated.raw, path.parent.resolve())).as_posix() if stated.raw is not None else None
    given = {"keras": stated.keras, "torch": stated.torch, "raw": raw, "shape": stated.shape}
    return [f"{key} = {_toml(value)}" for key, value in given.items() if value]


def _toml(value: str | Sequence[float]) -> str:
    return json.dumps(value if isinstance(value, str) else list(value))
