"""Make what comes from the code: docs/views.md, docs/commands, the outputs on the pages that show commands, and the
pictures in docs/img.

    python docs/build.py            write them
    python docs/build.py --check    write nothing; name the files that the code would have otherwise, and exit with 1

views.svg and the stage graphs are drawn by Graphviz. Their bytes differ between its versions, so --check only asks that
they are there, and without the program `dot` they stay as they are.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
import textwrap
import tomllib
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

if TYPE_CHECKING:
    from rich.terminal_theme import TerminalTheme

DOCS = Path(__file__).resolve().parent
VIEWS_PAGE = DOCS / "views.md"
COMMANDS = DOCS / "commands"
EXECUTED = tuple(
    DOCS / f"{name}.md"
    for name in ("for-philosophers", "why", "sensitivity", "own-views", "cases", "comparing", "desiderata")
)
"""Pages whose console blocks show what the commands print."""
VIEWS_PICTURE = DOCS / "img" / "views.svg"
OVERVIEW_PICTURE = DOCS / "img" / "overview.svg"

EXAMPLE = "examples/qwen3-32b-aura.yaml"
GALLERY = DOCS / "gallery.md"
COLUMNS = 100
TUTORIAL_COLUMNS = 92

CHAT = DOCS / "chat.md"
"""A page with a chat: what is typed stands after `you> `, the rest is what the program says."""
_CHAT = re.compile(r"^<!-- chat -->\n```text\n\$ individuate (?P<command>.*)\n(?P<body>(?:.*\n)*?)```$", re.MULTILINE)
_MEASURED = re.compile(r"\([^)]* threads\)|[+-]?\d[\d.,]*(?:e-\d+)?|─+|[ \t]+")

_CONSOLE = re.compile(r"^```console\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ individuate (?P<command>.*)$", re.MULTILINE)
_FILE = re.compile(r"^<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)

# semantics.md §7, laws 1 to 3, with branching=one: the first refines the second. Each view stands for its default
# readings; the others are named.
NEW_INSTANCE = "virtual-instance\nreconstruction=new"
SAME_PERSONA = "instance-persona\nrecurrence=same"
REFINES = (
    (NEW_INSTANCE, "virtual-instance"),
    (NEW_INSTANCE, "thread"),
    (NEW_INSTANCE, "model"),
    ("virtual-instance", "thread"),
    ("virtual-instance", "model"),
    ("instance-persona", SAME_PERSONA),
    ("instance-persona", "virtual-instance"),
    ("instance-persona", "model-persona"),
    (SAME_PERSONA, "virtual-instance"),
    (SAME_PERSONA, "model-persona"),
    ("model-persona", "model"),
    ("physical-instance", "model"),
)

# --- docs/views.md

_HEAD = """\
<!-- Made by docs/build.py from the code (`make docs`). Do not edit. -->

# Views and readings

A **view** says which stages of recorded conversations belong to one mind. A **reading** is the answer to a question
that the paper (Beckmann & Butlin 2026, *Where is the Mind? Persona Vectors and LLM Individuation*, arXiv:2604.17031)
leaves open; each view has the readings that matter to it, and each reading has a default. Sections (§) are those of the
paper. On the command line, `individuate views` prints this page in short.

## Views
"""

_ORDER = """\
### Which views refine which

A view refines another if each of its minds lies within one mind of the other, on the stages that both assign. An arrow
leads from the finer view to the coarser one. Arrows that follow from others are left out.

![Refinement order of the views](img/views.svg)

Views stand for their default readings unless the box says otherwise. The order holds with `branching=one`. Under `end`
and `closest` it can fail: whether two stages are one mind may then depend on a third. The result says so in a caveat.

Two views have no place in the picture. forward-pass sorts token positions, not stages. abstract-model-persona sorts
stages as model-persona does with `weights=exact`, and counts the regions besides that no stage is in.
"""

_READINGS = """\
## Readings

Choose one with `--reading NAME=VALUE` on the command line, or as `NAME=VALUE` in a call of `individuation.individuate`.
"""


_NOT_BUILT_IN = """\
## Readings of views of one's own

