"""Brings the weights of a Keras ResNet8 (``.h5``) to the PyTorch port, and refuses what does not fit.

    python -m model.convert KERAS_H5 [--pt OUT.pt] [--safetensors OUT.safetensors]

prints the statistics of every weight on both sides and writes the state dict. Only h5py reads the file:
neither Keras nor TensorFlow is needed, and no code stored in the file runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn

from model.files import replace_file
from model.resnet8 import ResNet8

#: Keras layer -> torch module. Explicit, because the order of the layers in a file proves nothing.
LAYER_MAP = {
    "conv2d": "stem.conv",
    "batch_normalization": "stem.bn",
    "conv2d_1": "b1.conv1",
    "batch_normalization_1": "b1.bn1",
    "conv2d_2": "b1.conv2",
    "batch_normalization_2": "b1.bn2",
    "conv2d_3": "b2.conv1",
    "batch_normalization_3": "b2.bn1",
    "conv2d_4": "b2.conv2",
    "batch_normalization_4": "b2.bn2",
    "conv2d_5": "b2.shortcut",
    "conv2d_6": "b3.conv1",
    "batch_normalization_5": "b3.bn1",
    "conv2d_7": "b3.conv2",
    "batch_normalization_6": "b3.bn2",
    "conv2d_8": "b3.shortcut",
    "dense": "fc",
}


class ConversionError(ValueError):
    """A Keras file that does not hold exactly the weights of the torch module."""


class Target(NamedTuple):
    """Where a Keras weight goes: the torch attribute, and the Keras axes in torch's order."""

    attribute: str
    axes: tuple[int, ...]


#: Torch module class -> Keras weight -> target. Sources: Keras makes ``kernel`` as (H, W, in, out) in
#: ``keras/src/layers/convolutional/base_conv.py`` and as (in, out) in ``keras/src/layers/core/dense.py``;
#: torch documents ``weight`` of Conv2d as (out, in, H, W) and of Linear as (out, in). Both keep the variance,
#: neither its root.
LAYOUT: dict[type[nn.Module], dict[str, Target]] = {
    nn.Conv2d: {"kernel": Target("weight", (3, 2, 0, 1)), "bias": Target("bias", (0,))},
    nn.Linear: {"kernel": Target("weight", (1, 0)), "bias": Target("bias", (0,))},
    nn.BatchNorm2d: {
        "gamma": Target("weight", (0,)),
        "beta": Target("bias", (0,)),
        "moving_mean": Target("running_mean", (0,)),
        "moving_variance": Target("running_var", (0,)),
    },
}


@dataclass(frozen=True)
class Conversion:
    """The weights of one Keras file, on both sides.

    Attributes:
        state: Torch name -> tensor in torch's layout; complete, for ``load_state_dict`` with ``strict=True``.
        sources: Torch name -> the Keras weight ("layer/weight") and its values in Keras's layout.
    """

    state: dict[str, Tensor]
    sources: dict[str, tuple[str, npt.NDArray[np.float32]]]


