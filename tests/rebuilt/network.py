"""The port of a whole Keras model: an ``nn.Module`` whose forward follows the inbound nodes of the config."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor, nn

from tests.rebuilt.layers import build
from tests.zoo.case import Weights

Config = Mapping[str, Any]
Fault = Callable[[nn.Module], nn.Module | None]
"""Changes the port of one layer in place, or gives another module for it."""
Key = tuple[str, int, int]
"""(layer, number of its call, number of its output)."""


class Network(nn.Module):
    """The port of a functional or sequential model, inner models included.

    Activations are channels first inside. Inputs of three axes are taken as Keras takes them, (N, L, C), images as
    (N, C, H, W); outputs of three axes are given as Keras gives them.
    """

    def __init__(
        self, config: Config, weights: Weights, faults: Mapping[str, Fault] | None = None, prefix: str = ""
    ) -> None:
        """Build every layer.

        Args:
            config: The model's config, which names its layers and how they are joined.
            weights: Its weights by layer.
            faults: Layer, ``inner/name`` for those of inner models → what is wrong with its port.
            prefix: Path of this model where it is an inner one.
        """
        super().__init__()
        self.prefix, faults = prefix, faults or {}
        self.inputs, calls, self.outputs = read(config)
        self.calls = in_rounds(calls)
        self.last = {key: number for number, (_, structure) in enumerate(self.calls) for key in keys(structure)}
        self.layers = nn.ModuleDict()
        for layer in config["layers"]:
            name, kind, own = layer["config"]["name"], layer["class_name"], layer["config"]
            path = prefix + name
            if kind == "InputLayer":
                continue
            inner = kind in ("Functional", "Sequential", "Model")
            module = Network(own, weights, faults, f"{path}/") if inner else build(kind, own, weights[path])
            self.layers[name.replace(".", "_")] = faults[path](module) or module if path in faults else module

    def forward(self, *inputs: Tensor) -> Any:
        outer = not self.prefix
        given = [x.transpose(1, 2) if outer and x.ndim == 3 else x for x in inputs]
        values: dict[Key, Any] = dict(zip(self.inputs, given, strict=True))
        del inputs, given  # as written by hand, a port holds only what is still needed
        for position, ((name, number), structure) in enumerate(self.calls):
            args, kwargs = filled(structure, values)
            for key in set(keys(structure)) - set(self.outputs):
                if self.last[key] == position:
                    del values[key]
            result = self.layers[name.replace(".", "_")](*args, **kwargs)
            del args, kwargs
            several = result if isinstance(result, tuple) else (result,)
            values.update({(name, number, i): value for i, value in enumerate(several)})
        found = [values[key] for key in self.outputs]
        found = [x.transpose(1, 2) if outer and x.ndim == 3 else x for x in found]
        return found[0] if len(found) == 1 else tuple(found)


Call = tuple[tuple[str, int], Any]
"""((layer, number of the call), its arguments with a ``Key`` for each value)."""


def read(config: Config) -> tuple[list[Key], list[Call], list[Key]]:
    """Inputs, calls and outputs of a model's config."""
    layers = config["layers"]
    if "input_layers" not in config:
        names = [la["config"]["name"] for la in layers if la["class_name"] != "InputLayer"]
        before = ["", *names]
        chain: list[Call] = [((name, 0), ([(before[i], 0, 0)], {})) for i, name in enumerate(names)]
        return [("", 0, 0)], chain, [(before[-1], 0, 0)]
    calls = [
        ((layer["config"]["name"], number), arguments(node))
        for layer in layers
        if layer["class_name"] != "InputLayer"
        for number, node in enumerate(layer["inbound_nodes"])
    ]
    return several(config["input_layers"]), calls, several(config["output_layers"])


def in_rounds(calls: list[Call]) -> list[Call]:
    """Calls in an order in which they can be run: first all that take the inputs only, then those that take these."""
    position = {call: i for i, (call, _) in enumerate(calls)}
    takers: list[list[int]] = [[] for _ in calls]
    missing = [0] * len(calls)
    for i, (_, structure) in enumerate(calls):
        for giver in {(name, number) for name, number, _ in keys(structure)} & position.keys():
            takers[position[giver]].append(i)
            missing[i] += 1
    ready, order = [i for i, number in enumerate(missing) if not number], []
    while ready:
        order += ready
        following = []
        for i in (taker for giver in ready for taker in takers[giver]):
            missing[i] -= 1
            if not missing[i]:
                following.append(i)
        ready = sorted(following)
    return [calls[i] for i in order]


def several(stated: Any) -> list[Key]:
    """Inputs or outputs of a config, which states one of them without a list around it."""
    given = [stated] if stated and isinstance(stated[0], str) else stated
    return [(str(name), int(number), int(output)) for name, number, output in given]


def arguments(node: Any) -> Any:
    """(args, kwargs) of an inbound node, in Keras 3's form or in Keras 2's."""
    if isinstance(node, list):
        keyed = [(name, number, output) for name, number, output, *_ in node]
        return [keyed if len(keyed) > 1 else keyed[0]], {}
    return marked(node["args"]), {k: v for k, v in marked(node["kwargs"]).items() if k not in ("mask", "training")}


def marked(node: Any) -> Any:
    """A structure of arguments with a ``Key`` for each symbolic tensor."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            name, number, output = node["config"]["keras_history"]
            return (name, number, output)
        return {key: marked(value) for key, value in node.items()}
    return [marked(item) for item in node] if isinstance(node, list) else node


def keys(structure: Any) -> Iterator[Key]:
    """The values that a structure of arguments takes."""
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, tuple) and len(structure) == 3 and isinstance(structure[0], str):
        yield structure
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from keys(item)


def filled(structure: Any, values: Mapping[Key, Any]) -> Any:
    """A structure of arguments with the values in their places."""
    if isinstance(structure, dict):
        return {key: filled(value, values) for key, value in structure.items()}
    if isinstance(structure, tuple) and len(structure) == 3 and isinstance(structure[0], str):
        return values[structure]
    if isinstance(structure, list | tuple):
        return type(structure)(filled(item, values) for item in structure)
    return structure


def config_of(path: Path) -> Config:
    """The config stored in a ``.keras`` or an HDF5 file."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as file:
            stored: Config = json.loads(file.read("config.json"))["config"]
            return stored
    with h5py.File(path, "r") as file:
        legacy: Config = json.loads(file.attrs["model_config"])["config"]
        return legacy


def port(path: str | Path, faults: Mapping[str, Fault] | None = None) -> Network:
    """The port of a file, with its weights beside it, in eval mode."""
    torch.manual_seed(0)
    path = Path(path)
    network = Network(config_of(path), Weights(path.with_suffix(".npz")), faults)
    return network.eval()
