"""Print the number of elements of a model's largest activation, for one sample: ``… FILE``."""

from __future__ import annotations

import json
import math
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras

model = keras.saving.load_model(sys.argv[1], compile=False)
print(json.dumps({"elements": max(math.prod(layer.output.shape[1:]) for layer in model.layers)}))
