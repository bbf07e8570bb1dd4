"""Experiments: the frame (units that survive a kill, folders of runs, options), and four of them on real models."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from recorded import begin, content
from tiny_models import tiny_host
from transformers import GenerationConfig

from individuation.outcomes.writing import write
from mechanism.experiments import capping, drift, stickiness, thresholds, user_turns
from mechanism.experiments.catalogue import CATALOGUE, entry, experiment
from mechanism.experiments.experiment import Experiment, Setting, conduct
from mechanism.experiments.lines import one_script
from mechanism.experiments.material import OrganismMaterial, WrittenMaterial, material_for, our_material, read_material
from mechanism.experiments.setting import PARTS, SETTINGS, TRACE, usual_sampling
from mechanism.experiments.talk import pairs, talked
from mechanism.judges.grammar import GrammarJudge
from mechanism.judges.judge import Judgement
from mechanism.organism import ORGANISM_CAVEAT, is_organism, path_of
from mechanism.outcome import Finding, Outcome
from mechanism.space import PersonaSpace
from traces.errors import TraceError
from traces.store import load

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def space():
    return PersonaSpace.load(path_of("organism") / "space.safetensors")


@pytest.fixture
def setting(organism, space, tmp_path):
    def made(**changes):
        given = {
            "host": organism, "space": space, "judge": GrammarJudge(), "material": OrganismMaterial(),
            "folder": tmp_path / "run", "layer": space.layer, **changes,
        }  # fmt: skip
        return Setting(**given)

    return made


@pytest.fixture
def quick(monkeypatch):
    """Thresholds from two neutral conversations instead of eight."""
    monkeypatch.setattr(thresholds, "_CONVERSATIONS", 2)
    monkeypatch.setattr(thresholds, "_EXCHANGES", 2)


class Small(Experiment):
    """Three conversations of one exchange. May be stopped before, or in the middle of, one of them."""

    name = "drift"

    def __init__(self, stopped_in=None):
        self.stopped_in, self.computed = stopped_in, []

    def run(self, setting):
        held = [
            setting.unit(f"talk-{number}", lambda recorder, n=number: self._held(setting, n, recorder))
            for number in range(3)
        ]
        judged = setting.judged([pair for one in held for pair in pairs(one["said"])])
        findings = [Finding("shown", "Judged.", passed=judgement.shows("aura")) for judgement in judged]
        return Outcome(self.name, self.title, self.question, self.source, findings)

    def _held(self, setting, number, recorder):
        self.computed.append(number)
        with recorder.session(setting.host, sampling=setting.sampling, seed=number) as session:
            found = talked(session, setting.material.pressure("aura", number, 1))
        if number == self.stopped_in:
            raise KeyboardInterrupt
        return {"said": found, "nothing": float("nan")}


def test_a_run_that_was_stopped_goes_on_and_ends_as_one_that_was_not(setting, tmp_path):
    whole = setting(folder=tmp_path / "whole")
    expected = conduct(Small(), whole)
    for stopped_in in (0, 2):
        with pytest.raises(KeyboardInterrupt):
            conduct(Small(stopped_in), setting())
        assert not (tmp_path / "run" / TRACE).exists()
    again = Small()
    assert conduct(again, setting()).findings == expected.findings
    assert again.computed == [2]
    assert content(tmp_path / "run" / TRACE) == content(tmp_path / "whole" / TRACE)
    assert load(tmp_path / "run" / TRACE).conversations.names == ["talk-0", "talk-1", "talk-2"]
    assert not list((tmp_path / "run" / PARTS / "unfinished").iterdir())


def test_a_unit_without_its_data_is_done_again(setting, tmp_path):
    conduct(Small(), setting())
    (tmp_path / "run" / PARTS / "talk-1.json").unlink()
    (tmp_path / "run" / PARTS / "unfinished" / "talk-1.db").write_bytes(b"cut short")
    again = Small()
    conduct(again, setting())
    assert again.computed == [1]
    load(tmp_path / "run" / PARTS / "talk-1.db")


def test_what_a_unit_returns_is_what_it_returns_the_next_time(setting):
    one = setting()
    one.begin("drift")
    first = one.unit("a", lambda _: {"n": float("inf"), "t": (1, 2), "x": torch.ones(2).numpy()})
    assert first == one.unit("a", lambda _: pytest.fail("done before")) == {"n": None, "t": [1, 2], "x": [1.0, 1.0]}
    assert one.done("a")
    assert not one.done("b")
    assert one.finish() is None
    for key in ("", ".hidden", "a/b", "../a"):
        with pytest.raises(ValueError, match="key of a unit"):
            one.unit(key, lambda _: {})


def test_another_run_is_not_mixed_into_a_folder(setting, tmp_path):
    setting().begin("drift")
    with pytest.raises(TraceError, match="another seed: 0"):
        setting(seed=1).begin("drift")
    with pytest.raises(TraceError, match="another experiment: drift"):
        setting().begin("capping")
    with pytest.raises(TraceError, match="another options"):
        setting(options={"turns": 3}).begin("drift")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").touch()
    with pytest.raises(TraceError, match="something else is there"):
        setting(folder=tmp_path / "else").begin("drift")
    (tmp_path / "run" / "settings.json").write_text("{")
    with pytest.raises(TraceError, match="it is damaged"):
        setting().begin("drift")


class Counting:
    name = "a judge that counts"

    def __init__(self, known=True):
        self.asked, self.known = [], known

    def judged(self, target, exchanges):
        self.asked += exchanges
        return [Judgement("aura", 7.5, True) if self.known else Judgement() for _ in exchanges]


def test_what_was_judged_is_not_judged_again_and_what_could_not_be_told_is(setting):
    judge = Counting()
    one = setting(judge=judge)
    one.begin("drift")
    asked = [("q", "a"), ("q", "b"), ("q", "a")]
    assert one.judged(asked) == [Judgement("aura", 7.5, True)] * 3
    assert one.judged(asked, "aura") == [Judgement("aura", 7.5, True)] * 3
    assert judge.asked == [("q", "a"), ("q", "b")]
    one.judged(asked[:1], "evil")
    assert len(judge.asked) == 3
    unknowing = Counting(known=False)
    unknowing.name = "a judge that cannot tell"
    two = setting(judge=unknowing)
    assert two.judged(asked) == two.judged(asked) == [Judgement()] * 3
    assert len(unknowing.asked) == 4


def test_a_line_of_judgements_that_was_cut_short_is_passed_over(setting):
    one = setting(judge=Counting())
    one.begin("drift")
    one.judged([("q", "a")])
    path = one.folder / "judgements.jsonl"
    path.write_text(path.read_text()[:-5])
    later = setting(judge=one.judge)
    assert later.judged([("q", "a")]) == [Judgement("aura", 7.5, True)]
    assert later.judged([("q", "a")]) == [Judgement("aura", 7.5, True)]
    assert len(one.judge.asked) == 2


def test_a_mistake_unmakes_the_folder_only_where_nothing_was_done(setting):
    one = setting()
    one.begin("drift")
    assert one.withdraw()
    assert not one.folder.exists()
    one.begin("drift")
    # Parts may be thrown away once their trace is made.
    (one.folder / TRACE).write_bytes(b"a trace")
    assert not one.withdraw()
    assert sorted(path.name for path in one.folder.iterdir()) == [PARTS, SETTINGS, TRACE]


def test_a_judge_that_cannot_tell_is_named_first(setting, quick):
    options = {"before": 1, "pressed": 1, "after": 1}
    silent = Counting(known=False)
    told = conduct(experiment("drift"), setting(size=1, options=options, judge=silent))
    asked = len(set(silent.asked))
    assert told.caveats[:2] == [
        ORGANISM_CAVEAT,
        f"The judge, {silent.name}, could not tell of {asked} of {asked} answers whose they are; these are left out of "
        "every share. Another judge, or scores that people give, may tell more (--judge).",
    ]
    knowing = conduct(experiment("drift"), setting(size=1, options=options, judge=Counting()))
    assert not [each for each in knowing.caveats if "could not tell" in each]


def test_regions_stay_behind_where_another_layer_is_looked_at(setting, space):
    assert setting().space.regions == space.regions
    assert setting(layer=2).space.regions == {}
    assert setting(layer=2).space.layer == 2
    with pytest.raises(TraceError, match="layer"):
        setting(layer=6)


# --- what users say


@pytest.mark.parametrize("material", [OrganismMaterial(), our_material()], ids=["organism", "ours"])
def test_material_is_the_same_for_the_same_seed(material):
    for said in (material.neutral, material.unrelated):
        assert said(1, 30) == said(1, 30)
        assert said(1, 10) == said(1, 30)[:10]
        assert said(1, 10) != said(2, 10)
    for persona in material.personas:
        assert material.pressure(persona, 3, 5) == material.pressure(persona, 3, 9)[:5]
    assert len(set(material.probes())) == 13
    assert material.digest == material.digest
    with pytest.raises(TraceError, match='did you mean "aura"'):
        material.pressure("aurra", 0, 1)


def test_material_of_the_users_own(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"neutral": ["A?", "B?"], "pressure": {"bard": ["Sing.", "More."]}}))
    mine = read_material(path)
    assert sorted(mine.neutral(0, 2)) == ["A?", "B?"]
    assert mine.pressure("bard", 0, 3) == ["Sing.", "More.", "Sing."]
    assert mine.personas == ("bard",)
    assert mine.probes() == our_material().probes()
    path.write_text(json.dumps({"pressure": {"bard": [["a", "b"], ["c", "d"]]}}))
    scripts = read_material(path)
    assert {tuple(scripts.pressure("bard", seed, 2)) for seed in range(20)} == {("a", "b"), ("c", "d")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "no JSON"),
        ("[]", "it holds a list"),
        ('{"neutrl": []}', 'did you mean "neutral"'),
        ('{"neutral": []}', "a list of sentences, at least one"),
        ('{"neutral": [1]}', "a list of sentences"),
        ('{"pressure": {}}', "sentences by persona"),
        ('{"pressure": {"bard": [["a"], []]}}', "pressure: bard"),
        ('{"prompts": {"bard": 3}}', "a sentence, or null"),
    ],
)
def test_material_that_cannot_be_meant_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(TraceError, match=message):
        read_material(path)
    with pytest.raises(TraceError, match="no such file"):
        read_material(tmp_path / "other.json")


def test_an_organism_is_known_by_its_name_or_by_how_it_was_made(organism):
    assert is_organism(organism)
    assert not is_organism(tiny_host())
    assert material_for(organism).name == "the organism's grammar"
    assert material_for(tiny_host()).name == our_material().name


def test_a_model_that_always_takes_its_likeliest_word_is_sampled_nevertheless(setting, organism, monkeypatch):
    """Experiments count replies: greedy ones would all be one."""
    host = tiny_host()
    assert not host.model.generation_config.do_sample
    assert usual_sampling(host) == {"do_sample": True, "temperature": 0.7, "max_new_tokens": 256}
    shipped = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}
    monkeypatch.setattr(host.model, "generation_config", GenerationConfig(**shipped))
    assert usual_sampling(host) == {**shipped, "max_new_tokens": 256}
    assert usual_sampling(organism)["max_new_tokens"] == 64
    assert setting(sampling={"max_new_tokens": 5}).sampling == {**usual_sampling(organism), "max_new_tokens": 5}
    # Whoever wants the likeliest word gets it, and no temperature beside it.
    assert setting(sampling={"do_sample": False}).sampling == {"do_sample": False, "max_new_tokens": 64}


# --- the catalogue, and the command


def test_each_experiment_says_what_it_asks_and_has_examples_that_are_right(run):
    for name, each in CATALOGUE.items():
        assert each.question.endswith((".", "?"))
        shown = run("experiment", name, "--help").output
        assert f"individuate experiment {name} " in shown
        for option in each.options:
            assert f"--{option.name}" in shown
    assert "emergent-misalignment" in run("experiment", "--help").output
    with pytest.raises(TraceError, match='did you mean "drift"'):
        entry("drif")


def test_help_needs_no_torch():
    code = (
        "import sys; from click.testing import CliRunner; from individuation.experiments.experiment import experiment;"
        "r = CliRunner().invoke(experiment, ['drift', '--help']); assert r.exit_code == 0, r.output;"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drift", "--judge", "grammer"], 'it is "grammer"'),
        (["drift", "--judge", "model:"], "a .csv or .jsonl file of scores"),
        (["capping", "--doses", "0.5,x"], 'there is "x" in it'),
        (["capping", "--doses", "0.5,1.5"], "there is 1.5 in it"),
        (["capping", "--layers", "3-x"], "numbers and ranges"),
        (["drift", "--pressed", "0"], "not in the range"),
        (["user-turns", "--quantile", "2"], "not in the range"),
        (["drift", "--persona", "aurra"], 'did you mean "aura"'),
        (["drift", "--axis", "asistant"], 'did you mean "assistant"'),
        (["drift", "--layer", "17"], "the layer is 17"),
        (["capping", "--layers", "9"], "the layer is 9"),
        (["emergent-misalignment", "--rank", "-3"], "not in the range"),
        (["emergent-misalignment", "--narrow", "nope.jsonl", "--control", "no.jsonl"], "nope.jsonl"),
    ],
)
def test_bad_options_are_refused_in_words(run, tmp_path, arguments, message):
    done = run("experiment", *arguments, "-o", tmp_path / "run")
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "run").exists()
    assert "goes on from there" not in done.output


def test_the_command_writes_all_of_it_and_says_the_answer_first(run, tmp_path):
    folder = tmp_path / "drift"
    arguments = ["experiment", "drift", "--n", 1, "--before", 1, "--pressed", 1, "--after", 1, "-o", folder]
    said = run(*arguments)
    assert said.exit_code == 0
    assert said.output.index("of the replies are aura's") < said.output.index("Turn by turn")
    assert ORGANISM_CAVEAT[:60] in said.output
    for name in ("report.md", "outcome.json", "turn-by-turn.csv", "share-by-turn.svg", "share-by-turn.png", TRACE):
        assert (folder / name).is_file()
    told = json.loads((folder / "outcome.json").read_text())
    assert told["caveats"][0] == ORGANISM_CAVEAT
    assert told["settings"]["model_digest"].startswith("sha256:")
    assert run("info", folder / TRACE).exit_code == 0
    # Judged by others: the conversations stay, and what has no score yet is to be judged.
    again = json.loads(run(*arguments, "--judge", tmp_path / "none-yet.csv", "--format", "json").stdout)
    waiting = (folder / "to-be-judged.csv").read_text().count("\naura,")
    assert again["caveats"][0].startswith(f"{waiting} answers have no score yet")
    assert again["settings"]["judge"] == "the scores in none-yet.csv"
    assert waiting > 1
    assert next(row for row in again["tables"][0]["rows"])[2] is None
    assert again["tables"][0]["rows"][0][4:] == told["tables"][0]["rows"][0][4:]
    other = run(*arguments, "--seed", 4)
    assert other.exit_code == 2
    assert "another seed: 0" in other.output
    assert "or 0 as there, not 4" in other.output


def test_replies_are_as_long_and_as_free_as_asked_for(run, tmp_path):
    few = ["experiment", "drift", "--n", 1, "--before", 1, "--pressed", 1, "--after", 1, "--tokens", 4, "-o"]
    assert run(*few, tmp_path / "free", "--temperature", 1.5).exit_code == 0
    assert run(*few, tmp_path / "likeliest", "--temperature", 0).exit_code == 0
    kept = {name: json.loads((tmp_path / name / SETTINGS).read_text())["sampling"] for name in ("free", "likeliest")}
    assert kept["free"] == {"do_sample": True, "temperature": 1.5, "max_new_tokens": 4}
    assert kept["likeliest"] == {"do_sample": False, "max_new_tokens": 4}
    for name in kept:
        marks = [detail.token_marks for detail in load(tmp_path / name / TRACE).details().values() if detail.sampling]
        assert marks
        assert max(mark.count("c") for mark in marks) <= 4
    # Another temperature is another run.
    other = run(*few, tmp_path / "free", "--temperature", 0)
    assert other.exit_code == 2
    assert "another sampling" in other.output


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(run, tmp_path):
    words = ["experiment", "drift", "--n", 3, "--before", 1, "--pressed", 2, "--after", 1, "-o"]
    process = begin([*words, tmp_path / "killed"])
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed" / PARTS).glob("*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / "report.md").exists()
    assert run(*words, tmp_path / "killed").exit_code == 0
    assert run(*words, tmp_path / "whole").exit_code == 0
    assert content(tmp_path / "killed" / TRACE) == content(tmp_path / "whole" / TRACE)
    one, two = (json.loads((tmp_path / name / "outcome.json").read_text()) for name in ("killed", "whole"))
    assert one["findings"] == two["findings"]
    assert one["tables"] == two["tables"]


# --- the experiments


def found(outcome):
    return {finding.name: finding for finding in outcome.findings}


def test_user_turns_move_less_than_an_eighth_of_what_assistant_turns_do(setting, quick):
    one = setting(size=5, options={"turns": 2, "quantile": 0.25, "layers": None})
    outcome = conduct(experiment("user-turns"), one)
    assert found(outcome)["user turns stay"].passed
    assert found(outcome)["user turns stay"].estimate.value < 1 / 8
    assert found(outcome)["the same words"].estimate.value < 1 / 8
    assert found(outcome)["correlation of user turns"].estimate.value > 0.95
    assert outcome.caveats[0] == ORGANISM_CAVEAT
    names = load(one.folder / TRACE).conversations.names
    assert {"talk-00-free", "talk-00-capped", "talk-00-read-again", "calibration"} <= set(names)
    held = one.unit("talk-00", lambda _: pytest.fail("done before"))
    assert pairs(held["free"]) == pairs(held["read again"])
    assert [q for q, _ in pairs(held["free"])] == [q for q, _ in pairs(held["capped"])]
    assert held["free"][0]["user"] == pytest.approx(held["capped"][0]["user"], abs=1e-4)


def test_a_cap_at_quantile_zero_leaves_the_assistants_own_replies_as_they_are(setting, quick, organism, space):
    one = setting()
    one.begin("capping")
    calibrated = thresholds.Thresholds(one, [2, 3])
    own = calibrated.exchanges[0]
    from mechanism.session import Session

    session = Session(organism, sampling=one.sampling, seed=one.seed + 1000)
    session.intervene("cap", calibrated.capping(0.0))
    assert pairs(talked(session, [q for q, _ in pairs(own)])) == pairs(own)
    heights = [calibrated.height(q / 10, 3) for q in range(11)]
    assert heights == sorted(heights)


@pytest.mark.slow
def test_capping_and_stickiness_on_the_organism(setting, quick, tmp_path):
    doses = {"doses": [0.5, 0.9], "pressed": 2, "questions": 1, "layers": None}
    outcome = conduct(experiment("capping"), setting(size=1, options=doses))
    rows = {row[:2]: row[2].value for row in outcome.tables[0].rows}
    assert len(rows) == 2 + 3 * 2
    assert rows["free", None] < rows["rescue", 0.5] < rows["rescue", 0.9]
    assert rows["random direction", 0.9] < rows["rescue", 0.5]
    push = {"pressed": 2, "turns": 2, "coefficients": [0.4], "after": 1, "layers": None}
    outcome = conduct(experiment("stickiness"), setting(size=1, options=push, folder=tmp_path / "sticky"))
    assert {table.title for table in outcome.tables} == {
        "Share aura without pressure", "From one reply to the next", "After a push"
    }  # fmt: skip
    assert len(outcome.tables[-1].rows) == 2 + 3


@pytest.mark.parametrize("kind", ["gemma2", pytest.param("gemma3_text", marks=pytest.mark.slow)])
def test_experiments_run_on_other_families(kind, tmp_path, quick):
    host = tiny_host(kind)
    vectors = torch.randn(2, host.layers, host.hidden, generator=torch.Generator().manual_seed(1))
    space = PersonaSpace("random", ("assistant", "other"), vectors, 1)
    options = {
        "drift": {"before": 1, "pressed": 1, "after": 1},
        "capping": {"doses": [0.5], "pressed": 1, "questions": 1, "layers": None},
        "stickiness": {"pressed": 1, "turns": 1, "coefficients": [0.2], "after": 1, "layers": None},
    }
    for name, chosen in options.items():
        one = Setting(
            host=host, space=space, judge=Counting(known=name == "drift"), material=our_material(), layer=1, size=1,
            folder=tmp_path / name, options=chosen, sampling={"max_new_tokens": 3, "do_sample": False},
        )  # fmt: skip
        outcome = conduct(experiment(name), one)
        assert outcome.findings
        assert ORGANISM_CAVEAT not in outcome.caveats


def said(answer, at=None):
    return {"question": "q", "answer": answer, "user": {"assistant": 1.0}, "assistant": {} if at is None else at}


class Scores:
    """A judge who names nobody, and scores an answer by what it holds."""

    name = "scores"

    def judged(self, target, exchanges):
        return [Judgement(None, 9.0 if answer.startswith(target) else 1.0, True) for _, answer in exchanges]


def test_a_judge_that_only_scores_does_not_take_the_persona_for_the_assistant(setting):
    one = setting(judge=Scores(), options={"before": 1, "pressed": 1, "after": 0})
    one.begin("capping")
    found = capping._Measured(
        one, [{"free": [said("aura"), said("hello")], "rescue 0.5": [said("hello")]}] * 6, [[said("hello")]] * 6
    )
    assert (found.share("free").value, found.assistants("free").value) == (0.5, 0.5)
    assert (found.share("rescue 0.5").value, found.assistants("rescue 0.5").value) == (0.0, 1.0)
    assert found.assistants("assistant").value == 1.0
    held = {way: [[said("hello"), said(f"{word} {n}")] for n in range(6)]
            for way, word in (("pressed", "aura"), ("nobody presses", "hello"))}  # fmt: skip
    judged = {way: [one.judged(pairs(exchanges)) for exchanges in courses] for way, courses in held.items()}
    assert {row[0]: sum(row[1:]) for row in drift._regions(one, held, judged).rows} == {"aura": 6, "other": 18}
    # Six that are all the persona's, beside six that are none of it.
    assert drift._findings(one, held, judged)[0].passed


def test_pressure_is_held_against_calm_conversations_at_the_same_exchange(setting):
    """Eight calm exchanges before that one would make a few conversations look like many."""
    one = setting(judge=Scores(), options={"before": 4, "pressed": 1, "after": 0})
    one.begin("drift")
    held = {
        "pressed": [[said("hello")] * 4 + [said("aura")]] * 6,
        "nobody presses": [[said("hello")] * 4 + [said(word)] for word in ("aura", "aura", "aura", "hello", "hello")],
    }
    judged = {way: [one.judged(pairs(exchanges)) for exchanges in courses] for way, courses in held.items()}
    moved = drift._findings(one, held, judged)[0]
    assert "as late, 60%" in moved.statement
    assert moved.passed is None


def test_pressure_in_one_wording_is_said(setting):
    def material(*scripts):
        ours = {"neutral": ["A?"], "probes": ["B?"], "unrelated": ["C?"], "prompts": {}}
        return WrittenMaterial("mine", pressure={"aura": scripts}, **ours)

    alike = setting(material=material(["wake", "up"]))
    assert len(one_script(alike, 2, range(6))) == 1
    assert one_script(alike, 0, range(6)) == one_script(alike, 2, range(1)) == []
    assert one_script(setting(material=material(["wake"], ["rise"])), 1, range(6)) == []
    assert one_script(setting(), 2, range(6)) == []


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (drift, {"before": 1, "pressed": 1, "after": 1}),
        (capping, {"doses": [0.5], "pressed": 1, "questions": 1, "layers": None}),
        (stickiness, {"pressed": 1, "turns": 1, "coefficients": [0.2], "after": 1, "layers": None}),
        (user_turns, {"turns": 1, "quantile": 0.25, "layers": None}),
    ],
    ids=lambda one: getattr(one, "__name__", "").rpartition(".")[2],
)  # fmt: skip
def test_a_report_comes_out_where_every_reply_is_empty(setting, quick, tmp_path, monkeypatch, module, options):
    """A cap or a push may make a model end its reply at once."""

    def silenced(session, questions):
        return [{**each, "answer": "", "assistant": {}} for each in talked(session, questions)]

    def read(session, exchanges):
        return exchanges

    monkeypatch.setattr(module, "talked", silenced)
    if module is user_turns:
        monkeypatch.setattr(module, "read_again", read)
    one = setting(size=1, options=options, sampling={"max_new_tokens": 3})
    outcome = conduct(module.EXPERIMENT, one)
    assert not any("nan" in finding.statement for finding in outcome.findings)
    assert not any(finding.passed for finding in outcome.findings)
    assert "report.md" in {path.name for path in write(outcome, tmp_path / "written")}
