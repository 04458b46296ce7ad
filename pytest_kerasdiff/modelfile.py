"""Read a Keras file without Keras: its layers, its inputs and the version that wrote it.

Only h5py, zipfile and json are used, so that collecting tests costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_kerasdiff import savedmodel
from pytest_kerasdiff.errors import RunError, not_imported

Config = dict[str, Any]
ARCHIVE_WEIGHTS = "model.weights.h5"
"""Member of a `.keras` archive that holds the weights. Source: keras/src/saving/saving_lib.py."""


MOST_CALLS = 100_000
"""Calls of layers in one model; the largest known has a few thousand."""
_NOT_AS_WRITTEN = "the model's config is not as Keras writes it"


@dataclasses.dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of the Keras model.

    Attributes:
        name: Name of its InputLayer.
        shape: Shape with the batch axis; None where the size is free.
        dtype: numpy dtype name stated by the file.
        vocabulary: Number of valid indices, where the input feeds an Embedding; else None.
        rescaling: (scale, offset) of the Rescaling layer that the input feeds; (1, 0) where there is none.
        mask: The value that marks a step as padding, where the input feeds an Embedding or a Masking layer that masks.
        boundaries: What the Discretization layers that the input feeds tell bins apart by, as far as float32 has them.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    vocabulary: int | None = None
    rescaling: tuple[float, float] = (1.0, 0.0)
    mask: float | None = None
    boundaries: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class LayerEntry:
    """One call of one Keras layer as the file lists it: its report name, its class and its config."""

    name: str
    class_name: str
    config: Config


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFile:
    """What a Keras file says about itself.

    Attributes:
        path: The file.
        keras_version: Version that wrote it, for example "2.4.0"; empty where the file does not say.
        config: The model's config, or None for a file that holds weights only.
    """

    path: Path
    keras_version: str
    config: Config | None

    @property
    def keras_major(self) -> int:
        """Major version of the Keras that wrote the file; where it does not say, what its form tells."""
        head = self.keras_version.split(".")[0]
        if head.isdigit():
            return int(head)
        if self.config is None:
            return 3 if self.path.name.endswith(".weights.h5") else 2
        return 3 if '"batch_shape"' in json.dumps(self.config) else 2  # Keras 2: batch_input_shape

    def layers(self) -> list[LayerEntry]:
        """Every call of every layer, inner models entered, in the order of the file.

        Raises:
            RunError: The file holds weights only, or its config lists no layers.
        """
        if self.config is None:
            raise RunError(
                f"{self.path}: holds weights only; name the code that builds the Keras model with "
                "--kerasdiff-keras=module:callable"
            )
        try:
            if count_calls(self.config) > MOST_CALLS:
                raise ValueError("models in models, called again and again")
            entries = list(_entries(self.config))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise RunError(f"{self.path}: {_NOT_AS_WRITTEN}") from None
        if not entries:
            raise RunError(
                f"{self.path}: the model's config lists no layers; a subclassed model cannot be rebuilt from its file: "
                "save a functional or Sequential model"
            )
        return entries

    def inputs(self) -> list[InputSpec]:
        """The inputs of the model in its own order; empty where the file does not state them.

        Raises:
            RunError: The config is not as Keras writes it.
        """
        try:
            return _inputs(self.config) if self.config is not None else []
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise RunError(f"{self.path}: {_NOT_AS_WRITTEN}") from None


def demand(path: Path) -> None:
    """Let there be a file, or a folder.

    Raises:
        RunError: There is nothing, or a pipe or a device, which could be waited for without end.
    """
    if not path.exists():
        raise RunError(f"{path}: no such file")
    if not (path.is_dir() or path.is_file()):
        raise RunError(f"{path}: neither a file nor a folder: what comes through a pipe or a device is not read")


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does."""
    return _begins(path, b"\x89HDF\r\n\x1a\n")


def is_archive(path: Path) -> bool:
    """Whether a file begins as a ``.keras`` archive does: its name, and what stands at its end, may say otherwise."""
    return _begins(path, b"PK\x03\x04")


