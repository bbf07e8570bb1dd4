"""Trace files: YAML or JSON in, facts out, and back (docs/trace-format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traces.document import validated
from traces.errors import TraceError
from traces.facts import Facts
from traces.new_file import new_file
from traces.rendering import document_data
from traces.resolution import facts_from
from traces.text import LARGEST_YAML, parse
from traces.vocabulary import Space, SpaceFile

SUFFIXES = (".yaml", ".yml", ".json")


def read_bytes(path: Path) -> bytes:
    """The content of a file, or a `TraceError` that says why there is none."""
    if path.is_dir():
        raise TraceError(str(path), "it is a directory", "a trace.db or a trace file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TraceError(str(path), "there is no such file", "a trace.db or a trace file (YAML or JSON)") from None
    except OSError as error:
        raise TraceError(str(path), f"it cannot be read: {error.strerror}", "a file that you may read") from None


def facts_from_data(data: Mapping[str, Any], name: str = "trace") -> Facts:
    """Facts from plain data in the shape of a trace file. Raises `TraceError`.

    >>> data = {"individuation": 1, "models": {"m": {}}, "conversations": {"c": {"turns": []}}}
    >>> facts_from_data(data).conversations.names
    ['c']
    """
    # Through text, so that data from Python means just what the same file would.
    try:
        text = json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise TraceError(
            name, f"it holds a value that no trace file can: {error}", "mappings, lists, text, numbers"
        ) from None
    return facts_from(parse(name, text.encode(), nan=True))


def read_spaces(path: Path) -> dict[str, Space]:
    """The persona spaces of a space file (or of any trace file's `spaces:` block). Raises `TraceError`."""
    source = parse(path.name, read_bytes(path))
    if isinstance(source.data, Mapping):
        source.data = {key: value for key, value in source.data.items() if key in ("individuation", "spaces")}
    spaces = validated(source, SpaceFile).spaces
    if not spaces:
        raise TraceError(path.name, "it defines no space", "at least one space under `spaces:`")
    return spaces


def dumps(facts: Facts, suffix: str = ".yaml", comment: str = "") -> str:
    """A trace as the text of a trace file; `suffix` picks YAML or JSON."""
    data = document_data(facts)
    if suffix == ".json":
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    text = comment + _yaml_text(data)
    if len(text) > LARGEST_YAML:
        raise TraceError(
            facts.name,
            f"as YAML it has {len(text):,} characters",
            f"at most {LARGEST_YAML:,}; JSON for long recordings",
        )
    return text


def write(facts: Facts, path: Path) -> None:
    """Write a new trace file, whole or not at all. Raises `TraceError` where it cannot be, or one is there already."""
    with new_file(path) as temporary, temporary.open("x", encoding="utf-8") as file:
        file.write(dumps(facts, path.suffix))


def _yaml_text(data: Mapping[str, Any]) -> str:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Turns on one line each, long text in blocks, and no surprises for a reader of the core schema."""

    def ignore_aliases(self: Dumper, value: Any) -> bool:
        return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        # PyYAML quotes by the rules of YAML 1.1; what other readers take for a date or a truth value is quoted as well.
        tag = dumper.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
        plain = tag == "tag:yaml.org,2002:str" and not _looks_typed(value)
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')

    Dumper.ignore_aliases = ignore_aliases
    Dumper.add_representer(str, text)
    Dumper.add_representer(
        _OneLine, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)
    )
    shown = dict(data)
    shown["conversations"] = {
        name: {**conversation, "turns": [_OneLine(turn) for turn in conversation["turns"]]}
        for name, conversation in data["conversations"].items()
    }
    shown["models"] = {name: _OneLine(model) for name, model in data["models"].items()}
    return yaml.dump(shown, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


class _OneLine(dict[str, Any]):
    """A mapping that YAML shows in flow style."""


def _looks_typed(text: str) -> bool:
    """Whether the strict reader would take plain text for something else than text."""
    try:
        return bool(parse("", f"- {text}\n".encode()).data != [text])
    except TraceError:
        return True
