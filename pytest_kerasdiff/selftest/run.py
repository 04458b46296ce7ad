"""Seed faults into a right port, one at a time, and see whether the comparison catches and names them."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from pytest_kerasdiff.change import Change, combined
from pytest_kerasdiff.checklist import MODEL, SELFTEST
from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.checks.subject import CheckResult
from pytest_kerasdiff.diagnosis import diagnose, entrance, folded, registry
from pytest_kerasdiff.diagnosis.case import Case, Way
from pytest_kerasdiff.diagnosis.trial import measure
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.selftest import attention, hyper, weights
from pytest_kerasdiff.selftest.seed import Seed
from pytest_kerasdiff.trace import ReferenceTrace, ReplayError

SECONDS = 300.0
"""How long a self-test may take; what it did not come to is counted and said."""
_OF_AN_ID = 4
"""Faults of one id that are seeded, in layers spread over the model."""
_SEEDERS: tuple[Callable[[Case], Iterator[Seed]], ...] = (
    weights.kernels,
    weights.flattened,
    weights.other_layers,
    weights.biases,
    weights.normalisations,
    weights.foldings,
    weights.recurrent,
    weights.tables,
    hyper.paddings,
    hyper.windows,
    hyper.activations,
    hyper.extras,
    hyper.orders,
    hyper.joins,
    hyper.modes,
    hyper.resampling,
    hyper.inputs,
    attention.attention,
)
_OF_THE_MODEL = (*registry.OF_CHECKS, *registry.NEVER, "float16", "nondeterministic")
_UNMADE = (
    *("pool-size", "reshape", "permute", "groups", "bn-scale-center"),
    *("gru-reset-after", "masking", "rnn-direction", "rnn-return", "recurrent-activation"),
)
"""Ids that no seeder makes."""
Part = tuple[int, Seed]
"""Position of a layer, and what is seeded there."""
Again = Callable[..., Judge]
"""Judges the port with changes, made one after the other."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sown:
    """What became of one seeded fault.

    Attributes:
        id: Id of the catalogue.
        layer: Where it was seeded.
        words: What was done to the port.
        caught: A layer or a check failed.
        by: What failed: "output" of layers, names of checks.
        blamed: Layers at fault.
        named: A cause of this id was given for a layer at fault.
        confirmed: And confirmed by a trial.
        found: The ids that were given.
        effect: How far the layer's output, or the model's where that is more, moves; None where it cannot be said.
        limit: How far the layer's output may move.
        repaired: Error of the model's outputs with all confirmed causes undone; None where none is confirmed.
        status: "caught", "undetectable" on these inputs, or "missed".
    """

    id: str
    layer: str
    words: str
    caught: bool
    by: tuple[str, ...]
    blamed: tuple[str, ...]
    named: bool
    confirmed: bool
    found: tuple[str, ...]
    effect: float | None
    limit: float
    repaired: float | None
    status: str


@dataclasses.dataclass(frozen=True, slots=True)
class SelfTest:
    """What became of all seeded faults.

    Attributes:
        faults: Each of them.
        left_out: Seeds that the time did not allow.
        not_seeded: Id of the catalogue of which no fault was seeded → why.
    """

    faults: tuple[Sown, ...]
    left_out: int = 0
    not_seeded: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def result(self) -> CheckResult:
        """The self-test as a check of the model: it fails where a detectable fault was missed."""
        of = {status: [s for s in self.faults if s.status == status] for status in ("caught", "undetectable", "missed")}
        caught, unseen, missed = of["caught"], of["undetectable"], of["missed"]
        if not self.faults:
            return CheckResult(SELFTEST, MODEL, "fail", SELFTEST, "no fault could be seeded: nothing is proved")
        words = (
            f"{len(self.faults)} faults of {len({s.id for s in self.faults})} kinds seeded: {len(caught)} caught, "
            f"{sum(s.named for s in caught)} of them named, {sum(s.confirmed for s in caught)} confirmed; "
            f"{len(unseen)} undetectable on these inputs"
        )
        if self.left_out:
            words += f"; {self.left_out} not seeded, the time was over"
        if missed:
            told = ", ".join(f"{s.id} in {s.layer} ({s.words})" for s in missed[:3])
            return CheckResult(
                SELFTEST, MODEL, "fail", SELFTEST, f"{words}; {len(missed)} MISSED: {told}; please report it"
            )
        return CheckResult(SELFTEST, MODEL, "pass", "", words)


def not_made() -> CheckResult:
    """The result where the port itself is wrong: in it, a seeded fault proves nothing."""
    return CheckResult(
        SELFTEST, MODEL, "fail", SELFTEST, "not made: it needs a port that passes; repair this one first"
    )


def run(
    reference: ReferenceTrace, judge: Judge, again: Again, step: Callable[[int, int], None] = lambda number, of: None
) -> SelfTest:
    """Seed faults one at a time.

    Args:
        reference: The Keras side.
        judge: What was judged of the port as it is; it passes.
        again: Judges it with a change.
        step: Is told which fault of how many is seeded.
    """
    end, found = time.monotonic() + SECONDS, list[Sown]()
    chosen = list(_spread(seeds(reference, judge)))
    left_out = 0
    for number, (position, seed) in enumerate(chosen):
        if time.monotonic() > end:
            left_out = len(chosen) - number
            break
        step(number + 1, len(chosen))
        try:
            found.append(sow(reference, judge, [(position, seed)], again))
        except ReplayError:
            continue  # a port that does not run is no fault to be found
    came_to = {seed.id for _, seed in chosen[: len(chosen) - left_out]}
    return SelfTest(tuple(found), left_out, _not_seeded({one.id for one in found}, came_to, bool(left_out)))


