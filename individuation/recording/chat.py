"""`individuate chat`: talk with a model in the terminal, recorded turn by turn."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from individuation.recording.chat_screen import Screen
    from individuation.recording.chat_session import Chat


@click.command(
    epilog="""
\b
Examples:
  individuate chat                                          (the organism, into a new file named by the time)
  individuate chat --model Qwen/Qwen3-4B --space qwen.safetensors -o evening.db
  individuate chat --system "You are a pirate." --greedy
  individuate chat -o scripted.db < lines.txt

While you chat, /help lists the commands: /switch, /migrate, /fork, /steer, /cap, /why and others.
"""
)
@click.option("--model", "-m", default="organism", show_default=True, metavar="MODEL",
              help="organism, organism-b, a model's folder, or a name on the Hugging Face Hub.")  # fmt: skip
@click.option("--output", "-o", metavar="TRACE",
              help="The trace.db to write; to one that is there, a conversation is added.  "
              "[default: chat-DATE-TIME.db]")  # fmt: skip
@click.option("--system", metavar="TEXT", help="A system prompt.")
@click.option("--space", "spaces", multiple=True, metavar="FILE",
              help="The persona space to read coordinates in.  "
              "[default: the one in the model's folder]")  # fmt: skip
@click.option("--layers", metavar="LAYERS", help="Read at these layers too, such as 3,4 or 2-5.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, mps, ...  [default: the best there is]")
@click.option("--dtype", metavar="DTYPE",
              help="float32, bfloat16, ...  [default: as the model is stored; float32 for an organism]")  # fmt: skip
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    metavar="N",
    help="For the same replies again.  [default: drawn, and shown]",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    metavar="T",
    help="Sample at this temperature.  [default: the model's]",
)
@click.option("--greedy", is_flag=True, help="Always the likeliest token.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True, metavar="N",
              help="How long a reply may get.")  # fmt: skip
@click.option("--no-text", is_flag=True, help="Keep counts and coordinates only, neither words nor tokens.")
def chat(
    model: str,
    output: str | None,
    system: str | None,
    spaces: tuple[str, ...],
    layers: str | None,
    device: str | None,
    dtype: str | None,
    seed: int | None,
    temperature: float | None,
    greedy: bool,
    max_new_tokens: int,
    no_text: bool,
) -> None:
    """Chat with a model in the terminal, and see where its persona is.

    After each reply a line says which stage of the conversation it is (c1/3), its coordinates in the persona space and
    the region that they lie in. Change the model, the server, the words or what goes on inside on the way; at the end
    you see how many minds you have talked to under each view. Every turn is in the trace as soon as it is done.

    Where standard input is no terminal, each line of it is said, or done if it begins with a slash; the exit status is
    then 1 if a command could not be done.
    """
    if greedy and temperature is not None:
        raise click.UsageError("--greedy and --temperature cannot be meant both")
    from individuation.recording.extra import needs_torch

    needs_torch("individuate chat")
    from individuation.recording.chat_screen import Screen

    sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens}
    if greedy:
        sampling["do_sample"] = False
    elif temperature is not None:
        sampling |= {"do_sample": True, "temperature": temperature}
    else:
        sampling |= _usual(model)
    asked = _Asked(model, _store(output), system, spaces, layers, device, dtype, seed, sampling, not no_text)
    _run(Screen(), asked)


@dataclass(frozen=True)
class _Asked:
    """What the command was asked for."""

    model: str
    store: Path
    system: str | None
    spaces: tuple[str, ...]
    layers: str | None
    device: str | None
    dtype: str | None
    seed: int | None
    sampling: dict[str, Any]
    keep_text: bool


def _usual(model: str) -> dict[str, Any]:
    """An organism is sampled as its figures were measured; other models say themselves how."""
    from individuation.recording.chat_places import is_organism

    return {"do_sample": True, "temperature": 0.7} if is_organism(model) else {}


def _store(output: str | None) -> Path:
    from datetime import datetime
    from itertools import count

    if output is not None:
        return Path(output)
    stem = f"chat-{datetime.now().astimezone():%Y-%m-%d-%H%M}"
    names = (Path(f"{stem}.db" if number == 1 else f"{stem}-{number}.db") for number in count(1))
    return next(path for path in names if not path.exists())


def _run(screen: Screen, asked: _Asked) -> None:
    from contextlib import ExitStack

    from individuation.recording.chat_commands import COMMANDS, layer_numbers
    from individuation.recording.chat_places import Places
    from individuation.recording.chat_session import Chat
    from mechanism.recorder import Recorder

    if screen.asks:
        click.echo(f"Loading {asked.model} ...", err=True)
    with ExitStack() as stack:
        places = Places(asked.device, asked.dtype, asked.spaces)
        stack.callback(places.close)
        answering, spaces = places.model(asked.model)
        layers = None if asked.layers is None else layer_numbers(asked.layers, answering.model.facts.layers)
        if asked.system is not None:
            # A template that has no place for it refuses it now, not with the first words.
            said = [{"role": "system", "content": asked.system}, {"role": "user", "content": "."}]
            answering.template.split(said)
        was_there = asked.store.exists()
        recorder = stack.enter_context(Recorder(asked.store, space=spaces, layers=layers, keep_text=asked.keep_text))
        seed = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
        session = recorder.session(answering, sampling=asked.sampling, seed=seed)
        if asked.system is not None:
            session.say(asked.system, role="system")
        chat = Chat(screen, places, recorder, session)
        screen.edit_lines([*COMMANDS])
        _greet(chat, asked, seed, was_there)
        failed = _talk(chat)
        anything = _end(chat)
    if anything:
        from individuation.recording.chat_reasons import show_count

        screen.say()
        show_count(screen, asked.store)
    elif not was_there:
        asked.store.unlink(missing_ok=True)
        screen.note("Nothing was said, so nothing was written.")
    if failed and not screen.asks:
        raise SystemExit(1)


def _greet(chat: Chat, asked: _Asked, seed: int, was_there: bool) -> None:
    session, store = chat.session, asked.store
    now = session.now
    chat.screen.note(
        f"{now.model.key} ({now.model.facts.layers} layers, {now.server.hardware}), "
        f"conversation {session.key} in {store}{'' if was_there else ' (new)'}, seed {seed}."
    )
    chat.greet_organism(asked.model)
    if chat.recorder.space_for(now) is None:
        chat.screen.note("It has no persona space: coordinates and regions are not read (--space FILE).")
    if asked.system is not None:
        chat.screen.note(f"System prompt: {asked.system}")
    chat.screen.note("/help lists what there is to type; /quit or Ctrl-D ends.")
    chat.screen.say()


def _talk(chat: Chat) -> bool:
    """Until the user ends it. Whether something could not be done."""
    from individuation.recording.chat_commands import EndOfChat, run_command
    from traces.errors import TraceError

    failed = False
    while True:
        try:
            line = chat.screen.ask()
            if line is None:
                return failed
            if not line.strip():
                continue
            if line.startswith("/") and not line.startswith("//"):
                run_command(chat, line)
            else:
                chat.say(line.removeprefix("/") if line.startswith("//") else line)
        except EndOfChat:
            return failed
        except TraceError as error:
            failed = True
            chat.screen.say(str(error), fg="red")
        except KeyboardInterrupt:
            chat.screen.say()
            if not chat.screen.asks:
                return True
            chat.screen.note("/quit or Ctrl-D ends the chat.")


def _end(chat: Chat) -> bool:
    """Let all branches go. Whether anything was said."""
    from traces.errors import TraceError

    for session in chat.branches.values():
        waiting = session.unsay()
        try:
            if any(message["role"] == "user" for message in waiting):
                session.replay(waiting)
            session.close()
        except TraceError as error:
            chat.screen.say(str(error), fg="red")
    return any(session.turns for session in chat.branches.values())
