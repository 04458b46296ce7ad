"""How the probe inputs are handed to torch: the layout of each input."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff import specs
from pytest_kerasdiff.align.axes import Axes, decode, whole
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import InputRule
from pytest_kerasdiff.modelfile import InputSpec
from pytest_kerasdiff.trace import Array


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Layout of one input: a permutation of Keras's axes, or a function of the user's."""

    permutation: tuple[int, ...] = ()
    function: str = ""

    def apply(self, array: Array) -> Array:
        """The input as torch takes it."""
        if not self.function:
            return np.ascontiguousarray(array.transpose(self.permutation))
        function = specs.load(self.function, "[inputs] layout")
        try:
            result = function(array)
            return np.asarray(result.detach().numpy() if hasattr(result, "detach") else result)
        except Exception as error:
            raise RunError(
                f"[inputs] layout: {self.function} raised {type(error).__name__} on an input of shape {array.shape}: "
                f"{error}"
            ) from None

    def axes(self, keras_axes: Axes, shape: Sequence[int]) -> Axes:
        """Axes of the torch input, in the names of the Keras input's."""
        if not self.function:
            return tuple(keras_axes[i] for i in self.permutation)
        counter = itertools.count()

        def fresh() -> str:
            return f"torch.input.{next(counter)}"

        moved = self.apply(np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape))
        found = decode(np.rint(moved).astype(np.int64), keras_axes, fresh)
        return found if found is not None else tuple(whole(fresh(), s) for s in moved.shape)

    def describe(self) -> str:
        """How the header names it."""
        return self.function or str(list(self.permutation))


def candidates(
    specs_: Sequence[InputSpec],
    arrays: Sequence[Array],
    rules: Mapping[str, InputRule],
    config: Mapping[str, Any] | None,
) -> list[tuple[Layout, ...]]:
    """The layouts to try for all inputs together, the expected one first.

    A layout in the manifest is the only one. Else images (N, H, W, C), and volumes of models with 3-D layers, are given
    with channels first, others unchanged; channels moved, or not moved, is the alternative.

    Args:
        specs_: The model's inputs.
        arrays: Their probe inputs.
        rules: The manifest's rules by name.
        config: The Keras model's config.

    Raises:
        RunError: A permutation of the manifest does not fit its input.
    """
    channels_first = _mentions(config, "data_format", "channels_first")
    ranks = {4, 5} if _mentions(config, "class_name", "3D") else {4}
    choices = []
    for spec, array in zip(specs_, arrays, strict=True):
        stated = rules.get(spec.name, InputRule()).layout
        same, moved = tuple(range(array.ndim)), (0, array.ndim - 1, *range(1, array.ndim - 1))
        if stated == "keras":
            choices.append([Layout(same)])
        elif isinstance(stated, str):
            choices.append([Layout(function=stated)])
        elif stated is not None:
            if len(stated) != array.ndim:
                raise RunError(
                    f"[inputs] layout = {list(stated)}: input {spec.name!r} has {array.ndim} axes, batch included"
                )
            choices.append([Layout(stated)])
        elif array.ndim < 3:
            choices.append([Layout(same)])
        elif array.ndim in ranks and not channels_first:
            choices.append([Layout(moved), Layout(same)])
        else:
            choices.append([Layout(same), Layout(moved)])
    combined = list(itertools.islice(itertools.product(*choices), 16))
    # All inputs the other way together is likelier than some of them.
    return sorted(
        combined,
        key=lambda layouts: (
            len({choice.index(la) for choice, la in zip(choices, layouts, strict=True) if len(choice) > 1}) > 1
        ),
    )


def _mentions(config: Any, key: str, ending: str) -> bool:
    """Whether a model's config states somewhere, in any layer, a text with this ending under this key."""
    if isinstance(config, Mapping):
        own = config.get(key)
        return (isinstance(own, str) and own.endswith(ending)) or any(
            _mentions(value, key, ending) for value in config.values()
        )
    return isinstance(config, list) and any(_mentions(item, key, ending) for item in config)
