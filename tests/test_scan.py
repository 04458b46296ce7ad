"""Hostile files are refused before a framework opens them, by a line that names the layer or the member.

They are made here, and harmless where somebody opens one: what they refer to does not exist, or says so.
"""

from __future__ import annotations

import copy
import io
import json
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.scan import refuse
from tests import helpers

pytestmark = pytest.mark.promise(
    "a file that would run code, read others or fill the memory is refused before it is opened"
)

Config = dict[str, Any]


def hdf5(change: Callable[[h5py.File], object]) -> Callable[[Path], Path]:
    """The tiny model's file, changed."""

    def make(folder: Path) -> Path:
        path = helpers.write_tiny(folder / "net.h5")
        with h5py.File(path, "a") as file:
            change(file)
        return path

    return make


def config(change: Callable[[Config], object]) -> Callable[[Path], Path]:
    """The tiny model's file with another config; ``change`` gets the one of the layer dense."""

    def edit(file: h5py.File) -> None:
        own = copy.deepcopy(helpers.tiny_config())
        layer = own["config"]["layers"][-1]
        change(layer)
        if layer["name"] == "dense":  # else it is what was changed
            layer["name"] = layer["config"].get("name", "dense")
        file.attrs["model_config"] = json.dumps(own)

    return hdf5(edit)


def archive(change: Callable[[zipfile.ZipFile], object]) -> Callable[[Path], Path]:
    """A `.keras` of the tiny model, and what is put into it."""

    def make(folder: Path) -> Path:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.create_dataset("layers/dense/vars/0", data=helpers.tiny_weights()["dense"]["kernel"])
        path = folder / "net.keras"
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("config.json", json.dumps(helpers.tiny_config()))
            made.writestr("metadata.json", json.dumps({"keras_version": helpers.KERAS}))
            made.writestr("model.weights.h5", buffer.getvalue())
            change(made)
        return path

    return make


def member(name: str, content: bytes = b"x", compression: int = zipfile.ZIP_STORED) -> Callable[[Path], Path]:
    return archive(lambda made: made.writestr(name, content, compression))


