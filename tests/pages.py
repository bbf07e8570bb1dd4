"""Pages of HTML, read for tests: elements, tables and texts, and whether the markup is sound."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from individuation.engine import open_trace
from individuation.report.findings import findings
from individuation.report.page import page

VOID = {"meta", "link"}
TOLD = {
    "h1",
    "h2",
    "h3",
    "h4",
    "p",
    "li",
    "dt",
    "dd",
    "summary",
    "title",
    "pre",
    "script",
    "figcaption",
    "footer",
    "bdi",
}


class Page(HTMLParser):
    """`elements`: (name, attributes, names of those around it); `faults`: what is wrong with the markup."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.html = html
        self.stack, self.elements, self.tables, self.texts, self.faults = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes), [of for of, _ in self.stack]))
        if len(dict(attributes)) < len(attributes):
            self.faults.append(f"<{name}> has an attribute twice")
        if name in VOID:
            return
        self.stack.append((name, []))
        if name == "table":
            self.tables.append({"caption": None, "rows": []})
        elif name == "tr":
            self.tables[-1]["rows"].append([])

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes), [of for of, _ in self.stack]))

    def handle_endtag(self, name):
        if not self.stack or self.stack[-1][0] != name:
            self.faults.append(f"</{name}> where {self.stack[-1][0] if self.stack else 'nothing'} is open")
            return
        text = "".join(self.stack.pop()[1])
        if self.stack:
            self.stack[-1][1].append(text)
        if name == "caption":
            self.tables[-1]["caption"] = text
        elif name in ("td", "th"):
            self.tables[-1]["rows"][-1].append(text)
        if name in TOLD:
            self.texts.append((name, text))

    def handle_data(self, data):
        if self.stack:
            self.stack[-1][1].append(data)

    def table(self, caption):
        """The rows of the table whose caption begins so, without its head."""
        return next(table["rows"][1:] for table in self.tables if table["caption"].startswith(caption))

    def said(self, *names):
        return [text for name, text in self.texts if name in names]

    @property
    def data(self):
        """What the page carries for its script."""
        return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', self.html, re.S)[1])


def found_in(trace, **options):
    return findings(open_trace(trace), **options)


def page_of(trace, **options):
    return Page(page(found_in(trace, **options)))
