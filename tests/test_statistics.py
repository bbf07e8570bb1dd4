"""Intervals: they hold what they should as often as they say, and are not given where they would say too much."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanism.outcome import Estimate
from mechanism.statistics import (
    LEAST_RESAMPLED,
    bootstrap,
    correlation,
    difference,
    mean,
    paired_difference,
    share,
    sign_flip_p,
)

NUMBERS = st.floats(-100, 100, allow_subnormal=False)
FEW = st.lists(NUMBERS, min_size=1, max_size=LEAST_RESAMPLED - 1)


@given(FEW)
def test_a_few_observations_have_no_interval_and_bear_nothing_out(values):
    """One conversation that moved by 18 would else have moved by 18, between 18 and 18, "borne out"."""
    two = [*values, 1.0, 2.0]
    rows = np.array([values]).T
    for estimate in (mean(values), paired_difference(values, values), bootstrap(np.mean, rows),
                     difference(values, two), difference(two, values), correlation(values, values)):  # fmt: skip
        assert (estimate.low, estimate.high) == (None, None)
        assert estimate.above(-1000.0) is None
        assert estimate.below(1000.0) is None
        assert "no interval" in estimate.how


@given(FEW, st.integers(2, 5))
def test_turns_of_a_few_conversations_count_as_a_few(values, turns):
    many = np.repeat(values, turns)
    groups = np.repeat(range(len(values)), turns).tolist()
    assert mean(many, groups=groups).low is None
    assert bootstrap(np.mean, many[:, None], groups=groups).low is None
    assert correlation(many, many, groups=groups).low is None
    assert share(many > 0, groups=groups).above(-1.0) is None
    if len(many) >= LEAST_RESAMPLED:
        assert mean(many).low is not None


@given(st.lists(NUMBERS, min_size=LEAST_RESAMPLED, max_size=12))
def test_a_mean_lies_in_its_interval_and_the_interval_in_the_range(values):
    estimate = mean(values)
    assert min(values) - 1e-9 <= estimate.low <= estimate.high <= max(values) + 1e-9
    assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9 or len(set(values)) > 1


def test_intervals_of_means_hold_the_mean_about_as_often_as_they_say():
    dice = np.random.default_rng(0)
    held = [mean(dice.normal(size=20), seed=seed) for seed in range(400)]
    share = np.mean([each.low <= 0 <= each.high for each in held])
    assert 0.88 <= share <= 0.97


@given(*(st.tuples(NUMBERS, NUMBERS).map(sorted) for _ in range(2)))
def test_above_and_below_are_each_others_mirror(one, two):
    first, second = (Estimate(sum(each) / 2, *each) for each in (one, two))
    assert first.above(second) == second.below(first)
    assert first.above(two[0]) == {True: False, False: True, None: None}[first.below(two[0])]
    if first.above(second):
        assert not second.above(first)


@pytest.mark.parametrize(("low", "high", "said"), [(0.6, 1.0, True), (0.4, 0.8, None), (0.0, 0.4, False)])
def test_an_interval_tells_only_where_the_bound_is_outside_of_it(low, high, said):
    assert Estimate(0.5, low, high).above(0.5) is said


@pytest.mark.parametrize("chance", [0.3, 0.5])
def test_shares_of_groups_that_are_all_or_nothing_hold_the_chance_as_often_as_they_say(chance):
    dice, conversations, answers = np.random.default_rng(1), 12, 16
    groups = np.repeat(range(conversations), answers).tolist()
    held = [np.repeat(dice.random(conversations) < chance, answers) for _ in range(400)]
    whole = [share(each, groups=groups) for each in held]
    assert 0.93 <= np.mean([each.low <= chance <= each.high for each in whole]) <= 0.99
    # Counted one by one, the answers would say far more than there is.
    alone = [share(each) for each in held]
    assert np.mean([each.low <= chance <= each.high for each in alone]) < 0.6


def test_shares_of_groups_that_differ_little_are_no_surer_than_as_many_answers():
    answers = [True, False] * 20
    grouped = share(answers, groups=np.repeat(range(10), 4).tolist())
    ten = share(5, 10)
    assert (grouped.value, grouped.n, grouped.low, grouped.high) == (0.5, 40, ten.low, ten.high)


def test_of_nothing_there_is_no_number_and_no_interval():
    nan = [float("nan")] * 6
    for estimate in (mean([]), mean(nan, groups=range(6)), paired_difference(nan, nan), difference([], [1.0]),
                     correlation(nan, nan, groups=range(6))):  # fmt: skip
        assert np.isnan(estimate.value)
        assert (estimate.low, estimate.high, estimate.n) == (None, None, 0)
    with pytest.raises(ValueError, match="share of nothing"):
        share([], groups=[])


def test_pairs_of_a_kind_look_unlike_as_seldom_as_the_test_says():
    dice = np.random.default_rng(2)
    found = np.array([sign_flip_p(dice.normal(size=12), flips=400) for _ in range(400)])
    assert 0.02 <= (found < 0.05).mean() <= 0.08
    assert sign_flip_p(dice.normal(3.0, size=12)) < 0.01
    # Questions that differ among themselves hide no change that all of them share.
    assert sign_flip_p(np.linspace(0, 1, 10) + 0.1 - np.linspace(0, 1, 10)) < 0.01
