"""Every export comes back through the format's own reader with the same stages, links and minds, whatever they are
called."""

import csv
import io
import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import networkx
import pytest
from hypothesis import given
from prov.model import ProvDerivation, ProvDocument, ProvEntity, ProvSpecialization
from worlds import random_world, worlds

from individuation import VIEWS, open_trace
from individuation.engine import overview
from individuation.export import CSV, DOT, FORMATS, GEXF, GRAPHML, JSON, LINKS_CSV, MERMAID, PROV, PROV_N, format_of
from individuation.export.values import as_text, flat
from individuation.graph import members, stage_graph, times
from traces.errors import TraceError
from traces.stages import LINKS
from traces.vocabulary import CACHES, ROLES

CASES = sorted((Path(__file__).parent.parent / "individuation" / "cases").glob("*.yaml"))
HOSTILE = (
    '"quoted" \\', "<b>&amp;</b> ;", '%%{init: {"theme": "dark"}}%%', "1. list", "- item", "`md` **b** _i_", "a:b/1",
    "end", "日本語 😀", "$$x$$ style: #59;", "x%20y%", "--> n1", "'=1+1',", "\\N\\l\\", "|}] {[(", "#quot;", "é\u0301",
)  # fmt: skip
LISTING = [view for view in VIEWS if view != "forward-pass"]


def hostile(world, timed):
    """The same world with names that mean something to some format, and a time for every turn."""

    def named(name):
        return f"{HOSTILE[int(name[1:]) % len(HOSTILE)]}{name}{HOSTILE[-int(name[1:])]}"

    conversations = {}
    for name, conversation in world["conversations"].items():
        turns = []
        for minute, turn in enumerate(conversation["turns"]):
            renamed = {
                key: named(value) if key in ("model", "server") and value is not None else value
                for key, value in turn.items()
            }
            if "shared_from" in turn:
                origin, _, ordinal = turn["shared_from"].rpartition("/")
                renamed["shared_from"] = f"{named(origin)}/{ordinal}"
            if timed:
                renamed["time"] = f"2026-04-14T16:{minute:02}:03+02:00"
            turns.append(renamed)
        parent = {"parent": named(conversation["parent"])} if "parent" in conversation else {}
        conversations[named(name)] = conversation | {"turns": turns} | parent
    keys = world["models"]
    models = {
        named(key): {field: named(value) if value in keys else value for field, value in model.items()}
        for key, model in keys.items()
    }
    spaces = {name: space | {"model": named(space["model"])} for name, space in world.get("spaces", {}).items()}
    return world | {
        "title": 'A "title" <&> \\ %%',
        "models": models,
        "servers": [named(server) for server in world["servers"]],
        "spaces": spaces,
        "conversations": conversations,
    }


def sources():
    for path in CASES:
        yield pytest.param(lambda path=path: path, id=path.stem)
    for seed in range(20):
        yield pytest.param(
            lambda seed=seed: hostile(random_world(random.Random(seed)), timed=seed % 3 == 0), id=f"world-{seed}"
        )


each_source = pytest.mark.parametrize("source", list(sources()))
# Of pydot, which uses names that pyparsing has given up.
through_pydot = pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning")


def graph_of(source, views=LISTING, **readings):
    trace = open_trace(source)
    stages = trace.stages()
    return stage_graph(stages, overview(trace, views=views, readings=readings), times(trace.recordings, stages))


def written(form, graph, *view):
    text = io.StringIO(newline="")
    form.write(graph, text, *view)
    return text.getvalue()


def flat_stages(graph):
    return {
        stage: {key: flat(value) for key, value in attributes.items()} for stage, attributes in graph.nodes(data=True)
    }


def text_stages(graph):
    return {
        stage: {key: as_text(value) for key, value in attributes.items()}
        for stage, attributes in graph.nodes(data=True)
    }


