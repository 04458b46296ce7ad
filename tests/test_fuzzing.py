"""A part of what ``python -m tests.fuzzing`` tries: mutated files end in a verdict or one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from tests import fuzzing, helpers

pytestmark = pytest.mark.promise("a mutated file ends in a verdict or one clear line, and in no false pass")

READ, RUN = 1500, 60


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fuzzing")
    source = helpers.write_tiny(folder / "net.h5")
    return {".h5": source, ".keras": fuzzing.keras_archive(source, folder)}


def test_mutated_files_are_read_or_refused_with_a_line(
    sources: dict[str, Path], tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    record_property("cases", READ)
    tally = fuzzing.try_reading([*sources.values(), helpers.ROOT / "model" / "resnet8.h5"], READ, 11, tmp_path)
    assert not tally.bad, "\n".join(tally.bad)
    assert min(tally.ends["read"], tally.ends["line"]) > READ / 10  # neither is all there is


@pytest.mark.parametrize("kind", [".h5", ".keras"])
def test_runs_of_mutated_files_end_in_a_verdict_or_a_line(
    kind: str, sources: dict[str, Path], tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    record_property("cases", RUN)
    tally = fuzzing.try_running(sources[kind], sources[".h5"], RUN, 12, tmp_path)
    assert not tally.bad, "\n".join(tally.bad)
    assert min(tally.ends["pass"] + tally.ends["fail"], tally.ends["line"]) > RUN / 10


def test_the_fuzzer_tells_a_false_pass(sources: dict[str, Path], tmp_path: Path) -> None:
    """Were the comparison to let everything pass, it would say so: the judge of passes is another one."""
    from pytest_kerasdiff import child, tracefile

    other = tmp_path / "other.h5"
    other.write_bytes(sources[".h5"].read_bytes())
    with h5py.File(other, "a") as file:
        file["model_weights/dense/dense/bias:0"][0] += 1e-3
    folder = tmp_path / "runs"
    folder.mkdir()
    found = fuzzing.run([(other, sources[".h5"], "by hand")], sources[".h5"], sources[".h5"], folder)
    assert found[other] == "fail"
    one, same = (
        tracefile.read(folder / f"job-{path.stem}" / child.REFERENCE_TRACE) for path in (other, sources[".h5"])
    )
    assert not fuzzing._is_the_same(one, same)
    assert fuzzing._is_the_same(same, same)
