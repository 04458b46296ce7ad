"""Judge a rebuilt port in this process, and say without the product which of its layers are really wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pytest_kerasdiff import child, engine, tracefile
from pytest_kerasdiff.candidate import observer, recorder
from pytest_kerasdiff.candidate.program import Program
from pytest_kerasdiff.facts import PortFacts
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.throughput import Product, Timed
from pytest_kerasdiff.trace import Array
from tests.helpers import Report, failed_whole
from tests.rebuilt.network import Fault, Network, port


class Port:
    """A torch model that is there already."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.delivered = model, observer.dtypes_of(model)

    def record(self, names: Sequence[str], arrays: Sequence[Array]) -> Program:
        return recorder.record(self.model, arrays, "float64", "cpu")

    def observe(self, arrays: Sequence[Array], recorded: Sequence[Array]) -> PortFacts:
        model, switches = self.model, observer.Switches.now()
        return observer.observe(
            model, lambda xs: model(*xs), arrays, self.delivered, {}, switches, torch.float64, True, recorded
        )

    def deployed(self) -> contextlib.nullcontext[Callable[[Sequence[Array]], list[Array]]]:
        raise NotImplementedError  # asked for where there is data only

    def devices(self) -> list[str]:
        return ["cpu"]

    def timed(self, arrays: Sequence[Array], products: Sequence[Product], device: str) -> contextlib.nullcontext[Timed]:
        raise NotImplementedError  # likewise, where batch sizes are named

    def in_float32(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()


def judge(folder: Path, faults: Mapping[str, Fault], batch: int, seed: int) -> Report:
    """The report of the port in ``folder`` with some faults; without any it fails no check of the model.

    Raises:
        RunError: The port cannot be run.
    """
    settings = Settings(folder / "net.h5", torch="here:there", batch=batch, seed=seed)
    torch.set_default_dtype(torch.float32)
    model = port(folder / "net.h5", faults)
    engine.work(child.Job(settings, folder, folder, ()), lambda *_: Port(model))
    report: Report = json.loads((folder / child.REPORT).read_text("utf-8"))
    assert faults or not failed_whole(report), failed_whole(report)
    return report


def really_wrong(folder: Path, faults: Mapping[str, Fault]) -> dict[str, bool]:
    """Layers whose own module, given what Keras gave its layer, does not give what Keras's layer gave.

    Returns:
        Layer → whether even the shape is another one.
    """
    trace = tracefile.read(folder / child.REFERENCE_TRACE)
    network: Network = port(folder / "net.h5", faults).double()
    found = {}
    for layer in trace.layers:
        if layer.class_name == "InputLayer":
            continue
        given = [_torch(trace.values[v]) for v in layer.inputs]
        module = network.layers[layer.weight_owner]
        wanted = np.asarray(trace.values[layer.outputs[0]], np.float64)
        with torch.inference_mode():
            result = module(given[0] if len(given) == 1 else given)
        if differs(_keras(result), wanted):
            found[layer.name] = _keras(result).shape != wanted.shape
    return found


def differs(given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> bool:
    """Whether two activations differ by more than README allows."""
    if given.shape != wanted.shape or not np.isfinite(given).all():
        return True
    scale = float(np.abs(wanted).max(initial=0))
    return bool(np.abs(given - wanted).max(initial=0) > max(1e-5 * min(1, scale), 4 * 2.0**-24 * scale))


def _torch(array: Array) -> Tensor:
    tensor = torch.from_numpy(np.asarray(array, np.float64))
    return tensor.movedim(-1, 1) if tensor.ndim > 2 else tensor


def _keras(tensor: Tensor) -> npt.NDArray[Any]:
    moved = tensor.movedim(1, -1) if tensor.ndim > 2 else tensor
    return np.asarray(moved.numpy())