def convert(keras_path: str | os.PathLike[str], module: nn.Module) -> Conversion:
    """Reads a Keras file and returns its weights under the names and in the layout of a torch module.

    Every weight of the file must have a place in `module`, and every parameter and buffer of `module` must
    be filled from the file. The one exception is ``num_batches_tracked``, which Keras does not have and
    inference does not use: it is set to 0, its value in a new module.

    Args:
        keras_path: A model saved as ``.h5`` by Keras 2, or by Keras 3 in its legacy format.
        module: The port, with the module names of `LAYER_MAP`. It is not changed.

    Returns:
        The state dict, in the order of `module`'s own, and the Keras weights it was made from.

    Raises:
        ConversionError: If the file is missing, is not HDF5, has no Keras weights, or its weights and
            `module` do not fit each other exactly.
    """
    path = Path(keras_path)
    if not path.is_file():
        raise ConversionError(f"{path}: no such file; give the path of a model that Keras saved as .h5")
    expected: dict[str, Tensor] = module.state_dict()
    state = {name: torch.tensor(0) for name in expected if name.endswith(".num_batches_tracked")}
    sources: dict[str, tuple[str, npt.NDArray[np.float32]]] = {}
    try:
        with h5py.File(path, "r") as file:
            for layer, name, dataset in _stored_weights(file):
                where = f"layer '{layer}', weight '{name}'"
                # "conv2d/kernel:0" as Keras 2 writes it, "conv2d/kernel" as Keras 3 does.
                weight = name.rsplit("/", 1)[-1].split(":")[0]
                target, axes = _target(module, expected, layer, weight, where)
                if target in state:
                    raise ConversionError(f"{where}: '{target}' has a weight already; keep one of the two")
                _check_fit(dataset, axes, target, tuple(expected[target].shape), where)
                values = dataset[()]
                # A copy in C order: safetensors stores nothing else, and `sources` must not share its memory.
                state[target] = torch.from_numpy(np.array(values.transpose(axes), order="C"))
                sources[target] = (f"{layer}/{weight}", values)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None
    except (KeyError, OSError, RuntimeError) as error:  # what h5py raises on damaged files
        raise ConversionError(f"{path}: not readable as HDF5 ({error}); save it as .h5 again") from error

    unfilled = [name for name in expected if name not in state]
    if unfilled:
        raise ConversionError(
            f"{path}: no weight for {', '.join(unfilled)} of the torch module; "
            "correct LAYER_MAP, or give the file of the model that was ported"
        )
    return Conversion({name: state[name] for name in expected}, sources)


def _stored_weights(file: h5py.File) -> Iterator[tuple[str, str, h5py.Dataset]]:
    """Yields the layer name, weight name and dataset of every weight of a Keras file.

    Source of the format: ``save_weights_to_hdf5_group`` in ``keras/src/legacy/saving/legacy_h5_format.py`` of
    Keras 3 and in ``keras/saving/hdf5_format.py`` of Keras 2, which write the same.
    """
    root = file.get("model_weights")
    if not isinstance(root, h5py.Group):
        raise ConversionError("has no group 'model_weights'; save the whole model with model.save('NAME.h5')")
    layers = _names(root, "layer_names")
    if "top_level_model_weights" in root:  # weights of the model itself, which the list leaves out
        layers.append("top_level_model_weights")
    for layer in layers:
        group = root.get(layer)
        if not isinstance(group, h5py.Group):
            raise ConversionError(f"layer '{layer}' is listed but not stored; save the model again")
        for name in _names(group, "weight_names"):
            dataset = group.get(name)
            where = f"layer '{layer}', weight '{name}'"
            if not isinstance(dataset, h5py.Dataset):
                raise ConversionError(f"{where}: is listed but not stored; save the model again")
            # HDF5 lets a link or a dataset take its values from any file of the disk; Keras never does.
            if dataset.external or dataset.is_virtual or dataset.file.filename != file.filename:
                raise ConversionError(f"{where}: its values lie in another file; save the model as one .h5")
            yield layer, name, dataset


def _names(group: h5py.Group, key: str) -> list[str]:
    """Returns a list of names stored as an attribute.

    Keras splits a list that exceeds HDF5's limit for one attribute, 64 KiB, into ``key0``, ``key1``, …
    """
    numbered = (f"{key}{index}" for index in count())
    chunks = [key] if key in group.attrs else list(takewhile(lambda chunk: chunk in group.attrs, numbered))
    if not chunks:
        raise ConversionError(f"group '{group.name}' has no attribute '{key}'; give a file that Keras wrote")
    names = [name for chunk in chunks for name in np.ravel(group.attrs[chunk])]
    return [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names]


def _target(
    module: nn.Module, expected: Mapping[str, Tensor], layer: str, weight: str, where: str
) -> tuple[str, tuple[int, ...]]:
    """Returns the torch name that a Keras weight fills, and the Keras axes in torch's order."""
    if layer not in LAYER_MAP:
        raise ConversionError(f"{where}: no torch module for the layer; add it to LAYER_MAP")
    try:
        submodule = module.get_submodule(LAYER_MAP[layer])
    except AttributeError as error:
        raise ConversionError(f"{where}: {error}; correct LAYER_MAP") from None
    kind = type(submodule).__name__
    rules = next((rules for cls, rules in LAYOUT.items() if isinstance(submodule, cls)), {})
    if weight not in rules:
        raise ConversionError(
            f"{where}: unknown for a torch {kind}, for which {', '.join(rules) or 'nothing'} is known; "
            "add a rule to LAYOUT"
        )
    attribute, axes = rules[weight]
    target = f"{LAYER_MAP[layer]}.{attribute}"
    if target not in expected:
        raise ConversionError(f"{where}: the torch {kind} has no '{target}'; build it with one")
    return target, axes


