"""Lanes: what is drawn is what was counted, every name is there, and nothing covers anything."""

import random
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
from drawing import (
    HOSTILE,
    cells,
    colliding_texts,
    connected,
    extent,
    groups,
    hostile_world,
    inside,
    long_turns,
    results_of,
    said,
    scene_of,
    tree,
    view_rows,
    world,
)
from worlds import random_world

from individuation.picture.lanes import DEFAULT_WIDTH, lanes
from individuation.picture.palette import MINDS
from individuation.picture.scene import Circle, Group, Path, Rect, Text
from rules.view import Partition
from traces.errors import TraceError, UnknownNameError
from traces.stages import LINKS

CASES = sorted(str(case) for case in files("individuation").joinpath("cases").iterdir() if case.name.endswith(".yaml"))
AURA = "examples/qwen3-32b-aura.yaml"
STRESS = {
    "one turn": (world(long_turns(1)), {}),
    "60 turns": (world(long_turns(60, models=3, servers=4)), {"readings": {"reconstruction": "new"}}),
    "200 turns": (world(long_turns(200)), {}),
    "200 turns by tokens": (world(long_turns(200, models=2, servers=3, tokens=True)), {"time": "tokens"}),
    "5,000 turns": (world(long_turns(5000, models=2, servers=3)), {}),
    "branches": (tree(), {"readings": {"branching": "end"}}),
    "overlapping minds": (tree(), {"readings": {"branching": "overlap"}}),
    "hostile names": (hostile_world(), {}),
    "narrow": (world(long_turns(60)), {"width": 480}),
    "wide": (world(long_turns(9)), {"width": 3000}),
    "connected": (connected(), {}),
    "all connections": (connected(40, models=2), {"connections": "all"}),
    "many connections": (connected(300), {}),
}


@cache
def drawn_once(name):
    trace, look = STRESS.get(name, (name, {}))
    return scene_of(trace, interactive=True, **look)


@pytest.fixture(params=[*CASES, AURA, *STRESS], ids=lambda name: name.rsplit("/", 1)[-1])
def picture(request):
    return drawn_once(request.param)


def test_no_text_lies_on_another(picture):
    assert colliding_texts(picture) == []


def test_nothing_is_cut_at_the_edge(picture):
    for item in picture.walk():
        if not isinstance(item, Group) and not (isinstance(item, Path) and not item.steps):
            left, top, right, bottom = extent(item)
            assert left >= 0, item
            assert top >= 0, item
            assert right <= picture.width, item
            assert bottom <= picture.height, item


@pytest.mark.parametrize("seed", range(60))
def test_random_traces_are_drawn_without_collisions(seed):
    drawn = scene_of(random_world(random.Random(seed), max_conversations=6, max_turns=9))
    assert colliding_texts(drawn) == []


@pytest.mark.parametrize("seed", range(40))
def test_each_stage_is_drawn_once_in_each_row_as_its_mind(seed):
    trace = random_world(random.Random(seed), max_conversations=5, max_turns=9)
    _, results = results_of(trace)
    verdicts = {result.view: result for result in results}
    for strip in groups(scene_of(trace, interactive=True), "conversation"):
        conversation = strip.data["data-conversation"]
        rows = view_rows(strip_scene(strip))
        assert [row.data["data-view"] for row in rows] == list(verdicts)
        for row in rows:
            result = verdicts[row.data["data-view"]]
            stages = result.stages
            mine = np.flatnonzero(stages.conversation == stages.conversations.index(conversation))
            expected = {stages.name(stage): int(result.verdict.mind[stage]) + 1 for stage in mine}
            drawn = [(cell.data["data-stage"], int(cell.data.get("data-mind", 0))) for cell in cells(row)]
            assert len(drawn) == len(expected)
            assert dict(drawn) == expected


def strip_scene(strip):
    from individuation.picture.scene import Scene

    return Scene(0, 0, "", "", [strip])


@pytest.mark.parametrize(
    "trace", [CASES[0], world(long_turns(60, models=3, servers=4)), tree()], ids=["case", "60", "tree"]
)
def test_two_minds_of_a_view_look_alike_only_if_they_are_one(trace):
    drawn = scene_of(trace, interactive=True, readings={"reconstruction": "new"})
    looks: dict[str, dict[str, tuple[str, int]]] = {}
    for row in view_rows(drawn):
        for cell in cells(row):
            if "data-mind" in cell.data:
                look = (cell.fill, cell.hatch)
                assert looks.setdefault(row.data["data-view"], {}).setdefault(cell.data["data-mind"], look) == look
    assert looks
    for minds in looks.values():
        assert len(set(minds.values())) == len(minds)


