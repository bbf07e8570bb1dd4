"""A view from its declaration."""

from __future__ import annotations

from dataclasses import dataclass, field

from rules.declaration import Declaration
from rules.linked import linked
from rules.pooled import pooled
from rules.readings import Reading, Readings
from rules.view import Cover, Partition, RestsOn, View
from traces.stages import LINKS, StageTable


@dataclass(frozen=True)
class Rule:
    """The rule that a declaration states."""

    declaration: Declaration
    settled: Readings = field(default_factory=dict)

    def __call__(self, stages: StageTable, readings: Readings) -> Partition | Cover:
        """The verdict, on these readings and otherwise as the view settles them."""
        every = {**self.settled, **readings}
        return (linked if self.declaration.linked else pooled)(stages, self.declaration, every)


def declared(
    name: str,
    declaration: Declaration,
    *,
    definition: str,
    source: str,
    label: str,
    key: str = "{stage}",
    readings: tuple[Reading, ...] = (),
    about: str | None = "",
) -> View:
    """A view whose rule is what it declares; `readings` are the questions that it leaves open.

    Raises `TraceError` for an open question that makes no difference to it.

    >>> view = declared("server", Declaration(pool=("server",), known=("server",)), definition="the same server",
    ...     source="§1.2", label="{server}")
    >>> sorted(view.rests_on)
    ['servers']
    """
    declaration.check_open(readings)
    view = View(
        name=name,
        definition=definition,
        source=source,
        rule=Rule(declaration),
        label=label,
        key=key,
        readings=readings,
        rests_on=_rests_on(declaration),
        declaration=declaration,
        about=(about or "").strip(),
    )
    object.__setattr__(view, "rule", Rule(declaration, view.settled({})))
    return view


def _rests_on(declaration: Declaration) -> frozenset[RestsOn]:
    found: set[RestsOn] = set()
    if declaration.linked:
        found.add("branches")
        if declaration.follow == "own" or not set(LINKS) <= declaration.carry:
            found |= {"names", "cache", "links"}
    of_attribute: dict[str, set[RestsOn]] = {
        "model": {"names"},
        "server": {"servers"},
        "region": {"regions", "discreteness"},
        "principal": {"principals"},
    }
    for attribute in declaration.attributes:
        found |= of_attribute.get(attribute, set())
    return frozenset(found)
