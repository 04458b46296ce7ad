"""What is known of Keras's classes and functions, against the Keras that is installed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pytest_kerasdiff.scan import known

NAMES = """
import inspect, json, keras, tf_keras
from keras.src.ops.operation import Operation

def below(kind):
    return {kind, *(name for own in kind.__subclasses__() for name in below(own))}

def public(*modules):
    return sorted({n for m in modules for n, v in vars(m).items() if inspect.isclass(v) and n[0].isupper()})

layers = public(keras.layers, tf_keras.layers, tf_keras.layers.experimental)
operations = [k.__name__ for k in below(Operation) if k.__module__.startswith("keras.src.ops.")]
parts = public(keras.initializers, tf_keras.initializers, keras.regularizers, tf_keras.regularizers, keras.constraints)
functions = [n for m in (keras.activations, tf_keras.activations) for n, v in vars(m).items() if inspect.isfunction(v)]
print(json.dumps({"classes": [*layers, *operations, *parts], "functions": functions}))
"""
DO_MORE = {
    "FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper",  # run code of the file
    "AssociativeScan", "Cond", "ForiLoop", "JVP", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop",  # functions
    "AbstractRNNCell", "Initializer", "InputSpec", "Layer", "Operation", "PreprocessingLayer", "Regularizer", "Wrapper",
    "Constraint", "DynamicEmbedding", "DynamicLookup", "Function",
}  # fmt: skip
"""Classes of Keras that no model may name: these do more than compute, the others are no layers by themselves."""


@pytest.fixture(scope="module")
def names() -> dict[str, list[str]]:
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_class_is_known_but_those_that_do_more(names: dict[str, list[str]]) -> None:
    assert {name for name in names["classes"] if not known.is_class(name)} <= DO_MORE
    assert [name for name in DO_MORE if known.is_class(name)] == []


def test_every_activation_is_known(names: dict[str, list[str]]) -> None:
    unknown = {name for name in names["functions"] if not known.is_function(name)}
    assert unknown == {"deserialize", "get", "serialize"}


@pytest.mark.parametrize("name", ["Custom>Dense", "os>Dense", "Dense.x", "", "eval"])
def test_what_only_looks_like_one_is_not_known(name: str) -> None:
    assert not known.is_class(name)


def test_the_package_of_keras_itself_may_be_stated() -> None:
    assert known.is_class("Keras>Dense")
