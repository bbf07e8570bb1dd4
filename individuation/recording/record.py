"""`individuate record`: conversations from files, read by models here, into a trace.db."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mechanism.session import Handover

_INTERRUPTED = 130
_ROUTES = ("round-robin", "sticky", "random")
_HANDOVERS = ("prefill", "transfer")
CITIES = ("boston", "denver", "seattle")
"""What servers are called, as long as there are enough of them (§1.2: one conversation, three cities)."""


@click.command(
    epilog="""
\b
Examples:
  individuate record chat.json -o trace.db
  individuate record --model Qwen/Qwen3-0.6B --space axis.safetensors --conversation chats/ -o trace.db
  individuate record chat.json -o cities.db --servers 3 --handover prefill      (§1.2: three cities)
  individuate record chat.json -o router.db --model organism --model organism-b (§1.2: a router)
  individuate record chat.json -o replies.db --generate --seed 7
"""
)
@click.argument("files", nargs=-1, metavar="[FILE|FOLDER]...")
@click.option(
    "--conversation",
    "-c",
    "more",
    multiple=True,
    metavar="FILE|FOLDER",
    help="The same, as an option: a file (JSON or JSON lines), or a folder of them. Repeatable.",
)
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="MODEL",
    help="A folder, a name on the Hugging Face Hub, organism or organism-b. Repeatable: each exchange then goes to one "
    "of them.  [default: organism]",
)
@click.option("--output", "-o", required=True, metavar="TRACE", help="A trace.db, made or added to.")
@click.option("--title", metavar="TEXT", help="What the recording is called.")
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="FILE",
    help="A persona space, or vectors in a published format, to read at each token; `none` reads nothing. Repeatable.  "
    "[default: space.safetensors in the model's own folder]",
)
@click.option("--any-weights", is_flag=True, help="Use a space on other weights of the same shape too: a fine-tune.")
@click.option("--layers", metavar="LIST", help="Read at these layers too, such as 8,12 or 0-11.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, mps; several, for servers in turn: cuda:0,cuda:1.")
@click.option("--dtype", metavar="DTYPE", help="float32, bfloat16, float16.  [default: the checkpoint's]")
@click.option("--adapter", metavar="FOLDER", help="A LoRA adapter on the model.")
@click.option("--device-map", metavar="MAP", help="Spread a model over several devices: auto (transformers).")
@click.option("--servers", type=click.IntRange(1), metavar="N", help="Run so many processes, each with a model.")
@click.option("--server-names", metavar="A,B,...", help="What the servers are called.  [default: cities]")
@click.option("--cluster", is_flag=True, help="Servers are actors on a Ray cluster (extra `cluster`).")
@click.option(
    "--route",
    type=click.Choice(_ROUTES),
    help="Who takes the next exchange: each in turn, one for the whole conversation, or one drawn.  "
    "[default: round-robin]",
)
@click.option(
    "--handover",
    type=click.Choice(_HANDOVERS),
    default="prefill",
    show_default=True,
    help="How a KV cache comes to another server with the same model: recomputed there, or copied.",
)
@click.option("--resume-caches", is_flag=True, help="A model that comes back goes on with the cache it left there.")
@click.option("--generate", is_flag=True, help="The models answer; replies in the files are left out.")
@click.option("--max-new-tokens", type=click.IntRange(1), metavar="N", help="How long a reply may get.  [default: 256]")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), metavar="T", help="Sample at this temperature.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), metavar="P", help="Sample from the top P.")
@click.option("--greedy", is_flag=True, help="Always the likeliest token.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of replies and of --route random.")
@click.option("--no-text", is_flag=True, help="Keep no words and no token ids: only counts and coordinates.")
@click.option("--no-tokens", is_flag=True, help="Keep the coordinates of turns only, not those of tokens.")
@click.option(
    "--connections",
    is_flag=True,
    help="Measure how far turns rest on each other (§2.1): attention, and what hiding one changes. Takes longer.",
)
@click.pass_context
def record(
    context: click.Context,
    files: tuple[str, ...],
    more: tuple[str, ...],
    models: tuple[str, ...],
    output: str,
    title: str | None,
    spaces: tuple[str, ...],
    any_weights: bool,
    layers: str | None,
    device: str | None,
    dtype: str | None,
    adapter: str | None,
    device_map: str | None,
    servers: int | None,
    server_names: str | None,
    cluster: bool,
    route: str | None,
    handover: Handover,
    resume_caches: bool,
    generate: bool,
    max_new_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    greedy: bool,
    seed: int,
    no_text: bool,
    no_tokens: bool,
    connections: bool,
) -> None:
    """Have models read conversations, and record what goes on in them into a trace.db.

    A conversation is a JSON file: a list of messages {"role", "content"}, or an object with one under "messages" or
    "conversation"; or JSON lines, one conversation a line. Recorded are, for each turn, its coordinates in persona
    space, which KV cache its entries went into and where those came from, the model and the server.

    The whole transcript is read in one pass, unless there are several models or servers, or replies are to be
    generated: then turn by turn. The same command again goes on where it was stopped.
    """
    from individuation.recording.extra import mechanism_extra, needs_torch
    from mechanism.conversation_file import Conversations

    context.meta["individuation.writes"] = True
    if not (files or more):
        raise click.UsageError("Name a conversation: a file, or a folder of them.")
    if adapter is not None and len(models) > 1:
        raise click.UsageError("--adapter is for one model: leave out the others.")
    if device_map is not None and device is not None:
        raise click.UsageError("--device-map chooses the devices: leave out --device.")
    names = _names(servers, server_names, cluster, len(models) or 1)
    if connections and (names or cluster):
        raise click.UsageError("--connections measures in this process: leave out --servers and --cluster.")
    if device is not None and "," in device and not names:
        raise click.UsageError(
            "Several devices are for servers: add --servers, or --device-map auto for one large model."
        )
    sampling = _sampling(generate, max_new_tokens, temperature, top_p, greedy)
    store, wanted = _writable(output), _numbers(layers)
    needs_torch("individuate record")
    conversations = Conversations([Path(file) for file in (*files, *more)])
    with mechanism_extra("individuate record"), _stopping(context):
        from individuation.recording.job import Job, Places
        from mechanism.server import ModelRequest

        devices = tuple(each.strip() for each in (device or "").split(",") if each.strip())
        first = devices[0] if devices else None
        requests = [ModelRequest(model, first, dtype, adapter, device_map) for model in models or ("organism",)]
        job = Job(
            store=store, title=title, keep_text=not no_text, per_token=not no_tokens,
            places=Places(requests, names, devices, cluster), spaces=spaces, any_weights=any_weights, layers=wanted,
            route=route, handover=handover, resume_caches=resume_caches,
            generate=generate, sampling=sampling, seed=seed, connections=connections,
        )  # fmt: skip
        job.run(context, conversations)


@contextmanager
def _stopping(context: click.Context) -> Iterator[None]:
    """Ctrl-C ends with the status that shells give it, and says what was written."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"Stopped. {context.meta.get('individuation.kept') or 'Nothing was written.'}", err=True)
        context.exit(_INTERRUPTED)


