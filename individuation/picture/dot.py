"""Graphs laid out and painted by Graphviz's program `dot`."""

from __future__ import annotations

import re

import graphviz

from traces.errors import TraceError


def rendered(graph: graphviz.Digraph, form: str) -> bytes:
    """The graph as "svg", "png" or "pdf", laid out by the program `dot`.

    Raises `TraceError` where `dot` is not installed or fails.
    """
    if form == "png":
        graph = graph.copy()
        graph.attr(dpi="192")
    try:
        painted: bytes = graph.pipe(format=form, quiet=True)
    except graphviz.ExecutableNotFound:
        raise TraceError(
            "--graph", "the program `dot` is not installed", "Graphviz (apt install graphviz, brew install graphviz)"
        ) from None
    except graphviz.CalledProcessError as error:
        said = (error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        raise TraceError(
            "--graph", f"dot failed: {said[0] if said else error}", "a graph that dot can lay out"
        ) from None
    if form == "svg":
        return _bare_svg(painted)
    return _undated(painted) if form == "pdf" else painted


def _bare_svg(painted: bytes) -> bytes:
    """Without what refers to other places, and said to be one image."""
    text = painted.decode("utf-8")
    return ('<svg role="img"' + text[text.index("<svg") + 4 :]).encode()


def _undated(painted: bytes) -> bytes:
    """A PDF without the time at which it was made, in as many bytes."""
    return re.sub(
        rb"(/CreationDate \(D:)[^)]*", lambda found: found[1] + b"0" * (len(found[0]) - len(found[1])), painted
    )
