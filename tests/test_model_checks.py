"""The checks of the model on real ports: for each a right one that passes and wrong ones that fail for that reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_kerasdiff.checklist import MODEL, OF_THE_MODEL
from tests import helpers
from tests.helpers import Compared, Report

RIGHT = (
    "right",
    "rate_of_zero",
    "without_gradient",
    "not_frozen",
    "made_in_inference",
    "over_devices",
    "through_float32",
)
ASKED_FOR = {"preprocessing", "onnx", "accuracy", "throughput"}
ELSEWHERE = {*ASKED_FOR, "training_notes"}


@dataclasses.dataclass(frozen=True)
class Found:
    """What a wrong port must show.

    Attributes:
        checks: Check of the model that fails → (cause, words of its message).
        only: No other check of the model fails.
        passes: Every layer passes: nothing but these checks sees the fault.
    """

    checks: dict[str, tuple[str, str]]
    only: bool = True
    passes: bool = False


def found(check: str, cause: str, words: str, **more: Any) -> Found:
    return Found({check: (cause, words)}, **more)


WRONG = {
    "left_at_initialisation": found(
        "loaded",
        "weights-not-loaded",
        "fc.weight holds no weight of the file and looks like torch's initial values",
        only=False,
    ),
    "statistics_left": found(
        "loaded",
        "weights-not-loaded",
        "bn.running_mean holds no weight of the file and looks like torch's initial values (all 0)",
        only=False,
    ),
    "bias_left_out": Found(
        {
            "loaded": ("weights-not-loaded", "bias of conv2d_3 is in no parameter of the port"),
            "counts": ("counts", "conv2d_3: 57 in Keras, 54 in conv.weight"),
        },
        only=False,
    ),
    "auxiliary_head": found(
        "loaded",
        "weights-not-loaded",
        "no operation used aux.weight, aux.bias: use it, remove it, or declare it",
        passes=True,
    ),
    "one_bias_for_two_layers": found(
        "loaded",
        "weights-of-other-layer",
        "conv.bias holds conv2d_3's weights and is used for batch_normalization too",
        only=False,
    ),
    "stride_of_one": found("shapes", "shapes", "(2, 5, 5, 3), expected (2, 3, 3, 3)", only=False),
    "training_mode": found("eval_mode", "train-mode", "in training mode: the model, bn; call .eval()", only=False),
    "one_module_in_training_mode": found("eval_mode", "train-mode", "in training mode: bn", only=False),
    "statistics_of_the_batch": found(
        "eval_mode", "train-mode", "normalises with the statistics of the batch; call", only=False
    ),
    "dropout_left_on": found("eval_mode", "train-mode", "drops elements at random", only=False),
    "random_noise": found(
        "eval_mode", "nondeterministic", "two runs on the same input differ in output 0 by", only=False
    ),
    "squeezed": found(
        "eval_mode",
        "batch-dependent",
        "of a sample in another batch (alone, or with one more) differs by shape ((4,)",
        passes=True,
    ),
    "written_for_two": found(
        "eval_mode", "batch-dependent", "cannot run a batch of another size: RuntimeError at ", passes=True
    ),
    "wrong_alone": found("eval_mode", "batch-dependent", "depends on what else is in the batch", passes=True),
    "right_up_to_two": found("eval_mode", "batch-dependent", "(alone, or with one more) differs by", passes=True),
    "answers_of_two": found("eval_mode", "batch-dependent", "depends on what else is in the batch", passes=True),
    "turned_round": found("eval_mode", "batch-dependent", "depends on what else is in the batch", passes=True),
    "counts_its_calls": found("frozen", "frozen", "a forward pass changed calls: ", passes=True),
    "softmax_missing": found("outputs", "softmax", "the softmax is missing in the port", only=False),
    "softmax_twice": found("outputs", "softmax", "the softmax is applied twice in the port", only=False),
    "log_softmax": found("outputs", "softmax", "the port takes the logarithm of the softmax", only=False),
    "softmax_over_the_batch": found(
        "outputs", "softmax", "probabilities over the batch in the port, probabilities in Keras", only=False
    ),
    "sigmoid_instead": found("outputs", "softmax", "the port has a sigmoid where Keras has a softmax", only=False),
    "overflows_in_float32": found("decisions", "decisions", "not finite at the same places", passes=True),
    "half_precision": found("precision", "float16", "of dtype float16; call .float()", only=False),
    "half_inside": found("precision", "autocast", "in bfloat16)", only=False),
    "autocast": found("precision", "autocast", " in bfloat16)", only=False),
    "tf32": found("precision", "tf32", "torch.backends.cuda.matmul.allow_tf32 is True", passes=True),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("tiny")
    return helpers.compare(helpers.write_tiny(folder / "model.h5"), "tests.pitfall_ports:right", folder)


@pytest.fixture(scope="module")
def reports(tiny: Compared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    folder = tmp_path_factory.mktemp("ports")
    strict, declared = folder / "strict.toml", folder / "declared.toml"
    strict.write_text('[checks]\n"model::frozen" = "fail"\n"model::no_grad" = "fail"\n', "utf-8")
    declared.write_text('[declared]\n"aux.weight" = "trains only"\n"aux.bias" = "trains only"\n', "utf-8")
    cases: dict[str, dict[str, Any]] = {name: {"torch": f"tests.pitfall_ports:{name}"} for name in (*RIGHT, *WRONG)}
    cases["strict"] = {"torch": "tests.pitfall_ports:not_frozen", "manifest": strict}
    misnamed = folder / "misnamed.toml"
    misnamed.write_text('[layers]\nbatch_normalization = "conv"\n', "utf-8")
    cases["misnamed"] = {"torch": "tests.pitfall_ports:right", "manifest": misnamed}
    cases["declared"] = {"torch": "tests.pitfall_ports:auxiliary_head", "manifest": declared}
    return helpers.judge(tiny, cases, folder)


def of_model(report: Report) -> dict[str, dict[str, str]]:
    assert "error" not in report, report["error"]
    return {c["check"]: c for c in report["checks"] if c["layer"] == MODEL}


@pytest.mark.parametrize("name", [*RIGHT, "declared"])
def test_a_right_port_passes(name: str, reports: dict[str, Report]) -> None:
    report = reports[name]
    assert {check: c["status"] for check, c in of_model(report).items()} == dict.fromkeys(
        OF_THE_MODEL.keys() - ASKED_FOR, "pass"
    )
    assert helpers.failed_checks(report) == set()
    assert report["verdict"] == "pass", helpers.story(report)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_port_fails_for_its_reason(name: str, reports: dict[str, Report]) -> None:
    report, expected = reports[name], WRONG[name]
    made = of_model(report)
    for check, (cause, words) in expected.checks.items():
        assert (made[check]["status"], made[check]["cause"]) == ("fail", cause), made[check]
        assert words in made[check]["message"]
    if expected.only:
        assert helpers.failed_whole(report).keys() == expected.checks.keys()
    if expected.passes:
        assert set(helpers.statuses(report).values()) == {"pass"}, helpers.story(report)
        assert helpers.failed_checks(report) == set()
    assert report["verdict"] == "fail"


def test_every_check_has_a_wrong_port() -> None:
    warns = {"no_grad"}  # fails only where it is asked to
    assert {check for case in WRONG.values() for check in case.checks} == OF_THE_MODEL.keys() - ELSEWHERE - warns


def test_what_only_warns_says_so(reports: dict[str, Report]) -> None:
    made = of_model(reports["not_frozen"])
    assert (made["frozen"]["status"], made["frozen"]["cause"]) == ("pass", "frozen")
    assert made["frozen"]["message"].startswith(
        "6 parameters require a gradient (conv.weight, conv.bias, bn.weight, bn.bias"
    )
    assert (made["no_grad"]["status"], made["no_grad"]["cause"]) == ("pass", "no-grad")
    assert "MiB for a backward pass (batch of 2)" in made["no_grad"]["message"]
    assert (of_model(reports["right"])["frozen"]["cause"], of_model(reports["right"])["no_grad"]["cause"]) == ("", "")
    assert of_model(reports["without_gradient"])["no_grad"]["cause"] == ""


def test_a_warning_fails_where_that_is_asked(reports: dict[str, Report]) -> None:
    assert helpers.failed_whole(reports["strict"]).keys() == {"frozen", "no_grad"}
    assert reports["strict"]["verdict"] == "fail"


def test_float32_outputs_are_compared_by_the_noise_of_keras(reports: dict[str, Report]) -> None:
    message = of_model(reports["right"])["decisions"]["message"]
    assert "Keras's own rounding" in message
    assert message.endswith("0 of 2 decisions differ")


def test_a_wrong_partner_of_the_manifest_is_noted(reports: dict[str, Report]) -> None:
    assert reports["misnamed"]["verdict"] == "pass", helpers.story(reports["misnamed"])
    assert any(
        note.startswith("[layers] batch_normalization: what is named there is not")
        for note in reports["misnamed"]["notes"]
    )
    assert reports["right"]["notes"] == []
