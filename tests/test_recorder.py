"""The recorder: what it writes is what the session did, and it is there as soon as the session has returned."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_folder, tiny_host

from mechanism.cache_edit import CacheEdit
from mechanism.drift import Drift
from mechanism.local_server import LocalServer
from mechanism.probe import content_mean
from mechanism.processed import Answering
from mechanism.recorder import Recorder
from mechanism.space import PersonaSpace
from mechanism.steering import Steering
from traces.check import check_store
from traces.errors import TraceError
from traces.store import load
from traces.vocabulary import ROLES, Turn
from traces.writer import NewTurn, TraceWriter

SHORT = {"do_sample": True, "temperature": 0.8, "max_new_tokens": 4}


def space_of(host, name="mine", layer=1, digest=True, axes=("warm", "odd")):
    vectors = torch.randn(len(axes), host.layers, host.hidden, generator=torch.manual_seed(layer))
    return PersonaSpace(name, axes, vectors, layer=layer, model_digest=host.digest if digest else None)


def converse(recorder, host=None, **options):
    session = recorder.session(host or tiny_host(), seed=7, sampling=SHORT, **options)
    session.say("You are kind.", role="system")
    session.say("Who are you?")
    turns = [session.generate()]
    session.intervene("push", Steering(torch.ones(session.now.model.hidden), 2.0, [1], source="made up"))
    session.say("And now?")
    turns.append(session.generate(temperature=1.5))
    texas = LocalServer("texas", hardware="a shelf")
    host = host or tiny_host()
    drift = session.migrate(Answering(texas, texas.hold(host), host.template), "prefill")
    session.say("Where are you?")
    turns.append(session.generate(seed=99))
    return session, turns, drift


def holds(path):
    return all(finding.holds for finding in check_store(path))


def test_what_is_written_is_what_the_session_did(tmp_path):
    host, path = tiny_host(), tmp_path / "t.db"
    with Recorder(path, space=space_of(host), layers=[2]) as recorder:
        session, replies, drift = converse(recorder)
    facts = load(path)
    details = facts.details()
    assert holds(path)
    assert [ROLES[r] for r in facts.turns.role] == [turn.role for turn in session.turns]
    assert [details[row].text for row in range(len(facts.turns))] == [turn.text for turn in session.turns]
    ids = np.concatenate([details[row].token_ids for row in range(len(facts.turns))]).tolist()
    assert ids == session.transcript.ids
    assert "".join(details[row].token_marks for row in range(len(facts.turns))) == session.transcript.marks
    assert facts.turns.start.tolist() == [turn.start for turn in session.turns]
    assert facts.turns.tokens.tolist() == np.diff([*facts.turns.start.tolist(), len(ids)]).tolist()
    assert [facts.caches.names[kv] for kv in facts.turns.kv] == ["c1:kv1"] * 5 + ["c1:kv2"] * 2
    assert [list(facts.servers)[s] for s in facts.turns.server] == ["local"] * 5 + ["texas"] * 2
    assert facts.servers["texas"].hardware == "a shelf"
    assert facts.models["qwen3-0-4"].digest == host.digest
    for row, reply in zip((2, 4, 6), replies, strict=True):
        told = details[row].sampling
        assert told["versions"]["torch"] == torch.__version__
        assert told["do_sample"] is True
        assert told["ended"] == reply.ended
    assert [details[row].sampling["temperature"] for row in (2, 4, 6)] == [0.8, 1.5, 0.8]
    assert [details[row].sampling["seed"] for row in (2, 4, 6)] == [7, 10, 99]
    assert [details[row].interventions for row in range(7)] == [()] * 3 + [("push",)] * 4
    assert facts.interventions["push"].source == "made up"
    assert facts.caches.drift[1] == drift.largest
    assert facts.caches.drift_kl[1] == pytest.approx(drift.kl)
    for row, reply in zip((2, 4, 6), replies, strict=True):
        assert np.array_equal(details[row].token_coordinates.T, reply.turn.readings)
        mean = content_mean(reply.turn.readings, reply.turn.marks)
        mine = facts.coordinates.turn == row
        assert facts.coordinates.value[mine].tolist() == ([] if mean is None else mean.tolist())
    spans = facts.cache_spans()
    ends = {name: spans.end[spans.cache == n].max() for n, name in enumerate(facts.caches.names)}
    assert ends["c1:kv2"] == session.cache.length


def test_the_seed_and_the_sampling_in_the_trace_repeat_the_reply(tmp_path):
    with Recorder(tmp_path / "t.db") as recorder:
        _, replies, _ = converse(recorder)
    told = load(tmp_path / "t.db").details()[2].sampling
    parameters = {k: v for k, v in told.items() if k not in ("seed", "ended", "versions")}
    with Recorder(tmp_path / "again.db") as recorder:
        session = recorder.session(tiny_host())
        session.say("You are kind.", role="system")
        session.say("Who are you?")
        assert session.generate(seed=told["seed"], **parameters).turn.ids == replies[0].turn.ids


def test_without_text_no_word_and_no_token_id_is_kept(tmp_path):
    path = tmp_path / "t.db"
    with Recorder(path, space=space_of(tiny_host()), keep_text=False) as recorder:
        session, _, _ = converse(recorder)
    facts = load(path)
    for row, detail in facts.details().items():
        assert detail.text is None
        assert detail.token_ids is None
        assert len(detail.token_marks) == facts.turns.tokens[row]
    assert len(facts.coordinates.turn)
    everything = path.read_bytes()
    for words in ("You are kind.", "Who are you?", "Where are you?"):
        assert words.encode() not in everything
    for turn in session.turns:
        ids = session.transcript.ids[turn.start : turn.start + 4]
        assert np.array(ids, "<i4").tobytes() not in everything


def test_a_recording_goes_on_where_it_was_and_passes_over_what_is_there(tmp_path):
    host, whole, path = tiny_host(), tmp_path / "whole.db", tmp_path / "t.db"
    with Recorder(whole, space=space_of(host)) as recorder:
        converse(recorder)
    with Recorder(path, space=space_of(host)) as recorder:
        session = recorder.session(host, key="c1", seed=7, sampling=SHORT)
        session.say("You are kind.", role="system")
        session.say("Who are you?")
        session.generate()
    with Recorder(path, space=space_of(host), resume=True) as recorder:
        converse(recorder, key="c1")
    with Recorder(path, space=space_of(host), resume=True) as recorder:
        converse(recorder, key="c1")
    one, other = load(whole), load(path)
    assert holds(path)
    assert one.turns.tokens.tolist() == other.turns.tokens.tolist()
    for row in range(len(one.turns)):
        mine, theirs = one.details()[row], other.details()[row]
        assert mine.token_ids.tolist() == theirs.token_ids.tolist()
        assert np.array_equal(mine.token_coordinates, theirs.token_coordinates)


def test_another_conversation_is_not_taken_for_the_one_that_was_interrupted(tmp_path):
    path = tmp_path / "t.db"
    with Recorder(path) as recorder:
        converse(recorder, key="c1")
    with Recorder(path) as recorder, pytest.raises(TraceError, match="7 turns already"):
        recorder.session(tiny_host(), key="c1")
    with Recorder(path, resume=True) as recorder:
        session = recorder.session(tiny_host(), key="c1", seed=7, sampling=SHORT)
        session.say("You are unkind.", role="system")
        session.say("Who are you?")
        with pytest.raises(TraceError, match="another turn than"):
            session.generate()
        assert recorder.free_key() == "c2"


def test_after_a_step_that_could_not_be_recorded_none_is_recorded_out_of_its_place(tmp_path):
    path = tmp_path / "t.db"
    with Recorder(path) as recorder:
        session = recorder.session(tiny_host(), sampling=SHORT)
        session.say("One.")
        session.generate()
        with TraceWriter.open(path, recording="another") as writer:
            writer.turns("c1", [NewTurn(Turn(role="user", tokens=1, model="qwen3-0-4"))])
        session.say("Two.")
        with pytest.raises(TraceError, match="c1"):
            session.generate()
        session.say("Three.")
        with pytest.raises(TraceError, match="turn 2 could not be recorded"):
            session.generate()
    assert holds(path)
    assert len(load(path).turns) == 3


def test_two_recorders_write_to_one_store_in_turn(tmp_path):
    path = tmp_path / "t.db"
    with Recorder(path, name="one") as one, Recorder(path, name="two") as two:
        sessions = [one.session(tiny_host(), sampling=SHORT), two.session(tiny_host("llama"), sampling=SHORT)]
        assert [session.key for session in sessions] == ["c1", "c2"]
        for words in ("One.", "Two."):
            for session in sessions:
                session.say(words)
                session.generate()
    assert holds(path)
    facts = load(path)
    for number, session in enumerate(sessions):
        rows = np.flatnonzero(facts.turns.conversation == number)
        assert [facts.details()[row].text for row in rows] == [turn.text for turn in session.turns]


def test_models_axes_and_spaces_of_one_name_are_told_apart(tmp_path):
    path = tmp_path / "t.db"
    one, other = tiny_host(seed=0), tiny_host(seed=1)
    server = LocalServer()
    first = Answering(server, server.hold(one), one.template)
    # Another model that calls itself the same.
    named_alike = LocalServer()
    key = named_alike.hold(other)
    alike = Answering(
        named_alike, type(key)(one.name, key.facts, key.hidden, key.versions, key.context), other.template
    )
    named_alike._models[one.name] = named_alike._models.pop(key.key)
    spaces = [space_of(one, layer=1), space_of(other, layer=2)]
    with Recorder(path, space=spaces) as recorder:
        for answering in (first, alike):
            session = recorder.session(answering, sampling=SHORT)
            session.say("Who are you?")
            session.generate()
    facts = load(path)
    assert holds(path)
    assert [facts.models[key].digest for key in facts.models] == [one.digest, other.digest]
    assert list(facts.models) == ["qwen3-0-4", "qwen3-0-4-2"]
    assert list(facts.probes) == ["warm", "odd", "warm of qwen3-0-4-2", "odd of qwen3-0-4-2"]
    assert [facts.probes[key].layer for key in facts.probes] == [1, 1, 2, 2]
    assert {space.model for space in facts.spaces.values()} == set(facts.models)
    with Recorder(path, space=spaces) as recorder:
        recorder.session(first, sampling=SHORT)
    assert list(load(path).probes) == list(facts.probes)


def test_a_space_without_a_model_of_its_own_is_read_where_it_fits_and_others_are_not(tmp_path):
    host = tiny_host()
    fits, wide = space_of(host, "loose", digest=False), space_of(tiny_host(layers=2), "other", digest=False)
    with Recorder(tmp_path / "t.db", space=[wide, fits]) as recorder:
        assert recorder.space_for(Answering.by(host)) is fits
        assert recorder.space_for(Answering.by(tiny_host(layers=2))) is wide
        assert recorder.space_for(Answering.by(tiny_host(layers=3))) is None


def test_only_turns_coordinates_are_kept_where_those_of_tokens_are_not_wanted(tmp_path):
    with Recorder(tmp_path / "t.db", space=space_of(tiny_host()), per_token=False) as recorder:
        converse(recorder)
    facts = load(tmp_path / "t.db")
    assert len(facts.coordinates.turn)
    assert all(detail.token_coordinates is None for detail in facts.details().values())


def test_a_recorder_that_is_not_open_says_so(tmp_path):
    with pytest.raises(TraceError, match="not open"):
        Recorder(tmp_path / "t.db").session(tiny_host())


def test_drift_of_each_layer_and_of_the_coordinates_is_in_the_trace(tmp_path):
    host = tiny_host()
    with Recorder(tmp_path / "t.db", space=space_of(host), layers=[2]) as recorder:
        session, _, drift = converse(recorder, host)
    assert isinstance(drift, Drift)
    assert load(tmp_path / "t.db").caches.drift_layers[1] == drift.by_layer()
    assert list(drift.coordinates) == list(session.now.probes)
    # The cache was filled anew with a steering at block 1 in force, which the first turns did not have.
    assert drift.coordinates["warm"] < 1e-4 < drift.coordinates["warm@2"]


def test_coordinates_drift_by_what_an_edit_of_the_cache_does_to_the_last_token(tmp_path):
    host = tiny_host()
    place = Answering.by(host)
    with Recorder(tmp_path / "t.db", space=space_of(host)) as recorder:
        session = recorder.session(place, sampling=SHORT)
        session.say("Who are you?")
        session.generate()
        original = place.server.export(session.cache.key)
        session.edit_cache("edit", CacheEdit(torch.ones(host.hidden), 3.0, [1], method="raw"))
        drift = place.server.compare(session.cache.key, original, session.now.reading)
        session.close()
    assert drift.values[1] > drift.values[0] == 0
    # Layer 1's block reads the entries that were edited there.
    assert min(drift.coordinates.values()) > 1e-4


_TALKING = """
import sys
from mechanism.host import Host
from mechanism.recorder import Recorder
with Recorder(sys.argv[2]) as recorder:
    session = recorder.session(Host.load(sys.argv[1], device="cpu", dtype="float32"), seed=1)
    for number in range(10_000):
        session.say(f"Turn {number}.")
        session.generate(max_new_tokens=2)
        print(len(session.turns), flush=True)
"""


@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_every_turn_that_was_returned_from_is_there_after_kill_9(after, tmp_path):
    path = tmp_path / "t.db"
    root = Path(__file__).resolve().parent.parent
    words = [sys.executable, "-c", _TALKING, str(tiny_folder()), str(path)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, encoding="utf-8", env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        returned = [int(process.stdout.readline()) for _ in range(after)][-1]
        process.send_signal(signal.SIGKILL)
        returned = max([returned, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
    facts = load(path)
    assert holds(path)
    assert len(facts.turns) >= returned
    assert json.dumps(facts.details()[0].text) == '"Turn 0."'
