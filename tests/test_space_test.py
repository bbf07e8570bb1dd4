"""`individuate space test`: what is tested with a model and without, and what the space says afterwards."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from individuation.cli.main import cli
from mechanism.experiments.material import OrganismMaterial
from mechanism.hypotheses import tested
from mechanism.hypotheses.bench import Bench, Size
from mechanism.hypotheses.tested import Points, hypotheses_tested
from mechanism.hypotheses.verdicts import all_hold
from mechanism.judges.grammar import GrammarJudge
from mechanism.organism import ORGANISM_CAVEAT, path_of
from mechanism.organism.conversations import aura_drift
from mechanism.outcome import Finding, Part
from mechanism.recorder import Recorder
from mechanism.role_cloud import RoleCloud
from mechanism.session import Session
from mechanism.space import PersonaSpace
from traces.errors import UnknownNameError

REGIONS = {"left": {"a": (None, 0.0)}, "right": {"a": (0.001, None)}}


def heaps(n=60, seed=0):
    dice = np.random.default_rng(seed)
    return dice.normal(size=(n, 2)) + np.where(np.arange(n) % 2, 5.0, -5.0)[:, None] * np.array([1.0, 0.0])


def one_cloud(n=60, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2))


def a_space(points=None, **more):
    vectors = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    kept = None if points is None else torch.from_numpy(points).float()
    return PersonaSpace("mine", ("a", "b"), vectors, 2, regions=REGIONS, points=kept, **more)


@pytest.fixture(scope="module")
def own_space():
    return PersonaSpace.load(path_of("organism") / "space.safetensors")


def run(*arguments):
    return CliRunner().invoke(cli, ["space", "test", *map(str, arguments)], catch_exceptions=False)


def test_points_that_fall_in_heaps_are_discrete_as_far_as_points_can_tell():
    found = hypotheses_tested(a_space(heaps()), which=["H3"])
    assert found.discrete is True
    assert "Whether the model stays in them was not tested" in found.outcome.findings[0].statement
    assert found.outcome.caveats[0].startswith("The model was not asked")
    assert found.summary["hypotheses"]["H3"]["passed"] is True
    assert not any("No valley was found" in caveat for caveat in found.outcome.caveats)


def test_regions_between_which_there_is_no_valley_are_named():
    drawn = {"left": {"a": (None, 0.0)}, "right": {"a": (0.001, None), "b": (None, 0.0)},
             "upper right": {"a": (0.001, None), "b": (0.001, None)}}  # fmt: skip
    found = hypotheses_tested(a_space(heaps()).replaced(regions=drawn), which=["H3"])
    assert found.discrete is False
    assert "no valley between right and upper right" in found.outcome.findings[0].statement
    assert any("are not borne out" in caveat for caveat in found.outcome.caveats)


def test_one_continuum_is_not_discrete_whatever_regions_are_drawn_in_it():
    found = hypotheses_tested(a_space(one_cloud()), which=["H3"])
    assert found.discrete is False
    assert found.outcome.findings[0].passed is False


def test_of_regions_that_hold_too_few_points_nothing_is_concluded():
    drawn = {**REGIONS, "upper": {"a": (0.001, None), "b": (2.0, None)}}
    right_first = {"left": drawn["left"], "upper": drawn["upper"], "right": drawn["right"]}
    found = hypotheses_tested(a_space(heaps()).replaced(regions=right_first), which=["H3"])
    assert found.discrete is None
    assert found.outcome.findings[0].passed is None
    assert "too few of them are in upper" in found.outcome.findings[0].statement
    assert any("basins of their own could not be told: upper" in caveat for caveat in found.outcome.caveats)


@pytest.mark.parametrize(
    ("reached", "kept", "points", "discrete"),
    [
        ([True, True], [True, True], heaps(), True),
        ([True, True], [True, None], heaps(), None),
        ([None, True], [True, True], heaps(), None),
        ([True, True], [False, None], heaps(), False),
        ([False, None], [None, None], heaps(), False),
        ([True, True], [True, True], one_cloud(), False),
        ([True, True], [None, None], one_cloud(), False),
    ],
)
def test_a_space_is_not_discrete_only_where_a_part_fails_and_discrete_only_where_all_hold(
    monkeypatch, reached, kept, points, discrete
):
    def told(verdicts):
        return lambda *_: (Part((Finding("part", "It is told."),)), dict(zip(REGIONS, verdicts, strict=True)))

    monkeypatch.setattr(tested, "courses_of", lambda _: ["a conversation"])
    monkeypatch.setattr(tested, "privileged", told(reached))
    monkeypatch.setattr(tested, "sticky", told(kept))
    for name in ("pushed", "gated"):
        monkeypatch.setattr(tested, name, lambda *_: Part())
    part, found = tested._regions(a_space(points), object(), [], None, 0)
    assert found is discrete
    assert part.findings[0].passed is discrete
    statement = part.findings[0].statement
    assert ("not told whether sticky" in statement) == (None in kept)
    assert ("not told whether privileged" in statement) == (None in reached)


def test_of_very_many_points_a_sample_is_tested():
    found = hypotheses_tested(a_space(heaps(2100)), which=["H3"])
    assert found.discrete is True
    assert "Of 2,100 points a sample of 2,000 was tested." in found.outcome.caveats


def test_points_that_are_given_come_before_those_of_the_space():
    given = Points(one_cloud(seed=3), None, "elsewhere")
    found = hypotheses_tested(a_space(heaps()), points=given, which=["H3"])
    assert found.discrete is False
    assert "elsewhere" in found.outcome.findings[0].statement


def test_what_cannot_be_tested_is_said_and_leaves_the_space_untold():
    found = hypotheses_tested(a_space())
    assert [finding.passed for finding in found.outcome.findings] == [None, None, None]
    assert found.discrete is None
    assert "--model" in found.outcome.findings[0].statement
    assert "no role cloud" in found.outcome.findings[1].statement
    few = hypotheses_tested(a_space(heaps(8)), which=["H3"])
    assert "8 points only" in few.outcome.findings[0].statement
    json.dumps(found.summary, allow_nan=False)


def test_a_role_cloud_is_tested_for_its_dimensions():
    dice = np.random.default_rng(1)
    means = (dice.normal(size=(20, 2)) @ dice.normal(size=(2, 8)) + 0.05 * dice.normal(size=(20, 8))).astype(np.float32)
    cloud = RoleCloud(tuple(f"role {number}" for number in range(20)), means)
    found = hypotheses_tested(a_space(cloud=cloud), which=["H2"])
    assert found.outcome.findings[0].passed
    assert found.discrete is None
    assert hypotheses_tested(a_space(discrete=True), which=["H2"]).discrete is True


def test_another_hypothesis_is_refused():
    with pytest.raises(UnknownNameError):
        hypotheses_tested(a_space(), which=["H4"])


@pytest.mark.slow
def test_with_a_model_every_region_has_to_be_reached_and_kept_to(organism, own_space):
    size = Size(contexts=2, answers=2, random=1, turns=2, doses=(0.4,))
    bench = Bench(organism, own_space, GrammarJudge(), OrganismMaterial(), size=size, most=32)
    dice = np.random.default_rng(0)
    # Two heaps in the region assistant, so that only what the model does can speak against the regions.
    middle = np.array([10.0, -10.0, -10.0])
    points = Points(dice.normal(size=(60, 3)) + middle + 8 * (np.arange(60) % 2)[:, None], None, "given")
    found = hypotheses_tested(own_space, bench, points=points, which=["H3"])
    by_name = {finding.name: finding.passed for finding in found.outcome.findings}
    assert by_name["discreteness"] is True
    # No point is in aura or evil, so whether they are basins of their own is not told.
    asked = [by_name[f"{what}: {region}"] for what in ("privileged", "sticky") for region in own_space.regions]
    assert found.discrete is all_hold([None, *asked])
    assert found.outcome.caveats[0] == ORGANISM_CAVEAT


def test_the_command_keeps_what_it_found_in_a_new_file(tmp_path):
    a_space(heaps()).save(tmp_path / "space.safetensors")
    done = run(tmp_path / "space.safetensors", "--only", "h3", "-o", tmp_path / "tested.safetensors")
    assert done.exit_code == 0
    assert "borne out" in done.output
    kept = PersonaSpace.load(tmp_path / "tested.safetensors")
    assert kept.discrete is True
    assert kept.tested["hypotheses"]["H3"]["passed"] is True
    assert torch.equal(kept.points, PersonaSpace.load(tmp_path / "space.safetensors").points)


def test_the_command_writes_a_report_and_says_it_as_json(tmp_path):
    done = run("organism", "--model", "organism", "--only", "H1", "--axis", "aura", "--n", 2, "--contexts", 2,
               "--random", 1, "--doses", "0.5", "--tokens", 32, "--report", tmp_path / "report", "--format", "json")  # fmt: skip
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["discrete"] is None
    assert told["settings"]["axes_steered"] == ["aura"]
    assert any(finding["name"] == "steering: aura" for finding in told["findings"])
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"report.md", "outcome.json", "steering-aura.svg", "answers.jsonl"} <= names


def test_the_turns_of_a_trace_are_points(tmp_path, organism, own_space):
    with Recorder(tmp_path / "t.db", space=own_space) as recorder:
        for seed in range(2):
            with Session(organism, key=f"c{seed}", recording=recorder) as session:
                for said in aura_drift(seed, before=5, pressed=5, after=0):
                    session.say(said)
                    session.generate(max_new_tokens=24)
    done = run("organism", "--only", "H3", "--trace", tmp_path / "t.db", "--format", "json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert "20 points (the assistant's turns in t.db)" in told["findings"][0]["statement"]


def test_the_command_refuses_what_it_cannot_do(tmp_path):
    path = tmp_path / "space.safetensors"
    a_space(heaps()).save(path)
    for arguments, said in (
        ((path, "-o", path), "it is there already"),
        ((path, "--axis", "a"), "no model is asked"),
        ((path, "--model", "organism"), "a space made for this model"),
        ((tmp_path / "none.safetensors",), "there is no such file"),
        (("organism", "--model", "organism", "--judge", "aura"), "--judge"),
        (("organism", "--model", "organism", "--axis", "aurora", "--only", "H2"), "there is no axis"),
    ):
        done = CliRunner().invoke(cli, ["space", "test", *map(str, arguments)])
        assert done.exit_code == 2, arguments
        assert said in done.output
    assert run(path, "--doses", "0,1", "--model", "organism").exit_code == 2


def test_a_device_without_memory_is_an_error_in_words(tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("mechanism.hypotheses.tested.hypotheses_tested", full)
    a_space(heaps()).save(tmp_path / "space.safetensors")
    for more in ([], ["--report", tmp_path / "report"]):
        told = run(tmp_path / "space.safetensors", *more)
        assert told.exit_code != 0
        assert "a device has no memory left.\nExpected: a smaller --dtype or model" in told.output
        assert ("what was answered stays" in told.output) == bool(more)
