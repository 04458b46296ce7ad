"""Recorded references: one portable file of what Keras computed, with which neither Keras nor TensorFlow is needed.

It is a trace file (``tracefile.py``) in float64 that leaves out what can be had otherwise: outputs that follow from
others to the last bits, and weights that the model file holds. It says what it was made from, so that it is never
believed of another model or other probe inputs. It holds arrays and JSON, no code and no pickle.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pytest_kerasdiff import child, compact, derived, fingerprint, modelfile, tracefile
from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.trace import Array, ReferenceTrace

_IN_WORDS: Mapping[str, str] = {
    "model": "another model file, or other weights",
    "keras": "other code that builds the Keras model",
    "precision": "another precision",
    "batch": "another batch size",
    "seed": "another seed",
    "inputs": "other probe inputs",
    "rules": "other [inputs] of the manifest",
    "preprocess": "other code of the manifest's [preprocess]",
    "data": "other data",
    "onnx": "another choice of --kerasdiff-onnx",
}
_ITS_OWN = ("precision", "batch", "seed", "inputs")
"""What the recorded reference decides, where the user says nothing of it."""


def refuse_other(target: Path) -> None:
    """Refuse to write over a file that is no recorded reference: a model, or the user's data.

    Raises:
        RunError: There is such a file.
    """
    if target.exists() and not _is_recorded(target):
        raise RunError(f"--kerasdiff-record: {target} is there, and is no recorded reference: it is not written over")


def _is_recorded(path: Path) -> bool:
    try:
        return "made_from" in tracefile.header(path)
    except (OSError, KeyError, ValueError, TypeError):
        return False


def write(trace: Path, target: Path, settings: Settings, stated: Manifest) -> None:
    """Write a recorded reference, complete or not at all.

    Args:
        trace: What Keras computed.
        target: The file to be written.
        settings: What it was made with.
        stated: The model's manifest.

    Raises:
        RunError, UnwritableError: The file cannot be written.
    """
    reference = tracefile.read(trace)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{target}: cannot be written: {error.strerror or error}") from None
    writer = tracefile.TraceWriter(target, packed=True)
    try:
        # Which steps of a masked value are read is not told by projections of all of them.
        sketched = settings.compact and not reference.step_masks
        left_out = set() if sketched else _derived(reference)
        for number in (n for n in reference.values if n not in left_out):
            array = reference.values[number]
            ends = number in (*reference.inputs, *reference.outputs)
            kept = compact.sketch(array) if sketched and not ends else None
            if kept is None:
                writer.add_value(number, array)
            else:
                writer.add_sketch(number, kept)
        for number in reference.step_masks:
            writer.add_mask(number, reference.step_masks[number])
        in_model = _in_model(reference, settings.keras_model)
        for position, ((layer, name), array) in enumerate(reference.weights.items()):
            writer.add_weight(layer, name, None if position in in_model else array)
        predicted = None
        if settings.data is not None:
            writer.add_predictions(trace.parent / child.PREDICTIONS)
            predicted = fingerprint.predicted_from(settings, stated)["data"]
        writer.add_further(dataclasses.replace(tracefile.read_further(child.further_of(trace)), run="", memory={}))
        writer.close(
            reference.layers,
            reference.outputs,
            reference.environment,
            reference.notes,
            reference.curves,
            more={
                "made_from": {**fingerprint.made_from(settings, stated), "data": predicted},
                "derived": {str(number): reference.shapes[number] for number in sorted(left_out)},
                "in_model": {str(position): name for position, name in in_model.items()},
            },
        )
    except BaseException:
        writer.discard()
        raise


def read(path: Path, settings: Settings, stated: Manifest) -> tuple[ReferenceTrace, Settings]:
    """Open a recorded reference of the run's model.

    Returns:
        What Keras computed, and the settings with those that the file decides.

    Raises:
        RunError: It is no recorded reference, or was made from something else: a stale one. The line says from what,
            and how to renew it.
    """
    if not path.exists():
        raise RunError(f"{path}: no such file (--kerasdiff-reference); {_renewal(path, settings)}")
    if not _is_recorded(path):
        raise RunError(f"{path}: not a recorded reference, or a damaged one (--kerasdiff-reference)")
    try:
        return _matching(path, settings, stated)
    except RunError:
        raise
    except Exception as error:  # what a file that was changed leads to may be anything
        words = f"a damaged recorded reference (--kerasdiff-reference): {in_short(error)}"
        raise RunError(f"{path}: {words}; {_renewal(path, settings)}") from None


def _matching(path: Path, settings: Settings, stated: Manifest) -> tuple[ReferenceTrace, Settings]:
    """What ``read`` says of a file that is one."""
    said = tracefile.header(path)
    made_from = said["made_from"]
    again = dataclasses.replace(settings, compact=bool(said.get("sketched")))
    if said["format"] != tracefile.FORMAT:
        raise RunError(
            f"{path}: recorded by another version of pytest-kerasdiff (format {said['format']}, expected "
            f"{tracefile.FORMAT}); {_renewal(path, again)}"
        )
    now, unset = fingerprint.made_from(settings, stated), Settings(settings.keras_model)
    if settings.data is not None:
        now["data"] = fingerprint.predicted_from(settings, stated)["data"]
        if made_from.get("data") is None:
            raise RunError(f"{path}: recorded without predictions for --kerasdiff-data; {_renewal(path, again)}")
    silent = {name for name in _ITS_OWN if getattr(settings, name) == getattr(unset, name)}
    if not settings.onnx:
        silent.add("onnx")  # what is there need not be looked at
    other = [
        words
        for name, words in _IN_WORDS.items()
        if name not in silent and name in now and now[name] != made_from.get(name)
    ]
    if other:
        raise RunError(f"{path}: stale: recorded from {' and '.join(other)}; {_renewal(path, again)}")
    own = {name: made_from[name] for name in ("precision", "batch", "seed")}
    trace = tracefile.read(path, settings.keras_model)
    _demand_whole(trace)
    tracefile.read_further(path)  # what is wrong there would else be met amid the run
    return trace, dataclasses.replace(settings, **own)


def _demand_whole(trace: ReferenceTrace) -> None:
    """Let every layer come after what it takes, and every value be there.

    Raises:
        ValueError: One does not, or is not.
    """
    given: set[int] = set()
    for layer in trace.layers:
        if not set(layer.inputs) <= given:
            raise ValueError(f"layer {layer.name} takes what no layer before it gives")
        given.update(layer.outputs)
    if missing := given - trace.shapes.keys():
        raise ValueError(f"value {min(missing)} is not there")
    if not trace.outputs or not set(trace.outputs) <= given:
        raise ValueError("the model has no output, or one that no layer gives")


def _renewal(path: Path, settings: Settings) -> str:
    """The command that makes the file anew."""
    unset = Settings(settings.keras_model)
    given = "".join(
        f" --{name}={getattr(settings, name)}"
        for name in (*_ITS_OWN, "keras", "manifest", "data")
        if getattr(settings, name) != getattr(unset, name)
    )
    given += "".join(f" --{name}" for name in ("compact", "onnx") if getattr(settings, name))
    return (
        f"renew it where Keras is installed: python -m pytest_kerasdiff {settings.keras_model} --record={path}{given}"
    )


def _derived(reference: ReferenceTrace) -> set[int]:
    """Values that need not be stored: computed from others, they are what Keras has given."""
    depth: dict[int, int] = {}
    kept = {*reference.outputs, *reference.inputs}
    for layer in reference.layers:
        value = layer.outputs[0] if len(layer.outputs) == 1 else None
        if value is None or value in kept or not layer.inputs:
            continue
        own = 1 + max(depth.get(v, 0) for v in layer.inputs)
        if own <= derived.DEPTH:
            given = [reference.values[v] for v in layer.inputs]
            made = derived.compute(layer, given, reference.weights, reference.shapes[value])
            if derived.equals(made, reference.values[value]):
                depth[value] = own
    return set(depth)


def _in_model(reference: ReferenceTrace, model: Path) -> dict[int, str]:
    """Position of each weight that the model file holds element by element → its dataset there."""
    try:
        datasets = modelfile.datasets(model)
    except RunError:
        return {}
    names = {_digest(dataset[()]): name for name, dataset in datasets.items()}
    found = {}
    for position, array in enumerate(reference.weights.values()):
        name = names.get(_digest(array))
        if name is not None:
            found[position] = name
    return found


def _digest(array: Array) -> tuple[str, tuple[int, ...], str]:
    own = np.ascontiguousarray(array)
    return own.dtype.str, own.shape, hashlib.sha256(own.tobytes()).hexdigest()
