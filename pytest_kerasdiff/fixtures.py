"""Fixtures for the user's own tests. Importing this module loads the standard library and pytest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_kerasdiff.checklist import OF_A_LAYER, OF_THE_MODEL
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.plugin import SESSION

if TYPE_CHECKING:
    from pytest_kerasdiff.readable import Check, KerasConfig, Layer, Pair, Report
    from pytest_kerasdiff.session import KerasdiffSession

Load = Callable[[], "Report"]
Assert = Callable[..., None]


# -- the model and what was found ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def kerasdiff_model(pytestconfig: pytest.Config) -> Path:
    """Path of the Keras model that the other kerasdiff fixtures speak of: the only one that is configured.

    Where several are, override it in conftest.py; with params, each test runs once for each model:

        @pytest.fixture(scope="session", params=["a.h5", "b.h5"])
        def kerasdiff_model(request):
            return request.param
    """
    models = list(_session(pytestconfig).models)
    if len(models) > 1:
        names = ", ".join(os.path.relpath(path, pytestconfig.rootpath) for path in models)
        _refuse(
            f"kerasdiff_model: several Keras models are configured ({names}); override this fixture in conftest.py, "
            "with scope='session', and return the path of one, or give it params"
        )
    return models[0]


@pytest.fixture(scope="session")
def _kerasdiff_load(pytestconfig: pytest.Config, kerasdiff_model: str | Path) -> Load:
    """Gives the report where somebody asks for it, so that what needs none starts no comparison."""
    from pytest_kerasdiff.readable import Report

    session, path = _configured(pytestconfig, kerasdiff_model)

    def load() -> Report:
        try:
            return Report.of(session.report(path))
        except RunError as error:
            _refuse(str(error))

    return load


@pytest.fixture(scope="session")
def kerasdiff(_kerasdiff_load: Load) -> Report:
    """The comparison's report as an object: .verdict, .passes, .layers, .layer(name), .check(check, layer).

    kerasdiff.layer("conv2d_3") has .status, .torch, .isolated and .cumulative; the errors have .max_abs, .scale, .limit
    and .passes. kerasdiff.check("eps", "batch_normalization") and kerasdiff.check("eval_mode") have .status, .cause,
    .message and .passes. kerasdiff.data is the content of report.json. The types are in pytest_kerasdiff.readable.
    """
    return _kerasdiff_load()


@pytest.fixture(scope="session")
def layer_pairs(kerasdiff: Report) -> list[Pair]:
    """Every Keras layer that has a partner, with it: (keras, class_name, torch, operations, source)."""
    from pytest_kerasdiff import readable

    return readable.pairs(kerasdiff)


@pytest.fixture(scope="session")
def keras_config(pytestconfig: pytest.Config, kerasdiff_model: str | Path) -> KerasConfig:
    """Layers and hyper-parameters of the Keras file, read without Keras: keras_config.layer("dense").config["units"].

    Iterating gives the layers, each with .name, .class_name and .config; .inputs have .name, .shape and .dtype. Nothing
    is compared for it.
    """
    from pytest_kerasdiff.readable import KerasConfig

    session, path = _configured(pytestconfig, kerasdiff_model)
    try:
        return KerasConfig(session.layers_of(path), session.file(path).inputs())
    except RunError as error:
        _refuse(str(error))


@pytest.fixture(scope="session")
def torch_model(pytestconfig: pytest.Config, kerasdiff_model: str | Path) -> Any:
    """The port itself, a torch.nn.Module, built as the comparison builds it. Nothing is compared for it.

    All tests of the session share it: undo what you change in it.
    """
    session, path = _configured(pytestconfig, kerasdiff_model)
    try:
        return _build(session, path)
    except RunError as error:
        _refuse(str(error))


def _build(session: KerasdiffSession, path: Path) -> Any:
    try:
        from pytest_kerasdiff.candidate import loader
    except ImportError as error:
        raise RunError(f"torch_model: {error}: pip install 'pytest-kerasdiff[torch]'") from None
    return loader.build(session.models[path], session.port(path))


def _session(config: pytest.Config) -> KerasdiffSession:
    session = config.stash.get(SESSION, None)
    if session is None:
        _refuse("no Keras model is configured: give --keras-model=PATH, or write keras_model = PATH into pytest's ini")
    return session


def _configured(config: pytest.Config, model: str | Path) -> tuple[KerasdiffSession, Path]:
    """The session, and which of its models is meant: relative paths refer to rootdir, or to the current folder."""
    session = _session(config)
    for folder in (config.rootpath, config.invocation_params.dir):
        path = (folder / model).resolve()
        if path in session.models:
            return session, path
    names = ", ".join(os.path.relpath(path, config.rootpath) for path in session.models)
    _refuse(f"kerasdiff_model: {model} is not configured, only {names}: add it to keras_model, or give --keras-model")


def _refuse(line: str) -> NoReturn:
    """Fail with one line: a traceback into this package helps nobody."""
    raise pytest.fail.Exception(line, pytrace=False) from None


# -- assertions ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def assert_equivalent(_kerasdiff_load: Load) -> Assert:
    """Call it with a layer's name: fails unless its output and all its checks pass. Without a name: of all layers.

    The message is what the generated tests print. Checks that are turned off are left out.
    """

    def assert_it(layer: str | None = None) -> None:
        __tracebackhide__ = True
        report = _kerasdiff_load()
        layers = report.layers if layer is None else [report.layer(layer)]
        blocks = [*_outputs(report, layers), *_checks([c for c in report.checks if layer in (None, c.layer)])]
        if not blocks and layer is None and not report.passes:
            blocks = ["nothing was compared: no layer has a partner"]
        _fail_with(blocks)

    return assert_it


def _outputs(report: Report, layers: Sequence[Layer]) -> Iterator[str]:
    from pytest_kerasdiff import text

    names = {layer.name for layer in layers if not layer.passes}
    yield from (text.layer_block(layer) for layer in report.data["layers"] if layer["name"] in names)


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    from pytest_kerasdiff import text

    for check in checks:
        if check.status == "fail":
            yield text.check_block({"layer": check.layer, "check": check.check, "message": check.message})


def _fail_with(blocks: Sequence[str]) -> None:
    __tracebackhide__ = True
    if blocks:
        raise AssertionError("\n".join(blocks))


def _demand(checks: Sequence[Check]) -> None:
    """Fail where one fails; skip where all are off, with their reasons."""
    __tracebackhide__ = True
    _fail_with(list(_checks(checks)))
    if all(check.status == "off" for check in checks):
        pytest.skip(f"turned off: {'; '.join(dict.fromkeys(check.message for check in checks))}")


def _of_a_layer(name: str, load: Load) -> Assert:
    def assert_it(layer: str | None = None) -> None:
        __tracebackhide__ = True
        report = load()
        found = [c for c in report.checks if c.check == name] if layer is None else [report.check(name, layer)]
        if not found:
            raise AssertionError(f"the check {name} concerns no layer of this model: nothing was compared")
        _demand(found)

    return assert_it


def _of_the_model(name: str, load: Load) -> Assert:
    def assert_it() -> None:
        __tracebackhide__ = True
        _demand([load().check(name)])

    return assert_it


def _eval_mode(name: str, load: Load) -> Assert:
    def assert_it(model: Any = None) -> None:
        __tracebackhide__ = True
        if model is None:
            _demand([load().check(name)])
        elif not hasattr(model, "named_modules"):
            raise TypeError(f"assert_{name}: got {type(model).__name__}, expected a torch.nn.Module")
        else:
            _demand_inference([path or "the model" for path, part in model.named_modules() if part.training])

    return assert_it


def _demand_inference(training: Sequence[str]) -> None:
    from pytest_kerasdiff import text

    __tracebackhide__ = True
    if training:
        raise AssertionError(f"in training mode: {text.shortened(training)}; call .eval() on the port")


def _preprocessing(name: str, load: Load) -> Assert:
    def assert_it(keras: Any = None, torch: Any = None, raw: Any = None, layout: Sequence[int] | None = None) -> None:
        __tracebackhide__ = True
        if keras is None and torch is None and raw is None:
            report = load()
            if not any(c.check == name for c in report.checks):
                raise AssertionError(
                    f"assert_{name}: the manifest has no [preprocess]; name both functions there, or call it with "
                    "(keras_function, torch_function, raw)"
                )
            _demand([report.check(name)])
        elif callable(keras) and callable(torch) and raw is not None:
            _demand_equal_tensors(keras, torch, raw, layout)
        else:
            raise TypeError(f"assert_{name}: expected two functions and an array of raw samples, samples first")

    return assert_it


def _demand_equal_tensors(keras: Any, torch: Any, raw: Any, layout: Sequence[int] | None) -> None:
    import numpy as np

    from pytest_kerasdiff import preprocess
    from pytest_kerasdiff.checks import preprocessing
    from pytest_kerasdiff.checks.subject import Preprocessed
    from pytest_kerasdiff.manifest import Preprocess
    from pytest_kerasdiff.options import TOL

    __tracebackhide__ = True
    samples, stated = np.asarray(raw), Preprocess(_name(keras), _name(torch))
    try:
        expected = preprocess.call(keras, samples, samples.ndim - 1, stated.keras)
        given = preprocess.call(torch, samples, samples.ndim - 1, stated.torch)
    except RunError as error:
        raise AssertionError(str(error)) from None
    # As the comparison takes them: images are given to torch with channels first.
    order = tuple(layout) if layout is not None else (0, 3, 1, 2) if expected.ndim == 4 else tuple(range(expected.ndim))
    pair = Preprocessed(preprocess.in_keras_layout(given, order), expected, order)
    found = preprocessing.judge(pair, stated, TOL)
    if found.cause:
        raise AssertionError(f"preprocessing: {found.message}")


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", function))


_OWN: dict[str, tuple[Callable[[str, Load], Assert], str]] = {
    "eval_mode": (_eval_mode, "without arguments, or with a torch module, of which no part may be in training mode"),
    "preprocessing": (
        _preprocessing,
        "without arguments for the functions of the manifest, or with two functions and raw samples: "
        "assert_preprocessing(keras, torch, raw), where raw is an array with the samples first",
    ),
}
"""Checks that also take something of the user's: what makes the assertion, and how it is called."""


def _fixture(name: str, words: str) -> Any:
    """The fixture ``assert_NAME``, described by the check's own words."""
    if name in _OWN:
        make, how = _OWN[name]
    elif name in OF_A_LAYER:
        make, how = _of_a_layer, "with a layer's name, or without for every layer it concerns"
    else:
        make, how = _of_the_model, "without arguments"

    def fixture(_kerasdiff_load: Load) -> Assert:
        return make(name, _kerasdiff_load)

    fixture.__doc__ = f"Asserts the check {name}: {words}. Call it {how}."
    return pytest.fixture(scope="session", name=f"assert_{name}")(fixture)


globals().update({f"assert_{name}": _fixture(name, words) for name, words in (OF_A_LAYER | OF_THE_MODEL).items()})
