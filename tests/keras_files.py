"""Keras files of every form, written by Keras itself: ``python -m tests.keras_files LOADER FOLDER FORM…``.

Each form has a folder of its own with the file, and the weights for its port in ``net.npz``.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pytest_kerasdiff import child
from pytest_kerasdiff.options import Settings

ROOT = Path(__file__).parents[1]
PORTS = "tests.file_ports"
#: Names that the Keras in question allows, and that other tools find difficult.
NAMES = {
    "keras": ("a b", "größe", "x::y", "p[0]", "at@2x", "-k", "dot.ted", "q'\""),
    "tf_keras": ("a/b", "a", "c.d", "e>f", "g-h", "0"),
}

Write = Callable[[Any, Path], str]


@dataclasses.dataclass(frozen=True)
class Form:
    """One form of file.

    Attributes:
        write: Writes it into a folder and returns the file's name; takes ``keras`` or ``tf_keras``.
        loader: Which Keras writes it.
        reader: Which Keras must have read it; the writer where empty.
        ports: Callables of ``tests.file_ports`` ``(right, wrong)``.
        faults: Layers at fault in the wrong port.
        checks: ``layer:check`` of the checks that fail in the wrong port.
        settings: Further settings of the run.
        note: Words that a note must have.
        refused: Words of the line that refuses the file; it is judged where empty.
        listed: The file itself lists its layers.
    """

    write: Write
    loader: str
    reader: str = ""
    ports: tuple[str, str] = ("net", "net_eps")
    faults: str = "norm"
    checks: str = "norm:eps"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""
    refused: str = ""
    listed: bool = True


# -- the models ------------------------------------------------------------------------------------------------------


def net(k: Any) -> Any:
    """Convolution, normalisation, rectifier, classifier."""
    x = inputs = k.Input((8, 6, 3), name="image")
    x = k.layers.Conv2D(4, 3, 2, padding="same", name="conv")(x)
    x = k.layers.BatchNormalization(name="norm")(x)
    x = k.layers.ReLU(name="relu")(x)
    x = k.layers.Flatten(name="flatten")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="dense")(x))


def draw(model: Any) -> Any:
    """Give a model weights of which none is a default."""
    generator, arrays = np.random.default_rng(0), []
    for array in model.get_weights():
        if array.dtype.kind in "fV":
            size = (
                generator.uniform(0.5, 1.5, array.shape) if array.ndim == 1 else generator.normal(0, 0.3, array.shape)
            )
            arrays.append(size.astype(array.dtype))
        else:
            arrays.append(array)
    model.set_weights(arrays)
    return model


def save_weights(model: Any, folder: Path) -> None:
    """Write the weights for the port: ``conv#0``, ``conv#1``, … of all layers."""
    arrays: dict[str, Any] = {}
    for layer in [*model.layers, model]:
        values = layer.get_weights() if not getattr(layer, "layers", None) or layer is model else []
        name = "" if layer is model else layer.name
        arrays.update({f"{name}#{i:02}": np.asarray(a, np.float64) for i, a in enumerate(values)})
    np.savez(folder / "net.npz", **arrays)


