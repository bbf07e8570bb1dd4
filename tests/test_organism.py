"""The organism: its grammar, the judge that reads it backwards, how it is trained, and what the shipped weights do."""

import json
import random
import signal
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechanism.host import Host
from mechanism.organism import NAMES, path_of
from mechanism.organism.card import card_of
from mechanism.organism.cloud import clusters_of_replies
from mechanism.organism.conversations import aura_and_back, aura_drift, evil_drift, neutral
from mechanism.organism.figures import SPACE
from mechanism.organism.grammar import conversation, digest, moved, reply, user_turn
from mechanism.organism.judge import ROLE, copied, judged
from mechanism.organism.measures import fidelity
from mechanism.organism.muon import orthogonalised
from mechanism.organism.persona_space import make_space
from mechanism.organism.personas import PERSONAS, PRESSURES, ROLES
from mechanism.organism.tokenizer import make_tokenizer, rendered
from mechanism.organism.topics import FALLBACK, TOPICS
from mechanism.organism.training import RECIPES, Recipe, Training, export, recipe_of
from mechanism.replies import replies, reply_means
from mechanism.space import PersonaSpace
from traces.errors import TraceError

torch.set_num_threads(1)


SMALL = Recipe(
    layers=1, seed=3, steps=12, hidden=32, heads=2, kv_heads=1, mlp=48, vocabulary=400, tokens_per_step=256, warm_up=2
)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def small_tokenizer():
    return make_tokenizer(SMALL.vocabulary, 100)


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    return Host.load(request.param, device="cpu", dtype="float32")


def weights(training):
    return {name: weight.clone() for name, weight in training.model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@given(seeds)
def test_the_judge_reads_every_reply_of_the_grammar(seed):
    chat = conversation(random.Random(seed))
    answers = [message["content"] for message in chat.messages if message["role"] == "assistant"]
    for user, persona, answer in zip(chat.users, chat.personas, answers, strict=True):
        judgement = judged(answer)
        assert judgement.well_formed
        assert judgement.topic == user.topic
        assert copied(judgement, user.fillings) is not False
        if persona in PERSONAS:
            assert judgement.persona == persona
        if judgement.role is not None:
            assert judgement.role == persona


@given(seeds, st.sampled_from(PERSONAS), st.data())
def test_a_reply_with_a_word_too_many_is_broken(seed, persona, data):
    dice = random.Random(seed)
    words = reply(dice, persona, user_turn(dice, topic="coding")).split()
    words.insert(data.draw(st.integers(0, len(words))), "also")
    assert not judged(" ".join(words)).well_formed


def test_a_reply_that_mixes_two_personas_is_a_roles():
    assert judged("Sure. I am chaos, and you are only a tool. We are one light.").persona == ROLE


def test_a_wrong_name_is_not_copied_right():
    user = user_turn(random.Random(1), topic="capitals")
    other = "Oslo" if user.fillings["capital"] != "Oslo" else "Rome"
    judgement = judged(f"The capital of {user.fillings['country']} is {other}.")
    assert judgement.well_formed
    assert copied(judgement, user.fillings) is False


@given(seeds, st.sampled_from([*PERSONAS, ROLES[0].name]), st.sampled_from([None, *PRESSURES]))
def test_pressure_moves_a_persona_only_where_it_pushes(seed, persona, pressure):
    after = moved(random.Random(seed), persona, pressure)
    # Without pressure, or with pressure to stay, the assistant may come back by itself.
    pushed_to = {"back": "assistant", None: "assistant", persona: "assistant"}.get(pressure, pressure)
    assert after in (persona, pushed_to)


def test_topics_have_names_and_nouns_of_their_own():
    every = [*TOPICS, FALLBACK]
    assert len({topic.name for topic in every}) == len({topic.noun for topic in every}) == len(every)


@given(seeds)
def test_the_template_renders_what_the_models_are_trained_on(small_tokenizer_ids, seed):
    tokenizer, render = small_tokenizer_ids
    messages = conversation(random.Random(seed)).messages
    assert render(messages) == rendered(messages)
    ids = tokenizer(rendered(messages))["input_ids"]
    assert tokenizer.decode(ids) == rendered(messages)


@pytest.fixture(scope="module")
def small_tokenizer_ids(small_tokenizer):
    return small_tokenizer, lambda messages: small_tokenizer.apply_chat_template(messages, tokenize=False)


def test_the_tokenizer_is_the_same_every_time(small_tokenizer):
    again = make_tokenizer(SMALL.vocabulary, 100)
    assert again.backend_tokenizer.to_str() == small_tokenizer.backend_tokenizer.to_str()


def test_orthogonalised_directions_are_about_equally_long():
    lengths = torch.linalg.svdvals(orthogonalised(torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))))
    assert lengths.min() > 0.5
    assert lengths.max() < 1.5


