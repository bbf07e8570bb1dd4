"""Random valid traces, as the dicts that a trace file parses to.

`worlds(...)` is a hypothesis strategy and `random_world(rng, ...)` the same construction without hypothesis. Both are
written against the small `Draw` protocol. A world is valid by construction: the state of every path is tracked while
drawing, so that nothing that semantics.md section 3 calls an error is ever drawn and nothing is filtered out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
Trace = dict[str, Any]

REGIONS = ("calm", "aura", "evil")
AXES = ("x", "y")
ROLES = ("user", "assistant", "user", "assistant", "assistant", "tool", "system")
# Weighted, the plainest first. Few choices a turn, so that turns can be shrunk away.
STATED = (*[""] * 4, *["cache"] * 3, "server", "server cache", "model", "model cache", "model server cache")
EXTRAS = (*[""] * 10, *["drift"] * 4, "edited", "edited drift", "believes", "believes drift", "shared", "null")
STATED_REGIONS = (None, None, None, "calm", "calm", "calm", "calm", "aura", "aura", "aura", "evil")
DRIFTS = (0, 0.005, 0.01, 0.010001, 0.5)
PRINCIPALS = ("Ann", "Ben", None)
DERIVATIONS = ("decoded", "prefilled", "transferred", "restored", "shared", "edited")
BELIEFS = ("p", "not p", "q", "not q")


class Draw(Protocol):
    """Where choices come from; the first value of each is the one to shrink to."""

    def integer(self, low: int, high: int) -> int: ...

    def choice(self, options: Sequence[T]) -> T: ...

    def boolean(self, probability: float) -> bool: ...


class RandomDraw:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def integer(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def choice(self, options: Sequence[T]) -> T:
        return options[self.rng.randrange(len(options))]

    def boolean(self, probability: float) -> bool:
        return self.rng.random() < probability


class HypothesisDraw:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def choice(self, options: Sequence[T]) -> T:
        return options[self.draw(st.integers(0, len(options) - 1))]

    def boolean(self, probability: float) -> bool:
        # Roughly that probability, from coins and small numbers: wide ranges make shrinking slow, and a coin that
        # shows False ends the matter in one draw.
        while probability < 0.5:
            if not self.draw(st.booleans()):
                return False
            probability *= 2
        return self.draw(st.integers(0, round(1 / (1 - min(probability, 0.99))) - 1)) > 0


def _several(draw: Draw, low: int, high: int) -> Iterator[int]:
    # One choice before each item, not a length in front: an item can then be shrunk away by itself.
    for number in range(high):
        if number >= low and not draw.boolean(min(0.95, 1 - 1 / (high - low + 1))):
            return
        yield number


@dataclass(frozen=True)
class Size:
    max_conversations: int = 4
    max_turns: int = 6
    max_models: int = 3
    max_servers: int = 3
    branches: bool = True
    unknown: bool = True
    null_tokens: bool = True
    spaces: bool = True
    one_region: bool = False
    recorded: bool = False


@dataclass(frozen=True)
class Step:
    """What a later turn needs to know of a turn on its path."""

    name: str
    key: str
    server: str | None


@dataclass
class World:
    draw: Draw
    size: Size
    models: dict[str, dict[str, Any]]
    servers: list[str]
    spaces: dict[str, dict[str, Any]]
    paths: dict[str, list[Step]]
    caches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def identity(self, key: str) -> tuple[str, str]:
        model = self.models[key]
        digest = model.get("digest")
        return ("digest", digest) if digest is not None else ("name", model.get("name", key))


def _models(draw: Draw, size: Size) -> dict[str, dict[str, Any]]:
    models: dict[str, dict[str, Any]] = {}
    for number in _several(draw, 1, size.max_models):
        key = f"m{number + 1}"
        model: dict[str, Any] = {}
        twins = list(models) if draw.boolean(0.2) else []
        if twins:
            # One identity under two keys. The base is copied: one identity with two bases means nothing.
            twin = draw.choice(twins)
            if models[twin].get("digest") is not None:
                model = {"name": f"org/{key}", "digest": models[twin]["digest"]}
            else:
                model = {"name": models[twin].get("name", twin)}
            if "base" in models[twin]:
                model["base"] = models[twin]["base"]
        else:
            if draw.boolean(0.5):
                model["name"] = f"org/{key}"
            if draw.boolean(0.4):
                model["digest"] = f"sha-{key}"
                digested = [other for other, earlier in models.items() if earlier.get("digest") is not None]
                if digested and draw.boolean(0.2):
                    # Named like another model's key; the digests tell them apart.
                    model["name"] = draw.choice(digested)
            elif draw.boolean(0.2):
                model["digest"] = None
            if draw.boolean(0.4):
                # Earlier models only, so that the chain ends; "outside" is in no trace.
                named = ["outside"]
                for other, earlier in models.items():
                    named += [other, earlier.get("name", other)]
                    if earlier.get("digest") is not None:
                        named.append(earlier["digest"])
                model["base"] = draw.choice(named)
        models[key] = model
    if len(models) > 1 and draw.boolean(0.2):
        models = dict(reversed(models.items()))
    return models


def _spaces(draw: Draw, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    spaces: dict[str, dict[str, Any]] = {}
    for number in _several(draw, 1, 2):
        axes = list(AXES[: draw.integer(1, len(AXES))])
        regions: dict[str, dict[str, list[int | None]]] = {}
        for region in REGIONS[: draw.integer(1, len(REGIONS))]:
            ranges: dict[str, list[int | None]] = {}
            # A region may leave an axis free, but not all of them.
            free = draw.choice(axes) if len(axes) > 1 and draw.boolean(0.3) else None
            for axis in axes:
                if axis == free:
                    continue
                low = draw.integer(-2, 2)
                shape = draw.integer(0, 2)
                if shape == 0:
                    ranges[axis] = [low, None]
                elif shape == 1:
                    ranges[axis] = [None, low]
                else:
                    ranges[axis] = [low, low + draw.integer(0, 2)]
            regions[region] = ranges
        if draw.boolean(0.3):
            regions = dict(reversed(regions.items()))
        space: dict[str, Any] = {"model": draw.choice(list(models)), "axes": axes, "regions": regions}
        if draw.boolean(0.3):
            space["discrete"] = draw.choice([None, True, False])
        spaces[f"space{number}"] = space
    return spaces


def _cache(world: World, path: list[Step], step: Step) -> str:
    """A cache value that is no error here."""
    values = ["rebuilt"] + (["unknown"] if world.size.unknown else [])
    own = [earlier for earlier in path if world.identity(earlier.key) == world.identity(step.key)]
    if own:
        values.append("transferred")
        if own[-1].server is None or step.server is None or own[-1].server == step.server:
            values.append("retained")
    return world.draw.choice(values)


def _region(world: World, turn: dict[str, Any], step: Step) -> None:
    draw = world.draw
    assistant = turn["role"] == "assistant"
    if world.size.one_region:
        if assistant:
            turn["region"] = REGIONS[0]
        return
    axes = sorted(
        {
            axis
            for space in world.spaces.values()
            if world.identity(space["model"]) == world.identity(step.key)
            for axis in space["axes"]
        }
    )
    # Coordinates on other turns too: they must be passed over.
    if axes and draw.boolean(0.6 if assistant else 0.2):
        known = [axis for axis in axes if not draw.boolean(0.1)] or axes
        turn["at"] = {axis: draw.integer(-3, 3) for axis in known}
    elif assistant and draw.boolean(0.1):
        turn["region_probabilities"] = _probabilities(draw)
    elif assistant:
        region = draw.choice(STATED_REGIONS)
        if region is not None:
            turn["region"] = region


def _probabilities(draw: Draw) -> dict[str, float]:
    """In quarters, and often little in all: ties are then not rare, nor is no region the most probable outcome."""
    left, probabilities = draw.integer(1, 4), {}
    for region in REGIONS if draw.boolean(0.5) else REGIONS[::-1]:
        quarters = draw.integer(0, left)
        left -= quarters
        if quarters or draw.boolean(0.1):
            probabilities[region] = quarters / 4
    return probabilities


def _shared(world: World, path: list[Step], step: Step) -> list[str]:
    """The stages of other conversations, off this path, with the same model."""
    mine, passed = step.name.split("/")[0], {earlier.name for earlier in path}
    others = [
        earlier.name
        for steps in world.paths.values()
        for earlier in steps
        if earlier.name.split("/")[0] != mine
        and earlier.name not in passed
        and world.identity(earlier.key) == world.identity(step.key)
    ]
    return list(dict.fromkeys(others))


def _turn(world: World, path: list[Step], name: str) -> dict[str, Any]:
    """Draw one turn and put it at the end of its path."""
    draw, size = world.draw, world.size
    turn: dict[str, Any] = {"role": draw.choice(ROLES), "tokens": draw.integer(1, 9)}
    stated, extras = draw.choice(STATED).split(), draw.choice(EXTRAS).split()
    keys = list(world.models)
    if not path or "model" in stated:
        turn["model"] = draw.choice(keys)
    known: list[str | None] = list(world.servers)
    if not path and not size.unknown:
        turn["server"] = draw.choice(known)
    elif "server" in stated or (not path and draw.boolean(0.6)):
        turn["server"] = draw.choice([*known, None] if size.unknown else known)
    before = path[-1] if path else None
    step = Step(
        name=name,
        key=turn["model"] if "model" in turn else before.key if before else keys[0],
        server=turn.get("server", before.server if before else None),
    )
    if "cache" in stated:
        turn["cache"] = _cache(world, path, step)
    _region(world, turn, step)
    if "null" in extras and size.null_tokens:
        turn["tokens"] = None
    if "edited" in extras:
        turn["edited"] = not draw.boolean(0.1)
    if "drift" in extras:
        turn["drift"] = draw.choice(DRIFTS)
    if "believes" in extras and turn["role"] == "assistant":
        turn["believes"] = sorted({draw.choice(BELIEFS), draw.choice(BELIEFS)})
    if "shared" in extras and (others := _shared(world, path, step)):
        turn["shared_from"] = draw.choice(others)
    if size.recorded:
        _measured(draw, turn, path)
    path.append(step)
    return turn


def _measured(draw: Draw, turn: dict[str, Any], path: list[Step]) -> None:
    """Where the turn starts in its cache, and how much earlier stages bear on it: no built-in view looks at either."""
    if draw.boolean(0.3):
        turn["start"] = draw.integer(0, 9)
    connections = {}
    for earlier in path:
        if draw.boolean(0.2):
            shape = draw.integer(0, 2)
            connections[earlier.name] = connection = {} if shape == 1 else {"mass": draw.integer(0, 4) / 4}
            if shape:
                connection["kl"] = draw.choice(DRIFTS)
            if draw.boolean(0.5):
                connection["mass_by_layer"] = [draw.choice((0, 0.1, 0.5, 1)) for _ in range(draw.integer(0, 3))]
    if connections:
        turn["connections"] = connections


def _caches(world: World) -> None:
    """Caches that no turn names, with where their entries came from."""
    draw, lengths = world.draw, {}
    for number in _several(draw, 0, 4):
        name, model = f"k{number}", draw.choice(list(world.models))
        like = [
            other for other in world.caches if world.identity(world.caches[other]["model"]) == world.identity(model)
        ]
        cache: dict[str, Any] = {"model": model, "how": draw.choice(("decoded", "prefilled", "restored", "shared"))}
        if like and draw.boolean(0.6):
            cache |= {"from": draw.choice(like), "how": draw.choice(DERIVATIONS)}
        if draw.boolean(0.3):
            layers = {"keys": [draw.choice(DRIFTS)], "coordinates": {"x": -0.5}}
            cache |= {"drift": 0.5, "drift_mean": draw.choice(DRIFTS), "drift_layers": layers}
        spans, end = [], 0
        for _ in _several(draw, 0, 3):
            span: dict[str, Any] = {"start": end, "end": end + draw.integer(1, 4), "how": "prefilled"}
            sources = [other for other in like if lengths[other] == 0 or lengths[other] >= span["end"] - end]
            if sources and draw.boolean(0.6):
                span |= {"how": draw.choice(DERIVATIONS), "from": draw.choice(sources)}
                if draw.boolean(0.5):
                    span["from_start"] = draw.integer(0, max(0, lengths[span["from"]] - span["end"] + end))
            if draw.boolean(0.3):
                span |= {"time": "2026-04-14T16:33:03Z", "layers": [1, 2]}
            if world.servers and draw.boolean(0.4):
                span["server"] = draw.choice(world.servers)
            spans.append(span)
            end = span["end"]
        lengths[name] = end
        world.caches[name] = cache | ({"spans": spans} if spans else {})


def build(draw: Draw, size: Size) -> Trace:
    """Construct a valid trace from the choices of `draw`."""
    models = _models(draw, size)
    fewest = 0 if size.unknown else 1
    servers = [f"s{number + 1}" for number in _several(draw, fewest, max(fewest, size.max_servers))]
    spaces = _spaces(draw, models) if size.spaces and not size.one_region and draw.boolean(0.35) else {}
    world = World(draw, size, models, servers, spaces, {})
    if size.recorded:
        _caches(world)
    conversations: dict[str, dict[str, Any]] = {}
    for number in _several(draw, 1, size.max_conversations):
        name = f"c{number + 1}"
        conversation: dict[str, Any] = {}
        path: list[Step] = []
        if size.branches and conversations and draw.boolean(0.7):
            siblings = [(c["parent"], c["at"]) for c in conversations.values() if "parent" in c]
            if siblings and draw.boolean(0.3):
                parent, at = draw.choice(siblings)
            else:
                parent = draw.choice(list(conversations))
                at = 0 if draw.boolean(0.05) else draw.integer(1, len(world.paths[parent]))
            conversation |= {"parent": parent, "at": at}
            path = world.paths[parent][:at]
        if draw.boolean(0.25):
            conversation["principal"] = draw.choice(PRINCIPALS)
        world.paths[name] = path
        conversation["turns"] = [
            _turn(world, path, f"{name}/{ordinal}") for ordinal in _several(draw, 1, size.max_turns)
        ]
        conversations[name] = conversation
    if len(conversations) > 1 and draw.boolean(0.2):
        rest, shuffled = list(conversations), []
        while rest:
            shuffled.append(rest.pop(draw.integer(0, len(rest) - 1)))
        conversations = {name: conversations[name] for name in shuffled}
    trace: Trace = {"individuation": 1, "models": models, "servers": servers}
    if spaces:
        trace["spaces"] = spaces
    if world.caches:
        trace["caches"] = world.caches
    return trace | {"conversations": conversations}


@st.composite
def _worlds(draw: st.DrawFn, size: Size) -> Trace:
    return build(HypothesisDraw(draw), size)


def worlds(
    max_conversations: int = 4,
    max_turns: int = 6,
    *,
    max_models: int = 3,
    max_servers: int = 3,
    branches: bool = True,
    unknown: bool = True,
    null_tokens: bool = True,
    spaces: bool = True,
    one_region: bool = False,
    recorded: bool = False,
) -> st.SearchStrategy[Trace]:
    """Valid traces; `unknown=False`: every server known and no cache stated as unknown; `one_region`: every assistant
    turn states the same region; `recorded`: caches with the origin of their entries, the turns' places in caches, and
    measured connections."""
    return _worlds(
        Size(
            max_conversations=max_conversations,
            max_turns=max_turns,
            max_models=max_models,
            max_servers=max_servers,
            branches=branches,
            unknown=unknown,
            null_tokens=null_tokens,
            spaces=spaces,
            one_region=one_region,
            recorded=recorded,
        )
    )


def random_world(rng: random.Random, **size: Any) -> Trace:
    """A valid trace without hypothesis; takes the keywords of `worlds`."""
    return build(RandomDraw(rng), Size(**size))


def alternatives(reading: Any, value: Any) -> list[Any]:
    """The other values of a reading; of the most that there may be 0 and infinity, of the least some bounds."""
    bounds = (0.0, 0.0075, 0.1, 2.0) if getattr(reading, "no_bound", None) == 0 else (0.0, float("inf"))
    return [other for other in reading.values or bounds if other != value]