def _begins(path: Path, signature: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(signature)) == signature


@contextlib.contextmanager
def archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ``.keras`` archive, open to be read.

    Raises:
        RunError: It is damaged.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            yield opened
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, OSError, EOFError) as error:
        raise RunError(f"{path}: damaged .keras archive: {_first_line(error)}") from None


def read(path: Path) -> ModelFile:
    """Read what a Keras file says about itself.

    Raises:
        RunError: No such file, or not a Keras file; one line that says which.

    Source: legacy HDF5 files keep ``model_config`` and ``keras_version`` as attributes of the root group; a `.keras`
    archive keeps ``config.json`` and ``metadata.json`` as members (keras/src/saving/saving_lib.py).
    """
    demand(path)
    try:
        if path.is_dir():
            return ModelFile(path, "2", savedmodel.read_config(path))
        return _read_archive(path) if is_archive(path) else _read_hdf5(path)
    except PermissionError:
        raise RunError(f"{path}: cannot be read: permission denied") from None
    except ImportError as error:  # h5py, or what it is made on
        raise RunError(not_imported(error)) from None


def _read_hdf5(path: Path) -> ModelFile:
    import h5py

    if not is_hdf5(path):
        raise RunError(f"{path}: not a Keras file: neither HDF5 (.h5, .hdf5) nor a .keras archive")
    try:
        with h5py.File(path, "r") as file:
            text = _attribute(file, "model_config")
            version = _version(_attribute(file, "keras_version"))
            known = (
                "model_weights" in file
                or "layer_names" in file.attrs
                or "layers" in file
                or "_layer_checkpoint_dependencies" in file
            )
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: damaged HDF5 file (truncated?): {_first_line(error)}") from None
    if text is None:
        if not known:
            raise RunError(
                f"{path}: an HDF5 file, but not one that Keras wrote: it has neither model_config nor layer weights"
            )
        return ModelFile(path, version, None)
    return ModelFile(path, version, _json(path, text, "model_config"))


def _read_archive(path: Path) -> ModelFile:
    with archive(path) as opened:
        members = set(opened.namelist())
        if "config.json" not in members:
            raise RunError(f"{path}: a zip archive without config.json: not a .keras file")
        config = _json(path, opened.read("config.json").decode("utf-8"), "config.json")
        version = "3"
        if "metadata.json" in members:
            metadata = _json(path, opened.read("metadata.json").decode("utf-8"), "metadata.json")
            version = _version(metadata.get("keras_version")) or "3"
    return ModelFile(path, version, config)


def datasets(path: Path) -> Mapping[str, Any]:
    """Every dataset of a Keras file by its place there, open to be read; of an archive those of its weights.

    Raises:
        RunError: The file cannot be read, or is a folder.
    """
    import h5py

    if path.is_dir():
        raise RunError(f"{path}: a SavedModel has no datasets")
    try:
        if is_archive(path):
            with archive(path) as opened:
                file = h5py.File(io.BytesIO(opened.read(ARCHIVE_WEIGHTS)), "r")
        else:
            file = h5py.File(path, "r")
    except (OSError, KeyError) as error:
        raise RunError(f"{path}: its weights cannot be read: {_first_line(error)}") from None
    found: dict[str, Any] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def _json(path: Path, text: str, where: str) -> Config:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: {where} is not JSON: {_first_line(error)}") from None
    if not isinstance(config, dict):
        raise RunError(f"{path}: {where} is not a JSON object")
    return config


def _version(stated: Any) -> str:
    """A version as it may be shown; empty where what is stated is none."""
    return stated if isinstance(stated, str) and re.fullmatch(r"\d{1,4}[\w.+-]{0,40}", stated, re.ASCII) else ""


