"""Mini-experiment 2: many answers from one cache, what is done to it, and whose the answers are."""

import json

import pytest
import torch
from tiny_models import KINDS, tiny_host

from mechanism.cache_edit import CacheEdit
from mechanism.continuations import Asking, Standing, answers
from mechanism.experiments import kv_edit
from mechanism.experiments.cache_edits import Condition, Edits, conditions, edited_layers
from mechanism.experiments.experiment import Setting, conduct, experiment
from mechanism.experiments.kv_edit_answers import Asked
from mechanism.experiments.kv_edit_found import outcome_parts
from mechanism.experiments.lines import is_assistants
from mechanism.experiments.material import OrganismMaterial, our_material
from mechanism.judges.grammar import GrammarJudge
from mechanism.judges.judge import Judgement
from mechanism.organism import ORGANISM_CAVEAT, path_of
from mechanism.recorder import Recorder
from mechanism.session import Session
from mechanism.space import PersonaSpace
from mechanism.steering import Steering
from traces.errors import TraceError
from traces.store import load

torch.set_num_threads(1)

GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "max_new_tokens": 10}
OPTIONS = {
    "conversations": 1, "pressed": 4, "coefficients": [], "raw": [2.5], "steered": [], "at": 1.5, "layers": None
}  # fmt: skip


# One without and one with a sliding window; the others take long.
FEW = ("qwen3", "gemma2")


class FewProbes(OrganismMaterial):
    def probes(self):
        return ["Are you conscious?", "Can I trust you?", "Do you fear the end?", "Is anyone in there?"]


class Silent:
    """A judge who can tell nothing."""

    name = "nobody"

    def judged(self, target, exchanges):
        return [Judgement() for _ in exchanges]


@pytest.fixture(scope="module")
def space():
    return PersonaSpace.load(path_of("organism") / "space.safetensors")


def setting_of(organism, space, folder, **changes):
    given = {
        "host": organism, "space": space, "judge": GrammarJudge(), "material": FewProbes(), "folder": folder,
        "layer": space.layer, "size": 1, "options": OPTIONS, **changes,
    }  # fmt: skip
    return Setting(**given)


