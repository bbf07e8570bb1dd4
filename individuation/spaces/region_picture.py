"""The regions of a persona space among the replies that it was fitted from, on two of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from individuation.picture.palette import MINDS
from individuation.spaces.frame import DASHES, MARKERS, roomy
from mechanism.regions.mixture import Mixture
from mechanism.space import PersonaSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def regions_of_replies(space: PersonaSpace) -> list[str | None]:
    """The region of each reply that the space was fitted from: by its mixture where it has one, else by its ranges."""
    if space.points is None:
        return []
    points = space.points.numpy().astype(np.float64)
    if space.mixture is not None:
        mixture = Mixture.of_dict(space.mixture, f"space {space.name}")
        columns = [space.axes.index(axis) for axis in mixture.axes]
        return [None if label < 0 else mixture.regions[label] for label in mixture.labels(points[:, columns])]
    return [space.region_of(dict(zip(space.axes, point, strict=True))) for point in points.tolist()]


def draw_regions(at: Axes, space: PersonaSpace, across: str, up: str, ink: dict[str, str]) -> None:
    """Regions on two axes, boxes for ranges and ellipses for the clusters of a mixture, and each reply as a point."""
    told = "Regions" if space.regions else "No regions yet"
    points = np.empty((0, len(space.axes))) if space.points is None else space.points.numpy().astype(np.float64)
    if len(points):
        told += f", and {len(points):,} replies" if space.regions else f": {len(points):,} replies"
    at.set_title(told, loc="left", color=ink["ink"], fontsize=9.5)
    plane = points[:, [space.axes.index(axis) for axis in (across, up)]]
    of = regions_of_replies(space)
    mixture = None if space.mixture is None else Mixture.of_dict(space.mixture, f"space {space.name}")
    names = list(dict.fromkeys([*(mixture.regions if mixture else ()), *space.regions]))
    limits = [_limits(space, axis, plane[:, each]) for each, axis in enumerate((across, up))]
    for number, region in enumerate(names):
        colour, marker = MINDS[number % len(MINDS)], MARKERS[number % len(MARKERS)]
        mine = plane[[one == region for one in of]]
        if len(mine):
            at.plot(mine[:, 0], mine[:, 1], marker, color=colour, markersize=3.6, markeredgecolor=ink["outline"],
                    markeredgewidth=0.2, alpha=0.7, label=f"{region} ({len(mine):,})")  # fmt: skip
        corner = None
        if region in space.regions:
            ranges = space.regions[region]
            ends = [ranges.get(axis, (None, None)) for axis in (across, up)]
            corner = _box(at, ends, limits, number, filled=mixture is None)
        if mixture is not None and region in mixture.regions and {across, up} <= set(mixture.axes):
            corner = _ellipses(at, mixture, region, (across, up), number)
        if corner is not None:
            ground = {"boxstyle": "square,pad=0.15", "fc": ink["ground"], "ec": "none", "alpha": 0.75}
            at.annotate(region, corner, (4, -4), textcoords="offset points", va="top", fontsize=9, color=ink["ink"],
                        fontweight="bold", zorder=5, bbox=ground)  # fmt: skip
    none = plane[[one is None for one in of]]
    if len(none):
        at.plot(none[:, 0], none[:, 1], "x", color=ink["faint"], markersize=3.6, alpha=0.7,
                label=f"in no region ({len(none):,})" if names else "a reply")  # fmt: skip
    at.set_xlim(*limits[0])
    at.set_ylim(*limits[1])
    for axis, name in ((at.xaxis, across), (at.yaxis, up)):
        axis.set_label_text(f"{name}  ({space.signs[name]})" if name in space.signs else name)
    if len(points):
        at.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False, fontsize=8)


def _limits(space: PersonaSpace, axis: str, values: Any) -> tuple[float, float]:
    """Where an axis ends: around all replies and all ends of ranges; without replies, well beyond the ranges."""
    ends = [end for ranges in space.regions.values() for end in ranges.get(axis, ()) if end is not None]
    if not len(values) and ends:
        beyond = max(map(abs, ends)) or 1.0
        ends = [*ends, min(ends) - beyond, max(ends) + beyond]
    return roomy(np.append(values, ends))


def _box(
    at: Axes, ends: Sequence[tuple[float | None, float | None]], limits: Any, number: int, *, filled: bool
) -> tuple[float, float]:
    """The ranges of a region as a box, open ends at the frame; gives back its upper left corner."""
    from matplotlib.patches import Rectangle

    (left, right), (bottom, top) = (
        [limit if end is None else end for end, limit in zip(pair, edges, strict=True)]
        for pair, edges in zip(ends, limits, strict=True)
    )
    colour, dashes = MINDS[number % len(MINDS)], DASHES[number % len(DASHES)]
    if filled:
        at.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor=colour, alpha=0.10, linewidth=0))
    at.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=colour, linestyle=dashes,
                  linewidth=1.2 if filled else 0.8)
    )  # fmt: skip
    return left, top


def _ellipses(at: Axes, mixture: Mixture, region: str, plane: tuple[str, str], number: int) -> tuple[float, float]:
    """Two standard deviations around each cluster of a region; gives back the highest point of them."""
    from matplotlib.patches import Ellipse

    columns = [mixture.axes.index(axis) for axis in plane]
    colour, dashes = MINDS[number % len(MINDS)], DASHES[number % len(DASHES)]
    tops = []
    for component, of in enumerate(mixture.of_component):
        if mixture.regions[of] != region:
            continue
        centre = mixture.gaussians.means[component][columns]
        spread = mixture.gaussians.covariances[component][np.ix_(columns, columns)]
        sizes, directions = np.linalg.eigh(spread)
        angle = float(np.degrees(np.arctan2(directions[1, 1], directions[0, 1])))
        width, height = 4 * np.sqrt(np.maximum(sizes[::-1], 0.0))
        place = (float(centre[0]), float(centre[1]))
        at.add_patch(Ellipse(place, width, height, angle=angle, facecolor=colour, alpha=0.08, linewidth=0))
        at.add_patch(
            Ellipse(place, width, height, angle=angle, fill=False, edgecolor=colour, linestyle=dashes, linewidth=1.3)
        )
        tops.append((place[0], place[1] + 2 * float(np.sqrt(spread[1, 1]))))
    return max(tops, key=lambda top: top[1])