def test_beyond_the_palette_a_hatch_tells_minds_apart():
    drawn = scene_of(world(long_turns(60, models=3, servers=4)), views=["virtual-instance"], interactive=True,
                     readings={"reconstruction": "new"})  # fmt: skip
    hatches = {int(cell.data["data-mind"]): cell.hatch for row in view_rows(drawn) for cell in cells(row)}
    assert max(hatches) > len(MINDS)
    assert all((hatch > 0) == (mind > len(MINDS)) for mind, hatch in hatches.items())


@pytest.mark.parametrize("case", [*CASES, AURA], ids=lambda path: path.rsplit("/", 1)[-1])
def test_the_legend_names_every_mind_with_its_number(case):
    _, results = results_of(case)
    drawn = scene_of(case)
    named = {
        (group.data["data-view"], group.data["data-mind"]): [text for item in inside(group) if isinstance(item, Text)
                                                             for text in (item.text, item.title)]
        for group in groups(drawn, "mind")
    }  # fmt: skip
    for result in results:
        for number, mind in enumerate(result.minds, 1):
            texts = named[result.view, str(number)]
            assert mind.label in texts
            assert str(number) in texts


def test_a_number_is_drawn_in_the_lane_of_each_stretch():
    drawn = scene_of(AURA)
    row = next(row for row in view_rows(drawn) if row.data["data-view"] == "instance-persona")
    assert [item.text for item in row.items if isinstance(item, Text)][1:] == ["1", "2"]


def test_a_stretch_too_narrow_for_its_number_has_it_above():
    turns = [{"role": "assistant", "region": "b" if i == 90 else "a", "model": "m"} for i in range(180)]
    drawn = scene_of({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}},
                     views=["instance-persona"])  # fmt: skip
    (row,) = view_rows(drawn)
    number = next(item for item in row.items if isinstance(item, Text) and item.text == "2")
    assert number.y < min(item.y for item in row.items if isinstance(item, Rect) and item.fill == "mind-1")


def test_time_goes_by_tokens_where_all_are_known():
    turns = [{"role": "user", "model": "m", "tokens": 30}, {"role": "assistant", "tokens": 90}]
    drawn = scene_of(
        {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}, interactive=True
    )
    short, long = (cell.width for cell in cells(view_rows(drawn)[0]))
    assert long / short == pytest.approx(3, rel=0.02)
    assert "tokens along the path" in said(drawn)


def test_without_token_counts_each_stage_takes_one_unit_and_the_axis_says_so():
    drawn = scene_of(AURA, interactive=True)
    widths = {round(cell.width, 3) for cell in cells(view_rows(drawn)[0])[:-1]}
    assert len(widths) == 1
    assert "stages along the path, one unit each (token counts are not recorded)" in said(drawn)


def test_where_most_stages_would_be_too_short_by_tokens_they_take_one_unit_each():
    turns = [{"role": "assistant", "model": "m", "tokens": 50_000 if i == 3 else 2} for i in range(30)]
    trace = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": turns}}}
    assert any("too short to see" in text for text in said(scene_of(trace)))
    assert "tokens along the path" in said(scene_of(trace, time="tokens"))


def test_tokens_that_are_not_known_cannot_be_the_measure():
    with pytest.raises(TraceError, match="no token count"):
        scene_of(AURA, time="tokens")


def test_a_branch_begins_where_it_branches_off():
    drawn = scene_of(tree(), views=["thread"], interactive=True)
    place = {cell.data["data-stage"]: cell for row in view_rows(drawn) for cell in cells(row)}
    right = {row.data["data-view"]: row for row in view_rows(drawn)}
    assert right
    assert place["b0/0"].x == pytest.approx(place["c1/1"].x, abs=0.01)
    assert place["b1/0"].x == pytest.approx(place["c1/2"].x, abs=0.01)
    assert place["bb/0"].x == pytest.approx(place["b2/1"].x, abs=0.01)
    assert "branches after c1/0" in said(drawn)


