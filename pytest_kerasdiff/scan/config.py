"""The config of a model, and the other objects that a SavedModel holds: code, files, sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pytest_kerasdiff.scan import calls, computing, known

TRUST = "if you trust the file, add --kerasdiff-trust"
_BUILD = f"name the code that builds the model with --kerasdiff-keras; {TRUST}"
_FRAMEWORKS = frozenset({"keras", "tf_keras"})
_PARTS = frozenset(
    {
        "layers", "initializers", "regularizers", "constraints", "activations", "losses", "metrics", "optimizers",
        "models", "ops", "random", "dtype_policies", "mixed_precision", "engine", "quantizers", "legacy",
    }
)  # fmt: skip
"""Parts of Keras whose objects models are made of; others (utils, config, saving) have functions with side effects."""
_RUN_CODE = {
    "Lambda": "a Lambda layer: its function is code stored in the file",
    "__lambda__": "a lambda: code stored in the file",
    "TFSMLayer": "a TFSMLayer: it opens a SavedModel, which can run code",
    "TorchModuleWrapper": "a TorchModuleWrapper: it opens a pickle, which can run code",
    "JaxLayer": "a JaxLayer: its function is code stored in the file",
    "FlaxLayer": "a FlaxLayer: its function is code stored in the file",
}
_FUNCTIONS = ("residual_fn", "dropout_fn")
"""Settings of wrappers of Keras 2 that hold code, and beginnings of those that say of which kind it is."""
_PASSIVE = "__passive_serialization__"
"""Keras 2 builds what has it wherever it stands. Source: keras/saving/legacy/saved_model/json_utils.py."""
_VOCABULARIES = frozenset({"vocabulary", "idf_weights"})
_PATH = re.compile(r"(?:^|_)(?:file|filepath|filename|path|ckpt|checkpoint|dir|directory|url)(?:_|$)")
"""Settings of layers that Keras reads a file for: these where they are text, and what is called like that."""
_UNREAD = ("compile_config", "_initializer")
"""Ends of the settings that Keras is not given. Source: ``_convert`` in reference/loader.py."""
_NUMBERS = frozenset({"shared_object_id", "seed", "vocabulary", "salt"})
"""Settings that are no sizes, however large."""
_SIZES = frozenset({"units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "projection_dim"})
"""Settings of layers with weights that have at least as many elements."""
_LARGEST = 2**31 - 1
"""Of a number in a config: what a dimension may be at most."""
_MAKE_ARRAYS = frozenset(
    {"ones", "zeros", "fill", "eye", "broadcast_to", "tile", "repeat", "range", "linspace", "one_hot"}
)
_MADE_ELEMENTS = 2**28
"""How many elements a function is let make of constants: 2 GiB in float64."""
_DEEPEST = 200


def reasons(config: Any, trust: bool, elements: int | None) -> Iterator[str]:
    """What in a config would run code, read a file, fill the memory or come to no end.

    Args:
        config: Of a model, or of another object.
        trust: Let code pass.
        elements: Of all weights in the file; None where that is not known.
    """
    yield from _walk(config, "the model", 0, trust, elements)


def _walk(node: Any, layer: str, depth: int, trust: bool, elements: int | None, sizes: bool = True) -> Iterator[str]:
    """The same of a part of it, which is so many objects deep; where numbers may be sizes, none has more than those."""
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, layer, depth + 1, trust, elements, sizes)
    elif isinstance(node, dict):
        own = node.get("config")
        name = own.get("name") if isinstance(own, dict) else None
        layer = name if isinstance(name, str) and "class_name" in node else layer
        if not trust:
            yield from _code(node, layer)
        yield from _made_large(node, layer)
        yield from calls.reasons(node)
        if elements is not None:
            yield from _too_large(node, layer, max(elements, 1))
        for key, value in node.items():
            if not key.endswith(_UNREAD):
                yield from _walk(value, layer, depth + 1, trust, elements, sizes and key not in _NUMBERS)
    elif isinstance(node, int) and abs(node) > _LARGEST and sizes:
        yield f"layer {layer!r} declares {node}, more than a dimension may be"


def _code(node: Mapping[str, Any], layer: str) -> Iterator[str]:
    """What in an object would run code or read a file."""
    if "class_name" in node:
        yield from _object(node, layer)
    if _PASSIVE in node:
        yield f"layer {layer!r} has an object that Keras would build wherever it stands ({_PASSIVE}); {TRUST}"
    for key, value in node.items():
        if value and isinstance(value, str | dict) and (key in _VOCABULARIES or _PATH.search(key)):
            yield f"layer {layer!r} reads the file {value!r} ({key}); {TRUST}"
        if key.startswith(_FUNCTIONS) and value is not None:
            yield f"layer {layer!r} has a function stored in the file ({key}); {TRUST}"


def _too_large(node: Mapping[str, Any], layer: str, elements: int) -> Iterator[str]:
    """Sizes of weights that have more elements than there are in the file."""
    for key in sorted(_SIZES & node.keys()):
        size = node[key]
        if isinstance(size, str | dict) or (isinstance(size, int | float) and size > elements):
            yield f"layer {layer!r} declares {key} = {size}, and all weights in the file have {elements} elements"
    shapes = {
        "kernel_size": node.get("kernel_size"),
        "input_dim × output_dim": [node.get("input_dim"), node.get("output_dim")],
    }
    for key, shape in shapes.items():
        if isinstance(shape, list) and all(isinstance(n, int) for n in shape) and math.prod(shape) > elements:
            yield f"layer {layer!r} declares {key} = {shape}, and all weights in the file have {elements} elements"
    if node.get("class_name") == "__numpy__":
        own = node.get("config")
        dtype = own.get("dtype") if isinstance(own, dict) else None
        if not re.fullmatch(r"bool|(u?int|b?float|complex)\d+", str(dtype)):
            yield f"layer {layer!r} has an array of {dtype!r}"


def _made_large(node: Mapping[str, Any], layer: str) -> Iterator[str]:
    """Constants with which a function of TensorFlow would make an array while the model is built."""
    own = node.get("config")
    function = str(own.get("function")) if isinstance(own, dict) else ""
    if function.rpartition(".")[2] in _MAKE_ARRAYS:
        numbers = [n for n in _flat(node.get("inbound_nodes")) if isinstance(n, int) and n > 1]
        if math.prod(numbers) > _MADE_ELEMENTS:
            yield f"layer {layer!r} calls tf.{function} with {numbers}: an array of {math.prod(numbers)} elements"


def _flat(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
    for item in inner or ():
        yield from _flat(item)


def _object(node: Mapping[str, Any], layer: str) -> Iterator[str]:
    """Objects of other classes than those of Keras that only compute, or of which that cannot be told."""
    kind, module, own = str(node["class_name"]), node.get("module"), node.get("config")
    is_function = kind == "function"
    what = str(own) if is_function else kind
    names = {name.rpartition(">")[2] for name in (what, str(node.get("spec_name") or what))}
    for name in names & _RUN_CODE.keys():
        yield f"layer {layer!r} is {_RUN_CODE[name]}; {TRUST}"
    # Keras looks a dotted name up below the module that is stated.
    if module is not None and (not _is_keras_own(str(module), kind) or any("." in name for name in names)):
        yield f"layer {layer!r} refers to {module}.{what}, which is no part of Keras that models are made of: {_BUILD}"
    # tf_keras takes the registered name where the module has nothing of the other.
    registered = str(node.get("registered_name") or what).rpartition(">")[2]
    if not all(isinstance(name, str) for name in (node["class_name"], own if is_function else "")) or (
        registered not in {*names, kind}
    ):
        yield f"layer {layer!r} has an object whose class is not stated as Keras does; {TRUST}"
    elif not (known.is_function(what) if is_function else known.is_class(kind)):
        yield f"layer {layer!r} has {what!r}, which is not known as a part of Keras that only computes: {_BUILD}"
    for call in _unknown_calls(names, own if isinstance(own, dict) else {}):
        yield f"layer {layer!r} {call}, which is not known to do no more than compute; {TRUST}"


def _unknown_calls(kinds: Collection[str], config: Mapping[str, Any]) -> Iterator[str]:
    """What of TensorFlow a layer of Keras 2 calls by its name, where that is not known to only compute."""
    called = str(config.get("function", ""))
    if not {"TFOpLambda", "SlicingOpLambda"}.isdisjoint(kinds) and not computing.is_function(called):
        yield f"calls tf.{called}"
    elif not {"ClassMethod", "InstanceMethod", "InstanceProperty"}.isdisjoint(kinds):
        # Only a class is stated by its symbol; of what a property is one, the graph says.
        symbol = str(config.get("cls_symbol", "Tensor"))
        for name in (str(config[key]) for key in ("method_name", "attr_name") if key in config):
            if not computing.is_method(name, symbol):
                yield f"calls {symbol}.{name}"
    elif "TensorFlowOpLayer" in kinds:
        stated = config.get("node_def")
        operation = str(stated.get("op")) if isinstance(stated, dict) else str(stated)[:40]
        if not isinstance(stated, dict) or not computing.is_operation(operation):
            yield f"runs {operation!r}"


def _is_keras_own(module: str, kind: str) -> bool:
    if module == "builtins":
        return kind == "function"  # a function of Keras by its name alone, such as an activation
    parts = module.split(".")
    inside = [part for part in parts[1:] if part != "src"]
    return parts[0] in _FRAMEWORKS and (not inside or inside[0] in _PARTS)
