"""pytest's hooks: they translate and nothing else. Importing this module loads the standard library and pytest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest

from pytest_kerasdiff import options
from pytest_kerasdiff.errors import RunError, not_imported

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_kerasdiff.progress import Progress
    from pytest_kerasdiff.session import KerasdiffSession

SESSION: pytest.StashKey[KerasdiffSession] = pytest.StashKey()
OFF = "kerasdiff_off"
"""User property of a test that a marker has turned off: the model's node id, layer, check, reason. It reaches xdist's
controlling process."""
_FAILED: pytest.StashKey[RunError] = pytest.StashKey()
_MARKUP: dict[str, dict[str, bool]] = {
    "": {},
    "good": {"green": True},
    "bad": {"red": True},
    "warn": {"yellow": True},
    "faint": {"light": True},
}
pytest_plugins = ("pytest_kerasdiff.fixtures",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags and ini keys, made from the table of options."""
    group = parser.getgroup("kerasdiff", "prove a PyTorch port of a Keras model equal")
    group.addoption(
        "--keras-model",
        action="append",
        metavar="PATH",
        help="Keras file (.h5, .hdf5, .keras) whose port is judged; repeatable",
    )
    parser.addini("keras_model", "Keras files whose ports are judged, one a line", type="linelist")
    for option in options.OPTIONS:
        kind: Literal["linelist", "string"] = "linelist" if option.repeats else "string"
        parser.addini(option.ini, option.meaning, type=kind)
        action = "append" if option.repeats else "store"
        if option.metavar:
            group.addoption(option.flag, dest=option.ini, action=action, metavar=option.metavar, help=option.meaning)
        else:
            group.addoption(option.flag, dest=option.ini, action="store_const", const="true", help=option.meaning)


def pytest_configure(config: pytest.Config) -> None:
    """Start the comparison of every model, unless nothing will be run."""
    config.addinivalue_line("markers", "kerasdiff: a test generated for a layer of a Keras model")
    config.addinivalue_line(
        "markers",
        "kerasdiff_off(reason): turns a check off, added by a conftest.py to its generated test, which is skipped; the "
        "report lists the check with the reason",
    )
    if not config.pluginmanager.hasplugin("benchmark"):  # which has the marker of accuracy and throughput
        config.addinivalue_line("markers", "benchmark: a measurement; pytest-benchmark is not installed")
    given = config.getoption("keras_model")
    models = given or config.getini("keras_model")
    if not (models or _is_told(config)):
        return
    try:
        from pytest_kerasdiff import session
    except ImportError as error:
        raise pytest.UsageError(not_imported(error)) from None

    base = config.invocation_params.dir if given else config.rootpath
    values = {option.name: _value(config, option) for option in options.OPTIONS}
    try:
        made = session.KerasdiffSession(
            config, [options.resolve(m, values, base) for m in models], explicit=bool(given)
        )
        config.stash[SESSION] = made
        config.pluginmanager.register(_TurnedOff(made))
        if config.pluginmanager.hasplugin("html"):
            from pytest_kerasdiff import columns

            config.pluginmanager.register(columns.Columns())
    except RunError as error:
        _close(config)
        if not _is_told(config):
            raise pytest.UsageError(str(error)) from None
        config.stash[_FAILED] = error  # a worker that dies of it now is replaced by one that does the same


def _is_told(config: pytest.Config) -> bool:
    """Whether this is a worker of xdist whose controlling process compares models."""
    if not hasattr(config, "workerinput"):
        return False
    from pytest_kerasdiff import workers

    return workers.Controller.of(config) is not None


class _TurnedOff:
    """Gathers, where the reports are, what markers have turned off."""

    def __init__(self, session: KerasdiffSession) -> None:
        self._session = session

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look for the property of a test that was turned off."""
        for name, value in report.user_properties if report.when == "call" else ():
            if name == OFF and isinstance(value, list | tuple):
                self._session.turn_off(*value)


def _value(config: pytest.Config, option: options.Option) -> str | list[str] | None:
    if option.repeats:
        return [*config.getini(option.ini), *(config.getoption(option.ini) or ())]
    text: str | None = config.getoption(option.ini)
    if text is None:
        text = config.getini(option.ini) or None
        if text is not None:
            text = option.in_folder(text, config.rootpath)  # a path in the ini refers to rootdir
    return text


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is still running."""
    _close(config)


