"""Make the Keras files of cases and their reference traces: ``python -m tests.zoo.make LOADER FOLDER CASE…``.

Each case has a folder of its own: ``net.h5``, its weights for the ports in ``net.npz``, a manifest where it has one,
and ``right/``, the folder of the job that made ``reference.h5``.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child, manifest
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import Settings
from tests.zoo.case import RIGHT, Case, draw_weights, save_weights
from tests.zoo.cases import CASES

ROOT = Path(__file__).parents[2]


def job(case: Case, port: str, folder: Path) -> child.Job:
    """The job that judges one port of a case, whose folder is in ``folder``."""
    home = folder / case.name
    settings = Settings(home / f"net{case.suffix}", torch=f"tests.zoo.ports:{case.name}__{port}", **case.settings)
    own = home / port
    own.mkdir(parents=True, exist_ok=True)
    return child.Job(settings, own, home, (str(ROOT),))


def make(case: Case, keras: Any, folder: Path) -> None:
    """Write the files of a case."""
    home = folder / case.name
    home.mkdir()
    keras.backend.clear_session()  # automatic names begin anew
    model = case.keras(keras)
    draw_weights(model)
    if case.prepare is not None:
        case.prepare(model)
    model.save(home / f"net{case.suffix}")
    save_weights(model, keras, home / "net.npz")
    if case.manifest:
        (home / manifest.FILE_NAME).write_text(case.manifest, "utf-8")


def main() -> None:
    """Make all files first: recording changes Keras's precision for the whole process."""
    loader, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_ENABLE_ONEDNN_OPTS="0")
    keras = importlib.import_module(loader)
    warnings.simplefilter("ignore")
    from pytest_kerasdiff.reference.__main__ import work

    # Keras collects garbage in every clear_session: what is imported by now is none (measured: half of the time).
    gc.freeze()
    errors: dict[str, str] = {}
    for name in names:
        try:
            make(CASES[name], keras, folder)
        except Exception:
            errors[name] = traceback.format_exc()
    for name in names:
        if name not in errors:
            try:
                work(job(CASES[name], RIGHT, folder))
            except RunError as error:
                errors[name] = str(error)
            except Exception:
                errors[name] = traceback.format_exc()
    (folder / "errors.json").write_text(json.dumps(errors), "utf-8")
    sys.stdout.flush()
    os._exit(0)  # as the reference process ends: TensorFlow's own end takes seconds


if __name__ == "__main__":
    main()
