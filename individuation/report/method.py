"""How it was computed: what would make the page again, what was counted by, and what the numbers cannot show."""

from __future__ import annotations

import shlex

from individuation import __version__
from individuation.report.findings import Findings
from individuation.report.markup import Content, Html, bullets, joined, named, section, table, tag, together
from traces.labelling import STATED, labelling_names, spaces_of
from traces.vocabulary import FORMAT_VERSION, Space

PAPER = (
    "Pierre Beckmann and Patrick Butlin (2026), Where is the Mind? Persona Vectors and LLM Individuation, "
    "arXiv:2604.17031"
)

CANNOT_SHOW = (
    "That anyone is there. Every view says which thing a mind would be, not that there is one.",
    "Which view is right. The views are rival criteria; the page says where they part, not who wins.",
    "That a persona is real. A region is an interpretation of measurements, and another labelling may draw it "
    "elsewhere.",
    "More than was recorded. Where the record is silent a reading decides, and a caveat says so.",
    "How probable a range is. It holds every count that was found over the readings and boundaries tried, none of them "
    "weighted; only where turns say how probable their regions are is there a distribution.",
)


def method(found: Findings) -> Html:
    """The section."""
    words = found.command or ("individuate", "report", *(found.sources or ("TRACE",)), "-o", "report.html")
    return section(
        "method",
        "How it was computed",
        tag("p", f"By individuate {__version__}, from facts in trace format {FORMAT_VERSION}."),
        tag("p", "This page again:"),
        tag("pre", tag("code", shlex.join(words)), class_="command"),
        tag("h3", "The views"),
        _views(found),
        tag("h3", "The persona regions"),
        *_regions(found),
        tag("h3", "How the parts were found"),
        bullets(_parts(found)),
        tag("h3", "What these numbers cannot show"),
        bullets(CANNOT_SHOW),
        tag("h3", "To cite"),
        tag("p", "The question and the views: ", PAPER, ". Sections (§) on this page are those of this paper."),
        tag("p", f"The program: individuate {__version__}."),
    )


def _views(found: Findings) -> Html:
    rows: list[list[Content]] = [
        [named(result.view), result.criterion.definition, result.criterion.source] for result in found.results
    ]
    return table("Definitions", ["view", "same mind if and only if", "section"], rows)


def _regions(found: Findings) -> list[Html]:
    labelling = "the trace's own" if found.labelling is None else found.labelling
    parts = [tag("p", "Labelling: ", named(labelling), f". Basis: {found.stages.regions.basis}.")]
    if found.stages.regions.others:
        others = joined(", ", map(named, found.stages.regions.others))
        parts.append(tag("p", "Other labellings of this trace, not used here: ", others, "."))
    rows = []
    for facts in found.trace.recordings:
        if found.labelling is None or found.labelling in labelling_names(facts):
            if found.labelling == STATED:
                continue
            for name, space in spaces_of(facts, found.labelling).items():
                rows += _rows(name, space)
    if rows:
        columns = ["space", "region", "ranges", "model", "read at", "discrete", "source"]
        parts.append(table("Regions by activation ranges", columns, rows, heads=2))
    return parts


def _rows(name: str, space: Space) -> list[list[Content]]:
    read = ", ".join(
        part for part in (f"layer {space.layer}" if space.layer is not None else "", space.pooling or "") if part
    )
    discrete = {None: "not tested, or not told", True: "shown to be", False: "not shown to be"}[space.discrete]
    return [
        [
            named(name), named(region),
            joined("; ", [together(named(axis), f" {_range(*ends)}") for axis, ends in ranges.items()]) or "everywhere",
            named(space.model), read or "not recorded", discrete, space.source or "not recorded",
        ]
        for region, ranges in space.regions.items()
    ]  # fmt: skip


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "anywhere"
    if low is None:
        return f"up to {high:g}"
    return f"from {low:g}" if high is None else f"from {low:g} to {high:g}"


def _parts(found: Findings) -> list[str]:
    chances = [sure.chances for sure in found.sensitivities if sure.chances is not None]
    drawn = [f"{c.draws:,} draws with seed {c.seed}" for c in chances if c.method != "exact"]
    said = [
        "Ranges: the view was applied again on every admissible combination of its readings that can differ on this "
        "trace, and with each region boundary at every place between the upper quartile of the assistant turns below "
        "it and the lower quartile of those above. That interval is a convention of this program, not of the paper.",
        "Reasons: for two stages of one mind a chain of links that carry, or the attributes that both share; for two "
        "stages of different minds the least set of links that separates them (a minimum cut), or the attributes that "
        "differ.",
        "Comparison: adjusted Rand index and variation of information on the stages that both of two views put into "
        "minds.",
    ]
    if chances:
        how = f", or estimated by {drawn[0]}" if drawn else ""
        said.append(f"Distributions: computed exactly where the count factorises{how}; turns are taken as independent.")
    return said
