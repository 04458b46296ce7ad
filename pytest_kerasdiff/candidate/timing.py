"""Run the port, or the yardstick, again and again on a device, and say how long it took."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from pytest_kerasdiff.throughput import Product, Runner

_CONVOLUTIONS: dict[int, Callable[..., torch.Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def runner(call: Callable[[], Any], device: str) -> Runner:
    """What times runs of ``call``; on a GPU until it has computed what was asked of it."""

    def seconds(runs: int) -> float:
        with torch.inference_mode():
            _finish(device)
            started = time.perf_counter()
            for _ in range(runs):
                call()
            _finish(device)
            return time.perf_counter() - started

    return seconds


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def yardstick(products: Sequence[Product], device: str) -> Callable[[], Any]:
    """The products and convolutions, on random data of their sizes, as one call."""
    # One memory for all: a deep model's activations together are much.
    largest = max((math.prod(shape) for p in products for shape in (p.data, p.kernel)), default=0)
    memory = torch.randn(largest, generator=torch.Generator().manual_seed(0)).to(device)

    def tensor(shape: Sequence[int]) -> torch.Tensor:
        return memory[: math.prod(shape)].view(*shape)

    made = [(p, tensor(p.data), tensor(p.kernel)) for p in products]

    def call() -> None:
        for product, data, kernel in made:
            if product.stride:
                padding = [d * (size // 2) for size, d in zip(product.kernel[2:], product.dilation, strict=True)]
                convolution = _CONVOLUTIONS[len(product.stride)]
                convolution(data, kernel, None, product.stride, padding, product.dilation, product.groups)
            else:
                torch.mm(data, kernel)

    return call


@contextlib.contextmanager
def without_tf32(asked: bool) -> Iterator[None]:
    """A context in which float32 is float32 on a GPU, unless the user's code has asked for less."""
    backends = torch.backends
    before = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
    if not asked:
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = before


def facts(device: str) -> dict[str, Any]:
    """What the report has of a device; the peak is that since ``forget_peak``."""
    return {
        "device_name": _device_name(device),
        "threads": torch.get_num_threads(),
        "peak_bytes": _peak_bytes(device),
    }


def _device_name(device: str) -> str:
    """What the device is called."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "cpu"


def forget_peak(device: str) -> None:
    """Begin to watch the peak of memory anew.

    Source: proc(5): writing 5 to /proc/self/clear_refs resets the peak resident set size.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes(device: str) -> int | None:
    """The most memory since ``forget_peak``: that torch has allocated on a GPU, else that of the process."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    with contextlib.suppress(OSError):
        _, found, own = Path("/proc/self/status").read_text("utf-8").partition("VmHWM:")
        if found:
            return int(own.split()[0]) * 1024
    return None
