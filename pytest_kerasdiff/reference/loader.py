"""Build the Keras model in the run's precision, from the file's config and weights."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from pytest_kerasdiff import specs
from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.modelfile import ModelFile
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.reference import checkpoint, weightfile


def import_keras(file: ModelFile) -> ModuleType:
    """Import the Keras that reads the file: tf_keras for files of Keras 2, Keras 3 else.

    Of 30 Keras 2 files of different kinds tf_keras read 29, Keras 3 seven. A hard_sigmoid in a Keras 2 file means
    0.2x + 0.5 only to tf_keras. Where tf_keras is missing, Keras 3 tries.

    Raises:
        RunError: No Keras is installed, or it cannot be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the reference is defined on CPU
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    names = ["keras"] if file.keras_major >= 3 else ["tf_keras", "keras"]
    errors: list[ImportError] = []
    for name in names:
        if name == "keras":
            os.environ["KERAS_BACKEND"] = "tensorflow"
        try:
            return __import__(name)
        except ImportError as error:
            errors.append(error)
    first = errors[0]
    if not isinstance(first, ModuleNotFoundError):
        raise RunError(f"{file.path}: {names[0]} cannot be imported: {in_short(first)}")
    extra = "tensorflow" if file.keras_major >= 3 else "tf-keras"
    missing = first.name or names[0]
    raise RunError(f"{file.path}: needs {missing}, which is not installed: pip install 'pytest-kerasdiff[{extra}]'")


class CannotRunError(RunError):
    """Keras raised while it built or ran the model; another precision may do."""

    reason = ""


def load(file: ModelFile, settings: Settings) -> tuple[ModuleType, Any]:
    """Return the Keras of the model, and the model with its weights, computing in the run's precision, inference only.

    Raises:
        RunError: Keras cannot build the model or load the weights; the line carries Keras's reason.
    """
    keras = import_keras(file)
    set_precision(keras, settings.precision)
    if settings.keras is not None:
        keras, model = _built(keras, file, settings)
        if {str(layer.compute_dtype) for layer in model.layers} <= {settings.precision}:
            # As built where floatx decides; custom layers need no registration.
            return keras, _with_weights(model, file)
        config = _config_of(keras, model, settings)
        set_precision(keras, settings.precision)  # the user's code may have set a policy of its own
    elif file.config is not None:
        config = file.config
    else:
        raise RunError(
            f"{file.path}: holds weights only; name the code that builds the Keras model with "
            "--kerasdiff-keras=module:callable"
        )
    config = with_precision(config, settings.precision)
    try:
        with _safe_mode(keras, settings.trust):
            model = _from_config(keras, config)
    except Exception as error:
        reason = _reason(error)
        hint = " (add --kerasdiff-trust to run code stored in the file)" if "safe_mode" in str(error) else ""
        raised = CannotRunError(
            f"{file.path}: {keras.__name__} {keras.__version__} cannot build the model: {reason}{hint}"
        )
        raised.reason = reason
        raise raised from error
    return keras, _with_weights(model, file)


def _built(keras: ModuleType, file: ModelFile, settings: Settings) -> tuple[ModuleType, Any]:
    """The model that the user's code builds; it decides which Keras it is, for a file of weights may not say."""
    assert settings.keras is not None
    option = "--kerasdiff-keras"
    function = specs.load(settings.keras, option)
    model = specs.call(function, file.path, settings.keras, option)
    if isinstance(model, keras.Model):
        return keras, model
    other = sys.modules.get("keras" if keras.__name__ == "tf_keras" else "tf_keras")
    if other is None or not isinstance(model, other.Model):
        raise RunError(f"{option}: {settings.keras} returned {type(model).__name__}, expected a {keras.__name__} Model")
    set_precision(other, settings.precision)
    return other, specs.call(function, file.path, settings.keras, option)


def set_precision(keras: ModuleType, precision: str) -> None:
    """Let Keras compute in a precision from here on, where a layer does not state its own."""
    keras.backend.set_floatx(precision)
    keras.mixed_precision.set_global_policy(precision)