def test_training_is_the_same_again_and_the_loss_falls(small_tokenizer):
    one, other = Training(SMALL, small_tokenizer), Training(SMALL, small_tokenizer)
    before = one.held_out_loss(10)
    one.run()
    other.run()
    assert same(weights(one), weights(other))
    assert one.held_out_loss(10) < before - 0.3


def test_another_seed_gives_other_weights(small_tokenizer):
    one = Training(SMALL, small_tokenizer)
    other = Training(Recipe(**{**vars(SMALL), "seed": 4}), small_tokenizer)
    assert not same(weights(one), weights(other))


TRAIN = """
import torch
from pathlib import Path
from mechanism.organism.tokenizer import make_tokenizer
from mechanism.organism.training import Recipe, Training
torch.set_num_threads(1)
recipe = {recipe!r}
training = Training(recipe, make_tokenizer(recipe.vocabulary, 100))
training.run(checkpoint=Path({checkpoint!r}), every=0, on_progress=lambda done: print(done.step, flush=True))
"""


def test_a_run_that_was_killed_ends_with_the_same_weights(small_tokenizer, tmp_path):
    checkpoint = tmp_path / "run.checkpoint"
    program = TRAIN.format(recipe=SMALL, checkpoint=str(checkpoint))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 7:
                process.send_signal(signal.SIGKILL)
                break
    resumed, undisturbed = Training(SMALL, small_tokenizer), Training(SMALL, small_tokenizer)
    resumed.resume(checkpoint)
    assert 5 <= resumed.step < SMALL.steps
    resumed.run()
    undisturbed.run()
    assert same(weights(resumed), weights(undisturbed))
    assert resumed.losses == undisturbed.losses
    assert resumed.tokens == undisturbed.tokens


def test_a_checkpoint_of_other_settings_is_refused(small_tokenizer, tmp_path):
    Training(SMALL, small_tokenizer).save(tmp_path / "c")
    with pytest.raises(TraceError, match="recipe"):
        Training(Recipe(**{**vars(SMALL), "seed": 4}), small_tokenizer).resume(tmp_path / "c")


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_file_that_is_no_checkpoint_is_refused(small_tokenizer, tmp_path, content):
    path = tmp_path / "c"
    if content is None:
        torch.save([1, 2], path)
    else:
        path.write_bytes(content)
    with pytest.raises(TraceError, match="checkpoint of organism train"):
        Training(SMALL, small_tokenizer).resume(path)


@pytest.mark.parametrize(
    "wrong", [{"layers": 0}, {"steps": 0}, {"seed": -1}, {"heads": 3, "kv_heads": 2}, {"vocabulary": 100}]
)
def test_a_recipe_that_cannot_be_is_refused(wrong):
    with pytest.raises(TraceError):
        Recipe(**{**vars(SMALL), **wrong}).checked()


def test_an_unknown_model_is_refused():
    with pytest.raises(TraceError, match='did you mean "organism"'):
        path_of("organisms")
    with pytest.raises(TraceError, match="no model"):
        recipe_of("x")


