"""The port alone: torch, the model, one run: ``python -m benchmarks.bare.torch_only FILE SPEC N C H W``."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import torch


def main() -> None:
    """Load the port and run it once on random images."""
    file, spec, *shape = sys.argv[1:]
    module, _, name = spec.partition(":")
    port = getattr(importlib.import_module(module), name)(file)
    images = np.random.default_rng(0).normal(size=[int(size) for size in shape]).astype(np.float32)
    with torch.inference_mode():
        port(torch.from_numpy(images))


if __name__ == "__main__":
    main()
