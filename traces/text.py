"""YAML and JSON text into plain data, strictly: one meaning for every file, and a line number for every place in it.

Mapping keys are always text. YAML is read by its core schema (true/false, numbers, null; no dates, no `no` for false).
Refused: text that is not UTF-8, keys given twice, NaN, tags, aliases that multiply, and lines no person wrote.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from traces.errors import TraceError, quoted
from traces.vocabulary import DEEPEST_NESTING

LONGEST_YAML_LINE = 1_000_000
LARGEST_YAML = 10_000_000
"""Characters in a YAML file. A person writes fewer, and a program does better with JSON, which reads far faster."""
LARGEST_EXPANSION = 100_000
LARGEST_FLOW_MAPPING = 1_000_000

Place = tuple[str | int, ...]

_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp", "merge", "value")
)
_INT = re.compile(r"[-+]?[0-9]+\Z|0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NOT_A_NUMBER = re.compile(r"\.(nan|NaN|NAN)\Z")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)\Z")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass
class Source:
    """Plain data from a file, with the line (from 1) on which each place of it begins where the file is YAML."""

    name: str
    data: Any
    lines: dict[Place, int] = field(default_factory=dict)
    has_nan: bool = False
    """Whether JSON text held a bare NaN or Infinity, which only some recordings may."""

    def line(self, place: Place) -> int | None:
        """The line of a place, or of the nearest place around it."""
        while place:
            if place in self.lines:
                return self.lines[place]
            place = place[:-1]
        return None


def parse(name: str, content: bytes, nan: bool = False) -> Source:
    """Read YAML or JSON text. `nan`: let a bare NaN in JSON pass, and note it in the source.

    Raises `TraceError` that names the file, the line, what was found and what was expected.

    >>> parse("x.yaml", b"a: 1\\nb: [no, 2026-01-01]").data
    {'a': 1, 'b': ['no', '2026-01-01']}
    """
    text = _decoded(name, content)
    if text.lstrip()[:1] in ("{", "["):
        return _json(name, text, nan)
    return _yaml(name, text)


def _decoded(name: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TraceError(
            f"{name}, line {line}", f"byte {error.start:,} (0x{content[error.start]:02x}) is not UTF-8", "text in UTF-8"
        ) from None
    if "\0" in text:
        raise TraceError(name, "it holds zero bytes", "a text file: YAML or JSON")
    return text


def _not_text(name: str, problem: str, line: int | None) -> TraceError:
    where = name if line is None else f"{name}, line {line}"
    return TraceError(where, problem, "a trace file in YAML or JSON, or a trace.db")


# --- JSON


def _json(name: str, text: str, nan: bool) -> Source:
    source = Source(name, None)

    def not_finite(literal: str) -> float:
        if not nan:
            raise TraceError(name, f"it holds {literal}", "finite numbers, or null where nothing was recorded")
        source.has_nan = True
        return float(literal.replace("Infinity", "inf"))

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise TraceError(name, f"the key {quoted(key)} is given twice in one mapping", "each key once")
                seen.add(key)
        return mapping

    try:
        source.data = json.loads(text, object_pairs_hook=once, parse_constant=not_finite)
        if _SURROGATE.search(text):
            json.dumps(source.data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        if text.lstrip()[:1] == "{" and len(text) <= LARGEST_FLOW_MAPPING:
            # A YAML flow mapping also begins with a brace.
            try:
                return _yaml(name, text)
            except TraceError:
                pass
        raise _not_text(name, f"it is not JSON: {error.msg} (column {error.colno})", error.lineno) from None
    except UnicodeEncodeError:
        raise TraceError(name, "it holds half of a surrogate pair", "text in Unicode") from None
    except ValueError:
        raise TraceError(name, "it holds a number of thousands of digits", "numbers of at most 30 digits") from None
    except RecursionError:
        raise TraceError(name, "it is nested too deeply", f"at most {DEEPEST_NESTING} levels") from None
    return source


# --- YAML


def _yaml(name: str, text: str) -> Source:
    import yaml

    start = 0
    number = 1
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end - start > LONGEST_YAML_LINE:
            raise TraceError(
                f"{name}, line {number}",
                f"the line has {end - start:,} characters",
                f"YAML lines of at most {LONGEST_YAML_LINE:,} characters; JSON or trace.db for long recordings",
            )
        start, number = end + 1, number + 1
    if len(text) > LARGEST_YAML:
        raise TraceError(
            name,
            f"it is YAML of {len(text):,} characters",
            f"at most {LARGEST_YAML:,}; JSON or trace.db for long recordings",
        )

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_depth(name, text, loader, yaml)
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _not_text(
            name, f"it is not YAML: {error.problem or error.context}", mark.line + 1 if mark else None
        ) from None
    except yaml.YAMLError as error:
        raise _not_text(name, f"it is not YAML: {str(error).splitlines()[0]}", None) from None
    except RecursionError:
        raise TraceError(name, "it is nested too deeply", f"at most {DEEPEST_NESTING} levels") from None
    if root is None:
        raise _not_text(name, "it is empty", None)
    _refuse_bombs(name, root, yaml)
    source = Source(name, None)
    source.data = _construct(source, root, (), yaml)
    return source


def _refuse_depth(name: str, text: str, loader: Any, yaml: Any) -> None:
    """Before anything is composed: composing recurses in C, and a file that is deep enough would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST_NESTING:
                raise _too_deep(f"{name}, line {event.start_mark.line + 1}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(where: str) -> TraceError:
    return TraceError(where, "it is nested too deeply", f"at most {DEEPEST_NESTING} levels")


def _refuse_bombs(name: str, root: Any, yaml: Any) -> None:
    """Count what the aliases expand to, each node once, before anything is built from them."""
    sizes: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()
    written = 1

    def size(node: Any) -> tuple[int, int]:
        """How many values a collection holds, and how deep it is."""
        nonlocal written
        key = id(node)
        if key in sizes:
            return sizes[key]
        if key in open_nodes:
            raise TraceError(
                f"{name}, line {node.start_mark.line + 1}", "an alias refers to itself", "data without cycles"
            )
        total, depth = 1, 0
        if not isinstance(node, yaml.ScalarNode):
            open_nodes.add(key)
            children = node.value
            if isinstance(node, yaml.MappingNode):
                children = [part for pair in children for part in pair]
            written += len(children)
            for child in children:
                of_child, below = (1, 0) if isinstance(child, yaml.ScalarNode) else size(child)
                total, depth = total + of_child, max(depth, below + 1)
            open_nodes.discard(key)
        if depth > DEEPEST_NESTING:
            raise _too_deep(f"{name}, line {node.start_mark.line + 1}")
        sizes[key] = total, depth
        return total, depth

    expanded, _ = size(root)
    if expanded > LARGEST_EXPANSION and expanded > 10 * written:
        raise TraceError(
            name,
            f"its aliases expand to {expanded:,} values",
            f"at most {LARGEST_EXPANSION:,}, or ten times those written",
        )


def _construct(source: Source, node: Any, place: Place, yaml: Any) -> Any:
    line = node.start_mark.line + 1
    source.lines[place] = line
    if node.tag not in _PLAIN_TAGS:
        raise TraceError(f"{source.name}, line {line}", f"the tag {quoted(node.tag)}", "plain YAML without tags")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise TraceError(f"{source.name}, line {key_line}", "a key is not a name", "keys that are plain text")
            key = key_node.value
            if key in mapping:
                raise TraceError(
                    f"{source.name}, line {key_line}",
                    f"{_described(place)} {quoted(key)} twice",
                    "each name once",
                )
            mapping[key] = _construct(source, value_node, (*place, key), yaml)
            source.lines[(*place, key)] = key_line
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(source, child, (*place, index), yaml) for index, child in enumerate(node.value)]
    return _scalar(source, node, line)


def _described(place: Place) -> str:
    return f"{'.'.join(map(str, place))} has" if place else "the file has"


def _scalar(source: Source, node: Any, line: int) -> Any:
    text: str = node.value
    if node.style is not None and node.style != "":
        return text
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.match(text):
        if len(text) > 30:
            raise TraceError(
                f"{source.name}, line {line}", f"the number {quoted(text)}", "a number of at most 30 digits"
            )
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.match(text):
        value = float(text)
        if math.isfinite(value):
            return value
    infinite = _INFINITE.match(text)
    if infinite:
        return -math.inf if infinite.group(1) == "-" else math.inf
    if _NOT_A_NUMBER.match(text):
        return math.nan
    return text
