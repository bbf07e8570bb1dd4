"""Stages and links: the atoms that every view sorts, and what carries over from one to the next (semantics.md §2, §3).

A turn is one stage. All columns of a `StageTable` are numpy arrays with a row a stage; rows are ordered so that every
stage comes after all stages before it on its path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.facts import Bytes, Facts, Flags, Floats, Ints, Longs
from traces.forest import sums_from_root
from traces.identity import base_identities, model_identities, names_only
from traces.labelling import Regions, regions_of
from traces.paths import before_first, latest_with, path_order
from traces.splitting import split
from traces.vocabulary import CACHES, DERIVATIONS, ROLES, Model

LINKS = ("attention", "transfer", "rebuild", "unknown", "transcript")
"""Kinds of link by strength, strongest first (semantics.md §5). The position is the code in columns."""

ATTENTION, TRANSFER, REBUILD, UNKNOWN, TRANSCRIPT = range(5)
ASSISTANT = ROLES.index("assistant")
_RETAINED, _TRANSFERRED, _REBUILT, _UNKNOWN_CACHE = range(len(CACHES))


_CACHE_OF_DERIVATION = np.array(
    [
        {
            "decoded": _RETAINED, "prefilled": _REBUILT, "transferred": _TRANSFERRED, "restored": _TRANSFERRED,
            "shared": _REBUILT, "edited": _RETAINED,
        }[how]
        for how in DERIVATIONS
    ],
    np.int8,
)  # fmt: skip
"""What a recorded derivation says of the stage's cache (semantics.md §3, end), by the code of `DERIVATIONS`."""

_DECODED, _EDITED = DERIVATIONS.index("decoded"), DERIVATIONS.index("edited")


