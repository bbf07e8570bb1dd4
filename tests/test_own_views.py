"""Views of one's own: files and packages. Whatever a built-in view says can be said in a file, and a file can say no
more than it should.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from worlds import alternatives, random_world

from individuation import TraceError, individuate, open_trace, overview, why
from individuation.criteria import find_view
from individuation.ranges import over_readings
from individuation.reasons import Connection
from individuation.view_files import read_view
from rules.declaration import ATTRIBUTES, MAY_BE_UNKNOWN, Declaration
from rules.declared import declared
from rules.readings import ALL, complete
from rules.registry import VIEWS
from traces.stages import LINKS
from traces.together import together

DECLARED = [view for view in VIEWS.values() if view.declaration is not None]
EXAMPLES = ("thin-identity", "lineage", "collective", "connected")


def as_toml(view, name):
    """A view as a view file, field by field."""
    d = view.declaration
    lines = [
        "individuation = 1", f"name = {json.dumps(name)}", f"definition = {json.dumps(view.definition)}",
        f"source = {json.dumps(view.source)}", f"label = {json.dumps(view.label)}", f"key = {json.dumps(view.key)}",
        f"open = {json.dumps([reading.name for reading in view.readings])}", f"known = {json.dumps(list(d.known))}",
    ]  # fmt: skip
    if d.uninstantiated:
        lines.append("uninstantiated = true")
    if not d.linked:
        lines.append(f"pool = {json.dumps(list(d.pool))}")
    lines += ["[fixed]", *(f"{key} = {json.dumps(value)}" for key, value in d.fixed.items())]
    if d.linked:
        lines += ["[links]", f"follow = {json.dumps(d.follow)}", f"carry = {json.dumps(sorted(d.carry))}"]
        lines.append(f"agree = {json.dumps(list(d.agree))}")
    return "\n".join(lines) + "\n"


def some_readings(rng, view):
    while True:
        chosen = {r.name: rng.choice([r.default, *alternatives(r, r.default)]) for r in view.readings}
        try:
            return complete(view.readings, chosen, view.name)
        except TraceError:
            continue


def test_all_built_in_views_but_forward_pass_are_declared():
    assert set(VIEWS) - {view.name for view in DECLARED} == {"forward-pass"}


@pytest.mark.parametrize("view", DECLARED, ids=[view.name for view in DECLARED])
def test_a_built_in_view_can_be_written_as_a_file_and_says_the_same(view, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(as_toml(view, f"own-{view.name}"), encoding="utf-8")
    own = read_view(path)
    assert own.declaration == view.declaration
    assert own.rests_on == view.rests_on
    assert own.readings == view.readings
    rng = random.Random(view.name)
    for _ in range(25):
        trace = open_trace(random_world(rng))
        readings = some_readings(rng, view)
        mine, built_in = (individuate(trace, each, **readings).to_dict() for each in (own, view))
        assert mine | {"view": view.name} == built_in


def random_declaration(rng):
    """Any criterion that can be declared, with the questions that it leaves open."""
    while True:
        linked = rng.random() < 0.7
        attributes = rng.sample(ATTRIBUTES, rng.randint(0 if linked else 1, 3))
        known = [a for a in attributes if a == "region" or (not linked and a in MAY_BE_UNKNOWN) or rng.random() < 0.3]
        carry = rng.sample([*LINKS, "shared"], rng.randint(1, 6))
        try:
            declaration = Declaration(
                follow=rng.choice(["own", "previous"]) if linked else None,
                carry=frozenset(carry) if linked else frozenset(),
                agree=tuple(attributes) if linked else (),
                pool=() if linked else tuple(attributes),
                known=tuple(known),
            )
            readings = tuple(r for r in ALL if r.name in declaration.apt_readings and rng.random() < 0.8)
            return declared("own", declaration, definition="-", source="-", label="{stage}", readings=readings)
        except TraceError:
            continue


@pytest.mark.parametrize("seed", range(6))
def test_what_any_declaration_counts_is_what_its_links_and_attributes_say_one_by_one(seed):
    """The rules, which look at all links at once, against explanations, which judge them one at a time."""
    rng = random.Random(seed)
    for _ in range(50):
        trace, view = open_trace(random_world(rng, recorded=True)), random_declaration(rng)
        readings = some_readings(rng, view)
        minds = individuate(trace, view, **readings).minds
        names = [trace.stages().name(row) for row in range(len(trace.stages()))]
        for _ in range(6):
            a, b = rng.choice(names), rng.choice(names)
            found = why(trace, a, b, view, **readings)
            together = any(a in mind.stages and b in mind.stages for mind in minds)
            assert found.same == together, (view.declaration, readings, a, b, str(found))
            assert found.verify(trace), (view.declaration, readings, str(found))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_worked_examples_work_wherever_a_built_in_view_does(name, run, cases):
    file, trace = f"examples/views/{name}.toml", str(cases / "two-auras.yaml")
    assert name in run("views", file).stdout
    assert name in run(trace, "--view", file).stdout
    assert json.loads(run(trace, "--view", file, "--format", "json").stdout)["view"] == name
    assert run("why", trace, "north/0", "south/1", "--view", file).exit_code == 0
    if find_view(file).readings:
        assert name in run("sensitivity", trace, "--view", file).stdout
    assert [result.view for result in overview(trace, views=["thread", file])] == ["thread", name]


def test_what_one_principal_does_anywhere_is_one_agent_and_what_nobody_stands_for_is_none():
    def conversation(principal):
        turns = [{"role": "user", "model": "m", "tokens": 1}, {"role": "assistant", "tokens": 1}]
        return {"turns": turns} | ({"principal": principal} if principal else {})

    names = ("ada", "ada", "ben", None)
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {f"c{n}": conversation(name) for n, name in enumerate(names)},
    }
    result = individuate(world, "examples/views/thin-identity.toml")
    assert [mind.label for mind in result.minds] == ["agent of ada", "agent of ben"]
    assert [mind.id for mind in result.minds] == ["ada", "ben"]
    assert result.unassigned == ["c3/0", "c3/1"]
    assert "no principal was recorded for 2 of 8 stages" in result.caveats[0]


def test_a_lineage_holds_a_model_and_its_fine_tunes(cases):
    trace = str(cases / "narrow-finetune.yaml")
    assert individuate(trace, "model").count == 2
    assert individuate(trace, "examples/views/lineage.toml").count == 1


def test_a_reading_that_a_view_fixes_excludes_what_it_excludes_anywhere(tmp_path, cases):
    path = tmp_path / "overlapping.toml"
    path.write_text(linked('open = ["recurrence"]\n[fixed]\nbranching = "overlap"', agree=["server"]), encoding="utf-8")
    with pytest.raises(TraceError, match="recurrence=same is combined with branching=overlap"):
        individuate(str(cases / "regenerate.yaml"), str(path), recurrence="same")


def test_a_linked_view_may_take_a_fine_tune_for_its_base(tmp_path):
    path = tmp_path / "handover.toml"
    text = linked('open = ["weights"]', follow="previous", carry=[*LINKS], agree=["model"])
    path.write_text(text, encoding="utf-8")
    turns = [{"role": "user", "model": "m"}, {"role": "assistant", "model": "tuned"}]
    world = {"individuation": 1, "models": {"m": {}, "tuned": {"base": "m"}}, "conversations": {"c": {"turns": turns}}}
    assert individuate(world, str(path)).count == 2
    assert individuate(world, str(path), weights="base").count == 1


def test_minds_pooled_by_role_are_called_by_it(tmp_path, cases):
    path = tmp_path / "roles.toml"
    path.write_text(GOOD.replace('["model"]', '["role"]').replace("{model}", "the {role}"), encoding="utf-8")
    minds = individuate(str(cases / "gage.yaml"), str(path)).minds
    assert [(mind.id, mind.label) for mind in minds] == [("user", "the user"), ("assistant", "the assistant")]


def test_a_collective_joins_conversations_that_share_a_computed_prefix():
    turns = [{"role": "user", "model": "m", "server": "s"}, {"role": "assistant"}]
    shared = [{"role": "user", "model": "m", "server": "s", "shared_from": "a/1"}, {"role": "assistant"}]
    world = {
        "individuation": 1,
        "models": {"m": {}},
        "conversations": {"a": {"turns": turns}, "b": {"turns": shared}, "c": {"turns": turns}},
    }
    assert individuate(world, "virtual-instance").count == 3
    assert [mind.conversations for mind in individuate(world, "examples/views/collective.toml").minds] == [
        ("a", "b"), ("c",),
    ]  # fmt: skip
    found = why(world, "a/0", "b/1", "examples/views/collective.toml")
    assert found.same
    assert [link.kind for link in found.evidence.links] == ["attention", "shared", "attention"]


def rested(*measured):
    """A conversation whose turns rest on the one before by so many nats; None: not measured."""
    turns = [{"role": "user", "tokens": 5, "model": "m", "server": "s"}]
    for number, kl in enumerate(measured):
        turns.append(
            {"role": "assistant", "tokens": 5} | ({} if kl is None else {"connections": {f"c/{number}": {"kl": kl}}})
        )
    return {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}


CONNECTED = "examples/views/connected.toml"


@pytest.mark.parametrize(
    ("least", "minds"),
    [
        (0.0, [4]), (0.02, [4]), (0.020001, [2, 2]), (0.3, [2, 2]), (0.31, [1, 1, 2]), (9, [1, 1, 2]),
    ],
)  # fmt: skip
def test_a_link_carries_only_where_its_stage_rests_enough_on_what_it_comes_from(least, minds):
    # The last link was not measured, and carries.
    result = individuate(rested(0.3, 0.02, None), CONNECTED, least_connectedness=least)
    assert [len(mind.stages) for mind in result.minds] == minds
    caveat = [
        "how far stages rest on what they come from was not measured for 1 of 3 links; least_connectedness does not cut them"
    ]
    assert [said for said in result.caveats if "rest on" in said] == (caveat if least else [])


def test_what_a_stage_is_connected_to_beyond_its_own_link_makes_no_difference():
    world = rested(0.3, 0.02, 0.3)
    world["conversations"]["c"]["turns"][3]["connections"]["c/1"] = {"kl": 0.0}
    assert individuate(world, CONNECTED, least_connectedness=0.1).count == 2


def test_across_another_models_turn_it_is_the_own_link_that_must_be_strong_enough():
    turns = [
        {"role": "user", "model": "m"}, {"role": "assistant", "model": "n"},
        {"role": "assistant", "model": "m", "connections": {"c/0": {"kl": 0.5}, "c/1": {"kl": 0.001}}},
    ]  # fmt: skip
    world = {"individuation": 1, "models": {"m": {}, "n": {}}, "conversations": {"c": {"turns": turns}}}
    assert [mind.stages for mind in individuate(world, CONNECTED, least_connectedness=0.1).minds] == [
        ("c/0", "c/2"), ("c/1",),
    ]  # fmt: skip
    assert individuate(world, CONNECTED, least_connectedness=0.6).count == 3


def test_a_view_that_follows_the_stage_before_asks_it_of_own_links_only(tmp_path):
    path = tmp_path / "before.toml"
    text = linked("[fixed]\nleast_connectedness = 0.1", follow="previous", carry=[*LINKS])
    path.write_text(text, encoding="utf-8")
    turns = [
        {"role": "user", "model": "m"}, {"role": "assistant", "connections": {"c/0": {"kl": 0.01}}},
        {"role": "assistant", "model": "n", "connections": {"c/1": {"kl": 0.01}}},
    ]  # fmt: skip
    world = {"individuation": 1, "models": {"m": {}, "n": {}}, "conversations": {"c": {"turns": turns}}}
    result = individuate(world, str(path))
    assert [mind.stages for mind in result.minds] == [("c/0",), ("c/1", "c/2")]
    assert not any("rest on" in said for said in result.caveats)


def test_how_the_count_hangs_on_the_least_connectedness_is_told_at_each_value_that_was_measured():
    world = rested(0.3, 0.02, 0.3, 0.0, 0.3001)
    view = find_view(CONNECTED)
    found = over_readings(view, open_trace(world).stages(), view.complete({"least_connectedness": 0}))
    mover = next(mover for mover in found.movers if mover.reading == "least_connectedness")
    by_bound = dict(mover.counts)
    assert by_bound == {0.0: 1, 0.01: 2, 0.03: 3, 0.3001: 5, 0.4: 6}
    for bound, count in by_bound.items():
        assert individuate(world, view, least_connectedness=bound).count == count
    assert str(found.range) == "1-6"


def test_a_built_in_view_takes_a_least_connectedness_in_brackets_and_nowhere_else(run, tmp_path):
    world = rested(0.3, 0.02, None)
    assert individuate(world, find_view("virtual-instance[least_connectedness=0.1]")).count == 2
    assert individuate(world, find_view("instance-persona[least_connectedness=0.1, recurrence=same]")).count == 0
    assert individuate(world, find_view("thread[least_connectedness=0.1]")).count == 2
    for name in ("model[least_connectedness=0.1]", "forward-pass[least_connectedness=0.1]"):
        with pytest.raises(TraceError, match="least_connectedness"):
            find_view(name)
    with pytest.raises(TraceError, match='no reading "least_connectedness"'):
        individuate(world, "virtual-instance", least_connectedness=0.1)
    for value in ("inf", "-1", "nan", "much"):
        with pytest.raises(TraceError, match="reading least_connectedness") as caught:
            find_view(f"thread[least_connectedness={value}]")
        assert caught.value.expected == "a number >= 0; 0 for no bound"


def test_why_says_how_far_the_two_rest_on_each_other_and_what_bound_would_part_them():
    world = rested(0.3, 0.02, 0.5)
    world["conversations"]["c"]["turns"][3]["connections"]["c/0"] = {"kl": 0.125, "mass": 0.0625}
    found = why(world, "c/0", "c/3", CONNECTED)
    assert found.same
    assert [link.kl for link in found.evidence.links] == [0.3, 0.02, 0.5]
    assert found.connection == Connection("c/3", "c/0", 0.0625, 0.125)
    assert found.to_dict()["connection"]["kl"] == 0.125
    assert (
        "Quasi-psychological connectedness of the two, as measured: c/3 gives c/0 6.2% of its attention; with c/0 hidden, "
        "it predicts otherwise by 0.12 nats (§2.1)." in str(found)
    )
    parted = why(world, "c/3", "c/0", CONNECTED, least_connectedness=0.1)
    assert not parted.same
    assert "x attention   connected by 0.02 nats, less than least_connectedness=0.1 asks for" in str(parted)
    assert [(other.reading, other.value) for other in parted.otherwise] == [("least_connectedness", 0.0)]
    assert [(other.reading, other.value) for other in why(world, "c/1", "c/2", CONNECTED, least_connectedness=0).otherwise] == [
        ("least_connectedness", 0.03),
    ]  # fmt: skip
    for told in (found, parted):
        assert told.verify(world)
        assert not replace(told, connection=replace(told.connection, kl=0.126)).verify(world)
        assert not replace(told, connection=None).verify(world)
    weaker = (replace(found.evidence.links[0], kl=0.31), *found.evidence.links[1:])
    assert not replace(found, evidence=replace(found.evidence, links=weaker)).verify(world)


def test_connections_stay_where_they_are_when_recordings_are_counted_together_and_rows_put_in_order():
    branch = {
        "parent": "z",
        "at": 1,
        "turns": [{"role": "assistant", "connections": {"z/0": {"kl": 0.25, "mass": 0.5}}}],
    }
    first = {"role": "user", "model": "m", "server": "s"}
    # "a" stands before its parent in the record.
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {"a": branch, "z": {"turns": [first]}}}
    stages = together([open_trace(rested(0.3)).recordings[0], open_trace(world).recordings[0]])
    named = [
        (stages.name(s), stages.name(o)) for s, o in zip(stages.connection_stage, stages.connection_source, strict=True)
    ]
    assert sorted(pair[0].partition(":")[2] + " " + pair[1].partition(":")[2] for pair in named) == [
        "a/0 z/0",
        "c/1 c/0",
    ]
    for later, earlier in zip(stages.connection_stage.tolist(), stages.connection_source.tolist(), strict=True):
        assert stages.own[later] == stages.previous[later] == earlier
        assert stages.connection(later, earlier)[1] == stages.own_kl[later] == stages.previous_kl[later]
        assert stages.connection(earlier, later) == (None, None)
    assert sorted(stages.own_kl[~np.isnan(stages.own_kl)].tolist()) == [0.25, 0.3]
    assert sorted(stages.previous_mass[~np.isnan(stages.previous_mass)].tolist()) == [0.5]


GOOD = """
individuation = 1
name = "mine"
definition = "a definition"
source = "a source"
label = "{model}"
pool = ["model"]
"""


def linked(more="", **links):
    fields = {"follow": "own", "carry": ["attention"]} | links
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in fields.items())
    return GOOD.replace('pool = ["model"]\n', "") + more + "\n[links]\n" + table + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("name = \n", "not TOML"),
        (GOOD.replace("individuation = 1", "individuation = 2"), "format version is 2"),
        (GOOD.replace("individuation = 1\n", ""), "no `individuation:` line"),
        (GOOD.replace('source = "a source"\n', ""), "source is missing"),
        (GOOD + "colour = 3\n", 'no field "colour"'),
        (GOOD.replace('["model"]', '["modle"]'), 'did you mean "model"'),
        (GOOD.replace('["model"]', '["server"]'), "server in `known`"),
        (GOOD.replace('["model"]', '["model", "model"]'), "twice"),
        (GOOD.replace('["model"]', '"model"'), "a list"),
        (GOOD.replace("{model}", "{model.__class__}"), "no field"),
        (GOOD.replace("{model}", "{0}"), "no field"),
        (GOOD.replace('"mine"', '"thread"'), "built-in"),
        (GOOD + 'open = ["weights", "weights"]\n', "twice"),
        (GOOD + "[fixed]\nweights = true\n", "it is true"),
        (linked('[fixed]\nbranching = "overlap"\nrecurrence = "same"', agree=["server"]), "recurrence=same"),
        (GOOD.replace('"mine"', '"mi\\u001b[31mne"'), "control characters"),
        (GOOD + 'open = ["recurrence"]\n', "makes no difference"),
        (GOOD + 'open = ["weights"]\n[fixed]\nweights = "base"\n', "fixed"),
        (GOOD + '[fixed]\nweights = "heavy"\n', 'no value "heavy"'),
        (GOOD + '[fixed]\nbranching = "end"\n', "makes no difference"),
        (GOOD + '[links]\nfollow = "own"\ncarry = ["attention"]\n', "both given"),
        (GOOD.replace('pool = ["model"]\n', ""), "neither"),
        (linked(carry=["attenton"]), 'did you mean "attention"'),
        (linked(carry=["transcript"]), "previous"),
        (linked(carry=[]), "empty"),
        (linked(follow="next"), "follow is"),
        (linked(agree=["region"]), "region in `known`"),
        (linked('open = ["branching"]', carry=["shared"]), "shared"),
        (linked("uninstantiated = true"), "pools"),
        (GOOD + "about = " + "[" * 5000, "nested too deeply"),
        (GOOD + f'about = "{"x" * 200_000}"\n', "bytes"),
    ],
)
def test_a_file_that_is_no_view_is_refused_with_the_file_and_the_reason(text, said, tmp_path, run):
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    result = run("examples/qwen3-32b-aura.yaml", "--view", str(path))
    assert result.exit_code == 2
    assert "bad.toml" in result.stderr
    assert said in " ".join(result.stderr.split())
    assert "Expected: " in result.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 100])
def test_a_file_that_is_no_text_is_refused(content, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"bad\.toml"):
        read_view(path)


def test_a_hostile_file_is_data_and_nothing_of_it_is_run(tmp_path, run):
    """What looks like code, markup or a template is printed as it is, or refused."""
    marker = tmp_path / "pwned"
    code = f"__import__('os').system('touch {marker}')"
    path = tmp_path / "hostile.toml"
    path.write_text(
        GOOD.replace('"a definition"', json.dumps(code))
        .replace('"a source"', json.dumps("$(touch x) `touch x` %s [red]x[/red]"))
        .replace('"{model}"', json.dumps("{model} {{model}} %(x)s <script>alert(1)</script>"))
    )
    result = run("examples/qwen3-32b-aura.yaml", "--view", str(path))
    assert result.exit_code == 0
    assert not marker.exists()
    assert "[red]x[/red]" in " ".join(result.stdout.split())
    html = individuate("examples/qwen3-32b-aura.yaml", str(path))._repr_html_()
    assert "<script>" not in html


PACKAGE = """
import numpy as np
from rules.view import Partition, View

