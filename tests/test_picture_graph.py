"""The graph of stages: minds as clusters, links by kind, and names that stay names."""

import io
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from drawing import HOSTILE, hostile_world, long_turns, tree, world
from PIL import Image

from individuation.engine import individuate, open_trace
from individuation.picture.dot import rendered
from individuation.picture.lettering import plain
from individuation.picture.palette import colours
from individuation.picture.stage_graph import MOST_STAGES, graph_of
from traces.errors import TraceError, UnknownNameError


def graph(trace, view, *, conversations=None, theme="light", **readings):
    opened = open_trace(trace)
    result = individuate(opened, view, **readings)
    drawn = graph_of(opened.stages(), result, title=opened.title, conversations=conversations, theme=theme)
    return drawn, result


class Read:
    """A graph as Graphviz itself reads it: boxes and clusters by name, arrows as pairs of names with their looks."""

    def __init__(self, drawn):
        data = json.loads(drawn.pipe(format="dot_json"))
        items = data.get("objects", [])
        self.boxes = {item["name"]: item for item in items if "nodes" not in item}
        self.clusters = {
            item["label"]: [text_of(items[node]) for node in item["nodes"]] for item in items if "nodes" in item
        }
        self.clustered = {items[node]["name"] for item in items for node in item.get("nodes", ())}
        self.edges = [
            (items[edge["tail"]]["name"], items[edge["head"]]["name"], edge) for edge in data.get("edges", [])
        ]


def text_of(box):
    return box["label"].replace("\\n", "\n")


def test_each_mind_is_a_cluster_of_its_stages(cases):
    drawn, result = graph(str(cases / "three-cities.yaml"), "physical-instance")
    clusters = {label: [box.split()[0] for box in boxes] for label, boxes in Read(drawn).clusters.items()}
    assert clusters == {f"{number}   {mind.label}": list(mind.stages) for number, mind in enumerate(result.minds, 1)}


def test_every_link_is_an_arrow_by_its_kind(cases):
    drawn, _ = graph(str(cases / "router-return.yaml"), "virtual-instance")
    edges = Read(drawn).edges
    assert sorted(edge[:2] for edge in edges) == [
        ("s0", "s1"), ("s1", "s2"), ("s1", "s4"), ("s2", "s3"), ("s3", "s4"), ("s4", "s5"),
    ]  # fmt: skip
    assert [edge[:2] for edge in edges if edge[2].get("style") == "dotted"] == [("s1", "s4")]


def test_kinds_of_link_look_different():
    import individuation.picture.stage_graph as module
    from traces.stages import LINKS

    drawn = module._Drawing.__new__(module._Drawing)
    drawn.colours, drawn.across, drawn.kinds = colours("light"), True, set()
    looks = set()
    for kind in range(len(LINKS)):
        canvas = module.graphviz.Digraph()
        drawn._link(canvas, 0, 1, kind, False)
        looks.add(canvas.body[0])
    assert len(looks) == len(LINKS)


def test_an_edited_link_says_so(cases):
    drawn, _ = graph(str(cases / "kv-edit.yaml"), "thread")
    assert [edge["label"] for _, _, edge in Read(drawn).edges if edge.get("label")] == [" edited"]


def test_a_shared_prefix_is_an_arrow_of_its_own():
    drawn, _ = graph(tree(), "thread")
    assert sum('label=" shared"' in line for line in drawn.body) == 6


def test_stages_of_no_mind_stand_outside_with_a_broken_outline():
    turns = [{"role": "assistant", "model": "m", "region": "calm"}, {"role": "assistant"}]
    drawn, _ = graph(
        {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}, "instance-persona"
    )
    read = Read(drawn)
    assert read.clustered == {"s0"}
    assert "dashed" in read.boxes["s1"]["style"]


def test_a_mind_without_stages_is_there_too(cases):
    drawn, _ = graph(str(cases / "never-instantiated.yaml"), "abstract-model-persona")
    assert "no stage" in drawn.source


def test_minds_that_share_stages_are_named_in_the_boxes():
    drawn, result = graph(tree(), "thread", branching="overlap")
    read = Read(drawn)
    assert read.clusters == {}
    assert text_of(read.boxes["s0"]).endswith("minds 1, 2, 3, 4, 5, 6, 7, 8")
    assert all(mind.label in drawn.source for mind in result.minds)