@dataclass(frozen=True, eq=False, repr=False)
class StageTable:
    """All stages of a trace and all links between them.

    Stages are rows; references to stages are row numbers, -1 for none. Codes are positions in the lists of names.

    >>> from traces.file import facts_from_data
    >>> stages = StageTable.of(facts_from_data({
    ...     "individuation": 1, "models": {"m": {}},
    ...     "conversations": {"c": {"turns": [{"role": "user", "tokens": 3, "model": "m", "server": "here"},
    ...                                       {"role": "assistant", "tokens": 5}]}}}))
    >>> stages.name(1), LINKS[stages.own_kind[1]], int(stages.before[1])
    ('c/1', 'attention', 3)
    """

    trace: str
    conversations: list[str]
    models: list[str]
    """Model keys; `model` holds, for each stage, the first key that bears its weights."""
    model_info: dict[str, Model]
    servers: list[str]
    principals: list[str]
    """Persons and organisations on whose behalf conversations act."""
    regions: Regions

    conversation: Ints
    ordinal: Ints
    role: Bytes
    tokens: Longs
    """-1 where the record does not say."""
    model: Ints
    server: Ints
    principal: Ints
    """On whose behalf the stage's conversation acts, -1 where the record does not say."""
    region: Ints
    """As labelled; only assistant stages have one."""
    edited: Flags
    """Whether the stage's own link is marked `edited`."""
    drift: Floats
    """Measured drift of the stage's cache, NaN where not measured."""

    previous: Longs
    """The stage just before on the path."""
    own: Longs
    """Where the own link comes from: the latest earlier stage on the path with the same model."""
    own_kind: Bytes
    """The kind of the own link, -1 where there is none."""
    shared: Longs
    """The stage of another conversation whose cached prefix this one reuses."""
    cache: Bytes
    """The resolved code of `CACHES`: as recorded, as stated, or by the default rule."""
    cache_known: Flags
    """Whether the record said how the stage came by its cache (else the default rule did)."""
    recorded: Ints
    """The rank of each conversation in the order of the record."""
    recording: Ints
    """The position of the stage's recording among those counted together, 0 for a single one."""
    turn: Longs
    """The stage's row in the `Turns` of its recording; the parts of a turn that was split have the same."""
    token: Longs
    """Where in its turn the stage begins: 0, but for the later parts of a turn that was split."""

    proposition_names: list[str]
    belief_stage: Longs
    belief_proposition: Ints
    belief_holds: Flags
    chance_stage: Longs
    chance_region: Ints
    chance_value: Floats
    """Row i says that stage `chance_stage[i]` is in region `chance_region[i]` (a code in `regions.names`) with
    probability `chance_value[i]`; the rest of one is for no region. `region` holds the most probable outcome, or what a
    labelling that says it turn by turn settled on (with hysteresis, say). Without rows where nothing says so.
    """
    connection_stage: Longs
    connection_source: Longs
    connection_mass: Floats
    connection_kl: Floats
    """Row i says how far stage `connection_stage[i]` rests on the earlier stage `connection_source[i]` of its path, as
    measured: the share of attention that it gives it, and the nats by which its predictions change without it
    (`traces.vocabulary.Connection`); NaN where not measured.
    """
    merged_by_name: bool = False
    """Whether models were taken for one because of their names alone."""

    def __len__(self) -> int:
        return len(self.conversation)

    @classmethod
    def of(cls, facts: Facts, labelling: str | None = None) -> StageTable:
        """Derive stages and links from facts, with the regions of a labelling.

        Raises `TraceError` where a cache is stated that cannot have been: retained across servers, retained or
        transferred where the model has not run before on the path, or against what its recorded cache says.
        """
        table, turns = facts.conversations, facts.turns
        regions = regions_of(facts, labelling)
        identity = model_identities(facts.models)
        model_keys = list(facts.models)
        standing = np.array([model_keys.index(identity[key]) for key in model_keys], np.int32)
        model = standing[turns.model]
        regions = replace(
            regions, defined=list(dict.fromkeys((int(standing[m]), region) for m, region in regions.defined))
        )

        previous = np.arange(-1, len(turns) - 1, dtype=np.int64)
        holders = np.flatnonzero(table.size > 0)
        previous[table.first[holders]] = before_first(table)[holders]
        has_previous = previous >= 0
        same_model = has_previous & (model[previous] == model)
        own = np.where(same_model, previous, -1)
        switched = np.flatnonzero(has_previous & ~same_model)
        own[switched] = latest_with(table, model.astype(np.int64), turns.conversation, switched)

        cache, known, edited, drift = _caches(facts, previous, own, same_model)
        _refuse_impossible(facts, cache, own, known)
        own_kind = np.where(own >= 0, cache, -1).astype(np.int8)

        order = path_order(table.parent)
        stages = cls(
            trace=facts.title or PurePath(facts.name).name,
            conversations=table.names,
            models=model_keys,
            model_info=facts.models,
            servers=list(facts.servers),
            principals=facts.principals,
            regions=regions,
            conversation=turns.conversation,
            ordinal=(np.arange(len(turns)) - table.first[turns.conversation]).astype(np.int32),
            role=turns.role,
            tokens=turns.tokens,
            model=model,
            server=turns.server,
            principal=_principals(facts),
            region=regions.of_turn,
            edited=edited,
            drift=drift,
            previous=previous,
            own=own,
            own_kind=own_kind,
            shared=turns.shared_from,
            cache=cache,
            cache_known=known,
            recorded=np.arange(len(table), dtype=np.int32),
            recording=np.zeros(len(turns), np.int32),
            turn=np.arange(len(turns), dtype=np.int64),
            token=np.zeros(len(turns), np.int64),
            proposition_names=facts.beliefs.propositions,
            belief_stage=facts.beliefs.turn,
            belief_proposition=facts.beliefs.proposition,
            belief_holds=facts.beliefs.holds,
            chance_stage=regions.chances.turn,
            chance_region=regions.chances.region,
            chance_value=regions.chances.value,
            connection_stage=facts.connections.turn,
            connection_source=facts.connections.source,
            connection_mass=facts.connections.mass,
            connection_kl=facts.connections.kl,
            merged_by_name=any(same != key and facts.models[key].digest is None for key, same in identity.items()),
        )
        stages = split(stages, regions.parts)
        return stages if isinstance(order, range) else _reordered(stages, np.array(order))

    def name(self, stage: int) -> str:
        """`CONVERSATION/ORDINAL`, ordinals from 0."""
        return f"{self.conversations[self.conversation[stage]]}/{self.ordinal[stage]}"

    def find(self, name: str) -> int:
        """The row of a named stage. Raises `TraceError`."""
        conversation, _, ordinal = name.rpartition("/")
        code = self._number_of_conversation.get(conversation)
        # No conversation has a number of turns with twenty digits, and int() refuses thousands of them.
        if code is not None and ordinal.isascii() and ordinal.isdecimal() and len(ordinal) < 20:
            # Stages stand by conversation, and by ordinal within it.
            first, end = np.searchsorted(self.conversation, [code, code + 1]).tolist()
            if int(ordinal) < end - first:
                return int(first) + int(ordinal)
        raise TraceError(
            self.trace, f'there is no stage "{name}"', "CONVERSATION/ORDINAL, with ordinals counted from 0"
        )

    @cached_property
    def _number_of_conversation(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.conversations)}

    @cached_property
    def assistant(self) -> Flags:
        """Which stages are the assistant's."""
        is_assistant: Flags = self.role == ASSISTANT
        return is_assistant

    @cached_property
    def previous_kind(self) -> Bytes:
        """The kind of the link from the stage just before: that of the own link if it is the same, else transcript."""
        kind = np.where(self.own == self.previous, self.own_kind, TRANSCRIPT)
        return np.where(self.previous >= 0, kind, -1).astype(np.int8)

    @cached_property
    def before(self) -> Longs:
        """Tokens before each stage on its path. Only meaningful where `tokens_known`."""
        return sums_from_root(self.previous, self.tokens) - self.tokens

    @cached_property
    def own_kl(self) -> Floats:
        """How far each stage rests on the stage that its own link comes from, in nats; NaN where not measured."""
        return self._measured_at(self.own, self.connection_kl)

    @cached_property
    def previous_kl(self) -> Floats:
        """How far each stage rests on the stage just before, in nats; NaN where not measured."""
        return self._measured_at(self.previous, self.connection_kl)

    @cached_property
    def previous_mass(self) -> Floats:
        """The share of attention that each stage gives to the stage just before; NaN where not measured."""
        return self._measured_at(self.previous, self.connection_mass)

    def _measured_at(self, origin: Longs, measured: Floats) -> Floats:
        found = np.full(len(self), np.nan)
        of_origin = origin[self.connection_stage] == self.connection_source
        found[self.connection_stage[of_origin]] = measured[of_origin]
        return found

    def connection(self, later: int, earlier: int) -> tuple[float | None, float | None]:
        """The attention mass and the KL divergence measured between two stages; None where not measured."""
        keys, order = self._connection_keys
        key = later * len(self) + earlier
        place = int(np.searchsorted(keys, key))
        if place == len(keys) or int(keys[place]) != key:
            return None, None
        mass, kl = float(self.connection_mass[order[place]]), float(self.connection_kl[order[place]])
        return None if np.isnan(mass) else mass, None if np.isnan(kl) else kl

    @cached_property
    def _connection_keys(self) -> tuple[Longs, Longs]:
        keys = self.connection_stage * len(self) + self.connection_source
        order = np.argsort(keys)
        return keys[order], order

    @cached_property
    def worked_out(self) -> dict[tuple[object, ...], Any]:
        """What was worked out of these stages and may be asked for again, by whom and with what. Not to be written into
        by anybody else.
        """
        return {}

    @property
    def tokens_known(self) -> bool:
        """Whether every stage has a token count."""
        return bool(self.tokens.min(initial=0) >= 0)

    @property
    def branches(self) -> bool:
        """Whether any stage has more than one stage just after it."""
        after = self.previous[self.previous >= 0]
        return len(after) > 0 and bool(np.bincount(after).max() > 1)

    @cached_property
    def base_model(self) -> tuple[Ints, list[str]]:
        """Model codes and names once a fine-tuned model counts as its base (reading `weights=base`)."""
        bases = base_identities(self.model_info)
        names = list(dict.fromkeys([*self.models, *bases.values()]))
        number = {name: i for i, name in enumerate(names)}
        codes = np.array([number[bases[key]] for key in self.models], np.int32)
        return codes[self.model], names

    @property
    def models_by_name_only(self) -> bool:
        """Whether models are told apart, or taken for one, by their names for want of digests."""
        return self.merged_by_name or names_only(
            self.model_info[self.models[m]] for m in np.flatnonzero(np.bincount(self.model))
        )