def folder_of(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A SavedModel folder, as far as the scan reads it."""

    def make(folder: Path) -> Path:
        path = folder / "saved"
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"")
        (path / "keras_metadata.pb").write_bytes(metadata(helpers.tiny_config()))
        change(path)
        return path

    return make


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def metadata(*objects: Config) -> bytes:
    """``keras_metadata.pb``."""
    made = (field(4, b"_tf_keras_network") + field(5, json.dumps(one).encode()) for one in objects)
    return b"".join(field(1, one) for one in made)


def operation(name: str, kind: str = "TFOpLambda", **more: str) -> Callable[[Path], Path]:
    return config(lambda layer: layer.update(class_name=kind, config={"name": "op", "function": name, **more}))


def raw(name: str) -> Callable[[Path], Path]:
    """A layer of one operation, as Keras of TensorFlow 2.0 to 2.3 writes it."""
    own = {"name": "op", "node_def": {"name": "op", "op": name}, "constants": {}}
    return config(lambda layer: layer.update(class_name="TensorFlowOpLayer", config=own))


def called_with(name: str, *constants: Any, fed: bool = False) -> Callable[[Path], Path]:
    """A function of TensorFlow that is called with constants, and with what a layer gives too."""

    def change(layer: Config) -> None:
        layer.update(class_name="TFOpLambda", config={"name": "op", "function": name}, name="op")
        more = {"like": ["conv2d_3", 0, 0]} if fed else {}
        layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, constant, more] for constant in constants]

    return config(change)


def called_again_and_again(levels: int) -> Callable[[Path], Path]:
    """A model in a model in a model …, each of them called twice."""
    own: Config = {"class_name": "Dense", "name": "d", "config": {"name": "d"}, "inbound_nodes": []}
    for level in range(levels):
        call = [[f"in{level}", 0, 0, {}]]
        given = {
            "class_name": "InputLayer",
            "name": f"in{level}",
            "config": {"name": f"in{level}"},
            "inbound_nodes": [],
        }
        own = {**own, "inbound_nodes": [call, call]}
        inner = {"name": f"m{level}", "layers": [given, own]}
        own = {"class_name": "Functional", "name": f"m{level}", "config": inner}
    return lambda folder: helpers.write_keras(folder / "net.h5", own, {})


def fed_by(layer: str, *source: Any) -> Callable[[Path], Path]:
    """The tiny model with another input of a layer."""

    def make(folder: Path) -> Path:
        own = helpers.tiny_config()
        for one in own["config"]["layers"]:
            if one["name"] == layer:
                one["inbound_nodes"] = [[[*source, {}]]]
        return helpers.write_keras(folder / "net.h5", own, helpers.tiny_weights())

    return make


def class_of(name: str, **more: Any) -> Callable[[Path], Path]:
    return config(lambda layer: layer.update(class_name=name, **more))


def setting(**values: Any) -> Callable[[Path], Path]:
    return config(lambda layer: layer["config"].update(values))


def nested(layer: Config) -> None:
    inner: Any = 0
    for _ in range(900):
        inner = [inner]
    layer["config"]["inner"] = inner


def many_bytes(file: h5py.File) -> None:
    file.create_dataset("model_weights/dense/huge", shape=(10**9, 10**6), dtype="f4", chunks=(1024, 1024))


def filtered(file: h5py.File) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4,))
    plist.set_filter(32010, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"filtered", h5py.h5t.NATIVE_FLOAT, space, plist)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "secret", shape=(4,))
    file.create_virtual_dataset("virtual", layout)


def link_member(made: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("assets/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    made.writestr(member, "/elsewhere")


def lambda_list(made: zipfile.ZipFile) -> None:
    own = helpers.tiny_config()
    own["config"]["layers"][-1]["config"]["activation"] = {"class_name": "__lambda__", "config": {"value": ["4wEA"]}}
    made.writestr("other.json", "")
    made.writestr(zipfile.ZipInfo("config.json"), json.dumps(own))


CODE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "lambda": (class_of("Lambda"), "layer 'dense' is a Lambda layer: its function is code stored in the file"),
    "registered lambda": (class_of("Custom>Lambda"), "layer 'dense' is a Lambda layer"),
    "a lambda as an activation": (
        setting(activation={"class_name": "__lambda__", "config": {"name": "act", "value": ["4wEA"]}}),
        "layer 'act' is a lambda: code stored in the file",
    ),
    "lambda inside a wrapper": (
        class_of("TimeDistributed", config={"layer": {"class_name": "Lambda", "config": {"name": "in"}}}),
        "layer 'in' is a Lambda layer",
    ),
    "another module": (
        class_of("system", module="os"), "layer 'dense' refers to os.system, which is no part of Keras that models are",
    ),
    "a function of another module": (
        setting(activation={"class_name": "function", "module": "os", "config": "system", "registered_name": "x"}),
        "layer 'dense' refers to os.system",
    ),
    "a function of Keras with side effects": (
        setting(activation={"class_name": "function", "module": "keras.config",
                            "config": "enable_unsafe_deserialization"}),
        "layer 'dense' refers to keras.config.enable_unsafe_deserialization",
    ),
    "one inside Keras": (class_of("get_file", module="keras.src.utils.file_utils"), "keras.src.utils.file_utils.get"),
    "a SavedModel inside": (class_of("TFSMLayer"), "layer 'dense' is a TFSMLayer"),
    "a pickle inside": (class_of("TorchModuleWrapper"), "layer 'dense' is a TorchModuleWrapper"),
    "a file that a layer reads": (setting(vocabulary="/etc/hostname"), "layer 'dense' reads the file '/etc/hostname'"),
    "a writing operation": (
        operation("io.write_file"),
        "layer 'op' calls tf.io.write_file, which is not known to do no more than compute",
    ),
    "python inside an operation": (operation("compat.v1.py_func"), "layer 'op' calls tf.compat.v1.py_func"),
    **{
        f"a function that does: {name}": (operation(name), f"layer 'op' calls tf.{name}, which is not known")
        for name in (
            "compat.v1.gfile.DeleteRecursively", "compat.v1.gfile.Copy", "keras.utils.get_file", "load_library", "",
            "keras.models.load_model", "lite.experimental.load_delegate", "compat.v1.load_file_system_library",
            "keras.backend.set_floatx", "keras.activations.deserialize", "nn.fixed_unigram_candidate_sampler",
        )
    },
    "a method of another class": (
        operation("", "ClassMethod", cls_symbol="io.gfile.GFile", method_name="read"),
        "layer 'op' calls io.gfile.GFile.read, which is not known",
    ),
    "a hidden method": (operation("", "InstanceMethod", method_name="__class__"), "calls Tensor.__class__"),
    "a hidden property": (operation("", "InstanceProperty", attr_name="_op"), "calls Tensor._op"),
    "an operation that writes": (raw("DebugIdentity"), "layer 'op' runs 'DebugIdentity', which is not known"),
    "an operation that reads": (raw("ReadFile"), "layer 'op' runs 'ReadFile'"),
    "an operation in binary": (
        config(lambda la: la.update(class_name="TensorFlowOpLayer", config={"name": "op", "node_def": "\n\x01a"})),
        "layer 'op' runs",
    ),
    "a function of a wrapper": (
        config(lambda la: la.update(class_name="RNN", config={"name": "rnn", "cell": {
            "class_name": "ResidualWrapper", "config": {"name": "cell", "residual_fn": ["4wEA"]}}})),
        "layer 'cell' has a function stored in the file (residual_fn)",
    ),
    "the module of such a function": (
        setting(dropout_fn_module="keras.src"), "layer 'dense' has a function stored in the file (dropout_fn_module)",
    ),
    "an object in a seed": (setting(seed={"class_name": "Lambda", "config": {"name": "in"}}), "layer 'in' is a Lambda"),
    "an object that is built where it stands": (
        setting(more={"__passive_serialization__": True}), "layer 'dense' has an object that Keras would build",
    ),
    "a vocabulary that becomes a path": (setting(vocabulary={"x": "/etc/hostname"}), "layer 'dense' reads the file"),
    "a class that is no text": (setting(more={"class_name": {"class_name": "x"}}), "whose class is not stated"),
    "a function under another name": (
        setting(activation={"class_name": "function", "module": "builtins", "config": "relu", "registered_name": "/x"}),
        "layer 'dense' has an object whose class is not stated as Keras does",
    ),
    "a dotted class": (class_of("layers.Lambda", module="keras"), "layer 'dense' refers to keras.layers.Lambda"),
    "a dotted function": (
        setting(activation={"class_name": "function", "module": "keras", "config": "utils.plot_model"}),
        "layer 'dense' refers to keras.utils.plot_model",
    ),
    "a class under another name": (class_of("__typespec__", spec_name="Lambda"), "layer 'dense' is a Lambda layer"),
    "a class that is hidden by another name": (
        class_of("Nope", module="tf_keras.src.layers.core.tf_op_layer", registered_name="TFOpLambda",
                 config={"name": "op", "function": "io.write_file"}),
        "layer 'op' has an object whose class is not stated as Keras does",
    ),
    "such a class where Keras expects none": (
        setting(standardize={"class_name": "Nope", "registered_name": "Lambda", "config": {"name": "in"}}),
        "layer 'in' has an object whose class is not stated as Keras does",
    ),
    **{
        f"a function of Python: {name}": (
            setting(activation={"class_name": "function", "module": "builtins", "config": name,
                                "registered_name": name}),
            f"layer 'dense' has '{name}', which is not known as a part of Keras that only computes: name the code",
        )
        for name in ("eval", "exec", "open", "__import__")
    },
    "a function of Keras that loads": (
        setting(activation={"class_name": "function", "module": "keras.models", "config": "load_model",
                            "registered_name": "load_model"}),
        "layer 'dense' has 'load_model', which is not known as a part of Keras",
    ),
    "a class that nobody knows": (class_of("Evil"), "layer 'dense' has 'Evil', which is not known as a part of Keras"),
    "a column of features that reads a file": (
        setting(feature_columns=[{"class_name": "EmbeddingColumn", "config": {"ckpt_to_load_from": "gs://elsewhere"}}]),
        "layer 'dense' reads the file 'gs://elsewhere' (ckpt_to_load_from)",
    ),
    "a lambda in a SavedModel": (
        folder_of(lambda p: (p / "keras_metadata.pb").write_bytes(
            metadata({"class_name": "Functional",
                      "config": {"layers": [{"class_name": "Lambda", "config": {"name": "in"}}]}}))),
        "layer 'in' is a Lambda layer",
    ),
}  # fmt: skip
"""What trust lets pass."""
ALWAYS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a link to another file": (
        hdf5(lambda f: f.__setitem__("more", h5py.ExternalLink("/elsewhere.h5", "/x"))),
        "/more is a link to another file (/elsewhere.h5)",
    ),
    "deep inside": (
        hdf5(lambda f: f["model_weights/dense"].__setitem__("k", h5py.ExternalLink("secret.h5", "/x"))),
        "/model_weights/dense/k is a link to another file (secret.h5)",
    ),
    "a dangling link": (
        hdf5(lambda f: f.__setitem__("more", h5py.SoftLink("/nothing"))), "/more is a link to /nothing",
    ),
    "a link to itself": (hdf5(lambda f: f.__setitem__("more", h5py.SoftLink("/more"))), "/more is a link to /more"),
    "values in another file": (
        hdf5(lambda f: f.create_dataset("ext", (4,), "f4", external=[("/etc/hostname", 0, 16)])),
        "/ext keeps its values in another file (/etc/hostname)",
    ),
    "values of other files": (hdf5(virtual), "/virtual takes its values from other files"),
    "references": (
        hdf5(lambda f: f.create_dataset("ref", data=f["model_weights"].ref, dtype=h5py.ref_dtype)),
        "/ref holds references",
    ),
    "records with references": (
        hdf5(lambda f: f.create_dataset("rec", (2,), np.dtype([("a", "f4"), ("b", h5py.ref_dtype)]))),
        "/rec holds records",
    ),
    "arrays of several lengths": (
        hdf5(lambda f: f.create_dataset("vlen", (2,), h5py.vlen_dtype(np.float32))), "/vlen holds records, or arrays",
    ),
    "texts of any length": (
        hdf5(lambda f: f.create_dataset("text", (2,), h5py.string_dtype())), "/text holds texts of any length",
    ),
    "a filter that is a library": (hdf5(filtered), "/filtered needs the filter 32010 of HDF5"),
    "petabytes": (hdf5(many_bytes), "its arrays declare 4000000000000"),
    "more than a dimension": (setting(units=10**15), "layer 'dense' declares units = 1000000000000000, and all"),
    "no dimension": (setting(size=10**15), "layer 'dense' declares 1000000000000000, more than a dimension may be"),
    "more than there is": (setting(units=10**6), "layer 'dense' declares units = 1000000, and all weights in"),
    "nested": (config(nested), "its config is nested too deeply"),
    "a layer fed by itself": (
        fed_by("batch_normalization", "batch_normalization", 0, 0),
        "layer 'batch_normalization' is fed with what it gives itself, or with a call of a layer that is not there",
    ),
    "a layer fed by its successors": (fed_by("conv2d_3", "dense", 0, 0), "layer 'conv2d_3' is fed with what it gives"),
    "a call by a negative number": (fed_by("activation", "flatten", -1, 0), "layer 'activation' is fed with what it"),
    "a call by no number": (fed_by("activation", "flatten", None, 0), "layer 'activation' is fed with what it"),
    "a call in a setting": (
        fed_by("activation", "conv2d_3", 0, 0, {"keras_history": ["x"], "y": ["flatten", 0, 0]}),
        "layer 'activation' is fed with what it",
    ),
    "calls that are no list": (
        config(lambda la: la.update(inbound_nodes={"class_name": "__tuple__", "items": []})), "are not listed as Keras",
    ),
    "layers of two names": (config(lambda la: la.update(name="other")), "two of its layers have one name, or one has"),
    "layers of one name": (setting(name="flatten"), "two of its layers have one name, or one has two"),
    "a size that is a text": (setting(units="100000000000"), "layer 'dense' declares units = 100000000000, and all"),
    "a size that is no whole number": (setting(units=1e11), "layer 'dense' declares units = 100000000000.0, and all"),
    "a table of two sizes": (
        setting(input_dim=100, output_dim=100), "layer 'dense' declares input_dim × output_dim = [100, 100], and all",
    ),
    "a large kernel": (setting(kernel_size=[100, 100]), "layer 'dense' declares kernel_size = [100, 100], and all"),
    "an array of long texts": (
        setting(more={"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S2000000000"}}),
        "layer 'dense' has an array of 'S2000000000'",
    ),
    "a layer called with constants alone": (
        called_with("ones", [6, 6]), "layer 'op' is called with constants alone: it would run while the model is built",
    ),
    "one of Keras 3": (
        config(lambda la: la.update(inbound_nodes=[{"args": [[1, 2]], "kwargs": {"training": None}}])),
        "layer 'dense' is called with constants alone",
    ),
    "models in models, each called twice": (called_again_and_again(18), "times, models in models multiplied"),
    "a large array of constants": (
        called_with("ones", [60000, 60000], fed=True), "layer 'op' calls tf.ones with [60000, 60000]: an array of 36",
    ),
    "a call that is not there": (fed_by("activation", "conv2d_3", 5, 0), "layer 'activation' is fed with what it"),
    "a member outside": (member("../outside.txt"), "the member '../outside.txt' would be put outside"),
    "an absolute member": (member("/etc/x"), "the member '/etc/x' would be put outside"),
    "a drive": (member("C:\\x"), "would be put outside"),
    "a link as a member": (archive(link_member), "the member 'assets/link' is a link"),
    "a pickle": (member("assets/a.pkl", b"\x80\x04."), "the member 'assets/a.pkl' may hold a pickle"),
    "weights as pickles": (member("model.weights.npz"), "'model.weights.npz' may hold a pickle"),
    "a compression that Keras does not use": (
        member("assets/x", bytes(100), zipfile.ZIP_BZIP2), "'assets/x' is compressed in a way that Keras does",
    ),
    "a bomb": (member("assets/zeros", bytes(80 * 2**20), zipfile.ZIP_DEFLATED), "bytes that unpack to 83"),
    "a link out of a folder": (
        folder_of(lambda p: (p / "x").symlink_to("/etc/hostname")), "x is a link out of the folder",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", [*CODE, *ALWAYS])
def test_it_is_refused(case: str, tmp_path: Path) -> None:
    make, words = {**CODE, **ALWAYS}[case]
    path = make(tmp_path)
    with pytest.raises(RunError) as raised:
        refuse.model(path, trust=False)
    assert str(raised.value).startswith(f"{path}: refused: ")
    assert words in str(raised.value)
    assert ("--kerasdiff-trust" in str(raised.value)) == (case in CODE)


@pytest.mark.parametrize("case", CODE)
def test_trust_lets_code_pass(case: str, tmp_path: Path) -> None:
    refuse.model(CODE[case][0](tmp_path), trust=True)


@pytest.mark.parametrize("case", ALWAYS)
def test_trust_lets_nothing_else_pass(case: str, tmp_path: Path) -> None:
    with pytest.raises(RunError):
        refuse.model(ALWAYS[case][0](tmp_path), trust=True)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_member_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the member 'config\.json' is there twice"):
        refuse.model(archive(lambda_list)(tmp_path), trust=False)


@pytest.mark.parametrize(
    "make",
    [
        hdf5(lambda file: None), archive(lambda made: None), folder_of(lambda path: None),
        hdf5(lambda f: f["model_weights"].__setitem__("again", f["model_weights"])),  # a group in itself
        hdf5(lambda f: f.create_dataset("zipped", data=np.zeros(1000), compression="gzip", shuffle=True)),
        setting(seed=2**63, activation={"class_name": "function", "module": "builtins", "config": "relu"}),
        class_of("Dense", module="keras.layers", registered_name=None),
        class_of("Dense", module="keras.src.layers.core.dense"),
        *map(operation, [
            "math.multiply", "compat.v1.transpose", "__operators__.getitem", "keras.activations.relu",
            "keras.backend.sum", "experimental.numpy.mean", "image.resize", "compat.v1.nn.max_pool",
        ]),
        operation("", "InstanceMethod", method_name="to_tensor"), operation("", "InstanceProperty", attr_name="values"),
        operation("", "ClassMethod", cls_symbol="RaggedTensor", method_name="from_row_splits"),
        operation("convert_to_tensor"), operation("random.normal"), raw("AddV2"),
        called_with("ones", [200, 300], fed=True), called_with("math.multiply", [32, 64, 128, 256, 512], fed=True),
        setting(vocabulary=[1, 2, 2**40], salt=[2**40, 1]),
    ],
)  # fmt: skip
def test_what_keras_writes_passes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    refuse.model(make(tmp_path), trust=False)


def test_where_code_builds_the_model_the_files_config_is_not_read(tmp_path: Path) -> None:
    path = class_of("Mine", module="my.layers")(tmp_path)
    refuse.model(path, trust=False, reads_config=False)
    with pytest.raises(RunError, match="name the code that builds the model with --kerasdiff-keras"):
        refuse.model(path, trust=False)


@pytest.mark.skipif(not helpers.DATA.is_dir(), reason=f"{helpers.DATA} is not there: real models")
def test_real_models_pass() -> None:
    models = [*helpers.DATA.glob("*.h5"), *(path.parent for path in helpers.DATA.glob("*/saved_model.pb"))]
    assert models
    for path in models:
        refuse.model(path, trust=False)


@pytest.mark.parametrize("case", ["lambda", "a link to another file"])
def test_neither_program_nor_pytest_lets_a_framework_see_it(case: str, tmp_path: Path) -> None:
    path = {**CODE, **ALWAYS}[case][0](tmp_path)
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    for name in ("keras", "tf_keras", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemError('a framework is imported')")
    done = helpers.program(tmp_path, path.name, "--torch", "port:build")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path}: refused: ")
    assert len(done.stderr.splitlines()) == 1
    done = helpers.run_pytest(tmp_path, f"--keras-model={path.name}", "--kerasdiff-torch=port:build")
    assert done.returncode == 4
    assert f"{path}: refused: " in done.stderr


#: Side that scans → what is run, and the exit status of a run that cannot be made.
SCANNING: dict[str, tuple[Callable[..., subprocess.CompletedProcess[str]], tuple[str, ...], int]] = {
    "candidate": (helpers.program, ("net.h5", "--torch", "port:build"), 2),
    "reference": (helpers.run_pytest, ("--keras-model=net.h5", "--kerasdiff-torch=port:build"), 4),
    "scan": (helpers.run_pytest, ("--keras-model=net.h5", "--collect-only"), 4),
}


@pytest.mark.promise("a broken file is one clear line")
@pytest.mark.parametrize("side", SCANNING)
@pytest.mark.parametrize(
    "breaks",
    ["os.kill(os.getpid(), 11)", "sum(iter(int, 1))"],  # the latter neither ends nor lets another thread run
    ids=["crashes", "comes to no end"],
)
def test_a_file_over_which_hdf5_breaks_is_one_line(breaks: str, side: str, tmp_path: Path) -> None:
    """HDF5's library does either over some damaged files; here it is made to."""
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"if sys.orig_argv[1:4] == ['-P', '-m', 'pytest_kerasdiff.{side}']:\n"
        "    from pytest_kerasdiff import modelfile\n"
        "    import faulthandler\n"
        "    later = faulthandler.dump_traceback_later\n"
        "    faulthandler.dump_traceback_later = lambda seconds, **more: later(seconds / 30, **more)\n"
        f"    modelfile.read = lambda path: {breaks}\n"
    )
    run, arguments, status = SCANNING[side]
    done = run(tmp_path, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    said = f"error: {tmp_path / 'net.h5'}: damaged: HDF5's own library crashed over it, or came to no end in 60 s"
    assert line.lower() == said.lower()
    assert "Traceback" not in done.stdout
    assert helpers.left_behind(tmp_path / "tmp") == []
    assert helpers.processes_of(tmp_path) == []
