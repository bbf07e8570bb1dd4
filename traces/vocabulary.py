"""The words a trace is written in: models, servers, persona spaces, caches, interventions, conversations, turns.

`TraceDocument` is one trace file as its author wrote it (docs/trace-format.md). It refuses what is malformed or refers
to something that is not there; what only shows along a path of turns (carry-over, links) is refused by `traces.facts`
and `traces.stages`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from traces.errors import quoted

FORMAT_VERSION = 1

DEEPEST_NESTING = 64
"""Levels of mappings and lists in a trace file."""

PROBABILITY_SLACK = 1e-9
"""By how much sums of probabilities may miss one, and two of them may differ and still be equal."""

ROLES = ("system", "user", "assistant", "tool")
"""Who a turn's tokens belong to. The position in this tuple is the code in columns and in the store."""

CACHES = ("retained", "transferred", "rebuilt", "unknown")
"""How a stage came by its KV cache (semantics.md §3). The position is the code in columns and in the store."""

DERIVATIONS = ("decoded", "prefilled", "transferred", "restored", "shared", "edited")
"""How a recorded KV cache came to be. `decoded`: grown in place, or forked from another on the same server."""

INTERVENTIONS = ("steering", "capping", "ablation", "cache-edit")
"""What was done to a model's internals while a turn was processed."""

Role = Literal["system", "user", "assistant", "tool"]
Cache = Literal["retained", "transferred", "rebuilt", "unknown"]
Derivation = Literal["decoded", "prefilled", "transferred", "restored", "shared", "edited"]
InterventionKind = Literal["steering", "capping", "ablation", "cache-edit"]


def _expect(found: str, expected: str) -> PydanticCustomError:
    # Braces in a message template would be read as fields of its context.
    return PydanticCustomError("trace", "{found}|{expected}", {"found": found, "expected": expected})


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _name(text: str) -> str:
    if not text or text != text.strip() or _CONTROLS.search(text):
        expected = "a name without blanks at its ends, line breaks or control characters"
        raise _expect(f"the name is {quoted(text)}", expected)
    return text


def _line(text: str) -> str:
    # These texts are printed as they are, and a terminal would obey a control character.
    if _CONTROLS.search(text):
        raise _expect(f"the text is {quoted(text)}", "text without line breaks or control characters")
    return text