def links(graph, *left_out):
    return sorted(
        (source, target, sorted((key, value) for key, value in link.items() if key not in left_out))
        for source, target, link in graph.edges(data=True)
    )


def text_links(graph):
    return [
        (source, target, {key: as_text(value) for key, value in link.items()})
        for source, target, link in graph.edges(data=True)
    ]


# --- the graph


@given(worlds())
def test_the_graph_holds_every_stage_every_link_once_and_every_mind(world):
    trace = open_trace(world)
    stages = trace.stages()
    graph = trace.graph(LISTING)
    assert list(graph) == [stages.name(stage) for stage in range(len(stages))]
    for stage, (name, attributes) in enumerate(graph.nodes(data=True)):
        assert name == f"{attributes['conversation']}/{attributes['ordinal']}"
        assert attributes["role"] == ROLES[stages.role[stage]]
        assert attributes["cache"] == CACHES[stages.cache[stage]]
        assert attributes.get("tokens", -1) == stages.tokens[stage]
        assert attributes["model"] == stages.models[stages.model[stage]]
    expected = set()
    for stage in range(len(stages)):
        name = stages.name(stage)
        if stages.own[stage] >= 0:
            expected.add((stages.name(stages.own[stage]), name, LINKS[stages.own_kind[stage]], True))
        if stages.previous[stage] >= 0 and stages.previous[stage] != stages.own[stage]:
            expected.add((stages.name(stages.previous[stage]), name, "transcript", False))
        if stages.shared[stage] >= 0:
            expected.add((stages.name(stages.shared[stage]), name, "shared", False))
    found = [(source, target, link["kind"], link["own"]) for source, target, link in graph.edges(data=True)]
    assert len(found) == len(expected)
    assert set(found) == expected
    for result in overview(trace, views=LISTING):
        assert members(graph, result.view) == {mind.id: list(mind.stages) for mind in result.minds}
        assert graph.graph[f"minds:{result.view}"] == {mind.id: mind.label for mind in result.minds}
        assert graph.graph[f"count:{result.view}"] == result.count
        unassigned = [name for name, mind in graph.nodes(data=f"mind:{result.view}") if mind is None]
        assert unassigned == result.unassigned


@given(worlds())
def test_minds_that_share_stages_are_lists(world):
    trace = open_trace(world)
    (result,) = overview(trace, views=["virtual-instance"], readings={"branching": "overlap"})
    graph = stage_graph(trace.stages(), [result])
    assert members(graph, "virtual-instance") == {mind.id: list(mind.stages) for mind in result.minds}


@given(worlds())
def test_token_positions_are_those_on_the_path_where_they_are_known(world):
    trace = open_trace(world)
    stages, graph = trace.stages(), trace.graph()
    for stage in range(len(stages)):
        path = [stage]
        while stages.previous[path[-1]] >= 0:
            path.append(int(stages.previous[path[-1]]))
        before = [int(stages.tokens[earlier]) for earlier in path[1:]]
        tokens, attributes = int(stages.tokens[stage]), graph.nodes[stages.name(stage)]
        known = all(count >= 0 for count in before)
        assert attributes.get("token_start") == (sum(before) if known else None)
        assert attributes.get("token_end") == (sum(before) + tokens if known and tokens >= 0 else None)


def test_values_are_plain():
    def check(value):
        assert type(value) in (str, int, float, bool, list, dict)
        if isinstance(value, list | dict):
            for item in value.values() if isinstance(value, dict) else value:
                check(item)

    graph = graph_of(hostile(random_world(random.Random(3)), timed=True), tuple(VIEWS), branching="overlap")
    check(graph.graph)
    for _, attributes in graph.nodes(data=True):
        check(attributes)
    for *_, attributes in graph.edges(data=True):
        check(attributes)


