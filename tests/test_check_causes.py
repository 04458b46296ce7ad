"""Causes that the checks name in real models: cases of the zoo, whose port is wrong in one known way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_kerasdiff import child
from tests import helpers
from tests.helpers import ROOT, Report
from tests.zoo import make
from tests.zoo.case import RIGHT
from tests.zoo.cases import CASES

# Case, port, layer, check, cause, words of the message.
WRONG = [
    (
        "conv2d_same",
        "height_width",
        "conv",
        "weights",
        "conv-kernel-layout",
        "conv.weight is Keras's, H and W exchanged",
    ),
    ("conv2d_same", "symmetric", "conv", "hyper", "same-padding", "Keras (1, 1) on H and (0, 1) on W, port (1, 1)"),
    ("conv2d_nhwc", "symmetric", "conv", "hyper", "same-padding", "pad (1, 1) on H and (0, 1) on W with F.pad(x, "),
    ("conv2d_classifier", "stride", "down", "hyper", "stride", "stride: Keras (2, 1), port (1, 1)"),
    ("conv2d_classifier", "padding_mode", "stem", "hyper", "padding-mode", "Keras zeros, port reflect"),
    ("conv2d_as_conv1d", "flatten_order", "head", "hyper", "flatten-order", "Keras (7, 4), port (4, 7)"),
    ("depthwise_conv2d", "multiplier_order", "depth", "weights", "depthwise-layout", "in and multiplier exchanged"),
    (
        "dense",
        "not_transposed",
        "dense",
        "weights",
        "dense-transposed",
        "not transposed as linear takes it; use kernel.T",
    ),
    ("lstm_last", "gate_order", "rnn", "weights", "lstm-gate-order", "stand as i, o, f, c, torch's as i, f, c, o"),
    ("lstm_last", "bias_doubled", "rnn", "weights", "lstm-bias-doubled", "both rnn.bias_ih_l0 and rnn.bias_hh_l0"),
    ("gru_last", "gate_order", "rnn", "weights", "gru-gate-order", "stand as z, r, h, torch's as r, z, h"),
    ("gru_reset_before", "module", "rnn", "hyper", "gru-reset-after", "reset_after: Keras False, port True"),
    ("mha_packed", "layout", "mha", "weights", "mha-layout", "heads and their elements exchanged"),
    ("batch_norm", "gamma_beta", "bn", "weights", "bn-slots-exchanged", "middle.weight holds Keras's beta"),
    ("batch_norm", "no_statistics", "bn", "weights", "bn-stats-not-loaded", "middle.running_mean is 0 everywhere"),
    ("batch_norm_by_hand", "eps", "bn", "eps", "eps", "port 1e-05: middle.gamma, middle.var is gamma / sqrt"),
    ("batch_norm_by_hand", "no_eps", "bn", "eps", "eps", "port 0: "),
    ("batch_norm_folded", "eps", "bn", "eps", "eps", "port 0.1: first.weight is kernel · gamma / sqrt(variance + eps)"),
    ("max_pooling2d", "zeros", "same", "hyper", "pool-padding", "Keras pads with -inf, the port with 0"),
    ("average_pooling2d", "counts_padding", "smooth", "hyper", "pool-padding", "the port counts it"),
    (
        "conv2d_transpose_decoder",
        "output_padding",
        "odd",
        "hyper",
        "transposed-conv",
        "Keras (0, 1) on H and (0, 1) on W",
    ),
]
NAMES = list(dict.fromkeys(case for case, *_ in WRONG))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Report]:
    """The report of the right port and of each wrong one."""
    folder = tmp_path_factory.mktemp("causes")
    command = [sys.executable, "-m", "tests.zoo.make", "keras", str(folder), *NAMES]
    run = subprocess.run(
        command, cwd=ROOT, env=helpers.environment(folder), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert json.loads((folder / "errors.json").read_text("utf-8")) == {}
    wanted = list(dict.fromkeys([*((name, RIGHT) for name in NAMES), *((case, port) for case, port, *_ in WRONG)]))
    jobs = {(name, port): make.job(CASES[name], port, folder) for name, port in wanted}
    for (name, port), job in jobs.items():
        trace: Path = jobs[name, RIGHT].folder / child.REFERENCE_TRACE
        if port != RIGHT:
            (job.folder / child.REFERENCE_TRACE).symlink_to(trace)
    helpers.work("candidate", list(jobs.values()), folder)
    return {key: helpers.result(job.folder) for key, job in jobs.items()}


@pytest.mark.parametrize(("case", "port", "layer", "check", "cause", "words"), WRONG)
def test_the_cause_is_named(
    case: str, port: str, layer: str, check: str, cause: str, words: str, reports: dict[tuple[str, str], Report]
) -> None:
    report = reports[case, port]
    found = next(c for c in report["checks"] if (c["layer"], c["check"]) == (layer, check))
    assert (found["status"], found["cause"]) == ("fail", cause), helpers.story(report)
    assert words in found["message"]


@pytest.mark.parametrize("case", NAMES)
def test_the_right_port_passes_every_check_of_a_layer(case: str, reports: dict[tuple[str, str], Report]) -> None:
    report = reports[case, RIGHT]
    assert helpers.failed_checks(report) == set(), helpers.story(report)
