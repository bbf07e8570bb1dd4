"""Markup that cannot be forgotten to be escaped: text is escaped where it enters a tag, unless it is markup already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from individuation.picture.lettering import plain
from individuation.picture.palette import MINDS, mind_hatch

Content = str | int | None


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


NOTHING = Html("")


def markup(content: Content) -> Html:
    """Content as markup: text escaped and on one line, without controls; markup as it is; None as nothing.

    >>> markup("a < b\\u202e"), markup(Html("<br>")), markup(None)
    ('a &lt; b ', '<br>', '')
    """
    if isinstance(content, Html):
        return content
    return NOTHING if content is None else Html(escape(plain(str(content))))


def tag(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Html:
    """An element. Attributes that are None or False are left out; `class_` is `class`, `data_at` is `data-at`.

    >>> tag("p", "1 < 2", Html("<br>"), class_="a", id=None)
    '<p class="a">1 &lt; 2<br></p>'
    """
    return Html(f"{opening(name, **attributes)}{together(*content)}</{name}>")


def opening(name: str, /, **attributes: str | int | bool | None) -> Html:
    """The opening tag of an element, or a whole element that holds nothing.

    >>> opening("meta", charset="utf-8")
    '<meta charset="utf-8">'
    """
    said = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        said.append(f" {written}" if value is True else f' {written}="{escape(plain(str(value)))}"')
    return Html(f"<{name}{''.join(said)}>")


def together(*content: Content) -> Html:
    """Several contents one after the other."""
    return Html("".join(map(markup, content)))


def joined(separator: str, content: Iterable[Content]) -> Html:
    """Contents with a separator between them.

    >>> joined(" & ", ["a", Html("<b>")])
    'a &amp; <b>'
    """
    return Html(markup(separator).join(map(markup, content)))


def named(name: str) -> Html:
    """A name from a trace, set apart so that the direction of its script cannot turn round what stands beside it."""
    return tag("bdi", name)


def lines(text: str, class_: str) -> Html:
    """Text whose lines stay as they are.

    >>> lines("a\\n  b", "prose")
    '<pre class="prose">a\\n  b</pre>'
    """
    # The first line break after <pre> is dropped when a page is read.
    kept = "\n".join(map(markup, text.expandtabs(4).split("\n")))
    return Html(f"{opening('pre', class_=class_)}{'' if not kept.startswith(chr(10)) else chr(10)}{kept}</pre>")


def chip(mind: int) -> Html:
    """The number of a mind (from 0) in its colour, as in the picture of lanes.

    >>> chip(0), chip(8)
    ('<b class="chip c0">1</b>', '<b class="chip c1 h1">9</b>')
    """
    hatch = mind_hatch(mind)
    pattern = f" h{(hatch - 1) % 5 + 1}" if hatch else ""
    return tag("b", f"{mind + 1:,}", class_=f"chip c{mind % len(MINDS)}{pattern}")


def table(
    caption: Content, columns: Sequence[Content], rows: Iterable[Sequence[Content]], class_: str = "", heads: int = 1
) -> Html:
    """A table that can be scrolled to the side where it does not fit; the first `heads` cells of a row are its heads.

    >>> table("minds", ["view", "count"], [["thread", 1]]).count("scope=")
    3
    """
    head = together(*(tag("th", column, scope="col") for column in columns))
    body = together(
        *(
            tag(
                "tr",
                *(tag("th", cell, scope="row") for cell in row[:heads]),
                *(tag("td", cell) for cell in row[heads:]),
            )
            for row in rows
        )
    )
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    # What scrolls must be reachable by keyboard.
    return tag("div", whole, class_=f"table {class_}".strip(), tabindex=0, role="group", aria_label=_said(caption))


def _said(content: Content) -> str | None:
    return None if isinstance(content, Html) or content is None else str(content)


def bullets(items: Iterable[Content]) -> Html:
    """A list, or nothing for no items."""
    listed = together(*(tag("li", item) for item in items))
    return tag("ul", listed) if listed else NOTHING


def section(name: str, title: str, *content: Content) -> Html:
    """A section with its heading, by which it is known to those who do not see it."""
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def json_block(name: str, data: object) -> Html:
    """Data for the script. No text in it can end the block or be taken for markup.

    >>> json_block("d", {"a": "</script>"})
    '<script type="application/json" id="d">{"a":"\\\\u003c/script\\\\u003e"}</script>'
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Half a surrogate pair has no place in UTF-8.
    text = text.encode("utf-8", "replace").decode()
    return Html(f"{opening('script', type='application/json', id=name)}{text}</script>")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "stage"), count(1200, "entry", "entries")
    ('1 stage', '1,200 entries')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def some(names: Sequence[str], most: int, total: int | None = None) -> Html:
    """The first few names, each set apart, and how many more there are.

    >>> some(["a", "b", "c"], 2)
    '<bdi>a</bdi> · <bdi>b</bdi> · and 1 more'
    """
    total = len(names) if total is None else total
    shown = [named(name) for name in names[:most]]
    return joined(" · ", [*shown, f"and {total - len(shown):,} more"] if total > len(shown) else shown)
