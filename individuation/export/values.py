"""Values of a stage graph for formats that hold no lists, and for XML."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from traces.errors import TraceError, quoted

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

XML_TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}
"""The names that GraphML and GEXF have for the types of flat values."""


def flat(value: Any) -> str | int | float | bool:
    """The value itself; lists and mappings as JSON text, since names may hold any separator.

    >>> flat(3), flat(["c1/0..c1/3", "c1/0..c2/1"])
    (3, '["c1/0..c1/3", "c1/0..c2/1"]')
    """
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def as_text(value: Any) -> str:
    """A flat value as text: truth values as XML and JSON write them.

    >>> as_text(True), as_text(0.5), as_text("a")
    ('true', '0.5', 'a')
    """
    value = flat(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def xml_content(value: Any) -> str:
    """A value as the content of an XML element. Raises `TraceError` for characters that XML cannot hold.

    >>> xml_content("a<b")
    'a&lt;b'
    """
    return escape(_legal(as_text(value)), {"\r": "&#13;"})


def xml_attribute(value: Any) -> str:
    """A value as an XML attribute, quotes included. Raises `TraceError` for characters that XML cannot hold.

    >>> xml_attribute('a<"b"')
    '\\'a&lt;"b"\\''
    """
    return quoteattr(_legal(as_text(value)))


def _legal(text: str) -> str:
    found = _NOT_XML.search(text)
    if found:
        raise TraceError(
            quoted(text),
            f"it holds the character U+{ord(found.group()):04X}, which XML has no way to write",
            "names without it, or another format: json, csv, dot, mermaid or prov",
        )
    return text
