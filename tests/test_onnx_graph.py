"""ONNX files as ports: each operator gives what onnxruntime gives, and a model is judged layer by layer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_kerasdiff.candidate import onnx_graph
from pytest_kerasdiff.errors import RunError
from tests import helpers

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((2, 4, 6, 8)).astype(np.float32)
LINE = DRAW.standard_normal((2, 4, 9)).astype(np.float32)
ROWS = DRAW.standard_normal((3, 5)).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*shape: int) -> Any:
    return DRAW.standard_normal(shape).astype(np.float32)


def write(path: Path, kind: str, inputs: list[Any], opset: int, **attributes: Any) -> Path:
    """A model of one node: the first input is the model's, the others are constants; None leaves one out."""
    names = ["" if array is None else f"in:{i}" for i, array in enumerate(inputs)]
    node = onnx.helper.make_node(kind, names, ["out"], name="a.node", **attributes)
    constants = [
        onnx.numpy_helper.from_array(a, n) for n, a in zip(names[1:], inputs[1:], strict=True) if a is not None
    ]
    kind_of = onnx.helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    taken = onnx.helper.make_tensor_value_info(names[0], kind_of, inputs[0].shape)
    given = onnx.helper.make_empty_tensor_value_info("out")
    graph = onnx.helper.make_graph([node], "g", [taken], [given], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Conv", [X, floats(3, 4, 3, 3), floats(3)], {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("Conv", [X, floats(3, 4, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    ("Conv", [X, floats(3, 4, 2, 2)], {"auto_pad": "SAME_LOWER"}),
    ("Conv", [X, floats(4, 1, 3, 3)], {"group": 4, "pads": [2, 2, 2, 2], "dilations": [2, 2]}),
    ("Conv", [LINE, floats(3, 4, 3)], {"auto_pad": "VALID"}),
    ("ConvTranspose", [X, floats(4, 3, 3, 3), floats(3)], {"strides": [2, 2], "pads": [0, 1, 1, 0]}),
    ("ConvTranspose", [X, floats(4, 3, 3, 3)], {"strides": [2, 2], "output_padding": [1, 0], "pads": [1, 1, 1, 1]}),
    ("ConvTranspose", [X, floats(4, 3, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("ConvTranspose", [X, floats(4, 3, 3, 3)], {"strides": [2, 2], "output_shape": [12, 16]}),
    ("MaxPool", [X], {"kernel_shape": [2, 3], "strides": [2, 2]}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0], "count_include_pad": 1}),
    ("GlobalAveragePool", [X], {}),
    ("GlobalMaxPool", [X], {}),
    ("BatchNormalization", [X, floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.5], {"epsilon": 1e-3}),
    ("InstanceNormalization", [X, floats(4), floats(4)], {"epsilon": 1e-3}),
    ("LayerNormalization", [ROWS, floats(5), floats(5)], {"epsilon": 1e-3}),
    ("Gemm", [ROWS, floats(5, 2), floats(2)], {}),
    ("Gemm", [ROWS, floats(2, 5)], {"transB": 1, "alpha": 0.5}),
    ("Gemm", [ROWS, floats(3, 2), floats(5, 2)], {"transA": 1, "beta": 2.0}),
    ("MatMul", [ROWS, floats(5, 2)], {}),
    *[(kind, [X], {}) for kind in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Elu", "Selu", "Erf", "Exp",
                                   "Neg", "Abs", "Floor", "Ceil", "Sin", "Cos", "HardSwish", "Identity", "Reciprocal",
                                   "LeakyRelu", "HardSigmoid")],
    ("Selu", [X], {"alpha": 1.5, "gamma": 1.1}),
    ("Elu", [X], {"alpha": 0.5}),
    ("LeakyRelu", [X], {"alpha": 0.3}),
    ("HardSigmoid", [X], {"alpha": 0.25, "beta": 0.4}),
    ("PRelu", [X, floats(4, 1, 1)], {}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.5)], {}),
    ("Clip", [X, None, np.float32(0.5)], {}),
    ("Softmax", [X], {}),
    ("Softmax", [X], {"axis": 1}),
    ("LogSoftmax", [X], {"axis": 1}),
    *[(kind, [X, floats(4, 1, 1)], {}) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")],
    ("Pow", [np.abs(X), np.float32(1.5)], {}),
    ("Div", [ints(7, -7, 9), ints(2, 2, 4)], {}),
    ("Reshape", [X, ints(0, -1)], {}),
    ("Flatten", [X], {"axis": 2}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [X], {}),
    ("Squeeze", [X[:, :1], ints(1)], {}),
    ("Unsqueeze", [X, ints(0, -1)], {}),
    ("Concat", [X, floats(2, 1, 6, 8)], {"axis": 1}),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 1, 0, 1), np.float32(2)], {}),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "edge"}),
    ("Slice", [X, ints(1, -3), ints(4, 9), ints(1, 3), ints(2, 1)], {}),
    ("Slice", [X, ints(-1), ints(-100), ints(2), ints(-1)], {}),
    ("Gather", [X, ints(2, 0, -1)], {"axis": 1}),
    ("Gather", [floats(7, 3), np.array([[1, 5], [6, -1]])], {}),
    ("ReduceMean", [X], {"axes": [2, 3], "keepdims": 0}),
    ("ReduceMax", [X], {"axes": [1]}),
    ("ReduceSum", [X, ints(1)], {}),
    ("ReduceSum", [X], {}),
    ("Expand", [X[:, :, :1], ints(2, 4, 6, 8)], {}),
    ("Tile", [ROWS, ints(2, 1)], {}),
    ("Cast", [X], {"to": 7}),
    ("Shape", [X], {}),
    ("Shape", [X], {"start": 1, "end": -1}),
    ("Gather", [ints(4, 5, 6), np.array(1)], {}),
    ("Resize", [X, None, None, ints(2, 4, 9, 16)], {"mode": "cubic"}),
    ("DepthToSpace", [X], {"blocksize": 2}),
    ("DepthToSpace", [X], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", [X], {"blocksize": 2}),
    ("Einsum", [ROWS, floats(5, 2)], {"equation": "ab,bc->ca"}),
    ("Resize", [X, None, np.array([1, 1, 2, 2], np.float32)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Resize", [X, None, np.array([1, 1, 1.5, 1.3], np.float32)], {"mode": "linear"}),
    ("Resize", [X, None, np.array([1, 1, 0.7, 1.6], np.float32)], {"mode": "cubic"}),
    ("Resize", [X, None, np.array([1, 1, 1.5, 1.3], np.float32)],
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("Resize", [X, None, np.array([1, 1, 0.5, 3], np.float32)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Dropout", [X, None, np.array(False)], {}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("Resize", [X, None, None, ints(2, 4, 12, 8)], {"mode": "nearest"}),
    ("Resize", [X, None, None, ints(2, 4, 9, 16)], {"mode": "linear"}),
    ("Resize", [X, None, None, ints(2, 4, 9, 16)],
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("Equal", [ints(1, 2, 3), ints(1, 3, 3)], {}),
    ("Greater", [X, np.float32(0)], {}),
    ("Less", [X, np.float32(0)], {}),
    ("Not", [X > 0], {}),
    ("Where", [X > 0, X, -X], {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "attributes"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_an_operator_gives_what_onnxruntime_gives(
    kind: str, inputs: list[Any], attributes: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "node.onnx", kind, inputs, 17, **attributes)
    (expected,) = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"in:0": inputs[0]})
    found = onnx_graph.load(path)(torch.from_numpy(inputs[0])).numpy()
    assert found.shape == expected.shape
    assert np.allclose(found, expected, 1e-5, 1e-5), np.abs(found - expected).max()
    if kind != "Cast":
        assert found.dtype == expected.dtype


@pytest.mark.parametrize(("kind", "opset", "attributes"), [
    ("Softmax", 11, {"axis": 1}), ("Gelu", 20, {}), ("Gelu", 20, {"approximate": "tanh"}),
])  # fmt: skip
def test_operators_of_other_opsets(kind: str, opset: int, attributes: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "node.onnx", kind, [X], opset, **attributes)
    (expected,) = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"in:0": X})
    assert np.allclose(onnx_graph.load(path)(torch.from_numpy(X)).numpy(), expected, 1e-5, 1e-5)


def test_every_operator_is_tested() -> None:
    tested = {kind for kind, _, _ in CASES} | {"Gelu"}
    elsewhere = {"Constant", "ConstantOfShape", "Dropout", "Log", "Sqrt", "Split", "And", "Or", "ReduceMin"}
    assert set(onnx_graph._TABLE) == tested | elsewhere


def test_several_nodes_outputs_and_constants(tmp_path: Path) -> None:
    make = onnx.helper.make_node
    nodes = [
        make("Constant", [], ["two"], value=onnx.numpy_helper.from_array(np.float32(2))),
        make("Mul", ["x", "two"], ["double"], name="a.scale"),
        make("Split", ["double"], ["left", "right"], name="halves", axis=1),
        make("Shape", ["x"], ["shape"]),
        make("ConstantOfShape", ["shape"], ["ones"], value=onnx.numpy_helper.from_array(np.ones(1, np.float32))),
        make("Add", ["double", "ones"], ["more"], name="a:scale"),
        make("Log", ["more"], ["log"]),
        make("Sqrt", ["more"], ["root"]),
        make("Dropout", ["root"], ["same"]),
        make("Constant", [], ["four"], value_floats=[0.5, 1.5, 2.5, 3.5]),
        make("Mul", ["same", "four"], ["scaled"], name="by_four"),
        make("Concat", ["scaled", "left"], ["six"], axis=1),
        make("Split", ["six"], ["q", "k", "v"], axis=1),
        make("ReduceMin", ["same"], ["least"], axes=[1], keepdims=0),
    ]
    x = np.abs(floats(3, 4))
    names = ("left", "right", "log", "least", "scaled", "q", "k", "v")
    graph = onnx.helper.make_graph(
        nodes, "g", [onnx.helper.make_tensor_value_info("x", 1, (3, 4))],
        [onnx.helper.make_empty_tensor_value_info(name) for name in names],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(tmp_path / "m.onnx"))
    expected = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    module = onnx_graph.load(tmp_path / "m.onnx")
    for name, found, own in zip(names, module(torch.from_numpy(x)), expected, strict=True):
        assert np.allclose(found.numpy(), own), name
    assert {"a_scale", "a_scale_1", "halves"} <= {name for name, _ in module.named_children()}
    with pytest.raises(ValueError, match=r"takes x of shape \(3, 4\), given \(2, 4\); one of a fixed batch"):
        module(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="takes 1 inputs: x"):
        module(torch.zeros(1), torch.zeros(1))


def test_logic(tmp_path: Path) -> None:
    a, b = np.array([True, True, False]), np.array([True, False, False])
    for kind, expected in (("And", a & b), ("Or", a | b)):
        path = write(tmp_path / f"{kind}.onnx", kind, [a, b], 17)
        assert np.array_equal(onnx_graph.load(path)(torch.from_numpy(a)).numpy(), expected)


def test_what_is_no_model_or_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(RunError, match=r"text\.onnx: not a valid ONNX model"):
        onnx_graph.load(tmp_path / "text.onnx")
    path = write(tmp_path / "det.onnx", "Det", [floats(3, 3)], 17)
    with pytest.raises(RunError, match=r"det\.onnx: what is not supported: the operator Det$"):
        onnx_graph.load(path)


@pytest.mark.parametrize(
    ("kind", "inputs", "opset", "attributes", "words"),
    [
        ("AveragePool", [X], 19, {"kernel_shape": [2, 2], "dilations": [2, 2]}, "AveragePool with dilations"),
        ("Resize", [X, None, None, ints(2, 4, 9, 4)], 18, {"mode": "linear", "antialias": 1}, "Resize with antialias"),
        ("Resize", [X, None, None, ints(2, 4, 9, 16)], 17, {"mode": "cubic", "cubic_coeff_a": -0.5},
         "Resize with cubic_coeff_a"),
        ("Resize", [X, None, None, ints(9, 16)], 18, {"mode": "linear", "axes": [2, 3]}, "Resize with axes"),
        ("Cast", [X], 17, {"to": 13}, "Cast to type 13"),
    ],
)  # fmt: skip
def test_an_attribute_that_nothing_reads_is_refused(
    kind: str, inputs: list[Any], opset: int, attributes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "node.onnx", kind, inputs, opset, **attributes)
    with pytest.raises(RunError, match=f"what is not supported: {words}$"):
        onnx_graph.load(path)


def test_attributes_without_effect_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", "AveragePool", [X], 19, kernel_shape=[2, 2], dilations=[1, 1])
    assert onnx_graph.load(path)(torch.from_numpy(X)).shape == (2, 4, 5, 7)


REFUSED_NODES: list[tuple[str, list[Any], int, dict[str, Any], str]] = [
    ("Dropout", [X, None, np.array(True)], 17, {}, "Dropout in training mode"),
    ("Pad", [X, ints(0, 0, 1, 1, 0, 0, 1, 1)], 19, {"mode": "wrap"}, "Pad: mode wrap"),
    ("MaxPool", [X], 17, {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "ceil_mode": 1}, "MaxPool: ceil_mode"),
    ("MaxPool", [X], 17, {"kernel_shape": [2, 2], "dilations": [2, 2], "auto_pad": "SAME_UPPER"}, "with dilations"),
    ("AveragePool", [X], 17, {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2], "ceil_mode": 1}, "AveragePool: ceil_mode"),
    ("ConvTranspose", [X, floats(4, 3, 2, 2)], 17, {"strides": [3, 3], "auto_pad": "SAME_UPPER"}, "larger than what"),
    ("Resize", [LINE, None, None, ints(2, 4, 1)], 17,
     {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, "to a size of 1"),
    ("Resize", [X, None, np.array([1, 1, 1.3, 1.3], np.float32)], 17,
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "nearest by"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "opset", "attributes", "words"), REFUSED_NODES)
def test_what_torch_would_compute_otherwise_is_refused(
    kind: str, inputs: list[Any], opset: int, attributes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    module = onnx_graph.load(write(tmp_path / "node.onnx", kind, inputs, opset, **attributes))
    with pytest.raises(ValueError, match=words):
        module(torch.from_numpy(inputs[0]))


def test_sparse_constants_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", "Relu", [X], 17)
    model = onnx.load(str(path))
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    places = onnx.numpy_helper.from_array(ints(0), "i")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [4]))
    onnx.save(model, str(path))
    with pytest.raises(RunError, match="what is not supported: sparse constants"):
        onnx_graph.load(path)


def test_onnxruntime_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = onnx_graph.load(write(tmp_path / "a.onnx", "Relu", [X], 17))
    assert isinstance(graph, onnx_graph.Graph)
    right = np.maximum(X, 0)
    onnx_graph.confirm(graph, [X], [right.astype(np.float64)])
    with pytest.raises(RunError, match=r"a\.onnx: onnxruntime gives another out than .*: 0.5 apart of scale"):
        onnx_graph.confirm(graph, [X], [right + 0.5])
    with pytest.raises(RunError, match=r"shape \(2, 4, 6, 8\); please report"):
        onnx_graph.confirm(graph, [X], [right[:, :2]])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    onnx_graph.confirm(graph, [X], [right + 0.5])  # nobody to ask


@pytest.mark.parametrize("swapped", [False, True])
def test_inputs_are_given_by_name(tmp_path: Path, swapped: bool) -> None:
    from pytest_kerasdiff.candidate.loader import Port
    from pytest_kerasdiff.options import Settings

    names = ["b", "a"]
    node = onnx.helper.make_node("Sub", ["a", "b"], ["out"])
    taken = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None, 5]) for n in names]
    given = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [None, 5])
    graph = onnx.helper.make_graph([node], "g", taken, [given])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "two.onnx"))
    port = Port(Settings(tmp_path / "net.h5"), str(tmp_path / "two.onnx"))
    keras = ["b", "a"] if swapped else ["a", "b"]
    arrays = {"a": ROWS, "b": 2 * ROWS}
    try:
        program = port.record(keras, [arrays[name] for name in keras])
    finally:
        torch.set_default_dtype(torch.float32)
    (output,) = program.recorded.values()
    assert np.allclose(output, -ROWS)


