"""`individuate space label`: say which region each recorded turn is in, and how probable that is."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from individuation.recording.extra import mechanism_extra, needs_torch

if TYPE_CHECKING:
    from mechanism.regions.labelling import Labelled
    from mechanism.space import PersonaSpace
    from traces.facts import Facts

_ENTRY = 0.9
_LEAST = 6


@click.command(
    epilog="""
\b
Examples:
  individuate space label drift.db --space regions.safetensors
  individuate space label drift.db --space regions.safetensors --hysteresis 0.9 --name steady
  individuate space label drift.db --space regions.safetensors --change-points --name cut
  individuate space label drift.db --space organism --method ranges --name by-ranges
"""
)
@click.argument("trace", metavar="TRACE")
@click.option(
    "--space", "-s", "space_file", required=True, metavar="SPACE",
    help="A space file with regions (individuate space regions), or organism for the space that comes with it.",
)  # fmt: skip
@click.option("--name", metavar="NAME", help="What to call the labelling.  [default: the file's]")
@click.option(
    "--method", type=click.Choice(["mixture", "ranges"]),
    help="By what a turn is put in a region.  [default: by the mixture, where the space has one]",
)  # fmt: skip
@click.option(
    "--hysteresis", type=click.FloatRange(0.5, 1, max_open=True), metavar="P",
    help="A region is left only for another that is at least so probable, such as 0.9: a turn on a boundary is then no "
    "new persona.  [default: every turn is in its most probable region]",
)  # fmt: skip
@click.option(
    "--change-points", is_flag=True,
    help="Cut a turn where its tokens' coordinates show that the region changes; the parts are stages of their own.",
)  # fmt: skip
@click.option(
    "--least", type=click.IntRange(2), metavar="N", help=f"Tokens of a part, at the least.  [default: {_LEAST}]"
)
@click.option("--format", "-f", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def label(
    context: click.Context,
    trace: str,
    space_file: str,
    name: str | None,
    method: str | None,
    hysteresis: float | None,
    change_points: bool,
    least: int | None,
    form: str,
) -> None:
    """Say which persona region each of the assistant's turns in a stored TRACE is in, by the regions of a space.

    By the mixture it is kept how probable each region is, so that counts of minds come with how sure they are; by
    ranges a turn is in the first region whose ranges hold its coordinates. The recorded facts stay as they are: several
    labellings stand side by side, and --labelling picks one when counting.
    """
    from traces.errors import TraceError
    from traces.sqlite_file import is_database

    path = Path(trace)
    if path.is_file() and not is_database(path):
        expected = f"a trace.db: individuate import {trace} -o {path.stem}.db"
        raise TraceError(trace, "it is a file, not a stored trace", expected)
    if least is not None and not change_points:
        raise TraceError("--least", "it is given, but turns are not cut", "--change-points as well")
    needs_torch("individuate space label")
    with mechanism_extra("individuate space label"):
        from individuation.spaces.subspace import named_space
    from traces.store import load

    space = named_space(space_file)
    method = method or ("ranges" if space.mixture is None else "mixture")
    _check(space_file, space, method, hysteresis, change_points)
    facts = load(path)
    chosen = name if name is not None else Path(space_file).stem
    settings: dict[str, Any] = {
        "space": space.name, "space_digest": space.digest, "layer": space.layer, "discrete": space.discrete,
    }  # fmt: skip
    context.meta["individuation.writes"] = True
    if method == "ranges":
        told = _by_ranges(path, facts, space, chosen, settings)
    else:
        told = _by_mixture(path, facts, space, chosen, settings, hysteresis, change_points, least or _LEAST)
    if form == "json":
        json.dump(told, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
        click.echo()
        return
    _said(told)


def _check(file: str, space: PersonaSpace, method: str, hysteresis: float | None, change_points: bool) -> None:
    from traces.errors import TraceError

    if method == "mixture" and space.mixture is None:
        expected = f"a space of individuate space regions {file}, or --method ranges"
        raise TraceError(file, "it has no mixture", expected)
    if method == "ranges":
        if not space.regions:
            raise TraceError(file, "it has no regions", f"individuate space regions {file} -o regions.safetensors")
        for given, option in ((hysteresis is not None, "--hysteresis"), (change_points, "--change-points")):
            if given:
                raise TraceError(option, "ranges do not say how probable a region is", "--method mixture")


def _by_ranges(path: Path, facts: Facts, space: PersonaSpace, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from individuation.spaces.recorded_points import model_keys
    from traces.labelling import regions_of
    from traces.store import add_labelling
    from traces.vocabulary import ROLES

    spaces = {space.name: space.facts(model_keys(facts, space)[0])}
    found = regions_of(add_labelling(path, name, spaces, made={"method": "activation ranges", **settings}), name)
    spoken = found.of_turn[facts.turns.role == ROLES.index("assistant")]
    counts = np.bincount(spoken + 1, minlength=len(found.names) + 1).tolist()
    return {
        "trace": str(path), "labelling": name, "method": "ranges", "turns": len(spoken),
        "regions": dict(zip(found.names, counts[1:], strict=True)), "none": counts[0], "several": found.ambiguous,
        "caveats": _caveats(space),
    }  # fmt: skip


def _by_mixture(
    path: Path,
    facts: Facts,
    space: PersonaSpace,
    name: str,
    settings: dict[str, Any],
    hysteresis: float | None,
    change_points: bool,
    least: int,
) -> dict[str, Any]:
    from individuation.spaces.recorded_points import model_keys
    from individuation.spaces.subspace import on_axes
    from mechanism.regions.change_points import ALPHA
    from mechanism.regions.labelling import labelled
    from mechanism.regions.mixture import Mixture
    from traces.store import add_labelling

    mixture = Mixture.of_dict(space.mixture or {}, f"space {space.name}")
    ranges = {region: {axis: ends for axis, ends in (space.regions.get(region) or {}).items() if axis in mixture.axes}
              for region in mixture.regions}  # fmt: skip
    described = on_axes(space, mixture.axes).replaced(regions=ranges).facts(model_keys(facts, space)[0])
    found = labelled(facts, space.name, described, mixture, entry=hysteresis, change_points=change_points, least=least)
    settings = {"method": "Gaussian mixture", **settings, "hysteresis": hysteresis, "change_points": change_points}
    if change_points:
        noise = found.noise
        settings |= {"least": least, "alpha": ALPHA, "tokens_together": None if noise is None else noise.together}
    add_labelling(path, name, {space.name: described}, found.turns, settings)
    return {
        "trace": str(path), "labelling": name, "method": "mixture", **_counted(found, list(mixture.regions)),
        "hysteresis": hysteresis, "kept": found.kept if hysteresis is not None else None,
        "change_points": change_points, "split": found.split if change_points else None,
        "unsure": found.unsure, "unread": found.unread, "caveats": _caveats(space),
    }  # fmt: skip


def _counted(found: Labelled, regions: list[str]) -> dict[str, Any]:
    parts = Counter(part.region for turn in found.turns.values() for _, part in turn.parts)
    return {
        "turns": len(found.turns), "parts": sum(parts.values()),
        "regions": {region: parts[region] for region in regions}, "none": parts[None],
    }  # fmt: skip


def _caveats(space: PersonaSpace) -> list[str]:
    if space.discrete is True:
        return []
    if space.discrete is None:
        return ["It was not tested whether these regions are discrete, or could not be told (individuate space test)."]
    return ["The regions of this space were not shown to be discrete: they may be cuts through a continuum."]


def _said(told: dict[str, Any]) -> None:
    from individuation.cli.terminal import console, count, table

    out = console()
    for caveat in told["caveats"]:
        out.print(f"Caveat: {caveat}", markup=False)
    trace, name = told["trace"], told["labelling"]
    out.print(
        f'Labelling "{name}" added to {Path(trace).name}: {count(told["turns"], "assistant turn")}.', markup=False
    )
    parts = "turns and parts of turns" if told.get("split") else "turns"
    rows = [*((region, f"{n:,}") for region, n in told["regions"].items()), ("(none)", f"{told['none']:,}")]
    out.print(table([("region", "left"), (parts, "right")], rows))
    if told["method"] == "mixture":
        _say_how_sure(told)
    elif told["several"]:
        out.print(f"{count(told['several'], 'turn')} in the ranges of several regions: in the first.", markup=False)
    out.print(f"Next: individuate {trace} --labelling {name}", markup=False, soft_wrap=True)


def _say_how_sure(told: dict[str, Any]) -> None:
    from individuation.cli.terminal import console, count

    out = console()
    unsure = told["unsure"]
    out.print(
        f"{unsure:,} of them {'is' if unsure == 1 else 'are'} in their region with a probability below 0.9; all "
        "probabilities are kept.",
        markup=False,
    )
    if told["kept"] is not None:
        out.print(
            f"{count(told['kept'], 'turn')} stayed where the turn before was, since no other region had a probability "
            f"of {told['hysteresis']:g}.",
            markup=False,
        )
    if told["split"] is not None:
        split = told["split"]
        are = "is" if split == 1 else "are"
        out.print(f"{count(split, 'turn')} changed region on the way, and {are} cut there.", markup=False)
    if told["unread"]:
        out.print(f"{count(told['unread'], 'turn')} were not read on all axes.", markup=False)
