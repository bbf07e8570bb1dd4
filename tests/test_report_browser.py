"""The report in a real browser: Chromium without a window, driven as a person would, by pointer and by keys."""

import json
import shutil
from contextlib import contextmanager

import pytest
from drawing import HOSTILE, hostile_world, long_turns, tree, world
from pages import found_in
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from individuation import overview, why
from individuation.case_files import paper_case
from individuation.picture.lettering import plain
from individuation.report.findings import findings
from individuation.report.page import page
from individuation.report.seams import in_short
from rules.view import Tally

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="Chromium and its driver are not installed")


class Browser:
    """A page that is open, and what is done to it and read off it."""

    def __init__(self, driver, folder):
        self.driver, self.folder = driver, folder

    def open(self, html, name="report", media=(), width=1440):
        path = self.folder / f"{name}.html"
        path.write_text(html, encoding="utf-8")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        features = [
            {"name": "prefers-reduced-motion", "value": "reduce"},
            *({"name": key, "value": value} for key, value in media),
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        # From an empty page, so that nothing of the page before is in the logs.
        self.driver.get(path.as_uri())
        return self

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).innerText", selector)

    def cell(self, view, at):
        return self.one(f'#picture g.row[data-view="{view}"] rect[data-at="{at}"]')

    def point(self, element):
        self.js("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        ActionChains(self.driver, duration=0).move_to_element(element).perform()

    def keys(self, *keys):
        actions = ActionChains(self.driver, duration=0)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def with_shift(self, key):
        ActionChains(self.driver, duration=0).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()

    def focused(self):
        """The cell that has the focus: which row, and the stages it stands for."""
        return self.js(
            "const e = document.activeElement; return e.dataset.at === undefined ? null : "
            "[e.closest('g.row').dataset.view ?? e.closest('g.row').dataset.row, e.dataset.at]"
        )

    def stage(self):
        return self.text("#details h3")

    def into_picture(self):
        """To the picture by the Tab key, from the button before it."""
        self.js("document.querySelector('.keys summary').focus()")
        self.keys(Keys.TAB)
        if self.focused() is None:
            # A frame that scrolls is itself a stop on the way.
            self.keys(Keys.TAB)

    def minds_told(self):
        """What the panel says of the mind under each view."""
        rows = self.js(
            "return [...document.querySelectorAll('#details table tbody tr')].map(r => [r.cells[0].innerText, r.cells[1].innerText])"
        )
        return {view: " ".join(said.split()) for view, said in rows}


@pytest.fixture(scope="module")
def driver():
    options = Options()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1440,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield started
    started.quit()


@pytest.fixture
def browser(driver, tmp_path):
    return Browser(driver, tmp_path)


@pytest.fixture(scope="module")
def aura(examples):
    return page(found_in(examples / "qwen3-32b-aura.yaml"))


def case_page(name, **options):
    case = paper_case(name)
    return page(findings(case.trace, case=case, **options))


def test_the_page_opens_without_an_error_and_without_asking_anyone_for_anything(browser, aura):
    browser.open(aura)
    assert browser.driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [(browser.folder / "report.html").as_uri()]
    # And what tries to is stopped by the policy.
    said = browser.driver.execute_async_script(
        "const done = arguments[0]; fetch('https://example.org/').then(() => done('loaded'), () => done('stopped'))"
    )
    assert said == "stopped"
    assert any("Content Security Policy" in entry["message"] for entry in browser.driver.get_log("browser"))


def test_pointing_at_a_stage_shows_its_facts_and_its_mind_under_every_view(browser, examples):
    trace = found_in(examples / "qwen3-32b-aura.yaml").trace
    results = overview(trace)
    browser.open(page(findings(trace)))
    for row in (3, 8, 45):
        browser.point(browser.cell(5, row))
        assert browser.stage() == f"drift/{row}"
        told = browser.minds_told()
        for result in results:
            if not isinstance(result.verdict, Tally):
                mind = result.minds.of_stage(row)
                said = "no mind" if mind is None else f"{mind + 1} {result.minds[mind].label}"
                assert told[result.view] == said
        facts = browser.text("#details dl")
        assert "not recorded" in facts
        assert f"unknown, from drift/{row - 1}" in facts
    assert "−88.8" in facts


def test_a_dot_of_the_curve_stands_for_its_stage(browser, aura):
    browser.open(aura)
    browser.point(browser.one('#picture circle[data-at="9"]'))
    assert browser.stage() == "drift/9"


def test_branches_that_overlap_are_said_to_part_where_their_ways_meet(browser):
    found = found_in(tree(), views=["thread"], readings={"branching": "overlap"})
    browser.open(page(found))
    rows = [found.stages.find(name) for name in ("b0/0", "bb/0")]
    for row in rows:
        cell = browser.one(f'#picture g.row[data-view="0"] rect[data-at="{row}"]')
        browser.js("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", cell)
    assert why(found.trace, "b0/0", "bb/0", "thread", branching="overlap").evidence.at == "c1/0"
    assert " ".join(browser.text("#pair tbody td").split()) == "Two. They part after c1/0."


def test_the_words_of_a_stage_and_its_links_are_shown(browser):
    browser.open(case_page("router-return"))
    browser.point(browser.cell(3, 4))
    facts = " ".join(browser.text("#details").split())
    assert "link rebuild, from c1/1; transcript, from c1/3" in facts
    assert paper_case("router-return").trace.recordings[0].details()[4].text in browser.text("#details blockquote")


def test_the_keys_go_from_stage_to_stage_and_from_row_to_row(browser, aura):
    browser.open(aura)
    browser.into_picture()
    assert browser.focused() == ["3", "0"]
    assert browser.stage() == "drift/0"
    browser.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert browser.focused() == ["3", "2"]
    assert browser.stage() == "drift/2"
    browser.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert browser.focused() == ["5", "2"]
    browser.with_shift(Keys.ARROW_RIGHT)
    assert browser.focused() == ["5", "8"]
    assert "2 aura of qwen3-32b in drift" in browser.minds_told()["instance-persona"]
    browser.keys(Keys.END)
    assert browser.focused() == ["5", "45"]
    browser.with_shift(Keys.ARROW_LEFT)
    assert browser.focused() == ["5", "8"]
    browser.keys(Keys.HOME, Keys.ARROW_UP)
    assert browser.focused() == ["4", "0"]
    # One stop for the Tab key, and the focus can be seen.
    assert browser.js("return document.querySelectorAll('#picture [tabindex=\"0\"]').length") == 1
    assert browser.js("return document.querySelectorAll('#marks .ring').length") == 2
    told = browser.js(
        "return [document.activeElement.getAttribute('role'), document.activeElement.getAttribute('aria-label')]"
    )
    assert told == ["button", "drift/0, user. virtual-instance: mind 1, qwen3-32b in drift."]


@pytest.mark.parametrize("name", ["pantheon", "regenerate", "router-return"])
def test_every_stage_can_be_reached_by_the_arrow_keys(browser, name):
    stages = paper_case(name).trace.stages()
    browser.open(case_page(name))
    browser.into_picture()
    seen = [browser.stage()]
    for _ in range(len(stages) - 1):
        browser.keys(Keys.ARROW_RIGHT)
        seen.append(browser.stage())
    assert seen == [stages.name(row) for row in range(len(stages))]
    rows, last = set(), None
    number = "return [...document.querySelectorAll('g.row')].indexOf(document.activeElement.closest('g.row'))"
    while (row := browser.js(number)) != last:
        rows.add(row)
        last = row
        browser.keys(Keys.ARROW_UP)
    filled = (
        "return [...document.querySelectorAll('g.row')].flatMap((r, i) => r.querySelector('rect[data-at]') ? [i] : [])"
    )
    assert sorted(rows) == [row for row in browser.js(filled) if row <= max(rows)]
    assert (
        browser.js("return document.activeElement.closest('g.conversation').previousElementSibling?.className?.baseVal")
        != "conversation"
    )


def test_every_stage_of_a_long_conversation_can_be_reached_though_stretches_are_drawn(browser):
    browser.open(page(found_in(world(long_turns(420, models=2, servers=3, tokens=True)), views=["model", "thread"])))
    browser.into_picture()
    seen = []
    for _ in range(14):
        seen.append(browser.stage())
        browser.keys(Keys.ARROW_RIGHT)
    assert seen == [f"c1/{i}" for i in range(14)]
    browser.with_shift(Keys.ARROW_RIGHT)
    assert browser.stage() == "c1/18"
    browser.keys(Keys.END)
    assert browser.stage() == "c1/419"
    stretch = browser.one('#picture g.row[data-view="1"] rect[data-at*="-"]')
    first, last = stretch.get_attribute("data-at").split("-")
    browser.js("document.getElementById('canvas').scrollLeft = 0")
    browser.js("arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))", stretch)
    assert browser.stage() == f"c1/{first} to {last}"
    assert f"{int(last) - int(first) + 1} stages in one block" in browser.text("#details")


def test_zooming_scales_the_picture_and_reset_restores_it(browser, aura):
    width = "return document.getElementById('picture').getBoundingClientRect().width"
    browser.open(aura)
    at_first = browser.js(width)
    browser.one("#nearer").click()
    assert browser.js(width) == pytest.approx(at_first * 1.25, rel=0.01)
    assert browser.text("#zoom") == "125 %"
    browser.one("#whole").click()
    assert browser.js(width) == at_first
    browser.into_picture()
    browser.keys("+", "+")
    assert browser.js(width) == pytest.approx(at_first * 1.5625, rel=0.01)
    browser.keys("-")
    assert browser.text("#zoom") == "125 %"
    browser.keys("0")
    assert browser.js(width) == at_first
    assert browser.text("#zoom") == "100 %"
    frame = browser.js(
        "document.getElementById('canvas').scrollIntoView({block: 'center'}); const b = document.getElementById('canvas').getBoundingClientRect(); return [b.x, b.y]"
    )
    wheel = {
        "type": "mouseWheel",
        "x": frame[0] + 300,
        "y": frame[1] + 100,
        "deltaX": 0,
        "deltaY": -400,
        "modifiers": 2,
    }
    browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    assert browser.js(width) > at_first * 2
    # Without the Ctrl key the wheel scrolls, as everywhere.
    zoomed = browser.js(width)
    browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", wheel | {"modifiers": 0, "deltaY": 40})
    assert browser.js(width) == zoomed


def test_a_picture_that_is_zoomed_is_moved_by_dragging_and_its_rows_stay_named(browser, aura):
    browser.open(aura)
    for _ in range(5):
        browser.one("#nearer").click()
    browser.js("document.getElementById('canvas').scrollLeft = 300")
    before = browser.js("const c = document.getElementById('canvas'); return [c.scrollLeft, c.scrollTop]")
    canvas = browser.one("#canvas")
    actions = ActionChains(browser.driver, duration=0)
    actions.move_to_element_with_offset(canvas, 120, -60).click_and_hold().move_by_offset(-20, 0).move_by_offset(
        -60, -25
    ).release()
    actions.perform()
    after = browser.js("const c = document.getElementById('canvas'); return [c.scrollLeft, c.scrollTop]")
    assert after[0] - before[0] == 80
    assert browser.text("#pair") == ""
    labels = browser.js("return [...document.querySelectorAll('#gutter text')].map(t => t.textContent)")
    assert {"turns", "thread", "instance-persona"} <= set(labels)
    place = browser.js(
        "const t = [...document.querySelectorAll('#gutter text')].find(t => t.textContent === 'thread').getBoundingClientRect();"
        "const c = document.getElementById('canvas').getBoundingClientRect(); return t.left - c.left"
    )
    assert place > 0
    browser.js("document.getElementById('canvas').scrollLeft = 0")
    browser.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert browser.js("return document.getElementById('gutter')") is None


def test_pointing_at_a_mind_shows_all_its_stages_and_only_those(browser, aura):
    def covered(kind):
        """The stages of the instance-persona row that marks of that kind lie over."""
        return browser.js(
            "const marks = [...document.querySelectorAll(`#marks rect.${arguments[0]}`)].map(m => m.getBoundingClientRect());"
            "return [...document.querySelectorAll('#picture g.row[data-view=\"5\"] rect[data-at]')].filter(c => {"
            "const b = c.getBoundingClientRect(), x = b.x + b.width / 2, y = b.y + b.height / 2;"
            "return marks.some(m => m.left <= x && x <= m.right && m.top <= y && y <= m.bottom); }).map(c => Number(c.dataset.at))",
            kind,
        )

    browser.open(aura)
    for at, mine in ((20, range(8, 46)), (2, range(8))):
        browser.point(browser.cell(5, at))
        assert covered("lit") == list(mine)
        assert covered("veil") == [stage for stage in range(46) if stage not in mine]
        lit = browser.js(
            "return [...document.querySelectorAll('g.mind.lit')].map(g => [g.dataset.view, g.dataset.mind])"
        )
        assert lit == [["5", "2" if at == 20 else "1"]]
    browser.point(browser.one('g.mind[data-view="5"][data-mind="2"] rect'))
    assert covered("lit") == list(range(8, 46))
    browser.point(browser.one("h1"))
    assert covered("lit") == covered("veil") == []


def test_two_stages_that_are_taken_are_compared_with_the_reason(browser, aura, examples):
    told = why(examples / "qwen3-32b-aura.yaml", "drift/7", "drift/8", "instance-persona")
    short, cited = in_short(told)
    browser.open(aura)
    browser.into_picture()
    browser.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ENTER)
    assert "drift/1 is taken" in browser.text("#pair")
    browser.with_shift(Keys.ARROW_RIGHT)
    browser.keys(Keys.ARROW_RIGHT, Keys.ENTER)
    rows = browser.js(
        "return [...document.querySelectorAll('#pair tbody tr')].map(r => [r.cells[0].innerText, r.cells[1].innerText])"
    )
    said = {view: " ".join(answer.split()) for view, answer in rows}
    assert said["thread"] == "One: 1 drift"
    assert said["instance-persona"] == f"Two. drift/7 → drift/8: {short} ({cited})."
    assert said["physical-instance"] == "drift/1 and drift/9: in no mind."
    assert "individuate why TRACE drift/1 drift/9" in browser.text("#pair")
    # By the link to the evidence, which opens.
    browser.js("document.querySelectorAll('.reasons details').forEach(d => { d.open = false; })")
    browser.js("document.querySelector('#pair a').click()")
    browser.driver.execute_async_script("setTimeout(arguments[0], 50)")
    assert str(told) in browser.js("return document.querySelector('#why details[open] pre').textContent")
    assert browser.js("return document.activeElement.tagName") == "SUMMARY"
    browser.js("document.querySelector('#picture [tabindex=\"0\"]').focus()")
    browser.keys(Keys.ESCAPE)
    assert browser.text("#pair") == ""


