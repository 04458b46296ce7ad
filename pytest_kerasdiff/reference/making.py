"""Make a reference trace: load the Keras model, run it on the probe inputs, and write what each layer gives."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_kerasdiff import child, modelfile, preprocess, probes, tracefile
from pytest_kerasdiff.errors import RunError, first_line, in_short
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.modelfile import InputSpec, ModelFile
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.phases import Phases
from pytest_kerasdiff.reference import loader
from pytest_kerasdiff.trace import Array, FurtherRuns

if TYPE_CHECKING:
    from pytest_kerasdiff.reference import recorder

_CALLS = 100_000
"""Calls within calls that a model may need: some 15 a layer in a chain; Python's own limit ends at 300 layers or so."""
Listing = list[list[Any]]
"""Name, class and config of every call of every layer."""


def make(job: child.Job, stated: Manifest, target: Path, done: Callable[[Listing], None]) -> None:
    """Load the Keras model, run it on the probe inputs and write the trace; then what it gives in further runs.

    Each of the two files is there complete or not at all. ``done`` is called in between, with name, class and config of
    every call of every layer: who compares layers need not wait for the rest.

    Raises:
        RunError: Keras cannot build the model, or not run it.
    """
    # Keras builds and walks a chain of layers by calls within calls.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _CALLS))
    file = modelfile.read(job.settings.keras_model)
    phases = Phases(job.folder, "reference")
    try:
        _trace(job, job.settings, file, stated, target, phases, [], done)
    except loader.CannotRunError as error:
        if job.settings.precision == "float32":
            raise
        # Some operations have no float64 kernel on CPU, such as 3-D max pooling.
        lower = dataclasses.replace(job.settings, precision="float32")
        note = f"Keras cannot run this model in float64, so both sides are judged by the float32 rule: {error.reason}"
        try:
            _trace(job, lower, file, stated, target, phases, [note], done)
        except loader.CannotRunError:
            raise error from None


def _trace(
    job: child.Job,
    settings: Settings,
    file: ModelFile,
    stated: Manifest,
    target: Path,
    phases: Phases,
    notes: list[str],
    done: Callable[[Listing], None],
) -> None:
    from pytest_kerasdiff.reference import recorder

    phases.begin("load", "Keras: loading the model")
    keras, model = loader.load(file, settings)
    import tensorflow

    inputs = inputs_of(file, settings, model)
    rules = stated.rules([s.name for s in inputs])
    arrays = probes.given(settings, inputs, rules)
    writer = tracefile.TraceWriter(target)
    recording = recorder.Recorder(model, keras, tensorflow, phases.step)
    names = [s.name for s in inputs]
    phases.begin("run", "Keras: layer")
    try:
        outputs = recording.record(names, arrays, writer)
    except Exception as error:
        reason = first_line(error)
        shapes = ", ".join(f"{s.name} {a.shape}" for s, a in zip(inputs, arrays, strict=True))
        writer.discard()
        raised = loader.CannotRunError(
            f"{file.path}: Keras raised on the probe inputs ({shapes}): {type(error).__name__}: {reason}; "
            "where the model leaves sizes free, state them in the manifest: [inputs] shape = […]"
        )
        raised.reason = reason[:200]
        raise raised from error
    entries: list[modelfile.LayerEntry] = []
    with contextlib.suppress(RunError):  # of weights only, or of a subclassed model
        entries = file.layers()
    dtypes = {loader.dtype_name(entry.config.get("dtype")) for entry in entries}
    reduced = sorted(d for d in dtypes if d and "16" in d)
    if reduced:
        notes.append(f"the file's dtype policy is {', '.join(reduced)}; judged in {settings.precision}")
    if recording.compiled:
        notes.append(f"TensorFlow has no CPU kernel for {', '.join(recording.compiled)}: compiled by XLA")
    writer.close(
        recording.layers,
        outputs,
        {
            keras.__name__: keras.__version__,
            "tensorflow": tensorflow.__version__,
            "python": platform.python_version(),
            "reference_precision": settings.precision,
            "output_names": json.dumps(recording.output_names),
            "keras_file_version": file.keras_version,
        },
        notes,
        recording.curves,
    )
    further = child.further_of(target)
    further.unlink(missing_ok=True)
    done([[layer.name, layer.class_name, layer.config] for layer in recording.layers])
    # What follows is small, and one of two processors may be enough for it: the port is judged meanwhile.
    phases.begin("again", "Keras: once more")
    _demand_same(file.path, recording.results, recording.outputs(names, arrays))
    phases.begin("other_batches", "Keras: other batches")
    others = _others(recording, inputs, names, arrays)
    phases.begin("float32", "Keras: float32")
    results = recording.results
    del recording, model  # before there is a second one
    deployed = results if settings.precision == "float32" else _deployed(file, settings, names, arrays)
    preprocessed = _preprocessed(stated, keras, names, arrays, settings.seed)
    opinion: list[Array] = []
    opinion_error = ""
    if settings.onnx:
        phases.begin("onnx", "Keras: converting to ONNX")
        opinion, opinion_error = _opinion(file, settings, names, arrays)
    phases.end()
    tracefile.write_further(
        further,
        FurtherRuns(
            deployed, others, preprocessed, opinion, opinion_error, job.folder.name, phases.timing(), phases.memory()
        ),
    )


