"""Hypothesis 3, the static part: the test is right on clouds whose kind is known, and says what it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.mixture import GaussianMixture

from mechanism.hypotheses.continua import filled, gaussian, togetherness
from mechanism.hypotheses.dip import dip, dip_p
from mechanism.hypotheses.discreteness import MOST_AXES, MOST_POINTS, discreteness
from mechanism.hypotheses.mixtures import Mixtures, fit, refit
from mechanism.hypotheses.simulated_clouds import BASINS, CONTINUA, basins, continuum
from mechanism.hypotheses.valleys import valleys
from traces.errors import TraceError

# Quantiles of the dip of n uniform values at 0.5, 0.9, 0.95 and 0.99, as published with the R package diptest
# (Maechler, table qDiptab, a million draws each), which continues table 1 of Hartigan and Hartigan 1985.
PUBLISHED = {
    10: (0.09778, 0.13046, 0.13961, 0.15968),
    20: (0.07334, 0.09723, 0.10513, 0.12062),
    50: (0.04885, 0.06491, 0.07027, 0.0812),
    100: (0.03546, 0.04715, 0.05113, 0.05902),
    200: (0.02558, 0.034, 0.03684, 0.04269),
    1000: (0.01174, 0.01561, 0.01693, 0.01961),
}


@pytest.mark.parametrize("n", PUBLISHED)
def test_the_dip_has_the_published_critical_values(n: int) -> None:
    for value, p in zip(PUBLISHED[n], (0.5, 0.1, 0.05, 0.01), strict=True):
        assert dip_p(value, n) == pytest.approx(p, abs=0.1 * p + 0.003)


def test_the_dip_of_known_samples() -> None:
    assert dip(np.arange(20.0)) == pytest.approx(1 / 40)
    assert dip([0, 0, 1, 1]) == pytest.approx(1 / 4)
    # Two heaps of a and b points: no single heap is nearer than half the smaller one.
    assert dip([0.0] * 30 + [1.0] * 70) == pytest.approx(0.15, abs=0.01)
    assert dip([3.0] * 10) == pytest.approx(1 / 20)
    assert dip_p(dip([1.0, 2.0, 3.0]), 3) == 1


@given(st.lists(st.integers(-40, 40), min_size=4, max_size=40), st.integers(1, 9), st.integers(-20, 20))
@settings(max_examples=40, deadline=None)
def test_the_dip_knows_neither_unit_nor_direction_and_keeps_its_bounds(values: list[int], scale: int, by: int) -> None:
    x = np.array(values, float)
    assert 1 / (2 * len(x)) - 1e-12 <= dip(x) <= 1 / 4 + 1e-12
    assert dip(scale * x + by) == pytest.approx(dip(x))
    assert dip(-x) == pytest.approx(dip(x))


@pytest.mark.parametrize("kind", ["spherical", "tied", "full"])
def test_mixtures_are_those_of_scikit_learn(kind: str) -> None:
    cloud = basins("round", np.random.default_rng(1), 200, 3, 3, 7.0).points
    cloud /= np.sqrt(cloud.var(axis=0).mean())
    ours = fit(cloud[None], 3, kind, 0, starts=3)  # type: ignore[arg-type]
    theirs = GaussianMixture(3, covariance_type=kind, n_init=5, random_state=0, reg_covar=1e-3).fit(cloud)
    assert ours.bic()[0] == pytest.approx(theirs.bic(cloud), abs=0.5)
    assert ours.density(cloud)[0] == pytest.approx(theirs.score_samples(cloud), abs=0.05)
    again = refit(cloud, ours, np.ones((1, 200)))
    assert again.bic()[0] == pytest.approx(ours.bic()[0], abs=0.5)


def test_fits_in_a_batch_are_those_made_alone_and_float32_tells_the_same() -> None:
    clouds = np.random.default_rng(2).normal(size=(4, 80, 2))
    together = fit(clouds, 2, "full", 0)
    short = fit(clouds.astype(np.float32), 2, "full", 0)
    assert short.means.dtype == np.float32
    assert short.bic() == pytest.approx(together.bic(), abs=2)
    assert together.one(2).density(clouds[2])[0] == pytest.approx(together.density(clouds)[2])


def _mixture(means: list[list[float]], variances: list[list[float]], weights: list[float]) -> Mixtures:
    covariances = np.stack([np.diag(each) for each in variances])
    return Mixtures("full", np.array([weights]), np.array([means]), covariances[None], np.zeros(1), 100)


def test_a_valley_is_as_deep_as_the_density_says() -> None:
    pair = _mixture([[0.0, 0.0], [6.0, 0.0]], [[1, 1], [1, 1]], [0.5, 0.5])
    (valley,) = valleys(pair, np.array([50, 50]), 5)
    assert valley.floor == pytest.approx(2 * np.exp(-4.5), rel=0.01)
    assert valley.sizes == (50, 50)


def test_pieces_of_one_heap_have_no_valley_and_outliers_are_no_heap() -> None:
    nested = _mixture([[0.0, 0.0], [0.5, 0.0], [30.0, 0.0]], [[1, 1], [9, 9], [1, 1]], [0.5, 0.49, 0.01])
    (valley,) = valleys(nested, np.array([60, 38, 2]), 5)
    assert valley.depth == pytest.approx(0, abs=0.01)


def test_over_a_ridge_that_bends_there_is_a_way() -> None:
    # Two long arms at right angles: the straight way between their middles leads outside, the ridge does not.
    arms = _mixture([[3.0, 0.0], [0.0, 3.0]], [[4, 0.04], [0.04, 4]], [0.5, 0.5])
    (valley,) = valleys(arms, np.array([50, 50]), 5)
    straight = float(np.exp(arms.density(np.array([[1.5, 1.5], [3.0, 0.0]]))[0] @ [1, -1]))
    assert straight < 1e-6 < 0.2 < valley.floor


def test_simulated_continua_are_like_the_cloud() -> None:
    cloud = continuum("conversations", np.random.default_rng(3), 160, 2)
    codes = np.array(cloud.groups)
    dice = np.random.default_rng(0)
    drawn = gaussian(cloud.points, 30, dice, codes)
    assert drawn.reshape(-1, 2).std(axis=0) == pytest.approx(cloud.points.std(axis=0), rel=0.15)
    told = [togetherness(each, codes) for each in drawn]
    assert np.mean(told) == pytest.approx(togetherness(cloud.points, codes), abs=0.1)
    assert togetherness(cloud.points, np.arange(160)) == 0


def test_a_filled_gap_is_a_gap_no_more() -> None:
    pair = _mixture([[0.0, 0.0], [9.0, 0.0]], [[1, 1], [1, 1]], [0.5, 0.5])
    cloud = np.random.default_rng(0).normal(size=(400, 2)) + [[0, 0], [9, 0]] * 200
    filling = filled(cloud, pair, [(0, 1)], 5, np.random.default_rng(0))
    counts = np.histogram(filling[..., 0], bins=np.arange(-1.5, 11, 1.5))[0]
    assert counts.min() > 0.5 * counts.max()


def _answers(draws: int, seed: int, n: int, kinds: dict[str, float | None]) -> tuple[int, int]:
    right = 0
    for kind, apart in kinds.items():
        for draw in range(draws):
            dice = np.random.default_rng([seed, draw, *kind.encode()])
            d = int(dice.integers(1, 5))
            size = max(n, 160) if kind == "conversations" else n
            made = continuum(kind, dice, size, d) if apart is None else basins(kind, dice, size, d, 2 + draw % 4, apart)
            found = discreteness(made.points, groups=made.groups, seed=draw)
            right += (found.verdict == "continuum") == (apart is None)
    return right, draws * len(kinds)


def test_continua_are_called_so() -> None:
    right, of = _answers(1, 101, 80, dict.fromkeys(CONTINUA))
    assert right >= binom.ppf(0.01, of, 0.95)


def test_basins_are_called_so() -> None:
    right, of = _answers(1, 102, 100, dict.fromkeys(BASINS, 6.0))
    assert right >= binom.ppf(0.01, of, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONTINUA)
def test_every_kind_of_continuum_is_called_so(kind: str) -> None:
    right, of = _answers(60, 103, 150, {kind: None})
    assert right >= binom.ppf(0.01, of, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BASINS)
def test_every_kind_of_basins_is_called_so(kind: str) -> None:
    right, of = _answers(60, 104, 150, {kind: 6.0})
    assert right >= binom.ppf(0.01, of, 0.9)


def test_basins_are_counted_and_each_point_has_its_own() -> None:
    dice = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2], [80, 50, 30])
    points = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]])[truth] + dice.normal(size=(160, 2))
    found = discreteness(points)
    assert (found.verdict, found.basins) == ("discrete", 3)
    assert found.labels.tolist() == truth.tolist()
    assert all(crossing.passed for crossing in found.crossings)


def test_the_verdict_hangs_on_the_seed_alone_and_not_on_units_or_rotation() -> None:
    cloud = basins("round", np.random.default_rng(5), 120, 3, 2, 6.0).points
    turn = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))[0]
    one, same, turned = discreteness(cloud), discreteness(cloud), discreteness(1000 * cloud @ turn + 7)
    assert one.verdict == same.verdict == turned.verdict == "discrete"
    assert one.crossings[0].p_dip == same.crossings[0].p_dip
    assert one.bic == same.bic
    assert np.array_equal(one.labels, same.labels)


def test_clumps_of_a_few_conversations_are_no_basins() -> None:
    dice = np.random.default_rng(7)
    conversations = np.repeat(np.arange(4), 30)
    points = 6 * np.array([[0, 0], [3, 0], [0, 3], [3, 3]])[conversations] + dice.normal(size=(120, 2))
    assert discreteness(points).verdict == "discrete"
    found = discreteness(points, groups=conversations.tolist())
    assert found.verdict == "continuum"
    assert any("4 groups" in caveat for caveat in found.part().caveats)


def test_groups_of_one_point_each_are_no_groups() -> None:
    points = np.random.default_rng(8).normal(size=(40, 2))
    assert discreteness(points, groups=range(40)).codes is None


def test_more_points_and_axes_than_are_tested_are_said() -> None:
    dice = np.random.default_rng(9)
    found = discreteness(dice.normal(size=(MOST_POINTS + 50, 2)))
    assert len(found.points) == len(found.labels) == MOST_POINTS
    assert "a sample of 2000" in found.caveats[0]
    wide = discreteness(dice.normal(size=(60, 9)))
    assert wide.points.shape == (60, MOST_AXES)
    assert "the first 6 principal components" in wide.caveats[0]


def test_an_axis_that_never_changes_is_left_out() -> None:
    points = np.random.default_rng(10).normal(size=(60, 2))
    found = discreteness(np.column_stack([points, np.full(60, 3.0)]))
    assert found.points.shape == (60, 2)
    assert found.verdict == "continuum"


@pytest.mark.parametrize(
    ("points", "settings", "said"),
    [
        (np.zeros((10, 2)), {}, "10 points"),
        (np.zeros(30), {}, "shape"),
        (np.full((30, 2), np.nan), {}, "NaN"),
        (np.ones((30, 2)), {}, "all points are one"),
        (np.random.default_rng(0).normal(size=(30, 2)), {"groups": ["a"]}, "1 groups for 30 points"),
        (np.random.default_rng(0).normal(size=(30, 2)), {"simulations": 9}, "9 simulations"),
    ],
)
def test_what_cannot_be_tested_is_refused(points: np.ndarray, settings: dict[str, object], said: str) -> None:
    with pytest.raises(TraceError, match=said):
        discreteness(points, **settings)  # type: ignore[arg-type]


def test_what_was_found_is_told_in_sentences_with_numbers() -> None:
    part = discreteness(basins("round", np.random.default_rng(11), 120, 2, 2, 8.0).points).part()
    named = {finding.name: finding for finding in part.findings}
    assert named["discreteness"].passed
    assert "2 separate basins" in named["discreteness"].statement
    assert named["valley"].estimate is not None
    assert named["valley"].estimate.low is not None
    assert named["dip test"].p is not None
    assert named["dip test"].p < 0.01
    assert {"simulated continua: gaussian", "simulated continua: filled"} <= set(named)
    assert named["silhouette"].estimate is not None
    assert [plot.name for plot in part.plots] == ["line-across", "bic"]
    assert len(part.tables) == 3


def test_of_a_continuum_it_is_said_what_that_does_not_show() -> None:
    part = discreteness(np.random.default_rng(12).normal(size=(80, 2))).part()
    assert part.findings[0].passed is False
    assert "one continuum as far as can be told" in part.findings[0].statement
    assert "does not say that there are none" in part.caveats[0]
    assert all(finding.p is None for finding in part.findings)