@pytest.mark.parametrize(
    ("name", "readings"), [("pantheon", {}), ("regenerate", {"branching": "overlap"}), ("aura-and-back", {})]
)
def test_one_mind_or_two_is_as_the_engine_says_for_every_pair(browser, name, readings):
    trace = paper_case(name).trace
    stages = trace.stages()
    browser.open(page(findings(trace, readings=readings)))
    names = [result.view for result in overview(trace, readings=readings)]
    rows = range(min(len(stages), 5))
    for a in rows:
        for b in range(a + 1, len(rows)):
            for at in (a, b):
                # One of the two may still be taken from before.
                browser.js(
                    "document.querySelectorAll(`#picture g.row[data-view] rect[data-at=\"${arguments[0]}\"]`)[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))",
                    at,
                )
            told = browser.js("return [...document.querySelectorAll('#pair tbody tr')].map(r => r.cells[1].innerText)")
            browser.keys(Keys.ESCAPE)
            for view, said in zip(names, told, strict=True):
                same = why(
                    trace,
                    stages.name(a),
                    stages.name(b),
                    view,
                    **{k: v for k, v in readings.items() if k in _readings(view)},
                ).same
                assert said.startswith("One") == bool(same), (a, b, view, said)


def _readings(view):
    from individuation.criteria import find_view

    return {reading.name for reading in find_view(view).readings}


