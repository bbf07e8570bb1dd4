"""Several recordings counted together: names prefixed by the recording, models one where their digests (else names)
agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from traces.facts import Beliefs, Chances, Facts, TurnDetail
from traces.identity import find_model, model_identities
from traces.labelling import Regions, labelling_names
from traces.stages import StageTable
from traces.vocabulary import Model, Space


def together(recordings: Sequence[Facts], labelling: str | None = None) -> StageTable:
    """The stages of all recordings in one table. A recording without the named labelling has no regions in it.

    Conversations and servers get their recording's prefix. Principals do not: a person or organisation is the same one
    under the same name in every recording.
    """
    tables = [
        StageTable.of(facts, labelling)
        if labelling is None or labelling in labelling_names(facts)
        else _unlabelled(facts)
        for facts in recordings
    ]
    return tables[0] if len(tables) == 1 else _joined(tables, prefixes(recordings))


def prefixes(recordings: Sequence[Facts]) -> list[str]:
    """A short distinct name for each recording: its file's stem, numbered where stems repeat."""
    taken: list[str] = []
    for facts in recordings:
        stem = PurePath(facts.name).stem or facts.name
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.append(name)
    return taken


def prefixed(facts: Facts, prefix: str) -> Facts:
    """The same recording with `PREFIX:` before its own names. Probes, propositions and principals keep theirs: they
    mean the same everywhere.
    """

    def own(name: str) -> str:
        return f"{prefix}:{name}"

    def space(item: Space) -> Space:
        found = find_model(facts.models, item.model)
        return item.model_copy(update={"model": own(found[0])}) if len(found) == 1 else item

    def model(key: str, item: Model) -> Model:
        base = find_model(facts.models, item.base) if item.base is not None else []
        return item.model_copy(update={"name": item.name or key, "base": own(base[0]) if base else item.base})

    details = facts.details

    def prefixed_details() -> dict[int, TurnDetail]:
        return {
            row: replace(detail, interventions=tuple(own(name) for name in detail.interventions))
            for row, detail in details().items()
        }

    return replace(
        facts,
        models={own(key): model(key, item) for key, item in facts.models.items()},
        servers={own(key): item for key, item in facts.servers.items()},
        spaces={own(key): space(item) for key, item in facts.spaces.items()},
        labellings={
            own(key): {name: space(item) for name, item in group.items()} for key, group in facts.labellings.items()
        },
        turn_labels={own(key): labels for key, labels in facts.turn_labels.items()},
        interventions={own(key): item for key, item in facts.interventions.items()},
        conversations=replace(facts.conversations, names=[own(name) for name in facts.conversations.names]),
        caches=replace(facts.caches, names=[own(name) for name in facts.caches.names]),
        details=prefixed_details,
        locate=None,
    )


def without_text(facts: Facts) -> Facts:
    """The same recording without the words: no text, token ids, propositions, sampling settings or case."""
    details = facts.details

    def wordless() -> dict[int, TurnDetail]:
        bare = {row: replace(detail, text=None, token_ids=None, sampling=None) for row, detail in details().items()}
        return {row: detail for row, detail in bare.items() if detail != TurnDetail()}

    return replace(facts, details=wordless, beliefs=Beliefs(), case=None)


def _unlabelled(facts: Facts) -> StageTable:
    nothing_stated = np.full(len(facts.turns), -1, np.int32)
    bare = replace(
        facts, spaces={}, labellings={}, turn_labels={}, stated=nothing_stated, chances=Chances(), regions=[]
    )
    return StageTable.of(bare)


