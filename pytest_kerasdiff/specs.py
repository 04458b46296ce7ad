"""``module:callable`` specs: import the user's code and call it."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_kerasdiff.errors import RunError

_PATH_WORDS = ("path", "file", "h5", "keras", "weights", "checkpoint")


def load(spec: str, option: str) -> Callable[..., Any]:
    """Import what a spec names.

    Args:
        spec: ``package.module:callable``; attributes may be dotted.
        option: The option that named it, for messages.

    Raises:
        RunError: The spec is not of this form, does not import, or names something that cannot be called.
    """
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        raise RunError(f"{option}: got {spec!r}, expected module:callable, such as model.resnet8:build")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script without a main guard may end itself
        own = module_name.split(".")[0]
        missing = (getattr(error, "name", None) or own).split(".")[0] if isinstance(error, ImportError) else own
        remedy = (
            "modules are looked for in rootdir, the current folder and pytest's pythonpath"
            if missing == own
            else f"install {missing} into this environment"
        )
        reason = f"{type(error).__name__}: {error}{innermost_line(error)}"
        raise RunError(f"{option}: cannot import {module_name!r}: {reason}; {remedy}") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise RunError(f"{option}: module {module_name!r} has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise RunError(f"{option}: {spec} is not callable: it is of type {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def call(function: Callable[..., Any], keras_model: Path, spec: str, option: str) -> Any:
    """Call the user's builder, with the Keras file's path if it takes one.

    Raises:
        RunError: It raised.
    """
    try:
        return function(str(keras_model)) if takes_path(function) else function()
    except RunError:
        raise
    except (Exception, SystemExit) as error:
        raise RunError(f"{option}: {spec} raised {type(error).__name__}: {error}{innermost_line(error)}") from None


def takes_path(function: Callable[..., Any]) -> bool:
    """Whether the first positional argument of a builder is for the Keras file.

    A required one is. An optional one is where its default is None or a path, or its name speaks of a file: a builder's
    ``num_classes=10`` or ``device="cpu"`` must keep its default.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return True
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            default = parameter.default
            return (
                default is inspect.Parameter.empty
                or isinstance(default, os.PathLike)
                or (
                    (default is None or isinstance(default, str))
                    and any(word in parameter.name.lower() for word in _PATH_WORDS)
                )
            )
    return False


def innermost_line(error: BaseException) -> str:
    """`` (file:line)`` of the innermost frame outside installed packages, where there is one."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        own = Path(name).parent == Path(__file__).parent
        if not own and "site-packages" not in name and not name.startswith("<") and "importlib" not in name:
            found = f" ({os.path.relpath(name)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found
