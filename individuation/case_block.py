"""The `case:` block of a trace file (docs/cases.md): what each view is expected to find, and whose claim that is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from individuation.criteria import find_view
from rules.view import View
from traces.errors import TraceError, UnknownNameError, one_of, quoted, suggestion
from traces.text import Place, Source
from traces.vocabulary import Line, Name

NO_SECTION = "-"
"""Where a case stands that the paper does not have."""

Mark = Literal["P", "i", "open"]
MARKS: Mapping[str, str] = {
    "P": "the paper says so",
    "i": "follows from its definitions",
    "open": "the paper leaves it open",
}
"""Whose claim an expected count is. Without a mark it is nobody's: what the view gives, for the record."""

_Items = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
_Sizes = BeforeValidator(
    lambda value: (value,) if type(value) is int else tuple(value) if isinstance(value, list) else value
)
Prose = Annotated[Line, BeforeValidator(lambda text: " ".join(text.split()) if isinstance(text, str) else text)]
"""Text that a file may break into lines as it likes."""
Number = Annotated[int, Field(ge=0, le=10**15)]


class _Word(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Expectation(_Word):
    """What one view, on given readings (those left out at their defaults), is expected to find.

    `count` is of minds; with `region`, of those minds only that are in it at some stage. `stages` lists how many stages
    each of these minds has, in order of first appearance; `contradictions` the propositions on which they contradict
    themselves, mind by mind; `unassigned` is how many stages belong to no mind, `caveat` whether the result comes with
    any caveat. `section` is where the paper says so; every expectation of a `Case` marked P has one.
    """

    view: Name
    readings: dict[Name, Any] = Field(default_factory=dict)
    count: Number
    mark: Mark | None = None
    section: Line | None = None
    region: Name | None = None
    caveat: bool | None = None
    stages: Annotated[tuple[Number, ...], _Sizes] | None = None
    unassigned: Number | None = None
    contradictions: Annotated[tuple[Line, ...], _Items] | None = None

    @property
    def readings_text(self) -> str:
        """The readings chosen, as `--reading` takes them.

        >>> Expectation(view="virtual-instance", readings={"reconstruction": "new"}, count=3).readings_text
        'reconstruction=new'
        """
        return " ".join(f"{name}={'inf' if value is None else value}" for name, value in self.readings.items())

    def to_dict(self) -> dict[str, Any]:
        """What the case says, as JSON has it; what it does not say is left out."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Block(_Word):
    """The `case:` block as its author wrote it."""

    section: Line = NO_SECTION
    statement: Prose
    open: bool = False
    expected: Annotated[tuple[Expectation, ...], _Items]
    note: Prose | None = None


def view_of(name: str, folder: Path) -> View:
    """The view that a case in a folder calls by that name; a view file (.toml) is looked for from there.

    Raises `TraceError` where there is none.

    >>> view_of("thread", Path()).source
    '§1.2 (Chalmers)'
    """
    if not name.endswith(".toml") and "/" not in name and os.sep not in name:
        return find_view(name)
    if not (folder / name).is_file():
        raise TraceError(str(folder / name), "there is no such file", "a view file, named from the folder of the case")
    return find_view(str(folder / name))


def block_of(source: Source, regions: list[str]) -> Block:
    """The `case:` block of a parsed trace file (`source.name` is its path), whose regions are named so.

    Every expectation marked P names its section: its own, else that of the case. Raises `TraceError` that says where
    the block is malformed, names a view, reading or region that does not exist, or expects the same twice.

    >>> entry = {"view": "thread", "count": 1, "mark": "P"}
    >>> case = {"section": "1.2", "statement": "One talk.", "expected": [entry]}
    >>> block_of(Source("one.yaml", {"case": case}), []).expected[0].section
    '1.2'
    """
    block = _validated(source)
    seen: set[tuple[str, str, str | None]] = set()
    checked = []
    for number, expectation in enumerate(block.expected):
        key = _readings_of(source, number, expectation)
        if key in seen:
            raise TraceError(
                _where(source, ("expected", number)),
                f"{expectation.view} is expected a second time on the same readings",
                "each view with the same readings and region once",
            )
        seen.add(key)
        checked.append(_checked(source, number, expectation, block.section, regions))
    if not checked:
        raise TraceError(_where(source, ("expected",)), "expected is empty", _EXPECTED["expected"])
    return block.model_copy(update={"expected": tuple(checked)})


def _readings_of(source: Source, number: int, expectation: Expectation) -> tuple[str, str, str | None]:
    """What tells an expectation from others: view, all readings, region. Refuses views and readings that are not."""
    place: Place = ("expected", number)
    try:
        view = view_of(expectation.view, Path(source.name).parent)
    except TraceError as error:
        of_file = "" if error.where == "views" else f", {error.where}"
        raise TraceError(f"{_where(source, (*place, 'view'))}{of_file}", error.found, error.expected) from None
    try:
        readings = view.complete(expectation.readings)
    except TraceError as error:
        where = f"{_where(source, (*place, 'readings'))}, {error.where}"
        raise TraceError(where, error.found, error.expected) from None
    return view.name, str(readings), expectation.region


def _checked(source: Source, number: int, expectation: Expectation, section: str, regions: list[str]) -> Expectation:
    place: Place = ("expected", number)
    if expectation.region is not None and expectation.region not in regions:
        # Else a slip of the pen would be counted, and found to be 0.
        raise UnknownNameError(_where(source, (*place, "region")), "region", expectation.region, regions)
    if expectation.stages is not None and len(expectation.stages) != expectation.count:
        raise TraceError(
            _where(source, (*place, "stages")),
            f"stages has {len(expectation.stages)} of them, but count is {expectation.count}",
            "how many stages each mind has, in order of first appearance",
        )
    if expectation.mark != "P":
        return expectation
    said = expectation.section or section
    if said == NO_SECTION:
        raise TraceError(
            _where(source, (*place, "mark")),
            "mark is P, but no section is named",
            'where the paper says so, as `section: "4.3"` here or of the whole case',
        )
    return expectation.model_copy(update={"section": said})


# --- what is wrong with a block

_EXPECTED = {
    "case": "a mapping with `statement` and `expected`",
    "statement": "one sentence that says what the case is about",
    "section": 'where in the paper, as text in quotes: "4.3"; or "-"',
    "open": "true if the paper leaves it open, else false",
    "expected": "a list with an entry for each count, such as {view: thread, count: 1}",
    "view": "the name of a view (see `individuate views`)",
    "readings": "a mapping such as {reconstruction: new}",
    "count": "how many minds: a whole number >= 0",
    "mark": one_of(get_args(Mark)),
    "region": "the name of a region",
    "caveat": "true or false",
    "stages": "how many stages each mind has: a whole number, or a list of them",
    "unassigned": "a whole number >= 0",
    "contradictions": 'a list of propositions such as ["p"]',
    "note": "text",
}
_ENTRY = "an entry such as {view: thread, count: 1}"


def _validated(source: Source) -> Block:
    try:
        return Block.model_validate(source.data["case"])
    except ValidationError as error:
        problems = error.errors(include_url=False)
    # A field that is misspelt is also missing; its misspelling says more.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    loc: Place = tuple(part for part in first["loc"] if part != "[key]")
    where, leaf, value = _where(source, loc), _leaf(loc), first["input"]
    match first["type"]:
        case "trace":
            raise TraceError(where, str(first["ctx"]["found"]), str(first["ctx"]["expected"]))
        case "extra_forbidden":
            known = list((Expectation if len(loc) > 1 else Block).model_fields)
            raise TraceError(where, f"there is no field {quoted(leaf)}{suggestion(leaf, known)}", one_of(known))
        case kind:
            named = next((part for part in reversed(loc) if isinstance(part, str)), "case")
            expected = _ENTRY if leaf.startswith("expected[") else _EXPECTED.get(named, "text")
            found = f"{leaf} is missing" if kind == "missing" else f"{leaf} is {quoted(value)}"
            raise TraceError(where, found, expected)


def _leaf(loc: Place) -> str:
    match loc:
        case (*_, str(name), int(number)):
            return f"{name}[{number}]"
        case (*_, last):
            return str(last)
        case _:
            return "case"


def _where(source: Source, loc: Place) -> str:
    """A place in the `case:` block, with its line where the file is YAML."""
    part = f", {_leaf(loc[:2])}" if loc[:1] == ("expected",) and len(loc) > 1 else ""
    line = source.line(("case", *loc))
    return f"{source.name}: case{part}" + ("" if line is None else f" (line {line})")