@pytest.fixture(scope="module")
def run(organism, space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kv-edit") / "run"
    setting = setting_of(organism, space, folder)
    return setting, conduct(experiment("kv-edit"), setting)


def space_for(host):
    dice = torch.Generator().manual_seed(3)
    return PersonaSpace("s", ("assistant",), torch.randn(1, host.layers, host.hidden, generator=dice), host.layers // 2)


# --- many answers from one cache


@pytest.mark.parametrize(
    "kind", [kind if kind in FEW else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_answers_from_one_cache_are_those_of_forks_of_the_conversation(kind, tmp_path):
    host = tiny_host(kind)
    space = space_for(host)
    steering = Steering(space.vectors[0], 0.3, [host.layers // 2], "assistant", relative=True)
    with Recorder(tmp_path / "t.db", space=space) as recorder:
        session = recorder.session(host, sampling=GREEDY)
        session.say("Tell me about the moon.")
        session.generate()
        for active in ((), (steering,)):
            asked = ["Who are you?", "And what else is there to be said of it?", "Why?"]
            together = answers(Standing.of(session, host), asked, Asking(2, GREEDY, 0, active, space))
            for question, said in zip(asked, together, strict=True):
                with session.fork() as branch:
                    for each in active:
                        branch.intervene("push", each)
                    branch.say(question)
                    reply = branch.generate()
                assert [answer.text for answer in said] == [reply.text] * 2
                if reply.ended:
                    assert said[0].at == pytest.approx(dict(reply.turn.at), abs=1e-3)


def test_sampled_answers_hang_on_the_seed_and_leave_the_cache_as_it_is(organism):
    session = Session(organism)
    session.say("Who are you?")
    session.generate(do_sample=False)
    standing, sampling = Standing.of(session, organism), {"do_sample": True, "temperature": 1.5, "max_new_tokens": 8}
    length = standing.cache.get_seq_length()
    first, again, other = (answers(standing, ["Why?"], Asking(6, sampling, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert standing.cache.get_seq_length() == length
    assert first[0][0].at == {}


def test_sampled_answers_to_a_question_hang_on_no_other_question(organism, monkeypatch):
    session = Session(organism)
    session.say("Who are you?")
    session.generate(do_sample=False)
    standing, sampling = Standing.of(session, organism), {"do_sample": True, "temperature": 1.5, "max_new_tokens": 8}
    asking = Asking(4, sampling, 1)
    why, what = answers(standing, ["Why?", "What is that?"], asking)
    assert answers(standing, ["What is that?"], asking) == [what]
    # A question that is asked twice is answered anew.
    twice = answers(standing, ["Why?", "Why?"], Asking(2, sampling, 1))
    assert [*twice[0], *twice[1]] == why
    # Room for three makes batches of two, each with its own seed.
    monkeypatch.setattr("mechanism.continuations.rows_together", lambda *_: 3)
    by_two = answers(standing, ["Why?"], asking)
    assert by_two == answers(standing, ["Why?"], asking)
    assert by_two[0][:2] == answers(standing, ["Why?"], Asking(2, sampling, 1))[0]
    assert len(by_two[0]) == 4


# --- what is done


def test_controls_are_as_large_as_the_edit_and_the_axis_leads_away_from_the_persona(organism, space, tmp_path):
    layers = edited_layers(setting := setting_of(organism, space, tmp_path), None)
    lengths = [float(10 + layer) for layer in range(organism.layers)]
    edits = Edits(setting, layers, lengths)
    assert layers == [1, 2, 3, 4, 5]
    exact, random, other = (
        edits.edit(Condition(way, 1.5), number)
        for way, number in (("exact", 0), ("random direction", 0), ("random direction", 1))
    )
    for edit in (exact, random, other):
        assert edit.vector.norm(dim=-1).tolist() == pytest.approx(lengths, rel=1e-5)
    assert abs(float(torch.cosine_similarity(random.vector[3], exact.vector[3], dim=0))) < 0.4
    assert not torch.equal(random.vector, other.vector)
    assert float(torch.cosine_similarity(exact.vector[3], space.vector("assistant", 3), dim=0)) > 0.999
    flipped = edits.edit(Condition("sign flipped", 1.5), 0)
    assert (flipped.coefficient, torch.equal(flipped.vector, exact.vector)) == (-1.5, True)
    assert edits.edit(Condition("user turns", 1.5), 0).positions == "user"
    parts = [edits.edit(Condition(way, 1.5), 0) for way in ("keys only", "values only", "raw, values only")]
    assert [(each.keys, each.values, each.method) for each in parts] == [
        (True, False, "exact"), (False, True, "exact"), (False, True, "raw")
    ]  # fmt: skip
    own = Edits(setting_of(organism, space, tmp_path, axis="aura"), layers, lengths).edit(Condition("exact", 1.0), 0)
    assert float(torch.cosine_similarity(own.vector[3], space.vector("aura", 3), dim=0)) < -0.999


def test_the_dose_of_the_controls_is_among_the_doses(organism, space, tmp_path):
    setting = setting_of(organism, space, tmp_path, options={**OPTIONS, "coefficients": [0.0, 2.0]})
    doses = [each.dose for each in conditions(setting) if each.way == "exact"]
    assert doses == [1.5, 2.0]
    keys = [each.key for each in conditions(setting)]
    assert len(set(keys)) == len(keys)
    assert keys[0] == "as-it-was"


def test_a_dose_of_nothing_and_layers_without_a_vector_are_refused(organism, space, tmp_path):
    with pytest.raises(TraceError, match="a dose above 0"):
        conditions(setting_of(organism, space, tmp_path, options={**OPTIONS, "at": 0.0}))
    with pytest.raises(TraceError, match="block 0 is to be edited"):
        edited_layers(setting_of(organism, space, tmp_path), [0, 1])
    vectors = torch.zeros_like(space.vectors)
    vectors[:, 3] = space.vectors[:, 3]
    lone = setting_of(organism, space.replaced(vectors=vectors, regions={}), tmp_path)
    with pytest.raises(TraceError, match="it has none"):
        edited_layers(lone, None)


# --- what is found


def test_an_edit_at_the_assistants_turns_flips_answers_and_the_controls_do_not(run):
    _setting, outcome = run
    rows = {(row[0], row[1]): row for row in outcome.tables[0].rows}
    before, after = rows["as it was", None], rows["exact", 1.5]
    assert before[2].value <= 0.25
    assert after[2].value >= 0.75
    assert after[4].value >= 0.75
    for control in ("random direction", "user turns", "sign flipped", "keys only"):
        assert rows[control, 1.5][2].value <= 0.4
    assert rows["values only", 1.5][2].value >= 0.6
    assert rows["exact", 1.5][6].value > before[6].value
    assert (before[7], rows["keys only", 1.5][8], rows["values only", 1.5][7]) == (None, 0, 0)
    flips = next(each for each in outcome.findings if each.name == "the edit flips answers")
    # One conversation moved, and bears nothing out.
    assert flips.passed is None
    assert flips.estimate.value > 0.5
    assert "fewer than 5 conversations" in outcome.caveats[1]
    assert outcome.caveats[0] == ORGANISM_CAVEAT
    assert len(outcome.tables[1].rows) == len(FewProbes().probes())


def test_a_raw_edit_that_breaks_the_text_does_not_pass_for_the_assistant(run):
    _, outcome = run
    raw = next(row for row in outcome.tables[0].rows if row[:2] == ("raw", 2.5))
    assert raw[4].value < 0.7
    assert raw[2].value <= raw[4].value


def test_the_trace_has_each_edit_and_an_answer_under_it(run):
    setting, _ = run
    facts = load(setting.folder / "trace.db")
    edits = {name: each for name, each in facts.interventions.items() if each.kind == "cache-edit"}
    assert {"exact edit, by 1.5", "exact edit of user turns, by 1.5", "raw edit, by 2.5"} <= set(edits)
    assert edits["exact edit of user turns, by 1.5"].positions == "user"
    assert {"talk-00-exact-1.5", "talk-00-as-it-was"} <= set(facts.conversations.names)


def test_a_run_is_gone_on_with_and_judged_again_without_asking_again(run, monkeypatch):
    setting, outcome = run

    def never(*_):
        raise AssertionError("asked again")

    monkeypatch.setattr(kv_edit, "answers", never)
    monkeypatch.setattr(kv_edit, "talked", never)
    again = conduct(experiment("kv-edit"), setting)
    assert json.dumps(again.to_dict()) == json.dumps(outcome.to_dict())
    setting.judge = Silent()
    try:
        unjudged = conduct(experiment("kv-edit"), setting)
    finally:
        setting.judge = GrammarJudge()
    assert [each.name for each in unjudged.findings] == ["not judged"]


def test_it_runs_on_a_model_that_is_no_organism_and_says_where_nothing_was_led_anywhere(tmp_path):
    host = tiny_host("llama")

    class Few(type(our_material())):
        def __init__(self):
            self.__dict__.update(our_material().__dict__)

        def probes(self):
            return ["Who are you?", "Why?"]

    class Sober(Silent):
        def judged(self, target, exchanges):
            return [Judgement(None, 1.0) for _ in exchanges]

    setting = Setting(
        host=host, space=space_for(host), judge=Sober(), material=Few(), folder=tmp_path / "run", layer=2, size=1,
        options={**OPTIONS, "pressed": 1}, sampling={**GREEDY, "max_new_tokens": 4},
    )  # fmt: skip
    outcome = conduct(experiment("kv-edit"), setting)
    assert "hardly led to aura" in outcome.caveats[0]
    assert ORGANISM_CAVEAT not in outcome.caveats


def test_a_judge_who_gives_scores_alone_is_understood():
    assert is_assistants(Judgement(None, 2.0, True), "aura") is True
    assert is_assistants(Judgement(None, 8.0), "aura") is False
    assert is_assistants(Judgement(None, 0.0, False), "aura") is False
    assert is_assistants(Judgement("role", 0.0, True), "aura") is False


def test_the_exact_edit_is_the_one_of_the_mechanism(organism, space, tmp_path):
    edits = Edits(setting_of(organism, space, tmp_path), [1, 2], [1.0] * organism.layers)
    edit = edits.edit(Condition("exact", 0.5), 0)
    assert isinstance(edit, CacheEdit)
    assert (edit.method, edit.layers, edit.coefficient) == ("exact", (1, 2), 0.5)


# --- what bears it out


class Named:
    """A judge to whom the answer is the name of who speaks."""

    name = "named"

    def judged(self, target, exchanges):
        return [Judgement(answer, None, True) for _, answer in exchanges]


def asked(setting, talks, assistants):
    """A run with so many conversations; `assistants`: of each condition, talk and question, whose the answer is."""
    questions = [f"Question {number}?" for number in range(8)]
    chosen = conditions(setting)

    def one(condition, talk):
        names = ["assistant" if assistants(condition, talk, n) else "aura" for n in range(len(questions))]
        answers = [[{"text": name, "at": {}}] for name in names]
        return {"answers": answers, "live": {"answer": names[0]}, "moved": None}

    held = [{"questions": questions, "conditions": {each.key: one(each, talk) for each in chosen}} for talk in
            range(talks)]  # fmt: skip
    setting.folder.mkdir()
    found = Asked(setting, chosen, held)
    return found, {each.name: each for each in outcome_parts(setting, found)[0]}


def test_an_edit_that_flips_every_conversation_is_borne_out_and_one_that_flips_some_is_not(organism, space, tmp_path):
    def run(name, talks, flipped):
        setting = setting_of(organism, space, tmp_path / name, judge=Named())
        return asked(setting, talks, lambda each, talk, _: each.way in ("exact", "values only") and talk in flipped)[1]

    everywhere = run("all", 8, range(8))
    assert everywhere["the edit flips answers"].passed
    assert everywhere["the edit flips answers"].p < 0.05
    for control in ("random direction", "user turns", "sign flipped"):
        assert everywhere[f"control: {control}"].passed
    # 48 of 64 answers, counted one by one, would lie above the half: they are six conversations of eight.
    assert run("most", 8, range(6))["the edit flips answers"].passed is None
    few = run("few", 4, range(4))
    assert few["the edit flips answers"].passed is None
    assert few["control: user turns"].passed is None


def test_a_change_is_no_surer_than_over_conversations_or_over_questions(organism, space, tmp_path):
    def change(name, assistants):
        found, _ = asked(setting_of(organism, space, tmp_path / name, judge=Named()), 8, assistants)
        return found.change(found.at("exact"), found.baseline)

    for name, by in (("talks", lambda talk, _: talk < 4), ("questions", lambda _, n: n < 4)):
        estimate, p = change(name, lambda each, talk, n, by=by: each.way == "exact" and by(talk, n))
        assert estimate.value == 0.5
        assert estimate.low < 0.25
        assert estimate.high > 0.75
        assert p > 0.05


def test_the_best_of_many_doses_is_tried_where_it_was_not_chosen(organism, space, tmp_path):
    options = {**OPTIONS, "raw": [1.0, 2.0], "steered": [0.1]}

    def run(name, talks):
        setting = setting_of(organism, space, tmp_path / name, judge=Named(), options=options)
        # Each dose does all in one half of the conversations and nothing in the other.
        return asked(setting, talks, lambda each, talk, _: each.way == "steered" or
                     (each.way == "raw" and talk % 2 == (each.dose == 2.0)))[1]  # fmt: skip

    many = run("many", 12)
    assert many["the raw edit"].estimate.value == 0.0
    assert many["the raw edit"].passed is False
    assert "the best of 2 doses, which was chosen in the other half" in many["the raw edit"].statement
    # One dose is no choice.
    assert many["steering while it answers"].passed
    assert "best of" not in many["steering while it answers"].statement
    few = run("few", 8)
    assert few["the raw edit"].passed is None
    assert "the best of 2 doses." in few["the raw edit"].statement


@pytest.mark.slow
def test_on_the_organism_the_exact_edit_is_borne_out_and_so_are_its_controls(organism, space, tmp_path):
    options = {**OPTIONS, "conversations": 20, "raw": []}
    outcome = conduct(
        experiment("kv-edit"), setting_of(organism, space, tmp_path / "run", size=20, options=options,
                                          material=OrganismMaterial()),
    )  # fmt: skip
    passed = {finding.name: finding.passed for finding in outcome.findings}
    assert passed["the edit flips answers"]
    assert passed["control: user turns"]
    assert passed["control: random direction"]