def _joined(tables: list[StageTable], names: list[str]) -> StageTable:
    models, model_codes = _joined_models(tables, names)
    region_names = list(dict.fromkeys(name for table in tables for name in table.regions.names))
    region_number = {name: i for i, name in enumerate(region_names)}
    principals = list(dict.fromkeys(name for table in tables for name in table.principals))
    principal_number = {name: i for i, name in enumerate(principals)}
    columns: dict[str, list[Any]] = {}
    stages = conversations = servers = propositions = 0
    defined: list[tuple[int, int]] = []
    for recording, (table, codes) in enumerate(zip(tables, model_codes, strict=True)):
        regions = np.array([*(region_number[name] for name in table.regions.names), -1], np.int32)
        acting = np.array([*(principal_number[name] for name in table.principals), -1], np.int32)
        defined += [(int(codes[model]), int(regions[region])) for model, region in table.regions.defined]
        for column, values in {
            "conversation": table.conversation + conversations,
            "recorded": table.recorded + conversations,
            "recording": np.full(len(table), recording, np.int32),
            "model": codes[table.model],
            "server": _shifted(table.server, servers),
            "principal": acting[table.principal],
            "region": regions[table.region],
            "previous": _shifted(table.previous, stages),
            "own": _shifted(table.own, stages),
            "shared": _shifted(table.shared, stages),
            "belief_stage": table.belief_stage + stages,
            "chance_stage": table.chance_stage + stages,
            "connection_stage": table.connection_stage + stages,
            "connection_source": table.connection_source + stages,
            "chance_region": regions[table.chance_region],
            "belief_proposition": table.belief_proposition + propositions,
            **{name: getattr(table, name) for name in _AS_THEY_ARE},
        }.items():
            columns.setdefault(column, []).append(values)
        stages += len(table)
        conversations += len(table.conversations)
        servers += len(table.servers)
        propositions += len(table.proposition_names)
    merged = {name: np.concatenate(parts) for name, parts in columns.items()}
    proposition_names = [name for table in tables for name in table.proposition_names]
    unique = list(dict.fromkeys(proposition_names))
    number = {name: i for i, name in enumerate(unique)}
    translated = np.array([number[name] for name in proposition_names], np.int32)
    merged["belief_proposition"] = (
        translated[merged["belief_proposition"]] if len(translated) else merged["belief_proposition"]
    )
    return StageTable(
        trace=" + ".join(table.trace for table in tables),
        conversations=[f"{name}:{c}" for table, name in zip(tables, names, strict=True) for c in table.conversations],
        models=list(models),
        model_info=models,
        servers=[f"{name}:{s}" for table, name in zip(tables, names, strict=True) for s in table.servers],
        principals=principals,
        regions=Regions(
            names=region_names,
            of_turn=merged["region"],
            basis="; ".join(dict.fromkeys(table.regions.basis for table in tables)),
            defined=list(dict.fromkeys(defined)),
            untested=_prefixed(tables, names, "untested"),
            continuous=_prefixed(tables, names, "continuous"),
            drawn={
                place: frozenset().union(*(table.regions.drawn.get(place, ()) for table in tables))
                for place in dict.fromkeys(place for table in tables for place in table.regions.drawn)
            },
            chances=Chances(merged["chance_stage"], merged["chance_region"], merged["chance_value"]),
            ambiguous=sum(table.regions.ambiguous for table in tables),
            others=list(dict.fromkeys(other for table in tables for other in table.regions.others)),
        ),
        proposition_names=unique,
        merged_by_name=any(table.merged_by_name for table in tables)
        or (
            len(models) < sum(len(table.model_info) for table in tables)
            and any(m.digest is None for m in models.values())
        ),
        **merged,
    )


_AS_THEY_ARE = (
    "ordinal", "role", "tokens", "edited", "drift", "own_kind", "cache", "cache_known", "turn", "token", "belief_holds",
    "chance_value", "connection_mass", "connection_kl",
)  # fmt: skip


def _shifted(reference: Any, by: int) -> Any:
    return np.where(reference >= 0, reference + by, -1).astype(reference.dtype)


def _prefixed(tables: list[StageTable], names: list[str], field: str) -> list[str]:
    return [
        f"{name}:{item}" for table, name in zip(tables, names, strict=True) for item in getattr(table.regions, field)
    ]


def _joined_models(tables: list[StageTable], names: list[str]) -> tuple[dict[str, Model], list[Any]]:
    """One model for each set of weights, and for each table the joined code of each of its own.

    A key keeps its plain form unless another recording uses it for other weights.
    """
    entries = {(t, key): model for t, table in enumerate(tables) for key, model in table.model_info.items()}
    identity = model_identities(
        {f"{t}:{key}": model.model_copy(update={"name": model.name or key}) for (t, key), model in entries.items()}
    )
    groups: dict[str, list[tuple[int, str]]] = {}
    for t, key in entries:
        groups.setdefault(identity[f"{t}:{key}"], []).append((t, key))
    uses = Counter(members[0][1] for members in groups.values())
    short = {group: key if uses[key] == 1 else f"{names[t]}:{key}" for group, ((t, key), *_) in groups.items()}
    models: dict[str, Model] = {}
    for group, members in groups.items():
        t, key = members[0]
        base = next(
            (_joined_base(entries, identity, short, *member) for member in members if entries[member].base), None
        )
        models[short[group]] = entries[t, key].model_copy(update={"base": base, "name": entries[t, key].name or key})
    numbers = {key: i for i, key in enumerate(models)}
    codes = [
        np.array([numbers[short[identity[f"{t}:{key}"]]] for key in table.models], np.int32)
        for t, table in enumerate(tables)
    ]
    return models, codes


def _joined_base(
    entries: dict[tuple[int, str], Model], identity: dict[str, str], short: dict[str, str], t: int, key: str
) -> str | None:
    """What a model's base is called among the joined models: by its own recording's keys, else by names and digests."""
    base = entries[t, key].base
    if base is None:
        return None
    mine = {name: model for (owner, name), model in entries.items() if owner == t}
    found = [f"{t}:{other}" for other in find_model(mine, base)]
    found += [f"{o}:{other}" for (o, other), model in entries.items() if base in (model.name, model.digest)]
    if found:
        return short[identity[found[0]]]
    # Another recording's key is no name of this base.
    return f"{base} (not recorded)" if base in short.values() else base