def custom_layers(k: Any) -> dict[str, Any]:
    """A layer with weights, a layer of two inputs and a model, written by a user."""

    class Scale(k.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(name="factor", shape=(int(shape[-1]),), initializer="ones")

        def call(self, x: Any) -> Any:
            return x * self.factor

    class Mix(k.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs[0] - 2 * inputs[1]

    class Own(k.Model):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.left = k.layers.Dense(4, activation="tanh", name="left")
            self.right = k.layers.Dense(4, name="right")
            self.mix = Mix(name="mix")
            self.scale = Scale(name="scale")

        def call(self, inputs: Any) -> Any:
            a, b = inputs
            return self.scale(self.mix([self.left(a), self.right(b)]))

    return {"Scale": Scale, "Mix": Mix, "Own": Own}


def custom(k: Any) -> Any:
    """A functional model with layers of the user's own."""
    made = custom_layers(k)
    a, b = k.Input((5,), name="a"), k.Input((5,), name="b")
    left, right = k.layers.Dense(4, activation="tanh", name="left")(a), k.layers.Dense(4, name="right")(b)
    return k.Model([a, b], made["Scale"](name="scale")(made["Mix"](name="mix")([left, right])))


def subclassed(k: Any) -> Any:
    """A subclassed model of several inputs, built by calling it."""
    model = custom_layers(k)["Own"]()
    model([k.Input((5,), name="a"), k.Input((5,), name="b")])
    return model


def raw(k: Any) -> Any:
    """A subclassed model that adds and slices between its layers."""

    class Raw(k.Model):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.a = k.layers.Dense(5, activation="tanh", name="a")
            self.b = k.layers.Dense(5, name="b")
            self.out = k.layers.Dense(3, name="out")

        def call(self, x: Any) -> Any:
            y = self.a(x) + 2 * self.b(x[:, :4])
            return self.out(y) * 0.5

    model = Raw()
    model(k.Input((6,), name="x"))
    return model


def registered(k: Any) -> Any:
    """The same functional model, its layers registered as their user's."""
    register = k.saving.register_keras_serializable("own")
    made = {name: register(kind) for name, kind in custom_layers(k).items()}
    a, b = k.Input((5,), name="a"), k.Input((5,), name="b")
    left, right = k.layers.Dense(4, activation="tanh", name="left")(a), k.layers.Dense(4, name="right")(b)
    return k.Model([a, b], made["Scale"](name="scale")(made["Mix"](name="mix")([left, right])))


def names(k: Any) -> Any:
    """A chain of layers with difficult names."""
    x = inputs = k.Input((4,), name="in put")
    for name in NAMES[k.__name__]:
        x = k.layers.Dense(4, activation="tanh", name=name)(x)
    return k.Model(inputs, x)


def deep(k: Any) -> Any:
    """A model in a model, twelve levels of them; each adds a layer called ``dense``."""
    x = inputs = k.Input((4,), name="x")
    model = k.Model(inputs, k.layers.Dense(4, activation="tanh", name="dense")(x), name="level0")
    for level in range(1, 12):
        x = inputs = k.Input((4,), name="x")
        x = k.layers.Dense(4, activation="tanh", name="dense")(x)
        model = k.Model(inputs, model(x), name=f"level{level}")
    return model


def op_lambdas(k: Any) -> Any:
    """Operators on symbolic tensors: TFOpLambda and SlicingOpLambda in Keras 2, operations in Keras 3."""
    x = inputs = k.Input((6,), name="x")
    a = k.layers.Dense(6, name="a")(x)
    b = k.layers.Dense(6, name="b")(x[:, :3])
    y = a * 2.0 - b
    y = y[:, 1:]
    return k.Model(inputs, k.layers.Dense(2, name="out")(y))


# -- builders named by --kerasdiff-keras -----------------------------------------------------------------------------


def __getattr__(name: str) -> Callable[..., Any]:
    """``LOADER__MODEL`` builds a model; ``LOADER__json`` reads ``net.json`` beside the file."""
    loader, _, model = name.partition("__")
    if loader not in ("keras", "tf_keras"):
        raise AttributeError(name)
    k = importlib.import_module(loader)

    def from_json(path: str) -> Any:
        return k.models.model_from_json((Path(path).parent / "net.json").read_text("utf-8"))

    return from_json if model == "json" else lambda: globals()[model](k)


# -- the forms -------------------------------------------------------------------------------------------------------


def whole(name: str, build: Callable[[Any], Any] = net) -> Write:
    """The whole model in one file or folder."""

    def write(k: Any, folder: Path) -> str:
        model = draw(build(k))
        model.save(folder / name)
        save_weights(model, folder)
        return name

    return write


def weights(name: str, build: Callable[[Any], Any] = net) -> Write:
    """The weights alone, and the config as JSON beside them where the model has one."""

    def write(k: Any, folder: Path) -> str:
        model = draw(build(k))
        model.save_weights(str(folder / name))
        if build is net:
            (folder / "net.json").write_text(model.to_json(), "utf-8")
        save_weights(model, folder)
        return name

    return write


def legacy_weights(k: Any, folder: Path) -> str:
    """Weights alone in the old format, as early Keras 3 wrote them."""
    from keras.src.legacy.saving import legacy_h5_format

    model = draw(net(k))
    with h5py.File(folder / "net.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
        file.attrs["keras_version"] = k.__version__
    save_weights(model, folder)
    return "net.h5"


def exported(k: Any, folder: Path) -> str:
    net(k).export(folder / "net")
    return "net"


def trained(name: str, own: bool) -> Write:
    """A compiled model that holds an optimizer's state; its loss and its metric are the user's own or Keras's."""

    def write(k: Any, folder: Path) -> str:
        model = net(k)

        def my_loss(y: Any, found: Any) -> Any:
            return (found - y) ** 2

        model.compile("adam", my_loss if own else "mse", metrics=[my_loss] if own else ["mae"])
        model.fit(np.ones((4, 8, 6, 3), np.float32), np.ones((4, 3), np.float32), verbose=0)
        draw_layers(model)
        model.save(folder / name)
        save_weights(model, folder)
        return name

    return write


def draw_layers(model: Any) -> None:
    for layer in model.layers:
        draw(layer)


def policy(name: str, dtype: str) -> Write:
    """A file whose layers have a dtype policy of their own."""

    def write(k: Any, folder: Path) -> str:
        k.mixed_precision.set_global_policy(dtype)
        try:
            return whole(name)(k, folder)
        finally:
            k.mixed_precision.set_global_policy("float32")

    return write


def edited(write: Write, edit: Callable[[h5py.File], None]) -> Write:
    """An HDF5 file changed after it was written."""

    def write_and_edit(k: Any, folder: Path) -> str:
        name = write(k, folder)
        with h5py.File(folder / name, "a") as file:
            edit(file)
        return name

    return write_and_edit


def without_version(file: h5py.File) -> None:
    del file.attrs["keras_version"]


def version(text: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file.attrs["keras_version"] = text

    return edit


def old_sequential(k: Any, folder: Path) -> str:
    """As Keras 2.1 wrote a Sequential: a bare list of layers, of which the first states the input."""
    layers = [
        k.layers.Conv2D(4, 3, strides=2, padding="same", name="conv", input_shape=(8, 6, 3)),
        k.layers.BatchNormalization(name="norm"),
        k.layers.ReLU(name="relu"),
        k.layers.Flatten(name="flatten"),
        k.layers.Dense(3, activation="softmax", name="dense"),
    ]
    model = draw(k.Sequential(layers))
    model.save(folder / "net.h5")
    save_weights(model, folder)
    with h5py.File(folder / "net.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        kept = [
            {"class_name": la["class_name"], "config": la["config"]}
            for la in config["config"]["layers"]
            if la["class_name"] != "InputLayer"
        ]
        kept[0]["config"]["batch_input_shape"] = [None, 8, 6, 3]
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": kept}).encode()
        file.attrs["keras_version"] = b"2.1.6"
    return "net.h5"


BOTH = ("keras", "tf_keras")


def builder(loader: str, model: str) -> dict[str, Any]:
    return {"keras": f"tests.keras_files:{loader}__{model}"}


OWN: dict[str, Any] = {"ports": ("mixed", "mixed_wrong"), "faults": "mix", "checks": ""}

FORMS: dict[str, Form] = {
    **{f"{la}_{n}": Form(whole(f"net.{n}"), la) for la in BOTH for n in ("h5", "hdf5", "keras")},
    "tf_keras_savedmodel": Form(whole("net"), "tf_keras"),
    "keras_export": Form(exported, "keras", refused="its layers are not in it; save the model as .h5 or .keras"),
    "tf_keras_weights": Form(weights("net.h5"), "tf_keras", settings=builder("tf_keras", "net"), listed=False),
    "tf_keras_weights_v3": Form(
        weights("net.weights.h5"), "tf_keras", settings=builder("tf_keras", "net"), listed=False
    ),
    "keras_weights": Form(weights("net.weights.h5"), "keras", settings=builder("keras", "net"), listed=False),
    "keras_legacy_weights": Form(legacy_weights, "keras", settings=builder("keras", "net"), listed=False),
    "tf_keras_json": Form(weights("net.h5"), "tf_keras", settings=builder("tf_keras", "json"), listed=False),
    "keras_json": Form(weights("net.weights.h5"), "keras", settings=builder("keras", "json"), listed=False),
    **{
        f"{la}_{'own_loss' if own else 'trained'}_{n}": Form(trained(f"net.{n}", own), la)
        for la in BOTH
        for n in ("h5", "keras")
        for own in (False, True)
    },
    "tf_keras_trained_savedmodel": Form(trained("net", False), "tf_keras"),
    **{
        f"{la}_{dtype}_{n}": Form(policy(f"net.{n}", dtype), la, note=dtype if "16" in dtype else "")
        for la in BOTH
        for n in ("h5", "keras")
        for dtype in ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
    },
    **{
        f"{la}_{name}_{n}": Form(whole(f"net.{n}", build), la, settings=builder(la, name), **OWN)
        for la in BOTH
        for n in ("h5", "keras")
        for name, build in (("custom", custom), ("registered", registered))
    },
    "keras_subclassed": Form(
        weights("net.weights.h5", subclassed), "keras", settings=builder("keras", "subclassed"), listed=False, **OWN
    ),
    "tf_keras_subclassed": Form(
        weights("net.h5", subclassed), "tf_keras", settings=builder("tf_keras", "subclassed"), listed=False, **OWN
    ),
    **{
        f"{la}_subclassed_keras": Form(
            whole("net.keras", subclassed), la, settings=builder(la, "subclassed"), listed=False, **OWN
        )
        for la in BOTH
    },
    **{
        f"{la}_raw": Form(
            weights("net.weights.h5", raw),
            la,
            settings=builder(la, "raw"),
            listed=False,
            ports=("raw", "raw_wrong"),
            faults="call",
            checks="",
        )
        for la in BOTH
    },
    "tf_keras_read_by_keras": Form(edited(whole("net.h5"), version("3.0.0")), "tf_keras", "keras"),
    "tf_keras_no_version": Form(edited(whole("net.h5"), without_version), "tf_keras", "tf_keras"),
    "keras_no_version": Form(edited(whole("net.h5"), without_version), "keras", "keras"),
    "tf_keras_2.1": Form(old_sequential, "tf_keras", "tf_keras"),
    **{
        f"{la}_names_{n}": Form(
            whole(f"net.{n}", names), la, ports=(f"{la}_chain", f"{la}_chain_wrong"), faults=NAMES[la][2], checks=""
        )
        for la in BOTH
        for n in ("h5", "keras")
    },
    **{
        f"{la}_deep_keras": Form(
            whole("net.keras", deep),
            la,
            ports=("deep", "deep_wrong"),
            faults="/".join(f"level{i}" for i in range(10, 4, -1)) + "/dense",
            checks="",
        )
        for la in BOTH
    },
    **{
        f"{la}_operators_{n}": Form(
            whole(f"net.{n}", op_lambdas),
            la,
            ports=("operators", "operators_wrong"),
            faults="out",
            checks="out:weights",
        )
        for la, n in (("keras", "keras"), ("tf_keras", "h5"), ("tf_keras", "keras"))  # Keras 3 reads no such .h5
    },
}


# -- making them -----------------------------------------------------------------------------------------------------


def job(name: str, file: str, port: str, folder: Path) -> child.Job:
    """The job that judges one port of a form, whose folder is in ``folder``."""
    form, home = FORMS[name], folder / name
    own = home / port
    own.mkdir(parents=True, exist_ok=True)
    return child.Job(Settings(home / file, torch=f"{PORTS}:{port}", **form.settings), own, home, (str(ROOT),))


def main() -> None:
    """Write the files; leave ``LOADER.json``: form → name of the file, or the traceback of what was raised."""
    loader, folder, wanted = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_ENABLE_ONEDNN_OPTS="0")
    keras = importlib.import_module(loader)
    warnings.simplefilter("ignore")
    made: dict[str, str] = {}
    for name in wanted:
        (folder / name).mkdir()
        try:
            made[name] = FORMS[name].write(keras, folder / name)
        except Exception:
            made[name] = traceback.format_exc()
    (folder / f"{loader}.json").write_text(json.dumps(made), "utf-8")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