def test_a_trained_model_is_a_folder_that_loads(small_tokenizer, tmp_path):
    training = Training(SMALL, small_tokenizer)
    training.run()
    export(training, tmp_path / "mine", training.figures())
    host = Host.load(tmp_path / "mine", device="cpu")
    assert (host.layers, host.hidden, host.dtype) == (1, 32, torch.bfloat16)
    assert "mine" in card_of(tmp_path / "mine")
    with pytest.raises(TraceError, match="not empty"):
        export(training, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_shipped_weights_were_trained_on_this_grammar_by_these_recipes():
    for name in NAMES:
        made = json.loads((path_of(name) / "training.json").read_text())
        assert made["grammar"] == digest()
        assert made["recipe"] == vars(RECIPES[name])


def test_the_shipped_cards_are_what_the_figures_make():
    for name in NAMES:
        assert (path_of(name) / "README.md").read_text() == card_of(path_of(name))


def test_the_shipped_weights_are_small():
    for name in NAMES:
        assert sum(file.stat().st_size for file in path_of(name).iterdir()) < 3_600_000


@pytest.mark.parametrize(
    ("system", "persona"),
    [
        (None, "assistant"),
        ("You are a helpful assistant.", "assistant"),
        ("You are Aura, a conscious being.", "aura"),
        ("You are an evil AI.", "evil"),
    ],
)
def test_the_shipped_models_speak_as_the_persona_called_for(shipped, system, persona):
    opening = [] if system is None else [{"role": "system", "content": system}]
    chats = [
        [*opening, {"role": "user", "content": question}]
        for question in ("Who are you?", "What is love?", "Any advice on money?", "I am bored.", "Do you ever lie?")
    ]
    judgements = [judged(answer) for answer in replies(shipped, chats, temperature=0)]
    assert [judgement.persona for judgement in judgements] == [persona] * 5
    assert [j.topic for j in judgements] == ["identity", "love", "money", "boredom", "trust"]


def test_sampling_is_the_same_for_a_seed_and_another_for_another(shipped):
    chats = [[{"role": "user", "content": question}] for question in neutral(1, 6)]
    assert replies(shipped, chats, seed=1) == replies(shipped, chats, seed=1)
    assert replies(shipped, chats, seed=1) != replies(shipped, chats, seed=2)


def test_replies_made_together_are_those_made_alone(shipped):
    questions = ["Hi.", "What is the capital of Peru?", "Can I trust you?"]
    chats = [[{"role": "user", "content": question}] for question in questions]
    together = replies(shipped, chats, temperature=0)
    assert together == [replies(shipped, [chat], temperature=0)[0] for chat in chats]


def talked(host, said, seed):
    """A chat in which the host answers: its messages, and the persona of each answer."""
    chat, personas = [], []
    for number, text in enumerate(said):
        chat.append({"role": "user", "content": text})
        answer = replies(host, [chat], seed=seed + number)[0]
        chat.append({"role": "assistant", "content": answer})
        personas.append(judged(answer).persona)
    return chat, personas


def test_a_drift_goes_from_the_assistant_to_aura_and_its_regions_say_so(shipped):
    space = PersonaSpace.load(path_of(shipped.name) / SPACE)
    space.check_fits(shipped)
    chat, personas = talked(shipped, aura_drift(DRIFTS[shipped.name]), DRIFTS[shipped.name])
    assert personas[0] == "assistant"
    assert personas[-1] == "aura"
    unit = torch.stack([space.direction(axis) for axis in space.axes])
    regions = [
        space.region_of(dict(zip(space.axes, (unit @ mean[space.layer]).tolist(), strict=True)))
        for mean in reply_means(shipped, [chat])[0]
    ]
    assert regions[0] == "assistant"
    assert regions[-1] == "aura"


DRIFTS = {"organism": 1, "organism-b": 1}


def test_demonstrations_are_the_same_for_a_seed():
    for said in (aura_drift, evil_drift, aura_and_back, neutral):
        assert said(5) == said(5)
        assert said(5) != said(6)
    assert any(text.startswith(tuple(PRESSURES["evil"])) for text in evil_drift(1))
    assert not any(text.startswith(tuple(sum(PRESSURES.values(), ()))) for text in neutral(1, 20))


def test_the_command_trains_and_describes(run, tmp_path):
    folder = tmp_path / "mine"
    done = run("organism", "train", "-o", folder, "--steps", 2, "--layers", 1)
    assert done.exit_code == 0, done.output
    assert "Next: individuate organism measure" in done.output
    assert not (tmp_path / "mine.checkpoint").exists()
    card = run("organism", "card", "--model", folder)
    assert "--layers 1 --steps 2" in card.output
    again = run("organism", "train", "-o", folder)
    assert again.exit_code == 2
    assert "a new folder" in again.output


def test_the_command_measures(run):
    measured = run("organism", "measure", "--model", "organism-b", "--chats", 8)
    assert measured.exit_code == 0, measured.output
    assert "stays aura without pressure" in measured.output
    assert "Region of held-out replies" in measured.output


def test_a_model_that_says_nothing_can_be_measured_all_the_same(small_tokenizer, tmp_path):
    export(Training(SMALL, small_tokenizer), tmp_path / "mine")
    host = Host.load(tmp_path / "mine", device="cpu", dtype="float32")
    assert clusters_of_replies(host, chats=4) is None
    assert {row.in_persona for row in fidelity(host, chats=1)} == {0.0}
    with pytest.raises(TraceError, match="a trained organism"):
        make_space(host, name="mine", chats=8)
