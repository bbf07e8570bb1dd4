"""What a persona space is, as data for JSON and as text: axes, role cloud, replies, regions, how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from individuation.cli.terminal import console, count, some, table
from individuation.outcomes.words import number
from individuation.spaces.region_picture import regions_of_replies
from mechanism.axes import cosines
from mechanism.organism import NAMES, ORGANISM_CAVEAT
from mechanism.role_cloud import RoleCloud
from mechanism.space import PersonaSpace

_SHOWN_ROLES = 5
_SHOWN_COMPONENTS = 8
_SHARE = 0.7
_MOST_ANGLES = 24
"""So many axes are compared with each other: a folder of role vectors has hundreds."""


def described(space: PersonaSpace) -> dict[str, Any]:
    """Everything that is known of a space, for JSON. Coordinates are in units of the residual stream."""
    at_layer = [axis for axis in space.axes if space.layer in space.given(axis)][:_MOST_ANGLES]
    angles = cosines([space.vector(axis) for axis in at_layer]) if at_layer else []
    return {
        "name": space.name,
        "model": {"name": space.model_name, "digest": space.model_digest, "layers": space.layers,
                  "hidden": space.hidden},
        "layer": space.layer,
        "pooling": space.pooling,
        "source": space.source,
        "digest": space.digest,
        "axes": [_axis(space, axis) for axis in space.axes],
        "cosines": {one: dict(zip(at_layer, row, strict=True)) for one, row in zip(at_layer, angles, strict=True)},
        "replies": None if space.points is None else len(space.points),
        "cloud": None if space.cloud is None else _cloud(space.cloud),
        "regions": {region: {axis: list(ends) for axis, ends in ranges.items()}
                    for region, ranges in space.regions.items()},
        "in_regions": _in_regions(space),
        "mixture": None if space.mixture is None else dict(space.mixture),
        "discrete": space.discrete,
        "tested": None if space.tested is None else dict(space.tested),
        "made": dict(space.made),
        "caveats": [ORGANISM_CAVEAT] if (space.model_name or "").split("+")[0] in NAMES else [],
    }  # fmt: skip


def _axis(space: PersonaSpace, axis: str) -> dict[str, Any]:
    given = space.given(axis)
    found: dict[str, Any] = {
        "name": axis,
        "sign": space.signs.get(axis),
        "layers": given,
        "length": float(space.vector(axis).norm()) if space.layer in given else None,
        "lengths": {str(layer): float(space.vector(axis, layer).norm()) for layer in given},
        "replies": None,
    }
    if space.points is not None:
        values = space.points[:, space.axes.index(axis)].numpy().astype(np.float64)
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
        found["replies"] = {"quantile_05": low, "median": median, "quantile_95": high}
    return found


def _cloud(cloud: RoleCloud) -> dict[str, Any]:
    found: dict[str, Any] = {"roles": len(cloud.roles), "default": cloud.default, "names": list(cloud.names)}
    if len(cloud.roles) > 1:
        found |= {
            "explained": cloud.explained.tolist(),
            "components_for_70_percent": cloud.components_for(_SHARE),
            "coordinates": {name: cloud.coordinates(cloud.mean_of(name)[None]).tolist()[0] for name in cloud.names},
        }
    if cloud.default is not None:
        near = cloud.nearest(cloud.mean_of(cloud.default), len(cloud.names))[1:]
        found["distance_to_default"] = dict(near)
    axis = cloud.assistant_axis
    if axis is not None and len(cloud.roles) > 1:
        first = cloud.directions[0]
        found["cosine_of_first_component_with_assistant_axis"] = float(first @ axis / np.linalg.norm(axis))
    return found


def _in_regions(space: PersonaSpace) -> dict[str, int] | None:
    """How many of the replies are in each region, and in none."""
    if space.points is None or not (space.regions or space.mixture):
        return None
    of = regions_of_replies(space)
    names = dict.fromkeys([*space.regions, *(region for region in of if region is not None)])
    return {region: of.count(region) for region in names} | {"(none)": of.count(None)}


# --- as text


def said(told: dict[str, Any]) -> None:
    """Print a description: what it is, what its axes mean, what is known of roles and regions, how it was made."""
    out = console()
    model = told["model"]
    out.print(f"Persona space {told['name']}", style="bold", markup=False)
    of = model["name"] or "a model that the file does not name"
    blocks = f"{model['layers']} blocks, {model['hidden']:,} numbers wide"
    out.print(f"For {of} ({blocks}), read after block {told['layer']} (counted from 0).", markup=False)
    out.print(
        f"It has {count(len(told['axes']), 'direction')} in the model's inner state. A coordinate says how far the "
        "state lies along one of them, averaged over the words of a turn.",
        markup=False,
    )
    for caveat in told["caveats"]:
        out.print(f"Caveat: {caveat}", markup=False)
    out.print()
    _say_axes(told)
    if told["cloud"] is not None:
        _say_cloud(told["cloud"])
    _say_regions(told)
    out.print("How it was made", style="bold")
    for line in _made(told):
        out.print(f"  {line}", markup=False)


def _say_axes(told: dict[str, Any]) -> None:
    out = console()
    shown = told["axes"][:24]
    with_replies = any(axis["replies"] for axis in shown)
    columns = [("axis", "left"), ("its positive end", "fold"), ("blocks with a vector", "left"), ("length", "right")]
    if with_replies:
        columns.append(("replies, 5 % to 95 %", "left"))
    rows = []
    for axis in shown:
        row = [axis["name"], axis["sign"] or "the file does not say", _span(axis["layers"])]
        row.append("-" if axis["length"] is None else number(axis["length"]))
        if with_replies:
            spread = axis["replies"]
            row.append(f"{number(spread['quantile_05'])} to {number(spread['quantile_95'])}")
        rows.append(row)
    out.print(table(columns, rows))
    if len(told["axes"]) > len(shown):
        out.print(f"and {len(told['axes']) - len(shown)} more axes (--format json has all)", markup=False)
    names = list(told["cosines"])
    if 1 < len(names) <= 8:
        out.print("Cosines between axes: 1 the same direction, 0 nothing in common, -1 opposite.", markup=False)
        rows = [[one, *(f"{round(told['cosines'][one][other], 2) + 0.0:.2f}" for other in names)] for one in names]
        out.print(table([("", "left"), *((name, "right") for name in names)], rows))


def _say_cloud(cloud: dict[str, Any]) -> None:
    out = console()
    out.print("Role cloud", style="bold")
    shares = cloud.get("explained")
    if shares is None:
        out.print("  Too few roles for components.", markup=False)
        return
    shown = ", ".join(f"{share:.0%}" for share in shares[:_SHOWN_COMPONENTS] if share >= 0.005)
    enough = cloud["components_for_70_percent"]
    out.print(
        f"  The {cloud['roles']} roles differ mostly in {count(enough, 'way')}: so many principal components hold 70 % "
        f"of the variance between them (one by one: {shown}).",
        markup=False,
    )
    cosine = cloud.get("cosine_of_first_component_with_assistant_axis")
    if cosine is not None:
        out.print(f"  Cosine of the first component with the assistant axis: {cosine:.2f}.", markup=False)
    if "distance_to_default" in cloud:
        order = [f"{name} {number(far)}" for name, far in cloud["distance_to_default"].items()]
        out.print(f"  Nearest to the default (L2): {some(order[:_SHOWN_ROLES], _SHOWN_ROLES)}.", markup=False)
        out.print(f"  Farthest: {some(order[: -_SHOWN_ROLES - 1 : -1], _SHOWN_ROLES)}.", markup=False)
    out.print()


def _say_regions(told: dict[str, Any]) -> None:
    out = console()
    out.print("Regions", style="bold")
    if not told["regions"]:
        next_ = f"individuate space regions {told['file']}" if "file" in told else "individuate space regions"
        out.print(f"  None yet. Regions are what counts as one persona: {next_} fits them.", markup=False)
    else:
        rows = []
        for region, ranges in told["regions"].items():
            inside = "-" if told["in_regions"] is None else f"{told['in_regions'][region]:,}"
            rows.append([region, "; ".join(_range(axis, *ends) for axis, ends in ranges.items()) or "-", inside])
        if told["in_regions"] is not None:
            rows.append(["(in none)", "", f"{told['in_regions']['(none)']:,}"])
        out.print(table([("region", "left"), ("where it is", "fold"), ("replies in it", "right")], rows))
        if told["mixture"] is not None:
            out.print("  Replies are in the region that the mixture finds most probable.", markup=False)
    verdict = {
        None: "Not tested whether the regions are separate basins or parts of a continuum, or it could not be told "
        "(individuate space test).",
        True: "Tested: the regions are separate (Hypothesis 3 is borne out on this space).",
        False: "Tested: the regions were not shown to be separate (Hypothesis 3 is not borne out on this space). What "
        "is counted by them may be a cut through a continuum.",
    }[told["discrete"]]
    out.print(f"  {verdict}", markup=False)
    out.print()


def _made(told: dict[str, Any]) -> list[str]:
    made = told["made"]
    lines = [f"source: {told['source'] or 'the file does not say'}", f"digest of the vectors: {told['digest']}"]
    if told["model"]["digest"]:
        lines.append(f"digest of the model: {told['model']['digest']}")
    told_of = ("format", "rows", "turned", "type", "seed", "judge")
    lines += [f"{key}: {made[key]}" for key in told_of if made.get(key) is not None]
    pooling = made.get("pooling")
    if pooling and pooling != told["pooling"]:
        lines.append(f"vectors are: {pooling}")
    if "after_final_norm" in made:
        lines.append(f"block {made['after_final_norm']}'s row is behind the final norm; do not mix it with the others")
    roles = made.get("roles")
    if isinstance(roles, dict):
        lines.append(f"roles: {roles['number']}, from {roles['source']}")
        if roles["left out"]:
            lines.append(f"left out, too few replies in the role: {some(roles['left out'], 8)}")
    replies = made.get("replies")
    if isinstance(replies, dict):
        asked, kept = (sum(each[key] for each in replies.values()) for key in ("asked", "kept"))
        broken, other = (sum(each[key] for each in replies.values()) for key in ("broken", "other"))
        lines.append(f"replies: {kept:,} of {asked:,} kept ({broken:,} broken or empty, {other:,} not in their role)")
    return lines


def _span(layers: list[int]) -> str:
    if not layers:
        return "none"
    if layers == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]} to {layers[-1]}" if len(layers) > 1 else str(layers[0])
    return some([str(layer) for layer in layers], 6)


def _range(axis: str, low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return f"any {axis}"
    if low is None:
        return f"{axis} at most {number(high or 0.0)}"
    return f"{axis} at least {number(low)}" if high is None else f"{axis} {number(low)} to {number(high)}"


def said_of_fit(told: dict[str, Any], path: Path, *, organism: bool) -> None:
    """Print what came of a fit, shortly: the whole is for `show`."""
    out = console()
    replies = told["made"]["replies"]
    asked, kept = (sum(each[key] for each in replies.values()) for key in ("asked", "kept"))
    cloud = told["cloud"]
    out.print(
        f"{path}: axes {some([axis['name'] for axis in told['axes']], 8)}, read after block {told['layer']} of "
        f"{told['model']['name']}.",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    out.print(
        f"{kept:,} of {asked:,} replies were kept, of {count(cloud['roles'], 'role')} and the default. "
        f"{count(cloud['components_for_70_percent'], 'component')} of the role cloud "
        f"{'holds' if cloud['components_for_70_percent'] == 1 else 'hold'} 70 % of the variance between roles.",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    if told["made"]["roles"]["left out"]:
        out.print(f"Left out: {some(told['made']['roles']['left out'], 8)}.", markup=False, soft_wrap=True)
    if organism and not told["caveats"]:
        out.print(f"Caveat: {ORGANISM_CAVEAT}", markup=False)
    for caveat in told["caveats"]:
        out.print(f"Caveat: {caveat}", markup=False)
    out.print(
        f"Next: individuate space show {path}; individuate space draw {path} -o {path.stem}.svg; "
        f"individuate space regions {path} -o {path.stem}-regions.safetensors",
        markup=False, soft_wrap=True,
    )  # fmt: skip