def rule(stages, readings):
    return Partition.by_key(stages.role.astype(np.int64))

VIEW = View(name="by-role", definition="the same role", source="a test", rule=rule, label="{conversation}")
NO_VIEW = 3
"""


def with_package(tmp_path, entry, *arguments):
    """Runs the command where a package that offers a view is really installed."""
    (tmp_path / "offering.py").write_text(PACKAGE)
    info = tmp_path / "offering-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[individuation.views]\nby-role = {entry}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "individuation.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_an_installed_package_can_bring_a_view_along(tmp_path, cases):
    trace = str(cases / "gage.yaml")
    result = with_package(tmp_path, "offering:VIEW", trace, "--view", "by-role", "--format", "json")
    assert json.loads(result.stdout)["count"] == 2, result.stderr
    result = subprocess.run(
        [sys.executable, "-m", "individuation.cli.main", "why", trace, "c1/0", "c1/2", "--view", "by-role"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True,
    )  # fmt: skip
    assert result.stdout.startswith("Same mind")
    assert "by its rule alone" in result.stdout


@pytest.mark.parametrize(
    ("entry", "said"), [("offering:NO_VIEW", "it is a int"), ("offering:MISSING", "cannot be loaded")]
)
def test_an_installed_package_that_offers_no_view_is_named(entry, said, tmp_path, cases):
    result = with_package(tmp_path, entry, str(cases / "gage.yaml"), "--view", "by-role")
    assert result.returncode == 2
    assert "offering" in result.stderr
    assert said in result.stderr
