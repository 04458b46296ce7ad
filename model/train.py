"""Trains the Keras ResNet8 of the worked example on handwritten digits.

    python -m model.train [--model OUT.h5] [--test-split OUT.npz] [--epochs N] [--seed N]

The data is the digits set that scikit-learn carries (1,797 images, no download), so that anyone can repeat
the training on a CPU in minutes. The architecture, the layer names and the recipe are those of MLCommons
Tiny's ``pretrainedResnet.h5``, so that `model.resnet8` and `model.convert` serve both.

Source of the data: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, https://doi.org/10.24432/C50P49 (CC BY 4.0).
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from model.files import replace_file

HERE = Path(__file__).parent
SIZE = 32
CLASSES = 10
MIN_ACCURACY = 0.95
#: The colour of a full stroke. The three channels differ, so that a port that exchanges them is found out.
INK = np.array([255, 200, 120])


def keras_resnet8() -> Any:
    """Returns an untrained, compiled Keras ResNet8: (N, 32, 32, 3) raw pixels to (N, 10) probabilities.

    Names, hyper-parameters and the order of the layers are those of ``pretrainedResnet.h5``. Its names are
    Keras's automatic ones; given here, they do not depend on what the process built before.

    Source: ``resnet_v1_eembc`` in ``benchmark/training/image_classification/keras_model.py`` of
    https://github.com/mlcommons/tiny.
    """
    taken: Counter[str] = Counter()

    def name(kind: str) -> str:
        taken[kind] += 1
        return kind if taken[kind] == 1 else f"{kind}_{taken[kind] - 1}"

    def conv(x: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
        return keras.layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(1e-4),
            name=name("conv2d"),
        )(x)

    def norm(x: Any) -> Any:
        return keras.layers.BatchNormalization(name=name("batch_normalization"))(x)

    def relu(x: Any) -> Any:
        return keras.layers.Activation("relu", name=name("activation"))(x)

    def block(x: Any, filters: int, stride: int) -> Any:
        y = relu(norm(conv(x, filters, stride=stride)))
        y = conv(y, filters)
        if stride != 1:  # before the normalisation of y: the names count the convolutions in this order
            x = conv(x, filters, kernel=1, stride=stride)
        return relu(keras.layers.Add(name=name("add"))([x, norm(y)]))

    image = keras.Input((SIZE, SIZE, 3), name="input_1")
    x = relu(norm(conv(image, 16)))
    x = block(x, 16, stride=1)
    x = block(x, 32, stride=2)
    x = block(x, 64, stride=2)
    x = keras.layers.AveragePooling2D(8, name="average_pooling2d")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(CLASSES, activation="softmax", kernel_initializer="he_normal", name="dense")(x)
    model = keras.Model(image, x, name="model")
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def upscale(images: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    """Enlarges square images bilinearly, with half-pixel centres and the border repeated.

    Args:
        images: (N, n, n).
        size: Wanted height and width, in pixels.

    Returns:
        (N, size, size).
    """
    old = images.shape[1]
    centres = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    # Row i holds the weights of the old pixels in new pixel i, which fall from 1 to 0 within a distance of 1.
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)))
    enlarged: npt.NDArray[np.float64] = weights @ images @ weights.T
    return enlarged


def load_images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Returns the digits as (N, 32, 32, 3) RGB pixels 0..255, and their labels (N,)."""
    digits = load_digits()
    strokes = upscale(digits.images, SIZE) / 16  # the file's pixels are counts from 0 to 16
    pixels = np.rint(strokes[..., None] * INK).astype(np.uint8)
    return pixels, digits.target.astype(np.uint8)


def train(model_path: Path, test_path: Path, epochs: int, seed: int) -> float:
    """Trains, measures on the held-out quarter of the data, and writes the model and that quarter.

    The split depends on the seed alone; the weights also on the machine and the versions, by rounding.

    Args:
        model_path: Where the model goes: Keras's legacy ``.h5``, without the optimizer.
        test_path: Where the test split goes: ``.npz`` with x uint8 (N, 32, 32, 3) and y uint8 (N,).
        epochs: Passes over the training data.
        seed: Of the split, the initial weights and the order of the batches.

    Returns:
        The held-out accuracy, 0 to 1. Below `MIN_ACCURACY` nothing is written.
    """
    keras.utils.set_random_seed(seed)
    x, y = load_images()
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    model = keras_resnet8()
    model.fit(
        x_train.astype(np.float32),  # raw 0..255: the model is meant to be fed with unscaled pixels
        keras.utils.to_categorical(y_train, CLASSES),
        batch_size=32,
        epochs=epochs,
        verbose=2,
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3 * 0.99**epoch)],
    )
    predicted = model.predict(x_test.astype(np.float32), verbose=0).argmax(axis=1)
    accuracy = float(np.mean(predicted == y_test))
    if accuracy >= MIN_ACCURACY:
        replace_file(model_path, lambda path: keras.saving.save_model(model, path, include_optimizer=False))
        replace_file(test_path, lambda path: np.savez_compressed(path, x=x_test, y=y_test))
    return accuracy


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 1 when the model is not accurate enough to be written."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE / "resnet8.h5", help="default: %(default)s")
    parser.add_argument("--test-split", type=Path, default=HERE / "digits_test.npz", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    # Keras and numpy go by the suffix. Refused here, not after minutes of training.
    for path, suffix in ((arguments.model, ".h5"), (arguments.test_split, ".npz")):
        if path.suffix != suffix or not path.parent.is_dir():
            parser.error(f"{path}: give a path that ends in {suffix}, in a folder that exists")
    accuracy = train(arguments.model, arguments.test_split, arguments.epochs, arguments.seed)
    print(f"held-out accuracy: {accuracy:.4f}")
    if accuracy < MIN_ACCURACY:
        print(f"{parser.prog}: error: below {MIN_ACCURACY}, nothing written; raise --epochs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
