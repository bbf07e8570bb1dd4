"""The page: its sections in order, with style, data and script inside, under a policy that lets nothing be loaded."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from individuation import __version__
from individuation.picture.palette import MINDS, colours, on, over
from individuation.picture.svg import css_variables
from individuation.report.basis import basis, case
from individuation.report.certainty import certainty
from individuation.report.compared import compared
from individuation.report.findings import Findings
from individuation.report.lanes import colour_names, figure, toolbar
from individuation.report.markup import (
    NOTHING,
    Html,
    count,
    json_block,
    opening,
    section,
    tag,
    together,
)
from individuation.report.method import method
from individuation.report.reasons import reasons
from individuation.report.stage_facts import stage_data, stage_table
from individuation.report.summary import answer, heading, minds

_HERE = Path(__file__).resolve().parent
_SCRIPTS = ("facts", "elements", "details", "grid", "zoom", "lanes", "page")
"""The parts of the script, in the order in which they stand on one another."""

_CONTENTS = {
    "answer": "How many minds",
    "lanes": "Stage by stage",
    "sure": "How sure",
    "why": "Why",
    "compared": "Compared",
    "basis": "What it rests on",
    "case": "Expected and found",
    "method": "How computed",
}


def page(found: Findings) -> str:
    """The whole page as HTML, the same for the same findings; nothing in it is loaded from anywhere.

    >>> from individuation.engine import open_trace
    >>> from individuation.report.findings import findings
    >>> trace = open_trace({"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": [
    ...     {"role": "user", "model": "m"}]}}})
    >>> page(findings(trace))[:15]
    '<!doctype html>'
    """
    drawn, data = _lanes(found)
    sections = {
        "answer": answer(found),
        "lanes": drawn,
        "sure": certainty(found),
        "why": reasons(found),
        "compared": compared(found),
        "basis": basis(found),
        "case": case(found),
        "method": method(found),
    }
    contents = together(*(_entry(name) for name, of in sections.items() if of))
    body = tag(
        "body",
        tag("a", "Skip to the answer", href="#answer", class_="skip"),
        tag(
            "div",
            tag("nav", tag("ul", contents), aria_label="Contents"),
            tag("button", "Dark", type="button", id="theme", class_="needs-script", aria_pressed="false"),
            class_="top",
        ),
        tag("main", heading(found), *sections.values()),
        tag("footer", tag("p", f"Made by individuate {__version__}. This page loads nothing from anywhere.")),
        data,
    )
    return f"<!doctype html>\n{tag('html', _head(found), body, lang='en')}\n"


def _entry(name: str) -> Html:
    return tag("li", tag("a", _CONTENTS[name], href=f"#{name}"))


def _head(found: Findings) -> Html:
    title = f"{found.title}: how many minds?"
    return tag(
        "head",
        opening("meta", charset="utf-8"),
        opening("meta", http_equiv="Content-Security-Policy", content=policy()),
        opening("meta", name="viewport", content="width=device-width, initial-scale=1"),
        opening("meta", name="color-scheme", content="light dark"),
        opening("meta", name="referrer", content="no-referrer"),
        opening("meta", name="generator", content=f"individuate {__version__}"),
        # Else a browser asks a server for one.
        opening("link", rel="icon", href="data:,"),
        tag("title", title),
        Html(f"<style>\n{style()}</style>"),
    )


def _lanes(found: Findings) -> tuple[Html, Html]:
    """The section of the picture, and the data and script that make it react."""
    title = "The minds, stage by stage"
    if not len(found.stages):
        return section("lanes", title, tag("p", "There are no stages.")), NOTHING
    drawn = figure(found)
    left = len(found.stages) - len(drawn.rows)
    said = [drawn.said] + ([f"Facts of {count(left, 'stage')} are not in this page."] if left else [])
    how = tag(
        "p",
        "Point at a stage for its facts, or come to the picture with the Tab key and move with the arrow keys. Take "
        "two stages, by a click or with Enter, to see under which views they are one mind.",
        class_="needs-script",
    )
    canvas = tag("div", drawn.svg, id="canvas", role="group", aria_label="Lanes: a row a view, a cell a stage")
    empty = tag("p", "No stage is pointed at.", class_="note")
    panel = tag(
        "aside", tag("div", id="pair"), tag("div", empty, id="details"),
        id="panel", class_="needs-script", aria_label="Facts of the stage", aria_live="polite", tabindex=0,
    )  # fmt: skip
    part = section(
        "lanes",
        title,
        how,
        tag(
            "div",
            tag("figure", toolbar(), canvas, tag("figcaption", " ".join(said))),
            panel,
            class_="beside",
        ),
        stage_table(found),
        minds(found),
    )
    data = json_block("data", stage_data(found, drawn.rows))
    return part, together(data, Html(f"<script>{script()}</script>"))


@cache
def script() -> str:
    """The script of the page: its parts in one function, so that they leave nothing behind."""
    parts = (_HERE.joinpath("script", f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


@cache
def policy() -> str:
    """What the page may do: show itself, and run this one script; nothing else, and nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def style() -> str:
    """The style of the page, with the colours of its pictures for a light and a dark ground."""
    light, dark = (css_variables(theme) for theme in ("light", "dark"))
    rules = _HERE.joinpath("report.css").read_text(encoding="utf-8")
    chips = "\n".join(
        f".c{number} {{ background-color: {colour}; color: {colours('light')[on(f'mind-{number}')]}; "
        f"--over: {colours('light')[over(f'mind-{number}')]}; }}"
        for number, colour in enumerate(MINDS)
    )
    short = "\n".join(f"{name}: var(--picture-{role});" for role, name in colour_names().items())
    return "\n".join(
        [rules.replace("/* LIGHT */", light).replace("/* DARK */", dark), f":root {{\n{short}\n}}", chips, ""]
    )
