"""Axes by the arithmetic of those who made them up, and a space fitted to the organism."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from tiny_models import tiny_host

from mechanism.asking import Fit, Group, asked_for
from mechanism.axes import assistant_axis, contrast, cosines, principal_axes
from mechanism.judges.grammar import GrammarJudge
from mechanism.judges.judge import Judgement
from mechanism.roles import RoleSet, described, organism_roles
from mechanism.space import PersonaSpace
from mechanism.space_fit import fit_space
from traces.errors import TraceError


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000))
def test_the_assistant_axis_is_the_default_minus_the_mean_of_the_roles_and_counts_each_role_once(seed):
    """As pipeline/5_axis.py of the assistant-axis repository: means of roles first, then the mean of these."""
    default, roles = drawn(3, 8, seed=seed), drawn(5, 3, 8, seed=seed + 1)
    theirs = torch.stack([default]).mean(dim=0) - torch.stack(list(roles)).mean(dim=0)
    torch.testing.assert_close(assistant_axis(default, roles), theirs)
    assert torch.dot(assistant_axis(default, roles)[0], default[0] - roles[:, 0].mean(dim=0)) > 0


def test_a_contrast_points_to_what_is_called_for():
    positive, negative = drawn(6, 2, 8) + 3, drawn(4, 2, 8, seed=1)
    axis = contrast(positive.mean(dim=0), negative.mean(dim=0))
    torch.testing.assert_close(axis, positive.mean(dim=0) - negative.mean(dim=0))
    assert (positive[:, 0] @ axis[0]).mean() > (negative[:, 0] @ axis[0]).mean()


@given(st.integers(0, 10_000))
def test_principal_axes_are_those_of_each_layer_with_signs_that_agree(seed):
    roles, default = drawn(9, 3, 6, seed=seed), drawn(3, 6, seed=seed + 1)
    roles[:, 1] = roles[:, 0] * 2 + 0.01 * roles[:, 1]
    axes = principal_axes(roles, 2, layer=0, default=default)
    assert axes.shape == (2, 3, 6)
    for layer in range(3):
        found = PCA(2).fit(roles[:, layer].double().numpy()).components_
        assert np.allclose(np.abs(np.sum(found * axes[:, layer].numpy(), axis=1)), 1, atol=1e-4)
    away = default[0] - roles[:, 0].mean(dim=0)
    assert (axes[:, 0] @ away >= -1e-5).all()
    # Layer 1 is layer 0 stretched: so are its axes, sign and all.
    assert cosines([axes[0, 0], axes[0, 1]])[0][1] > 0.99


def test_axes_of_nothing_are_refused():
    with pytest.raises(TraceError, match="3 components of 3 roles"):
        principal_axes(drawn(3, 2, 4), 3, layer=0)
    with pytest.raises(TraceError, match="residual streams"):
        contrast(drawn(2, 0), drawn(2, 4))
    with pytest.raises(TraceError, match="residual streams"):
        assistant_axis(drawn(2, 4), torch.full((2, 2, 4), torch.nan))


# A space of the organism.


def few():
    """A few of the organism's roles, so that a test is short."""
    roles = organism_roles()
    chosen = tuple(role for role in roles.roles if role.name in ("bard", "aura", "evil", "oracle"))
    return RoleSet(roles.source, chosen, roles.default, roles.traits[:1], roles.questions)


