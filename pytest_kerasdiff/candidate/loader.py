"""Get the user's torch model from its spec."""

from __future__ import annotations

import contextlib
import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from pytest_kerasdiff import specs
from pytest_kerasdiff.candidate import observer, recorder, timing
from pytest_kerasdiff.candidate.program import Program
from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.facts import PortFacts
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.throughput import Product, Runner, Timed
from pytest_kerasdiff.trace import Array

if TYPE_CHECKING:
    from pytest_kerasdiff.candidate import onnx_graph

_Arguments = Mapping[str, Array] | Sequence[Array]
_Gather = Callable[[Mapping[str, torch.Tensor]], Any]
_PRECISION_WORDS = ("dtype", "float", "double", "scalar type")
"""Words by which torch's errors speak of precision."""


def build(settings: Settings, spec: str) -> torch.nn.Module:
    """The user's model as a comparison builds it; torch's default dtype and random state are as before.

    Raises:
        RunError: See ``Port``.
    """
    before = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]):
            return Port(settings, spec).model
    finally:
        torch.set_default_dtype(before)


def _end_inference(model: torch.nn.Module) -> None:
    """Copy what was made in inference mode, which cannot be converted to another precision; what is shared stays so."""
    copies: dict[int, torch.Tensor] = {}

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in copies:
            own = tensor.detach().clone()
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            copies[id(tensor)] = torch.nn.Parameter(own, tensor.requires_grad) if is_parameter else own
        return copies[id(tensor)]

    for module in model.modules():
        for held in cast("list[dict[str, Any]]", [module._parameters, module._buffers]):
            for name, tensor in [*held.items()]:
                if tensor is not None and tensor.is_inference():
                    held[name] = copy(tensor)


class Port:
    """The user's torch model, ready to be recorded."""

    def __init__(self, settings: Settings, spec: str) -> None:
        """Build the model.

        Raises:
            RunError: The spec does not import, is not callable, raises, or returns no module; the archive is not there
                or not trusted; the weights do not load, or are not there; the device is not there.
        """
        self._settings = settings
        torch.set_default_dtype(torch.float32)  # another run of this process may have left float64
        option = "--kerasdiff-torch"
        found = _archive(Path(spec), settings) if _is_archive(spec) else specs.load(spec, option)
        model = found if isinstance(found, torch.nn.Module) else specs.call(found, settings.keras_model, spec, option)
        if not isinstance(model, torch.nn.Module):
            raise RunError(f"{option}: {spec} returned {type(model).__name__}, expected a torch.nn.Module")
        if settings.weights is not None:
            _load_weights(model, settings.weights)
        if settings.device.startswith("cuda") and not torch.cuda.is_available():
            raise RunError(f"--kerasdiff-device: got {settings.device!r}, but torch sees no CUDA device; valid: cpu")
        try:
            torch.empty(0, device=settings.device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"--kerasdiff-device: got {settings.device!r}: {reason}") from None
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
                raise RunError(f"{option}: {spec}: {name} holds no values; load the weights before returning the model")
        _end_inference(model)
        self.model = model
        self._onnx = cast("onnx_graph.Graph", model) if _is_archive(spec) and spec.endswith(".onnx") else None
        self._delivered = observer.dtypes_of(model)
        self._precision_settings, self._switches = observer.settings_of_precision(), observer.Switches.now()
        self._call: observer.Call = lambda tensors: model(*tensors)

    def record(self, names: Sequence[str], arrays: Sequence[Array]) -> Program:
        """Run the model once on these inputs; see ``recorder.record``.

        A model that cannot run in float64 (constants of another precision inside TorchScript) is run in float32.
        """
        first: RunError | None = None
        for arguments, gather in self._ways(names, arrays):
            try:
                program = self._record(arguments, gather)
            except RunError as error:
                first = first or error
                continue
            self._call = recorder.caller(self.model, list(names), isinstance(arguments, Mapping), gather)
            if self._onnx is not None:
                _confirm(self._onnx, arguments, program)
            return program
        assert first is not None
        raise first

    def observe(self, arrays: Sequence[Array], recorded: Sequence[Array]) -> PortFacts:
        """Run the recorded model a few times more, also as it was delivered, and note what is seen.

        Args:
            arrays: Probe inputs as ``record`` took them.
            recorded: What it gave for them then.
        """
        others = not isinstance(self.model, torch.jit.ScriptModule | torch.fx.GraphModule)
        try:
            return observer.observe(
                self.model, self._call, arrays, self._delivered, self._precision_settings, self._switches,
                torch.get_default_dtype(), others, recorded,
            )  # fmt: skip
        except Exception as error:  # the checks that need it fail, and say why
            return PortFacts(deployed_error=f"cannot be run again: {in_short(error)}")

    @contextlib.contextmanager
    def deployed(self) -> Iterator[Callable[[Sequence[Array]], list[Array]]]:
        """Let the recorded model be run as it was delivered: gives what makes outputs of a batch in the port's layout.

        That raises RunError where the model does.
        """
        device = torch.device(self._settings.device)
        with observer.as_delivered(self.model, self._delivered, self._switches, torch.get_default_dtype()):
            dtype = observer.fed_in(self.model)

            def outputs(arrays: Sequence[Array]) -> list[Array]:
                try:
                    return observer.run(self._call, arrays, device, dtype)
                except Exception as error:
                    raise RunError(f"the torch model raised in float32: {in_short(error)}") from None

            yield outputs

    def devices(self) -> list[str]:
        """Devices on which the model can be timed."""
        return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

    @contextlib.contextmanager
    def timed(self, arrays: Sequence[Array], products: Sequence[Product], device: str) -> Iterator[Timed]:
        """Let the recorded model be timed on a device, as it was delivered.

        Args:
            arrays: A batch in the port's layout.
            products: The yardstick.
            device: One of ``devices``.
        """
        missing: dict[str, str] = {}
        runners: dict[str, Runner] = {}
        with (
            observer.as_delivered(self.model, self._delivered, self._switches, torch.get_default_dtype()),
            timing.without_tf32(bool(self._precision_settings)),
        ):
            timing.forget_peak(device)
            try:
                self.model.to(device)
                given = observer.tensors(arrays, torch.device(device), observer.fed_in(self.model))
                runners["torch"] = timing.runner(lambda: self._call(given), device)
                runners["torch"](1)
            except Exception as error:
                missing["torch"] = f"the port cannot run it: {in_short(error)}"[:300]
                runners.clear()
            if not products:
                missing["yardstick"] = "the Keras model has no kernels"
            elif runners:
                runners["yardstick"] = timing.runner(timing.yardstick(products, device), device)
            try:
                yield Timed(runners, missing, lambda: timing.facts(device))
            finally:
                self.model.to(self._settings.device)

    @contextlib.contextmanager
    def in_float32(self) -> Iterator[None]:
        """Let the user's code run as it is deployed: the comparison sets torch's default dtype to its own."""
        compared_in = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(compared_in)

    def _record(self, arguments: _Arguments, gather: _Gather | None) -> Program:
        device = self._settings.device
        try:
            return recorder.record(self.model, arguments, self._settings.precision, device, (), gather)
        except RunError as error:
            if self._settings.precision == "float32" or not any(w in str(error).lower() for w in _PRECISION_WORDS):
                raise
            note = f"the port cannot run in float64, so it is judged by the float32 rule: {error}"
            try:
                return recorder.record(self.model, arguments, "float32", device, [note], gather)
            except RunError:
                raise error from None

    def _ways(self, names: Sequence[str], arrays: Sequence[Array]) -> Sequence[tuple[_Arguments, _Gather | None]]:
        """Ways to call the model with several inputs, the first that runs is the one.

        By name where forward's parameters, or an ONNX model's inputs, are called as the Keras inputs, else by position.
        A forward of one parameter takes all of them in one: a dict by their names, or a list.
        """
        if len(arrays) < 2 or isinstance(self.model, torch.jit.ScriptModule):
            return [(arrays, None)]
        parameters = inspect.signature(self.model.forward).parameters
        named = dict(zip(names, arrays, strict=True))
        if set(names) <= {*parameters, *(self._onnx.takes if self._onnx is not None else ())}:
            return [(named, None)]
        places = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(places) == 1 and not any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
            return [(named, dict), (named, lambda tensors: list(tensors.values()))]
        return [(arrays, None)]