def _check_fit(dataset: h5py.Dataset, axes: tuple[int, ...], target: str, wanted: tuple[int, ...], where: str) -> None:
    """Raises ConversionError where the values of a dataset cannot become the torch tensor `target`.

    It is called before they are read: a damaged file may declare a shape that no memory holds.
    """
    if dataset.dtype != np.float32:
        raise ConversionError(f"{where}: is {dataset.dtype}, not float32; save the model in float32")
    shape = dataset.shape or ()  # None where HDF5 stores a null dataspace
    if len(shape) != len(axes) or tuple(shape[axis] for axis in axes) != wanted:
        raise ConversionError(
            f"{where}: shape {shape}, in torch's order of axes {axes}, is not the {wanted} of '{target}'; "
            "correct the torch module, or give the file of the model that was ported"
        )


def statistics_table(conversion: Conversion) -> str:
    """Returns the shape, minimum, maximum, mean and standard deviation of every weight, Keras above torch.

    The two lines of a weight agree in all but the shape. Where they do not, its values were changed.
    """
    lines = [f"{'weight':<40} {'shape':<12} {'min':>12} {'max':>12} {'mean':>12} {'std':>12}"]
    for target, (source, values) in conversion.sources.items():
        lines.append(_statistics(source, values))
        lines.append(_statistics(f"  -> {target}", conversion.state[target].numpy()))
    return "\n".join(lines)


def _statistics(label: str, values: npt.NDArray[np.float32]) -> str:
    # Float64, or the mean would depend on the order of the elements, which the layout changes.
    wide = values.astype(np.float64)
    numbers = " ".join(f"{number:>12.6g}" for number in (wide.min(), wide.max(), wide.mean(), wide.std()))
    return f"{label:<40} {'x'.join(map(str, values.shape)):<12} {numbers}"


def save(state: dict[str, Tensor], pt: Path | None = None, safetensors_path: Path | None = None) -> None:
    """Writes a state dict to a file of each format asked for; a file is there whole or not at all.

    Args:
        state: Torch name -> tensor.
        pt: To be read with ``torch.load(pt, weights_only=True)``.
        safetensors_path: To be read with ``safetensors.torch.load_file(safetensors_path)``.

    Raises:
        OSError: If a file cannot be written.
    """

    def write_pt(path: Path) -> None:
        # A stream, not the path: torch writes the name of a path into the file, here the temporary one.
        with path.open("wb") as stream:
            torch.save(state, stream)

    if pt is not None:
        replace_file(pt, write_pt)
    if safetensors_path is not None:
        data = safetensors.torch.save(state)
        replace_file(safetensors_path, lambda path: path.write_bytes(data))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 with one line on stderr when the input is refused."""
    parser = argparse.ArgumentParser(prog="python -m model.convert", description=__doc__.splitlines()[0])
    parser.add_argument("keras_h5", metavar="KERAS_H5", type=Path, help="ResNet8 saved by Keras as .h5")
    parser.add_argument("--pt", type=Path, help="write the state dict here, with torch.save")
    parser.add_argument("--safetensors", type=Path, help="write the state dict here, as safetensors")
    arguments = parser.parse_args(argv)
    paths = [path.resolve() for path in (arguments.keras_h5, arguments.pt, arguments.safetensors) if path]
    if len(set(paths)) < len(paths):
        parser.error("KERAS_H5, --pt and --safetensors must be different files")
    try:
        conversion = convert(arguments.keras_h5, ResNet8())
        save(conversion.state, arguments.pt, arguments.safetensors)
    except (ConversionError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    print(statistics_table(conversion))
    return 0


if __name__ == "__main__":
    sys.exit(main())