def test_a_branch_stands_below_its_parent_and_after_its_elder_branches():
    drawn = scene_of(tree(), views=["thread"])
    order = [group.data["data-conversation"] for group in groups(drawn, "conversation")]
    assert order == ["c1", "b0", "b1", "b2", "bb", "b3", "b4", "b5"]
    assert len(groups(drawn, "branches")) == 1


def link_kinds(drawn):
    return {item.data["data-link"] for item in drawn.walk() if isinstance(item, Path) and "data-link" in item.data}


def test_links_are_drawn_by_kind_and_only_drawn_kinds_are_explained(cases):
    drawn = scene_of(cases / "router-return.yaml")
    rows = list(groups(drawn, "links"))
    kinds = {item.data["data-link"] for row in rows for item in row.items if isinstance(item, Path)}
    assert kinds == {"attention", "rebuild", "transcript"}
    assert {kind for kind in LINKS if any(text.startswith(f"{kind}: ") for text in said(drawn))} == kinds


def test_kinds_of_link_differ_without_colour():
    from individuation.picture.strokes import stroke

    steps = (("M", (0.0, 0.0)), ("L", (9.0, 0.0)))
    looks = {tuple((path.stroke_width, path.dash) for path in stroke(steps, kind)) for kind in range(len(LINKS))}
    assert len(looks) == len(LINKS)


def test_the_link_back_to_a_models_own_stage_is_an_arc(cases):
    drawn = scene_of(cases / "router-return.yaml", interactive=True)
    (arc,) = [item for item in drawn.walk() if isinstance(item, Path) and item.title == "c1/1 to c1/4: rebuild"]
    (_, start), (letter, bend) = arc.steps
    assert letter == "C"
    assert min(bend[1], bend[3]) > start[1] + 8


def test_an_edit_a_transfer_and_a_shared_prefix_are_marked(cases):
    assert "the cache was edited" in said(scene_of(cases / "kv-edit.yaml"))
    assert "the cache was edited" not in said(scene_of(cases / "regenerate.yaml"))
    drawn = scene_of(tree())
    assert "transfer" in link_kinds(drawn)
    assert "reuses a prefix computed for another conversation" in said(drawn)
    assert said(drawn).count("c1/1") >= 6


@pytest.mark.parametrize(
    ("case", "names"), [("three-cities", {"boston", "denver", "seattle"}), ("router-return", {"standard", "reasoning"})]
)
def test_changes_of_server_and_model_have_a_row(cases, case, names):
    drawn = scene_of(cases / f"{case}.yaml")
    rows = [group for group in groups(drawn, "row") if group.data.get("data-row") in ("server", "model")]
    assert names <= {item.text for row in rows for item in row.items if isinstance(item, Text)}


def test_minds_that_share_stages_lie_over_one_another_four_deep():
    drawn = scene_of(tree(), views=["thread"], readings={"branching": "overlap"}, interactive=True)
    (root, *_) = view_rows(drawn)
    minds = {cell.data["data-mind"] for cell in cells(root) if "data-mind" in cell.data}
    assert len(minds) == 4
    assert "+4 more" in said(drawn)
    heights = {cell.y for cell in cells(root) if "data-mind" in cell.data}
    assert len(heights) == 4


def test_the_count_of_a_persona_view_is_shown_with_its_range():
    _, results = results_of(AURA)
    counted = {text.text: text.tail for text in scene_of(AURA).texts() if text.bold and text.tail}
    assert counted["thread"] == "1 mind"
    for result in results[2:]:
        assert counted[result.view] == f"2 minds ({result.range.low}-{result.range.high})"
    assert any("In brackets" in text for text in said(scene_of(AURA)))
    assert not any("In brackets" in text for text in said(scene_of(AURA, views=["thread"])))


def test_a_view_that_lists_no_minds_has_no_row_but_is_told(cases):
    drawn = scene_of(cases / "forward-passes.yaml", views=["thread", "forward-pass"])
    assert [row.data["data-view"] for row in view_rows(drawn)] == ["thread"]
    assert any("forward-pass: 11, too many for a row." in text for text in said(drawn))


def test_caveats_are_counted():
    _, results = results_of(AURA)
    many = len({caveat for result in results for caveat in result.caveats})
    assert any(f"{many} caveats:" in text for text in said(scene_of(AURA)))


