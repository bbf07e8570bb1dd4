"""Pictures as files: each format opens, is safe and legible, and is the same bytes for the same trace."""

import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.resources import files
from pathlib import Path

import pytest
from drawing import HOSTILE, hostile_world, long_turns, scene_of, tree, world
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from PIL import Image

from individuation.picture.files import SUFFIXES, painted, trace_svg
from individuation.picture.lettering import plain, shortened, text_width
from individuation.picture.palette import MINDS, THEMES, colours, contrast, mind_role, on
from individuation.picture.scene import Rect, Scene, Text
from individuation.picture.svg import css_variables, svg_of
from traces.errors import TraceError, UnknownNameError

CASES = sorted(
    (case for case in files("individuation").joinpath("cases").iterdir() if case.name.endswith(".yaml")), key=str
)
SVG = "{http://www.w3.org/2000/svg}"
AURA = "examples/qwen3-32b-aura.yaml"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_draws_in_both_themes_as_well_formed_svg(case, theme):
    root = ElementTree.fromstring(svg_of(scene_of(str(case)), theme))
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}rect").get("fill") == colours(theme)["ground"]


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out_from_whatever_it_may_stand_on(theme):
    value = colours(theme)
    for ground in ("ground", "panel", "band-a", "band-b", "place-a", "place-b"):
        assert contrast(value["ink"], value[ground]) >= 4.5
    assert contrast(value["muted"], value["ground"]) >= 4.5
    for role in map(mind_role, range(len(MINDS))):
        assert contrast(value[on(role)], value[role]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_all_text_in_a_picture_has_one_of_those_colours(theme):
    written = {text.colour for trace in (tree(), AURA, world(long_turns(60))) for text in scene_of(trace).texts()}
    assert written <= {"ink", "muted", *(on(mind_role(i)) for i in range(len(MINDS)))}


@pytest.mark.parametrize("theme", THEMES)
def test_lines_and_outlines_can_be_seen(theme):
    value = colours(theme)
    for role in ("ink", "outline", "muted", "faint"):
        assert contrast(value[role], value["ground"]) >= 3


def test_names_that_are_markup_stay_text():
    text = svg_of(scene_of(hostile_world(), interactive=True))
    root = ElementTree.fromstring(text)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "g", "rect", "path", "circle", "text", "tspan", "title", "desc")
    }
    assert "<script" not in text
    assert root.find(f"{SVG}title").text == plain(HOSTILE)
    assert any(element.text == plain(HOSTILE) for element in root.iter(f"{SVG}text"))


def test_no_name_can_turn_round_the_text_beside_it():
    text = svg_of(scene_of(hostile_world()))
    assert "\u202e" in HOSTILE
    assert "\u202e" not in text
    assert "😀 שלום مرحبا 漢字" in text


def test_what_xml_cannot_hold_is_replaced():
    scene = Scene(99, 20, "a\x00b\ud800", "", [Text(1, 12, "c\x1f\ufffe", title="\udfff")])
    root = ElementTree.fromstring(svg_of(scene))
    assert root.find(f"{SVG}title").text == "a b\ufffd"


def test_a_svg_needs_nothing_from_anywhere():
    text = svg_of(scene_of(AURA, interactive=True)) + svg_of(scene_of(hostile_world(), interactive=True))
    assert re.findall(r"https?://[^\"']+", text) == ["http://www.w3.org/2000/svg"] * 2
    assert not re.search(r"href|url\(|@import|<style|<image|<use|\son\w+=\"", text)


def test_a_svg_says_what_it_is_to_those_who_do_not_see_it():
    root = ElementTree.fromstring(svg_of(scene_of(AURA)))
    assert root.get("role") == "img"
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("aria-labelledby").split() == [title.get("id"), desc.get("id")]
    assert title.text == "Qwen 3 32B drifts into Aura"
    assert desc.text.startswith("Lanes of 1 conversation with 46 stages. thread: 1 mind. virtual-instance: 1 mind.")
    assert re.search(r"instance-persona: 2 minds \(\d+-\d+\)\.", desc.text)


def test_two_pictures_in_one_page_share_no_ids():
    both = svg_of(scene_of(AURA)) + svg_of(scene_of(tree()))
    ids = re.findall(r' id="([^"]+)"', both)
    assert len(ids) == len(set(ids)) == 4


def test_a_page_can_give_a_picture_its_colours():
    text = svg_of(scene_of(AURA), "css")
    assert 'fill="var(--picture-ground, #ffffff)"' in text
    used = set(re.findall(r"var\((--picture-[\w-]+)", text))
    assert used <= {line.split(":")[0] for line in css_variables("dark").splitlines()}


def test_an_unknown_theme_is_refused():
    with pytest.raises(UnknownNameError, match="light, dark"):
        svg_of(Scene(1, 1, "", ""), "drak")


