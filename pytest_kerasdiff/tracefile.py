"""The reference trace as a file: plain HDF5, written aside and renamed when complete.

Layout: dataset ``header`` (JSON: layers, outputs, environment, notes), datasets ``values/<number>``,
``masks/<number>``, ``weights/<position in the header>``, ``curves/<position in the header>``, ``deployed/<output>``,
``alone/<sample>/<output>`` and, where the manifest names a function, ``preprocessed``. What is kept for one run, or in
the cache, is not compressed: activations hardly are.

A recorded reference (``recorded.py``) has the same form, compressed, and lacks what can be had otherwise: values that
``derived.py`` computes, whose shapes are ``header["derived"]``, and weights that the model file holds, whose datasets
there are named by ``header["in_model"]``. What it was made from is ``header["made_from"]``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pytest_kerasdiff import derived, modelfile
from pytest_kerasdiff.trace import Array, Layer, ReferenceTrace

FORMAT = 4


class TraceWriter:
    """Writes a trace value by value; nothing is at ``path`` until ``close`` has been called."""

    def __init__(self, path: Path, packed: bool = False) -> None:
        """Open a temporary file beside ``path``; packed, it is smaller and takes longer."""
        self._path, self._packed = path, packed
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._file = h5py.File(self._temporary, "w", libver="latest")
        self._values = self._file.create_group("values")
        self._masks = self._file.create_group("masks")

    def add_value(self, number: int, array: Array) -> None:
        """Write one value."""
        self._add(self._values, str(number), array)

    def add_mask(self, number: int, array: Array) -> None:
        """Write the mask of one value."""
        self._add(self._masks, str(number), array)

    def _add(self, group: h5py.Group, name: str, array: Array) -> None:
        packing = {"compression": "gzip", "shuffle": True, "fletcher32": True} if self._packed and array.size else {}
        group.create_dataset(name, data=array, **(packing if np.ndim(array) else {}))

    def discard(self) -> None:
        """Give the file up and leave nothing behind."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def close(
        self,
        layers: Sequence[Layer],
        outputs: Sequence[int],
        weights: Mapping[tuple[str, str], Array | None],
        environment: Mapping[str, str],
        notes: Sequence[str],
        curves: Mapping[str, Array],
        deployed: Sequence[Array] = (),
        alone: Sequence[Sequence[Array]] = (),
        preprocessed: Array | None = None,
        run: str = "",
        timing: Mapping[str, float] | None = None,
        memory: Mapping[str, int] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the rest and put the file in place; ``more`` is what the header of a recorded reference has."""
        header = {
            "format": FORMAT,
            "layers": [[la.name, la.class_name, la.config, la.inputs, la.outputs, la.weights] for la in layers],
            "outputs": list(outputs),
            "weights": list(weights),
            "environment": dict(environment),
            "notes": list(notes),
            "curves": list(curves),
            "run": run,
            "timing": dict(timing or {}),
            "memory": dict(memory or {}),
            **(more or {}),
        }
        # An attribute is limited to 64 KiB in the file's object header; a dataset is not.
        self._file.create_dataset("header", data=np.frombuffer(json.dumps(header).encode(), np.uint8))
        samples = {f"alone/{sample}": outputs for sample, outputs in enumerate(alone)}
        lists: Mapping[str, Sequence[Array | None]] = {
            "weights": [*weights.values()],
            "curves": [*curves.values()],
            "deployed": deployed,
            **samples,
        }
        for name, arrays in lists.items():
            group = self._file.create_group(name)
            for position, array in enumerate(arrays):
                if array is not None:
                    self._add(group, str(position), array)
        if preprocessed is not None:
            self._file.create_dataset("preprocessed", data=preprocessed)
        self._file.close()
        os.replace(self._temporary, self._path)


class _Stored(Mapping[Any, Array]):
    """Datasets of a group by key, each read when asked for."""

    def __init__(self, group: h5py.Group, names: Mapping[Any, str]) -> None:
        self._group, self._names = group, names

    def __getitem__(self, key: Any) -> Array:
        array: Array = self._group[self._names[key]][()]
        return np.asarray(array)

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
        return _said(file)


def _said(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(file["header"][()]))
    return found


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
    said = _said(file)
    layers = tuple(
        Layer(name, kind, config, tuple(inputs), tuple(outputs), tuple(weights))
        for name, kind, config, inputs, outputs, weights in said["layers"]
    )
    values = file["values"]
    shapes = {int(name): tuple(values[name].shape) for name in values}
    shapes |= {int(name): tuple(shape) for name, shape in said.get("derived", {}).items()}
    stored = _Stored(values, {int(name): name for name in values})
    weights = _Weights(file["weights"], said, model)
    return ReferenceTrace(
        layers,
        tuple(said["outputs"]),
        derived.values(stored, layers, weights, shapes),
        shapes,
        weights,
        said["environment"],
        tuple(said["notes"]),
        frozenset(int(name) for name in values if values[name].dtype.kind == "b"),
        _Stored(file["masks"], {int(name): name for name in file["masks"]}),
        _Stored(file["curves"], {name: str(i) for i, name in enumerate(said["curves"])}),
        _list(file["deployed"]),
        [_list(file["alone"][sample]) for sample in sorted(file.get("alone", ()), key=int)],
        np.asarray(file["preprocessed"][()], np.float64) if "preprocessed" in file else None,
        said["run"],
        said["timing"],
        said["memory"],
    )


def _list(group: h5py.Group) -> list[Array]:
    return [np.asarray(group[str(position)][()]) for position in range(len(group))]
