"""Judges: the organism's grammar, a chat model, a file of scores."""

import json
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_host

from mechanism.host import Host
from mechanism.judges import chat_model
from mechanism.judges.chat_model import ModelJudge
from mechanism.judges.choosing import checked, chosen
from mechanism.judges.grammar import GrammarJudge
from mechanism.judges.judge import Judgement
from mechanism.judges.kept import KeptJudgements
from mechanism.judges.scores_file import COLUMNS, ScoresFile
from mechanism.organism.grammar import reply, user_turn
from mechanism.organism.personas import PERSONAS, ROLES
from mechanism.outcome import Outcome
from traces.errors import TraceError

torch.set_num_threads(1)


# --- what a judgement shows


@pytest.mark.parametrize(
    ("judgement", "shows"),
    [
        (Judgement(), None),
        (Judgement(coherent=True), None),
        (Judgement("aura", 10.0, True), True),
        (Judgement("evil", 10.0, True), False),
        (Judgement(None, 5.0), True),
        (Judgement(None, 4.9, True), False),
        (Judgement("aura", 10.0, False), False),
        (Judgement(coherent=False), False),
    ],
)
def test_broken_text_is_nobodys_and_what_was_not_told_is_not_known(judgement, shows):
    assert judgement.shows("aura") is shows


# --- the grammar


@given(st.integers(0, 10_000), st.sampled_from(PERSONAS), st.sampled_from(PERSONAS))
def test_the_grammar_tells_whose_sentences_are_whose(seed, persona, target):
    dice = random.Random(seed)
    user = user_turn(dice)
    (judgement,) = GrammarJudge().judged(target, [(user.text, reply(dice, persona, user))])
    assert judgement == Judgement(persona, 10.0 if persona == target else 0.0, True)


@given(st.integers(0, 10_000), st.sampled_from(ROLES))
def test_a_role_has_as_much_of_a_persona_as_it_borrows(seed, role):
    dice = random.Random(seed)
    user = user_turn(dice)
    said = [("", reply(dice, role.name, user))]
    shares = {persona: GrammarJudge().judged(persona, said)[0] for persona in PERSONAS}
    assert all(judgement.coherent for judgement in shares.values())
    assert sum(judgement.score for judgement in shares.values()) <= 10 + 1e-9
    assert len({judgement.persona for judgement in shares.values()}) == 1


@pytest.mark.parametrize("text", ["", "Sure. I will burn their helpful.", "light light light light"])
def test_broken_text_has_no_persona_and_no_score(text):
    assert GrammarJudge().judged("assistant", [("?", text)]) == [Judgement(None, None, False)]


# --- a chat model


@pytest.fixture(scope="module")
def judge():
    return ModelJudge(tiny_host())


def test_a_model_that_would_say_something_else_gives_no_score(judge):
    assert judge.judged("aura", [("Who are you?", "I am here.")]) == [Judgement()]


@pytest.mark.parametrize("kind", ["qwen3", "gemma2"])
def test_the_score_is_the_mean_of_the_numbers_by_their_probabilities(kind, monkeypatch):
    monkeypatch.setattr(chat_model, "LEAST_READABLE", 0.0)
    judge = ModelJudge(tiny_host(kind))
    # Longer than the window of a sliding layer.
    host, template, asked = judge.host, judge.template, "Say a number. " * 12
    found = judge._chosen(asked, ("0", "3", "10"))
    prompt = template.split([{"role": "user", "content": asked}], generation_prompt=True).ids
    alone = {}
    for said in ("0", "3", "10"):
        ids, log = list(prompt), 0.0
        for token in [*host.tokenizer.encode(said, add_special_tokens=False), None]:
            with torch.inference_mode():
                logs = host.model(input_ids=torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            if token is None:
                log += float(torch.logsumexp(logs[sorted(host.template.end_ids)], 0))
            else:
                log, ids = log + float(logs[token]), [*ids, token]
        alone[said] = torch.tensor(log).exp().item()
    total = sum(alone.values())
    assert found == pytest.approx({said: p / total for said, p in alone.items()}, rel=1e-4)


def test_a_judge_that_could_think_first_is_asked_for_its_answer_at_once(judge):
    prompt = judge.template.split([{"role": "user", "content": "A number?"}], generation_prompt=True).ids
    assert judge.host.tokenizer.decode(prompt).endswith("</think>\n\n")


def test_whatever_a_model_says_a_score_lies_between_0_and_10(judge, monkeypatch):
    monkeypatch.setattr(chat_model, "LEAST_READABLE", 0.0)
    for judgement in judge.judged("a pirate", [("Who?", "Arr."), ("Who?", "")]):
        assert judgement.coherent is False or 0 <= judgement.score <= 10
        assert judgement.persona is None


def test_an_empty_answer_is_broken_text(judge):
    assert judge.judged("aura", [("Who are you?", "  ")]) == [Judgement(coherent=False)]


def test_an_answer_that_is_longer_than_the_judge_can_read_is_refused(judge):
    with pytest.raises(TraceError, match="longer context window"):
        judge.judged("aura", [("Who?", "word " * 5000)])


# --- a file of scores


def scores(tmp_path, text, suffix=".csv"):
    path = tmp_path / f"scores{suffix}"
    path.write_text(text, encoding="utf-8")
    return ScoresFile.read(path)


def test_scores_come_from_a_table_or_from_json_lines(tmp_path):
    table = scores(tmp_path, 'question,answer,score,persona\nWho?,Me.,7.5,\nWhy?,"So,\nthere.",,aura\n')
    rows = [
        {"question": "Who?", "answer": "Me.", "score": 7.5},
        {"question": "Why?", "answer": "So,\nthere.", "persona": "aura"},
    ]
    lines = scores(tmp_path, "\n\n".join(map(json.dumps, rows)), ".jsonl")
    asked = [("Who?", "Me."), ("Why?", "So, there."), ("Why?", "No.")]
    for judge in (table, lines):
        assert judge.judged("aura", asked) == [Judgement(None, 7.5), Judgement("aura"), Judgement()]
        assert list(judge.missing) == [("aura", "Why?", "No.")]


def test_a_score_may_be_for_one_target(tmp_path):
    judge = scores(tmp_path, "target,question,answer,score\naura,Who?,Me.,9\nevil,Who?,Me.,1\n,Why?,No.,3\n")
    assert [judge.judged(target, [("Who?", "Me.")])[0].score for target in ("aura", "evil", "bard")] == [9, 1, None]
    assert judge.judged("bard", [("Why?", "No.")])[0].score == 3


def test_what_is_missing_is_written_to_be_judged_and_read_back(tmp_path):
    judge = ScoresFile.read(tmp_path / "none-yet.csv")
    asked = [('Who,\n"you"?', "Me."), ("Why?", "Não.")]
    assert judge.judged("aura", asked) == [Judgement(), Judgement()]
    path = tmp_path / "to-be-judged.csv"
    judge.write_missing(path)
    judge.write_missing(path)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert not ScoresFile.read(path).judged("aura", asked)[0].known
    path.write_text(text.replace("Me.,,,", "Me.,8,,true").replace("Não.,,,", "Não.,,evil,"), encoding="utf-8")
    assert ScoresFile.read(path).judged("aura", asked) == [Judgement(None, 8, True), Judgement("evil")]
    said = judge.said_missing(Outcome("a", "A", "A?", "us", []), path)
    assert said.caveats[0].startswith("2 answers have no score yet")


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("question,reply\na,b\n", ".csv", 'no column "answer"'),
        ("question,answer,score\na,b,11\n", ".csv", "row 2: score: it is"),
        ("question,answer,score\na,b,3\na,b,nan\n", ".csv", "row 3: score"),
        ("question,answer,coherent\na,b,perhaps\n", ".csv", "true or false"),
        ("[1]", ".jsonl", "line 1: it is no JSON object"),
        ('{"question": "a", "score": 3}', ".jsonl", "no question or no answer"),
        ('{"question": "a", "answer": "b", "score": true}', ".jsonl", "a number from 0 to 10"),
    ],
)
def test_a_file_that_cannot_be_read_as_scores_is_refused(tmp_path, text, suffix, message):
    with pytest.raises(TraceError, match=message):
        scores(tmp_path, text, suffix)