def _principals(facts: Facts) -> Ints:
    if not facts.principals:
        return np.full(len(facts.turns), -1, np.int32)
    return np.repeat(facts.conversations.principal, facts.conversations.size)


def _caches(facts: Facts, previous: Longs, own: Longs, same_model: Flags) -> tuple[Bytes, Flags, Flags, Floats]:
    """How each turn came by its cache, whether the record says so, whether it was edited, and its drift."""
    turns = facts.turns
    first = previous < 0
    unknown_server = (turns.server < 0) | (turns.server[previous] < 0)
    default = np.select(
        [~first & ~same_model, unknown_server, turns.server == turns.server[previous]],
        [_REBUILT, _UNKNOWN_CACHE, _RETAINED],
        _REBUILT,
    ).astype(np.int8)
    default[first] = np.where(turns.cache[first] >= 0, turns.cache[first], _UNKNOWN_CACHE)
    stated = turns.cache >= 0
    cache = np.where(stated, turns.cache, default)
    edited, drift = turns.edited, turns.drift
    recorded = turns.kv >= 0
    if recorded.any():
        derived, applies, cache_edited = _from_cache_rows(facts, own)
        clash = np.flatnonzero(applies & stated & (derived != turns.cache))
        if len(clash):
            turn = int(clash[0])
            raise TraceError(
                facts.place(turn, "cache"),
                f"cache is {CACHES[turns.cache[turn]]}, but its recorded cache {facts.caches.names[turns.kv[turn]]} "
                f"was {CACHES[derived[turn]]}",
                "leave `cache` out where `kv` is given",
            )
        cache = np.where(applies, derived, cache)
        stated = stated | applies
        edited = edited | cache_edited
        fresh = applies & np.isnan(drift) & (derived != _RETAINED)
        drift = np.where(fresh, facts.caches.drift[turns.kv], drift)
    return cache.astype(np.int8), stated, edited, drift


