"""Tables of comma-separated values, strictly: named columns, and as many cells in every row.

>>> table = read_table("x.csv", b"a,b\\n1,2\\n")
>>> table.columns, table.rows
(('a', 'b'), [{'a': '1', 'b': '2'}])
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from traces.errors import TraceError, quoted

_LONGEST_HEADER = 10_000
_LARGEST_CELL = 1_000_000


@dataclass(frozen=True)
class TextTable:
    """A table as text: nothing in it is converted. `lines` says on which line (from 1) each row of the file ends."""

    name: str
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int] = field(default_factory=list)

    def where(self, row: int) -> str:
        """A row's place, for messages."""
        return f"{self.name}, line {self.lines[row]}"


def columns_of(content: bytes) -> tuple[str, ...]:
    """The cells of a file's first line, as a table would have them; none where it cannot be one.

    >>> columns_of(b"condition,probe\\n..."), columns_of(b"individuation: 1\\n")
    (('condition', 'probe'), ())
    """
    first = content[:_LONGEST_HEADER].splitlines()[:1]
    try:
        header = first[0].decode("utf-8-sig") if first else ""
        cells = next(csv.reader([header], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return ()
    return tuple(cells) if len(cells) > 1 else ()


def read_table(name: str, content: bytes) -> TextTable:
    """Read a table with a header line.

    Raises `TraceError` that names the file, the line, what was found and what was expected.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TraceError(
            f"{name}, line {line}", f"byte {error.start:,} (0x{content[error.start]:02x}) is not UTF-8", "text in UTF-8"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    columns: tuple[str, ...] = ()
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        for cells in reader:
            if not columns:
                columns = _header(name, cells)
            elif cells:
                if len(cells) != len(columns):
                    raise TraceError(
                        f"{name}, line {reader.line_num}",
                        f"the row has {len(cells)} cells",
                        f"{len(columns)} cells, one for each column",
                    )
                rows.append(dict(zip(columns, cells, strict=True)))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise TraceError(
            f"{name}, line {reader.line_num}", f"it is not a table: {error}", "comma-separated values"
        ) from None
    finally:
        csv.field_size_limit(before)
    return TextTable(name, columns, rows, lines)


def _header(name: str, cells: list[str]) -> tuple[str, ...]:
    twice = [cell for cell in cells if cells.count(cell) > 1]
    if twice:
        raise TraceError(f"{name}, line 1", f"the column {quoted(twice[0])} is there twice", "each column once")
    return tuple(cells)
