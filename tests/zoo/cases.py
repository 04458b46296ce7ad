"""All cases of the zoo by name."""

from __future__ import annotations

import itertools

from tests.zoo import ambiguity, convolution, merged
from tests.zoo.case import Case

_ALL: list[Case] = [*ambiguity.CASES, *convolution.CASES, *merged.CASES]

CASES: dict[str, Case] = {case.name: case for case in _ALL}

for _first, _second in itertools.combinations(_ALL, 2):
    assert _first.name != _second.name, f"two cases are called {_first.name}"