class Takes(torch.nn.Module):
    """A port whose attribute is called as the one of an ONNX model."""

    takes = ("b", "a")

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first - second


def build_takes() -> Takes:
    return Takes()


def test_a_port_of_ones_own_may_have_an_attribute_of_that_name(tmp_path: Path) -> None:
    from pytest_kerasdiff.candidate.loader import Port
    from pytest_kerasdiff.options import Settings

    port = Port(Settings(tmp_path / "net.h5"), "tests.test_onnx_graph:build_takes")
    try:
        program = port.record(["a", "b"], [ROWS, 2 * ROWS])
    finally:
        torch.set_default_dtype(torch.float32)
    (output,) = program.recorded.values()
    assert np.allclose(output, -ROWS)


def test_casts_to_half_precision_round_as_deployed_and_not_while_comparing(tmp_path: Path) -> None:
    module = onnx_graph.load(write(tmp_path / "a.onnx", "Cast", [X], 17, to=10))
    assert module(torch.from_numpy(X)).dtype == torch.float16
    torch.set_default_dtype(torch.float64)
    try:
        assert module(torch.from_numpy(X).double()).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


# -- whole runs --------------------------------------------------------------------------------------------------------

EXPORT = """
import sys
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
import h5py

def weight(file, layer, name):
    return file["model_weights"][layer][f"{layer}/{name}:0"][()]

def export(source, target, pads):
    with h5py.File(source, "r") as f:
        arrays = {
            "kernel": weight(f, "conv2d_3", "kernel").transpose(3, 2, 0, 1), "bias": weight(f, "conv2d_3", "bias"),
            **{n: weight(f, "batch_normalization", n) for n in ("gamma", "beta", "moving_mean", "moving_variance")},
            "dense": weight(f, "dense", "kernel"), "dense_bias": weight(f, "dense", "bias"),
            "shape": np.array([0, -1]),
        }
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["a"], name="features.conv", strides=[2, 2], pads=pads),
        helper.make_node("BatchNormalization", ["a", "gamma", "beta", "moving_mean", "moving_variance"], ["b"],
                         name="norm", epsilon=1e-3),
        helper.make_node("Relu", ["b"], ["c"], name="relu"),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 3, 1], name="last"),
        helper.make_node("Reshape", ["d", "shape"], ["e"], name="flatten"),
        helper.make_node("Gemm", ["e", "dense", "dense_bias"], ["f"], name="head"),
        helper.make_node("Softmax", ["f"], ["g"], name="probabilities"),
    ]
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 6, 6])
    given = helper.make_tensor_value_info("g", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "g", [taken], [given],
                              [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in arrays.items()])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), target)

export("net.h5", "right.onnx", [0, 0, 1, 1])
export("net.h5", "wrong.onnx", [1, 1, 1, 1])
"""


