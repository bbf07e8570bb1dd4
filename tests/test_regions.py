"""Regions: fitted without being told, drawn as ranges, named, followed with hysteresis, and changing within a turn."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from mechanism.regions.change_points import TokenNoise, runs, token_noise
from mechanism.regions.fitting import fit_regions
from mechanism.regions.hysteresis import held
from mechanism.regions.mixture import Mixture, fit_mixture
from mechanism.regions.naming import Roles, names, nearest, roles_of_points
from mechanism.regions.ranges import boxes, labels_by_boxes
from traces.errors import TraceError

AXES = ("a", "b")
CENTRES = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]])
SIZES = (90, 60, 40)


def fit(points, **how):
    """With fewer mixtures to try than a user has, for the time it takes."""
    return fit_mixture(points, AXES, **{"most": 4, "shapes": ["full", "diag"], "starts": 2, **how})


def clusters(seed, sizes=SIZES, sd=1.2):
    dice = np.random.default_rng(seed)
    points = np.concatenate([dice.normal(centre, sd, (size, 2)) for centre, size in zip(CENTRES, sizes, strict=False)])
    return points, np.repeat(np.arange(len(sizes)), sizes)


@pytest.fixture(scope="module")
def three():
    points, of = clusters(1)
    return points, of, fit(points)


@pytest.mark.parametrize("seed", range(2))
def test_clusters_are_found_and_counted_without_being_told(seed):
    points, of = clusters(seed)
    found = fit(points, seed=seed)
    assert len(found.regions) == 3
    assert adjusted_rand_score(of, found.labels(points)) > 0.95


def test_the_largest_region_is_the_first(three):
    np.testing.assert_allclose(three[2].centres(), CENTRES, atol=0.5)


def test_one_normal_cloud_is_one_region():
    dice = np.random.default_rng(5)
    points = dice.multivariate_normal([0, 0], [[9, 4], [4, 3]], 200)
    assert fit(points).regions == ("region-1",)


def test_a_cloud_that_is_not_normal_is_one_region_of_several_components():
    dice = np.random.default_rng(7)
    bow = dice.uniform(-1.5, 1.5, 500)
    points = np.stack([10 * np.sin(bow), 10 * np.cos(bow)], axis=1) + dice.normal(0, 1.0, (500, 2))
    found = fit(points, starts=1, shapes=["full"])
    assert len(found.of_component) > 1
    assert len(found.regions) == 1


def test_outliers_are_in_no_region_and_do_not_become_one():
    points, _ = clusters(2)
    dice = np.random.default_rng(2)
    astray = dice.uniform(-25, 35, (12, 2))
    astray = astray[np.linalg.norm(astray[:, None] - CENTRES, axis=-1).min(axis=1) > 8]
    found = fit(np.concatenate([points, astray]))
    assert len(found.regions) == 3
    assert (found.labels(astray) == -1).mean() > 0.9
    assert (found.labels(points) == -1).mean() < 0.03


def test_what_lies_far_from_all_that_was_seen_is_in_no_region(three):
    _, _, found = three
    assert found.labels(np.array([[300.0, 300.0], [0.0, -40.0]])).tolist() == [-1, -1]


def test_probabilities_are_those_of_bayes_and_add_up_to_one(three):
    points, _, found = three
    chances = found.probabilities(points)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    gaussians = found.gaussians
    dense = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(points)
        for weight, mean, covariance in zip(gaussians.weights, gaussians.means, gaussians.covariances, strict=True)
    ]
    expected = np.exp(np.stack([*dense, np.full(len(points), np.log(gaussians.noise) + gaussians.log_uniform)]))
    np.testing.assert_allclose(chances, (expected / expected.sum(axis=0)).T, atol=1e-12)


def test_a_point_that_was_not_read_has_no_probabilities(three):
    _, _, found = three
    points = np.array([[0.0, np.nan], [0.0, 0.0]])
    assert np.isnan(found.probabilities(points)[0]).all()
    assert found.labels(points).tolist() == [-1, 0]


def test_the_same_seed_gives_the_same_mixture_and_json_keeps_it_to_the_bit(three):
    points, _, found = three
    told = json.loads(json.dumps(found.to_dict()))
    assert fit(points).to_dict() == found.to_dict()
    assert Mixture.of_dict(told).to_dict() == found.to_dict()


def test_regions_do_not_hang_on_the_units_of_the_axes(three):
    points, _, found = three
    scaled = fit(points * [1000.0, 0.01])
    np.testing.assert_array_equal(scaled.labels(points * [1000.0, 0.01]), found.labels(points))


def test_the_number_can_be_given(three):
    points, _, _ = three
    assert len(fit(points, number=2).regions) == 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"weights": [0.5, 0.4, 0.4]}, "add up"),
        ({"of_component": [0, 0, 0]}, "do not fit"),
        ({"covariances": [[[1, 2], [2, 1]]] * 3}, "LinAlgError"),
        ({"means": [[0, 0]]}, "shapes"),
        ({"shape": "square"}, "shapes"),
    ],
)
def test_a_damaged_mixture_is_refused(three, change, found):
    with pytest.raises(TraceError, match=found):
        Mixture.of_dict({**three[2].to_dict(), **change})


@pytest.mark.parametrize(
    ("points", "found"),
    [
        (np.zeros((4, 2)), "there are 4 points"),
        (np.c_[np.zeros(40), np.arange(40)], 'at one place on the axis "a"'),
        (np.full((40, 2), np.nan), "shape"),
        (np.zeros((40, 3)), "shape"),
    ],
)
def test_points_that_no_region_can_be_fitted_to_are_refused(points, found):
    with pytest.raises(TraceError, match=found):
        fit_mixture(points, AXES)


# --- ranges


def test_ranges_are_disjoint_boxes_that_hold_their_clusters(three):
    points, of, found = three
    drawn = boxes(found, points)
    assert all(box.held > 0.97 and box.strange < 0.03 for box in drawn.values())
    assert adjusted_rand_score(of, labels_by_boxes(list(drawn.values()), AXES, points)) > 0.9
    for one in drawn.values():
        for other in drawn.values():
            apart = [
                one.ranges[axis][1] < other.ranges[axis][0] or other.ranges[axis][1] < one.ranges[axis][0]
                for axis in AXES
            ]
            assert one is other or any(apart)


def test_ranges_say_how_much_of_a_slanted_cluster_no_box_holds():
    dice = np.random.default_rng(3)
    along = dice.normal(0, 6, (2, 150))
    points = np.concatenate([np.stack([t, t + shift], axis=1) for t, shift in zip(along, (0, 5), strict=True)])
    points += dice.normal(0, 0.6, points.shape)
    found = fit(points, shapes=["full"])
    assert len(found.regions) == 2
    worst = min(boxes(found, points).values(), key=lambda box: box.held)
    assert worst.held < 0.95 or worst.strange > 0.05


# --- names


def test_regions_are_named_after_the_roles_at_home_there(three):
    points, of, found = three
    asked = np.array(["default", "poet", "villain"])[of].tolist()
    asked[0] = "villain"
    known = roles_of_points(points, asked, found.labels(points), 3, "default")
    assert names(found, known) == ("assistant", "poet", "villain")
    assert names(found, known, {2: "muse"}) == ("assistant", "muse", "villain")
    assert nearest(found, 1, known)[0][0] == "poet"


def test_without_replies_the_nearest_role_names_a_region_unless_it_is_far(three):
    _, _, found = three
    roles = Roles(("bard", "sage", "ghost"), np.array([[0.5, 0.0], [8.0, 0.5], [-50.0, -50.0]]))
    assert names(found, roles) == ("bard", "sage", "region-3")
    assert names(found) == ("region-1", "region-2", "region-3")


def test_no_two_regions_bear_one_name(three):
    _, _, found = three
    assert names(found, None, {1: "region-2"}) == ("region-2", "region-2-2", "region-3")
    with pytest.raises(TraceError, match="same name"):
        names(found, None, {1: "x", 2: "x"})
    with pytest.raises(TraceError, match="no region 4"):
        names(found, None, {4: "x"})


def test_names_take_no_part_in_the_fit(three):
    points, of, _ = three
    how = {"asked": np.array(["p", "q", "r"])[of].tolist(), "most": 4, "shapes": ["full"]}
    told = fit_regions(points, AXES, **how)
    asked = np.random.default_rng(0).choice(["p", "q", "r"], len(points)).tolist()
    shuffled = fit_regions(points, AXES, **{**how, "asked": asked})
    np.testing.assert_array_equal(told.mixture.labels(points), shuffled.mixture.labels(points))
    assert [region.size for region in told.regions] == pytest.approx(SIZES, abs=6)


# --- hysteresis


@st.composite
def courses(draw):
    count, regions = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    weights = np.array(draw(st.lists(st.lists(st.integers(1, 50), min_size=regions + 1, max_size=regions + 1),
                                     min_size=count, max_size=count)), float)  # fmt: skip
    before = [-1] + [draw(st.integers(-1, row - 1)) for row in range(1, count)]
    return weights / weights.sum(axis=1, keepdims=True), before


@given(courses(), st.floats(0.5, 0.99))
def test_a_region_is_left_only_for_one_that_is_probable_enough(course, entry):
    chances, before = course
    outside = chances.shape[1] - 1
    states = np.where(held(chances, before, entry) < 0, outside, held(chances, before, entry))
    for row, parent in enumerate(before):
        if parent < 0:
            assert states[row] == chances[row].argmax()
        elif states[row] != states[parent]:
            assert chances[row, states[row]] >= entry
        else:
            assert np.delete(chances[row], states[row]).max() < max(entry, chances[row, states[row]] + 1e-12)


@given(courses())
def test_hysteresis_never_adds_a_change(course):
    chances, _ = course
    before = [*range(-1, len(chances) - 1)]
    steady, plain = held(chances, before, 0.9), chances.argmax(axis=1)
    assert np.count_nonzero(np.diff(steady)) <= np.count_nonzero(np.diff(plain))


def test_a_turn_on_the_boundary_is_no_new_persona_and_a_clear_one_is():
    chances = np.array([[0.99, 0.01, 0], [0.45, 0.55, 0], [0.9, 0.1, 0], [0.02, 0.98, 0], [0.6, 0.4, 0], [0, 0, 1.0]])
    assert held(chances, [-1, 0, 1, 2, 3, 4]).tolist() == [0, 0, 0, 1, 1, -1]
    with pytest.raises(TraceError, match="entry probability"):
        held(chances, [-1, 0, 1, 2, 3, 4], 0.4)


def test_a_turn_that_was_not_read_stays_where_the_one_before_it_was():
    chances = np.array([[0.0, 1.0, 0.0], [np.nan] * 3])
    assert held(chances, [-1, 0]).tolist() == [1, 1]


# --- change points


def tokens_of(dice, kind, count, mean, sd=6.0):
    if kind == "heavy-tailed":
        noise = dice.standard_t(3, (count, 2)) * sd / np.sqrt(3)
    elif kind == "hanging together":
        noise = np.zeros((count, 2))
        noise[0] = dice.normal(0, sd, 2)
        for at in range(1, count):
            noise[at] = 0.7 * noise[at - 1] + dice.normal(0, sd * np.sqrt(1 - 0.49), 2)
    else:
        noise = dice.normal(0, sd, (count, 2))
        if kind == "unlike at first":
            noise[:6] -= 2 * sd
    return mean + noise


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "hanging together", "unlike at first"])
def test_a_turn_in_one_region_is_hardly_ever_cut(three, kind):
    found, dice = three[2], np.random.default_rng(4)
    turns = [tokens_of(dice, kind, 60, dice.normal(CENTRES[at % 3], 1.2)) for at in range(40)]
    noise = token_noise(turns)
    cut = sum(len(runs(turn, found, noise)) > 1 for turn in turns)
    # One in twenty (docs/spaces.md), and what chance makes of it in forty.
    assert cut <= 5


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed"])
def test_a_turn_that_changes_region_is_cut_there(three, kind):
    found, dice = three[2], np.random.default_rng(5)
    turns = [
        np.concatenate([tokens_of(dice, kind, 30, CENTRES[at % 3]), tokens_of(dice, kind, 30, CENTRES[(at + 1) % 3])])
        for at in range(24)
    ]
    cuts = [runs(turn, found, TokenNoise(np.eye(2) * 36, 1.0)) for turn in turns]
    right = [each for at, each in enumerate(cuts) if [run.region for run in each] == [at % 3, (at + 1) % 3]]
    assert len(right) >= 0.85 * len(turns)
    assert np.median([abs(each[1].start - 30) for each in right]) <= 2
    assert all(run.chances.argmax() == run.region for each in right for run in each)


def test_a_change_there_and_back_is_two_changes(three):
    dice = np.random.default_rng(8)
    turn = np.concatenate([tokens_of(dice, "normal", 40, CENTRES[at]) for at in (0, 1, 0)])
    assert [run.region for run in runs(turn, three[2], TokenNoise(np.eye(2) * 36, 1.0))] == [0, 1, 0]


def test_short_turns_and_single_regions_are_one_run(three):
    points, _, found = three
    noise = TokenNoise(np.eye(2), 1.0)
    assert [run.start for run in runs(points[:11], found, noise)] == [0]
    assert len(runs(points, fit(points, number=1), noise)) == 1
    assert len(runs(points[:1], found, noise)) == 1


def test_how_tokens_scatter_is_read_from_those_that_do_not_change():
    dice = np.random.default_rng(9)
    turns = [tokens_of(dice, "normal", 80, CENTRES[0]) for _ in range(40)]
    noise = token_noise([*turns, *(np.concatenate([turn[:40], turn[40:] + 60]) for turn in turns[:8])])
    np.testing.assert_allclose(np.diag(noise.covariance), 36, rtol=0.15)
    together = token_noise([tokens_of(dice, "hanging together", 200, CENTRES[0]) for _ in range(20)]).together
    # (1 + r) / (1 - r) for r = 0.7.
    assert 4 < together < 7
    assert token_noise([points[:3] for points in turns]) is None