def test_coordinates_go_up_with_their_values_and_only_the_assistants_are_filled():
    drawn = scene_of(AURA, interactive=True)
    opened, _ = results_of(AURA)
    facts, stages = opened.recordings[0], opened.stages()
    (curve,) = groups(drawn, "curve")
    dots = {dot.data["data-stage"]: dot for dot in curve.items if isinstance(dot, Circle)}
    assert len(dots) == len(stages) == 46
    value = dict(zip(facts.coordinates.turn.tolist(), facts.coordinates.value.tolist(), strict=True))
    by_value = sorted(range(46), key=lambda stage: value[stage])
    heights = [dots[stages.name(stage)].y for stage in by_value]
    assert heights == sorted(heights, reverse=True)
    assert {stage for stage in range(46) if dots[stages.name(stage)].fill == "ink"} == set(
        np.flatnonzero(stages.assistant).tolist()
    )


def test_a_region_is_a_band_from_bound_to_bound_with_its_name():
    drawn = scene_of(AURA, interactive=True)
    (curve,) = groups(drawn, "curve")
    bands = {item.title.split(":")[0]: item for item in curve.items if isinstance(item, Rect)}
    assert set(bands) == {"assistant", "aura"}
    boundary = bands["aura"].y
    assert bands["assistant"].y + bands["assistant"].height == pytest.approx(boundary)
    dots = {dot.data["data-stage"]: dot for dot in curve.items if isinstance(dot, Circle)}
    assert dots["drift/7"].y < boundary < dots["drift/9"].y
    assert {"assistant", "aura"} <= set(said(drawn))


def test_bands_are_those_of_the_labelling(tmp_path):
    from individuation.picture.bands import bands_of
    from traces.coordinates import stage_coordinates

    opened, _ = results_of(AURA)
    coordinates = stage_coordinates(opened.recordings, opened.stages())
    assert {band.region for band in bands_of(opened.recordings, coordinates, "assistant-axis")} == {"assistant", "aura"}
    assert bands_of(opened.recordings, coordinates, "another") == []


def test_beyond_200_turns_stages_that_do_not_differ_are_drawn_as_one():
    same = world([{"role": "assistant", "model": "m0", "at": {"x": 5.0, "y": 1.0}} for _ in range(1000)])
    drawn = scene_of(same, interactive=True)
    assert [len(cells(row)) for row in view_rows(drawn)] == [1, 1, 1, 1]
    assert cells(view_rows(drawn)[0])[0].data["data-stage"] == "c1/0-999"
    assert "Stages that do not differ are drawn as one." in " ".join(said(drawn))
    assert len(cells(view_rows(scene_of(world(long_turns(200)), interactive=True))[0])) == 200


def test_blocks_cover_every_stage_without_gap_or_overlap():
    drawn = drawn_once("5,000 turns")
    for row in view_rows(drawn):
        spans = [cell.data["data-stage"].removeprefix("c1/").split("-") for cell in cells(row)]
        edges = [(int(span[0]), int(span[-1])) for span in spans]
        assert edges[0][0] == 0
        assert edges[-1][1] == 4999
        assert all(before[1] + 1 == after[0] for before, after in pairwise(edges))


def test_a_picture_of_5000_turns_is_of_bounded_size():
    from individuation.picture.svg import svg_of

    assert len(svg_of(drawn_once("5,000 turns"))) < 300_000


def test_stages_too_short_to_draw_are_shown_as_several_not_as_one_of_them():
    drawn = scene_of(world(long_turns(5000, models=2)), views=["model"], interactive=True)
    (row,) = view_rows(drawn)
    assert all("data-mind" not in cell.data for cell in cells(row))
    assert "several minds" in cells(row)[0].title


def test_of_many_conversations_the_first_24_are_drawn_and_the_rest_counted():
    turns = [{"role": "user", "model": "m0"}, {"role": "assistant"}]
    many = world(turns, **{f"d{i}": {"turns": turns} for i in range(39)})
    drawn = scene_of(many)
    assert len(groups(drawn, "conversation")) == 24
    assert any("16 conversations more: not drawn." in text for text in said(drawn))
    assert colliding_texts(drawn) == []


def test_only_the_named_conversations_are_drawn():
    drawn = scene_of(tree(), conversations=["b2", "bb"])
    assert [group.data["data-conversation"] for group in groups(drawn, "conversation")] == ["b2", "bb"]
    assert any("which is not drawn" in text for text in said(drawn))


