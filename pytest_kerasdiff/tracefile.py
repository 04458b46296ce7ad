"""The reference trace as a file: plain HDF5, written aside and renamed when complete.

Layout: dataset ``header`` (JSON: layers, outputs, environment, notes), datasets ``values/<number>``,
``masks/<number>``, ``weights/<position in the header>`` and ``curves/<position in the header>``. What is kept for one
run, or in the cache, is not compressed: activations hardly are.

Beside it a file tells what Keras gave in further runs, which end later: group ``further`` with datasets ``header``
(JSON: time and memory), ``deployed/<output>``, ``opinion/<output>``, ``others/<batch>/<output>`` and, where the
manifest names a function, ``preprocessed``.

A recorded reference (``recorded.py``) has the same form, compressed, with the group ``further`` in it. It lacks what
can be had otherwise: values that ``derived.py`` computes, whose shapes are ``header["derived"]``, and weights that the
model file holds, whose datasets there are named by ``header["in_model"]``. What it was made from is
``header["made_from"]``. The compact form (``compact.py``) has ``projections/<number>`` (4, channels) and
``samples/<number>`` (64) in place of most values, and their shape, least and greatest in ``header["sketched"]``.
Keras's predictions for the user's data are a group of their own (``predictions.py``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pytest_kerasdiff import compact, derived, modelfile, predictions
from pytest_kerasdiff.aside import Aside
from pytest_kerasdiff.trace import Array, FurtherRuns, Glance, Layer, ReferenceTrace, Sketch

FORMAT = 8


class TraceWriter:
    """Writes a trace value by value; nothing is at ``path`` until ``close`` has been called."""

    def __init__(self, path: Path, packed: bool = False) -> None:
        """Open a temporary file beside ``path``; packed, it is smaller and takes longer.

        Raises:
            UnwritableError: Here and wherever something is written: the file cannot be.
        """
        self._aside, self._packed = Aside(path), packed
        self._file = self._aside.file
        with self._aside.writing():
            self._values = self._file.create_group("values")
            self._masks = self._file.create_group("masks")
            self._weights = self._file.create_group("weights")
        self._names: list[tuple[str, str]] = []
        self._sketched: dict[str, list[Any]] = {}

    def add_value(self, number: int, array: Array) -> None:
        """Write one value."""
        self._add(self._values, str(number), array)

    def add_sketch(self, number: int, kept: Sketch) -> None:
        """Write what a compact reference has in place of a value."""
        self._add(self._file.require_group("projections"), str(number), kept.projections)
        self._add(self._file.require_group("samples"), str(number), kept.samples)
        self._sketched[str(number)] = [kept.shape, dataclasses.asdict(kept.glance)]

    def add_mask(self, number: int, array: Array) -> None:
        """Write the mask of one value."""
        self._add(self._masks, str(number), array)

    def add_weight(self, layer: str, name: str, array: Array | None) -> None:
        """Write one weight, or only that there is one, where the model file holds it."""
        if array is not None:
            self._add(self._weights, str(len(self._names)), array)
        self._names.append((layer, name))

    def _add(self, group: h5py.Group, name: str, array: Array) -> None:
        packing = {"compression": "gzip", "shuffle": True, "fletcher32": True} if self._packed and array.size else {}
        with self._aside.writing():
            group.create_dataset(name, data=array, **(packing if np.ndim(array) else {}))

    def add_further(self, further: FurtherRuns) -> None:
        """Write what a recorded reference has in the same file."""
        with self._aside.writing():
            _write_further(self._file, further)

    def add_predictions(self, path: Path) -> None:
        """Copy Keras's predictions for the user's data from their own file."""
        with self._aside.writing():
            predictions.copy(path, self._file)

    def discard(self) -> None:
        """Give the file up and leave nothing behind."""
        self._aside.discard()

    def close(
        self,
        layers: Sequence[Layer],
        outputs: Sequence[int],
        environment: Mapping[str, str],
        notes: Sequence[str],
        curves: Mapping[str, Array],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the rest and put the file in place; ``more`` is what the header of a recorded reference has."""
        header = {
            "format": FORMAT,
            "layers": [[la.name, la.class_name, la.config, la.inputs, la.outputs, la.weights] for la in layers],
            "outputs": list(outputs),
            "weights": self._names,
            "environment": dict(environment),
            "notes": list(notes),
            "curves": list(curves),
            "sketched": self._sketched,
            **(more or {}),
        }
        with self._aside.writing():
            _write_json(self._file, "header", header)
        for position, array in enumerate(curves.values()):
            self._add(self._file.require_group("curves"), str(position), array)
        self._aside.place()


def write_further(path: Path, further: FurtherRuns) -> None:
    """Write what Keras gave beside the trace into a file of its own, complete or not at all.

    Raises:
        UnwritableError: It cannot be written.
    """
    aside = Aside(path)
    with aside.writing():
        _write_further(aside.file, further)
    aside.place()


