"""All cases of the zoo by name: the ``CASES`` of every module beside this one."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from tests.zoo.case import Case

_NO_CASES = frozenset({"case", "cases", "make", "places", "ports"})


def _found() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name not in _NO_CASES:
            for case in getattr(importlib.import_module(f"tests.zoo.{module.name}"), "CASES", ()):
                assert case.name not in found, f"two cases are called {case.name}"
                found[case.name] = case
    return found


CASES = _found()
