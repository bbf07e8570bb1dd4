"""Servers elsewhere: what goes over the wire, processes that host models, routes between places, and clusters."""

import gc
import importlib.util
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_models import tiny_folder, tiny_host

from mechanism.cache_edit import CacheEdit, EditReport
from mechanism.capping import Capping
from mechanism.cluster import ClusterServer
from mechanism.drift import Drift
from mechanism.local_server import LocalServer
from mechanism.processed import Answering
from mechanism.recorder import Recorder
from mechanism.routing import ROUTES, router
from mechanism.server import CacheState, Fed, Generated, ModelRequest, Sampling
from mechanism.session import Session
from mechanism.space import PersonaSpace
from mechanism.span import Span
from mechanism.steering import Steering
from mechanism.wire import decode, encode, receive, send
from mechanism.worker import serve
from mechanism.worker_server import WorkerServer
from traces.check import check_store
from traces.errors import TraceError
from traces.stages import LINKS, StageTable
from traces.store import load
from traces.vocabulary import Model, Probe

GREEDY = {"do_sample": False, "max_new_tokens": 5}
ROOT = Path(__file__).resolve().parent.parent


# --- the wire

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text()
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(_PLAIN.filter(lambda value: "\ud800" not in repr(value)))
def test_plain_values_arrive_as_they_were(value):
    try:
        frame = encode(value)
    except UnicodeEncodeError:
        return
    assert decode(frame) == value


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=1, min_side=0),
    )
)
def test_arrays_arrive_to_the_bit_also_those_without_elements_and_read_only_ones(array):
    array.flags.writeable = False
    arrived = decode(encode({"a": array}))["a"]
    assert arrived.dtype == array.dtype
    assert arrived.shape == array.shape
    assert arrived.tobytes() == array.tobytes()


def test_the_words_of_servers_arrive_as_they_were():
    state = CacheState("k", "m", "s", "prefilled", "j", 3, 4, (Span(0, 4, "edited", "j", 0, "s", None, (1, 2)),))
    said = [
        state, Drift([0.1], [float("inf")], 0.5, {"warm": 1.0}), EditReport(1, 0.5, 0.25), ModelRequest("m", "cpu"),
        Sampling({"do_sample": True, "top_p": 0.9}, 3, (1, 2)), Model(name="m", layers=3), Probe(axis="warm", layer=1),
    ]  # fmt: skip
    assert decode(encode(said)) == said
    made = decode(encode(Generated((1, 2), np.ones((2, 3), np.float32), True, {"top_k": 5})))
    assert (made.ids, made.readings.tolist(), made.ended, made.parameters) == (
        (1, 2),
        [[1.0] * 3] * 2,
        True,
        {"top_k": 5},
    )
    fed = decode(encode(Fed(np.zeros((0, 2), np.float32))))
    assert fed.readings.shape == (0, 2)
    for act in (
        Steering(torch.arange(4.0), 2.0, [0, 1], positions="user", source="here"),
        Capping(torch.arange(4.0), 1.5, [1]),
        CacheEdit(torch.arange(4.0), 2.0, [1], method="raw"),
    ):
        arrived = decode(encode(act))
        assert type(arrived) is type(act)
        assert arrived.spec("x") == act.spec("x")
        assert torch.equal(arrived.vector, act.vector)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\0" * 15, struct.pack("<QQ", 5, 0) + b"[1]", struct.pack("<QQ", 2, 8) + b"{}" + b"\0" * 8,
        encode({"a": 1})[:-1], encode({"a": 1}) + b"\0",
    ],
    ids=["nothing", "half a header", "cut short", "no tensors", "one byte less", "one byte more"],
)  # fmt: skip
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(TraceError, match="no frame"):
        decode(frame)


@pytest.mark.parametrize(
    "words",
    [
        b'{"$": "Popen", "fields": {}}', b'{"$": "os.system"}', b'{"$": "tensor", "name": "t9"}', b"[" * 100_000,
        b'{"$": "Span", "fields": {"$": "dict", "items": [["no", 1]]}}', b'{"$": "Model", "fields": {"layers": -3}}',
        b'{"a": 1}', b'{"$": ["x"]}', b'{"$": "Span", "fields": 3}', b'{"$": "dict", "items": [[1]]}',
        b'{"$": "intervention", "facts": {"$": "x"}, "tensors": {}}',
    ],
)  # fmt: skip
def test_nothing_but_known_words_is_made_of_a_frame(words):
    empty = encode(None)[16 + 4 :]
    with pytest.raises(TraceError):
        decode(struct.pack("<QQ", len(words), len(empty)) + words + empty)