def _close(config: pytest.Config) -> None:
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.close()
        del config.stash[SESSION]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Make the tests of a Keras file that is to be judged."""
    return _collector(file_path, parent)


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Make the tests of a SavedModel folder that is to be judged."""
    return _collector(path, parent)


def _collector(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    session = parent.config.stash.get(SESSION, None)
    if session is None or path not in session.models:
        return None
    from pytest_kerasdiff.items import ModelCollector

    return ModelCollector.from_file(parent, path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have every generated test once, where a model was collected through its folder and as an argument too."""
    session = config.stash.get(SESSION, None)
    if session is not None:
        kept: dict[object, pytest.Item] = {}
        for item in items:  # two layers may have one name in node ids
            of_model = item.path in session.models
            kept.setdefault((item.nodeid, getattr(item, "layer_name", "")) if of_model else item, item)
        items[:] = kept.values()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """Learn the layers of files that do not list them, so that a run that cannot be made is a usage error."""
    config = session.config
    own = config.stash.get(SESSION, None)
    try:
        if _FAILED in config.stash:
            raise config.stash[_FAILED]
        if own is not None and not config.pluginmanager.hasplugin("dsession"):
            own.find_layers()
    except RunError as error:
        _end(config, error)
    return (yield)


def _end(config: pytest.Config, error: RunError) -> NoReturn:
    """End this process for an error; where it is a worker, the controlling process says why."""
    from pytest_kerasdiff import workers

    controller = workers.Controller.of(config)
    if controller is None:
        raise pytest.UsageError(str(error)) from None
    controller.leave_error(config, error)
    pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    """Wait for the reports before the first test, so that a run that cannot be made is a usage error."""
    own = session.config.stash.get(SESSION, None)
    option = session.config.option
    stops = option.collectonly or (session.testsfailed and not option.continue_on_collection_errors)
    if own is not None and not stops:
        # Under xdist only the workers know the tests.
        distributed = session.config.pluginmanager.hasplugin("dsession")
        try:
            own.wait(None if distributed else {item.path for item in session.items}, _progress(session.config))
        except RunError as error:
            raise pytest.UsageError(str(error)) from None
    return (yield)


def _progress(config: pytest.Config) -> Progress | None:
    """Shows on pytest's terminal what is waited for."""
    from pytest_kerasdiff.progress import Progress

    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or config.option.verbose < 0:
        return None

    def line(text: str) -> None:
        reporter.ensure_newline()
        reporter.write_line(text)

    return Progress(line, (lambda text: reporter.rewrite(text, erase=True)) if reporter.isatty else None)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the reports will be."""
    session = node.config.stash.get(SESSION, None)
    if session is not None:
        session.tell(node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    """Send the reports to an xdist worker on another host."""
    session = node.config.stash.get(SESSION, None)
    if session is not None:
        session.send(node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Say why an xdist worker could not work."""
    session = node.config.stash.get(SESSION, None)
    line = session.error_of(node) if session is not None else None
    if line is not None:
        raise pytest.UsageError(line)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the models, their ports, the precision and the tolerance."""
    session = config.stash.get(SESSION, None)
    return session.header() if session is not None else []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Bring the reports up to date before their summary is printed."""
    own = session.config.stash.get(SESSION, None)
    if own is not None:
        try:
            own.finish()
        except RunError as error:
            print(f"ERROR: {error}", file=sys.stderr)
            session.exitstatus = pytest.ExitCode.USAGE_ERROR


@pytest.hookimpl(tryfirst=True)  # before the tables of others, in whatever order the plugins were found
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the verdict of every model, faults first."""
    session = terminalreporter.config.stash.get(SESSION, None)
    if session is None:
        return
    from pytest_kerasdiff.writers import terminal

    width = terminalreporter._tw.fullwidth if terminalreporter.isatty else None  # what is grepped stays whole
    for title, lines in session.summaries():
        terminalreporter.write_sep("=", f"kerasdiff {title}")
        for line in lines:
            for words in terminal.fold(line.words, width):
                terminalreporter.write_line(words, **_MARKUP[line.style])
    for command in session.annotations():
        terminalreporter.write_line(command)
