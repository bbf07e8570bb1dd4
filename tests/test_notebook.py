"""What a notebook shows of traces, results, explanations and the rest: HTML or SVG that stands by itself."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

import individuation

HOSTILE = '<img src=x onerror="alert(1)">&'


def hostile():
    turns = [
        {"role": "user", "tokens": 3, "model": HOSTILE, "server": HOSTILE},
        {"role": "assistant", "tokens": 5, "region": HOSTILE},
    ]
    return {
        "individuation": 1,
        "title": HOSTILE,
        "models": {HOSTILE: {}},
        "conversations": {HOSTILE: {"turns": turns}},
    }


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def shown(trace):
    """Everything that has a representation, of one trace."""
    yield trace
    yield individuation.individuate(trace, "instance-persona")
    yield individuation.individuate(trace, "forward-pass")
    yield individuation.why(trace, trace.stages().name(0), trace.stages().name(1), "instance-persona")
    yield individuation.sensitivity(trace, "instance-persona")
    yield individuation.compare(trace)
    yield individuation.desiderata(trace)


@pytest.mark.parametrize("world", [hostile(), "examples/qwen3-32b-aura.yaml"], ids=["hostile", "aura"])
def test_everything_shows_itself_and_nothing_is_loaded_or_run(world):
    for value in shown(individuation.open_trace(world)):
        html = value._repr_html_()
        tags = Tags()
        tags.feed(html)
        assert tags.found, type(value)
        assert not {tag for tag, _ in tags.found} & {"script", "img", "link", "iframe", "object"}
        for _, attributes in tags.found:
            assert not any(name.startswith("on") for name in attributes)
            assert not {"src", "href"} & set(attributes)


def test_a_trace_is_shown_as_lanes_with_the_range_of_persona_counts():
    svg = individuation.open_trace("examples/qwen3-32b-aura.yaml")._repr_html_()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "2 minds (2-46)" in "".join(root.itertext())
