"""What pytest-xdist's workers are told of the models, and what those on other hosts are sent.

A worker may have other paths than the controlling process, so models go by their place in the list. One on this host
reads the report in the folder of the run; one on another host sees no such folder, and is sent it when it is ready.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_kerasdiff.errors import RunError

_TOLD, _CHANNEL, _ERROR = "kerasdiff", "kerasdiff_channel", "kerasdiff_error"


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What a worker is told of a model before it collects tests.

    Attributes:
        node_id: Of its collector: the same on every host, which xdist asks for.
        folder: Of its run, for workers on this host.
        tests: ``layer::check`` of every test, as far as they are known.
        layers: ``[name, class, config]`` of every call of every layer; None where the file does not list them.
    """

    node_id: str
    folder: str
    tests: list[str]
    layers: list[tuple[str, str, dict[str, Any]]] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """What a worker on another host is sent when the models have been compared.

    Attributes:
        reports: Of the models that are collected, by place.
        layers: ``[name, class, config]`` of every call of every layer, by place, of files that do not list them.
    """

    reports: dict[str, dict[str, Any]]
    layers: dict[str, list[tuple[str, str, dict[str, Any]]]]


class Workers:
    """The workers, as the controlling process sees them."""

    def __init__(self) -> None:
        """Know none."""
        self._channels: dict[str, Any] = {}

    def tell(self, node: Any, models: Sequence[Told]) -> None:
        """Tell one that starts what is known of the models."""
        node.workerinput[_TOLD] = json.dumps([dataclasses.asdict(told) for told in models])
        spec = node.gateway.spec
        if not spec.popen or spec.via:  # a process that another host has started is on that host
            # execnet sends channels over channels. It closes one that nobody holds.
            node.workerinput[_CHANNEL] = self._channels[node.gateway.id] = node.gateway.newchannel()

    def waits(self, node: Any) -> bool:
        """Whether one waits for what is sent to other hosts."""
        return node.gateway.id in self._channels

    def send(self, node: Any, found: Sent) -> None:
        """Send it to a worker, which holds the channel's other end by now."""
        self._channels[node.gateway.id].send(json.dumps(dataclasses.asdict(found)))

    def error(self, node: Any) -> str | None:
        """The line with which a worker that has ended says why it could not work."""
        line: str | None = getattr(node, "workeroutput", {}).get(_ERROR)
        return line


class Controller:
    """The controlling process, as a worker sees it."""

    def __init__(self, config: Any) -> None:
        """Read what it has told this worker."""
        told: Mapping[str, Any] = config.workerinput
        self.models = [Told(**one) for one in json.loads(told[_TOLD])]
        self._worker = told["workerid"]
        self._channel = told.get(_CHANNEL)
        self._sent: Sent | None = None

    @staticmethod
    def of(config: Any) -> Controller | None:
        """The one that controls this process; None where this is no worker, or no models are compared."""
        return Controller(config) if _TOLD in getattr(config, "workerinput", {}) else None

    @property
    def is_remote(self) -> bool:
        """Whether it is on another host."""
        return self._channel is not None

    def receive(self) -> Sent:
        """Wait for what it sends to other hosts.

        Raises:
            RunError: It has ended.
        """
        if self._sent is None:
            assert self._channel is not None
            try:
                self._sent = Sent(**json.loads(self._channel.receive()))
            except EOFError:
                raise RunError("the controlling pytest process has ended without a report") from None
        return self._sent

    def demand_equal(self, tests: Sequence[Sequence[str]]) -> None:
        """Check that this worker collects the tests that the controlling process speaks of.

        Args:
            tests: Those of each model, as ``Told`` has them.

        Raises:
            RunError: It does not: a test that only one of them knows would be left out.
        """
        if len(tests) != len(self.models):
            raise RunError(f"{len(tests)} Keras models are configured, in the controlling process {len(self.models)}")
        for own, told in zip(tests, self.models, strict=True):
            if other := sorted({*own} ^ {*told.tests}):
                raise RunError(
                    f"{told.node_id}: the model, its manifest or the ini are other ones than those of the controlling "
                    f"process ({other[0]}{' …' if len(other) > 1 else ''})"
                )

    def leave_error(self, config: Any, error: RunError) -> None:
        """Leave for the controlling process the line that says why this worker cannot work."""
        line = f"worker {self._worker}: {error}"
        if self.is_remote:
            line += "; it is on another host: copy the project there (--rsyncdir), or use a folder that both share"
        config.workeroutput[_ERROR] = line
