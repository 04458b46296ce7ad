"""A layer at fault in a folder of its own: what it takes and should give, its weights, and a script for torch alone."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_kerasdiff import compact
from pytest_kerasdiff.align.axes import AxesError
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import Array, ReferenceTrace, ReplayError

TENSORS, SCRIPT, LAYER = "tensors.npz", "repro.py", "layer.json"

_SCRIPT = '''"""{title}: what the port computes on what Keras gave its layer, with torch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

with np.load(Path(__file__).with_name("{tensors}"), allow_pickle=False) as file:
    t = {{name: torch.from_numpy(file[name]) for name in file.files}}

with torch.inference_mode():
{lines}

expected = t["expected"]  # Keras's output in the port's layout; in Keras's own it is t["keras_output"]
apart = ({result} - expected).abs()
print(f"max|Δ| {{apart.max():.3g}} of scale {{expected.abs().max():.3g}}, limit {limit:.3g}")
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


def _made(
    reference: ReferenceTrace, judge: Judge, position: int, entry: Mapping[str, Any]
) -> tuple[dict[str, Array], str]:
    layer = reference.layers[position]
    value = layer.outputs[0]
    torch_value = judge.alignment.torch_value(value)
    if torch_value is None:
        raise ReplayError("the port has no value for it")
    given = judge.feed(position, torch_value)
    script, constants = judge.candidate.script(torch_value, {number: f't["input_{number}"]' for number in given})
    tensors = {
        **{f"input_{number}": array for number, array in given.items()},
        **constants,
        "expected": judge.in_port_layout(value, torch_value),
        **{f"keras_input_{i}": reference.values[v] for i, v in enumerate(layer.inputs)},
        "keras_output": reference.values[value],
        **{f"keras_weight_{name}": reference.weights[layer.weight_owner, name] for name in layer.weights},
    }
    title = " ".join(f"{entry['name']} ({entry['class']}) → {entry['torch']}".split())
    words = _SCRIPT.format(
        title=title.replace("\\", "\\\\").replace('"', "'"),
        tensors=TENSORS,
        lines="\n".join(f"    {line}" for line in _several(script)),
        result=f"v{torch_value}",
        limit=entry["isolated"]["limit"] or 0.0,
    )
    return tensors, words


def _several(script: str) -> Iterator[str]:
    yield from script.splitlines() or ["pass"]


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