def _demand_same(model: Path, recorded: Sequence[Array], plain: Sequence[Array]) -> None:
    """Let neither recording nor chance decide what is compared: without the recorder the model gives the same.

    Raises:
        RunError: It does not.
    """
    for number, (one, other) in enumerate(zip(recorded, plain, strict=True)):
        scale = float(np.abs(one[np.isfinite(one)]).max(initial=0))
        if not np.allclose(other, one, 0, _rounding(one) * scale, equal_nan=True):
            off = float(np.nanmax(np.abs(np.subtract(other, one, dtype=np.float64)), initial=0))
            raise RunError(
                f"{model}: Keras gives another output for the same inputs when it runs once more (output {number}: by "
                f"{off:.3g} of {scale:.3g}): a layer draws random numbers or counts its calls, and no port can be equal"
            )


def _rounding(array: Array) -> float:
    """How far two runs of a model may be apart by rounding, relative to the output's scale."""
    return 1e-10 if array.dtype == np.float64 else 1e-5


def _others(
    recording: recorder.Recorder, inputs: Sequence[InputSpec], names: Sequence[str], arrays: Sequence[Array]
) -> list[list[Array]]:
    """The model's outputs for ``probes.other_batches``, where it takes such and they depend on each other.

    A model that gives a sample alone what it gives it among others takes each sample apart, and so has a port.
    """
    batches = probes.other_batches(arrays)
    if not batches or any(spec.shape[0] is not None for spec in inputs):
        return []
    try:
        alone = recording.outputs(names, [array[-1:] for array in arrays])
        if all(_is_last(one, among) for one, among in zip(alone, recording.results, strict=True)):
            return []
        return [recording.outputs(names, batch) for batch in batches]
    except Exception:  # code that names the batch size: the port need not be better
        return []


def _is_last(alone: Array, among: Array) -> bool:
    """Whether an output for one sample is the last of an output for several, to rounding."""
    if alone.ndim == 0 or alone.shape != among[-1:].shape:
        return False
    within = _rounding(alone)
    return np.allclose(alone, among[-1:], within, within * float(np.abs(among).max(initial=0)), equal_nan=True)


def _deployed(
    file: ModelFile,
    settings: Settings,
    names: Sequence[str],
    arrays: Sequence[Array],
) -> list[Array]:
    """The model's outputs in float32; the model is built anew, because weights and constants are to be float32."""
    import tensorflow

    from pytest_kerasdiff.reference import recorder

    try:
        keras, model = loader.load(file, dataclasses.replace(settings, precision="float32"))
        return recorder.Recorder(model, keras, tensorflow).outputs(names, arrays)
    except Exception as error:
        raise RunError(f"{file.path}: Keras cannot run the model in float32: {in_short(error)}") from None


def _opinion(
    file: ModelFile, settings: Settings, names: Sequence[str], arrays: Sequence[Array]
) -> tuple[list[Array], str]:
    """The model's outputs as ONNX in float32; or why there are none."""
    from pytest_kerasdiff.reference import opinion

    _, model = loader.load(file, dataclasses.replace(settings, precision="float32"))
    try:
        return opinion.ask(model, names, arrays), ""
    except opinion.NoOpinionError as error:
        return [], str(error)


def _preprocessed(
    stated: Manifest,
    keras: ModuleType,
    names: Sequence[str],
    arrays: Sequence[Array],
    seed: int,
) -> preprocess.Prepared | None:
    """What the user's Keras-side preprocessing makes of the raw samples; None where the manifest names none.

    The last thing that is run, so that whatever the user's code sets cannot change what is recorded.
    """
    if stated.preprocess is None:
        return None
    compared_in = keras.backend.floatx()
    loader.set_precision(keras, "float32")  # as it is deployed
    try:
        samples = preprocess.raw_samples(stated, names, arrays[0].shape[1:], seed)
        return preprocess.apply(stated, "keras", samples, arrays[0].ndim - 1)
    finally:
        loader.set_precision(keras, compared_in)


def inputs_of(file: ModelFile, settings: Settings, model: Any) -> list[InputSpec]:
    """The model's inputs, as the file has them, or as code has built them.

    Raises:
        RunError: What code has built does not know them.
    """
    return file.inputs() if file.config is not None and settings.keras is None else _built_inputs(model)


def _built_inputs(model: Any) -> list[InputSpec]:
    """Inputs of a model that code has built; a subclassed one knows the shapes that it was called with."""
    tensors = getattr(model, "inputs", None)
    if tensors:
        return [InputSpec(_input_name(t), tuple(t.shape), str(getattr(t.dtype, "name", t.dtype))) for t in tensors]
    if hasattr(model, "save_spec"):  # tf_keras
        called_with = model.save_spec()
        arguments = list(called_with[0]) if called_with else []
    else:
        arguments = list((getattr(model, "_build_shapes_dict", None) or {}).values())
    if len(arguments) != 1 or isinstance(arguments[0], dict):
        raise RunError(
            "--kerasdiff-keras: the model it returned has no inputs yet: build it (model.build(shape), or "
            "call it once) before returning it"
            if not arguments
            else "--kerasdiff-keras: the model it returned takes several arguments or a dict: let call take a list"
        )
    given: Any = arguments[0]
    is_nested = isinstance(given, list) or (
        isinstance(given, tuple) and any(isinstance(g, tuple | list) for g in given)
    )
    several: Any = given if is_nested else [given]
    names = ["input"] if len(several) == 1 else [f"input_{number + 1}" for number in range(len(several))]
    shapes = [(None, *list(getattr(one, "shape", one))[1:]) for one in several]
    dtypes = [getattr(getattr(one, "dtype", None), "name", "float32") for one in several]
    return [InputSpec(*stated) for stated in zip(names, shapes, dtypes, strict=True)]


def _input_name(tensor: Any) -> str:
    """Name of the InputLayer of a symbolic input, whose own name may be Keras's automatic one."""
    history = getattr(tensor, "_keras_history", None)
    owner = getattr(history, "operation", None) or getattr(history, "layer", None)
    return str(owner.name if owner is not None else tensor.name).split(":")[0]