@given(st.binary(max_size=60), st.integers(0, 59))
def test_damaged_frames_are_refused_or_read_and_never_anything_else(noise, at):
    frame = bytearray(encode({"ids": [1, 2], "state": Span(0, 1, "decoded"), "a": np.ones(3, np.float32)}))
    frame[at : at + len(noise)] = noise
    with suppress(TraceError):
        decode(bytes(frame))


def test_what_cannot_be_sent_is_said_before_anything_is_sent():
    with pytest.raises(TraceError, match="object cannot be sent"):
        encode({"x": object()})


def test_a_process_answers_unknown_calls_faults_and_bad_frames_and_goes_on():
    here, there = socket.socketpair()
    thread = threading.Thread(target=serve, args=(there, LocalServer("texas")))
    thread.start()
    send(here, {"call": "__init__", "with": {"name": "other"}})
    assert "nothing that it does" in receive(here)["error"][1]
    send(here, {"call": "state", "with": {"cache": "none"}})
    assert "cache" in receive(here)["error"][1]
    send(here, {"call": "feed", "with": {"nonsense": 1}})
    assert "TypeError" in receive(here)["fault"]
    here.sendall(struct.pack("<QQ", 2, 8) + b"{}" + b"\0" * 8)
    assert "no frame" in receive(here)["error"][1]
    send(here, {"call": "hardware", "with": {}})
    assert receive(here) == {"value": "CPU"}
    here.close()
    thread.join(5)
    assert not thread.is_alive()
    there.close()


# --- processes


@pytest.fixture(scope="module")
def workers():
    with WorkerServer("texas", threads=1) as texas, WorkerServer("oregon", threads=1) as oregon:
        yield texas, oregon


def hosted(server, kind="qwen3", seed=0):
    request = ModelRequest(str(tiny_folder(kind, seed)), device="cpu", dtype="float32")
    return Answering(server, server.load(request), tiny_host(kind, seed).template)


def space_of(host):
    vectors = torch.randn(2, host.layers, host.hidden, generator=torch.manual_seed(3))
    return PersonaSpace("mine", ("warm", "odd"), vectors, layer=1, model_digest=host.digest)


def test_the_model_in_another_process_is_the_model_here(workers):
    loaded, here = hosted(workers[0]), Answering.by(tiny_host())
    assert loaded.model.facts.digest == here.model.facts.digest
    assert loaded.model.hidden == 32
    assert workers[0].hardware == here.server.hardware
    assert hosted(workers[0]).model == loaded.model


def on_three_servers(answerings, path, host):
    with Recorder(path, space=space_of(host)) as recorder:
        session = recorder.session(answerings[0], sampling=GREEDY, key="cities")
        alone = Session(host, sampling=GREEDY)
        drifts = []
        for place, how in zip([*answerings[1:], answerings[0]], ("transfer", "prefill", "transfer"), strict=True):
            for each in (session, alone):
                each.say("Where are you?")
                each.generate()
            drifts.append(session.migrate(place, how))
        heard = []
        for each, on_token in ((session, heard.append), (alone, None)):
            each.say("And now?")
            reply = each.generate(on_token)
        assert session.transcript.ids == alone.transcript.ids
        said = reply.turn.ids[len(host.template.generation_prompt(alone._skeleton()[:-1])) :]
        assert heard[: len(said)][:3] == list(said)[:3]
        session.close()
    return drifts


def sound(path):
    return [(finding.invariant, finding.breaches) for finding in check_store(path) if not finding.holds] == []


