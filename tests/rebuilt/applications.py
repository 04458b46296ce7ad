"""Models of ``keras.applications``: their files, their ports, and ports that are wrong in a known place.

``python -m tests.rebuilt.applications FOLDER`` makes the files and the reference traces.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tests.rebuilt import faults, layers, network, windows
from tests.rebuilt.network import Fault, Network
from tests.zoo.case import draw_weights, save_weights

NAMES = ("ResNet50", "MobileNetV2", "EfficientNetB0")
SIZE, CLASSES = 64, 7


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A wrong port.

    Attributes:
        faults: What is wrong, by layer; these layers are at fault.
        checks: ``layer:check`` of the checks that fail, parted by blanks.
        hidden: What else is wrong, which no activation shows: only a check fails.
    """

    faults: Mapping[str, Fault]
    checks: str = ""
    hidden: Mapping[str, Fault] = dataclasses.field(default_factory=dict)


def _symmetric() -> nn.Module:
    return windows.Padding([(1, 0), (1, 0)])


WRONG: dict[str, dict[str, Wrong]] = {
    "ResNet50": {
        "geometry": Wrong(
            {
                "pool1_pool": faults.setting(windows.Pool, largest=False),
                "conv4_block1_0_conv": faults.setting(windows.Convolution, phase=1),
            }
        ),
        "norms": Wrong(
            {
                "conv3_block2_2_bn": faults.setting(nn.BatchNorm2d, eps=1e-3),
                "conv5_block1_0_bn": faults.tensor("running_var", lambda v: v.sqrt()),
                "conv5_block3_1_bn": faults.tensor("running_mean", lambda m: m * 0),
            },
            "conv3_block2_2_bn:eps",
        ),
        "missing": Wrong(
            {
                "conv4_block2_out": faults.instead(nn.Identity),
                "conv5_block2_add": faults.instead(lambda: layers.Merge(lambda a, b: b)),
            }
        ),
        "transposed": Wrong(
            {"conv2_block2_2_conv": faults.tensor("weight", lambda k: k.transpose(2, 3))},
            "conv2_block2_2_conv:weights",
        ),
    },
    "MobileNetV2": {
        "geometry": Wrong(
            {
                "block_3_pad": faults.instead(_symmetric),
                "block_8_depthwise": faults.setting(windows.Convolution, dilation=(2, 2)),
            }
        ),
        "flipped": Wrong(
            {"block_4_depthwise": faults.tensor("weight", lambda k: k.flip(2, 3))}, "block_4_depthwise:weights"
        ),
        "rectifier": Wrong(
            {"block_3_expand_relu": faults.instead(nn.ReLU)},
            "block_3_expand_relu:hyper block_1_expand_relu:hyper",
            hidden={"block_1_expand_relu": faults.instead(nn.ReLU)},
        ),
        "addition_missing": Wrong({"block_5_add": faults.instead(lambda: layers.Merge(lambda a, b: a))}),
        "softmax_twice": Wrong({"predictions": faults.after(lambda x: x.softmax(1))}),
    },
    "EfficientNetB0": {
        "beginning": Wrong(
            {
                "normalization": faults.tensor("variance", lambda v: v.square()),
                "block2b_expand_activation": faults.instead(nn.GELU),
            },
            "block2b_expand_activation:hyper",
        ),
        "gates": Wrong(
            {
                "block3a_se_expand": lambda m: nn.Sequential(m[0], nn.Hardsigmoid()),  # type: ignore[index]
                "block5b_se_squeeze": faults.setting(windows.GlobalPool, largest=True),
            },
            "block3a_se_expand:hyper",
        ),
        "excitation_missing": Wrong({"block4b_se_excite": faults.instead(lambda: layers.Merge(lambda a, b: a))}),
        "padding": Wrong({"block3b_dwconv": faults.setting(windows.Convolution, shift=1)}),
    },
}


def __getattr__(name: str) -> Callable[[str], Network]:
    """``NAME__right``, or ``NAME__`` and the name of a wrong port: what a spec can name."""
    model, _, port = name.partition("__")
    if model not in NAMES:
        raise AttributeError(name)
    wrong = {} if port == "right" else {**WRONG[model][port].faults, **WRONG[model][port].hidden}
    return lambda keras_path: network.port(keras_path, wrong)


def make(name: str, keras: Any, path: Path) -> None:
    """Write a model's file and its weights."""
    model = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3), classes=CLASSES)
    draw_weights(model)
    kernel = model.get_layer("predictions").kernel
    kernel.assign(kernel.numpy() / 50)  # a softmax that is not saturated shows what is before it
    model.save(path)
    save_weights(model, keras, path.with_suffix(".npz"))


def main() -> None:
    """Make all files first: recording changes Keras's precision for the whole process."""
    folder = Path(sys.argv[1])
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_ENABLE_ONEDNN_OPTS="0")
    warnings.simplefilter("ignore")
    keras = importlib.import_module("keras")
    from pytest_kerasdiff import child
    from pytest_kerasdiff.options import Settings
    from pytest_kerasdiff.reference.__main__ import work

    for name in NAMES:
        make(name, keras, folder / f"{name}.h5")
    for name in NAMES:
        (folder / name).mkdir()
        work(child.Job(Settings(folder / f"{name}.h5"), folder / name, folder, ()))
    sys.stdout.flush()
    os._exit(0)  # as the reference process ends: TensorFlow's own end takes seconds


if __name__ == "__main__":
    main()
