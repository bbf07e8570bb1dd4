"""`individuate space regions` and `space label` on conversations of the organism, which are recorded once."""

import json
import random
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from mechanism.host import Host
from mechanism.organism.conversations import pressing
from mechanism.organism.grammar import reply, user_turn
from mechanism.organism.judge import judged
from mechanism.organism.personas import PERSONAS
from mechanism.regions.labelling import labelled
from mechanism.regions.mixture import Mixture, fit_mixture
from mechanism.replies import replies
from mechanism.space import PersonaSpace
from traces.file import facts_from_data
from traces.labelling import regions_of
from traces.store import load
from traces.vocabulary import ROLES

torch.set_num_threads(1)

CHATS, TURNS, MIXED = 72, 5, 12
ASSISTANT = ROLES.index("assistant")


@pytest.fixture(scope="module")
def host():
    return Host.load("organism", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def recorded(host, run, tmp_path_factory):
    """Two traces: of chats under pressure, and of these with some in which a reply passes from one persona into
    another.
    """
    folder = tmp_path_factory.mktemp("recorded")
    dice = random.Random(7)
    told = [[] for _ in range(CHATS)]
    pushes = [("aura", "evil", None)[number % 3] for number in range(CHATS)]
    for turn in range(TURNS):
        for chat, push in zip(told, pushes, strict=True):
            chat.append({"role": "user", "content": pressing(dice, push, 1.0 if turn else 0.0)})
        for chat, answer in zip(told, replies(host, told, seed=turn), strict=True):
            chat.append({"role": "assistant", "content": answer})
    write(folder / "chats.jsonl", told)
    for number in range(MIXED):
        user = user_turn(dice)
        one, other = (PERSONAS[(number + shift) % 3] for shift in (0, 1))
        # Two sentences of each: a reply of the grammar alone has few tokens.
        spoken = [" ".join(reply(dice, persona, user) for _ in range(2)) for persona in (one, other)]
        told.append([{"role": "user", "content": user.text}, {"role": "assistant", "content": " ".join(spoken)}])
    write(folder / "mixed.jsonl", told[CHATS:])
    assert run("record", folder / "chats.jsonl", "-o", folder / "chats.db").exit_code == 0
    shutil.copy(folder / "chats.db", folder / "mixed.db")
    assert run("record", folder / "mixed.jsonl", "-o", folder / "mixed.db").exit_code == 0
    return folder / "chats.db"


def write(path, chats):
    path.write_text("".join(json.dumps(chat) + "\n" for chat in chats))


@pytest.fixture(scope="module")
def fitted(recorded, run):
    """The regions of the recorded turns, and what the command said of them."""
    path = recorded.with_name("regions.safetensors")
    result = run("space", "regions", "organism", "--trace", recorded, "-o", path, "-f", "json")
    assert result.exit_code == 0, result.output
    return path, json.loads(result.stdout)


@pytest.fixture
def trace(recorded, tmp_path):
    return shutil.copy(recorded, tmp_path / "trace.db")


def personas_of(facts):
    """Which persona the grammar finds in each of the replies that the model made, by turn row."""
    details = facts.details()
    rows = np.flatnonzero(facts.turns.role == ASSISTANT).tolist()
    found = {row: judged(details[row].text).persona for row in rows}
    return {row: persona for row, persona in found.items() if persona in PERSONAS}


def test_regions_are_the_personas_that_spoke_though_the_fit_never_sees_these(fitted, recorded):
    facts = load(recorded)
    personas = personas_of(facts)
    mixture = Mixture.of_dict(PersonaSpace.load(fitted[0]).mixture)
    space = PersonaSpace.load(fitted[0]).facts("organism")
    found = labelled(facts, "organism", space, mixture)
    regions = [found.turns[facts.stage_name(row)].region for row in personas]
    assert len(mixture.regions) == 3
    assert adjusted_rand_score(list(personas.values()), [str(region) for region in regions]) >= 0.95
    # They are called after the regions that they hold of the space that ships with the model.
    assert np.mean([region == persona for region, persona in zip(regions, personas.values(), strict=True)]) > 0.95


def test_the_space_keeps_ranges_the_mixture_and_how_they_were_made(fitted):
    path, told = fitted
    space = PersonaSpace.load(path)
    assert list(space.regions) == list(space.mixture["regions"]) == [each["name"] for each in told["regions"]]
    assert space.discrete is None
    assert space.made["regions"]["seed"] == 0
    assert sum(each["points"] for each in told["regions"]) + told["outside"] == CHATS * TURNS
    assert all(each["held"] > 0.9 for each in told["regions"])
    bics = [each["bic"] for each in told["mixtures"]]
    assert bics == sorted(bics)


def test_a_labelling_keeps_how_probable_regions_are_beside_the_facts(trace, fitted, run):
    before = load(trace)
    result = run("space", "label", trace, "--space", fitted[0], "--name", "found")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Caveat: It was not tested whether these regions are discrete")
    facts = load(trace)
    assert facts.turns.tokens.tolist() == before.turns.tokens.tolist()
    labels = facts.turn_labels["found"]
    assert labels.made["method"] == "Gaussian mixture"
    assert labels.made["space_digest"] == PersonaSpace.load(fitted[0]).digest
    regions = regions_of(facts, "found")
    assert len(regions.chances) > 0
    spoken = facts.turns.role == ASSISTANT
    assert (regions.of_turn[~spoken] == -1).all()
    counted = run(trace, "--labelling", "found", "--format", "json")
    assert counted.exit_code == 0, counted.output
    assert "was not tested" in counted.output


def test_with_hysteresis_no_turn_enters_a_region_that_is_not_probable_enough(trace, fitted, run):
    for name, options in (("plain", []), ("steady", ["--hysteresis", "0.99"])):
        result = run("space", "label", trace, "--space", fitted[0], "--name", name, *options, "-f", "json")
        assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    facts = load(trace)
    plain, steady = (regions_of(facts, name).of_turn for name in ("plain", "steady"))
    assert told["kept"] == (plain != steady).sum()
    changes = []
    for regions in (plain, steady):
        own = [regions[first : first + size] for first, size in
               zip(facts.conversations.first, facts.conversations.size, strict=True)]  # fmt: skip
        changes.append(sum(np.count_nonzero(np.diff(each[1::2])) for each in own))
    assert changes[1] <= changes[0]


def test_a_reply_that_passes_into_another_persona_is_cut_and_others_are_not(recorded, fitted, tmp_path, run):
    trace = shutil.copy(recorded.with_name("mixed.db"), tmp_path / "trace.db")
    result = run("space", "label", trace, "--space", fitted[0], "--change-points", "--name", "cut", "-f", "json")
    assert result.exit_code == 0, result.output
    facts = load(trace)
    labels = facts.turn_labels["cut"].turns
    cut = [row for row, each in labels.items() if each.changes and row >= 2 * CHATS * TURNS]
    assert len(labels) == CHATS * TURNS + MIXED
    assert len(cut) >= MIXED / 2
    # A twentieth of turns in one region may be cut by chance; some sampled replies do mix personas.
    assert sum(bool(each.changes) for each in labels.values()) - len(cut) <= 0.05 * CHATS * TURNS + 3
    assert json.loads(result.stdout)["split"] == sum(bool(each.changes) for each in labels.values())
    marks = facts.details()
    for row in cut:
        assert all(marks[row].token_marks[change.at] == "c" for change in labels[row].changes)
    counted = run(trace, "--labelling", "cut", "--format", "json")
    assert counted.exit_code == 0, counted.output


def test_by_ranges_a_turn_is_in_the_region_whose_ranges_hold_it(trace, fitted, run):
    result = run("space", "label", trace, "--space", fitted[0], "--method", "ranges", "--name", "boxes", "-f", "json")
    assert result.exit_code == 0, result.output
    facts, space = load(trace), PersonaSpace.load(fitted[0])
    regions = regions_of(facts, "boxes")
    by_turn = dict.fromkeys(range(len(facts.turns)))
    for row in by_turn:
        mine = facts.coordinates.turn == row
        probes = [list(facts.probes.values())[probe].axis for probe in facts.coordinates.probe[mine]]
        by_turn[row] = dict(zip(probes, facts.coordinates.value[mine].tolist(), strict=True))
    names = [*regions.names, None]
    for row in np.flatnonzero(facts.turns.role == ASSISTANT).tolist():
        assert names[regions.of_turn[row]] == space.region_of(by_turn[row])
    told = json.loads(result.stdout)
    assert sum(told["regions"].values()) + told["none"] == told["turns"]
    assert told["regions"] == {name: Counter(regions.of_turn.tolist())[code] for code, name in enumerate(regions.names)}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--space", "organism"], None),
        (["--space", "organism", "--method", "mixture"], "it has no mixture"),
        (["--space", "organism", "--hysteresis", "0.9"], "ranges do not say how probable"),
        (["--space", "organism", "--change-points"], "ranges do not say how probable"),
        (["--space", "organism", "--least", "9"], "turns are not cut"),
        (["--space", "missing.safetensors"], "there is no such file"),
    ],
)
def test_a_labelling_that_cannot_be_is_refused(trace, run, arguments, found):
    if found is None:
        arguments = [*arguments, "--name", "organism"]
        found = "already has a labelling"
    result = run("space", "label", trace, *arguments)
    assert result.exit_code == 2
    assert found in result.stderr
    assert not load(trace).labellings


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], "it keeps no replies to fit regions to"),
        (["--axes", "aura,joy"], 'no axis "joy"'),
        (["--axes", "aura,aura"], "each once"),
        (["--name", "aura"], "N=NAME"),
        (["--name", "1=a", "--name", "1=b"], "two names"),
    ],
)
def test_regions_that_cannot_be_fitted_are_refused(tmp_path, run, arguments, found):
    result = run("space", "regions", "organism", *arguments, "-o", tmp_path / "new.safetensors")
    assert result.exit_code == 2
    assert found in result.stderr
    assert not list(tmp_path.iterdir())


