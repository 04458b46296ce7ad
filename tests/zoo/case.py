"""What a case of the zoo is: a Keras model, ports of it, and what must be found in each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

RIGHT = "right"


class Weights:
    """The weights of a Keras model: ``w["conv"]`` is the list that ``layer.get_weights()`` gives, as tensors."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self._arrays = dict(file)

    def __getitem__(self, layer: str) -> list[torch.Tensor]:
        names = [name for name in self._arrays if name.rpartition("#")[0] == layer]
        return [torch.from_numpy(self._arrays[name].copy()) for name in names]

    def __contains__(self, layer: str) -> bool:
        return any(name.rpartition("#")[0] == layer for name in self._arrays)


Port = Callable[[Weights], torch.nn.Module]


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A wrong port, and what it must show.

    Attributes:
        port: Builds it.
        faults: The layers with status ``fault``, no more and no less.
        checks: ``(layer, check)`` of the checks that fail, no more and no less.
    """

    port: Port
    faults: frozenset[str]
    checks: frozenset[tuple[str, str]] = frozenset()


def load(module: torch.nn.Module, **tensors: torch.Tensor) -> None:
    """Copy tensors into a module's own parameters and buffers; shapes must be equal."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in tensors.items():
            assert own[name].shape == tensor.shape, f"{name}: {tuple(tensor.shape)} for {tuple(own[name].shape)}"
            own[name].copy_(tensor)


def wrong(port: Port, faults: str, checks: str = "") -> Wrong:
    """A wrong port; ``faults`` are layer names and ``checks`` ``layer:check`` pairs, parted by blanks."""
    pairs = (check.rpartition(":") for check in checks.split())
    return Wrong(port, frozenset(faults.split()), frozenset((layer, check) for layer, _, check in pairs))


@dataclasses.dataclass(frozen=True)
class Case:
    """A Keras model with its ports.

    Attributes:
        name: Name in test ids.
        keras: Builds the model; takes ``keras`` or ``tf_keras``.
        right: Builds the correct port.
        wrong: Wrong ports by name.
        loaders: Which of ``keras`` and ``tf_keras`` have the layers.
        suffix: Form of the file.
        settings: Further settings of the run.
        manifest: Text of ``kerasdiff.toml``; most ports need none.
        declared: Layers that the correct port has no value of its own for; every other one must have status ``pass``.
        prepare: Called with the model after its weights were drawn, to overwrite some.
    """

    name: str
    keras: Callable[[Any], Any]
    right: Port
    wrong: Mapping[str, Wrong] = dataclasses.field(default_factory=dict)
    loaders: tuple[str, ...] = ("keras", "tf_keras")
    suffix: str = ".h5"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    manifest: str = ""
    declared: frozenset[str] = frozenset()
    prepare: Callable[[Any], None] | None = None

    def port(self, name: str) -> Port:
        """A port by name: ``right`` or one of ``wrong``."""
        return self.right if name == RIGHT else self.wrong[name].port


def draw_weights(model: Any, seed: int = 0) -> None:
    """Give a Keras model weights of which none is a default: variances positive, kernels of moderate size."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        name, shape = str(getattr(variable, "path", variable.name)), tuple(variable.shape)
        if not np.issubdtype(np.dtype(getattr(variable.dtype, "name", variable.dtype)), np.floating):
            continue
        array: npt.NDArray[np.float64]
        if "variance" in name or "gamma" in name:
            array = generator.uniform(0.5, 2.0, shape)
        elif len(shape) > 1 and "kernel" in name:
            array = generator.normal(0, 1, shape) / np.sqrt(max(1, np.prod(shape[:-1])))
        else:
            array = generator.normal(0, 0.5, shape)
        variable.assign(array.astype(np.float32))


def save_weights(model: Any, keras: Any, path: Path) -> None:
    """Write what ``Weights`` reads; the layers of inner models are ``inner/name``."""
    arrays: dict[str, Any] = {}

    def visit(layers: Any, prefix: str) -> None:
        for layer in layers:
            if isinstance(layer, keras.Model):
                visit(layer.layers, f"{prefix}{layer.name}/")
            else:
                weights = (a for a in layer.get_weights() if a.dtype.kind == "f")
                arrays.update({f"{prefix}{layer.name}#{i:02}": array for i, array in enumerate(weights)})

    visit(model.layers, "")
    np.savez(path, **arrays)
