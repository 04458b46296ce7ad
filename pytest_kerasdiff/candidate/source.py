"""Which line of the user's code runs an operation, or raised."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

_OWN_FOLDER = str(Path(__file__).parent.parent)
_TORCH_FOLDER = str(Path(torch.__file__).parent)


def caller() -> str:
    """``file:line`` of the innermost frame that is neither torch's nor this package's."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if (
            not name.startswith((_OWN_FOLDER, _TORCH_FOLDER, "<"))
            and "/_contextlib" not in name
            and Path(name).name != "contextlib.py"
        ):
            return f"{_relative(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _relative(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def raised_at(error: BaseException) -> str:
    """``file:line`` of the innermost line of the user's code that an error went through."""
    found, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith((_OWN_FOLDER, _TORCH_FOLDER, "<")):
            found = f"{_relative(name)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found or "an unknown line"