def _attribute(file: Any, name: str) -> str | None:
    """A text among the attributes of an HDF5 file; None where it is not there.

    Raises:
        ValueError: It is no text. Lists are not even read, for each of their texts may be as large as the file.
    """
    if name not in file.attrs:
        return None
    value = file.attrs[name] if file.attrs.get_id(name).shape == () else None
    if not isinstance(value, bytes | str):
        raise ValueError(f"{name} is no text")
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text: {error}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def is_model(layer: Config) -> bool:
    """Whether a layer's config is that of a nested model, whose layers are listed in its place."""
    config = layer.get("config")
    return isinstance(config.get("layers") if isinstance(config, dict) else config, list)


def layer_name(layer: Config) -> str:
    """Name of a layer from its config.

    That of a TensorFlowOpLayer has a prefix, which its config leaves out. Source: keras/engine/base_layer.py.
    """
    if layer.get("class_name") == "TensorFlowOpLayer":
        return str(layer.get("name"))
    config = layer.get("config")
    return str((config.get("name") if isinstance(config, dict) else None) or layer.get("name"))


def _layer_configs(model: Config) -> list[Config]:
    config = model.get("config")
    # Keras before 2.2.3 stored a Sequential's config as the bare list of its layers.
    layers = config if isinstance(config, list) else (config or {}).get("layers", [])
    return [layer for layer in layers if isinstance(layer, dict)]


def _entries(model: Config) -> Iterator[LayerEntry]:
    first = next(iter(_layer_configs(model)), {})
    if first.get("class_name") != "InputLayer" and _stated_shape(first) is not None:
        yield LayerEntry(_input_name(first), "InputLayer", first["config"])
    for name, call, layer in _calls(model, ""):
        kind = str(layer.get("class_name")).split(">")[-1]  # of a registered class: package>Name
        yield LayerEntry(numbered(name, call), kind, dict(layer.get("config") or {}))


def _calls(model: Config, prefix: str) -> Iterator[tuple[str, int, Config]]:
    """(name, number of the call, layer) of every call; a layer of an inner model is called for every call of that."""
    for layer in _layer_configs(model):
        name = prefix + layer_name(layer)
        calls = range(max(1, len(layer.get("inbound_nodes") or [])))
        if is_model(layer):
            inner = list(_calls(layer, f"{name}/"))
            each = Counter(path for path, _, _ in inner)
            yield from ((path, call * each[path] + number, la) for call in calls for path, number, la in inner)
        elif layer.get("class_name") != "InputLayer":
            yield from ((name, call, layer) for call in calls)
        elif not prefix:  # the input of an inner model is the output of whatever feeds it
            yield name, 0, layer


def count_calls(model: Config) -> int:
    """Number of calls of all layers, those in inner models multiplied; it is counted without listing them."""
    found, config = 0, model.get("config")
    for layer in _layer_configs(model) if isinstance(config, dict | list) else ():
        calls = max(1, len(layer.get("inbound_nodes") or []))
        found += calls * (count_calls(layer) if is_model(layer) else 1)
    return found


def numbered(name: str, call: int) -> str:
    """Report name of one call: ``dense``, then ``dense@1``."""
    return f"{name}@{call}" if call else name


def _inputs(model: Config) -> list[InputSpec]:
    layers = _layer_configs(model)
    specs: dict[str, InputSpec] = {}
    for layer in layers:
        shape, name = _stated_shape(layer), _input_name(layer)
        if shape is not None and (layer.get("class_name") == "InputLayer" or not specs):
            dtype = layer["config"].get("dtype") or "float32"
            specs[name] = InputSpec(
                name,
                _shape(shape),
                dtype if isinstance(dtype, str) else "float32",
                _vocabulary(name, layers),
                _rescaling(name, layers),
                _mask(name, layers),
                _boundaries(name, layers),
            )
    order = _input_names(model)
    if order and set(order) <= set(specs):
        return [specs[name] for name in order]
    return list(specs.values())


