"""Read the Keras config out of a SavedModel folder, without TensorFlow.

Source: Keras 2 writes for every Keras object a ``SavedUserObject`` (tensorflow/core/protobuf/saved_object_graph.proto)
or ``SavedObject`` (keras/protobuf/saved_metadata.proto), whose metadata is the object's config as JSON. The model's own
comes first. Since TensorFlow 2.5 they stand in ``keras_metadata.pb``, before in ``saved_model.pb``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_kerasdiff.errors import RunError

_IDENTIFIERS = (b"_tf_keras_network", b"_tf_keras_sequential", b"_tf_keras_model")
_WINDOW_BYTES = 4096
"""How far behind the identifier the metadata field may begin: only the version, and a node path, stand between."""


def read_config(folder: Path) -> dict[str, Any]:
    """The config of the Keras model in a SavedModel folder: ``{"class_name": …, "config": …}``.

    Raises:
        RunError: The folder holds no SavedModel, or none that Keras wrote.
    """
    if not (folder / "saved_model.pb").exists():
        raise RunError(f"{folder}: is a folder without saved_model.pb: neither a Keras file nor a SavedModel")
    for name in ("keras_metadata.pb", "saved_model.pb"):
        path = folder / name
        config = _first_config(path.read_bytes()) if path.exists() else None
        if config is not None:
            return config
    raise RunError(
        f"{folder}: a SavedModel that holds no Keras model (exported from Keras 3, or by TensorFlow alone): its layers"
        " are not in it; save the model as .h5 or .keras"
    )


def _first_config(data: bytes) -> dict[str, Any] | None:
    found = [at for identifier in _IDENTIFIERS if (at := data.find(bytes((len(identifier),)) + identifier)) >= 0]
    for at in sorted(found):
        start = data.find(b'{"', at, at + _WINDOW_BYTES)
        if start < 0:
            continue
        try:
            config, _ = json.JSONDecoder().raw_decode(data[start:].decode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(config, dict) and isinstance(config.get("config"), dict):
            plain = _without_tuples(config)
            return {"class_name": plain.get("class_name"), "config": plain["config"]}
    return None


def _without_tuples(node: Any) -> Any:
    """Tuples are written as ``{"class_name": "__tuple__", "items": […]}``."""
    if isinstance(node, dict):
        if node.get("class_name") == "__tuple__":
            return [_without_tuples(item) for item in node.get("items", [])]
        return {key: _without_tuples(value) for key, value in node.items()}
    return [_without_tuples(item) for item in node] if isinstance(node, list) else node


_RUN_WHEN_LOADED = {
    5: "an asset, which is a file that its graph reads",
    10: "a resource, whose initialiser is run when it is loaded",
    11: "an object with functions of its own that save and restore it",
    14: "an object that other code restores",
    16: "an object that other code saves and restores",
}
"""Fields of a ``SavedObject`` that Keras's layers do without.

Source: tensorflow/core/protobuf/saved_object_graph.proto: asset, resource, saveable_objects, serialized_user_proto,
registered_saver.
"""


def runs_when_loaded(folder: Path) -> Iterator[str]:
    """What in the graph of objects is more than layers and variables: loading it would run functions of the graph.

    Raises:
        ValueError: It is no protocol buffer.
    """
    for node in _nodes(folder):
        for number, _ in _fields(node):
            if number in _RUN_WHEN_LOADED:
                yield _RUN_WHEN_LOADED[number]


def objects(folder: Path) -> Iterator[dict[str, Any]]:
    """Class and config of every Keras object: each is built when the folder is loaded, not only the model.

    Source: ``SavedMetadata`` (keras/protobuf/saved_metadata.proto): nodes 1, of each metadata 5; before TensorFlow 2.5
    the user_object 4 of a ``SavedObject``, of it metadata 3.

    Raises:
        ValueError: A file of it is no protocol buffer, or holds no JSON.
    """
    metadata = folder / "keras_metadata.pb"
    texts = [_within(node, 5) for node in _within(metadata.read_bytes(), 1)] if metadata.exists() else []
    texts += [_within(own, 3) for node in _nodes(folder) for own in _within(node, 4)]
    for text in (bytes(text) for found in texts for text in found):
        said = json.loads(text.decode("utf-8")) if text.strip() else None
        if isinstance(said, dict):
            yield {"class_name": said.get("class_name"), "config": _without_tuples(said.get("config"))}


def _nodes(folder: Path) -> Iterator[memoryview]:
    """Objects of a ``SavedModel``: meta_graphs 2, object_graph_def 7, nodes 1."""
    for graph in _within((folder / "saved_model.pb").read_bytes(), 2):
        for whole in _within(graph, 7):
            yield from _within(whole, 1)


def _within(data: bytes | memoryview, number: int) -> list[memoryview]:
    return [value for field, value in _fields(data) if field == number and value is not None]


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Number and content of each field of a message; no content of one that is a number.

    Source: "Encoding" in the documentation of Protocol Buffers.
    """
    view, at = memoryview(data), 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _varint(view, at)
            yield number, None
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
            yield number, None
        elif kind == 2:
            size, at = _varint(view, at)
            at += size
            yield number, view[at - size : at]
        else:
            raise ValueError(f"a field of wire type {kind}")
    if at > len(view):
        raise ValueError("cut off")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("cut off")
        value |= (view[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if view[at - 1] < 128:
            return value, at
