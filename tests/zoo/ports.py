"""Every port of the zoo as something a spec can name: ``tests.zoo.ports:CASE__PORT``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tests.zoo.case import Weights
from tests.zoo.cases import CASES


def __getattr__(name: str) -> Callable[[str], torch.nn.Module]:
    case, _, port = name.partition("__")
    if case not in CASES:
        raise AttributeError(name)

    def build(keras_path: str) -> torch.nn.Module:
        torch.set_default_dtype(torch.float32)  # as where a process judges one port only
        torch.manual_seed(0)
        return CASES[case].port(port)(Weights(Path(keras_path).with_suffix(".npz"))).eval()

    return build