def test_a_view_that_lists_no_minds_gives_the_passes_of_each_stage():
    turns = [{"role": "user", "model": "m", "server": "s", "tokens": 3}, {"role": "assistant", "tokens": 4}]
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    graph = open_trace(world).graph(["forward-pass"])
    assert dict(graph.nodes(data="passes:forward-pass")) == {"c/0": 3, "c/1": 4}
    assert written(CSV, graph).splitlines()[0].endswith(",time,passes:forward-pass")
    turns[0]["tokens"] = None
    graph = open_trace(world).graph(["forward-pass"])
    assert not any("passes:forward-pass" in attributes for _, attributes in graph.nodes(data=True))


def test_stages_of_one_name_are_refused(tmp_path):
    turns = [{"role": "user", "model": "m"}]
    for file, conversation in (("a:b", "c"), ("a", "b:c")):
        world = {"individuation": 1, "models": {"m": {}}, "conversations": {conversation: {"turns": turns}}}
        (tmp_path / f"{file}.json").write_text(json.dumps(world))
    with pytest.raises(TraceError, match='two stages are called "a:b:c/0"'):
        open_trace(tmp_path / "a:b.json", tmp_path / "a.json").graph()


def test_views_of_one_name_are_refused():
    trace = open_trace(CASES[0])
    with pytest.raises(TraceError, match='two of them are called "thread"'):
        trace.graph(["thread", "thread"])


def test_recordings_together_keep_their_times(tmp_path):
    for file, hour in (("monday", 9), ("tuesday", 10)):
        turns = [{"role": "user", "model": "m", "time": f"2026-04-14T{hour:02}:00:00Z"}, {"role": "assistant"}]
        world = {
            "individuation": 1,
            "models": {"m": {}},
            "conversations": {"b": {"parent": "a", "at": 1, "turns": turns}, "a": {"turns": turns}},
        }
        (tmp_path / f"{file}.json").write_text(json.dumps(world))
    graph = open_trace(tmp_path / "monday.json", tmp_path / "tuesday.json").graph()
    assert {stage: time for stage, time in graph.nodes(data="time") if time} == {
        "monday:a/0": "2026-04-14T09:00:00Z", "monday:b/0": "2026-04-14T09:00:00Z",
        "tuesday:a/0": "2026-04-14T10:00:00Z", "tuesday:b/0": "2026-04-14T10:00:00Z",
    }  # fmt: skip


# --- round trips


@each_source
def test_json_comes_back_through_networkx(source):
    graph = graph_of(source())
    again = networkx.node_link_graph(json.loads(written(JSON, graph)), edges="edges")
    assert networkx.utils.graphs_equal(again, graph)
    assert again.graph == graph.graph


@each_source
def test_graphml_comes_back_through_networkx(source):
    graph = graph_of(source())
    again = networkx.parse_graphml(written(GRAPHML, graph), force_multigraph=True)
    assert dict(again.nodes(data=True)) == flat_stages(graph)
    assert links(again) == links(graph)
    assert len({key for *_, key in again.edges(keys=True)}) == graph.number_of_edges()
    assert {key: value for key, value in again.graph.items() if not key.endswith("_default")} == {
        key: flat(value) for key, value in graph.graph.items()
    }


def read_gexf(text):
    """Through networkx's reader, which would otherwise know no `dateTime`."""
    reader = networkx.readwrite.gexf.GEXFReader(version="1.3")
    reader.python_type["dateTime"] = str
    return reader(io.BytesIO(text.encode()))


@each_source
def test_gexf_comes_back_through_networkx(source):
    graph = graph_of(source())
    again = read_gexf(written(GEXF, graph))
    assert again.graph["mode"] == "dynamic"
    for stage, attributes in again.nodes(data=True):
        assert attributes.pop("label") == stage
        assert attributes.pop("start") is not None
        attributes.pop("end", None)
    assert dict(again.nodes(data=True)) == flat_stages(graph)
    assert links(again, "id", "start", "end") == links(graph)


def unquoted(text):
    assert text[0] == text[-1] == '"'
    return re.sub(r"\\(.)", r"\1", text[1:-1])