def test_beyond_some_stages_those_that_only_follow_each_other_are_one_box():
    few, _ = graph(world(long_turns(MOST_STAGES)), "thread")
    many, _ = graph(world(long_turns(MOST_STAGES + 1)), "thread")
    assert [len(boxes) for boxes in Read(few).clusters.values()] == [MOST_STAGES]
    assert list(Read(many).clusters.values()) == [["c1/0-40\n41 stages, unknown links"]]


def caches_in_turn():
    turns = long_turns(300)
    turns[0]["server"] = "here"
    for i, turn in enumerate(turns[1:], 1):
        turn |= {"cache": ("retained", "rebuilt")[i // 20 % 2], "edited": i % 70 == 0}
    return world(turns)


@pytest.mark.parametrize(
    ("trace", "view"),
    [(world(long_turns(300, models=2, servers=3)), "instance-persona"), (caches_in_turn(), "thread")],
    ids=["servers", "caches"],
)
def test_a_box_never_hides_a_change_of_mind_model_server_or_link(trace, view):
    drawn, result = graph(trace, view)
    stages = result.stages
    boxes = [text_of(box).split()[0].removeprefix("c1/") for box in Read(drawn).boxes.values()]
    spans = sorted((int(box.split("-")[0]), int(box.split("-")[-1])) for box in boxes)
    assert [row for first, last in spans for row in range(first, last + 1)] == list(range(300))
    for first, last in spans:
        for column in (stages.model, stages.server, result.verdict.mind):
            assert len(set(column[first : last + 1].tolist())) == 1
        assert len(set(stages.own_kind[first + 1 : last + 1].tolist())) <= 1
        assert not stages.edited[first + 1 : last + 1].any()


def test_too_many_boxes_are_refused():
    turns = [{"role": "assistant", "model": "m0", "region": f"r{i}"} for i in range(1501)]
    with pytest.raises(TraceError, match="1,501 boxes"):
        graph({"individuation": 1, "models": {"m0": {}}, "conversations": {"c": {"turns": turns}}}, "instance-persona")


def test_a_view_that_lists_no_minds_is_refused(cases):
    with pytest.raises(TraceError, match="lists no minds"):
        graph(str(cases / "forward-passes.yaml"), "forward-pass")


def test_only_the_named_conversations_are_in_it():
    drawn, _ = graph(tree(), "thread", conversations=["b2"])
    assert len(re.findall(r"b2/", drawn.source)) >= 2
    assert "c1/" not in drawn.source
    with pytest.raises(UnknownNameError):
        graph(tree(), "thread", conversations=["nowhere"])


@pytest.mark.parametrize("view", ["thread", "instance-persona"])
def test_hostile_names_stay_names(view):
    drawn, _ = graph(hostile_world(), view)
    painted = rendered(drawn, "svg").decode()
    root = ElementTree.fromstring(painted)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    # Cut to fit; what is left is what was written.
    for text in texts:
        if text and text.startswith("<script"):
            assert plain(HOSTILE).startswith(text.partition("…")[0].replace("\xa0", " "))
    assert any(text and text.startswith("<script>alert('x')</script>") for text in texts)
    assert "<script" not in painted


def test_a_name_of_escapes_and_entities_is_shown_as_it_is():
    name = "a\\n\\N\\G &amp; &lt;b&gt; <i>c</i>"
    trace = {
        "individuation": 1,
        "models": {name: {}},
        "conversations": {name: {"turns": [{"role": "user", "model": name}]}},
    }
    drawn, _ = graph(trace, "thread")
    root = ElementTree.fromstring(rendered(drawn, "svg"))
    texts = [(element.text or "").replace("\xa0", " ") for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert f"1   {name}" in texts


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_each_format_opens_and_is_the_same_again(form, theme):
    drawn, _ = graph(tree(), "virtual-instance", theme=theme)
    content = rendered(drawn, form)
    assert rendered(drawn, form) == content
    if form == "png":
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert min(image.size) > 200
    elif form == "pdf":
        assert content.startswith(b"%PDF-")
        assert len(re.findall(rb"/Type /Page\b", content)) == 1
    else:
        assert ElementTree.fromstring(content).get("role") == "img"
        assert "<!DOCTYPE" not in content.decode()


def test_without_dot_it_is_said_what_to_install(monkeypatch, tmp_path):
    drawn, _ = graph(tree(), "thread")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TraceError) as error:
        rendered(drawn, "svg")
    assert "the program `dot` is not installed" in str(error.value)
    assert "Graphviz" in str(error.value)


def test_the_count_is_shown_with_its_range():
    drawn, result = graph("examples/qwen3-32b-aura.yaml", "instance-persona")
    assert f"instance-persona: 2 minds ({result.range})" in drawn.source
