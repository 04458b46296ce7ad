"""Nothing but an import: ``python -m benchmarks.bare.imports MODULE``."""

from __future__ import annotations

import importlib
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
importlib.import_module(sys.argv[1])
time.sleep(0.1)  # so that its memory can be read