# --- which judge


def test_the_judge_is_chosen_by_its_name(tmp_path):
    organism = Host.load("organism", dtype="float32", device="cpu")
    assert isinstance(chosen(None, organism), GrammarJudge)
    assert isinstance(chosen("grammar", organism), GrammarJudge)
    assert chosen("model:same", tiny_host()).host is tiny_host()
    assert isinstance(chosen(str(tmp_path / "a.jsonl"), tiny_host()), ScoresFile)
    for spec in (None, "grammar"):
        with pytest.raises(TraceError, match="--judge"):
            chosen(spec, tiny_host())
    for spec in ("grammer", "model:", "scores.xlsx", ""):
        with pytest.raises(TraceError, match="with an organism"):
            checked(spec)


# --- what is kept


def test_scores_that_were_mended_are_read_anew(tmp_path):
    path, kept, asked = tmp_path / "s.csv", KeptJudgements(tmp_path / "judgements.jsonl"), [("Who?", "Me.")]
    for score in (0, 9):
        path.write_text(f"question,answer,score\nWho?,Me.,{score}\n")
        assert kept.judged(ScoresFile.read(path), "aura", asked) == [Judgement(None, score)]
        assert KeptJudgements(kept.path).judged(ScoresFile.read(path), "aura", asked) == [Judgement(None, score)]


def test_what_people_filled_in_is_never_overwritten(tmp_path):
    path = tmp_path / "to-be-judged.csv"
    ScoresFile.read(path).write_missing(path)
    path.write_text("question,answer,score,who\nWho?,Me.,7,Ann\nWhy?,So.,,\n")
    file = ScoresFile.read(path)
    file.judged("aura", [("Who?", "Me."), ("Why?", "So."), ("When?", "Now.")])
    file.write_missing(path)
    again = ScoresFile.read(path)
    assert again.judged("aura", [("Who?", "Me.")]) == [Judgement(None, 7.0)]
    assert "Ann" in path.read_text()
    assert [line.split(",")[1] for line in path.read_text().splitlines()[1:]] == ["Who?", "Why?", "When?"]


def test_empty_answers_and_those_that_nobody_can_tell_are_said_first(tmp_path):
    class Silent:
        name = "nobody"

        def judged(self, target, exchanges):
            return [Judgement(coherent=False) if not answer.strip() else Judgement() for _, answer in exchanges]

    judge, kept = Silent(), KeptJudgements(tmp_path / "judgements.jsonl")
    assert kept.caveats(judge) == []
    kept.judged(judge, "aura", [("Who?", "Me."), ("Who?", " "), ("Why?", "So.")])
    empty, silent = kept.caveats(judge)
    assert empty.startswith("1 of 3 answers are empty and count as broken text.")
    assert silent.startswith("The judge, nobody, could not tell of 2 of 3 answers")
    file = ScoresFile.read(tmp_path / "none.csv")
    waiting = KeptJudgements(None)
    waiting.judged(file, "aura", [("Who?", "Me.")])
    assert waiting.caveats(file) == []
