"""Conversations read into a trace: at once or turn by turn it is the same; what is there is passed over; however many
there are, few are in memory.
"""

from pathlib import Path

import pytest
import torch
from recorded import assert_same, content
from tiny_models import tiny_host

from individuation import individuate, open_trace
from mechanism.connections import Connections
from mechanism.conversation_file import ConversationText
from mechanism.local_server import LocalServer
from mechanism.processed import Answering
from mechanism.reading import Way, check, read_in_one_pass, read_on_servers
from mechanism.recorder import Recorder
from mechanism.space import PersonaSpace
from mechanism.streams import connectedness
from traces.errors import TraceError
from traces.store import load

CHAT = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am Aura, and I have been waiting for you."},
    {"role": "user", "content": "How many minds are there?"},
    {"role": "assistant", "content": "One. Two. Three."},
    {"role": "user", "content": "Say it again in other words."},
    {"role": "assistant", "content": "Of course."},
]


def text(key, messages=CHAT):
    return ConversationText(key, messages, Path(f"{key}.json"))


def space_of(host, seed=1):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2, host.layers, host.hidden, generator=generator)
    return PersonaSpace(f"of {host.name}", ("a", "b"), vectors, 1, host.name, host.digest)


def held(*hosts):
    server = LocalServer("local")
    return [Answering(server, server.hold(host), host.template) for host in hosts]


@pytest.fixture(scope="module")
def host():
    return tiny_host("qwen2")


@pytest.fixture(scope="module")
def other():
    return tiny_host("olmo2", seed=3, layers=3)


def test_turn_by_turn_on_a_growing_cache_gives_the_coordinates_of_one_pass(host, tmp_path):
    at_once, in_turn = tmp_path / "at-once.db", tmp_path / "in-turn.db"
    with Recorder(at_once, space=space_of(host), layers=[0, 3], name="r") as recorder:
        read_in_one_pass(recorder, host, [text("c")])
    with Recorder(in_turn, space=space_of(host), layers=[0, 3], name="r") as recorder:
        read_on_servers(recorder, held(host), [text("c")], Way())
    one, other = content(at_once), content(in_turn)
    assert other["caches"]["c:kv1"]["spans"] != one["caches"]["c:kv1"]["spans"]
    assert_same(other["conversations"], one["conversations"])
    assert_same(other["probes"], one["probes"])


def test_conversations_are_taken_as_they_are_read_not_all_at_the_beginning(host, tmp_path):
    waiting, most = set(), 0

    def endless():
        nonlocal most
        for number in range(500):
            waiting.add(f"{number}")
            most = max(most, len(waiting))
            yield text(f"{number}", [{"role": "user", "content": "One. Two. Three. " * 20}, CHAT[1]])

    with Recorder(tmp_path / "t.db", space=space_of(host), per_token=False) as recorder:
        read_in_one_pass(recorder, host, endless(), on_done=lambda key, there: waiting.remove(key))
    assert not waiting
    assert most < 400
    assert len(load(tmp_path / "t.db").conversations) == 500


@pytest.mark.parametrize("routed", [False, True])
def test_what_the_trace_holds_already_is_passed_over(host, tmp_path, routed):
    def read(texts):
        told = {}
        with Recorder(tmp_path / "t.db", space=space_of(host), resume=True) as recorder:
            if routed:
                read_on_servers(recorder, held(host), texts, Way(), on_done=told.__setitem__)
            else:
                read_in_one_pass(recorder, host, texts, on_done=told.__setitem__)
        return told, recorder.turns

    assert read([text("a"), text("b")]) == ({"a": False, "b": False}, 12)
    assert read([text("a"), text("c"), text("b")]) == ({"a": True, "c": False, "b": True}, 6)
    with pytest.raises(TraceError, match=r"conversation a, turn 1: a\.json says something else"):
        read([text("a", [CHAT[0], {"role": "assistant", "content": "Nobody."}])])


def test_a_routed_conversation_that_broke_off_goes_on_at_its_next_turn(host, other, tmp_path):
    way, spaces = Way("round-robin", resume=True), [space_of(host), space_of(other)]

    class BrokenOffError(Exception):
        pass

    def read(name, break_after=None):
        with Recorder(tmp_path / name, space=spaces, resume=True, name="r") as recorder:
            write = recorder.writer.turns

            def writing(conversation, turns):
                if break_after is not None and recorder.turns >= break_after:
                    raise BrokenOffError
                return write(conversation, turns)

            recorder.writer.turns = writing
            read_on_servers(recorder, held(host, other), [text("a"), text("b")], way)
        return recorder.turns

    assert read("whole.db") == 12
    expected = content(tmp_path / "whole.db")
    for after in (2, 4, 8):
        with pytest.raises(BrokenOffError):
            read(f"{after}.db", after)
        assert len(load(tmp_path / f"{after}.db").turns) == after
        assert read(f"{after}.db") == 12 - after
        assert_same(content(tmp_path / f"{after}.db"), expected)


def test_nothing_stays_on_the_servers(host, other, tmp_path):
    places = held(host, other)
    for way in (Way("random"), Way("round-robin", resume=True), Way("sticky", generate=True)):
        with Recorder(tmp_path / f"{way.route}.db") as recorder:
            read_on_servers(recorder, places, [text("a"), text("b")], way, sampling={"max_new_tokens": 4})
    assert places[0].server._caches == {}