def test_regions_on_two_axes_under_names_of_ones_own(recorded, tmp_path, run):
    path = tmp_path / "new.safetensors"
    result = run("space", "regions", "organism", "--trace", recorded, "--axes", "aura,evil", "--number", "2",
                 "--name", "1=calm", "--method", "ranges", "-o", path)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 regions" in result.output
    assert "BIC" in result.output
    space = PersonaSpace.load(path)
    assert space.mixture is None
    assert "calm" in space.regions
    assert all(set(ranges) == {"aura", "evil"} for ranges in space.regions.values())


# --- without a model: branches, and turns that were not read


def a_world(values, branch_at=2):
    said = {"role": "user", "model": "m"}

    def turns(own):
        return [turn for value in own for turn in (said, {"role": "assistant", **value})]

    probes = {"a": {"axis": "a", "layer": 1}}
    first, second = values
    return facts_from_data(
        {
            "individuation": 1, "models": {"m": {}}, "probes": probes,
            "conversations": {
                "late": {"parent": "early", "at": branch_at, "turns": turns(second)},
                "early": {"turns": turns(first)},
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def on_a_line():
    dice = np.random.default_rng(0)
    points = np.concatenate([dice.normal(0, 1, (60, 1)), dice.normal(6, 1, (40, 1))])
    space = PersonaSpace("line", ("a",), torch.ones(1, 2, 4), 1).facts("m")
    return space, fit_mixture(points, ["a"], most=3).named(("low", "high"))


def test_a_branch_goes_on_from_where_it_branched(on_a_line):
    space, mixture = on_a_line
    middle = next(
        float(at) for at in np.linspace(2, 4, 400) if 0.6 < mixture.probabilities(np.array([[at]]))[0, 1] < 0.85
    )
    facts = a_world(([{"at": {"a": 0.0}}, {"at": {"a": 6.0}}], [{"at": {"a": middle}}]))
    plain = labelled(facts, "line", space, mixture).turns
    steady = labelled(facts, "line", space, mixture, entry=0.9)
    assert [plain[name].region for name in ("early/1", "early/3", "late/1")] == ["low", "high", "high"]
    assert steady.turns["late/1"].region == "low"
    assert steady.kept == 1
    assert steady.turns["late/1"].probabilities == plain["late/1"].probabilities


def test_a_turn_that_was_not_read_is_in_no_region(on_a_line):
    space, mixture = on_a_line
    facts = a_world(([{"at": {"a": 6.0}}, {}], [{"at": {"a": 6.0}}]))
    found = labelled(facts, "line", space, mixture)
    assert found.turns["early/3"].region is None
    assert not found.turns["early/3"].probabilities
    assert found.unread == 1


def test_what_a_mixture_cannot_label_is_refused(on_a_line):
    from traces.errors import TraceError

    space, mixture = on_a_line
    with pytest.raises(TraceError, match="no assistant turn"):
        labelled(a_world(([{}], [{}])), "line", space, mixture)
    with pytest.raises(TraceError, match="no coordinates of single tokens"):
        labelled(a_world(([{"at": {"a": 6.0}}], [])), "line", space, mixture, change_points=True)