def _from_cache_rows(facts: Facts, own: Longs) -> tuple[Bytes, Flags, Flags]:
    """What recorded caches say (semantics.md §3, last paragraphs): the cache code, where it applies, and where it was
    edited.
    """
    caches, kv = facts.caches, facts.turns.kv
    applies = (kv >= 0) & (own >= 0)
    same_row = applies & (kv[own] == kv)
    derived = _CACHE_OF_DERIVATION[caches.how[kv]]
    edited = applies & ~same_row & (caches.how[kv] == _EDITED)
    grown_from_nowhere = (caches.how[kv] == _DECODED) & (caches.source[kv] < 0)
    derived = np.where(grown_from_nowhere, _UNKNOWN_CACHE, derived)
    chained = np.flatnonzero(applies & ~same_row & (kv[own] >= 0) & (caches.source[kv] >= 0))
    derived[chained], edited[chained] = _along_chain(facts, chained, own)
    derived = np.where(same_row, _RETAINED, derived).astype(np.int8)
    return derived, applies, edited


def _along_chain(facts: Facts, turns: Longs, own: Longs) -> tuple[Bytes, Flags]:
    """What happened to the caches of turns since those that their own links' origins used, in one step or several.

    Recomputed on the way: rebuilt. Else copied on the way: transferred. Else retained. What was derived from some other
    cache than that of the origin says nothing about the link: unknown. An edit on the way counts unless it is recorded
    to lie behind what the turn builds on.
    """
    caches, kv, start = facts.caches, facts.turns.kv, facts.turns.start
    origin, current = kv[own[turns]], kv[turns].copy()
    worst = np.full(len(turns), _RETAINED, np.int8)
    edited = np.zeros(len(turns), np.bool_)
    first_edit: Longs | None = None
    # A chain that leads back to itself has no end; `check` refuses it.
    for _ in range(len(caches)):
        going = (current >= 0) & (current != origin)
        if not going.any():
            break
        step = _CACHE_OF_DERIVATION[caches.how[current]]
        worst = np.where(going, np.maximum(worst, step), worst)
        here = going & (caches.how[current] == _EDITED)
        if here.any():
            first_edit = _first_edits(facts) if first_edit is None else first_edit
            edited |= here & ((start[turns] < 0) | (first_edit[current] < start[turns]))
        current = np.where(going, caches.source[current], current)
    told = (current == origin) | (worst == _REBUILT)
    return np.where(told, worst, _UNKNOWN_CACHE).astype(np.int8), edited