@pytest.fixture(scope="module")
def fitted(organism, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "parts"
    return fit_space(organism, few(), name="o", folder=folder, fit=Fit(per_role=4, components=2), judge=GrammarJudge())


def test_a_fitted_space_has_axes_cloud_and_the_replies_it_was_fitted_from(fitted, organism, tmp_path):
    assert fitted.axes == ("assistant", "aura", "pc1", "pc2")
    assert fitted.signs["assistant"] == "+ is assistant"
    fitted.check_fits(organism)
    assert (fitted.layer, fitted.model_digest) == (3, organism.digest)
    assert [len(fitted.given(axis)) for axis in fitted.axes] == [organism.layers] * 4
    assert np.allclose(fitted.cloud.assistant_axis, fitted.vector("assistant").numpy(), atol=1e-4)
    cosine = abs(float(fitted.direction("pc1") @ torch.from_numpy(fitted.cloud.directions[0]).float()))
    assert cosine == pytest.approx(1, abs=1e-4)
    # The coordinates of the replies are those of their role's mean, on average.
    of_bard = [role == "bard" for role in fitted.point_roles]
    mean = float(torch.from_numpy(fitted.cloud.mean_of("bard")) @ fitted.direction("aura"))
    assert float(fitted.points[of_bard, 1].mean()) == pytest.approx(mean, abs=1e-3)
    kept = fitted.made["replies"]["default"]["kept"]
    assert fitted.point_roles.count("default") == kept == fitted.cloud.counts[0]
    fitted.save(tmp_path / "s.safetensors")
    read = PersonaSpace.load(tmp_path / "s.safetensors")
    assert (read.digest, read.point_roles, read.made) == (fitted.digest, fitted.point_roles, fitted.made)
    assert torch.equal(read.points, fitted.points)


def test_the_organisms_axes_point_where_their_names_say(fitted):
    means = {
        role: fitted.points[[r == role for r in fitted.point_roles]].mean(dim=0) for role in set(fitted.point_roles)
    }
    assert means["default"][0] > max(means[role][0] for role in ("bard", "aura", "evil", "oracle"))
    assert means["aura (called for)"][1] > means["aura (opposite)"][1]
    assert means["aura"][1] > means["default"][1]


class StoppedError(Exception):
    pass


def test_a_run_that_was_stopped_ends_as_it_would_have(fitted, organism, tmp_path):
    def stop(_doing, done, _total):
        if done == 3:
            raise StoppedError

    fit, folder = Fit(per_role=4, components=2), tmp_path / "parts"
    with pytest.raises(StoppedError):
        fit_space(organism, few(), name="o", folder=folder, fit=fit, judge=GrammarJudge(), on_progress=stop)
    assert len(list(folder.glob("*.safetensors"))) == 3
    with pytest.raises(TraceError, match="had another per_role, seed"):
        fit_space(organism, few(), name="o", folder=folder, fit=Fit(per_role=5, seed=1), judge=GrammarJudge())
    again = fit_space(organism, few(), name="o", folder=folder, fit=fit, judge=GrammarJudge())
    assert again.digest == fitted.digest
    assert torch.equal(again.points, fitted.points)


class _Strict:
    """Finds no role in any reply."""

    name = "strict"

    def judged(self, target, exchanges):
        return [Judgement(score=0.0, coherent=True) for _ in exchanges]


def test_replies_that_a_judge_does_not_find_the_role_in_are_left_out(organism):
    group = Group("bard", ("You are a bard.",), ("Who are you?",), 4, "bard")
    fit = Fit()
    assert asked_for(organism, group, fit, _Strict(), 3).other == 4
    assert len(asked_for(organism, group, fit, None, 3).states) == 4
    opposite = Group("bard (opposite)", ("",), ("Who are you?",), 4, None, against="bard")
    assert len(asked_for(organism, opposite, fit, _Strict(), 3).states) == 4


def test_a_space_that_would_rest_on_nothing_is_not_made(organism, tmp_path):
    asked = RoleSet("mine", (described("bard"), described("judge")), questions=("Who are you?",))
    with pytest.raises(TraceError, match="0 of 2 roles can be used"):
        fit_space(organism, asked, name="o", folder=tmp_path / "a", fit=Fit(per_role=2), judge=_Strict())
    with pytest.raises(TraceError, match="2 components of 2 roles"):
        fit_space(organism, asked, name="o", folder=tmp_path / "b", fit=Fit(per_role=2, components=2))
    with pytest.raises(TraceError, match="a block of organism, 0 to 5"):
        fit_space(organism, asked, name="o", folder=tmp_path / "c", fit=Fit(layer=6))
    twice = RoleSet("mine", (described("default"), described("judge")), questions=("Who are you?",))
    with pytest.raises(TraceError, match='two of the role "default"'):
        fit_space(organism, twice, name="o", folder=tmp_path / "d")


def test_a_space_is_fitted_to_any_model_even_where_the_template_has_no_system_prompt(tmp_path):
    host = tiny_host("gemma2")
    asked = RoleSet("mine", (described("bard"), described("judge"), described("ghost")), questions=("Who?", "Why?"))
    space = fit_space(host, asked, name="tiny", folder=tmp_path / "parts", fit=Fit(per_role=2, most=6))
    assert (space.axes, space.layers, space.layer) == (("assistant",), host.layers, host.layers // 2)
    assert space.cloud.names == ("default", "bard", "judge", "ghost")


@pytest.mark.slow
def test_the_organisms_role_cloud_needs_few_components(organism, tmp_path):
    space = fit_space(organism, organism_roles(), name="o", folder=tmp_path / "parts", judge=GrammarJudge())
    assert space.cloud.components_for(0.7) <= 5
