"""`individuate space regions`: fit the regions of a persona space, which is what counts as one persona."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from individuation.recording.extra import mechanism_extra, needs_torch

if TYPE_CHECKING:
    from mechanism.regions.fitting import Regions
    from mechanism.regions.naming import Roles
    from mechanism.space import PersonaSpace

_SHOWN_MIXTURES = 5
_CALLED_FOR, _OPPOSITE = " (called for)", " (opposite)"
"""What `mechanism.asking` calls the replies of a trait's two sides by."""

_NONE = "(none)"


@click.command(
    epilog="""
\b
Examples:
  individuate space regions space.safetensors -o regions.safetensors
  individuate space regions space.safetensors --trace a.db --trace b.db -o regions.safetensors
  individuate space regions space.safetensors --axes aura,evil --number 3 --name 2=Aura -o regions.safetensors
  individuate space regions organism --trace drift.db --method ranges -o ranges.safetensors
"""
)
@click.argument("space", metavar="SPACE")
@click.option("--output", "-o", required=True, metavar="FILE", help="A new file: the space with the regions.")
@click.option(
    "--trace", "traces", multiple=True, metavar="TRACE",
    help="Fit to the assistant's turns that were recorded here; may be repeated.  [default: to the replies that the "
    "space file keeps]",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(["mixture", "ranges"]), default="mixture", show_default=True,
    help="What the new file keeps: the mixture, which says how probable each region is, and the ranges drawn around "
    "its clusters; or the ranges alone.",
)  # fmt: skip
@click.option(
    "--number", type=click.IntRange(1), metavar="K", help="So many regions.  [default: as many as BIC chooses]"
)
@click.option("--axes", metavar="A,B", help="Fit on these axes.  [default: all]")
@click.option(
    "--name", "given", multiple=True, metavar="N=NAME",
    help="What region N (from 1, the largest first) is called; may be repeated.  [default: as the role that "
    "is at home there, or the earlier region]",
)  # fmt: skip
@click.option("--no-noise", is_flag=True, help="Fit every point to some region, outliers too.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Everything random hangs on it.")
@click.option("--format", "-f", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def regions(
    space: str,
    output: str,
    traces: tuple[str, ...],
    method: str,
    number: int | None,
    axes: str | None,
    given: tuple[str, ...],
    no_noise: bool,
    seed: int,
    form: str,
) -> None:
    """Fit the regions of a persona SPACE: where replies lie close together, and apart from others.

    A mixture of clusters is fitted to the coordinates of replies; how many there are is chosen by BIC, which weighs how
    well they fit against how many numbers it took. Which persona or role a reply was asked to be plays no part in it.

    SPACE is a file, or organism for the space that comes with it. That there are clusters does not show that they are
    personas, or discrete: individuate space test tests that.
    """
    from traces.errors import TraceError

    names = _names(given)
    if Path(output).exists():
        raise TraceError(output, "it is there already", "a new file")
    needs_torch("individuate space regions")
    with mechanism_extra("individuate space regions"):
        from individuation.spaces.recorded_points import recorded_points
        from individuation.spaces.subspace import named_space, on_axes
        from mechanism.regions.fitting import fit_regions

    whole = named_space(space)
    here = whole if axes is None else on_axes(whole, _axes(axes))
    if traces:
        points, _ = recorded_points([Path(trace) for trace in traces], here)
        asked: Sequence[str] = ()
        what = f"{len(points):,} turns of the assistant's in {', '.join(Path(trace).name for trace in traces)}"
    elif here.points is not None:
        points, asked = here.points.numpy().astype("f8"), [role.removesuffix(_CALLED_FOR) for role in here.point_roles]
        what = f"{len(points):,} replies that {whole.name} was fitted from"
    else:
        raise TraceError(
            space, "it keeps no replies to fit regions to", "--trace: recordings that were made with this space"
        )
    cloud = here.cloud
    earlier = not len(asked) and cloud is None and bool(whole.regions)
    if earlier:
        asked = [whole.region_of(dict(zip(here.axes, point, strict=True))) or _NONE for point in points.tolist()]
    found = fit_regions(
        points, here.axes, asked=asked, default=None if cloud is None else cloud.default, given=names,
        nameless={role for role in asked if role.endswith(_OPPOSITE) or role == _NONE},
        roles=None if cloud is None else lambda: _roles(here), number=number, noise=not no_noise, seed=seed,
    )  # fmt: skip
    how = {"points": what, "axes": list(here.axes), "method": method, "number": number, "noise": not no_noise,
           "seed": seed}  # fmt: skip
    whole.replaced(
        regions=found.ranges,
        mixture=found.mixture.to_dict() if method == "mixture" else None,
        # What was tested were other regions.
        discrete=None,
        tested=None,
        made={**whole.made, "regions": how},
    ).save(output)
    told = _told(
        found, what, output, earlier=earlier, was_tested=whole.tested is not None or whole.discrete is not None
    )
    if form == "json":
        json.dump(told, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
        click.echo()
        return
    _said(told)


def _names(given: Sequence[str]) -> dict[int, str]:
    from pydantic import TypeAdapter, ValidationError

    from traces.errors import TraceError, quoted
    from traces.vocabulary import Name

    names: dict[int, str] = {}
    for each in given:
        number, equals, name = each.partition("=")
        try:
            if not equals or not (number.isascii() and number.isdecimal()):
                raise ValueError
            TypeAdapter(Name).validate_python(name)
        except (ValueError, ValidationError):
            raise TraceError("--name", f"it is {quoted(each)}", "N=NAME, such as 2=aura") from None
        if int(number) in names:
            raise TraceError("--name", f"region {number} is given two names", "one name for a region")
        names[int(number)] = name
    return names


def _axes(axes: str) -> tuple[str, ...]:
    from traces.errors import TraceError, quoted

    names = tuple(axis.strip() for axis in axes.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise TraceError("--axes", f"it is {quoted(axes)}", "axes of the space, each once: A,B")
    return names


def _roles(space: PersonaSpace) -> Roles:
    """The roles of the space's cloud on its axes."""
    import numpy as np

    from mechanism.regions.naming import Roles

    cloud = space.cloud
    assert cloud is not None
    directions = np.stack([space.direction(axis).numpy().astype("f8") for axis in space.axes], axis=1)
    return Roles(cloud.names, cloud.means.astype("f8") @ directions, cloud.default)


def _told(found: Regions, what: str, output: str, *, earlier: bool, was_tested: bool) -> dict[str, Any]:
    from mechanism.regions.mixture import DOUBTFUL

    mixture = found.mixture
    tried = sorted((each for each in mixture.candidates if each.bic is not None), key=lambda each: each.bic or 0.0)
    return {
        "file": output,
        "points": what,
        "axes": list(mixture.axes),
        "regions": [
            {
                "name": region.name, "points": region.size, "centre": dict(region.centre),
                "ranges": {axis: list(ends) for axis, ends in region.box.ranges.items()},
                "held": region.box.held, "strange": region.box.strange,
                "nearest_roles": [{"role": role, "distance": far} for role, far in region.near],
                "in_earlier_region" if earlier else "asked_to_be": [
                    {"role": role, "points": times} for role, times in region.asked
                ],
            }
            for region in found.regions
        ],
        "outside": found.outside,
        "noise": mixture.gaussians.noise,
        "components": len(mixture.of_component),
        "mixtures": [{"components": each.components, "covariance": each.shape, "bic": each.bic} for each in tried],
        "too_few_points": [
            {"components": each.components, "covariance": each.shape} for each in mixture.candidates if each.bic is None
        ],
        "doubtful": DOUBTFUL,
        "was_tested": was_tested,
    }  # fmt: skip


def _said(told: dict[str, Any]) -> None:
    from individuation.cli.terminal import console, count, some, table
    from individuation.outcomes.words import number

    out = console()
    regions = told["regions"]
    file, stem = told["file"], Path(told["file"]).stem
    out.print(
        f"{count(len(regions), 'region')} in {told['points']}, on {some(told['axes'], 8)}.", markup=False
    )  # fmt: skip
    if len(regions) == 1:
        out.print("The replies are one cloud: nothing in it is set apart as a persona of its own.", markup=False)
    rows = []
    for place, region in enumerate(regions, 1):
        where = "; ".join(f"{axis} {number(low)} to {number(high)}" for axis, (low, high) in region["ranges"].items())
        before = region.get("asked_to_be") or region.get("in_earlier_region") or []
        asked = ", ".join(f"{each['role']} {each['points']:,}" for each in before)
        near = ", ".join(f"{each['role']} {each['distance']:.1f}" for each in region["nearest_roles"])
        rows.append([str(place), region["name"], f"{region['points']:,}", where, asked or near or "-"])
    last = "nearest roles (in standard deviations)"
    if any(region.get("asked_to_be") for region in regions):
        last = "most of them asked to be"
    elif any(region.get("in_earlier_region") for region in regions):
        last = "in the space's earlier regions"
    columns = [("", "right"), ("region", "left"), ("points", "right"), ("ranges", "fold"), (last, "fold")]
    out.print(table(columns, rows))
    out.print(f"{count(told['outside'], 'point')} in no region.", markup=False)
    rows = [[region["name"], f"{region['held']:.0%}", f"{region['strange']:.0%}"] for region in regions]
    out.print("How well ranges, which are boxes, hold the clusters:", markup=False)
    out.print(
        table([("region", "left"), ("of its points in its box", "right"), ("others' in its box", "right")], rows)
    )  # fmt: skip
    _say_mixtures(told)
    if told["was_tested"]:
        out.print("What the space said of discreteness was about its earlier regions, and is not kept.", markup=False)
    out.print(
        f"Next: individuate space test {file}; individuate space draw {file} -o {stem}.svg; "
        f"individuate space label TRACE --space {file}",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _say_mixtures(told: dict[str, Any]) -> None:
    from individuation.cli.terminal import console, count, table

    out = console()
    tried = told["mixtures"]
    best = tried[0]["bic"]
    covariances = {
        "full": "each its own", "tied": "one for all", "diag": "uncorrelated axes", "spherical": "round",
    }  # fmt: skip
    rows = [
        [str(each["components"]), covariances[each["covariance"]], f"{each['bic']:,.1f}", f"{each['bic'] - best:,.1f}"]
        for each in tried[:_SHOWN_MIXTURES]
    ]
    left = len(tried) - len(rows)
    out.print(
        f"The best of {count(len(tried), 'mixture')} (BIC: less is better; of those up to {told['doubtful']:g} worse, "
        "the one with the fewest clusters is taken):",
        markup=False,
    )
    columns = [("clusters", "right"), ("covariances", "left"), ("BIC", "right"), ("more than the best", "right")]
    out.print(table(columns, rows))
    if left:
        out.print(f"and {left} more (--format json has all)", markup=False)
    if told["components"] > len(told["regions"]):
        out.print(
            f"Of the {told['components']} clusters some have no gap between them, and are one region together.",
            markup=False,
        )