def _not_seeded(made: Collection[str], came_to: Collection[str], is_cut: bool) -> dict[str, str]:
    """Why the other ids of the catalogue are not among the faults that were seeded."""

    def why(one: str) -> str:
        if one in _OF_THE_MODEL:
            return "a matter of the whole model, which its checks watch"
        if one in _UNMADE:
            return "of a kind that the self-test does not make"
        if one in came_to:
            return "because the port does not run with it"
        return "for want of time or of a layer that can have it" if is_cut else "because it found no layer for it"

    return {one: why(one) for one in registry.IDS if one not in made}


def seeds(reference: ReferenceTrace, judge: Judge) -> Iterator[Part]:
    """Every fault that can be seeded into a port, with the position of the layer."""
    for position in range(len(reference.layers)):
        result = judge.verdicts[position]
        subject = checks.subject_of(reference, judge.candidate, judge.alignment, position, result)
        case = folded.as_one(Case(position, subject, judge, reference))
        if result.status == "pass":
            for seeder in _SEEDERS:
                yield from ((position, seed) for seed in seeder(case))


def _spread(seeds: Iterable[Part]) -> Iterator[Part]:
    """Of each kind of fault a few, from the first layer to the last."""
    kinds: dict[tuple[str, str], list[Part]] = {}
    for position, seed in seeds:
        kinds.setdefault((seed.id, seed.words.split(" of ")[0]), []).append((position, seed))
    for several in kinds.values():
        step = max(1.0, (len(several) - 1) / max(1, _OF_AN_ID - 1))
        chosen = dict.fromkeys(min(round(i * step), len(several) - 1) for i in range(min(_OF_AN_ID, len(several))))
        yield from (several[i] for i in chosen)


def sow(reference: ReferenceTrace, judge: Judge, parts: Sequence[Part], again: Again) -> Sown:
    """Seed one fault, or several at once, and see what the comparison makes of it.

    Args:
        reference: The Keras side.
        judge: What was judged of the port as it is.
        parts: Position of a layer, and what is seeded there.
        again: Judges the port with a change.

    Raises:
        ReplayError: The port does not run with it.
        ValueError: The faults contradict each other.
    """
    change: Change | None = Change()
    for _, seed in parts:
        change = combined(change, seed.change) if change is not None else None
    if change is None:
        raise ValueError("these faults contradict each other")
    told = (
        " + ".join(seed.id for _, seed in parts),
        " + ".join(dict.fromkeys(reference.layers[position].name for position, _ in parts)),
        " + ".join(seed.words for _, seed in parts),
    )
    try:
        other = again(change)
    except RunError:  # the run stops with a line of its own
        return Sown(*told, True, ("run",), (), False, False, (), None, 0.0, None, "caught")
    measured = [_effect(judge, other, position, seed) for position, seed in parts]
    effect, limit = max(measured, key=lambda pair: float("inf") if pair[0] is None else pair[0] / max(pair[1], 1e-300))
    wrong_input = entrance.find(reference, other, functools.partial(again, change))
    seen = other if wrong_input is None else wrong_input.undone
    results = checks.run(reference, seen.candidate, seen.alignment, seen.verdicts, None)
    pairs = list(zip(reference.layers, seen.verdicts, strict=True))
    failing = any(v.status not in ("pass", "declared") for _, v in pairs)
    by = tuple(dict.fromkeys([*["output"] * failing, *(r.check for r in results if r.status == "fail")]))
    diagnosis = diagnose.diagnose(reference, seen, results, wrong_input)
    causes = [cause for causes in diagnosis.causes.values() for cause in causes]
    right = [[cause for cause in causes if cause.id in (seed.id, *seed.also)] for _, seed in parts]
    shows = effect is None or effect > limit
    return Sown(
        *told,
        bool(by),
        by,
        tuple(layer.name for layer, v in pairs if v.status in ("fault", "unpaired")),
        all(right),
        all(any(cause.confirmed for cause in own) for own in right),
        tuple(dict.fromkeys(cause.id for cause in causes)),
        effect,
        limit,
        diagnosis.repaired[1] if diagnosis.repaired is not None else None,
        "caught" if by else "missed" if shows else "undetectable",
    )


def _effect(judge: Judge, other: Judge, position: int, seed: Seed) -> tuple[float | None, float]:
    """How far a fault moves the layer's output on Keras's inputs, or the model's outputs, against the layer's limit.

    Found by the unchanged port's alignment, so that it does not depend on what is to be proved.
    """
    alone = measure(judge, position, Way(seed.change)).error
    outputs = [judge.error_of_output(u, other.candidate.recorded[v]) for u, v in judge.outputs() if v is not None]
    worst = max([alone, *outputs], key=lambda e: (bool(e.reason), e.max_abs / e.limit if e.limit else 0.0))
    return (worst.max_abs if math.isfinite(worst.max_abs) else None), worst.limit