def _write_further(file: h5py.File, further: FurtherRuns) -> None:
    group = file.create_group("further")
    lists = {
        "deployed": further.deployed,
        "opinion": further.opinion,
        **{f"others/{i}": outputs for i, outputs in enumerate(further.others)},
    }
    for name, arrays in lists.items():
        own = group.create_group(name)
        for position, array in enumerate(arrays):
            own.create_dataset(str(position), data=array)
    if further.preprocessed is not None:
        group.create_dataset("preprocessed", data=further.preprocessed)
    said = {
        "run": further.run,
        "opinion_error": further.opinion_error,
        "timing": dict(further.timing),
        "memory": dict(further.memory),
    }
    _write_json(group, "header", said)


def read_further(path: Path) -> FurtherRuns:
    """What Keras gave beside the trace: of a file of its own, or of a recorded reference."""
    with h5py.File(path, "r") as file:
        group = file["further"]
        return FurtherRuns(
            _list(group["deployed"]),
            [_list(group["others"][batch]) for batch in sorted(group.get("others", ()), key=int)],
            np.asarray(group["preprocessed"][()], np.float64) if "preprocessed" in group else None,
            _list(group["opinion"]),
            **_read_json(group, "header"),
        )


def _write_json(group: h5py.Group, name: str, said: Mapping[str, Any]) -> None:
    # An attribute is limited to 64 KiB in the file's object header; a dataset is not.
    group.create_dataset(name, data=np.frombuffer(json.dumps(said).encode(), np.uint8))


def _read_json(group: h5py.Group, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(group[name][()]))
    return found


class _Stored(Mapping[Any, Array]):
    """Datasets of a group by key, each read when asked for."""

    def __init__(self, group: h5py.Group, names: Mapping[Any, str]) -> None:
        self._group, self._names = group, names

    def __getitem__(self, key: Any) -> Array:
        array: Array = self._group[self._names[key]][()]
        return np.asarray(array)

    def __contains__(self, key: object) -> bool:  # else it would be read
        return key in self._names

    def __iter__(self) -> Iterator[Any]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def header(path: Path) -> dict[str, Any]:
    """What a trace file says of itself.

    Raises:
        OSError, KeyError, ValueError: It is none.
    """
    with h5py.File(path, "r") as file:
        return _read_json(file, "header")


def entries(path: Path) -> list[list[Any]]:
    """Name, class and config of every call of every layer."""
    return [layer[:3] for layer in header(path)["layers"]]


class _Weights(Mapping[tuple[str, str], Array]):
    """Weights by (layer, weight), each read when asked for: from the trace, or from the model file."""

    def __init__(self, group: h5py.Group, header: Mapping[str, Any], model: Path | None) -> None:
        self._group, self._model = group, model
        self._position = {(la, w): i for i, (la, w) in enumerate(header["weights"])}
        self._in_model: Mapping[str, str] = header.get("in_model", {})
        self._datasets: Mapping[str, Any] | None = None
        self._read: dict[tuple[str, str], Array] = {}

    def __getitem__(self, key: tuple[str, str]) -> Array:
        # The port holds as much, and who asks for a weight asks again.
        if key not in self._read:
            self._read[key] = self._array(key)
        return self._read[key]

    def _array(self, key: tuple[str, str]) -> Array:
        name = str(self._position[key])
        if name not in self._in_model:
            return np.asarray(self._group[name][()])
        if self._datasets is None:
            assert self._model is not None
            self._datasets = modelfile.datasets(self._model)
        return np.asarray(self._datasets[self._in_model[name]][()])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._position)

    def __len__(self) -> int:
        return len(self._position)


def read(path: Path, model: Path | None = None) -> ReferenceTrace:
    """Open a trace file; values and weights are read when asked for.

    Args:
        path: The file.
        model: The Keras file, which holds the weights of a recorded reference.
    """
    file = h5py.File(path, "r")
    said = _read_json(file, "header")
    layers = tuple(
        Layer(name, kind, config, tuple(inputs), tuple(outputs), tuple(weights))
        for name, kind, config, inputs, outputs, weights in said["layers"]
    )
    values = file["values"]
    shapes = {int(name): tuple(values[name].shape) for name in values}
    shapes |= {int(name): tuple(shape) for name, shape in said.get("derived", {}).items()}
    stored: Mapping[int, Array] = _Stored(values, {int(name): name for name in values})
    sketches = {
        int(name): Sketch(tuple(shape), Glance(**glance), file["projections"][name][()], file["samples"][name][()])
        for name, (shape, glance) in said["sketched"].items()
    }
    weights = _Weights(file["weights"], said, model)
    return ReferenceTrace(
        layers,
        tuple(said["outputs"]),
        compact.Values(stored, sketches) if sketches else derived.values(stored, layers, weights, shapes),
        shapes | {number: kept.shape for number, kept in sketches.items()},
        weights,
        said["environment"],
        tuple(said["notes"]),
        frozenset(int(name) for name in values if values[name].dtype.kind == "b"),
        _Stored(file["masks"], {int(name): name for name in file["masks"]}),
        _Stored(file.get("curves", file), {name: str(i) for i, name in enumerate(said["curves"])}),
        sketches,
    )


def _list(group: h5py.Group) -> list[Array]:
    return [np.asarray(group[str(position)][()]) for position in range(len(group))]
