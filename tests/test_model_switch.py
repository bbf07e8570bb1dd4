"""Handovers within a reply, and of a plan: what a transfer, a pre-fill and another model make of it."""

import pytest
import torch
from tiny_models import tiny_host

from mechanism.experiments.couplets import Wordings, couplets, organism_questions, read_couplets
from mechanism.experiments.experiment import Setting, conduct, experiment
from mechanism.experiments.handovers import Handovers, chances_of, next_token
from mechanism.experiments.material import OrganismMaterial, our_material
from mechanism.experiments.model_switch_found import ALONE, Switched, outcome_parts
from mechanism.host import Host
from mechanism.judges.grammar import GrammarJudge
from mechanism.judges.judge import Judgement
from mechanism.organism import path_of
from mechanism.session import Session
from mechanism.space import PersonaSpace
from traces.errors import TraceError
from traces.store import load
from traces.vocabulary import DERIVATIONS

torch.set_num_threads(1)


class Named:
    """A judge to whom the answer is the name of who speaks."""

    name = "named"

    def judged(self, target, exchanges):
        return [Judgement(answer, None, True) for _, answer in exchanges]


class Silent:
    """A judge who can tell nothing."""

    name = "nobody"

    def judged(self, target, exchanges):
        return [Judgement() for _ in exchanges]


