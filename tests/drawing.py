"""Scenes of traces, and what can be read off them, for the tests of pictures."""

from __future__ import annotations

import math
import random
from itertools import combinations

from individuation.engine import open_trace, overview
from individuation.picture.bands import bands_of
from individuation.picture.lanes import default_views, lanes
from individuation.picture.scene import Circle, Group, Path, Rect, Text
from traces.coordinates import stage_coordinates

HOSTILE = "<script>alert('x')</script> & \"q\" ]]> \u202eevil 😀 שלום مرحبا 漢字 $x^2$ \\N {b}"


def results_of(trace, views=None, readings=None):
    opened = open_trace(trace)
    stages = opened.stages()
    return opened, overview(opened, views=views or default_views(stages), readings=readings)


def scene_of(trace, views=None, readings=None, **look):
    opened, results = results_of(trace, views, readings)
    stages = opened.stages()
    coordinates = stage_coordinates(opened.recordings, stages)
    return lanes(stages, results, coordinates, bands_of(opened.recordings, coordinates), title=opened.title, **look)


def world(turns, **conversations):
    models = {turn["model"]: {} for turn in turns if "model" in turn}
    servers = sorted({turn["server"] for turn in turns if "server" in turn})
    return {
        "individuation": 1, "models": models, "servers": servers,
        "spaces": {"s": {"model": "m0", "axes": ["x", "y"], "regions": {
            "calm": {"x": [0, None]}, "aura": {"x": [None, -12]}, "a region of a very long name indeed": {"x": [-12, 0], "y": [0, None]}}}},
        "conversations": {"c1": {"turns": turns}, **conversations},
    }  # fmt: skip


def long_turns(many, models=1, servers=0, tokens=False, seed=0):
    rng = random.Random(seed)
    turns = []
    for i in range(many):
        turn = {"role": ("user", "assistant")[i % 2], "model": f"m{i // 6 % models}"}
        if tokens:
            turn["tokens"] = rng.randint(5, 400)
        if servers:
            turn["server"] = f"server-{i // 9 % servers}"
        turn["at"] = {"x": math.sin(i / 9) * 40 + rng.gauss(0, 8), "y": math.cos(i / 23) * 3}
        turns.append(turn)
    return turns


def connected(turns=9, *, kl=True, models=1):
    """Each turn rests on all before it, on the one before the most; the fourth on nothing."""
    trace = world(long_turns(turns, models=models))
    ((name, conversation),) = trace["conversations"].items()
    for later, turn in enumerate(conversation["turns"]):
        measured = {}
        for earlier in range(later):
            value = 0.0 if later == 3 else round(0.5 ** (later - earlier), 6)
            measured[f"{name}/{earlier}"] = {"kl": value, "mass": value / 2} if kl else {"mass": value / 2}
        if measured:
            turn["connections"] = measured
    return trace


def tree():
    """A conversation from which six branch, and one from one of those."""
    turns = [
        {"role": "user", "model": "m0", "tokens": 20, "server": "here"},
        {"role": "assistant", "tokens": 40, "region": "calm"},
        {"role": "user", "tokens": 22},
        {"role": "assistant", "tokens": 31, "region": "calm"},
    ]
    branches = {
        f"b{i}": {"parent": "c1", "at": 1 + i % 3, "turns": [
            {"role": ("assistant", "user")[i % 2], "tokens": 20 + i * 3, **({} if i % 2 else {"region": "aura"})},
            {"role": "user", "tokens": 9, "shared_from": "c1/1"}]}
        for i in range(6)
    }  # fmt: skip
    last = {"role": "assistant", "tokens": 33, "region": "aura", "edited": True, "cache": "transferred"}
    return world(turns, **branches, bb={"parent": "b2", "at": 4, "turns": [last]})


def hostile_world():
    turns = [{"role": role, "model": HOSTILE, "server": HOSTILE} for role in ("system", "user", "tool", "assistant")]
    turns[3] |= {"region": HOSTILE, "server": "other"}
    trace = {"individuation": 1, "title": HOSTILE, "models": {HOSTILE: {}}, "servers": [HOSTILE, "other"]}
    branch = {"parent": HOSTILE, "at": 2, "turns": [{"role": "assistant", "shared_from": f"{HOSTILE}/3"}]}
    return trace | {"conversations": {HOSTILE: {"turns": turns}, "b": branch}}


def groups(scene, kind):
    return [item for item in scene.walk() if isinstance(item, Group) and item.kind == kind]


def inside(group):
    for item in group.items:
        yield item
        if isinstance(item, Group):
            yield from inside(item)


def view_rows(scene):
    return [group for group in groups(scene, "row") if "data-view" in group.data]


def cells(row):
    return [item for item in row.items if isinstance(item, Rect) and "data-stage" in item.data]


def said(scene):
    """All texts as they are shown or, where they are shortened, told."""
    return [text for item in scene.texts() for text in (item.text, item.tail, item.title) if text]


def extent(item):
    match item:
        case Rect():
            return item.x, item.y, item.x + item.width, item.y + item.height
        case Circle():
            return item.x - item.radius, item.y - item.radius, item.x + item.radius, item.y + item.radius
        case Path():
            xs = [x for _, at in item.steps for x in at[::2]]
            ys = [y for _, at in item.steps for y in at[1::2]]
            return min(xs), min(ys), max(xs), max(ys)
        case Text():
            return item.box


def colliding_texts(scene):
    texts = [item for item in scene.texts() if item.text]
    boxes = [(text, *text.box) for text in texts]
    return [
        (one.text, other.text)
        for (one, l1, t1, r1, b1), (other, l2, t2, r2, b2) in combinations(boxes, 2)
        # Letters rarely fill their line: a pixel of leading is no collision.
        if min(r1, r2) - max(l1, l2) > 0.5 and min(b1, b2) - max(t1, t2) > 1.0
    ]
