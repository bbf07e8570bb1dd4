"""Small pieces of HTML for notebooks: tables and prose. Everything is escaped; nothing is loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def preformatted(text: str) -> str:
    """Text in lines that line up.

    >>> preformatted("a < b")
    '<pre style="white-space: pre-wrap">a &lt; b</pre>'
    """
    return f'<pre style="white-space: pre-wrap">{escape(text)}</pre>'


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()) -> str:
    """A table with a caption, and notes as a list below it.

    >>> table("minds", ["view", "count"], [("thread", 1)])[:38]
    '<div class="individuation"><table><cap'
    """
    head = "".join(f'<th scope="col" style="text-align: left">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align: left">{escape(str(cell))}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<div class="individuation"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>{f'<ul>{listed}</ul>' if listed else ''}</div>"
    )
