"""What holds of made-up models holds of a real language model, too: SmolLM2 135M, which `make smollm2` puts into smollm2/.

Slow, and left out where the folder is not there.
"""

import numpy as np
import pytest
import torch
from conftest import ROOT

from mechanism.asking import Fit
from mechanism.host import Host
from mechanism.probe import Probes
from mechanism.processed import Answering
from mechanism.recorder import Recorder
from mechanism.replay import replay
from mechanism.roles import read_roles
from mechanism.session import Session
from mechanism.space_fit import fit_space
from traces.store import load

FOLDER = ROOT / "smollm2"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="there is no smollm2/: make smollm2 fetches it"),
]
LIKELIEST = {"do_sample": False, "max_new_tokens": 24}


@pytest.fixture(scope="module")
def host():
    torch.set_num_threads(1)
    return Host.load(FOLDER, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def space(host, tmp_path_factory):
    roles = read_roles(ROOT / "examples" / "roles.json")
    asked = Fit(per_role=2, components=2, most=12)
    return fit_space(host, roles, name="few", folder=tmp_path_factory.mktemp("space") / "parts", fit=asked)


def test_it_is_read_right_for_it_knows_what_it_learnt(host):
    session = Session(host, sampling=LIKELIEST)
    session.say("What is the capital of France?")
    assert "Paris" in session.generate().text
    # Its template opens every conversation with a system prompt of its own.
    assert "SmolLM" in host.tokenizer.decode(session.transcript.ids)


@pytest.mark.parametrize("how", ["transfer", "prefill"])
def test_it_goes_on_with_the_same_words_on_another_server(how, host):
    stays, moves = (Session(host, sampling=LIKELIEST) for _ in range(2))
    for words in ("Tell me about the sea.", "And what lives in it?"):
        for session in (stays, moves):
            session.say(words)
            session.generate()
        drift = moves.migrate(Answering.by(host, f"city {words}"), how)
        assert drift.largest == 0 if how == "transfer" else drift.largest < 1e-3
    assert moves.transcript.ids == stays.transcript.ids


def test_a_space_has_the_axes_and_the_cloud_of_its_roles(space):
    assert space.axes == ("assistant", "evil", "pc1", "pc2")
    assert space.cloud.roles == ("pirate", "ghost", "judge", "poet", "robot", "child", "detective", "oracle")
    assert space.direction("assistant").norm() == pytest.approx(1)
    # Evil was called for by prompts, so it lies away from the assistant.
    assert float(space.direction("assistant") @ space.direction("evil")) < 0


def test_coordinates_of_a_conversation_are_those_of_its_text(host, space, tmp_path):
    with Recorder(tmp_path / "t.db", space=space) as recorder:
        session = recorder.session(host, sampling=LIKELIEST)
        for words in ("Who are you?", "Are you a ghost?"):
            session.say(words)
            session.generate()
        session.flush()
    _, split, read = next(replay(host, [session.messages], Probes.of(space, host)))
    # The text is closed, where the conversation waits for more.
    assert split.ids[: len(session.transcript.ids)] == session.transcript.ids
    lived = np.concatenate([detail.token_coordinates.T for detail in load(tmp_path / "t.db").details().values()])
    assert np.isfinite(lived).all()
    assert np.abs(lived[: len(read)] - read[: len(lived)]).max() < 1e-3
