"""Pictures of a persona space: the role cloud, the variance that its components hold, regions among replies, layers.

Colour never stands alone: regions differ in their markers too, and each is named where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from individuation.picture.figures import saved
from individuation.picture.palette import MINDS, colours
from individuation.spaces.frame import DASHES, MARKERS, framed, roomy
from individuation.spaces.region_picture import draw_regions
from mechanism.axes import cosines
from mechanism.role_cloud import RoleCloud
from mechanism.space import PersonaSpace
from traces.errors import TraceError, UnknownNameError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = ("cloud", "variance", "regions", "layers")

_WIDTHS = {"cloud": 6.2, "variance": 3.6, "regions": 5.6, "layers": 4.6}
_HEIGHT, _DPI = 5.0, 160
_MOST_NAMED = 16
_MOST_BARS = 12
_MOST_LINES = 8
# A fixed salt and no date, so that the same space gives the same bytes.
_RC: Any = {
    "font.family": ["DejaVu Sans"], "font.size": 9, "svg.fonttype": "path", "svg.hashsalt": "individuate",
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def panels_of(space: PersonaSpace) -> list[str]:
    """The panels that there is something to draw in."""
    found = []
    if space.cloud is not None and len(space.cloud.roles) > 2:
        found += ["cloud", "variance"]
    if (space.points is not None or space.regions) and len(space.axes) > 1:
        found.append("regions")
    return found or ["layers"]


def picture(
    space: PersonaSpace, format_: str = "svg", *, axes: Sequence[str] = (), panels: Sequence[str] = ()
) -> bytes:
    """A space as a picture. `axes`: the two on which regions are drawn; `panels`: some of `PANELS`, else all there is.

    Raises `TraceError` for a panel that there is nothing for, and for axes that are not there.
    """
    there = [*panels_of(space), "layers"]
    for panel in panels:
        if panel not in there:
            raise TraceError(f"space {space.name}", f"it has nothing to draw as {panel}", f"one of {', '.join(there)}")
    chosen = [*panels] or panels_of(space)
    across, up = _plane(space, axes) if "regions" in chosen else ("", "")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ink = colours("light")
    widths = [_WIDTHS[panel] for panel in chosen]
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(sum(widths), _HEIGHT), layout="constrained", facecolor=ink["ground"])
        FigureCanvasAgg(figure)
        figure.suptitle(_title(space), color=ink["ink"], fontsize=10.5, x=0.01, ha="left", fontweight="bold")
        grid = figure.subplots(1, len(chosen), squeeze=False, width_ratios=widths)[0]
        named: list[Callable[[], None]] = []
        for panel, at in zip(chosen, grid, strict=True):
            framed(at, ink)
            if panel == "cloud" and space.cloud is not None:
                named.append(_cloud(at, space.cloud, ink))
            elif panel == "variance" and space.cloud is not None:
                _variance(at, space.cloud, ink)
            elif panel == "regions":
                draw_regions(at, space, across, up, ink)
            else:
                _layers(at, space, ink)
        # Names are put where there is room, which is known once everything has its place.
        figure.draw_without_rendering()
        for name in named:
            name()
        return saved(figure, format_, f"Persona space {space.name}", _DPI)


def _title(space: PersonaSpace) -> str:
    of = f" of {space.model_name}" if space.model_name and space.model_name != space.name else ""
    return f'Persona space "{space.name}"{of}, block {space.layer} of {space.layers} (from 0)'


def _cloud(at: Axes, cloud: RoleCloud, ink: dict[str, str]) -> Callable[[], None]:
    """Roles on the first two components; gives back what writes the names of the outermost."""
    roles = cloud.coordinates(cloud.of_roles)
    at.set_title(f"Role cloud: the means of {len(roles)} roles", loc="left", color=ink["ink"], fontsize=9.5)
    for number, axis in enumerate((at.xaxis, at.yaxis)):
        axis.set_label_text(f"component {number + 1} ({cloud.explained[number]:.0%} of the variance between roles)")
    at.plot(roles[:, 0], roles[:, 1], "o", color=MINDS[0], markersize=5, markeredgecolor=ink["outline"],
            markeredgewidth=0.4, alpha=0.85, label="a role")  # fmt: skip
    points, names = [*roles], [*cloud.roles]
    if cloud.default is not None:
        default = cloud.coordinates(cloud.mean_of(cloud.default)[None])[0]
        at.annotate("", default, (0, 0), arrowprops={"arrowstyle": "->", "color": ink["muted"], "linewidth": 1.2})
        at.plot(*default, "*", color=MINDS[3], markersize=15, markeredgecolor=ink["outline"], markeredgewidth=0.6,
                label="the default; the arrow is the assistant axis")  # fmt: skip
        points.append(default)
        names.append(cloud.default)
    at.set_xlim(*roomy(np.array(points)[:, 0]))
    at.set_ylim(*roomy(np.array(points)[:, 1]))
    at.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=8)
    # The default first, then roles from the outside in.
    order = sorted(range(len(roles)), key=lambda index: -float(np.hypot(*roles[index])))[:_MOST_NAMED]
    order = [*range(len(roles), len(names)), *order]
    return lambda: _named(at, [names[i] for i in order], np.array([points[i] for i in order]), np.array(points), ink)


def _named(at: Axes, names: Sequence[str], where: Any, points: Any, ink: dict[str, str]) -> None:
    """Names beside their points, on the side where they cover nothing; one that finds no room is left out."""
    canvas: Any = at.figure.canvas
    renderer = canvas.get_renderer()
    dots, frame = at.transData.transform(points), at.get_window_extent(renderer)
    taken: list[Any] = []
    for name, point in zip(names, where, strict=True):
        outwards = "left" if point[0] >= 0 else "right"
        for align, (dx, dy) in (
            (outwards, (7 if outwards == "left" else -7, 0)),
            ("center", (0, 10)),
            ("center", (0, -10)),
            ("left" if outwards == "right" else "right", (-7 if outwards == "left" else 7, 0)),
        ):
            text = at.annotate(
                name, point, (dx, dy), textcoords="offset points", ha=align, va="center", fontsize=8, color=ink["ink"]
            )
            box = text.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            covers = ((dots >= (box.x0, box.y0)) & (dots <= (box.x1, box.y1))).all(axis=1).any()
            if inside and not covers and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _variance(at: Axes, cloud: RoleCloud, ink: dict[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    shares = cloud.explained[:_MOST_BARS]
    order = np.arange(1, len(shares) + 1)
    at.set_title("Variance that components hold", loc="left", color=ink["ink"], fontsize=9.5)
    at.bar(order, shares * 100, color=MINDS[0], edgecolor=ink["outline"], linewidth=0.5, label="each")
    at.plot(order, np.cumsum(shares) * 100, "o-", color=MINDS[3], markersize=4, label="together")
    at.axhline(70, color=ink["muted"], linewidth=0.9, linestyle=(0, (2, 2)))
    enough = cloud.components_for(0.7)
    at.text(len(shares) + 0.5, 68, f"70 %: {enough} component{'s' * (enough != 1)}", fontsize=8, color=ink["muted"],
            va="top", ha="right")  # fmt: skip
    at.set_xlabel("component")
    at.set_ylabel("% of the variance between roles")
    at.set_ylim(0, 103)
    at.xaxis.set_major_locator(MaxNLocator(integer=True))
    at.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=8)


def _plane(space: PersonaSpace, given: Sequence[str]) -> tuple[str, str]:
    """The two axes that regions are drawn on: those given, else those that most regions have ranges on."""
    for axis in given:
        if axis not in space.axes:
            raise UnknownNameError("--axes", "axis", axis, space.axes)
    if given:
        if len(given) != 2 or given[0] == given[1]:
            raise TraceError("--axes", f"there are {len(given)}: {', '.join(given)}", "two different axes, A,B")
        return given[0], given[1]
    used = {axis: sum(axis in ranges for ranges in space.regions.values()) for axis in space.axes}
    first, second = sorted(space.axes, key=lambda axis: -used[axis])[:2]
    return first, second


def _layers(at: Axes, space: PersonaSpace, ink: dict[str, str]) -> None:
    """How the vector of each axis turns from block to block: its cosine with the vector at the space's own."""
    from matplotlib.ticker import MaxNLocator

    at.set_title("How the axes turn from block to block", loc="left", color=ink["ink"], fontsize=9.5)
    for number, axis in enumerate(space.axes[:_MOST_LINES]):
        given = space.given(axis)
        own = space.layer if space.layer in given else given[len(given) // 2]
        angles = cosines([space.vector(axis, layer) for layer in given])[given.index(own)]
        at.plot(given, angles, color=MINDS[number % len(MINDS)], marker=MARKERS[number % len(MARKERS)], markersize=4,
                linestyle=DASHES[number % len(DASHES)], label=axis)  # fmt: skip
    at.axvline(space.layer, color=ink["muted"], linewidth=0.9, linestyle=(0, (2, 2)))
    at.set_xlabel("block (from 0)")
    at.set_ylabel(f"cosine with the vector at block {space.layer}")
    at.xaxis.set_major_locator(MaxNLocator(integer=True))
    at.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4, frameon=False, fontsize=8)
