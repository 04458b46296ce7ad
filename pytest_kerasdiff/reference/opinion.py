"""A second opinion on the reference: the Keras model converted to ONNX, and run by onnxruntime.

Where Keras and the port differ, it says who is alone. It is made in float32, as the model is deployed.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.reference.recorder import structured
from pytest_kerasdiff.trace import Array

_OPSET = 17


class NoOpinionError(Exception):
    """The model cannot be converted, or not be run as ONNX."""


def ask(model: Any, names: Sequence[str], arrays: Sequence[Array]) -> list[Array]:
    """The model's outputs as onnxruntime gives them.

    Args:
        model: The Keras model in float32.
        names: Its inputs.
        arrays: Probe inputs in the same order.

    Raises:
        RunError: tf2onnx or onnxruntime is not installed.
        NoOpinionError: They cannot take the model.
    """
    try:
        import onnxruntime
        import tensorflow
        import tf2onnx
    except ImportError as error:
        raise RunError(
            f"--kerasdiff-onnx needs {error.name}, which is not installed: pip install 'pytest-kerasdiff[onnx]'"
        ) from None
    given = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays]
    specs = [tensorflow.TensorSpec((None, *a.shape[1:]), a.dtype, name=f"kerasdiff_{i}") for i, a in enumerate(given)]

    def call(*tensors: Any) -> list[Any]:
        return list(tensorflow.nest.flatten(model(structured(model, names, tensors), training=False)))

    graph = tensorflow.function(call, input_signature=specs, autograph=False)  # Keras needs none; it leaves files
    try:
        with tempfile.TemporaryDirectory() as folder, _silent():
            path = Path(folder, "model.onnx")  # a file, because one message of protobuf holds 2 GiB at most
            tf2onnx.convert.from_function(graph, input_signature=specs, opset=_OPSET, output_path=str(path))
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            by_name = {f"kerasdiff_{i}": a for i, a in enumerate(given)}
            wanted = {i.name: by_name[i.name.split(":")[0]] for i in session.get_inputs()}
            return [np.asarray(output) for output in session.run(None, wanted)]
    except Exception as error:
        reason = re.sub(r"\S*model\.onnx", "the model", in_short(error))
        raise NoOpinionError(f"the model cannot be converted to ONNX or run as such: {reason}") from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """A context in which what tf2onnx prints stays out of this process's last words."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            yield
    finally:
        logging.disable(before)
