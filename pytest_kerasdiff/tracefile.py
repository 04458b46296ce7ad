"""The reference trace as a file: plain HDF5, written aside and renamed when complete.

Layout: dataset ``header`` (JSON: layers, outputs, environment, notes), datasets ``values/<number>``,
``masks/<number>``, ``weights/<position in the header>``, ``curves/<position in the header>``, ``deployed/<output>``,
``alone/<sample>/<output>`` and, where the manifest names a function, ``preprocessed``. Nothing is compressed:
activations do not compress.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pytest_kerasdiff.trace import Array, Layer, ReferenceTrace

FORMAT = 4


class TraceWriter:
    """Writes a trace value by value; nothing is at ``path`` until ``close`` has been called."""

    def __init__(self, path: Path) -> None:
        """Open a temporary file beside ``path``."""
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._file = h5py.File(self._temporary, "w", libver="latest")
        self._values = self._file.create_group("values")
        self._masks = self._file.create_group("masks")

    def add_value(self, number: int, array: Array) -> None:
        """Write one value."""
        self._values.create_dataset(str(number), data=array)

    def add_mask(self, number: int, array: Array) -> None:
        """Write the mask of one value."""
        self._masks.create_dataset(str(number), data=array)

    def discard(self) -> None:
        """Give the file up and leave nothing behind."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def close(
        self,
        layers: Sequence[Layer],
        outputs: Sequence[int],
        weights: Mapping[tuple[str, str], Array],
        environment: Mapping[str, str],
        notes: Sequence[str],
        curves: Mapping[str, Array],
        deployed: Sequence[Array] = (),
        alone: Sequence[Sequence[Array]] = (),
        preprocessed: Array | None = None,
        run: str = "",
        timing: Mapping[str, float] | None = None,
        memory: Mapping[str, int] | None = None,
    ) -> None:
        """Write the rest and put the file in place."""
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
        }
        # An attribute is limited to 64 KiB in the file's object header; a dataset is not.
        self._file.create_dataset("header", data=np.frombuffer(json.dumps(header).encode(), np.uint8))
        samples = {f"alone/{sample}": outputs for sample, outputs in enumerate(alone)}
        lists = {"weights": [*weights.values()], "curves": [*curves.values()], "deployed": deployed, **samples}
        for name, arrays in lists.items():
            group = self._file.create_group(name)
            for position, array in enumerate(arrays):
                group.create_dataset(str(position), data=array)
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


def entries(path: Path) -> list[list[Any]]:
    """Name, class and config of every call of every layer."""
    with h5py.File(path, "r") as file:
        return [layer[:3] for layer in json.loads(bytes(file["header"][()]))["layers"]]


def is_complete(path: Path) -> bool:
    """Whether a file is a trace of this format."""
    try:
        with h5py.File(path, "r") as file:
            return bool(json.loads(bytes(file["header"][()]))["format"] == FORMAT)
    except (OSError, KeyError, ValueError, RuntimeError):
        return False


def read(path: Path) -> ReferenceTrace:
    """Open a trace file; values and weights are read when asked for."""
    file = h5py.File(path, "r")
    header = json.loads(bytes(file["header"][()]))
    layers = tuple(
        Layer(name, kind, config, tuple(inputs), tuple(outputs), tuple(weights))
        for name, kind, config, inputs, outputs, weights in header["layers"]
    )
    values = file["values"]
    return ReferenceTrace(
        layers,
        tuple(header["outputs"]),
        _Stored(values, {int(name): name for name in values}),
        {int(name): tuple(values[name].shape) for name in values},
        _Stored(file["weights"], {(la, w): str(i) for i, (la, w) in enumerate(header["weights"])}),
        header["environment"],
        tuple(header["notes"]),
        frozenset(int(name) for name in values if values[name].dtype.kind == "b"),
        _Stored(file["masks"], {int(name): name for name in file["masks"]}),
        _Stored(file["curves"], {name: str(i) for i, name in enumerate(header["curves"])}),
        _list(file["deployed"]),
        [_list(file["alone"][sample]) for sample in sorted(file.get("alone", ()), key=int)],
        np.asarray(file["preprocessed"][()], np.float64) if "preprocessed" in file else None,
        header["run"],
        header["timing"],
        header["memory"],
    )


def _list(group: h5py.Group) -> list[Array]:
    return [np.asarray(group[str(position)][()]) for position in range(len(group))]
