"""The geometry of a report's drawings."""

from __future__ import annotations

import math
import re

import pytest

from pytest_kerasdiff.writers import charts, graph


def test_an_outline_has_a_step_for_each_count() -> None:
    assert charts.outline([0, 5, 10], 10, 30, 40) == "M0 40V40h10V20h10V0h10V40"
    assert charts.outline([0, 0], 0, 30, 40) == charts.outline([], 10, 30, 40) == "M0 40h30"


def test_cells_of_one_shade_are_one_path() -> None:
    assert charts.shades([[0, 8, 8, 1], [0, 0, 0, 8]]) == [(1, "M3 0.5h1"), (8, "M1 0.5h2M3 1.5h1")]
    assert charts.shades([[None, 2.0]]) == [(0, "M0 0.5h1"), (8, "M1 0.5h1")]
    assert charts.shades([[0.0, 0.0]]) == charts.shades([]) == []


def test_the_largest_bar_is_as_high_as_the_drawing() -> None:
    assert charts.bars([1, 4, 0], 40, 10) == "M0 40v-10h9v10zM10 40v-40h9v40z"
    assert charts.bars([None], 40, 10) == "M0 40v-40h9v40z"
    assert charts.bars([0.0], 40, 10) == ""


def test_errors_are_on_a_logarithmic_scale() -> None:
    drawn = charts.depth([1e-16, 1e-8, 1.0], [1e-16, None, 1.0], [1e-8] * 3)
    frame = drawn.frame
    low, middle, high = drawn.isolated
    assert low is not None
    assert middle is not None
    assert high is not None
    assert (low.y, middle.y, high.y) == (frame.top + frame.height, frame.top + frame.height / 2, frame.top)
    assert drawn.cumulative[1] is None
    assert drawn.cumulative_line.count("M") == 2  # interrupted
    assert drawn.isolated_line.count("M") == 1
    assert drawn.ticks[0][1] == -16
    height = charts.short(middle.y)
    assert re.fullmatch(rf"M\S+ {height}H\S+H\S+H\S+", drawn.limits)


def test_zero_and_what_is_no_number_are_outside_of_the_scale() -> None:
    drawn = charts.depth([0.0, math.nan, math.inf], [0.0, 0.0, 0.0], [None, 1e-5, 1e-5])
    assert [point.kind for point in drawn.isolated if point] == ["zero", "none", "none"]
    zero, none, _ = drawn.isolated
    assert zero is not None
    assert none is not None
    assert zero.y > drawn.frame.top + drawn.frame.height
    assert none.y < drawn.frame.top
    assert "nan" not in repr(drawn.isolated_line) + drawn.limits


@pytest.mark.parametrize("values", [[], [None], [0.0], [1e-300, 1e300]])
def test_any_errors_can_be_drawn(values: list[float | None]) -> None:
    drawn = charts.depth(values, values, values)
    assert len(drawn.isolated) == len(values)
    assert len(drawn.ticks) <= 13
    assert all(math.isfinite(point.y) for point in drawn.isolated if point)


def test_a_limit_that_changes_is_a_step() -> None:
    pieces = re.findall("[MHV]", charts.depth([1e-6] * 4, [1e-6] * 4, [1e-5, 1e-5, 1e-4, None]).limits)
    assert "".join(pieces) == "MHHVH"


def test_a_layer_is_joined_with_the_next_one_and_passes_others_by() -> None:
    drawn = graph.draw([[], [0], [1], [2, 0]])
    assert drawn.direct.count("M") == 3
    ((path, source),) = drawn.arcs
    assert source == 0
    assert path.startswith(f"M{charts.short(drawn.spine)} {graph.ROW // 2}H")
    assert path.endswith(f"H{charts.short(drawn.spine)}")
    assert f" {3 * graph.ROW + graph.ROW // 2}H" in path


def test_lines_that_would_meet_have_lanes_of_their_own() -> None:
    def lane(path: str) -> str:
        found = re.search(r"Q(\S+) ", path)
        assert found is not None
        return found[1]

    apart = graph.draw([[], [0], [1, 0], [2], [3], [4, 3]])
    assert len({lane(path) for path, _ in apart.arcs}) == 1
    nested = graph.draw([[], [0], [1], [2, 1], [3, 0]])
    assert len({lane(path) for path, _ in nested.arcs}) == 2
    assert nested.spine > apart.spine


def test_any_number_of_lanes_fits() -> None:
    count = 400
    drawn = graph.draw([[], *([i] for i in range(count)), *([count - i] for i in range(count))])
    assert 0 < drawn.spine < 900
    assert all(float(x) > 0 for path, _ in drawn.arcs for x in re.findall(r"[MQ](\S+)", path))


def test_layers_that_did_not_run_before_are_no_inputs() -> None:
    assert graph.draw([[1], [1], [5]]).arcs == ()
    assert graph.draw([]).height == 0
