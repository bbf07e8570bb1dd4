"""Views of one's own: files and packages. Whatever a built-in view says can be said in a file, and a file can say no
more than it should.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest
from worlds import alternatives, random_world

from individuation import TraceError, individuate, open_trace, overview, why
from individuation.criteria import find_view
from individuation.view_files import read_view
from rules.declaration import ATTRIBUTES, MAY_BE_UNKNOWN, Declaration
from rules.declared import declared
from rules.readings import ALL, complete
from rules.registry import VIEWS
from traces.stages import LINKS

DECLARED = [view for view in VIEWS.values() if view.declaration is not None]
EXAMPLES = ("thin-identity", "lineage", "collective")


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
        trace, view = open_trace(random_world(rng)), random_declaration(rng)
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
