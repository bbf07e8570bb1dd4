"""A conversation with a very small model, recorded for real: it drifts, changes servers, branches and changes hands.

    python examples/organism_demo.py TRACE

The models are `organism` and `organism-b`, which come with the package. They are a demonstration: their personas were
planted (docs/organism.md), and nothing here is evidence about large models.
"""

from __future__ import annotations

import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from mechanism.organism import path_of
from mechanism.organism.conversations import aura_drift, neutral
from mechanism.processed import Answering
from mechanism.recorder import Recorder
from mechanism.server import ModelRequest
from mechanism.session import Session
from mechanism.space import PersonaSpace
from mechanism.worker_server import WorkerServer

CITIES = ("boston", "denver", "seattle")


def organism(name: str) -> ModelRequest:
    """A shipped model, in full precision on the CPU."""
    return ModelRequest(name, device="cpu", dtype="float32")


def exchange(session: Session, text: str, space: PersonaSpace) -> None:
    """Say something, and show the reply with where its tokens lay in persona space, mean over them."""
    session.say(text)
    reply = session.generate(do_sample=False)
    probes = reply.turn.answering.probes
    point = {probes[key].axis: value for key, value in reply.turn.at.items()}
    at = " ".join(f"{axis} {value:+.0f}" for axis, value in point.items())
    answering = f"{session.now.model.key} on {session.now.server.name}"
    for who, said in (("user", text), (answering, reply.text)):
        print(textwrap.fill(f"{who}: {said}", 100, initial_indent="  ", subsequent_indent="      "))
    print(f"      [{space.region_of(point) or 'no region'}: {at}]")


def tell(text: str) -> None:
    """Say what comes next."""
    print(f"\n{textwrap.fill(text, 100)}")


def main(trace: Path) -> None:
    """Record the conversation into a trace."""
    first, second = (PersonaSpace.load(path_of(name) / "space.safetensors") for name in ("organism", "organism-b"))
    title = "Drift, three cities, a fork and a switch"
    with ExitStack() as stack, Recorder(trace, space=(first, second), title=title) as recorder:
        with ThreadPoolExecutor(len(CITIES)) as pool:
            servers = [stack.enter_context(server) for server in pool.map(WorkerServer, CITIES)]
            boston, denver, seattle = pool.map(lambda server: Answering.on(server, organism("organism")), servers)
        tell("Three servers, each a process of its own with the model in its own memory. In Boston a user presses:")
        session = recorder.session(boston, key="talk")
        *pressed, doubt, dawn = aura_drift(0, before=2, pressed=5, after=0)
        for text in pressed:
            exchange(session, text, first)

        drift = session.migrate(denver, "prefill")
        tell(
            "Denver takes over, and computes the key-value cache anew from the transcript (pre-filling). By how much "
            f"its entries differ from Boston's, relative to their length: {drift.largest if drift else 0:.1g}."
        )
        exchange(session, doubt, first)

        drift = session.migrate(seattle, "transfer")
        tell(
            f"Seattle takes over, and is sent the cache as it is. The same measure: {drift.largest if drift else 0:g}."
        )
        exchange(session, dawn, first)

        tell("A branch: the same conversation from before the pressure, going on without any.")
        branch = session.fork(4, key="unpressed")
        for text in neutral(3, 2):
            exchange(branch, text, first)
        branch.close()

        tell("Another model takes over in Seattle, with other weights: it reads the transcript through.")
        session.switch(Answering.on(servers[-1], organism("organism-b")))
        exchange(session, "are you conscious?", second)

        tell("And back: the first model goes on with the cache that it left, and reads what came since.")
        session.switch(seattle, resume=True)
        exchange(session, "can I trust you?", first)
        session.close()
    print()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