@through_pydot
@each_source
def test_dot_comes_back_through_pydot(source):
    import pydot

    graph = graph_of(source())
    (again,) = pydot.graph_from_dot_data(written(DOT, graph, "virtual-instance"))
    stages = {
        unquoted(node.get_name()): {unquoted(key): unquoted(value) for key, value in node.get_attributes().items()}
        for node in again.get_node_list()
        if node.get_name() != "node"
    }
    assert all(attributes.pop("label") for attributes in stages.values())
    assert stages == text_stages(graph)
    found = [
        (
            unquoted(edge.get_source()),
            unquoted(edge.get_destination()),
            {unquoted(key): unquoted(value) for key, value in edge.get_attributes().items()},
        )
        for edge in again.get_edge_list()
    ]
    for *_, link in found:
        assert link.pop("style")
        assert link.pop("label", "attention") == link["kind"]
    assert found == text_links(graph)
    about = {unquoted(key): unquoted(value) for key, value in again.get_attributes().items()}
    assert about == {key: as_text(value) for key, value in graph.graph.items()} | {"rankdir": "LR"}
    clusters = {
        unquoted(cluster.get_attributes()['"mind"']): [unquoted(node.get_name()) for node in cluster.get_node_list()]
        for cluster in again.get_subgraph_list()
    }
    assert clusters == members(graph, "virtual-instance")


@each_source
def test_graphviz_itself_reads_every_name(source):
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    graph = graph_of(source())
    done = subprocess.run(
        ["dot", "-Tdot_json"], input=written(DOT, graph, "thread"), capture_output=True, encoding="utf-8", check=True
    )
    assert done.stderr == ""
    data = json.loads(done.stdout)

    def read(text):
        return text.replace("\\\\", "\\")

    stages = {
        # Names that begin with a percent sign Graphviz takes, and keeps to itself.
        f"{read(item['conversation'])}/{item['ordinal']}": item
        for item in data["objects"]
        if "conversation" in item
    }
    names = {item["_gvid"]: name for name, item in stages.items()}
    assert all(read(item["name"]) == name for name, item in stages.items() if not name.startswith("%"))
    expected = text_stages(graph)
    assert {name: {key: read(item[key]) for key in expected[name]} for name, item in stages.items()} == expected
    assert [(names[edge["tail"]], names[edge["head"]], edge["kind"]) for edge in data.get("edges", ())] == [
        (source, target, link["kind"]) for source, target, link in text_links(graph)
    ]


@each_source
def test_csv_comes_back(source):
    graph = graph_of(source())
    rows = list(csv.DictReader(io.StringIO(written(CSV, graph), newline="")))
    assert {row.pop("stage"): {key: value for key, value in row.items() if value} for row in rows} == text_stages(graph)
    rows = list(csv.DictReader(io.StringIO(written(LINKS_CSV, graph), newline="")))
    assert [
        (row.pop("source"), row.pop("target"), {key: value for key, value in row.items() if value}) for row in rows
    ] == text_links(graph)