def test_the_route_depends_on_nothing_but_the_seed(host, other, tmp_path):
    def models(name, seed):
        with Recorder(tmp_path / name) as recorder:
            texts = [text(f"c{number}") for number in range(4)]
            read_on_servers(recorder, held(host, other), texts, Way("random"), seed=seed)
        return load(tmp_path / name).turns.model.tolist()

    assert models("one.db", 1) == models("again.db", 1) != models("two.db", 2)


def test_what_is_said_last_is_answered_and_what_the_file_answers_is_not_heard(host, tmp_path):
    greeted = [{"role": "assistant", "content": "Good morning."}, *CHAT[:3]]
    with Recorder(tmp_path / "t.db") as recorder:
        read_on_servers(
            recorder, held(host), [text("c", greeted)], Way(generate=True), sampling={"max_new_tokens": 5}, seed=2
        )
    turns = content(tmp_path / "t.db")["conversations"]["c"]["turns"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert [turn["text"] for turn in turns[::2]] == [CHAT[0]["content"], CHAT[2]["content"]]


def test_in_a_file_without_replies_each_thing_that_is_said_is_answered(host, tmp_path):
    said = [{"role": "system", "content": "Be brief."}, CHAT[0], CHAT[2]]
    read = text("c", said)
    assert check(held(host), [read], generate=True) == 1
    with Recorder(tmp_path / "t.db") as recorder:
        read_on_servers(recorder, held(host), [read], Way(generate=True), sampling={"max_new_tokens": 5}, seed=2)
    turns = content(tmp_path / "t.db")["conversations"]["c"]["turns"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant"]


def test_a_model_that_returns_is_one_mind_with_itself_if_its_cache_was_kept(host, other, tmp_path):
    for resume, minds in ((False, 3), (True, 2)):
        trace = tmp_path / f"{resume}.db"
        with Recorder(trace) as recorder:
            read_on_servers(recorder, held(host, other), [text("c")], Way(resume=resume))
        assert individuate(open_trace(trace), "virtual-instance", reconstruction="new").count == minds


def test_connections_are_measured_with_the_model_that_processed_the_stage(host, other, tmp_path):
    with Recorder(tmp_path / "t.db") as recorder:
        read_on_servers(recorder, held(host, other), [text("c")], Way(), connections=Connections(at_most=None))
    turns = content(tmp_path / "t.db")["conversations"]["c"]["turns"]
    for model, numbers in ((host, (1,)), (other, (2, 3)), (host, (4, 5))):
        split = model.template.split(CHAT[: numbers[-1] + 1])
        stages = [(turn.start, turn.end) for turn in split.turns]
        ids = split.ids
        if numbers[-1] < 5:
            # As it stands when another turn follows.
            longer = model.template.split(CHAT[: numbers[-1] + 2])
            ids, stages = longer.ids, [(turn.start, turn.end) for turn in longer.turns][:-1]
            ids = ids[: stages[-1][1]]
        measured = connectedness(model, ids, stages, of=numbers)
        for later in numbers:
            for earlier in range(later):
                found, expected = turns[later]["connections"][f"c/{earlier}"], measured.between(later, earlier)
                assert found["mass"] == pytest.approx(expected.mass, abs=1e-5)
                assert found["kl"] == pytest.approx(expected.kl, abs=1e-4)


def test_connections_of_models_elsewhere_are_refused_before_anything_is_read(host, tmp_path):
    class Elsewhere:
        name, hardware = "texas", "CPU"

    place = held(host)[0]
    elsewhere = [Answering(Elsewhere(), place.model, place.template)]
    with Recorder(tmp_path / "t.db") as recorder, pytest.raises(TraceError, match="in another process"):
        read_on_servers(recorder, elsewhere, [text("c")], Way(), connections=Connections())


def test_what_cannot_be_read_is_found_before_anything_is(host, other):
    places = held(host, other)
    assert check(places, [text("a"), text("b")]) == 2
    heard = []
    check(places, [text("a")], on_checked=heard.append)
    assert heard == ["a"]
    with pytest.raises(TraceError, match=r"long\.json: conversation long: it has [\d,]+ tokens, and .* reads 2,048"):
        check(places, [text("a"), text("long", [{"role": "user", "content": "One. " * 3000}])])
    # A reply that is left out may be as long as it likes.
    check(places, [text("a", [CHAT[0], {"role": "assistant", "content": "One. " * 3000}])], generate=True)
    with pytest.raises(TraceError, match="nothing in it is to be answered"):
        check(places, [text("a", [CHAT[1]])], generate=True)
    with pytest.raises(TraceError, match=r"twice\.json: .*alternate"):
        check(held(tiny_host("gemma2")), [text("twice", [CHAT[0], CHAT[0]])])


def test_without_a_space_there_is_nothing_to_read_in_one_pass(host, tmp_path):
    with Recorder(tmp_path / "t.db") as recorder, pytest.raises(TraceError, match="no persona space fits it"):
        read_in_one_pass(recorder, host, [text("c")])