def test_an_interactive_picture_tells_each_cell():
    root = ElementTree.fromstring(svg_of(scene_of(AURA, interactive=True)))
    row = next(g for g in root.iter(f"{SVG}g") if g.get("data-view") == "instance-persona" and g.get("class") == "row")
    stages = [rect for rect in row.iter(f"{SVG}rect") if rect.get("data-stage")]
    assert [rect.get("data-stage") for rect in stages] == [f"drift/{i}" for i in range(46)]
    assert {rect.get("data-mind") for rect in stages} == {"1", "2"}
    told = stages[9].find(f"{SVG}title").text
    assert told == "drift/9, assistant, qwen3-32b. instance-persona: mind 2"


def test_a_notebook_gets_an_interactive_picture():
    from drawing import results_of

    opened, results = results_of(AURA)
    text = trace_svg(opened.stages(), results, title="A <title>", theme="dark")
    assert "data-stage" in text
    assert "A &lt;title&gt;" in text


@pytest.mark.parametrize(
    "trace", [AURA, tree(), hostile_world(), world(long_turns(60, models=2))], ids=["aura", "tree", "hostile", "60"]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_format_opens(trace, suffix):
    scene = scene_of(trace)
    content = painted(scene, suffix, "dark")
    if suffix == ".png":
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.size == (2 * scene.width, 2 * scene.height)
            assert image.getpixel((3, 3))[:3] == (0x14, 0x18, 0x1D)
            assert len(image.getcolors(1 << 24)) > 8
    elif suffix == ".pdf":
        assert content.startswith(b"%PDF-1.")
        assert content.rstrip().endswith(b"%%EOF")
        assert len(re.findall(rb"/Type /Page\b", content)) == 1
        assert b"/Subtype /Type3" not in content
        assert b"CreationDate" not in content
    else:
        assert ElementTree.fromstring(content).get("width") == f"{scene.width:g}"


def test_an_unknown_format_is_refused():
    with pytest.raises(TraceError, match=r"one of \.svg, \.png, \.pdf"):
        painted(Scene(1, 1, "", ""), ".gif")


def test_a_dollar_sign_in_a_name_is_no_formula():
    plain_name, formula = (Scene(200, 30, "", "", [Text(5, 20, name)]) for name in ("a $ b", "a $\\frac$ b"))
    assert painted(plain_name, ".png") != painted(formula, ".png")


_DIGESTS = """
import hashlib, sys
sys.path.insert(0, "tests")
from drawing import scene_of, tree, world, long_turns
from individuation.picture.files import painted
scene = scene_of(tree(), readings={"branching": "overlap"}, interactive=True)
for suffix in (".svg", ".png", ".pdf"):
    print(suffix, hashlib.sha256(painted(scene, suffix)).hexdigest())
print(hashlib.sha256(painted(scene_of(world(long_turns(40, 3, 3))), ".svg")).hexdigest())
"""


def test_the_same_trace_gives_the_same_bytes_in_every_process():
    import os

    def digests(seed):
        words = [sys.executable, "-c", _DIGESTS]
        root = Path(__file__).resolve().parent.parent
        done = subprocess.run(
            words, capture_output=True, text=True, check=True, cwd=root, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        return done.stdout

    assert digests("1") == digests("2")


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize(
    "text", ["instance-persona", "WWW iii 111 fff ttt", "aura of qwen3-32b in drift", "(1-4) −63.9 · 12,000"]
)
def test_the_measure_of_text_is_that_of_the_font(text, bold):
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=10)
    # Outlines have no room at their sides, and kerning takes a little away.
    drawn = TextPath((0, 0), text, size=10, prop=font).get_extents().width
    assert drawn - 0.5 <= text_width(text, 10, bold) <= drawn * 1.03 + 2


def test_a_shortened_text_fits_and_keeps_letters_whole():
    for width in range(0, 200, 7):
        cut = shortened("père Noël e\u0301te\u0301 👩\u200d🚀 a long text indeed", width, 10)
        assert text_width(cut, 10) <= width + 0.01
        assert not cut.removesuffix("…").endswith("\u200d")
    assert not shortened("e\u0301" * 9, 30, 10).startswith("\u0301")


def test_a_hatch_stays_within_its_cell():
    from individuation.picture.scene import hatching

    for kind in range(1, 12):
        for width, height in ((40, 15), (3, 15), (0.8, 10)):
            for _, (x, y) in hatching(5, 7, width, height, kind).steps:
                assert 5 - 1e-9 <= x <= 5 + width + 1e-9
                assert 7 - 1e-9 <= y <= 7 + height + 1e-9


def test_hatches_differ():
    from individuation.picture.scene import hatching

    assert len({hatching(0, 0, 40, 15, kind).steps for kind in range(1, 6)}) == 5


def test_numbers_are_written_without_noise():
    text = svg_of(Scene(10, 10, "", "", [Rect(-0.0, 1 / 3, 1.50, 2.0, "ink")]))
    assert '<rect x="0" y="0.33" width="1.5" height="2"' in text
