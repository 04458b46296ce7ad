"""The weights of a SavedModel folder, read as the numbers they are: nothing of its graph is loaded, or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_VALUE = "VARIABLE_VALUE"
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""Key of the tree of objects, and name of a variable's value in it.

Source: tensorflow/python/checkpoint/checkpoint.py and tensorflow/core/protobuf/trackable_object_graph.proto.
"""


def load(prefix: Path, model: Any) -> None:
    """Give a model of Keras 2 the weights of a checkpoint, found by the tree of objects that both of them are.

    Args:
        prefix: Of the checkpoint's files, of which one is ``<prefix>.index``.
        model: Built; of any precision.

    Raises:
        ValueError: The checkpoint has not what a weight needs, or more weights than the model.
    """
    import tensorflow
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    reader = tensorflow.train.load_checkpoint(str(prefix))
    tree = trackable_object_graph_pb2.TrackableObjectGraph()
    tree.ParseFromString(reader.get_tensor(_OBJECTS))
    shapes = reader.get_variable_to_shape_map()
    keys = {}
    for number, own in tensorflow.train.CheckpointView(str(prefix)).match(model).items():
        values = {attribute.name: attribute.checkpoint_key for attribute in tree.nodes[number].attributes}
        if isinstance(own, tensorflow.Variable) and _VALUE in values:
            keys[own.ref()] = values[_VALUE]
        elif values:
            what = min(values.values()).partition("/.ATTRIBUTES")[0]
            raise ValueError(f"{what} is a table, which is not read from a SavedModel: save the model as .keras")
    for weight in model.weights:
        key = keys.get(weight.ref())
        if key is None or key not in shapes:
            raise ValueError(f"nothing is there for {weight.name}")
        if tuple(shapes[key]) != tuple(weight.shape):
            raise ValueError(
                f"{weight.name} has the shape {tuple(weight.shape)}, what is there for it {tuple(shapes[key])}"
            )
    listed = [child.node_id for child in tree.nodes[0].children if child.local_name == "variables"]
    count = len(tree.nodes[listed[0]].children) if listed else len(model.weights)
    if count != len(model.weights):
        raise ValueError(f"{count} weights are there, and the model has {len(model.weights)}")
    for weight in model.weights:
        weight.assign(tensorflow.cast(reader.get_tensor(keys[weight.ref()]), weight.dtype))