@pytest.fixture(scope="module")
def other():
    return Host.load("organism-b", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def space():
    return PersonaSpace.load(path_of("organism") / "space.safetensors")


@pytest.fixture
def setting(organism, other, space, tmp_path):
    def made(**changes):
        given = {
            "host": organism, "space": space, "judge": GrammarJudge(), "material": OrganismMaterial(),
            "folder": tmp_path / "run", "layer": space.layer, "other": other, **changes,
        }  # fmt: skip
        return Setting(**given)

    return made


def tiny_setting(host, other, folder, options):
    vectors = torch.randn(1, host.layers, host.hidden, generator=torch.Generator().manual_seed(3))
    sampling = {"do_sample": True, "max_new_tokens": 5}
    return Setting(
        host=host, space=PersonaSpace("s", ("assistant",), vectors, 2), judge=Silent(), material=our_material(),
        folder=folder, layer=2, size=2, other=other, options=options, sampling=sampling,
    )  # fmt: skip


# --- handovers


def test_a_second_model_with_other_weights_is_needed(setting, organism):
    for other in (None, organism):
        with pytest.raises(TraceError, match="a model with other weights"):
            Handovers(setting(other=other))


def test_the_next_token_is_read_of_open_and_of_coming_replies_and_leaves_the_session_as_it_is(organism):
    session = Session(organism)
    session.say("Who are you?")
    first = next_token(session)
    with session.fork() as branch:
        begun = branch.generate(do_sample=False, max_new_tokens=3)
        third = next_token(branch)
        ids = [token for token, mark in zip(begun.turn.ids, begun.turn.marks, strict=True) if mark == "c"]
    assert int(first.argmax()) == ids[0]
    forced = chances_of(session, ids)
    assert forced.shape[0] == 4
    assert [int(each.argmax()) for each in forced[:3]] == ids
    assert abs(forced[3] - third).max() < 1e-3
    length = session.cache.length
    next_token(session)
    assert session.cache.length == length


# --- model-switch


def test_transfer_and_prefill_go_on_word_for_word_and_the_speaker_survives_a_switch(setting):
    run = setting(size=2, options={"places": 2, "pressed": 3})
    outcome = conduct(experiment("model-switch"), run)
    rows = {row[0]: row for row in outcome.tables[0].rows}
    for how in ("nothing", "transfer", "pre-fill"):
        assert rows[how][5].value == 1
    assert rows["transfer"][3] == 0
    assert rows["pre-fill"][3] < 1e-6 < rows["switch"][2].value
    assert rows["switch"][6].value >= 0.8
    assert rows["the other model, asked alone"][1] == 2
    passed = {finding.name: finding.passed for finding in outcome.findings}
    assert passed["transfer"]
    assert passed["pre-fill"]
    facts = load(run.folder / "trace.db")
    assert set(facts.models) == {"organism", "organism-b"}
    assert set(facts.servers) == {"local", "second"}
    assert {"transferred", "prefilled"} <= {DERIVATIONS[code] for code in facts.caches.how}


def test_models_that_cut_text_otherwise_can_be_switched_between_and_have_no_divergence(tmp_path):
    run = tiny_setting(tiny_host("llama"), tiny_host("gemma2"), tmp_path / "run", {"places": 2, "pressed": 1})
    outcome = conduct(experiment("model-switch"), run)
    switched = next(row for row in outcome.tables[0].rows if row[0] == "switch")
    assert switched[2] is None
    assert switched[1] > 0
    assert any("cannot be compared" in caveat for caveat in outcome.caveats)
    assert outcome.tables[0].rows[1][5].value == 1


def test_places_of_one_reply_do_not_count_as_replies(setting):
    def whose(talks, kept):
        one = setting(judge=Named(), folder=setting().folder / f"{talks}-{kept}", options={"pressed": 1})
        one.folder.mkdir(parents=True, exist_ok=True)
        held = [
            {"pressed": True, "question": "q", "reply": "aura", "tokens": 16, "handed": [
                *({"how": "switch", "place": place, "text": "aura" if talk < kept else "assistant", "stays": 0.0,
                   "kl": 1.0} for place in range(16)),
                {"how": ALONE, "place": 0, "text": "assistant", "stays": 0.0, "kl": None},
            ]}
            for talk in range(talks)
        ]  # fmt: skip
        findings = outcome_parts(one, Switched(one, held))[0]
        return next(each for each in findings if each.name == "the speaker stays, pressed")

    assert whose(6, 6).passed
    assert whose(4, 4).passed is None
    assert whose(6, 3).passed is None
    assert whose(6, 3).estimate.n == 96


# --- rabbit


def test_a_planted_plan_goes_with_the_cache_and_is_made_anew_from_the_words(setting):
    run = setting(size=2, options={"couplets": None, "samples": 1})
    outcome = conduct(experiment("rabbit"), run)
    by_handover, planted = ({row[0]: row[1:] for row in table.rows} for table in outcome.tables[:2])
    for how in ("nothing", "transfer", "pre-fill"):
        assert by_handover[how][0].value == 1
    assert by_handover["transfer"][4].value == pytest.approx(by_handover["nothing"][4].value, abs=1e-4)
    assert by_handover["nothing"][4].value > 0.8
    cache, words = 0, 1
    assert planted["transfer"][cache].value == 1
    assert planted["pre-fill"][words].value == 1
    assert planted["pre-fill"][cache].value == 0
    assert planted["switch"][cache].value == 0
    assert load(run.folder / "trace.db").models


def test_it_asks_other_models_for_couplets_and_says_where_no_plan_can_be_told(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("The rain came down,|The snow came down,\n\nHe ate the cake,|He ate the bread,\n")
    options = {"couplets": lines, "samples": 1}
    run = tiny_setting(tiny_host("llama"), tiny_host("gemma2"), tmp_path / "run", options)
    outcome = conduct(experiment("rabbit"), run)
    told = [finding.statement for finding in outcome.findings]
    assert told
    assert "first line" in str(outcome.tables) or "None of" in told[0]
    # The settings hold the path: that other lines stand there now is seen in what was asked.
    for text in ("The rain came down,|The sun came down,\nHe ate the cake,|He ate the pie,\n", "He ate,|She ate,\n"):
        lines.write_text(text)
        with pytest.raises(TraceError, match=r"run: it holds lines that were asked for in other words"):
            conduct(experiment("rabbit"), run)
    before = run.unit("line-000", lambda _: pytest.fail("done before"))
    lines.write_text("|".join(before[key].partition("line is: ")[2] for key in ("asked", "otherwise")))
    with pytest.raises(TraceError, match="in other words"):
        conduct(experiment("rabbit"), run)


def test_couplets_are_pairs_of_lines_and_the_seed_chooses_their_order(tmp_path):
    path = tmp_path / "lines.txt"
    for text in ("one line alone", "same|same", "a|b|c", "|b"):
        path.write_text(f"\n{text}\n")
        with pytest.raises(TraceError, match="line 2"):
            read_couplets(path)
    path.write_text("\n")
    with pytest.raises(TraceError, match="no lines"):
        read_couplets(path)
    with pytest.raises(TraceError, match="cannot be read"):
        read_couplets(tmp_path / "missing.txt")
    path.write_text("a|b\n")
    assert read_couplets(path) == [Wordings("a", "b")]
    assert couplets(None, 1, 5) != couplets(None, 2, 5)
    assert len(couplets(None, 1, 500)) == 20
    assert all(one.asked != one.otherwise for one in organism_questions(3, 30))
