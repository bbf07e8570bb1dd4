"""Cases (docs/cases.md): trace files that say what each view is expected to find in them, the paper's among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from individuation.case_block import MARKS, NO_SECTION, Expectation, block_of
from individuation.engine import Trace
from traces.errors import TraceError, UnknownNameError
from traces.file import SUFFIXES, read_bytes
from traces.recognition import read
from traces.resolution import facts_from
from traces.sqlite_file import is_database
from traces.text import Source, parse

PAPER_CASES = Path(__file__).resolve().parent / "cases"
"""The folder of the cases that ship with the package."""


@dataclass(frozen=True)
class Case:
    """A thought experiment as a trace, with what each view is expected to find in it.

    `section` says where in the paper it stands ("-": nowhere), `statement` in one sentence what it is about, `story`
    tells it at length, `open` whether the paper leaves it open. Every expectation marked P names its section.
    """

    name: str
    title: str
    section: str
    statement: str
    story: str
    open: bool
    expected: tuple[Expectation, ...]
    note: str | None
    path: Path
    trace: Trace = field(repr=False, compare=False)

    @property
    def marks(self) -> tuple[str, ...]:
        """The marks that occur in it, in the order of `MARKS`."""
        return tuple(mark for mark in MARKS if any(expectation.mark == mark for expectation in self.expected))

    def to_dict(self) -> dict[str, Any]:
        """All but the trace, as JSON has it."""
        return {
            "name": self.name, "title": self.title, "section": self.section, "statement": self.statement,
            "story": self.story, "open": self.open, "marks": list(self.marks), "note": self.note,
            "path": str(self.path), "expected": [expectation.to_dict() for expectation in self.expected],
        }  # fmt: skip


def case_of(path: Path) -> Case:
    """The case in a file: a trace file with a `case:` block, or a trace.db made from one (which has no story).

    The story is the comment at the top of a YAML file. Raises `TraceError` that says where, what was found and what was
    expected.

    >>> case = case_of(PAPER_CASES / "router.yaml")
    >>> case.section, case.expected[1].count, case.expected[1].mark, case.expected[1].section
    ('1.2', 2, 'P', '1.2')
    """
    if is_database(path):
        facts, story = read(path), ""
        source = Source(str(path), {"case": facts.case})
    else:
        content = read_bytes(path)
        source = parse(str(path), content)
        facts, story = facts_from(source), _leading_comment(content)
    if facts.case is None:
        raise TraceError(
            str(path), "it has no `case:` block", "one that holds at least `statement` and `expected` (docs/cases.md)"
        )
    trace = Trace([facts])
    block = block_of(source, trace.stages().regions.names)
    return Case(
        name=path.stem, title=facts.title or path.stem, section=block.section, statement=block.statement, story=story,
        open=block.open, expected=block.expected, note=block.note, path=path, trace=trace,
    )  # fmt: skip


def _leading_comment(content: bytes) -> str:
    """The comment at the top of a YAML file: its words, an empty line between paragraphs."""
    paragraphs: list[list[str]] = [[]]
    for line in content.decode("utf-8-sig").splitlines():
        if not line.startswith("#"):
            break
        words = line.lstrip("#").split()
        if words:
            paragraphs[-1] += words
        elif paragraphs[-1]:
            paragraphs.append([])
    return "\n\n".join(" ".join(words) for words in paragraphs if words)


def paper_cases() -> tuple[Case, ...]:
    """The cases that ship with the package: those of the paper by section, then those that it does not have.

    >>> [case.name for case in paper_cases()][:2]
    ['multi-tenancy', 'router']
    """
    return tuple(sorted(map(case_of, _files(PAPER_CASES)), key=lambda case: (_by_section(case.section), case.name)))


def paper_case(name: str) -> Case:
    """The paper's case of that name. Raises `UnknownNameError` with the nearest name.

    >>> paper_case("rabbit").section
    '2.2'
    """
    names = [path.stem for path in _files(PAPER_CASES)]
    if name not in names:
        raise UnknownNameError("cases", "case", name, names)
    return case_of(PAPER_CASES / f"{name}.yaml")


def cases_in(folder: Path, progress: Callable[[int, int], None] = lambda done, of: None) -> tuple[Case, ...]:
    """The cases in a folder, by file name: all its trace files (.yaml, .yml, .json), each of which must be a case.

    `progress` is told how many were read, and of how many. Raises `TraceError` for a folder without any, and for the
    first file that is no case.
    """
    files = _files(folder)
    if not files:
        expected = f"at least one case file ({', '.join(SUFFIXES)}; docs/cases.md)"
        raise TraceError(str(folder), "there is no trace file in it", expected)
    cases = []
    for done, path in enumerate(files, 1):
        cases.append(case_of(path))
        progress(done, len(files))
    return tuple(cases)


def _files(folder: Path) -> list[Path]:
    # Hidden files are not the author's: editors and unfinished copies leave them.
    files = [
        path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name[:1] != "." and not path.is_dir()
    ]
    return sorted(files, key=lambda path: (path.stem, path.suffix))


def _by_section(section: str) -> tuple[bool, tuple[int, ...], str]:
    """A key by which sections stand in the order of the paper, footnotes after them, what it does not have last."""
    parts = section.partition(",")[0].split(".")
    numbers = tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else (10**6,)
    return section == NO_SECTION, numbers, section