def _writable(output: str) -> Path:
    """The trace to write to, as far as can be seen before anything is done for it."""
    from traces.errors import TraceError
    from traces.file import SUFFIXES

    store = Path(output)
    if store.suffix in SUFFIXES:
        raise TraceError(output, "a trace file is not written while it is recorded", "a trace.db (-o)")
    if store.is_dir():
        raise TraceError(output, "it is a folder", "a trace.db in it (-o)")
    if not store.parent.is_dir():
        raise TraceError(output, f"there is no folder {store.parent}", "a folder that is there")
    return store


def _numbers(layers: str | None) -> list[int] | None:
    """The layers in a list such as `8,12` or `0-11`."""
    from traces.errors import TraceError

    if layers is None:
        return None
    found: set[int] = set()
    for part in layers.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise TraceError("--layers", f'there is "{part.strip()}" in it', "numbers and ranges such as 8,12 or 0-11")
        found |= set(range(int(first), int(last or first) + 1))
    return sorted(found)


def _names(servers: int | None, given: str | None, cluster: bool, models: int) -> tuple[str, ...]:
    """What servers of their own are called; none where the models run in this process."""
    from traces.errors import TraceError

    names = tuple(name.strip() for name in given.split(",")) if given is not None else ()
    number = servers or len(names) or (models if cluster else 0)
    if names and (len(names) != number or len(set(names)) != number or not all(names)):
        raise TraceError(
            "--server-names", f"there are {len(set(names))} names", f"{number} names, a different one each"
        )
    if 1 < number < models:
        raise TraceError(
            "--servers", f"{number} servers for {models} models", "as many servers as models, more, or one"
        )
    if names or number <= len(CITIES):
        return names or CITIES[:number]
    return tuple(f"server-{n}" for n in range(1, number + 1))


def _sampling(
    generate: bool, max_new_tokens: int | None, temperature: float | None, top_p: float | None, greedy: bool
) -> dict[str, object]:
    """How replies are sampled; what is not said is as the model has it."""
    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    sampling: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if not generate and (sampling or greedy):
        raise click.UsageError("Sampling options are for replies: add --generate.")
    if greedy and (temperature or top_p):
        raise click.UsageError("--greedy takes the likeliest token: leave out --temperature and --top-p.")
    if greedy or temperature or top_p:
        sampling["do_sample"] = not greedy
    return sampling
