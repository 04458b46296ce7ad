"""What a user does without the product: both frameworks, both models, one run each.

``python -m benchmarks.bare.both FILE SPEC BATCH``
"""

from __future__ import annotations

import importlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import torch


def main() -> None:
    """Load the Keras file and the port, and run each once on the same random images."""
    file, spec, batch = sys.argv[1:]
    module, _, name = spec.partition(":")
    port = getattr(importlib.import_module(module), name)(file)
    model = keras.saving.load_model(file, compile=False)
    images = np.random.default_rng(0).normal(size=(int(batch), *model.input_shape[1:])).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    with torch.inference_mode():
        found = port(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    assert found.shape == expected.shape


if __name__ == "__main__":
    main()
