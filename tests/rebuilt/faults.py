"""What can be wrong with the port of one layer: functions that change its module, or give another one for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tests.rebuilt.layers import Function
from tests.rebuilt.network import Fault

M = TypeVar("M", bound=nn.Module)


def part(module: nn.Module, kind: type[M]) -> M:
    """The first module of a kind inside a layer's port."""
    return next(m for m in module.modules() if isinstance(m, kind))


def setting(kind: type[nn.Module], **attributes: Any) -> Fault:
    """Other values of attributes, such as ``eps``."""

    def change(module: nn.Module) -> None:
        own = part(module, kind)
        for name, value in attributes.items():
            assert hasattr(own, name), f"{kind.__name__} has no {name}"
            setattr(own, name, value)

    return change


def instead(make: Callable[[], nn.Module]) -> Fault:
    """Another module in the layer's place."""
    return lambda module: make()


def before(function: Callable[[Tensor], Tensor]) -> Fault:
    """Something done to what the layer takes."""
    return lambda module: nn.Sequential(Function(function), module)


def after(function: Callable[[Tensor], Tensor]) -> Fault:
    """Something done to what the layer gives."""
    return lambda module: nn.Sequential(module, Function(function))


def tensor(name: str, change: Callable[[Tensor], Tensor]) -> Fault:
    """Another parameter or buffer: transposed, flipped, rounded."""

    def apply(module: nn.Module) -> None:
        owner = next(m for m in module.modules() if isinstance(getattr(m, name, None), Tensor))
        with torch.no_grad():
            changed = change(getattr(owner, name)).contiguous()
            setattr(owner, name, nn.Parameter(changed) if name in dict(owner.named_parameters()) else changed)

    return apply


def of_another(source: nn.Module) -> Fault:
    """The parameters of another module of the same form."""
    return lambda module: module.load_state_dict(source.state_dict()) and None