def test_a_conversation_moves_between_processes_and_goes_on_as_if_it_had_not(workers, tmp_path):
    path, host = tmp_path / "t.db", tiny_host()
    drifts = on_three_servers([Answering.by(host), *map(hosted, workers)], path, host)
    assert [drift.largest == 0 for drift in drifts] == [True, False, True]
    assert drifts[1].largest < 1e-5
    assert all(drift.kl < 1e-9 for drift in drifts)
    assert sound(path)
    table = StageTable.of(load(path))
    assert [LINKS[kind] for kind in table.own_kind[1:]] == [
        "attention", "transfer", "attention", "rebuild", "attention", "transfer", "attention",
    ]  # fmt: skip
    assert table.servers == ["local", "texas", "oregon"]


def test_everything_that_a_session_does_works_in_another_process(workers, tmp_path):
    path = tmp_path / "t.db"
    texas, oregon = hosted(workers[0]), hosted(workers[1], "llama")
    hidden = texas.model.hidden
    with Recorder(path, space=[space_of(tiny_host()), space_of(tiny_host("llama"))]) as recorder:
        session = recorder.session(texas, seed=1, sampling={"do_sample": True, "max_new_tokens": 3}, key="all")
        session.say("Hello")
        session.generate()
        session.intervene("push", Steering(torch.ones(hidden), 1.0, [1], positions="user"))
        session.say("More")
        session.generate()
        report = session.edit_cache("edit", CacheEdit(torch.ones(hidden), 1.0, [1], method="raw"), turns=[0])
        assert report.entries > 0
        branch = session.fork(2)
        branch.say("Other")
        branch.generate()
        session.switch(oregon)
        session.say("You too")
        session.generate()
        session.switch(texas, resume=True)
        session.edit(0, "Good day")
        session.close()
        branch.close()
    assert sound(path)


def test_what_a_server_refuses_is_refused_here_in_the_same_words(workers):
    local = Answering.by(tiny_host())
    remote = hosted(workers[0])
    for answering in (local, remote):
        session = Session(answering, key=f"refused-{answering.server.name}")
        session.say("Hello")
        with pytest.raises(TraceError, match="parameter"):
            session.generate(temperatur=1.0)
        with pytest.raises(TraceError, match="its vector has 3 numbers"):
            session.intervene("bad", Steering(torch.ones(3), 1.0, [1]))
        session.generate(**GREEDY)
    with pytest.raises(TraceError):
        workers[0].load(ModelRequest(str(ROOT / "no-such-model")))
    with pytest.raises(RuntimeError, match=r"texas[\s\S]*TypeError"):
        workers[0].call("feed", nonsense=1)
    with pytest.raises(TraceError, match="these 8 bytes are none"):
        workers[0].adopt(b"nonsense", "new")


def test_a_callers_own_error_at_a_token_leaves_the_server_and_the_session_in_order(workers):
    session, alone = Session(hosted(workers[0]), key="own"), Session(tiny_host())

    def fail(token):
        raise ZeroDivisionError

    for each in (session, alone):
        each.say("Hello")
    with pytest.raises(ZeroDivisionError):
        session.generate(fail, **GREEDY)
    assert session.turns == ()
    assert session.generate(**GREEDY).turn.ids == alone.generate(**GREEDY).turn.ids


def test_a_large_payload_goes_over(workers):
    payload = np.random.default_rng(0).integers(0, 256, 120_000_000, np.uint8).tobytes()
    with pytest.raises(TraceError, match="120,000,000 bytes"):
        workers[0].adopt(payload, "large")
    assert workers[0].hardware


def test_a_process_that_dies_is_said_clearly_and_leaves_no_zombie():
    server = WorkerServer("texas", threads=1)
    session = Session(hosted(server))
    session.say("Hello")
    server.process.kill()
    with pytest.raises(TraceError, match=r"server texas: its process has ended"):
        session.generate(**GREEDY)
    with pytest.raises(TraceError, match="texas"):
        session.flush()
    server.close()
    server.close()
    assert server.process.returncode is not None


def test_a_process_ends_when_nobody_holds_its_server_any_more():
    server = WorkerServer("texas", threads=1)
    process = server.process
    del server
    gc.collect()
    assert process.poll() is not None


