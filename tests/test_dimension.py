"""Hypothesis 2: few dimensions are found where there are few, and not where there are many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanism.hypotheses.dimension import dimension
from traces.errors import TraceError


def _cloud(roles: int, width: int, dimensions: int, noise: float, seed: int) -> np.ndarray:
    dice = np.random.default_rng(seed)
    directions = np.linalg.qr(dice.normal(size=(width, dimensions)))[0].T
    return dice.normal(size=(roles, dimensions)) @ directions + noise * dice.normal(size=(roles, width)) / width**0.5


def test_a_few_directions_are_found_and_found_again() -> None:
    found = dimension(_cloud(60, 128, 3, 0.3, 0))
    assert found.passed
    assert found.needed.value <= 3
    assert found.above == 3
    assert found.ratio.value == pytest.approx(3, abs=0.5)
    assert found.kept.mean() > 0.9
    assert found.p == pytest.approx(1 / 101)


def test_noise_has_many_dimensions_and_nothing_above_noise() -> None:
    passed = [dimension(np.random.default_rng(seed).normal(size=(36, 128)), seed=seed) for seed in range(6)]
    assert not any(found.passed for found in passed)
    assert sum(found.above > 0 for found in passed) <= 2
    assert all(found.kept.mean() < 0.4 for found in passed)
    assert np.mean([found.cosines.mean() for found in passed]) == pytest.approx(passed[0].chance, abs=0.1)


def test_the_p_of_noise_is_spread_evenly() -> None:
    ps = [dimension(np.random.default_rng(seed).normal(size=(12, 30)), seed=seed).p for seed in range(16)]
    assert 0.2 < np.mean(ps) < 0.8


def test_many_directions_are_not_few_though_each_is_real() -> None:
    found = dimension(_cloud(80, 200, 30, 0.05, 1))
    assert found.needed.value > 10
    assert not found.passed
    assert "not few" in found.findings[0].statement


def test_two_roles_that_stand_out_are_no_subspace_of_all() -> None:
    cloud = np.random.default_rng(2).normal(size=(30, 64))
    cloud[:2] *= 30
    found = dimension(cloud)
    assert found.needed.value <= 2
    assert not found.passed


@given(st.integers(6, 25), st.integers(2, 40), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_shares_add_up_and_bounds_hold(roles: int, width: int, seed: int) -> None:
    found = dimension(np.random.default_rng(seed).normal(size=(roles, width)), seed=seed)
    possible = min(roles - 1, width)
    assert len(found.explained) == possible
    assert found.explained.sum() == pytest.approx(1)
    assert 1 <= found.needed.value <= possible
    assert 1 - 1e-9 <= found.ratio.value <= possible + 1e-9
    assert 0 <= found.above <= possible
    assert np.all((found.cosines >= 0) & (found.cosines <= 1))
    assert found.needed.low is not None
    assert found.needed.low <= found.needed.value <= (found.needed.high or 0)


def test_neither_units_nor_rotation_nor_the_middle_matter_to_what_is_measured() -> None:
    cloud = _cloud(30, 20, 2, 0.3, 3)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(20, 20)))[0]
    one, two = dimension(cloud), dimension(50 * cloud @ turn + 3)
    assert two.explained == pytest.approx(one.explained)
    assert two.ratio.value == pytest.approx(one.ratio.value)
    assert two.needed.value == one.needed.value


def test_it_is_told_with_a_table_and_plots() -> None:
    names = tuple(f"role {index}" for index in range(30))
    part = dimension(_cloud(30, 64, 2, 0.2, 5), names=names).part()
    assert part.findings[0].name == "H2"
    assert part.findings[0].passed
    assert [finding.name for finding in part.findings[1:]] == [
        "components for 70 %", "participation ratio", "parallel analysis", "stability",
    ]  # fmt: skip
    assert all(finding.estimate is not None for finding in part.findings[1:])
    assert [plot.name for plot in part.plots] == ["components", "role-cloud"]
    assert part.plots[1].series[0].labels == names
    assert len(part.tables[0].rows) == 20
    assert any("30 roles" in caveat for caveat in part.caveats)


def test_roles_on_one_line_have_one_component() -> None:
    line = np.outer(np.arange(8.0), [1.0])
    found = dimension(line)
    assert (found.needed.value, len(found.explained), len(found.plots)) == (1, 1, 1)
    assert found.ratio.value == pytest.approx(1)


@pytest.mark.parametrize(
    ("means", "names", "said"),
    [
        (np.zeros((3, 4)), (), "3 roles"),
        (np.zeros(4), (), "shape"),
        (np.full((8, 4), np.inf), (), "NaN or infinity"),
        (np.ones((8, 4)), (), "all the same"),
        (np.eye(8), ("one",), "1 names for 8 roles"),
    ],
)
def test_what_cannot_be_tested_is_refused(means: np.ndarray, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(TraceError, match=said):
        dimension(means, names=names)