def _config_of(keras: ModuleType, model: Any, settings: Settings) -> dict[str, Any]:
    """The config of a model built by the user's code in another precision than the run's, to build it again."""
    try:
        if keras.__name__ == "tf_keras":
            config: dict[str, Any] = json.loads(model.to_json())
        else:
            config = keras.saving.serialize_keras_object(model)
        if "layers" in config["config"]:
            return config
        reason = "it is subclassed"
    except Exception as error:
        reason = _reason(error)
    raise RunError(
        f"--kerasdiff-keras: {settings.keras} returned a model with layers of a fixed dtype, which cannot be built "
        f"again in {settings.precision}: {reason}; leave the dtype to keras.config.floatx(), or give "
        "--kerasdiff-precision=float32"
    )


def _with_weights(model: Any, file: ModelFile) -> Any:
    path = file.path
    try:
        if path.is_dir():
            checkpoint.load(path / "variables" / "variables", model)
        else:
            with weightfile.readable(path) as file_of_weights:
                model.load_weights(str(file_of_weights))
    except Exception as error:
        raise RunError(f"{path}: cannot load the weights: {_reason(error)}") from error
    return model


def _from_config(keras: ModuleType, config: dict[str, Any]) -> Any:
    if keras.__name__ == "tf_keras":
        return keras.models.model_from_json(json.dumps(config))
    if "module" in config:
        return keras.saving.deserialize_keras_object(config)
    # A legacy HDF5 file: the config has no module, and its layers are those of Keras 2 or early Keras 3.
    kinds = {"Sequential": keras.Sequential}
    with keras.saving.CustomObjectScope(_operations(keras)):
        return kinds.get(config["class_name"], keras.Model).from_config(config["config"])


def _operations(keras: ModuleType) -> dict[str, Any]:
    """Classes of Keras's operations by name, those that share it with a layer aside.

    Keras 3 writes the operations that compute a mask into an HDF5 file and does not know their names when it reads it.
    """
    found, pending = {}, [keras.Operation]
    while pending:
        for kind in pending.pop().__subclasses__():
            if not issubclass(kind, keras.layers.Layer):
                pending.append(kind)
                if not hasattr(keras.layers, kind.__name__):
                    found[kind.__name__] = kind
    return found


@contextlib.contextmanager
def _safe_mode(keras: ModuleType, trust: bool) -> Iterator[None]:
    """Refuse code stored in the file unless trusted.

    tf_keras runs a Lambda of an HDF5 file even with ``safe_mode=True``; only inside this scope it does not.
    """
    if keras.__name__ == "tf_keras":
        from tf_keras.src.saving.serialization_lib import SafeModeScope
    else:
        from keras.src.saving.serialization_lib import SafeModeScope
    with SafeModeScope(safe_mode=not trust):
        yield


def with_precision(config: dict[str, Any], precision: str) -> dict[str, Any]:
    """A copy of a model's config, not compiled, all floating dtypes ``precision``, all initialisers zeros.

    The weights come from the file, so random initialisation would only cost time.
    """
    changed: dict[str, Any] = _convert(copy.deepcopy(config), precision)
    return changed


_FLOATS = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")


def _convert(node: Any, precision: str) -> Any:
    if isinstance(node, list):
        return [_convert(item, precision) for item in node]
    if not isinstance(node, dict):
        return node
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "compile_config":
            continue  # the loss, the metrics and the optimizer may be the user's own, and are not needed
        if key == "dtype" and dtype_name(value) in _FLOATS:
            result[key] = precision
        elif key.endswith("_initializer") and value is not None:
            result[key] = {"class_name": "Zeros", "config": {}}
        else:
            result[key] = _convert(value, precision)
    return result


def dtype_name(value: Any) -> str | None:
    """Name of a dtype or of a dtype policy as configs state them."""
    if isinstance(value, dict):
        own = value.get("config")
        name = own.get("name") if isinstance(own, dict) else None
        return str(name) if name else None
    return value if isinstance(value, str) else None


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]
