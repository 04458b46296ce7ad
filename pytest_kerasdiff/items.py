"""The generated tests: a collector for each Keras file and layer, an item for each verdict looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import checklist, speed, text
from pytest_kerasdiff.checklist import MODEL
from pytest_kerasdiff.checks import concerned
from pytest_kerasdiff.columns import PREFIX
from pytest_kerasdiff.errors import RunError, one_line, printable
from pytest_kerasdiff.modelfile import LayerEntry
from pytest_kerasdiff.plugin import OFF, SESSION


class LayerFailure(Exception):
    """A layer or a check of it fails; the text is the whole story."""

    def __init__(self, message: str) -> None:
        """Tell it; names in it come from files."""
        super().__init__(printable(message))


class ModelCollector(pytest.File):
    """A Keras file: one collector for each layer."""

    @classmethod
    def from_file(cls, parent: pytest.Collector, path: Path) -> ModelCollector:
        """Make the collector."""
        return cls.from_parent(parent, path=path, nodeid=parent.config.stash[SESSION].node_id(path))

    def collect(self) -> Iterator[pytest.Collector]:
        """One collector for each layer that the file lists."""
        for entry in self.config.stash[SESSION].layers_of(self.path):
            yield LayerCollector.from_parent(self, name=node_name(entry.name), entry=entry)
        yield WholeCollector.from_parent(self, name=MODEL)


def node_name(layer: str) -> str:
    """Name of a layer in node ids, which pytest parts at ``::`` and, where somebody selects one, at ``[``."""
    return one_line(layer).replace("::", ":").replace("[", "(").replace("]", ")")


class LayerCollector(pytest.Collector):
    """A layer: its ``output`` test and the checks that concern it."""

    def __init__(self, *, entry: LayerEntry, **kwargs: Any) -> None:
        """Know the layer."""
        super().__init__(**kwargs)
        self.entry = entry

    def collect(self) -> Iterator[pytest.Item]:
        """One item for the output, one for each check."""
        yield OutputItem.from_parent(self, name="output")
        for name in concerned.of_layer(self.entry.class_name, self.entry.config):
            yield CheckItem.from_parent(self, name=name)


class WholeCollector(pytest.Collector):
    """The model as a whole: the checks that are made once."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item for each check."""
        session = self.config.stash[SESSION]
        own = session.models[self.path]
        for name in concerned.of_model(session.manifest(self.path), own.asked_checks):
            if name == speed.CHECK:
                for place in speed.places(own.throughput):
                    yield SpeedItem.of(self, place)
            else:
                item = CheckItem.from_parent(self, name=name)
                if name == "accuracy":
                    item.add_marker(speed.MARKER)
                yield item
        if own.selftest:
            yield CheckItem.from_parent(self, name=checklist.SELFTEST)


class _Item(pytest.Item):
    """Looks one verdict up in the report of its model."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_marker("kerasdiff")

    @property
    def layer_name(self) -> str:
        """Report name of the layer; "model" for the model as a whole."""
        return self.parent.entry.name if isinstance(self.parent, LayerCollector) else MODEL

    def turned_off(self) -> str | None:
        """The reason of a ``kerasdiff_off`` marker that a conftest.py has added; None where there is none.

        Raises:
            LayerFailure: It gives no reason.
        """
        marker = self.get_closest_marker("kerasdiff_off")
        if marker is None:
            return None
        reason = marker.kwargs.get("reason", marker.args[0] if marker.args else None)
        if not isinstance(reason, str) or not reason.strip():
            raise LayerFailure(
                f'{self.layer_name}: {self.name}: kerasdiff_off needs a reason: kerasdiff_off(reason="why")'
            )
        return reason.strip()

    def say(self, name: str, value: Any) -> None:
        """Add a property to the test, which JUnit files and pytest-html show, unless there is nothing to say."""
        if value not in (None, ""):
            self.user_properties.append((PREFIX + name, value))

    def model_report(self) -> Mapping[str, Any]:
        """The report of the model this test belongs to."""
        report: Mapping[str, Any] = self.config.stash[SESSION].report(self.path)
        return report

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The block alone: a traceback into this package helps nobody."""
        if isinstance(excinfo.value, LayerFailure | RunError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says the test is."""
        return self.path, 0, f"{one_line(self.layer_name)}: {self.name}"  # pytest wants a line where it skips by a mark


class OutputItem(_Item):
    """The layer's activations equal Keras's, alone and in the whole."""

    def runtest(self) -> None:
        """Fail unless the layer passes, or is declared with a reason.

        Raises:
            LayerFailure: It does not.
        """
        if self.turned_off() is not None:
            raise LayerFailure(
                f"{self.layer_name}: a layer's output cannot be turned off; give it a [tolerance], or mark its test "
                "xfail"
            )
        report = self.model_report()
        layer = next((la for la in report["layers"] if la["name"] == self.layer_name), None)
        if layer is None:
            raise LayerFailure(
                f"{self.layer_name}: the file lists this layer, but Keras did not run it: nothing was compared"
            )
        self.say("status", layer["status"])
        self.say("cause", ", ".join(cause["id"] for cause in layer["causes"]))
        for verdict in ("isolated", "cumulative"):
            for key in ("max_abs", "scale", "limit"):
                self.say(f"{verdict}_{key}", layer[verdict] and layer[verdict][key])
        if layer["status"] not in ("pass", "declared"):
            raise LayerFailure(text.layer_block(layer))


def _skipped(reason: str) -> BaseException:
    """A skip that pytest places at the test, not here."""
    return pytest.skip.Exception(reason, _use_item_location=True)


class CheckItem(_Item):
    """One check of one layer, or of the model."""

    @property
    def check_name(self) -> str:
        """Name of the check in the report."""
        return self.name

    def runtest(self) -> None:
        """Fail unless the check passes.

        Raises:
            LayerFailure: It does not, or it was not made.
        """
        check = self.made()
        self.say("status", check["status"])
        self.say("cause", check["cause"])
        if check["status"] != "pass":
            raise LayerFailure(text.check_block(check))

    def made(self) -> Mapping[str, Any]:
        """The check as the report has it.

        Raises:
            LayerFailure: It was not made.
            pytest.skip.Exception: It is turned off.
        """
        reason = self.turned_off()
        if reason is not None:
            self.user_properties.append(
                (OFF, [self.config.stash[SESSION].node_id(self.path), self.layer_name, self.check_name, reason])
            )
            raise _skipped(f"turned off: {reason}")
        for check in self.model_report()["checks"]:
            if (check["layer"], check["check"]) == (self.layer_name, self.check_name):
                if check["status"] == "off":
                    raise _skipped(f"turned off: {check['message']}")
                found: Mapping[str, Any] = check
                return found
        raise LayerFailure(f"{self.layer_name}: the check {self.check_name} was not made: nothing was compared")


class SpeedItem(CheckItem, pytest.Function):
    """One side at one batch size on one device: a benchmark, and of the port the limits that were asked for."""

    place: speed.Place
    clock: speed.Clock

    @classmethod
    def of(cls, parent: pytest.Collector, place: speed.Place) -> SpeedItem:
        """Make the item."""
        has_fixture = parent.config.pluginmanager.hasplugin("benchmark")
        function = speed.with_benchmark if has_fixture else speed.without_benchmark
        item: SpeedItem = cls.from_parent(parent, name=speed.name(place), callobj=function)
        item.place, item.clock = place, speed.Clock()
        item.add_marker(speed.marker(place, item.clock) if has_fixture else speed.MARKER)
        return item

    @property
    def check_name(self) -> str:
        """Name of the check in the report."""
        return speed.CHECK

    def runtest(self) -> None:
        """Call the function, and with it ``measure``."""
        pytest.Function.runtest(self)

    def measure(self, benchmark: Any) -> None:
        """Hand what was measured to pytest-benchmark's fixture; None where that is not installed.

        Raises:
            LayerFailure: The port is slower than asked for.
            pytest.skip.Exception: Nothing was measured, or nobody shows it.
        """
        if self.config.stash[SESSION].is_distributed:
            raise _skipped("speed is not measured while pytest-xdist's workers run: run it with -n 0")
        self.made()
        side = self.place[-1]
        entry, why_not = speed.find(self.model_report(), self.place)
        if entry is not None and benchmark is not None:
            speed.replay(benchmark, self.clock, self.model_report(), entry, side)
        if entry is not None and side == "torch" and entry["broken"]:
            raise LayerFailure("\n".join(f"{self.layer_name}: {speed.CHECK}: {words}" for words in entry["broken"]))
        if entry is None or benchmark is None:
            raise _skipped(why_not or "pytest-benchmark is not installed")
