"""Keyword spotting DS-CNN, one attribute per layer written out by hand, weights from a SavedModel folder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ._h5 import (
    KERAS_EPSILON,
    Array,
    PathLike,
    batch_norm_state,
    conv_kernel,
    depthwise_kernel,
    frozen,
    tensor,
)

CHANNELS = 64
CLASSES = 12


def _depthwise() -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding="same", groups=CHANNELS)


def _pointwise() -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, kernel_size=1)


def _norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(CHANNELS, eps=KERAS_EPSILON)


class KeywordSpotter(nn.Module):
    """Takes (batch, 1, 49 frames, 10 coefficients) and returns the probabilities of 12 words."""

    def __init__(self) -> None:
        super().__init__()
        # "same" for a (10, 4) kernel at stride 2 on (49, 10): left 1, right 1, top 4, bottom 5.
        self.pad = nn.ZeroPad2d((1, 1, 4, 5))
        self.conv0 = nn.Conv2d(1, CHANNELS, (10, 4), stride=(2, 2))
        self.bn0 = _norm()
        self.drop0 = nn.Dropout(0.2)
        self.dw1, self.bn1a, self.pw1, self.bn1b = _depthwise(), _norm(), _pointwise(), _norm()
        self.dw2, self.bn2a, self.pw2, self.bn2b = _depthwise(), _norm(), _pointwise(), _norm()
        self.dw3, self.bn3a, self.pw3, self.bn3b = _depthwise(), _norm(), _pointwise(), _norm()
        self.dw4, self.bn4a, self.pw4, self.bn4b = _depthwise(), _norm(), _pointwise(), _norm()
        self.drop4 = nn.Dropout(0.4)
        self.relu = nn.ReLU()
        self.avg = nn.AvgPool2d((25, 5))
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(CHANNELS, CLASSES)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(self.pad(x))
        x = self.drop0(self.relu(self.bn0(x)))
        x = self.relu(self.bn1a(self.dw1(x)))
        x = self.relu(self.bn1b(self.pw1(x)))
        x = self.relu(self.bn2a(self.dw2(x)))
        x = self.relu(self.bn2b(self.pw2(x)))
        x = self.relu(self.bn3a(self.dw3(x)))
        x = self.relu(self.bn3b(self.pw3(x)))
        x = self.relu(self.bn4a(self.dw4(x)))
        x = self.relu(self.bn4b(self.pw4(x)))
        x = self.flatten(self.avg(self.drop4(x)))
        probabilities: Tensor = self.softmax(self.fc(x))
        return probabilities


# The order in which the SavedModel numbers its layers with weights.
CHECKPOINT_ORDER = (
    "conv0", "bn0",
    "dw1", "bn1a", "pw1", "bn1b",
    "dw2", "bn2a", "pw2", "bn2b",
    "dw3", "bn3a", "pw3", "bn3b",
    "dw4", "bn4a", "pw4", "bn4b",
    "fc",
)  # fmt: skip


def _read_checkpoint(folder: PathLike) -> list[dict[str, Array]]:
    """The weights of each numbered layer; TensorFlow is imported here, for its checkpoint format alone."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(Path(folder) / "variables" / "variables"))
    layers: list[dict[str, Array]] = [{} for _ in CHECKPOINT_ORDER]
    for key in reader.get_variable_to_shape_map():
        prefix, _, rest = key.partition("/")
        if prefix.startswith("layer_with_weights-") and ".OPTIMIZER_SLOT" not in rest:
            layers[int(prefix.rpartition("-")[2])][rest.partition("/")[0]] = reader.get_tensor(key)
    return layers


def _layer_state(layer: dict[str, Array]) -> dict[str, Tensor]:
    if "gamma" in layer:
        return batch_norm_state(layer)
    if "depthwise_kernel" in layer:
        kernel = depthwise_kernel(layer["depthwise_kernel"])
    elif layer["kernel"].ndim == 4:
        kernel = conv_kernel(layer["kernel"])
    else:
        kernel = layer["kernel"].T
    return {"weight": tensor(kernel), "bias": tensor(layer["bias"])}


def build(keras_path: PathLike) -> nn.Module:
    """The net with the weights of the SavedModel folder."""
    model = KeywordSpotter()
    for name, layer in zip(CHECKPOINT_ORDER, _read_checkpoint(keras_path), strict=True):
        model.get_submodule(name).load_state_dict(_layer_state(layer))
    return frozen(model)