def _first_edits(facts: Facts) -> Longs:
    """For each cache the first position whose entry was edited; 0 where that is not recorded."""
    spans = facts.cache_spans()
    first = np.full(len(facts.caches), np.iinfo(np.int64).max)
    mine = spans.how == _EDITED
    np.minimum.at(first, spans.cache[mine], spans.start[mine])
    first[first == np.iinfo(np.int64).max] = 0
    return first


def _refuse_impossible(facts: Facts, cache: Bytes, own: Longs, known: Flags) -> None:
    turns = facts.turns
    orphan = np.flatnonzero(known & (own < 0) & ((cache == _RETAINED) | (cache == _TRANSFERRED)))
    if len(orphan):
        turn = int(orphan[0])
        raise TraceError(
            facts.place(turn, "cache"),
            f'cache is "{CACHES[cache[turn]]}", but no earlier turn on this path ran on model '
            f'"{list(facts.models)[turns.model[turn]]}"',
            "retained or transferred only where the same model has run before; leave it out or write rebuilt",
        )
    moved = np.flatnonzero(
        known & (own >= 0) & (cache == _RETAINED)
        & (turns.server >= 0) & (turns.server[own] >= 0) & (turns.server != turns.server[own])
    )  # fmt: skip
    if len(moved):
        turn = int(moved[0])
        servers = list(facts.servers)
        raise TraceError(
            facts.place(turn, "cache"),
            f'cache is "retained" on server {servers[turns.server[turn]]}, but the stage it comes from, '
            f"{facts.stage_name(int(own[turn]))}, ran on {servers[turns.server[own[turn]]]}",
            "transferred or rebuilt where the server changes",
        )


def _reordered(stages: StageTable, order: NDArray[np.int64]) -> StageTable:
    """The same stages with every conversation after its parent."""
    first, end = (np.searchsorted(stages.conversation, np.arange(len(order)), side) for side in ("left", "right"))
    rows = np.concatenate([np.arange(first[c], end[c]) for c in order]).astype(np.int64)
    new_row = np.empty(len(rows) + 1, np.int64)
    new_row[rows] = np.arange(len(rows))
    new_row[-1] = -1
    new_conversation = np.empty(len(order), np.int32)
    new_conversation[order] = np.arange(len(order))
    columns = {
        name: getattr(stages, name)[rows]
        for name in (
            "ordinal",
            "role",
            "tokens",
            "model",
            "server",
            "principal",
            "region",
            "edited",
            "drift",
            "own_kind",
            "cache",
            "cache_known",
            "recording",
            "turn",
            "token",
        )
    }
    links = {name: new_row[getattr(stages, name)[rows]] for name in ("previous", "own", "shared")}
    return replace(
        stages,
        conversations=[stages.conversations[c] for c in order],
        conversation=new_conversation[stages.conversation[rows]],
        recorded=order.astype(np.int32),
        belief_stage=new_row[stages.belief_stage],
        chance_stage=new_row[stages.chance_stage],
        connection_stage=new_row[stages.connection_stage],
        connection_source=new_row[stages.connection_source],
        **columns,
        **links,
    )
