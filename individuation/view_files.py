"""Views of one's own: a criterion as a small TOML file. Data, never code.

The fields are described in docs/own-views.md; `rules.declaration` says what they mean.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from rules.declaration import ATTRIBUTES, CARRIERS, Attribute, Declaration
from rules.declared import declared
from rules.readings import ALL, Value
from rules.registry import VIEWS
from rules.view import View
from traces.document import validated
from traces.errors import TraceError, UnknownNameError, one_of, quoted
from traces.file import read_bytes
from traces.text import Source
from traces.vocabulary import FORMAT_VERSION, Line, Name, Names

SUFFIX = ".toml"
_LARGEST = 100_000
_FIELDS = ("stage", *ATTRIBUTES)


def _template(text: str) -> str:
    unknown = [name for name in re.findall(r"\{([^{}]*)\}", text) if name not in _FIELDS]
    if unknown:
        raise UnknownNameError(f"template {quoted(text)}", "field", unknown[0], [f"{{{name}}}" for name in _FIELDS])
    return text


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _answer(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PydanticCustomError(
            "trace", "{found}|{expected}", {"found": f"it is {quoted(value)}", "expected": "a text or a number"}
        )
    return value


Template = Annotated[Line, Field(min_length=1, max_length=200), AfterValidator(_template)]


class Links(BaseModel):
    """Which links a view goes by."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    follow: Literal["own", "previous"]
    carry: Names
    agree: Names = ()


class ViewFile(BaseModel):
    """One view file as its author wrote it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    individuation: int
    name: Annotated[Name, Field(max_length=60)]
    definition: Annotated[Line, Field(min_length=1, max_length=500)]
    source: Annotated[Line, Field(min_length=1, max_length=300)]
    label: Template
    key: Template = "{stage}"
    about: str = ""
    links: Links | None = None
    pool: Names = ()
    known: Names = ()
    uninstantiated: bool = False
    open: Names = ()
    fixed: dict[str, Annotated[Any, BeforeValidator(_answer)]] = Field(default_factory=dict)


def read_view(path: Path) -> View:
    """The view that a TOML file declares. Raises `TraceError` that names the file and the field.

    >>> import tempfile
    >>> text = '''
    ... individuation = 1
    ... name = "account"
    ... definition = "on behalf of the same principal"
    ... source = "an example"
    ... label = "agent of {principal}"
    ... key = "{principal}"
    ... pool = ["principal"]
    ... known = ["principal"]
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "account.toml"
    ...     _ = file.write_text(text)
    ...     read_view(file).declaration.pool
    ('principal',)
    """
    return view_of(_parsed(path))


def view_of(source: Source) -> View:
    """The view that parsed data declares."""
    try:
        return _declared(source.name, validated(source, ViewFile))
    except TraceError as error:
        if error.where.startswith(source.name):
            raise
        raise TraceError(f"{source.name}: {error.where}", error.found, error.expected) from None


def _parsed(path: Path) -> Source:
    if not path.exists():
        raise TraceError(str(path), "there is no such file", "a view file (docs/own-views.md), or a view by name")
    content = read_bytes(path)
    if len(content) > _LARGEST:
        raise TraceError(str(path), f"it has {len(content):,} bytes", f"a view file of at most {_LARGEST:,} bytes")
    try:
        data = tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise TraceError(str(path), f"byte {error.start:,} is not UTF-8", "text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise TraceError(str(path), f"it is not TOML: {str(error)[:1].lower()}{str(error)[1:]}", "TOML") from None
    except RecursionError:
        raise TraceError(str(path), "it is nested too deeply", "a view file (docs/own-views.md)") from None
    if not data:
        raise TraceError(str(path), "it is empty", f"a view file that begins with `individuation = {FORMAT_VERSION}`")
    return Source(str(path), data)


def _declared(where: str, file: ViewFile) -> View:
    if file.name in VIEWS:
        raise TraceError(f"{where}: name", f"{quoted(file.name)} is the name of a built-in view", "another name")
    links = file.links
    readings = {reading.name: reading for reading in ALL}
    for name in (*file.open, *file.fixed):
        if name not in readings:
            raise UnknownNameError(f"{where}: {'open' if name in file.open else 'fixed'}", "reading", name, readings)
    fixed: dict[str, Value] = {name: readings[name].parsed(value) for name, value in file.fixed.items()}
    declaration = Declaration(
        follow=links.follow if links else None,
        carry=frozenset(_known(where, "carry", links.carry, CARRIERS)) if links else frozenset(),
        agree=_attributes(where, "agree", links.agree) if links else (),
        pool=_attributes(where, "pool", file.pool),
        known=_attributes(where, "known", file.known),
        uninstantiated=file.uninstantiated,
        fixed=fixed,
    )
    useless = [name for name in fixed if name not in declaration.apt_readings]
    if useless:
        raise TraceError(
            f"{where}: fixed",
            f"{useless[0]} makes no difference to this view",
            one_of(declaration.apt_readings, "reading"),
        )
    return declared(
        file.name,
        declaration,
        definition=file.definition,
        source=file.source,
        label=file.label,
        key=file.key if links or file.key != "{stage}" else "/".join(f"{{{name}}}" for name in file.pool),
        readings=tuple(readings[name] for name in file.open),
        about=file.about,
    )


def _attributes(where: str, field: str, names: tuple[str, ...]) -> tuple[Attribute, ...]:
    found = _known(where, field, names, ATTRIBUTES)
    return tuple(attribute for name in found for attribute in ATTRIBUTES if attribute == name)


def _known(where: str, field: str, names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for number, name in enumerate(names):
        if name not in known:
            raise UnknownNameError(f"{where}: {field}", "link" if field == "carry" else "attribute", name, known)
        if name in names[:number]:
            raise TraceError(f"{where}: {field}", f"it has {quoted(name)} twice", "each name once")
    return names
