"""Faults as entries of tables, and the cases that are made of a model, a port and such a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Port, Weights, Wrong, wrong

Given = Callable[[Weights, str], list[Tensor]]
"""What a port takes for the weights of a Keras layer, in Keras's layout."""
AND = "_and_"


class Net(nn.Module):
    """A port that asks in its forward pass which faults it is to have."""

    def __init__(self, faults: Collection[str] = ()) -> None:
        super().__init__()
        self._faults = frozenset(faults)

    def has(self, fault: str) -> bool:
        """Whether the fault of this name is to be made."""
        return fault in self._faults


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault, and what must be found of it.

    Attributes:
        layers: Names of the layers that are wrong, parted by blanks.
        ids: Ids of the catalogue, by what the port does.
        found: What is found today where that is something else, as ``tests.zoo.causes`` writes it.
        blamed: Layers called at fault today, where they are others.
        weights: Makes the fault in the weights that the port is given.
        module: Makes the fault in the finished port; without either, the port makes it in its forward pass.
        checks: Checks that fail at layers that are not at fault.
    """

    layers: str
    ids: str
    weights: Given | None = None
    module: Callable[[Any], object] | None = None
    found: str = ""
    blamed: str = ""
    checks: str = ""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A further right port, and the layers of which it has no value of its own."""

    port: Port
    declared: str = ""


class _Changed(Weights):
    """Weights with a fault in them."""

    def __init__(self, weights: Weights, given: Given) -> None:
        self._weights, self._given = weights, given

    def __getitem__(self, layer: str) -> list[Tensor]:
        return self._given(self._weights, layer)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A Keras model with a port, and the faults that are made in it.

    Attributes:
        name: Of the case.
        keras: Builds the model.
        net: Builds the port; takes the weights and the names of the faults.
        faults: All faults by name.
        pairs: Names of two faults that are made at once, joined by ``_and_`` → what is found today, where it is not
            what is found of each.
        variants: Further right ports by name.
        suffix: Form of the file.
    """

    name: str
    keras: Callable[[Any], Any]
    net: Callable[[Weights, Collection[str]], nn.Module]
    faults: Mapping[str, Fault]
    pairs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    variants: Mapping[str, Variant] = dataclasses.field(default_factory=dict)
    suffix: str = ".h5"

    def cases(self) -> list[Case]:
        """A case with all wrong ports, and one for each further right port."""
        ports = {name: self._wrong(name) for name in (*self.faults, *self.pairs)}
        main = Case(self.name, self.keras, self._port([]), ports, ("keras",), self.suffix)
        others = (
            Case(
                *(f"{self.name}_{name}", self.keras, variant.port, {}, ("keras",), self.suffix),
                declared=frozenset(variant.declared.split()),
            )
            for name, variant in self.variants.items()
        )
        return [main, *others]

    def causes(self) -> dict[str, str]:
        """What is found, by "case:port"."""
        singles = {name: self._joined(name, lambda fault: fault.found or fault.ids) for name in self.faults}
        pairs = {
            name: found or self._joined(name, lambda fault: fault.found or fault.ids)
            for name, found in self.pairs.items()
        }
        return {f"{self.name}:{name}": ids for name, ids in {**singles, **pairs}.items()}

    def truth(self) -> dict[str, tuple[str, str]]:
        """(layers, ids) of what each port does, by "case:port"."""
        names = (*self.faults, *self.pairs)
        return {
            f"{self.name}:{name}": (self._joined(name, lambda f: f.layers), self._joined(name, lambda f: f.ids))
            for name in names
        }

    def _joined(self, names: str, words: Callable[[Fault], str]) -> str:
        return " ".join(dict.fromkeys(w for name in names.split(AND) for w in words(self.faults[name]).split()))

    def _wrong(self, names: str) -> Wrong:
        layers = self._joined(names, lambda fault: fault.blamed or fault.layers)
        return wrong(self._port(names.split(AND)), layers, self._joined(names, lambda fault: fault.checks))

    def _port(self, names: Collection[str]) -> Port:
        def build(weights: Weights) -> nn.Module:
            for given in (self.faults[name].weights for name in names):
                weights = weights if given is None else _Changed(weights, given)
            made = self.net(weights, names)
            for change in (self.faults[name].module for name in names):
                if change is not None:
                    with torch.no_grad():
                        change(made)
            return made

        return build


# -- what is done to weights, in Keras's layout ------------------------------------------------------------------------


def changed(layer: str, change: Callable[[Tensor], Tensor], number: int = 0) -> Given:
    """One array of a layer is another; by default its first, the kernel."""

    def given(weights: Weights, name: str) -> list[Tensor]:
        own = weights[name]
        return [change(t) if name == layer and i == number else t for i, t in enumerate(own)]

    return given


def ordered(layer: str, *order: int) -> Given:
    """The arrays of a layer in another order."""
    return lambda weights, name: [weights[name][i] for i in order] if name == layer else weights[name]


def taken(**other: str) -> Given:
    """Layers that are given the weights of another layer."""
    return lambda weights, name: weights[other.get(name, name)]


def exchanged(first: str, second: str) -> Given:
    """Two layers hold each other's weights."""
    return taken(**{first: second, second: first})


def half(tensor: Tensor) -> Tensor:
    """Through float16."""
    return tensor.half().to(tensor.dtype)


def rotated(kernel: Tensor) -> Tensor:
    """By 180 degrees."""
    return kernel.flip(0, 1)


def rows(kernel: Tensor) -> Tensor:
    """Height and width exchanged."""
    return kernel.transpose(0, 1)


def in_out(kernel: Tensor) -> Tensor:
    """The last two axes exchanged."""
    return kernel.transpose(-1, -2)


def reshaped(kernel: Tensor) -> Tensor:
    """Reshaped to (out, in, H, W) without being transposed."""
    height, width, taken_channels, given = kernel.shape
    return kernel.reshape(given, taken_channels, height, width).permute(2, 3, 1, 0)


def multiplier(kernel: Tensor) -> Tensor:
    """Input channel and multiplier of a depthwise kernel exchanged, then merged as if they were not."""
    return kernel.transpose(2, 3).reshape(kernel.shape)


def one_element(tensor: Tensor) -> Tensor:
    """One element lies by 0.3 aside."""
    flat = tensor.flatten().clone()
    flat[len(flat) // 2] += 0.3
    return flat.reshape(tensor.shape)


def gates(*order: int) -> Callable[[Tensor], Tensor]:
    """The blocks of a recurrent layer's gates in another order."""
    return lambda tensor: torch.cat([tensor.chunk(len(order), -1)[i] for i in order], -1)


def reordered(layer: str, *order: int, first: int = 0, last: int = 3) -> Given:
    """Kernel, recurrent kernel and bias of a layer with the gates in another order."""

    def given(weights: Weights, name: str) -> list[Tensor]:
        own = weights[name]
        return [gates(*order)(t) if name == layer and first <= i < last else t for i, t in enumerate(own)]

    return given