def _shape(stated: Any) -> tuple[int | None, ...]:
    """A shape with the batch axis.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(stated, list | tuple) or any(
        isinstance(n, bool) or not (n is None or (isinstance(n, int) and n > 0)) for n in stated
    ):
        raise ValueError(stated)
    return tuple(stated)


def _stated_shape(layer: Config) -> Any:
    config = layer.get("config")
    return (config.get("batch_shape") or config.get("batch_input_shape")) if isinstance(config, dict) else None


def _input_name(layer: Config) -> str:
    """Name of an InputLayer, or of the one that Keras makes for a Sequential's first layer."""
    return layer_name(layer) if layer.get("class_name") == "InputLayer" else f"{layer_name(layer)}_input"


def _input_names(model: Config) -> list[str]:
    config = model.get("config")
    stated = config.get("input_layers") if isinstance(config, dict) else None
    return list(_history_names(stated)) if stated else []


def _history_names(node: Any) -> Iterator[str]:
    """Names in ``input_layers``: one ``[name, 0, 0]``, or a list or dict of such."""
    if isinstance(node, dict):
        for value in node.values():
            yield from _history_names(value)
    elif isinstance(node, list) and len(node) == 3 and isinstance(node[0], str):
        yield node[0]
    elif isinstance(node, list):
        for value in node:
            yield from _history_names(value)


def _vocabulary(name: str, layers: list[Config]) -> int | None:
    """Smallest ``input_dim`` of the Embedding layers fed by this input; in a Sequential, of the first layers."""
    return min((int(config["input_dim"]) for config in _fed_by(name, "Embedding", layers)), default=None)


def _rescaling(name: str, layers: list[Config]) -> tuple[float, float]:
    for config in _fed_by(name, "Rescaling", layers):
        scale, offset = config.get("scale", 1), config.get("offset", 0)
        if isinstance(scale, int | float) and isinstance(offset, int | float) and scale:
            return float(scale), float(offset)
    return 1.0, 0.0


def _mask(name: str, layers: list[Config]) -> float | None:
    if any(config.get("mask_zero") for config in _fed_by(name, "Embedding", layers)):
        return 0.0
    values = (config.get("mask_value", 0.0) for config in _fed_by(name, "Masking", layers))
    return next((float(value) for value in values if isinstance(value, int | float)), None)


def _boundaries(name: str, layers: list[Config]) -> tuple[float, ...]:
    # Of others it depends on the port's own rounding which side of them a number is on.
    stated = [config.get("bin_boundaries") for config in _fed_by(name, "Discretization", layers)]
    numbers = [b for one in stated if isinstance(one, list) for b in one if isinstance(b, int | float)]
    return tuple(float(b) for b in numbers if _is_float32(b))


def _is_float32(number: float) -> bool:
    try:
        (rounded,) = struct.unpack("f", struct.pack("f", number))
    except (OverflowError, struct.error):
        return False
    return bool(rounded == number) and math.isfinite(number)


_UNCHANGED = frozenset(
    {"Reshape", "Flatten", "Permute", "RepeatVector", "Dropout", "Cropping1D", "GetItem", "SlicingOpLambda"}
)
"""Layers that give values that they take, in inference."""


def _fed_by(name: str, class_name: str, layers: list[Config]) -> Iterator[Config]:
    """Configs of the layers of a class that an input feeds, in inner models too; in a Sequential, of the first ones."""
    carriers = {name}
    first = True
    for layer in layers:
        nodes, kind = layer.get("inbound_nodes"), layer.get("class_name")
        own = layer_name(layer)
        if not (any(f'"{n}"' in json.dumps(nodes) for n in carriers) if nodes else first):
            continue
        inside = layer["config"].get("layer") if kind == "TimeDistributed" else None
        if kind == class_name:
            yield layer["config"]
        elif inside is not None and inside.get("class_name") == class_name:
            yield inside["config"]
        elif is_model(layer):
            inner = _layer_configs(layer)
            inputs = [layer_name(la) for la in inner if la.get("class_name") == "InputLayer"] or [""]
            for each in _input_names(layer) or inputs:
                yield from _fed_by(each, class_name, inner)
        if kind in _UNCHANGED:
            carriers.add(own)
        first = first and (kind in _UNCHANGED or kind == "InputLayer")
