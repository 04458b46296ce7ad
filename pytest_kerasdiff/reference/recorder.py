"""Run the Keras model once, eagerly, and write the output of every layer."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from pytest_kerasdiff.modelfile import numbered
from pytest_kerasdiff.reference.code import Code, has_code
from pytest_kerasdiff.reference.sparing import sparing
from pytest_kerasdiff.trace import CURVE_AT, Array, Layer
from pytest_kerasdiff.tracefile import TraceWriter


def is_model(layer: Any, keras: ModuleType) -> bool:
    """Whether a layer is an inner model, whose layers are listed in its place."""
    return isinstance(layer, keras.Model) and bool(layer.layers) and hasattr(layer, "get_config")


def listed_layers(model: Any, keras: ModuleType, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, layer) of every layer of the model, the layers of inner models in their place."""
    # `operations` also holds what is no Layer: `keras.ops` calls of a functional model.
    for layer in getattr(model, "operations", None) or model.layers:
        path = prefix + layer.name
        if is_model(layer, keras):
            yield from listed_layers(layer, keras, f"{path}/")
        elif type(layer).__name__ != "InputLayer":
            yield path, layer


def call_numbers(model: Any, keras: ModuleType, prefix: str = "") -> dict[str, list[int]]:
    """Number of each call of each layer in the order in which they are executed.

    A functional model executes the nodes of its graph by depth, not as they were made; its file numbers the calls of a
    layer as they were made. A layer of an inner model is called for every call of that. Empty for a subclassed model.
    """
    graph = getattr(model, "_functional", None) or model  # a Sequential of Keras 3 has its graph apart
    levels = getattr(graph, "_nodes_by_depth", {})
    nodes = [node for depth in sorted(levels, reverse=True) for node in levels[depth]]
    own = {id(node) for node in nodes}
    found: dict[str, list[int]] = {}
    for node in nodes:
        layer = getattr(node, "operation", None) or getattr(node, "layer", None)
        if layer is None or node.is_input:
            continue
        path, number = prefix + layer.name, [id(n) for n in layer._inbound_nodes if id(n) in own].index(id(node))
        if is_model(layer, keras):
            for name, inner in call_numbers(layer, keras, f"{path}/").items():
                found.setdefault(name, []).extend(number * len(inner) + n for n in inner)
        else:
            found.setdefault(path, []).append(number)
    return found


def structured(model: Any, names: Sequence[str], tensors: Sequence[Any]) -> Any:
    """Inputs as a model takes them: one tensor, a list, or a dict by the keys that it was built with."""
    if len(tensors) == 1:
        return tensors[0]
    struct = getattr(model, "_inputs_struct", None) or getattr(model, "_nested_inputs", None)
    if isinstance(struct, dict):
        by_name = dict(zip(names, tensors, strict=True))
        return {key: by_name[key] if key in by_name else tensors[i] for i, key in enumerate(struct)}
    return list(tensors)


_NUMBER = re.compile(r":\d+$")
"""TensorFlow's number of an output behind the name of a variable; a colon of the layer's name stays."""


