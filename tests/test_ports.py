"""Ports that are refused, each with one line that says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_kerasdiff.candidate.loader import Port
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import Settings


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))


def meta() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize(("build", "name"), [(lazy, "1.weight"), (meta, "1.weight")])
def test_a_port_without_weights_is_refused(build: Callable[[], nn.Module], name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"{name} holds no values; load the weights before returning the model"):
        Port(Settings(tmp_path / "net.h5"), f"tests.test_ports:{build.__name__}")