def _confirm(graph: onnx_graph.Graph, arguments: _Arguments, program: Program) -> None:
    """Let onnxruntime confirm what was computed of an ONNX model."""
    from pytest_kerasdiff.candidate import onnx_graph

    inputs = [arguments[name] for name in graph.takes] if isinstance(arguments, Mapping) else list(arguments)
    outputs = [program.recorded[value] for value in program.trace.outputs if value is not None]
    onnx_graph.confirm(graph, inputs, outputs)


def _is_archive(spec: str) -> bool:
    return spec.endswith((".pt", ".pt2", ".pth", ".onnx")) and ":" not in Path(spec).name


def _archive(path: Path, settings: Settings) -> torch.nn.Module:
    """Open a file; TorchScript and an exported program may carry code, so of these only what is trusted is opened."""
    if not path.exists():
        raise RunError(f"--kerasdiff-torch: {path}: no such file (looked for in {Path.cwd()})")
    if path.suffix == ".onnx":
        from pytest_kerasdiff.candidate import onnx_graph

        return onnx_graph.load(path)
    if not settings.trust:
        raise RunError(
            f"--kerasdiff-torch: {path}: opening it can run code stored in it; if you trust it, add --kerasdiff-trust"
        )
    try:
        if path.suffix == ".pt2":
            exported: torch.nn.Module = torch.export.load(path).module()
            for part in exported.modules():
                part.training = False  # what was exported has one mode, and the flag says nothing
            return exported
        module: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        return module
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"--kerasdiff-torch: {path}: neither TorchScript (.pt) nor an exported program (.pt2): {reason[:200]}; "
            "a state dict goes with --kerasdiff-weights"
        ) from None


def _load_weights(model: torch.nn.Module, path: Path) -> None:
    if not path.exists():
        raise RunError(f"{path}: no such file (--kerasdiff-weights)")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state, strict=True)
    except ImportError:
        raise RunError(
            f"{path}: reading .safetensors needs safetensors: pip install 'pytest-kerasdiff[torch]'"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())
        if isinstance(error, pickle.UnpicklingError):  # torch advises a setting that there is none of here
            reason = "it holds more than tensors, which opening it would run as code"
        raise RunError(f"{path}: cannot be loaded strictly into the model: {reason[:300]}") from None
