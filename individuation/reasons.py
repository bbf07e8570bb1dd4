"""Evidence, typed: what an explanation names, and nothing that it does not (semantics.md §8).

Everything here is plain data with stage names, so that a reader can check it by hand and a program can write it down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any


@dataclass(frozen=True)
class Cause:
    """One thing that keeps a link from carrying: a kind of link, a reading, or an attribute that differs.

    `values`: the attribute at both ends, the value of the reading, or the stage that goes on instead. `source`: the
    section of the paper.
    """

    cause: str
    values: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class LinkFact:
    """One link as the trace has it, and what keeps it from carrying under the view (empty: it carries).

    `origin` is the earlier stage; `servers` are those of origin and stage (None: unknown); `drift` is the measured
    relative L2 of the stage's cache, `mass` and `kl` how far the stage rests on the origin (`Connection`; None: not
    measured); `source` is the section of the paper that treats such links.
    """

    origin: str
    stage: str
    kind: str
    servers: tuple[str | None, str | None]
    drift: float | None
    edited: bool
    source: str
    bars: tuple[Cause, ...] = ()
    mass: float | None = None
    kl: float | None = None

    @property
    def carries(self) -> bool:
        """Whether the link carries the mind on."""
        return not self.bars


@dataclass(frozen=True)
class Connection:
    """How far the later of two stages rests on the earlier one, as measured: their quasi-psychological connectedness
    (§2.1).

    `mass`: the share of attention that it gives it; `kl`: the nats by which its predictions change when the earlier one
    is hidden from it (`traces.vocabulary.Connection`). None where not measured.
    """

    later: str
    earlier: str
    mass: float | None
    kl: float | None


@dataclass(frozen=True)
class StageFact:
    """A stage, its role and server, and the attributes that the view looks at (None: unknown, or none).

    `region_from`: where its effective region was found; `region_basis`: how.
    """

    stage: str
    role: str
    server: str | None
    attributes: Mapping[str, str | None]
    region_basis: str | None = None
    region_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """Stages of one conversation from one ordinal to another, both included."""

    conversation: str
    first: int
    last: int

    def names(self) -> list[str]:
        """The stages by name."""
        return [f"{self.conversation}/{ordinal}" for ordinal in range(self.first, self.last + 1)]

    def __str__(self) -> str:
        name = f"{self.conversation}/{self.first}"
        return name if self.first == self.last else f"{name} to {self.last}"


@dataclass(frozen=True)
class Chain:
    """Same: links that carry, from one stage to the other, and the stages on the way."""

    links: tuple[LinkFact, ...]
    stages: tuple[StageFact, ...]


@dataclass(frozen=True)
class SharedKey:
    """Same: both stages have the attributes that the view pools by."""

    attributes: tuple[str, ...]
    source: str
    stages: tuple[StageFact, StageFact]


@dataclass(frozen=True)
class Cut:
    """Different: the least set of links that separates them, none of which carries.

    `separators` are all links between `side`, which holds the stage `inside`, and the rest of the trace. `way`: the
    way between the two with the fewest links that do not carry; they would be one mind if all of them did. It is empty
    where nothing connects them. `stages`: those on the way, or the two alone.
    """

    separators: tuple[LinkFact, ...]
    side: tuple[Span, ...]
    inside: str
    way: tuple[LinkFact, ...]
    stages: tuple[StageFact, ...]


@dataclass(frozen=True)
class Fork:
    """Different, where branches overlap: carried links connect them, but up to a fork and down again."""

    links: tuple[LinkFact, ...]
    at: str
    stages: tuple[StageFact, ...]


@dataclass(frozen=True)
class Differing:
    """Different: attributes of the two stages that differ; each of them alone would separate them."""

    attributes: tuple[str, ...]
    source: str
    stages: tuple[StageFact, StageFact]


@dataclass(frozen=True)
class Missing:
    """Different: at least one of the stages belongs to no mind, for want of an attribute that must be known."""

    lacking: Mapping[str, tuple[str, ...]]
    source: str
    stages: tuple[StageFact, StageFact]


@dataclass(frozen=True)
class Passes:
    """Forward passes: how many a stage took, over its own tokens and over earlier ones again (None: not recorded)."""

    own: int | None
    again: int | None


@dataclass(frozen=True)
class Ruled:
    """What a view that declares nothing says: the minds of the two stages, by its rule alone."""

    minds: tuple[tuple[str, ...], tuple[str, ...]]


Evidence = Chain | SharedKey | Cut | Fork | Differing | Missing | Passes | Ruled


@dataclass(frozen=True)
class Otherwise:
    """A reading that would turn the answer round, and why."""

    reading: str
    value: str | float | None
    source: str
    same: bool
    evidence: Evidence


@dataclass(frozen=True)
class Reach:
    """How far one mind's states reach into another: `attending` stages of the other were computed with keys and values
    in their cache that were computed at `attended` stages of the one.
    """

    attending: int
    attended: int


@dataclass(frozen=True)
class Sharing:
    """What two minds have in common: the paper's "already connected to the mental life of another" (§4.2).

    `links`: links of which one end is in one mind and the other in the other, with nothing said of whether they carry;
    `first_reaches`: how stages of the second draw on the first, and `second_reaches` the other way round; `of`: the
    stages of both.
    """

    minds: tuple[str, str]
    labels: tuple[str, str]
    links: tuple[LinkFact, ...]
    first_reaches: Reach
    second_reaches: Reach
    stages_in_common: tuple[Span, ...] = ()
    of: tuple[tuple[Span, ...], tuple[Span, ...]] = field(default=((), ()), repr=False)

    @property
    def reaches(self) -> bool:
        """Whether either draws on the other."""
        return bool(self.first_reaches.attending or self.second_reaches.attending)


def as_data(value: Any) -> Any:
    """Evidence as plain JSON data; every record says what it is under `is`.

    >>> as_data(Passes(3, None))
    {'is': 'Passes', 'own': 3, 'again': None}
    """
    if is_dataclass(value) and not isinstance(value, type):
        data = {item.name: as_data(getattr(value, item.name)) for item in fields(value)}
        return {"is": type(value).__name__, **data}
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_data(item) for item in value]
    return None if value == float("inf") else value
