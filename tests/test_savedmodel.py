"""SavedModel folders: the Keras config found in their bytes, and what is no Keras model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import modelfile
from pytest_kerasdiff.errors import RunError

CONFIG = {
    "class_name": "Sequential",
    "name": "net",
    "config": {
        "name": "net",
        "layers": [
            {
                "class_name": "InputLayer",
                "config": {"name": "x", "batch_input_shape": {"class_name": "__tuple__", "items": [None, 4]}},
            },
            {"class_name": "Dense", "config": {"name": "fc", "units": 2}},
        ],
    },
}


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, length = len(payload), b""
    while True:
        length += bytes((size & 0x7F | (0x80 if size > 0x7F else 0),))
        size >>= 7
        if not size:
            return bytes((number << 3 | 2,)) + length + payload


def user_object(identifier: str, config: Any) -> bytes:
    return field(1, identifier.encode()) + field(2, b"\x08\x01\x10\x01") + field(3, json.dumps(config).encode())


def saved(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / f"{name}.pb").write_bytes(data)
    return folder


@pytest.mark.parametrize("name", ["saved_model", "keras_metadata"])
def test_the_models_config_is_found(name: str, tmp_path: Path) -> None:
    layer = user_object("_tf_keras_layer", {"class_name": "Dense", "config": {"name": "other"}})
    data = b"\x00{graph}\x12" + user_object("_tf_keras_sequential", CONFIG) + layer
    file = modelfile.read(saved(tmp_path / "net", **{"saved_model": b"graph", name: data}))
    assert [(entry.name, entry.class_name) for entry in file.layers()] == [("x", "InputLayer"), ("fc", "Dense")]
    assert file.inputs()[0].shape == (None, 4)
    assert file.keras_major == 2


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "folder without saved_model.pb"),
        ({"saved_model": b"a graph of TensorFlow alone"}, "holds no Keras model"),
        ({"saved_model": field(1, b"_tf_keras_network") + b'\x1a\x05{"cla'}, "holds no Keras model"),
    ],
)
def test_what_is_no_keras_model_is_refused(files: dict[str, bytes], words: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=words):
        modelfile.read(saved(tmp_path / "net", **files))