def test_the_worked_example_as_torch_exports_it_is_right(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from model import resnet8\n"
        "torch.onnx.export(resnet8.build(), torch.zeros(2, 3, 32, 32), sys.argv[1], dynamo=False, input_names=['x'],\n"
        "                  dynamic_axes={'x': {0: 'n'}})"
    )
    own = helpers.environment(tmp_path)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "net.onnx")], env=own, check=True, timeout=120)
    compared = helpers.compare(helpers.ROOT / "model" / "resnet8.h5", str(tmp_path / "net.onnx"), tmp_path)
    assert compared.report["verdict"] == "pass", helpers.story(compared.report)


def test_a_file_is_judged_layer_by_layer(tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(compile(EXPORT, "export", "exec"), {})
    compared = helpers.compare(tmp_path / "net.h5", str(tmp_path / "right.onnx"), tmp_path)
    assert compared.report["verdict"] == "pass", helpers.story(compared.report)
    torch_names = {la["name"]: la["torch"] for la in compared.report["layers"]}
    assert torch_names["conv2d_3"] == "features_conv.conv2d"
    assert (torch_names["batch_normalization"], torch_names["dense"]) == ("norm.batch_norm", "head.linear")
    assert {la["source"] for la in compared.report["layers"]} == {None, ""}  # no line of Python
    wrong = helpers.judge(compared, {"wrong": {"torch": str(tmp_path / "wrong.onnx")}}, tmp_path)["wrong"]
    assert helpers.at(wrong, "fault") == {"conv2d_3"}
    (cause,) = [c for la in wrong["layers"] for c in la["causes"] if la["name"] == "conv2d_3"]
    assert (cause["id"], cause["confirmed"]) == ("same-padding", True)
