"""Parsed text into a validated trace document, or an error that says where, what was found and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from traces import vocabulary
from traces.errors import TraceError, one_of, quoted, suggestion
from traces.text import Place, Source
from traces.vocabulary import CACHES, DERIVATIONS, FORMAT_VERSION, ROLES

Document = TypeVar("Document", bound=BaseModel)

_EXPECTED = {
    "tokens": "a whole number >= 1, or null where the record does not say",
    "at": "a whole number >= 0",
    "drift": "a number >= 0",
    "drift_kl": "a number >= 0",
    "drift_mean": "a number >= 0",
    "kl": "a number >= 0, in nats",
    "mass": "a number from 0 to 1",
    "mass_by_layer": "a list with a number from 0 to 1 for each layer",
    "start": "a whole number >= 0",
    "connections": "a mapping from earlier stages to what was measured, such as {c1/0: {mass: 0.2}}",
    "spans": "a list of spans",
    "role": one_of(ROLES),
    "cache": one_of(CACHES),
    "how": one_of(DERIVATIONS),
    "edited": "true or false",
    "discrete": "true, false, or null where it was not tested",
    "turns": "a list of turns",
    "conversations": "a mapping from names to conversations",
    "models": "a mapping from names to models",
    "servers": "a list of names",
    "region_probabilities": "a mapping from regions to probabilities, such as {aura: 0.7, assistant: 0.2}",
    "believes": 'a list of propositions such as ["p", "not q"]',
}
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text (in quotes if it looks like a number)",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def validated(source: Source, kind: type[Document]) -> Document:
    """Parsed data as a document of the given kind, or a `TraceError` that says where it is not one."""
    data = source.data
    if not isinstance(data, Mapping):
        raise TraceError(source.name, f"it holds {quoted(data)}", "a mapping that begins with `individuation: 1`")
    version = data.get("individuation")
    if version != FORMAT_VERSION or isinstance(version, bool):
        found = (
            "it has no `individuation:` line"
            if "individuation" not in data
            else f"its format version is {quoted(version)}"
        )
        newer = isinstance(version, int) and version > FORMAT_VERSION
        raise TraceError(
            _at_line(source, ("individuation",)),
            found,
            f"`individuation: {FORMAT_VERSION}`" + ("; a newer version of this program may read it" if newer else ""),
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _as_trace_error(source, kind, error) from None


def _as_trace_error(source: Source, kind: type[BaseModel], error: ValidationError) -> TraceError:
    problems = error.errors(include_url=False)
    first = problems[0]
    loc: Place = tuple(part for part in first["loc"] if part != "[key]")
    where = place_of(source, loc)
    leaf = str(loc[-1]) if loc else ""
    shown = _shown(loc)
    value = first["input"]
    match first["type"]:
        case "trace":
            context = first["ctx"]
            return TraceError(where, str(context["found"]), str(context["expected"]))
        case "extra_forbidden":
            known = _fields_at(kind, loc[:-1])
            return TraceError(
                where, f"there is no field {quoted(leaf)}{suggestion(leaf, known)}", one_of(known, "field")
            )
        case "missing":
            return TraceError(where, f"{shown} is missing", _EXPECTED.get(leaf, f"a value for {shown}"))
        case kind_of_error:
            expected = _TYPES.get(kind_of_error, first["msg"][:1].lower() + first["msg"][1:])
            if "turns" in loc and loc[-2] == "region_probabilities":
                return TraceError(where, f"{shown} is {quoted(value)}", "a probability: a number from 0 to 1")
            most = {**first.get("ctx", {})}.get("le")
            if most is not None:
                return TraceError(where, f"{shown} is {quoted(value)}", f"a whole number of at most {most:,}")
            if kind_of_error == "literal_error":
                expected = _EXPECTED.get(leaf, expected)
                known = expected.removeprefix("one of ").split(", ")
                return TraceError(
                    where,
                    f"{shown} is {quoted(value)}{suggestion(value, known) if isinstance(value, str) else ''}",
                    expected,
                )
            in_turn = "turns" in loc
            if "changes" in loc and leaf == "at":
                expected = "a token of the turn, from 1 on"
            elif in_turn and leaf == "at":
                expected = "a mapping from axes to numbers, such as {assistant: 33.5}"
            elif in_turn and loc[-2] == "at":
                expected = "a finite number"
            else:
                expected = _EXPECTED.get(leaf, expected)
            return TraceError(where, f"{shown} is {quoted(value)}", expected)


def _shown(loc: Place) -> str:
    """The last part of a place as a message names it."""
    match loc:
        case (*_, "turns", int()):
            return "the turn"
        case (*_, str(field), int(number)):
            return f"{field}[{number}]"
        case (*_, "at" | "region_probabilities" as field, str(name)):
            return f"{field}.{name}"
        case (*_, last):
            return str(last)
        case _:
            return "the file"


def _fields_at(kind: type[BaseModel], loc: Place) -> list[str]:
    """The field names of the record at a place."""
    if "labellings" in loc and "turns" in loc:
        return list((vocabulary.Change if "changes" in loc else vocabulary.LabelledTurn).model_fields)
    for part in loc:
        kind = _RECORDS.get(str(part), kind)
    return [field.alias or name for name, field in kind.model_fields.items()]


def place_of(source: Source, loc: Place) -> str:
    """A place of a trace file in words, with its line where the file is YAML."""
    match loc:
        case ("conversations", conversation, "turns", int(turn), *_):
            described = f"{source.name}: conversation {conversation}, turn {turn}"
        case ("conversations", conversation, *_):
            described = f"{source.name}: conversation {conversation}"
        case ("spaces", space, "regions", region, *_):
            described = f"{source.name}: space {space}, region {region}"
        case ("labellings", labelling, "turns", turn, *_):
            described = f"{source.name}: labelling {labelling}, turn {turn}"
        case ("labellings", labelling, *_):
            described = f"{source.name}: labelling {labelling}"
        case (str(kind), str(name), *_) if kind in ("models", "servers", "spaces", "probes", "interventions", "caches"):
            described = f"{source.name}: {kind.removesuffix('s')} {name}"
        case _:
            described = source.name
    line = source.line(loc)
    if line is None or (line == 1 and not loc):
        return described
    return f"{described}, line {line}" if described == source.name else f"{described} (line {line})"


def _at_line(source: Source, loc: Place) -> str:
    line = source.lines.get(loc)
    return source.name if line is None else f"{source.name}, line {line}"


_RECORDS: dict[str, type[BaseModel]] = {
    "models": vocabulary.Model,
    "servers": vocabulary.Server,
    "spaces": vocabulary.Space,
    "probes": vocabulary.Probe,
    "interventions": vocabulary.Intervention,
    "caches": vocabulary.KVCache,
    "conversations": vocabulary.Conversation,
    "turns": vocabulary.Turn,
    "labellings": vocabulary.Labelling,
    "spans": vocabulary.CacheSpan,
    "connections": vocabulary.Connection,
    "at_tokens": vocabulary.TokenCoordinates,
}