No built-in view has these. A [view of one's own](own-views.md) that goes by links may fix them or leave them open, and
a name in brackets may answer them: `--view "virtual-instance[least_connectedness=0.05]"`.
"""


def views_page() -> str:
    """The text of docs/views.md."""
    from individuation.catalogue import described, described_reading
    from rules.readings import ALL, NOT_BUILT_IN
    from rules.registry import VIEWS

    data = described(list(VIEWS.values()))
    default = {reading.name: reading.default for reading in ALL}
    return "\n".join(
        [
            _HEAD,
            _table(("view", "same mind if and only if", "source"), map(_view_row, data["views"])),
            _ORDER,
            *map(_view_section, data["views"]),
            _READINGS,
            _table(("reading", "default", "other values"), (_reading_row(r, default) for r in data["readings"])),
            *(_reading_section(reading, default) for reading in data["readings"]),
            _NOT_BUILT_IN,
            *(_reading_section(described_reading(reading, ()), default) for reading in NOT_BUILT_IN),
        ]
    )


def _link(name: str) -> str:
    # Readings have an underscore where views have a hyphen, so their headings have distinct anchors.
    return f"[{name}](#{name})"


def _table(titles: tuple[str, ...], rows: Any) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _view_row(view: dict[str, Any]) -> tuple[str, ...]:
    return _link(view["view"]), view["definition"], view["source"]


def _view_section(view: dict[str, Any]) -> str:
    readings = ", ".join(map(_link, view["readings"])) or "none"
    return (
        f"### {view['view']}\n\n"
        f"Same mind if and only if: **{view['definition']}**\n\n"
        f"{view['explanation']}\n\n"
        f"- Source: {view['source']}\n"
        f"- Readings: {readings}\n"
    )


def _reading_row(reading: dict[str, Any], default: dict[str, Any]) -> tuple[str, ...]:
    name = reading["reading"]
    return _link(name), f"`{default[name]}`", _others(reading, default)


def _others(reading: dict[str, Any], default: dict[str, Any]) -> str:
    others = [value for value in reading["values"].split(", ") if value != str(default[reading["reading"]])]
    return ", ".join(value.removeprefix("or ") if " " in value else f"`{value}`" for value in others)


def _reading_section(reading: dict[str, Any], default: dict[str, Any]) -> str:
    views = f"- Views: {', '.join(map(_link, reading['views']))}\n" if reading["views"] else ""
    return (
        f"### {reading['reading']}\n\n"
        f"{reading['question']}\n\n"
        f"- Values: `{default[reading['reading']]}` (default), {_others(reading, default)}\n"
        f"- Source: {reading['source']}\n"
        f"{views}"
    )


# --- docs/img/views.svg


def views_picture() -> bytes | None:
    """The refinement order as SVG, or None where there is no `dot` to draw it."""
    import graphviz
    import networkx

    order = networkx.DiGraph(REFINES)
    reduced = networkx.transitive_reduction(order)
    drawing = graphviz.Digraph(
        graph_attr={"rankdir": "BT", "bgcolor": "white", "pad": "0.3", "nodesep": "0.5", "ranksep": "0.55"},
        node_attr={
            "shape": "box", "style": "rounded,filled", "fillcolor": "#eef2f7", "color": "#44546a",
            "fontcolor": "#1b2430", "fontname": "Helvetica,Arial,sans-serif", "fontsize": "13", "margin": "0.18,0.1",
        },
        edge_attr={"color": "#44546a", "arrowsize": "0.8"},
    )  # fmt: skip
    # In the order of the pairs, so that the picture does not hang on the order of a set.
    for name in order.nodes:
        drawing.node(name.replace("\n", " "), name)
    for finer, coarser in REFINES:
        if reduced.has_edge(finer, coarser):
            drawing.edge(finer.replace("\n", " "), coarser.replace("\n", " "))
    try:
        return bytes(drawing.pipe(format="svg"))
    except graphviz.ExecutableNotFound:
        return None


# --- docs/img/overview.svg

# Without rich's window decoration and web font: a sheet of its own colour, so that it is readable on light and dark
# pages alike, and in print.
_SHEET = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>$ individuate EXAMPLE</title>
<style>
.{unique_id}-matrix, .{unique_id}-prompt {{
  font-family: "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: {char_height}px;
}}
.{unique_id}-prompt {{ fill: #57606a; }}
{styles}
</style>
<defs>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#afb8c1" stroke-width="2"/>
<text class="{unique_id}-prompt" x="{terminal_x}" y="27" xml:space="preserve">$ individuate EXAMPLE</text>
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""


def overview_picture() -> str:
    """What `individuate EXAMPLE` prints, as SVG. The same output gives the same bytes."""
    from rich.console import Console

    from individuation.cli import tables
    from individuation.cli.main import cli

    # No environment: neither NO_COLOR nor the kind of terminal that this runs in may show.
    recorder = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False,
        legacy_windows=False, _environ={},
    )  # fmt: skip
    with chdir(DOCS.parent), patch.object(tables, "console", lambda: recorder):
        cli.main([EXAMPLE], prog_name="individuate", standalone_mode=False)
    sheet = _SHEET.replace("EXAMPLE", EXAMPLE)
    # The width of a glyph in most monospaced fonts is 0.6 of their size: with it, lines keep their length even where
    # `textLength` is not heeded.
    picture = recorder.export_svg(
        theme=_theme(), code_format=sheet, font_aspect_ratio=0.6, unique_id="individuate", clear=False
    )
    if "virtual-instance" not in picture:
        raise RuntimeError("the command printed past the recording console")
    return "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"


def _theme() -> TerminalTheme:
    from rich.terminal_theme import TerminalTheme

    ansi = [
        (36, 41, 47), (207, 34, 46), (17, 99, 41), (125, 78, 0),
        (9, 105, 218), (130, 80, 223), (27, 124, 131), (110, 119, 129),
    ]  # fmt: skip
    return TerminalTheme((255, 255, 255), (27, 31, 36), ansi, ansi)


# --- docs/gallery.md


class Picture(NamedTuple):
    """A picture of the gallery: the words after `individuate draw`, its text, and whether Graphviz draws it."""

    words: str
    text: str
    graph: bool


def gallery_pictures() -> dict[str, Picture]:
    """The pictures of docs/gallery.toml by name."""
    listed = tomllib.loads((DOCS / "gallery.toml").read_text(encoding="utf-8"))
    return {
        name: Picture(entry["draw"], " ".join(entry["text"].split()), entry.get("graph", False))
        for name, entry in listed.items()
    }


def gallery_page() -> str:
    """The gallery: each picture with the command that draws it."""
    head = "<!-- Made by docs/build.py (`make docs`). Do not edit. -->\n\n# Gallery\n\n"
    said = (
        "Every picture here is drawn by the "
        "command below it. A row is a view; a stretch of one number and colour is one mind of that view. Colours are "
        "those of Okabe and Ito (2008), which people with any colour vision can tell apart, and each mind has a number "
        "as well. Counts of persona views come with their range. `-o` takes .svg, .png and .pdf."
    )
    parts = [f"{head}{textwrap.fill(said, 118)}\n"]
    for name, (words, said, _) in gallery_pictures().items():
        alt = said.split(":")[0].split(" (§")[0].replace("`", "").rstrip(".")
        command = f"individuate draw {words} -o {name}.svg"
        parts.append(f"\n![{alt}](img/{name}.svg)\n\n{textwrap.fill(said, 118)}\n\n    {command}\n")
    return "".join(parts)


def lanes_pictures() -> dict[Path, str]:
    """The pictures that come out the same everywhere."""
    return {
        _picture(name): _drawn(picture.words).decode()
        for name, picture in gallery_pictures().items()
        if not picture.graph
    }


def _drawn(words: str) -> bytes:
    from click.testing import CliRunner

    from individuation.cli.main import cli

    with TemporaryDirectory() as folder, chdir(DOCS.parent):
        path = Path(folder) / "picture.svg"
        result = CliRunner().invoke(cli, ["draw", *shlex.split(words), "-o", str(path)], prog_name="individuate")
        if result.exit_code:
            raise RuntimeError(result.output)
        return path.read_bytes()


# --- pages that show commands


def executed_page(page: Path) -> str:
    """A page as it is written, with what each of its commands prints now.

    Commands run where the page's reader would run them: beside the examples, and beside the files that the page shows
    (`<!-- file: NAME -->` before a block).
    """
    text = page.read_text(encoding="utf-8")
    with TemporaryDirectory() as folder, chdir(folder):
        for name in ("examples", "individuation"):
            Path(name).symlink_to(DOCS.parent / name)
        for file in _FILE.finditer(text):
            Path(file["name"]).parent.mkdir(parents=True, exist_ok=True)
            Path(file["name"]).write_text(file["body"], encoding="utf-8")
        return _CONSOLE.sub(lambda block: f"```console\n{_shown(block['body'])}```", text)


def _shown(body: str) -> str:
    lines: list[str] = []
    for command in _COMMAND.findall(body):
        lines += [*([""] if lines else []), f"$ individuate {command}", *_printed(shlex.split(command))]
    return "".join(f"{line}\n" for line in lines)


def _printed(words: list[str]) -> list[str]:
    from click.testing import CliRunner

    from individuation.cli.main import cli

    runner = CliRunner(env={"COLUMNS": str(TUTORIAL_COLUMNS), "NO_COLOR": "1"})
    result = runner.invoke(cli, words, prog_name="individuate", catch_exceptions=False)
    return [line.rstrip() for line in result.output.strip("\n").splitlines()]


def chat_page() -> str:
    """The page with a chat, held again."""
    return _CHAT.sub(_held, CHAT.read_text(encoding="utf-8"))


def _held(chat: re.Match[str]) -> str:
    from click.testing import CliRunner

    from individuation.cli.main import cli

    typed = [line.removeprefix("you> ") for line in chat["body"].splitlines() if line.startswith("you> ")]
    with TemporaryDirectory() as folder, chdir(folder):
        runner = CliRunner(env={"COLUMNS": str(TUTORIAL_COLUMNS), "NO_COLOR": "1"})
        words = [*shlex.split(chat["command"]), "--device", "cpu"]
        done = runner.invoke(cli, words, "\n".join([*typed, ""]), prog_name="individuate", catch_exceptions=False)
    shown = "".join(f"{line.rstrip()}\n" for line in done.output.splitlines())
    return f"<!-- chat -->\n```text\n$ individuate {chat['command']}\n{shown}```"


def _same_chat(one: str, other: str) -> bool:
    """Whether two pages tell the same chat, up to the machine and what is measured on it."""
    return _MEASURED.sub(" ", one) == _MEASURED.sub(" ", other)


# --- docs/commands


def command_pages() -> dict[Path, str]:
    """A page for each command, from its `--help`, and one that lists them."""
    import click

    from individuation.cli.main import cli

    context = click.Context(cli, info_name="individuate")
    names = cli.list_commands(context)
    pages = {}
    for name in names:
        page = _command_page(f"individuate {name}", [name, "--help"])
        command = cli.get_command(context, name)
        # A group has a section for each of its commands.
        below = command.list_commands(context) if isinstance(command, click.Group) else []
        for other in below:
            one = _command_page(f"individuate {name} {other}", [name, other, "--help"])
            page += "\n#" + one.removeprefix(f"{_MADE}\n")
        pages[COMMANDS / f"{name}.md"] = page
    said = {name: cli.get_command(context, name).get_short_help_str(200) for name in names}
    rows = "".join(f"- [`individuate {name}`]({name}.md): {said[name]}\n" for name in names)
    pages[COMMANDS / "index.md"] = (
        f"{_MADE}\n# Commands\n\n`individuate TRACE` is `individuate count TRACE`.\n\n{rows}\n"
        + _command_page("individuate", ["--help"]).removeprefix(f"{_MADE}\n").replace("# individuate", "## individuate")
    )
    return pages


_MADE = "<!-- Made by docs/build.py from `--help` (`make docs`). Do not edit. -->\n"


def _command_page(title: str, words: list[str]) -> str:
    text = "\n".join(_printed(words))
    return f"{_MADE}\n# {title}\n\n```text\n{text}\n```\n"


# --- all of them


def _pages() -> dict[Path, str]:
    return {
        VIEWS_PAGE: views_page(),
        **command_pages(),
        **{page: executed_page(page) for page in EXECUTED if page.exists()},
        OVERVIEW_PICTURE: overview_picture(),
        GALLERY: gallery_page(),
        **lanes_pictures(),
    }


def _picture(name: str) -> Path:
    return DOCS / "img" / f"{name}.svg"


def stale() -> list[str]:
    """The files that are not as the code would have them, by their path from the root."""
    found = []
    found += [
        path
        for path in (VIEWS_PICTURE, *(_picture(name) for name, picture in gallery_pictures().items() if picture.graph))
        if not path.exists()
    ]
    for path, text in _pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(path)
    if not _same_chat(CHAT.read_text(encoding="utf-8"), chat_page()):
        found.append(CHAT)
    found += [path for path in sorted(COMMANDS.glob("*.md")) if path not in command_pages()]
    return [path.relative_to(DOCS.parent).as_posix() for path in found]


def build() -> None:
    """Write all pages and pictures."""
    OVERVIEW_PICTURE.parent.mkdir(exist_ok=True)
    COMMANDS.mkdir(exist_ok=True)
    for path, text in _pages().items():
        path.write_text(text, encoding="utf-8")
    CHAT.write_text(chat_page(), encoding="utf-8")
    drawn = views_picture()
    if drawn is None:
        print(
            "docs/build.py: there is no `dot` (Graphviz), so what it draws in docs/img stays as it is", file=sys.stderr
        )
    else:
        VIEWS_PICTURE.write_bytes(drawn)
        for name, picture in gallery_pictures().items():
            if picture.graph:
                _picture(name).write_bytes(_drawn(picture.words))


def main(arguments: list[str]) -> int:
    """Build, or check with `--check`."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    if not arguments:
        build()
        return 0
    found = stale()
    for path in found:
        print(f"{path} is not as the code would have it: run `make docs`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