def _iso_time(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _expect(f'time is "{text}"', "an ISO 8601 time such as 2026-04-14T16:33:03Z") from None
    return text


def _is_bound(end: Any) -> bool:
    """A number or infinity, but no whole number beyond what floating point can hold."""
    return isinstance(end, int | float) and not isinstance(end, bool) and (abs(end) <= 1e300 or abs(end) == math.inf)


def _range(pair: Any) -> Any:
    shown = f"[{', '.join(map(quoted, pair))}]" if isinstance(pair, list | tuple) else quoted(pair)
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise _expect(f"the range is {shown}", "a closed range [low, high]; null = unbounded")
    low, high = pair
    for end in pair:
        if end is not None and not _is_bound(end):
            raise _expect(f"the range is {shown}", "two numbers; null = unbounded")
    if low is not None and high is not None and low > high:
        raise _expect(f"the range is {shown}", "a closed range [low, high] with low <= high")
    # JSON has no infinity; an unbounded end has one form in every file.
    return tuple(None if end is None or abs(end) == math.inf else float(end) for end in pair)


def _free(data: dict[str, Any], of: ValidationInfo) -> dict[str, Any]:
    level: list[Any] = [data]
    for _ in range(DEEPEST_NESTING):
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
        if not all(math.isfinite(child) for child in level if isinstance(child, float)):
            raise _expect(f"{of.field_name} holds NaN or infinity", "finite numbers, or null where none was recorded")
        level = [child for child in level if isinstance(child, dict | list)]
        if not level:
            return data
    raise _expect(f"{of.field_name} is nested too deeply", f"at most {DEEPEST_NESTING} levels")


Name = Annotated[str, AfterValidator(_name)]
Line = Annotated[str, AfterValidator(_line)]
Free = Annotated[dict[str, Any], AfterValidator(_free)]
Time = Annotated[str, AfterValidator(_iso_time)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Layer = Annotated[int, Field(ge=-(10**9), le=10**9)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Drift = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Range = Annotated[tuple[float | None, float | None], BeforeValidator(_range)]
Positions = Annotated[int, Field(ge=0, le=10**9)]
Layers = Annotated[tuple[int, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
Masses = Annotated[
    tuple[Probability, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
]
Spans = Annotated[
    tuple["CacheSpan", ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
]
Names = Annotated[tuple[Name, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
Texts = Annotated[tuple[Line, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
Ints = Annotated[
    tuple[Annotated[int, Field(ge=-(2**31), le=2**31 - 1)], ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]


class _Word(BaseModel):
    # Validators are built when first used: a trace.db needs few of them, and every start would pay for all.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Model(_Word):
    """Weights (semantics.md §2). Two models are the same iff their digests agree; without digests, their names.

    `layers`, `kv_heads` and `head_dim` give the shape of its KV cache; `dtype` is that of its weights.

    >>> Model(name="Llama 3 70B", layers=80, kv_heads=8, head_dim=128).attention_streams(100)
    (64000, 128)
    """

    name: Name | None = None
    layers: Count | None = None
    kv_heads: Count | None = None
    head_dim: Count | None = None
    dtype: Name | None = None
    digest: Name | None = None
    base: Name | None = None

    def attention_streams(self, positions: int) -> tuple[int, int] | None:
        """How many attention streams reach a token with so many prior positions, and their dimension each (§2.1).

        One stream per KV head, layer and prior position. None where the model's shape is not recorded.
        """
        if self.layers is None or self.kv_heads is None or self.head_dim is None:
            return None
        return self.layers * self.kv_heads * positions, self.head_dim


class Server(_Word):
    """The physical instance: a piece of hardware that runs a model."""

    hardware: Line | None = None


class Space(_Word):
    """A persona space: axes in the residual stream of one model, and regions as closed ranges along them (§3.3).

    `model` is a model's key, name or digest. `layer` and `pooling` say where and how coordinates are read; null matches
    any. `discrete`: whether the regions were shown to be discrete (Hypothesis 3); null = not tested.
    """

    model: Name
    axes: Names
    layer: Layer | None = None
    pooling: Name | None = None
    unit: Line | None = None
    source: Line | None = None
    discrete: bool | None = None
    regions: dict[Name, dict[Name, Range]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _regions_lie_on_the_axes(self) -> Space:
        if not self.axes or len(set(self.axes)) != len(self.axes):
            raise _expect(f"axes is [{', '.join(self.axes)}]", "at least one axis, each named once")
        for region, ranges in self.regions.items():
            for axis in ranges:
                if axis not in self.axes:
                    raise _expect(
                        f'region "{region}" has a range on axis "{axis}", which the space does not have',
                        f"ranges on the space's axes: {', '.join(self.axes)}",
                    )
        return self


class Probe(_Word):
    """What one coordinate measures: an axis of a residual stream, at a layer, pooled over a turn's tokens."""

    axis: Name
    layer: Layer | None = None
    pooling: Name | None = None
    unit: Line | None = None
    source: Line | None = None


class Intervention(_Word):
    """What was done to the model's internals during some turns.

    `vector` names the direction, `digest` its bytes; `layers` are block indices; `coefficient` is the strength of a
    steering or edit (units of the vector), `threshold` the bound of a capping; `positions` says which tokens were
    touched ("assistant", "user", "all" or a text of one's own).
    """

    kind: InterventionKind
    vector: Line | None = None
    digest: Name | None = None
    layers: Layers | None = None
    coefficient: Finite | None = None
    threshold: Finite | None = None
    positions: Line | None = None
    method: Line | None = None
    source: Line | None = None


class CacheSpan(_Word):
    """A run of positions of a KV cache whose entries came to be in one way: from `start` up to, not including, `end`.

    Entries computed one position at a time were `decoded`, several in one pass `prefilled`. Entries that were taken
    from another cache name it, and the position there of the first of them. `server` and `time`: where and when they
    were computed or taken over. `layers`: of an edit, the blocks whose entries were edited.
    """

    start: Positions
    end: Count
    how: Derivation
    source: Name | None = Field(default=None, alias="from")
    source_start: Positions | None = Field(default=None, alias="from_start")
    server: Name | None = None
    time: Time | None = None
    layers: Layers | None = None

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    @model_validator(mode="after")
    def _is_a_span(self) -> CacheSpan:
        if self.start >= self.end:
            raise _expect(f"the span goes from {self.start} to {self.end}", "a start below the end")
        if self.source is None and self.source_start is not None:
            raise _expect("from_start is given but from is missing", "from: the cache that the entries were taken from")
        return self


class KVCache(_Word):
    """One KV cache as recorded: which model and server hold it, from which cache it was derived, and how.

    `positions` is how many entries it took over; `drift` the largest relative L2 distance of keys and values over the
    layers to those of the original, `drift_mean` their mean, `drift_kl` the KL divergence (nats) of the next-token
    distribution. `drift_layers` holds what was measured one by one: `keys` and `values`, lists with a number a layer,
    and `coordinates`, the change on each probe. `spans`, where they were recorded, are contiguous from position 0:
    every entry has one origin.
    """

    model: Name
    server: Name | None = None
    source: Name | None = Field(default=None, alias="from")
    how: Derivation
    positions: Positions | None = None
    drift: Drift | None = None
    drift_mean: Drift | None = None
    drift_kl: Drift | None = None
    drift_layers: Free | None = None
    time: Time | None = None
    spans: Spans = ()

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    @model_validator(mode="after")
    def _every_entry_has_one_origin(self) -> KVCache:
        end = 0
        for span in self.spans:
            if span.start != end:
                found = f"a span begins at {span.start}, but " + (
                    f"the one before ends at {end}" if end else "is first"
                )
                raise _expect(found, "spans from position 0 on, in order, without gaps or overlaps")
            end = span.end
        return self


class Connection(_Word):
    """How much an earlier stage on the path bears on a later one, as measured: quasi-psychological connectedness as a
    number.

    `mass`: the share (0 to 1) of its attention that the later stage's positions give to the earlier one's, mean over
    positions, heads and layers; `mass_by_layer` the same for each layer (32-bit). `kl`: by how much (nats) the
    next-token distribution changes, mean over the later stage's positions, when the earlier stage's cache entries are
    hidden from it.
    """

    mass: Probability | None = None
    kl: Drift | None = None
    mass_by_layer: Masses | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Connection:
        if self.mass is None and self.kl is None:
            raise _expect("neither mass nor kl is given", "the mass of attention, or the KL divergence, or both")
        return self


class TokenCoordinates(_Word):
    """Coordinates of every token of a turn: little-endian float32, probe-major (all tokens of the first probe, then the
    next). NaN: this token was not read.
    """

    probes: Names
    float32: str
    """base64 of `len(probes) * tokens * 4` bytes; white space in it is ignored."""


class Turn(_Word):
    """One entry of a conversation: a run of tokens with one role, model, server, cache and region, so one stage."""

    role: Role
    tokens: Count | None = None
    model: Name | None = None
    server: Name | None = None
    cache: Cache | None = None
    kv: Name | None = None
    start: Positions | None = None
    """The position of its first token in its KV cache."""
    edited: bool = False
    drift: Drift | None = None
    at: dict[Name, Finite] = Field(default_factory=dict)
    at_tokens: TokenCoordinates | None = None
    region: Name | None = None
    region_probabilities: dict[Name, Probability] = Field(default_factory=dict)
    """How probable each region is, where that is what was found out; the rest of one is for no region."""
    believes: Texts = ()
    interventions: Names = ()
    shared_from: Name | None = None
    time: Time | None = None
    text: str | None = None
    token_ids: Ints | None = None
    token_marks: str | None = None
    """One letter a token: `c` content, `t` template, `h` thinking."""
    sampling: Free | None = None
    connections: dict[Name, Connection] = Field(default_factory=dict)
    """What was measured of earlier stages on its path, by their names (CONVERSATION/ORDINAL)."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Turn:
        self._says_of_one_region()
        for field, given in (("token_ids", self.token_ids), ("token_marks", self.token_marks)):
            if given is not None and self.tokens is not None and len(given) != self.tokens:
                raise _expect(f"{field} has {len(given)} entries, but tokens is {self.tokens}", "one entry a token")
        if self.token_marks is not None and set(self.token_marks) - set("cth"):
            raise _expect("token_marks has other letters", "one letter a token: c content, t template, h thinking")
        return self

    def _says_of_one_region(self) -> None:
        only = "a region on assistant turns only: coordinates on other turns do not model the persona (§3.4)"
        if self.region is not None and self.role != "assistant":
            raise _expect(f'region is "{self.region}" on a turn whose role is {self.role}', only)
        if self.region is not None and self.at:
            raise _expect("both region and at are given", "either the region as stated, or coordinates to find it from")
        if not self.region_probabilities:
            return
        if self.role != "assistant":
            raise _expect(f"region_probabilities is given on a turn whose role is {self.role}", only)
        if self.region is not None:
            raise _expect(
                "both region and region_probabilities are given", "either the region, or how probable each is"
            )
        if self.at:
            expected = "either how probable each region is, or coordinates to find the region from"
            raise _expect("both region_probabilities and at are given", expected)
        total = math.fsum(self.region_probabilities.values())
        if total > 1 + PROBABILITY_SLACK:
            raise _expect(
                f"region_probabilities add up to {total:.12g}", "at most 1 in all; the rest of 1 is for no region"
            )


class Conversation(_Word):
    """A sequence of turns; it may branch from a parent after the first `at` turns of the parent's path.

    `principal` is the person or organisation on whose behalf it acts (Arbel, Salib & Goldstein 2026, *How to Count
    AIs*, arXiv:2603.10028, on thin identification); a branch that does not say has its parent's, and null is unknown.
    """

    parent: Name | None = None
    at: Annotated[int, Field(ge=0, le=10**9)] | None = None
    principal: Name | None = None
    turns: tuple[Turn, ...]

    @model_validator(mode="before")
    @classmethod
    def _turns_as_a_tuple(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("turns"), list):
            return {**data, "turns": tuple(data["turns"])}
        return data

    @model_validator(mode="after")
    def _branches_somewhere(self) -> Conversation:
        if self.parent is not None and self.at is None:
            raise _expect(
                f'parent is "{self.parent}" but at is missing',
                "at: after how many turns of the parent's path it branches",
            )
        if self.parent is None and self.at is not None:
            raise _expect("at is given but parent is missing", "parent: the conversation that it branches from")
        return self


class LabelledPart(_Word):
    """What a labelling says of a turn or a part of it: its region (null: none), and how probable each region is (the
    rest of one is for no region).
    """

    region: Name | None = None
    probabilities: dict[Name, Probability] = Field(default_factory=dict)

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region that it names."""
        return (*(() if self.region is None else (self.region,)), *self.probabilities)

    @model_validator(mode="after")
    def _adds_up(self) -> LabelledPart:
        total = math.fsum(self.probabilities.values())
        if total > 1 + PROBABILITY_SLACK:
            raise _expect(f"probabilities add up to {total:.12g}", "at most 1 in all; the rest of 1 is for no region")
        return self


class Change(LabelledPart):
    """Where a turn passes into another region: from its token `at` on, counted from 0."""

    at: Count


class LabelledTurn(LabelledPart):
    """What a labelling says of one turn; `changes`: where in it the region changes."""

    changes: Annotated[
        tuple[Change, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
    ] = ()

    @property
    def parts(self) -> tuple[tuple[int, LabelledPart], ...]:
        """Each part with the token that it begins at."""
        return ((0, self), *((change.at, change) for change in self.changes))

    @model_validator(mode="after")
    def _changes_in_order(self) -> LabelledTurn:
        places = [change.at for change in self.changes]
        if places != sorted(set(places)):
            raise _expect(f"changes are at {', '.join(map(str, places))}", "places in ascending order, each once")
        return self


class Labelling(_Word):
    """A labelling added after the recording: its own spaces, applied in order; or, with `turns`, what was found turn by
    turn, by the name of the turn (CONVERSATION/ORDINAL), in the regions of its spaces. `made`: how it was found.
    """

    spaces: dict[Name, Space]
    turns: dict[Line, LabelledTurn] = Field(default_factory=dict)
    made: Free | None = None

    @model_validator(mode="after")
    def _says_regions_of_its_spaces(self) -> Labelling:
        known = [region for space in self.spaces.values() for region in space.regions]
        for turn, labelled in self.turns.items():
            for _, part in labelled.parts:
                for region in part.regions:
                    if region not in known:
                        raise _expect(
                            f'turn {turn} is in region "{region}", which no space of the labelling has',
                            f"a region of its spaces: {', '.join(known) or 'they have none'}",
                        )
        return self


class SpaceFile(_Word):
    """A space file: just `individuation:` and `spaces:`."""

    individuation: int
    spaces: dict[Name, Space]


class TraceDocument(_Word):
    """One trace file. Dictionaries keep the order of the file: it is the order in which things were recorded."""

    individuation: int
    title: Line | None = None
    source: Line | None = None
    case: Free | None = None
    models: dict[Name, Model]
    servers: dict[Name, Server] | None = None
    spaces: dict[Name, Space] = Field(default_factory=dict)
    labellings: dict[Name, Labelling] = Field(default_factory=dict)
    probes: dict[Name, Probe] = Field(default_factory=dict)
    interventions: dict[Name, Intervention] = Field(default_factory=dict)
    caches: dict[Name, KVCache] = Field(default_factory=dict)
    conversations: dict[Name, Conversation]

    @model_validator(mode="before")
    @classmethod
    def _servers_as_a_mapping(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("servers"), list):
            servers = data["servers"]
            names: dict[str, dict[str, Any]] = {}
            for name in servers:
                if not isinstance(name, str):
                    raise _expect(
                        f"servers has the entry {quoted(name)}", "a list of names (in quotes if they look like numbers)"
                    )
                if name in names:
                    raise _expect(f"servers has {quoted(name)} twice", "a list of names, each once")
                names[name] = {}
            return {**data, "servers": names}
        return data
