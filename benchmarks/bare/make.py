"""Write a model of ``keras.applications`` with random weights: ``python -m benchmarks.bare.make CLASS FILE``."""

from __future__ import annotations

import importlib
import os
import sys
import warnings

from tests.zoo.case import draw_weights


def main() -> None:
    """Draw weights of which none is a default, and an end that is not saturated."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    warnings.simplefilter("ignore")
    keras = importlib.import_module("keras")
    name, file = sys.argv[1:]
    model = getattr(keras.applications, name)(weights=None)
    draw_weights(model)
    last = [layer for layer in model.layers if getattr(layer, "kernel", None) is not None][-1]
    last.kernel.assign(last.kernel.numpy() / 50)
    model.save(file)


if __name__ == "__main__":
    main()