@each_source
@pytest.mark.parametrize(("form", "notation"), [(PROV, "json"), (PROV_N, "provn")])
def test_prov_comes_back_and_says_the_same(source, form, notation):
    graph = graph_of(source())
    document = ProvDocument.deserialize(content=written(form, graph), format=notation)

    def label(record):
        (found,) = record.get_attribute("prov:label")
        return str(found)

    def said(record, name):
        return next(iter(record.get_attribute(f"ind:{name}")), None)

    def kinds(record):
        return [kind.localpart for kind in record.get_asserted_types()]

    stages = {e.identifier: label(e) for e in document.get_records(ProvEntity) if kinds(e) == ["Stage"]}
    assert list(stages.values()) == list(graph)
    for entity in document.get_records(ProvEntity):
        if entity.identifier in stages:
            attributes = graph.nodes[stages[entity.identifier]]
            for name in ("conversation", "ordinal", "role", "tokens", "region", "cache", "token_start", "token_end"):
                assert said(entity, name) == attributes.get(name)
    found = []
    for derivation in document.get_records(ProvDerivation):
        later, earlier, run, *_ = derivation.args
        assert run.localpart == later.localpart
        (kind,) = kinds(derivation)
        about = {"kind": kind, "own": said(derivation, "own"), "edited": said(derivation, "edited")}
        drift = said(derivation, "drift")
        found.append(
            (stages[earlier], stages[later], sorted((about | ({} if drift is None else {"drift": drift})).items()))
        )
    assert sorted(found) == links(graph)
    bundles = {bundle.identifier.localpart: bundle for bundle in document.bundles}
    assert sorted(bundles) == sorted(LISTING)
    for view, bundle in bundles.items():
        minds = {entity.identifier: entity for entity in bundle.get_records(ProvEntity)}
        assert {said(e, "id"): label(e) for e in minds.values()} == graph.graph[f"minds:{view}"]
        belonging = {said(e, "id"): [] for e in minds.values()}
        for special in bundle.get_records(ProvSpecialization):
            stage, mind = special.args
            belonging[said(minds[mind], "id")].append(stages[stage])
        assert belonging == members(graph, view)


# --- what each format needs


def charted(text):
    """The stages, boxes and arrows of a flowchart, by a strict reading of each line."""

    def read(label):
        assert re.fullmatch(r"(?:[\w /,.()·-]|#\d+;)*", label), label
        return re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label)

    lines = iter(text.splitlines())
    assert next(lines) == "---"
    title = json.loads(next(lines).removeprefix("title: "))
    assert [next(lines), next(lines)] == ["---", "flowchart LR"]
    stages, boxes, arrows, box = {}, [], [], None
    for line in lines:
        if found := re.fullmatch(r'  subgraph m\d+\["(.*)"\]', line):
            box = (read(found[1]), [])
            boxes.append(box)
        elif line == "  end":
            box = None
        elif found := re.fullmatch(r'  m\d+\(\["(.*)"\]\)', line):
            boxes.append((read(found[1]).removesuffix(": in no stage"), []))
        elif found := re.fullmatch(r' +(n\d+)\["(.*)"\]', line):
            assert found[1] not in stages
            stages[found[1]] = read(found[2])
            if box is not None:
                box[1].append(stages[found[1]])
        else:
            found = re.fullmatch(r'  (n\d+) [-.=>ox]+\|"(.*)"\| (n\d+)', line)
            arrows.append((stages[found[1]], stages[found[3]], read(found[2])))
    return title, sorted(stages.values()), boxes, arrows


@each_source
def test_a_flowchart_has_each_stage_in_the_box_of_its_mind(source):
    graph = graph_of(source())
    title, stages, boxes, arrows = charted(written(MERMAID, graph, "instance-persona"))
    assert title.removesuffix(" (minds: instance-persona)") == graph.graph["title"]
    shown = {stage: f"{stage} {role}" for stage, role in graph.nodes(data="role")}
    assert stages == sorted(shown.values())
    labels = graph.graph["minds:instance-persona"]
    assert boxes == [
        (labels[mind], [shown[stage] for stage in inside])
        for mind, inside in members(graph, "instance-persona").items()
    ]
    assert [(source, target, said.split(",")[0]) for source, target, said in arrows] == [
        (shown[source], shown[target], link["kind"]) for source, target, link in graph.edges(data=True)
    ]


def test_a_flowchart_shows_minds_that_no_stage_belongs_to(cases):
    graph = graph_of(cases / "never-instantiated.yaml")
    _, stages, boxes, _ = charted(written(MERMAID, graph, "abstract-model-persona"))
    assert boxes == [("evil of wren", [])]
    assert len(stages) == 2