def test_an_unknown_conversation_is_refused_with_the_names_there_are():
    with pytest.raises(UnknownNameError, match="b5"):
        scene_of(tree(), conversations=["b7"])


def test_a_trace_without_turns_gives_a_picture_that_says_so():
    empty = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": []}}}
    assert "There are no stages to draw." in said(scene_of(empty))


def test_the_picture_is_as_wide_as_needed_or_as_asked():
    assert scene_of(world(long_turns(1))).width < DEFAULT_WIDTH
    assert scene_of(world(long_turns(200))).width == DEFAULT_WIDTH
    assert scene_of(world(long_turns(1)), width=1200).width == 1200
    for width in (479, 4001):
        with pytest.raises(TraceError, match="480 to 4,000"):
            scene_of(world(long_turns(1)), width=width)


def test_long_names_are_shortened_and_told_in_full():
    drawn = scene_of(hostile_world())
    shown = [text.text for text in drawn.texts()]
    assert any(text.endswith("…") for text in shown)
    assert HOSTILE in said(drawn)


def test_a_still_picture_carries_no_data_of_stages():
    assert not any("data-stage" in item.data for item in scene_of(AURA).walk())


def test_lanes_need_no_open_trace():
    opened, results = results_of(AURA)
    drawn = lanes(opened.stages(), results)
    assert groups(drawn, "curve") == []
    assert all(isinstance(result.verdict, Partition) for result in results)
    assert drawn.title == "Qwen 3 32B drifts into Aura"


def streams(scene):
    rows = [row for row in groups(scene, "row") if row.data.get("data-row") == "connected"]
    return [
        ([item for item in row.items if isinstance(item, Rect)], [item for item in row.items if isinstance(item, Path)])
        for row in rows
    ]


def test_a_stream_is_as_broad_as_a_stage_rests_on_the_one_before_it():
    ((ribbons, arcs),) = streams(scene_of(connected(), interactive=True))
    assert len(ribbons) == 8
    assert not arcs
    broad = max(ribbon.height for ribbon in ribbons)
    assert [ribbon.height == broad for ribbon in ribbons] == [number != 2 for number in range(8)]
    assert ribbons[2].height < 1
    assert ribbons[0].title == "c1/1, of c1/0: predicts otherwise by 0.5 nats without it, gives it 25% of its attention"


def test_all_connections_are_arcs_the_stronger_the_broader_and_what_is_too_weak_is_said():
    drawn = scene_of(connected(9), connections="all")
    ((_, arcs),) = streams(drawn)
    # 28 pairs are further apart, two of them of the turn that rests on nothing; 0.02 of the strongest is left out.
    shown = [0.5**distance for distance in range(2, 9) for later in range(distance, 9) if later != 3]
    shown = sorted(value for value in shown if value >= 0.01)
    assert len(arcs) == len(shown)
    widths = [arc.stroke_width for arc in arcs]
    assert widths == sorted(widths)
    assert widths[-1] / widths[-10] == pytest.approx(shown[-1] / shown[-10])
    assert f"{28 - len(shown)} weaker connections more: not drawn." in " ".join(said(drawn))


def test_where_no_nats_were_measured_the_shares_of_attention_are_drawn():
    assert any("25% of its attention goes to the stage before" in text for text in said(scene_of(connected(kl=False))))
    assert any("0.5 nats, so far a stage predicts otherwise" in text for text in said(scene_of(connected())))


def test_a_model_that_comes_back_is_joined_to_its_own_last_stage_by_an_arc():
    trace = connected(15, models=2)
    measured = trace["conversations"]["c1"]["turns"][12]["connections"]
    assert measured["c1/5"]["kl"] < 0.01  # too weak to draw
    assert [len(arcs) for _, arcs in streams(scene_of(trace))] == [0]
    measured["c1/5"]["kl"] = 0.4
    ((ribbons, (arc,)),) = streams(scene_of(trace, interactive=True))
    assert len(ribbons) == 14
    assert arc.title.startswith("c1/12, of c1/5: ")


@pytest.mark.parametrize("look", [{"connections": "none"}, {}], ids=["left out", "not measured"])
def test_without_connections_there_is_no_row_for_them(look):
    trace = connected() if look else world(long_turns(9))
    assert streams(scene_of(trace, **look)) == []
    assert not any("connected" in text for text in said(scene_of(trace, **look)))
