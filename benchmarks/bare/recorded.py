"""Activations as the product gets them: one pass in float64, every layer's output written.

``python -m benchmarks.bare.recorded FILE BATCH FOLDER`` prints the seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pytest_kerasdiff import modelfile, probes
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.reference import loader, recorder
from pytest_kerasdiff.tracefile import TraceWriter


def main() -> None:
    """Load the model as the reference process does, and time the pass alone."""
    path, batch, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    file, settings = modelfile.read(path), Settings(path, batch=batch)
    keras, model = loader.load(file, settings)
    import tensorflow

    inputs = file.inputs()
    names = [one.name for one in inputs]
    arrays = probes.draw(inputs, Manifest().rules(names), batch, settings.seed)
    writer = TraceWriter(folder / "recorded.h5")
    recording = recorder.Recorder(model, keras, tensorflow)
    started = time.perf_counter()
    recording.record(names, arrays, writer)
    pass_s = time.perf_counter() - started
    writer.discard()
    print(json.dumps({"pass_s": pass_s, "layers": len(recording.layers) - len(inputs)}))


if __name__ == "__main__":
    main()
