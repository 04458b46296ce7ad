"""A layer at fault in a folder of its own: what it takes and should give, its weights, and a script for torch alone."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_kerasdiff import compact
from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import Array, ReferenceTrace, ReplayError

TENSORS, SCRIPT, LAYER = "tensors.npz", "repro.py", "layer.json"

_SCRIPT = '''"""{title}: what the port computes on {given}, with torch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

with np.load(Path(__file__).with_name("{tensors}"), allow_pickle=False) as file:
    t = {{name: torch.from_numpy(file[name]) for name in file.files}}

with torch.inference_mode():
{lines}

found, expected = {result}, t["expected"]  # in the port's layout; in Keras's own the latter is t["keras_output"]
if found.shape != expected.shape:
    print(f"shape {{tuple(found.shape)}}, expected {{tuple(expected.shape)}}")
else:
    same = (found == expected) | (found.isnan() & expected.isnan())
    apart = torch.where(same, 0, (found - expected).abs()).nan_to_num(nan=float("inf"))
    scale = expected[expected.isfinite()].abs().max()
    print(f"max|Δ| {{apart.max():.3g}} of scale {{scale:.3g}}, limit {limit:.3g}")
    print(f"{{(apart > {limit!r}).double().mean():.1%}} of elements differ")
'''


def write(folder: Path, reference: ReferenceTrace, judge: Judge, layers: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Write a folder for each layer.

    Args:
        folder: That receives them.
        reference: The Keras side.
        judge: What was found.
        layers: Position → the layer's entry in the report.

    Returns:
        What could not be written of which layer, and why.

    Raises:
        RunError: The folder cannot be written.
    """
    left_out = []
    _clear(folder)
    for position, entry in layers.items():
        name = re.sub(r"[^A-Za-z0-9_.@-]", "_", entry["name"])[:80]
        try:
            tensors, script = _made(reference, judge, position, entry)
        except (compact.UnknownError, AxesError, ReplayError, ValueError, KeyError) as error:
            left_out.append(f"--kerasdiff-bundle: {entry['name']} is left out: {error}")
            continue
        try:
            _put(folder / f"{position:03d}-{name}", tensors, script, entry)
        except OSError as error:
            raise RunError(f"{folder}: cannot be written (--kerasdiff-bundle): {error.strerror or error}") from None
    return left_out


def _clear(folder: Path) -> None:
    """Remove what an earlier run has written; nothing else."""
    for old in folder.glob("[0-9][0-9][0-9]-*") if folder.is_dir() else ():
        if {path.name for path in old.glob("*")} == {TENSORS, SCRIPT, LAYER}:
            shutil.rmtree(old, ignore_errors=True)


def _made(
    reference: ReferenceTrace, judge: Judge, position: int, entry: Mapping[str, Any]
) -> tuple[dict[str, Array], str]:
    layer = reference.layers[position]
    value, torch_value = _worst(judge, position)
    trace = judge.candidate.trace
    if judge.alone(position, torch_value, value=value).passes:
        # What is wrong is not between the layer's input and its output: an operation too much before it, say.
        taken = {t: judge.in_port_layout(u, t) for u, t in zip(reference.inputs, trace.inputs, strict=True)}
    else:
        taken = judge.feed(position, torch_value)
    precision = np.dtype(trace.environment.get("candidate_precision", "float64"))
    given = {number: array.astype(precision) if array.dtype.kind == "f" else array for number, array in taken.items()}
    script, constants = judge.candidate.script(torch_value, {number: f't["input_{number}"]' for number in given})
    tensors = {
        **{f"input_{number}": array for number, array in given.items()},
        **constants,
        "expected": judge.in_port_layout(value, torch_value),
        **{f"keras_input_{i}": reference.values[v] for i, v in enumerate(layer.inputs)},
        "keras_output": reference.values[value],
        **{f"keras_weight_{name}": array for name, array in reference.weights_of(layer).items()},
    }
    title = " ".join(f"{entry['name']} ({entry['class']}) → {entry['torch']}".split())
    words = _SCRIPT.format(
        title=title.replace("\\", "\\\\").replace('"', "'"),
        given="what Keras gave its layer" if set(taken) != set(trace.inputs) else "the model's input",
        tensors=TENSORS,
        lines="\n".join(f"    {line}" for line in script.splitlines()),
        result=f"v{torch_value}",
        limit=entry["isolated"]["limit"] or 0.0,
    )
    return tensors, words


def _worst(judge: Judge, position: int) -> tuple[int, int]:
    """The output of a layer that is told in the report, and the torch value that it is: the one that is worst alone."""
    values = judge.layers[position].outputs
    pairs = [(v, t) for v in values if (t := judge.alignment.torch_value(v)) is not None]
    if not pairs:
        raise ReplayError("the port has no value for it")
    if len(pairs) == 1:
        return pairs[0]
    errors = {pair: judge.alone(position, pair[1], value=pair[0]) for pair in pairs}
    return max(pairs, key=lambda pair: (not errors[pair].passes, bool(errors[pair].reason), errors[pair].max_abs))


def _put(folder: Path, tensors: Mapping[str, Array], script: str, entry: Mapping[str, Any]) -> None:
    """Write one folder aside, and put it where it belongs when it is complete."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        arrays: dict[str, Any] = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        np.savez(aside / TENSORS, **arrays)
        (aside / SCRIPT).write_text(script, "utf-8")
        (aside / LAYER).write_text(json.dumps(entry, indent=1) + "\n", "utf-8")
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