class Recorder:
    """Wraps the calls of all listed layers while one pass runs, and writes what they give.

    Only calls of listed layers are steps: what a layer calls inside itself is its own business. Calling an inner model
    is no step either; its layers are.
    """

    def __init__(
        self,
        model: Any,
        keras: ModuleType,
        tensorflow: ModuleType,
        step: Callable[[int, int], None] = lambda number, of: None,
    ) -> None:
        """Prepare to record one pass of ``model``; ``step`` is told which layer of how many runs."""
        self._say = step
        self._model, self._keras, self._tf = model, keras, tensorflow
        self._paths = {id(layer): (path, layer) for path, layer in listed_layers(model, keras)}
        self._numbers: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._calls: Counter[str] = Counter()
        self._call_numbers = call_numbers(model, keras)
        self._next = 0
        self._inside: Any = None
        self._code = Code(self._numbered, lambda: self._inside is None)
        self.layers: list[Layer] = []
        self.results: list[Array] = []
        """The model's outputs."""
        self.output_names: list[str] = []
        """Keys of the model's outputs in their order, where it gives a dict."""
        self.compiled: list[str] = []
        """Layers that TensorFlow has no CPU kernel for."""
        self._weighed: set[str] = set()
        self.curves: dict[str, Array] = {}
        """What activation functions make of ``CURVE_AT``, by the layer's report name."""

    def record(self, names: Sequence[str], arrays: Sequence[Array], writer: TraceWriter) -> list[int]:
        """Run the model on the probe inputs and write what each layer gives.

        Args:
            names: Names of the model's inputs in its order.
            arrays: Probe inputs in the same order.
            writer: Takes values, masks and weights as soon as they are known.

        Returns:
            The model's outputs as numbers of values.
        """
        self._writer = writer
        tensors = self._given(arrays)
        for name, tensor in zip(names, tensors, strict=True):
            self.layers.append(Layer(name, "InputLayer", {"name": name}, (), (self._new(tensor),)))
        given = structured(self._model, names, tensors)
        followed = self._code.followed() if has_code(self._model, self._keras) else contextlib.nullcontext()
        originals = self._patch()
        try:
            with followed, sparing(self._keras):
                result = self._model(given, training=False)
        finally:
            for owner, call in originals:
                owner.__call__ = call
        self.output_names = sorted(result) if isinstance(result, dict) else []
        tensors = self._tensors(result)
        self.results = [np.asarray(tensor) for tensor in tensors]
        numbers = [self._known(tensor) for tensor in tensors]
        if None in numbers:
            raise ValueError("an output of the model is not the output of any of its layers")
        outputs = [number for number in numbers if number is not None]
        self._drop_unused(outputs)
        return outputs

    def outputs(self, names: Sequence[str], arrays: Sequence[Array]) -> list[Array]:
        """Run the model, from its first state, on other inputs or in another precision; nothing is recorded."""
        for _, layer in self._paths.values():
            forget = getattr(layer, "reset_state", getattr(layer, "reset_states", None))  # Keras 3, Keras 2
            if getattr(layer, "stateful", False) and forget is not None:
                forget()
        tensors = self._given(arrays)
        given = structured(self._model, names, tensors)
        owners = [(owner, owner.__call__) for owner in self._owners()]
        for owner, call in owners:
            owner.__call__ = self._compiling(call)
        try:
            with sparing(self._keras):
                return [np.asarray(tensor) for tensor in self._tensors(self._model(given, training=False))]
        finally:
            for owner, call in owners:
                owner.__call__ = call

    def _given(self, arrays: Sequence[Array]) -> list[Any]:
        floats = self._keras.backend.floatx()
        return [self._tf.constant(a if a.dtype.kind in "biu" else a.astype(floats)) for a in arrays]

    def _owners(self) -> list[Any]:
        return [self._keras.layers.Layer, *([self._keras.Operation] if hasattr(self._keras, "Operation") else [])]

    def _compiling(self, call: Any) -> Any:
        recorder = self

        def wrapped(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if id(layer) not in recorder._paths or recorder._inside is not None:
                return call(layer, *args, **kwargs)
            recorder._inside = layer
            try:
                return recorder._call(call, layer, args, kwargs)
            finally:
                recorder._inside = None

        return wrapped

    def _drop_unused(self, model_outputs: Sequence[int]) -> None:
        """Keep of each layer the outputs that another layer or the model takes: a port need not compute the others."""
        used = {value for layer in self.layers for value in layer.inputs} | set(model_outputs)
        for i, layer in enumerate(self.layers):
            outputs = tuple(value for value in layer.outputs if value in used)
            self.layers[i] = dataclasses.replace(layer, outputs=outputs or layer.outputs[:1])

    def _patch(self) -> list[tuple[Any, Any]]:
        originals = []
        for owner in self._owners():
            call = owner.__call__
            originals.append((owner, call))
            owner.__call__ = self._wrap(call)
        return originals

    def _wrap(self, call: Any) -> Any:
        recorder = self

        def wrapped(layer: Any, *args: Any, **kwargs: Any) -> Any:
            known = recorder._paths.get(id(layer))
            if known is None or recorder._inside is not None:
                return call(layer, *args, **kwargs)
            recorder._inside = layer
            try:
                result = recorder._call(call, layer, args, kwargs)
            finally:
                recorder._inside = None
            return recorder._step(known[0], layer, args, kwargs, result)

        return wrapped

    def _call(self, call: Any, layer: Any, args: Any, kwargs: Any) -> Any:
        """Call a layer; what TensorFlow has no CPU kernel for (convolutions over channels first) is compiled by XLA."""
        try:
            return call(layer, *args, **kwargs)
        except self._tf.errors.OpError as error:
            # Only the inner call is compiled, so that masks, which __call__ hands on, stay.
            vars(layer)["call"] = self._tf.function(layer.call, jit_compile=True, autograph=False)
            try:
                result = call(layer, *args, **kwargs)
            except Exception:
                raise error from None
            finally:
                del vars(layer)["call"]
            if self._paths[id(layer)][0] not in self.compiled:
                self.compiled.append(self._paths[id(layer)][0])
            return result

    def _step(self, path: str, layer: Any, args: Any, kwargs: Any, result: Any) -> Any:
        taken = self._tensors(_in_order(layer, args, kwargs))
        same = {id(tensor) for tensor in taken}
        # Dropout and linear activations return the very tensor they were given; a value needs an identity of its own.
        result = self._tf.nest.map_structure(lambda t: self._copy(t) if id(t) in same else t, result)
        known = self._call_numbers.get(path, [])
        name = numbered(path, known[self._calls[path]] if self._calls[path] < len(known) else self._calls[path])
        self._calls[path] += 1
        weights = self._weights(path, layer)
        # What no layer gave does not depend on the model's input (positions made by arange): it is no input of a step.
        inputs = tuple(number for number in map(self._known, taken) if number is not None)
        config = self._config(layer, args, kwargs)
        if _takes_shape_only(layer, config):
            inputs = ()
        outputs = tuple(self._new(tensor, bool(inputs)) for tensor in self._tensors(result))
        self.layers.append(Layer(name, type(layer).__name__, config, inputs, outputs, weights))
        self._say(len(self.layers), max(len(self._paths), len(self.layers)))
        curve = self._curve(layer, args, kwargs)
        if curve is not None:
            self.curves[name] = curve
        return result

    def _curve(self, layer: Any, args: Any, kwargs: Any) -> Array | None:
        """What a layer's activation function, or a layer that may be one, makes of ``CURVE_AT``.

        Returns:
            One value for each; None for what is no function of one element (softmax).
        """
        function = getattr(getattr(layer, "layer", layer), "activation", None)  # `layer`: TimeDistributed
        if not callable(function):
            if len(self._tensors((args, kwargs))) != 1 or list(getattr(layer, "weights", [])):
                return None

            def function(x: Any) -> Any:
                given = (args, {k: v for k, v in kwargs.items() if k != "training"})  # not every call() takes it
                again = self._tf.nest.map_structure(lambda leaf: x if self._tf.is_tensor(leaf) else leaf, given)
                return layer(*again[0], **again[1])

        self._inside = layer
        try:
            probes = self._tf.constant(CURVE_AT.astype(self._keras.backend.floatx()))
            row = np.asarray(function(probes[None, :]))
            column = np.asarray(function(probes[:, None]))
        except Exception:  # what another shape does not fit is no activation function
            return None
        finally:
            self._inside = None
        elementwise = row.shape == (1, probes.shape[0]) and column.shape == row.T.shape
        return row[0] if elementwise and np.allclose(row.T, column, 1e-6, 0, equal_nan=True) else None

    def _copy(self, tensor: Any) -> Any:
        copied = self._tf.identity(tensor)
        if getattr(tensor, "_keras_mask", None) is not None:
            copied._keras_mask = tensor._keras_mask
        return copied

    def _weights(self, path: str, layer: Any) -> tuple[str, ...]:
        variables = list(getattr(layer, "weights", ()))
        names = _short_names([_NUMBER.sub("", str(getattr(v, "path", v.name))) for v in variables])
        arrays = {name: np.asarray(variable) for name, variable in zip(names, variables, strict=True)}
        kept = {name: array for name, array in arrays.items() if array.dtype.kind == "f" and "seed" not in name}
        if path not in self._weighed:  # else another call of a shared layer
            for name, array in kept.items():
                self._writer.add_weight(path, name, array.astype(np.float32))
            self._weighed.add(path)
        return tuple(kept)

    def _config(self, layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        try:
            config: dict[str, Any] = _plain(layer.get_config())
        except Exception:  # a custom layer without get_config: only its name is known
            config = {"name": layer.name}
        extra = {k: _plain(v) for k, v in kwargs.items() if not self._tensors(v) and k not in ("training", "mask")}
        positional = [_plain(a) for a in args if not self._tensors(a)]
        if extra or positional:
            config["call"] = {"args": positional, "kwargs": extra}
        return config

    def _tensors(self, structure: Any) -> list[Any]:
        return [t for t in self._tf.nest.flatten(structure) if self._tf.is_tensor(t)]

    def _numbered(self, tensor: Any) -> int | None:
        """Number of a tensor that an input or a listed layer gave."""
        found = self._numbers.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def _known(self, tensor: Any) -> int | None:
        """Number of a tensor that an input or a listed layer gave, or of its converted copy.

        What the model's own code computed from such is a step of its own, called ``call`` as the method it stands in.
        """
        found = self._numbered(tensor)
        if found is not None:
            return found
        array = None
        for ref, number in self._numbers.values():
            earlier = ref()
            if earlier is not None and earlier.shape == tensor.shape:
                array = np.asarray(tensor) if array is None else array
                if np.array_equal(np.asarray(earlier), array):
                    return number
        sources = self._code.sources(tensor)
        if not sources:
            return None
        name = numbered("call", self._calls["call"])
        self._calls["call"] += 1
        self.layers.append(Layer(name, "Code", {"name": name}, tuple(sources), (self._new(tensor),)))
        return self.layers[-1].outputs[0]

    def _new(self, tensor: Any, dependent: bool = True) -> int:
        number = self._next
        self._next += 1
        if dependent:
            self._numbers[id(tensor)] = (weakref.ref(tensor), number)
        self._writer.add_value(number, np.asarray(tensor))
        mask = getattr(tensor, "_keras_mask", None)
        if mask is not None and np.ndim(mask) == 2:
            self._writer.add_mask(number, np.asarray(mask))
        return number


def _takes_shape_only(layer: Any, config: dict[str, Any]) -> bool:
    """Whether what an operation gives depends on its input's shape only: none of the input's values is in it."""
    function = config.get("function") if type(layer).__name__ == "TFOpLambda" else type(layer).__name__
    return str(function).split(".")[-1].replace("_", "").lower() in (
        "oneslike",
        "zeroslike",
        "fulllike",
        "shape",
        "size",
    )


def _in_order(layer: Any, args: Any, kwargs: Any) -> list[Any]:
    """Arguments of a call in the order of the layer's parameters, however the call named them."""
    try:
        return list(inspect.signature(layer.call).bind(*args, **kwargs).arguments.values())
    except (AttributeError, TypeError, ValueError):  # `training`, which some layers take in __call__ only
        return [*args, *kwargs.values()]


def _short_names(paths: list[str]) -> list[str]:
    """Shortest endings of the weights' paths that tell them apart: ``kernel``, or ``forward_lstm/lstm_cell/kernel``."""
    for parts in range(1, 8):
        names = ["/".join(path.split("/")[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path}#{i}" for i, path in enumerate(paths)]


def _plain(value: Any) -> Any:
    """JSON-serialisable copy of a config value."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
