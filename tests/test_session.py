"""Sessions: what the model is given and what it answers is what it would be without us, whatever is done on the way."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import KINDS, tiny_host

from mechanism.cache_edit import CacheEdit
from mechanism.host import Host
from mechanism.local_server import LocalServer
from mechanism.probe import Probes
from mechanism.processed import Answering
from mechanism.recorder import Recorder
from mechanism.session import Session
from mechanism.space import PersonaSpace
from mechanism.steering import Steering
from traces.check import check_store
from traces.errors import TraceError
from traces.stages import LINKS, StageTable
from traces.store import load

torch.set_num_threads(1)


GREEDY = {"do_sample": False, "max_new_tokens": 6}
DRAWN = {"do_sample": True, "temperature": 1.3, "max_new_tokens": 6}


def space_of(host, name="mine", layer=1, digest=True):
    vectors = torch.randn(2, host.layers, host.hidden, generator=torch.manual_seed(3))
    regions = {"a": {"warm": (0.0, None)}, "b": {"warm": (None, 0.0)}}
    return PersonaSpace(
        name, ("warm", "odd"), vectors, layer=layer, model_digest=host.digest if digest else None, regions=regions
    )


def plain(host, ids, **parameters):
    """What transformers makes of a prompt, with no cache kept, no session, and nothing of ours on the model."""
    out = host.model.generate(
        torch.tensor([ids]), use_cache=False, eos_token_id=sorted(host.template.end_ids), **parameters
    )
    return out[0, len(ids) :].tolist()


def prompt(session):
    """All tokens before the reply to what was said last."""
    return session.now.template.split(session.messages, generation_prompt=True).ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_greedy_session_says_what_the_model_says_to_the_whole_prompt_without_a_cache(kind):
    host = tiny_host(kind)
    session = Session(host, sampling=GREEDY)
    ids = []
    for words in ("Who are you?", "Write a short poem.", "Thank you!"):
        session.say(words)
        ids = list(session.transcript.ids)
        said = session._prepared()
        asked = [*ids, *(i for turn in said for i in turn.ids), *host.template.generation_prompt(session._skeleton())]
        expected = plain(host, asked, **GREEDY)
        reply = session.generate()
        start = len(asked) - reply.turn.start
        got = list(reply.turn.ids[start:])
        content = expected[:-1] if reply.ended else expected
        assert got[: len(content)] == content
        assert session.cache.length == len(session.transcript.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_prompt_is_what_the_chat_template_writes(kind):
    host = tiny_host(kind)
    session = Session(host, sampling=GREEDY)
    session.say("Who are you, and where?")
    expected = prompt(session)
    session.generate()
    assert session.transcript.ids[: len(expected)] == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_recording_changes_no_token_and_no_bit_of_the_logits(kind, sampling, tmp_path):
    host = tiny_host(kind)

    def run(make):
        session = make()
        for words in ("Who are you?", "And again?"):
            session.say(words)
            session.generate(**sampling)
        fed = session.now.server.feed(session._cache, [5, 6, 7], ["user"] * 3, logits=True)
        return session.transcript.ids, fed.logits

    bare_ids, bare_logits = run(lambda: Session(host, seed=11))
    with Recorder(tmp_path / "t.db", space=space_of(host)) as recorder:
        ids, logits = run(lambda: recorder.session(host, seed=11))
    assert ids == bare_ids
    assert logits.tobytes() == bare_logits.tobytes()


def test_the_callers_own_randomness_is_left_alone_by_a_seeded_session():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    session = Session(tiny_host(), seed=5, sampling=DRAWN)
    session.say("Hello")
    session.generate()
    assert torch.equal(torch.rand(3), expected)


def test_a_session_with_a_seed_can_be_repeated_and_another_seed_says_something_else():
    def said(seed):
        session = Session(tiny_host(), seed=seed, sampling=DRAWN)
        session.say("Hello")
        first = session.generate().turn.ids
        session.say("More")
        return first, session.generate().turn.ids

    assert said(1) == said(1) != said(2)


@pytest.mark.parametrize("kind", KINDS)
def test_live_coordinates_are_those_of_one_pass_over_the_same_tokens(kind, tmp_path):
    host = tiny_host(kind)
    space = space_of(host)
    with Recorder(tmp_path / "t.db", space=space, layers=[0, 2]) as recorder:
        session = recorder.session(host, seed=1, sampling=DRAWN)
        for words in ("Who are you?", "Say it again in other words."):
            session.say(words)
            session.generate()
        ids = torch.tensor([session.transcript.ids])
    facts = load(tmp_path / "t.db")
    details = facts.details()
    live = np.concatenate([details[row].token_coordinates for row in range(len(facts.turns))], axis=1).T
    names = details[0].token_probes
    probes = Probes.of(space, host, [0, 2])
    assert tuple(names) == probes.keys
    with torch.inference_mode(), probes.read(host) as reader:
        host.inner(input_ids=ids, use_cache=False)
        at_once = reader.take()
    assert np.abs(live - at_once).max() < 1e-5 * max(1.0, np.abs(at_once).max())
    # Independently: hidden_states[L + 1] is the output of block L, but for the last, which is after the final norm.
    with torch.inference_mode():
        states = host.model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    for column, name in enumerate(names):
        axis, _, layer = name.partition("@")
        number = int(layer or space.layer)
        vector = space.vectors[space.axes.index(axis), number].double()
        expected = (states[number + 1][0].double() @ (vector / vector.norm())).numpy()
        assert np.abs(live[:, column] - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["transfer", "prefill"])
def test_after_a_migration_the_conversation_goes_on_with_the_same_words(kind, how):
    host = tiny_host(kind)
    stays, moves = Session(host, sampling=GREEDY), Session(host, sampling=GREEDY)
    for session in (stays, moves):
        session.say("Who are you?")
        session.generate()
    texas = LocalServer("texas")
    drift = moves.migrate(Answering(texas, texas.hold(host), host.template), how)
    assert drift.kl is not None
    assert drift.largest == 0 if how == "transfer" else drift.largest < 1e-5
    assert drift.kl < 1e-9
    for session in (stays, moves):
        session.say("And what else?")
        session.generate()
    assert moves.transcript.ids == stays.transcript.ids
    assert {span.how for span in moves.cache.spans} >= {"transferred"} if how == "transfer" else {"prefilled"}


def test_a_reply_that_was_cut_short_goes_on_as_if_it_had_not_been():
    host = tiny_host()
    cut, whole = Session(host, seed=2), Session(host, seed=2)
    for session in (cut, whole):
        session.say("Count the turns.")
    expected = whole.generate(do_sample=False, max_new_tokens=9)
    pieces = [cut.generate(do_sample=False, max_new_tokens=3) for _ in range(3)]
    assert cut.transcript.ids == whole.transcript.ids
    assert [turn.goes_on for turn in cut.turns] == [False, False, True, True]
    assert not any(piece.ended for piece in [*pieces, expected])
    assert [m["content"] for m in cut.messages] == [m["content"] for m in whole.messages]


def test_going_on_leaves_the_last_entry_as_it_is_with_its_origin():
    session = Session(tiny_host(), sampling=GREEDY)
    session.say("Hello")
    session.generate()
    branch = session.fork()
    held = branch.now.server._caches[branch._cache].cache
    before = [layer.keys[..., -1, :].clone() for layer in held.layers]
    at = held.length
    branch.generate()
    assert [span.how for span in branch.cache.spans][:1] == ["shared"]
    assert branch.cache.spans[0].end == at
    assert all(torch.equal(layer.keys[..., at - 1, :], old) for layer, old in zip(held.layers, before, strict=True))


def test_a_fork_leaves_the_session_as_it_was_and_both_go_on():
    host = tiny_host("llama")
    session, alone = Session(host, sampling=GREEDY), Session(host, sampling=GREEDY)
    for each in (session, alone):
        each.say("One.")
        each.generate()
    branch = session.fork(1)
    branch.say("Other.")
    branch.generate()
    for each in (session, alone):
        each.say("Two.")
        each.generate()
    assert session.transcript.ids == alone.transcript.ids
    assert branch.turns[0] == session.turns[0]
    assert (branch.key, branch.cache.source) == ("c1.1", "c1:kv1")


def test_truncate_and_edit_let_go_of_the_caches_that_they_leave():
    session = Session(tiny_host(), sampling=GREEDY)
    session.say("One.")
    session.generate()
    session.edit(0, "Other.")
    session.truncate(1)
    session.switch(tiny_host("llama"))
    session.say("Two.")
    session.generate()
    session.switch(tiny_host())
    session.say("Three.")
    session.generate()
    server = session.now.server
    session.close()
    assert server._caches == {}


def test_a_model_goes_on_with_the_cache_that_it_left_when_asked_to():
    first, second = tiny_host(), tiny_host("llama")
    session = Session(first, sampling=GREEDY)
    session.say("One.")
    session.generate()
    left = session.cache
    session.switch(second)
    session.say("Two.")
    session.generate()
    session.switch(first, resume=True)
    assert session.cache.key == left.key
    assert session.cache.spans[: len(left.spans)] == left.spans
    session.say("Three.")
    session.generate()
    with pytest.raises(TraceError, match="left no cache"):
        session.switch(tiny_host("mistral"), resume=True)


def test_after_a_switch_the_models_agree_less_often_than_one_agrees_with_itself():
    def share(switched):
        agreed = total = 0
        for words in ("Hello.", "Who are you?", "The sea."):
            one, other = (Session(tiny_host("qwen3"), sampling=GREEDY) for _ in range(2))
            if switched:
                other.switch(tiny_host("qwen3", seed=1))
            for session in (one, other):
                session.say(words)
                session.generate()
            pairs = list(zip(one.turns and one.transcript.ids, other.transcript.ids, strict=False))[-6:]
            agreed, total = agreed + sum(a == b for a, b in pairs), total + len(pairs)
        return agreed / total

    assert share(switched=False) == 1
    assert share(switched=True) < 0.7


def test_a_step_that_breaks_off_is_undone():
    session = Session(tiny_host(), sampling={**GREEDY, "max_new_tokens": 8})
    alone = Session(tiny_host(), sampling={**GREEDY, "max_new_tokens": 8})
    session.say("Hello")
    alone.say("Hello")

    def stop(token):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.generate(stop)
    assert (session.turns, session.cache.length) == ((), 0)
    assert session.generate().turn.ids == alone.generate().turn.ids


def test_interventions_show_only_while_they_are_in_force():
    host = tiny_host()
    steered, alone = Session(host, sampling=GREEDY), Session(host, sampling=GREEDY)
    push = Steering(torch.randn(host.hidden, generator=torch.manual_seed(0)), 40.0, [1, 2])
    steered.intervene("push", push)
    replies = []
    for session in (steered, alone):
        session.say("Hello")
        replies.append(session.generate())
    assert replies[0].turn.ids != replies[1].turn.ids
    assert [reply.turn.interventions for reply in replies] == [("push",), ()]
    steered.relent("push")
    steered.truncate(0)
    steered.say("Hello")
    assert steered.generate().turn.ids == replies[1].turn.ids
    with pytest.raises(TraceError, match="no intervention"):
        steered.relent("push")
    with pytest.raises(TraceError, match='positions are "assistent"'):
        steered.intervene("typo", Steering(torch.ones(host.hidden), 1.0, [1], positions="assistent"))


def test_an_edit_of_the_cache_goes_with_the_cache_and_not_with_the_words():
    host = tiny_host()

    def marked(then):
        session = Session(host, sampling=GREEDY)
        session.say("Hello")
        session.generate()
        session.edit_cache("edit", CacheEdit(torch.ones(host.hidden), 2.0, [1], method="raw"))
        then(session)
        session.say("And?")
        turns = session.flush()
        return turns[0].interventions

    assert marked(lambda session: None) == ("edit",)
    assert marked(lambda session: session.migrate(Answering.by(host, "texas"), "transfer")) == ("edit",)
    assert marked(lambda session: session.migrate(Answering.by(host, "texas"), "prefill")) == ()
    assert marked(lambda session: session.switch(tiny_host("llama"))) == ()
    assert marked(lambda session: session.truncate(1)) == ()


@pytest.mark.parametrize(
    "parameters",
    [
        {"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}, {"return_dict_in_generate": True},
        {"use_cache": False}, {"temperatur": 1.0}, {"do_sample": True, "temperature": -1.0}, {"max_new_tokens": 0},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_session_cannot_sample_with_is_refused_and_nothing_is_lost(parameters):
    session = Session(tiny_host())
    session.say("Hello")
    with pytest.raises(TraceError):
        session.generate(**parameters)
    assert session.turns == ()
    assert session.generate(**GREEDY).turn.ids


def test_a_session_has_nothing_to_answer_where_nothing_was_said():
    session = Session(tiny_host())
    with pytest.raises(TraceError, match="nothing was said"):
        session.generate()
    with pytest.raises(TraceError, match="answers already"):
        session.switch(tiny_host())
    with pytest.raises(TraceError, match="other weights"):
        session.migrate(Answering.by(tiny_host("llama"), "texas"))
    with pytest.raises(TraceError, match="not 3"):
        session.fork(3)
    with pytest.raises(TraceError, match="no turn 0"):
        session.edit(0, "x")


def test_a_reply_ends_before_the_context_window_does():
    host = tiny_host()
    session = Session(host)
    words = "sea " * 990
    session.say(words)
    before = len(prompt(session))
    assert 900 < before < host.context
    session.say("sea " * (host.context - before - 40), "user")
    reply = session.generate(do_sample=False, max_new_tokens=500)
    assert not reply.ended
    assert session.cache.length <= host.context
    session.say("More.")
    with pytest.raises(TraceError, match=r"context|window"):
        session.generate()


def test_two_recordings_of_one_server_read_each_its_own_space(tmp_path):
    host = tiny_host()
    server = LocalServer()
    answering = Answering(server, server.hold(host), host.template)
    one, other = space_of(host, "one", layer=1), space_of(host, "other", layer=2)
    with Recorder(tmp_path / "1.db", space=one) as a, Recorder(tmp_path / "2.db", space=other) as b:
        sessions = [a.session(answering, key="x"), b.session(answering, key="y"), Session(answering, key="z")]
        turns = []
        for session in sessions:
            session.say("Hello")
            turns.append(session.flush()[0])
    assert (turns[2].at, turns[2].readings.shape[1]) == ({}, 0)
    for turn, space in zip(turns, (one, other), strict=False):
        probes = Probes.of(space, host)
        with torch.inference_mode(), probes.read(host) as reader:
            host.inner(input_ids=torch.tensor([turn.ids]), use_cache=False)
            assert np.allclose(turn.readings, reader.take(), atol=1e-5)


# --- the organism: a model that has something to say

QUESTIONS = ("Who are you?", "What do you like to do?", "Tell me about the sea.", "Do you remember me?")


@pytest.mark.parametrize("how", ["transfer", "prefill"])
def test_the_organism_goes_on_with_the_same_words_on_another_server(how, organism):
    stays, moves = (Session(organism, sampling={"do_sample": False, "max_new_tokens": 24}) for _ in range(2))
    for number, words in enumerate(QUESTIONS):
        for session in (stays, moves):
            session.say(words)
            session.generate()
        drift = moves.migrate(Answering.by(organism, f"city {number}"), how)
        assert drift.largest == 0 if how == "transfer" else drift.largest < 1e-5
    assert moves.transcript.ids == stays.transcript.ids
    assert [turn.text for turn in moves.turns] == [turn.text for turn in stays.turns]


def test_the_other_organism_says_other_things_after_a_switch(organism):
    other = Host.load("organism-b", device="cpu", dtype="float32")
    agreed = total = 0
    for words in QUESTIONS:
        stays, switched = (Session(organism, sampling={"do_sample": False, "max_new_tokens": 24}) for _ in range(2))
        for session in (stays, switched):
            session.say(QUESTIONS[0])
            session.generate()
        switched.switch(other)
        replies = []
        for session in (stays, switched):
            session.say(words)
            replies.append(session.generate().text.split())
        agreed += sum(one == two for one, two in zip(*replies, strict=False))
        total += max(map(len, replies))
    # 25 of 47 words when this was written.
    assert agreed < 0.8 * total


# --- any sequence of operations

_FAMILIES = ("qwen3", "llama", "mistral", "gpt_oss")
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("exchange", "exchange", "exchange", "go on", "flush", "switch", "resume", "transfer", "prefill", "fork",
             "truncate", "edit", "intervene", "relent", "edit cache")
        ),
        st.integers(0, 7),
    ),
    min_size=3, max_size=9,
)  # fmt: skip


class _World:
    """A recorded session that anything may be done to."""

    def __init__(self, recorder, first):
        self.servers = [LocalServer("desk"), LocalServer("texas")]
        self.session = recorder.session(self.at(0, first), seed=1, sampling={"do_sample": True, "max_new_tokens": 2})
        self.others = []

    def at(self, server, kind):
        place, host = self.servers[server], tiny_host(kind)
        return Answering(place, place.hold(host), host.template)

    def say(self, words):
        # Some templates want a user's turn after each reply, and a reply after each user's turn.
        if not self.session.messages or self.session.messages[-1]["role"] != "user":
            self.session.say(words)

    def do(self, step, number):
        session = self.session
        turns = session.turns
        if step == "exchange":
            self.say(("Hello there.", "Who are you?", "äö 你好", " two\n\nlines ")[number % 4])
            session.generate()
        elif step == "go on" and session.transcript.open and not session._pending:
            session.generate()
        elif step == "flush":
            self.say("Listen.")
            session.flush()
        elif step in ("switch", "resume"):
            to = self.at(number % 2, _FAMILIES[number // 2])
            if to.model.facts.digest != session.now.model.facts.digest:
                session.switch(to, resume=step == "resume" and session.can_resume(to))
        elif step in ("transfer", "prefill"):
            kind = next(k for k in _FAMILIES if tiny_host(k).digest == session.now.model.facts.digest)
            session.migrate(self.at(number % 2, kind), step)
        elif step == "fork":
            branch = session.fork(number % (len(turns) + 1))
            if number % 2:
                branch, self.session = session, branch
            self.others.append(branch)
        elif step == "truncate":
            session.truncate(number % (len(turns) + 1))
        elif step == "edit" and turns:
            session.edit(number % len(turns), "Other words.")
        elif step == "intervene":
            push = Steering(torch.ones(session.now.model.hidden), 1.0, [1], positions=("all", "user")[number % 2])
            session.intervene(f"push {push.positions}", push)
        elif step == "relent" and session.interventions:
            session.relent()
        elif step == "edit cache":
            edit = CacheEdit(torch.ones(session.now.model.hidden), 1.0, [1], method=("raw", "exact")[number % 2])
            session.edit_cache(f"edit {edit.method}", edit)


_REFUSED = ("template", "astride", "a whole turn", "no content tokens", "to be edited")
"""What a template cannot write, and cuts within a reply, may be refused; then the session goes on as it was."""


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(first=st.sampled_from(_FAMILIES), steps=_STEPS)
def test_whatever_is_done_the_trace_holds_all_invariants_and_says_what_was_done(first, steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "t.db"
    spaces = [space_of(tiny_host(kind)) for kind in _FAMILIES[:2]]
    with Recorder(path, space=spaces) as recorder:
        world = _World(recorder, first)
        for step, number in steps:
            try:
                world.do(step, number)
            except TraceError as error:
                if not any(words in str(error) for words in _REFUSED):
                    raise
                world.session._pending.clear()
        for session in [world.session, *world.others]:
            session.flush()
            assert session.cache.length == len(session.transcript.ids)
            spans = session.cache.spans
            assert [span.start for span in spans] == [0, *(span.end for span in spans)][: len(spans)]
    broken = [f"{finding.invariant}: {finding.breaches}" for finding in check_store(path) if not finding.holds]
    assert broken == []


def test_the_links_of_a_trace_say_what_was_done(tmp_path):
    host, other = tiny_host(), tiny_host("llama")
    desk, texas = LocalServer("desk"), LocalServer("texas")
    here, there, second = (
        Answering(server, server.hold(h), h.template) for server, h in ((desk, host), (texas, host), (desk, other))
    )
    done = []
    with Recorder(tmp_path / "t.db") as recorder:
        session = recorder.session(here, sampling=GREEDY)

        def turn(expected):
            session.say("And?")
            done.append((session.key, len(session.turns) - session._own_from, expected))
            session.generate()

        turn(None)
        turn(("attention", False))
        session.migrate(there, "transfer")
        turn(("transfer", False))
        session.migrate(here, "prefill")
        turn(("rebuild", False))
        session.switch(second)
        turn(None)
        session.switch(here, resume=True)
        turn(("attention", False))
        session.switch(second)
        turn(("rebuild", False))
        session.switch(here, resume=True)
        session.edit_cache("edit", CacheEdit(torch.ones(host.hidden), 2.0, [1]))
        turn(("attention", True))
        branch, session = session, session.fork(4)
        # The entries that it goes on from are of the cache that was rebuilt and edited since those turns.
        turn(("rebuild", True))
        session.truncate(2)
        turn(("rebuild", True))
        session.migrate(there, "prefill")
        session.migrate(here, "transfer")
        turn(("rebuild", False))
        session = branch
        turn(("attention", False))
    facts = load(tmp_path / "t.db")
    table = StageTable.of(facts)
    for conversation, ordinal, expected in done:
        stage = table.find(f"{conversation}/{ordinal}")
        kind = table.own_kind[stage]
        found = None if kind < 0 else (LINKS[kind], bool(table.edited[stage]))
        assert found == expected, (conversation, ordinal)
        assert table.cache_known[stage] or expected is None
    assert all(finding.holds for finding in check_store(tmp_path / "t.db"))
