"""Configuration of this repository's own pytest runs."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "tests"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``pytest --keras-model=…`` judges that model and nothing else here; ``pytest`` runs the project's own tests."""
    asked_for_model = bool(config.getoption("keras_model", None))
    named_nothing = config.args_source is not pytest.Config.ArgsSource.ARGS
    return True if asked_for_model and named_nothing and collection_path.is_relative_to(TESTS) else None
