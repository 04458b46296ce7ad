"""What Keras gives for the user's data, as a file: plain HDF5, written aside and renamed when complete.

Group ``predictions`` with the dataset ``outputs`` (samples, …), the model's first output in float32, and the dataset
``header`` (JSON: the digest of each batch that was read, least and greatest element, how far the data's first samples'
outputs are from those in float64, versions).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pytest_kerasdiff.aside import Aside
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.trace import Array

GROUP = "predictions"


class Writer:
    """Takes outputs batch by batch; nothing is at ``path`` until ``close`` has been called."""

    def __init__(self, path: Path) -> None:
        """Open a temporary file beside ``path``.

        Raises:
            UnwritableError: Here and wherever something is written: the file cannot be.
        """
        self._aside = Aside(path)
        with self._aside.writing():
            self._group = self._aside.file.create_group(GROUP)
        self._outputs: h5py.Dataset | None = None
        self._least, self._greatest = np.inf, -np.inf

    def add(self, outputs: Array) -> None:
        """Write the outputs of one batch, (samples, …).

        Raises:
            RunError: They have another shape than those before.
        """
        if self._outputs is None:
            with self._aside.writing():
                self._outputs = self._group.create_dataset(
                    "outputs", shape=(0, *outputs.shape[1:]), maxshape=(None, *outputs.shape[1:]), dtype=outputs.dtype,
                    chunks=(max(1, len(outputs)), *(max(1, size) for size in outputs.shape[1:])),
                )  # fmt: skip
        if outputs.shape[1:] != self._outputs.shape[1:]:
            raise RunError(
                f"--kerasdiff-data: Keras gives outputs of several shapes, {tuple(self._outputs.shape[1:])} and "
                f"{outputs.shape[1:]}; give it samples of one size at a time"
            )
        start = len(self._outputs)
        with self._aside.writing():
            self._outputs.resize(start + len(outputs), 0)
            self._outputs[start:] = outputs
        finite = outputs[np.isfinite(outputs)]
        self._least = min(self._least, float(finite.min(initial=np.inf)))
        self._greatest = max(self._greatest, float(finite.max(initial=-np.inf)))

    def discard(self) -> None:
        """Give the file up and leave nothing behind."""
        self._aside.discard()

    def close(self, digests: Mapping[int, str], noise: float, environment: Mapping[str, str]) -> None:
        """Write the rest and put the file in place.

        Args:
            digests: Of each batch, by its number in all of the data.
            noise: How far some of the outputs are from Keras's in float64.
            environment: Versions.
        """
        known = np.isfinite([self._least, self._greatest]).all()
        said = {
            "digests": {str(number): digest for number, digest in digests.items()},
            "noise": noise,
            "least": self._least if known else 0.0,
            "greatest": self._greatest if known else 0.0,
            "environment": dict(environment),
        }
        with self._aside.writing():
            self._group.create_dataset("header", data=np.frombuffer(json.dumps(said).encode(), np.uint8))
        self._aside.place()


class Predictions:
    """Keras's outputs, read in rows."""

    def __init__(self, group: h5py.Group) -> None:
        """Take the group of an open file."""
        said: dict[str, Any] = json.loads(bytes(group["header"][()]))
        self._outputs = group["outputs"]
        self.digests: dict[int, str] = {int(number): digest for number, digest in said["digests"].items()}
        self.noise = float(said["noise"])
        self.least, self.greatest = float(said["least"]), float(said["greatest"])
        self.environment: dict[str, str] = said["environment"]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._outputs)

    @property
    def scale(self) -> float:
        """Largest magnitude of an element."""
        return max(abs(self.least), abs(self.greatest))

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, …)."""
        return tuple(self._outputs.shape)

    def rows(self, start: int, count: int) -> Array:
        """The outputs of some samples."""
        return np.asarray(self._outputs[start : start + count])


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Predictions | None]:
    """The predictions in a file of its own or in a recorded reference; None where that has none."""
    with h5py.File(path, "r") as file:
        yield Predictions(file[GROUP]) if GROUP in file else None


def copy(source: Path, target: h5py.File) -> None:
    """Put the predictions of a file into a recorded reference, compressed."""
    with h5py.File(source, "r") as file:
        group, own = file[GROUP], target.create_group(GROUP)
        own.create_dataset(
            "outputs", data=group["outputs"], chunks=group["outputs"].chunks, compression="gzip", shuffle=True,
            fletcher32=True,
        )  # fmt: skip
        own.create_dataset("header", data=group["header"][()])