def test_a_process_that_does_not_come_up_is_said_at_once(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(TraceError, match=r"did not start \(status 3\)"):
        WorkerServer("texas")


def test_a_stranger_with_another_secret_is_not_taken_for_the_process(monkeypatch, tmp_path):
    """The process started is one that first lets strangers try, then becomes the real one."""
    first = tmp_path / "python"
    first.write_text(
        f"""#!{sys.executable}
import os, socket, struct, sys
sys.path.insert(0, {str(ROOT)!r})
from mechanism.wire import encode
port = int(sys.argv[3])
said = [encode({{"secret": "guess", "pid": 1}}), encode([1]), encode({{}}), struct.pack("<QQ", 1 << 60, 1 << 60), b"GET / HTTP/1.1"]
for words in said:
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(words)
        stranger.shutdown(socket.SHUT_WR)
        assert stranger.recv(1) == b""
os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
""",
        encoding="utf-8",
    )
    first.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(first))
        server = WorkerServer("texas", threads=1)
    assert server.hardware
    server.close()


_PARENT = """
import os, signal, sys
from mechanism.worker_server import WorkerServer
server = WorkerServer("texas", threads=1)
print(server.process.pid, flush=True)
{end}
"""


@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(0)", "os._exit(1)"],
    ids=["killed", "ends", "ends abruptly"],
)
def test_no_process_is_left_behind_however_its_parent_ends(end):
    done = subprocess.run(
        [sys.executable, "-c", _PARENT.format(end=end)], capture_output=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, check=False,
    )  # fmt: skip
    pid = int(done.stdout)
    until = time.monotonic() + 20
    while time.monotonic() < until and _runs(pid):
        time.sleep(0.05)
    assert not _runs(pid)
    assert done.stderr == ""


def _runs(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- routes


@given(st.sampled_from(ROUTES), st.integers(1, 5), st.text(), st.integers(0, 50), st.integers(0, 3))
def test_a_route_depends_on_conversation_exchange_and_seed_alone(route, places, conversation, exchange, seed):
    to = router(route, range(places), seed)
    assert to(conversation, exchange) == router(route, range(places), seed)(conversation, exchange)
    assert to(conversation, exchange) in range(places)
    if route == "sticky":
        assert to(conversation, exchange) == to(conversation, 0)
    if route == "round-robin":
        assert to(conversation, exchange + 1) == (to(conversation, exchange) + 1) % places


@pytest.mark.parametrize("route", ["sticky", "random"])
def test_routes_that_are_drawn_reach_every_place(route):
    to = router(route, range(3))
    assert {to(f"c{n}", n) for n in range(60)} == {0, 1, 2}


def test_an_unknown_route_and_no_place_are_refused():
    with pytest.raises(TraceError, match="round-robin"):
        router("round-robbin", [1])
    with pytest.raises(TraceError, match="no server"):
        router("sticky", [])


# --- clusters

if importlib.util.find_spec("ray") is None:

    def test_without_ray_a_cluster_says_what_to_install():
        with pytest.raises(TraceError, match=r"individuate\[cluster\]"):
            ClusterServer("texas", gpus=0)

else:

    @pytest.fixture(scope="module")
    def actors():
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        servers = ClusterServer("texas", gpus=0), ClusterServer("oregon", gpus=0)
        yield servers
        for server in servers:
            server.close()
        ray.shutdown()

    def test_a_conversation_moves_between_actors_and_goes_on_as_if_it_had_not(actors, tmp_path):
        path, host = tmp_path / "t.db", tiny_host()
        drifts = on_three_servers([Answering.by(host), *map(hosted, actors)], path, host)
        assert [drift.largest == 0 for drift in drifts] == [True, False, True]
        assert drifts[1].largest < 1e-5
        assert sound(path)

    def test_what_an_actor_refuses_is_refused_here(actors):
        with pytest.raises(TraceError, match="cache"):
            actors[0].state("none")
        with pytest.raises(TraceError, match="nothing that it does"):
            actors[0].call("close_all")
        with pytest.raises(RuntimeError, match=r"texas[\s\S]*TypeError"):
            actors[0].call("feed", nonsense=1)

    def test_a_cluster_without_gpus_says_so(actors):
        with pytest.raises(TraceError, match="0 GPUs"):
            ClusterServer("ohio", gpus=1)

    def test_an_actor_that_has_ended_is_said_clearly(actors):
        server = ClusterServer("ohio", gpus=0)
        server.close()
        with pytest.raises(TraceError, match="actor has ended"):
            server.call("hardware")