def test_the_button_turns_the_page_dark_and_light_again(browser, aura):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    browser.open(aura)
    assert browser.js(ground) == "rgb(255, 255, 255)"
    browser.one("#theme").click()
    assert browser.js(ground) == "rgb(20, 24, 29)"
    assert browser.one("#theme").get_attribute("aria-pressed") == "true"
    fill = "return getComputedStyle(document.querySelector('#picture > rect')).fill"
    assert browser.js(fill) == "rgb(20, 24, 29)"
    browser.one("#theme").click()
    assert browser.js(ground) == browser.js(fill) == "rgb(255, 255, 255)"
    browser.open(aura, media=[("prefers-color-scheme", "dark")])
    assert browser.js(ground) == "rgb(20, 24, 29)"
    assert browser.one("#theme").get_attribute("aria-pressed") == "true"
    browser.one("#theme").click()
    assert browser.js(ground) == "rgb(255, 255, 255)"


_CONTRASTS = """
const parse = c => c.match(/[\\d.]+/g).map(Number);
const lin = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const lum = c => 0.2126 * lin(c[0]) + 0.7152 * lin(c[1]) + 0.0722 * lin(c[2]);
const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0.99) return c; } };
document.querySelectorAll("details").forEach(d => { d.open = true; });
const bad = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let seen = 0;
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || e.closest("svg, script") || !e.getClientRects().length) continue;
  seen += 1;
  const [a, b] = [lum(parse(getComputedStyle(e).color)), lum(ground(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push([e.tagName, e.className, walk.currentNode.textContent.slice(0, 40)]);
}
return [seen, bad];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser, scheme):
    browser.open(case_page("regenerate", readings={"branching": "overlap"}), media=[("prefers-color-scheme", scheme)])
    browser.into_picture()
    browser.keys(Keys.ENTER, Keys.ARROW_RIGHT, Keys.ENTER)
    seen, bad = browser.js(_CONTRASTS)
    assert seen > 300
    assert bad == []


def test_the_page_can_be_read_without_scripts(browser, aura):
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(aura)
        shown = "const e = document.querySelector(arguments[0]); return e !== null && e.getClientRects().length > 0"
        for selector in (".toolbar", "#panel", "#theme"):
            assert not browser.js(shown, selector), selector
        assert browser.js(shown, "#picture")
        assert browser.js("return document.querySelector('#picture').getBoundingClientRect().width") > 640
        summary = browser.one("#why-7-1 summary")
        assert not browser.js("return document.documentElement.classList.contains('scripted')")
        browser.js("document.querySelector('#why-7-1').open = false")
        browser.point(summary)
        summary.click()
        assert "The region differs: assistant and aura." in browser.text("#why-7-1 pre")
        assert (
            browser.js("return document.querySelector('#picture rect[data-at] title').textContent")
            == "drift/0, user, qwen3-32b"
        )
        rows = browser.js(
            "document.querySelector('#stage-table').open = true; return document.querySelectorAll('#stage-table tbody tr').length"
        )
        assert rows == 46
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def _hostile():
    trace = hostile_world()
    for conversation in trace["conversations"].values():
        for turn in conversation["turns"]:
            turn["text"] = "</script><img src=x onerror=alert(2)><script>alert(3)</script>\n\"quoted\" 'so'"
    return trace | {"title": f'{HOSTILE}"><img src=x onerror=alert(1)>', "source": "javascript:alert(4)"}


def test_hostile_names_and_words_do_nothing(browser):
    browser.open(page(found_in(_hostile())))
    browser.into_picture()
    for _ in range(5):
        browser.keys(Keys.ENTER, Keys.ARROW_RIGHT)
    for cell in browser.driver.find_elements(By.CSS_SELECTOR, "#picture g.row[data-view] rect[data-at]")[:6]:
        browser.js("arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))", cell)
    with pytest.raises(NoAlertPresentException):
        browser.driver.switch_to.alert.dismiss()
    assert browser.driver.get_log("browser") == []
    assert browser.js("return document.querySelectorAll('img, iframe, object, embed, form, base').length") == 0
    assert browser.js("return document.scripts.length") == 2
    assert "<img src=x onerror=alert(2)>" in browser.text("#details blockquote")
    assert browser.js("return document.querySelector('h1').textContent") == plain(
        f'{HOSTILE}"><img src=x onerror=alert(1)>'
    )


def test_a_narrow_page_does_not_scroll_to_the_side(browser):
    beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for name in ("pantheon", "gage"):
        browser.open(case_page(name), width=400)
        assert browser.js(beyond) == 0
        browser.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert browser.js(beyond) == 0


def test_tables_are_stops_for_the_tab_key_only_where_they_are_to_be_scrolled(browser, aura):
    stops = "return [...document.querySelectorAll('div.table')].filter(t => t.tabIndex === 0 && t.checkVisibility()).map(t => t.querySelector('caption').innerText)"
    browser.open(aura)
    assert browser.js(stops) == []
    browser.open(aura, width=400)
    assert "How the view of a row stands to the view of a column" in browser.js(stops)
    browser.js("document.querySelector('#stage-table').open = true")
    browser.driver.execute_async_script("setTimeout(arguments[0], 50)")
    assert "46 stages" in browser.js(stops)


def test_on_paper_everything_is_open_and_light(browser, aura):
    browser.open(aura, media=[("prefers-color-scheme", "dark")])
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert browser.js("return document.querySelectorAll('main details:not([open]):not(.keys)').length") == 0
    with _print(browser.driver):
        assert browser.js("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
        assert browser.js("return document.querySelector('#panel').getClientRects().length") == 0
        assert browser.js("return document.querySelector('nav').getClientRects().length") == 0
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert browser.js("return document.querySelectorAll('#stage-table[open]').length") == 0
    paper = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(paper) > 100_000


@contextmanager
def _print(driver):
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