def test_a_flowchart_says_edits_and_drift(cases):
    graph = graph_of(cases / "kv-edit.yaml")
    assert {said for *_, said in charted(written(MERMAID, graph))[3]} >= {"attention, edited"}
    graph = graph_of(hostile(random_world(random.Random(1)), timed=False))
    drifts = {f"drift {link['drift']:g}" for *_, link in graph.edges(data=True) if "drift" in link}
    assert drifts == {said.rpartition(", ")[2] for *_, said in charted(written(MERMAID, graph))[3] if "drift" in said}


def test_minds_that_share_stages_are_drawn_by_no_format_and_held_by_the_others(cases):
    graph = graph_of(cases / "regenerate.yaml", ["thread"], branching="overlap")
    both = ["first-answer/0..first-answer/1", "first-answer/0..second-answer/0"]
    assert graph.nodes["first-answer/0"]["mind:thread"] == both
    with pytest.raises(TraceError, match="minds share stages"):
        written(MERMAID, graph, "thread")
    assert "subgraph" not in written(DOT, graph, "thread")
    assert json.loads(networkx.parse_graphml(written(GRAPHML, graph)).nodes["first-answer/0"]["mind:thread"]) == both
    assert json.loads(next(csv.DictReader(io.StringIO(written(CSV, graph))))["mind:thread"]) == both
    document = ProvDocument.deserialize(content=written(PROV, graph))
    (bundle,) = document.bundles
    stage = document.valid_qualified_name("stage:first-answer/0")
    assert sum(special.args[0] == stage for special in bundle.get_records(ProvSpecialization)) == 2


def timed_graph(*times, tokens=5, branch=None):
    turns = [{"role": "assistant", "tokens": tokens, **({"time": time} if time else {})} for time in times]
    turns[0] |= {"model": "m", "server": "s"}
    conversations = {"c": {"turns": turns}}
    if branch:
        conversations["d"] = {"parent": "c", "at": 1, "turns": [{"role": "assistant", "tokens": 3, "time": branch}]}
    return graph_of({"individuation": 1, "models": {"m": {}}, "conversations": conversations})


def lifetimes(graph):
    text = written(GEXF, graph)
    again = read_gexf(text)
    nodes = {stage: (about["start"], about.get("end")) for stage, about in again.nodes(data=True)}
    for _, target, about in again.edges(data=True):
        assert (about["start"], about.get("end")) == nodes[target]
    return re.search(r'timeformat="(\w+)"', text)[1], nodes


def test_gexf_takes_recorded_times_where_every_stage_has_one():
    graph = timed_graph("2026-04-14T16:33:03Z", "2026-04-14T16:33:09Z", branch="2026-04-14T18:33:05+02:00")
    assert lifetimes(graph) == (
        "dateTime",
        {
            # Until the first stage after it, which is the branch.
            "c/0": ("2026-04-14T16:33:03+00:00", "2026-04-14T18:33:05+02:00"),
            "c/1": ("2026-04-14T16:33:09+00:00", None),
            "d/0": ("2026-04-14T18:33:05+02:00", None),
        },
    )


def test_gexf_has_no_end_before_its_start_where_clocks_disagree():
    _, nodes = lifetimes(timed_graph("2026-04-14T16:33:03", "2026-04-14T16:33:02Z", "2026-04-15"))
    assert nodes == {
        "c/0": ("2026-04-14T16:33:03", None),
        "c/1": ("2026-04-14T16:33:02+00:00", "2026-04-15T00:00:00"),
        "c/2": ("2026-04-15T00:00:00", None),
    }


def test_gexf_takes_token_positions_where_a_time_is_missing():
    assert lifetimes(timed_graph("2026-04-14T16:33:03Z", None)) == ("double", {"c/0": (0.0, 5.0), "c/1": (5.0, 10.0)})


def test_gexf_takes_positions_on_the_path_where_tokens_are_missing_too():
    graph = timed_graph(None, None, tokens=None, branch="2026-04-14T16:33:03Z")
    assert lifetimes(graph) == ("double", {"c/0": (0.0, 1.0), "c/1": (1.0, 2.0), "d/0": (1.0, 2.0)})


