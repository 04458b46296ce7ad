"""Read the Keras config out of a SavedModel folder, without TensorFlow.

Source: Keras 2 writes for every Keras object a ``SavedUserObject`` (tensorflow/core/protobuf/saved_object_graph.proto)
or ``SavedObject`` (keras/protobuf/saved_metadata.proto), whose metadata is the object's config as JSON. The model's own
comes first. Since TensorFlow 2.5 they stand in ``keras_metadata.pb``, before in ``saved_model.pb``.
"""

from __future__ import annotations

import json
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
        except (ValueError, RecursionError):
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
