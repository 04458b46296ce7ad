"""Activations as a user gets them by hand: a Keras model of its own for each layer, and ``predict``.

``python -m benchmarks.bare.by_hand FILE BATCH MOST`` prints the seconds for all layers. Of more than MOST layers it
times that many, spread evenly over the model, and counts each for its share.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import keras
import numpy as np


def main() -> None:
    """Time the layers one after the other."""
    file, batch, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    model = keras.saving.load_model(file, compile=False)
    images = np.random.default_rng(0).normal(size=(batch, *model.input_shape[1:])).astype(np.float32)
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    count = min(most, len(layers))
    chosen = [layers[int((number + 0.5) * len(layers) / count)] for number in range(count)]
    started = time.perf_counter()
    for layer in chosen:
        keras.Model(model.inputs, layer.output).predict(images, verbose=0)
    pass_s = (time.perf_counter() - started) * len(layers) / count
    print(json.dumps({"pass_s": pass_s, "layers": len(layers), "timed": count}))


if __name__ == "__main__":
    main()