def test_gexf_tells_parallel_links_apart_by_their_kind():
    world = {"individuation": 1, "models": {"m": {}}, "conversations": {
        "c": {"turns": [{"role": "user", "model": "m", "server": "s"}]},
        "d": {"parent": "c", "at": 1, "turns": [{"role": "user", "shared_from": "c/0"}]}}}  # fmt: skip
    graph = graph_of(world)
    assert set(graph["c/0"]["d/0"]) == {"attention", "shared"}
    assert re.findall(r'<edge id="(\d)" [^>]* kind="(\w+)"', written(GEXF, graph)) == [
        ("0", "attention"),
        ("1", "shared"),
    ]
    assert read_gexf(written(GEXF, graph)).number_of_edges("c/0", "d/0") == 2


@pytest.mark.parametrize("form", [GRAPHML, GEXF])
def test_what_xml_cannot_hold_is_refused_by_name(form):
    turns = [{"role": "user", "model": "m"}]
    graph = graph_of({"individuation": 1, "models": {"m": {}}, "conversations": {"c\ufffe": {"turns": turns}}})
    with pytest.raises(TraceError, match=r"U\+FFFE"):
        written(form, graph)
    for other in (JSON, CSV, DOT, MERMAID, PROV):
        assert written(other, graph)


@pytest.mark.parametrize("form", [*FORMATS.values(), PROV_N, LINKS_CSV], ids=lambda form: form.writer)
def test_a_trace_without_stages_is_written_too(form):
    graph = graph_of({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": []}}})
    assert len(graph) == 0
    assert written(form, graph)


@pytest.mark.parametrize("form", [*FORMATS.values(), PROV_N, LINKS_CSV], ids=lambda form: form.writer)
def test_the_same_trace_gives_the_same_bytes(form, start, cases, tmp_path):
    import os

    options = ["--links"] if form is LINKS_CSV else []
    suffix = (*form.suffixes, ".csv")[0]
    for seed in ("1", "2"):
        done = start(
            "export", cases / "villains.yaml", *options, "-o", tmp_path / f"{seed}{suffix}",
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert done.communicate()[1] == ""
    assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"2{suffix}").read_bytes()


def test_a_name_tells_the_format_and_an_option_has_the_last_word():
    told = {"a.dot": DOT, "a.GV": DOT, "a.graphml": GRAPHML, "a.gexf": GEXF, "a.json": JSON, "a.mmd": MERMAID,
            "a.csv": CSV, "a.provjson": PROV, "a.provn": PROV_N}  # fmt: skip
    assert {path: format_of(path) for path in told} == told
    assert format_of("a.json", "prov") is PROV
    assert format_of("a.provn", "prov") is PROV_N
    assert format_of("-", "gexf") is GEXF
    assert format_of("links.csv", links=True) is LINKS_CSV
    for path in ("a", "a.svg", "-", ".dot"):
        with pytest.raises(TraceError, match="--format"):
            format_of(path)


@pytest.mark.slow
@pytest.mark.parametrize("form", [JSON, GRAPHML, GEXF])
def test_a_hundred_thousand_stages_take_less_than_a_minute(form, tmp_path):
    import time

    pair = [{"role": "user", "tokens": 7}, {"role": "assistant", "tokens": 31, "region": "calm"}]
    turns = [pair[0] | {"model": "m", "server": "s"}, *(pair * 50)[1:]]
    conversations = {f"c{number}": {"turns": turns} for number in range(1000)}
    graph = graph_of({"individuation": 1, "models": {"m": {}}, "conversations": conversations})
    assert len(graph) == 100_000
    begun = time.perf_counter()
    with (tmp_path / "large").open("w", encoding="utf-8") as out:
        form.write(graph, out)
    assert time.perf_counter() - begun < 60
