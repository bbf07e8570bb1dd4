"""The documentation is true: what is made from the code is current, what is shown runs, what is named exists.

How examples are run, in the order of the page, in one folder for each page that also holds examples/ and the cases:

- `<!-- file: NAME -->` before a block writes the block to that file.
- A yaml or json block with `individuation` at its beginning, comments aside, is read as a trace file and counted under
  every view, or as a space file where it has no conversations. One whose first line ends in `# refused` must be refused.
- In a console block every line after `$ ` is run; what follows is its output, `...` standing for any lines. A json
  block just after holds the output as JSON (`"..."` as a key: the rest is left out).
- A python block is a doctest, or a script if it has no `>>>`.
- A sql block is a query on trace.db, which the page makes; a text block just after holds the rows.
- The full example of docs/trace-format.md is there as full.yaml on the other pages too.
"""

import ast
import doctest
import fnmatch
import importlib.util
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from individuation import VIEWS, TraceError, overview
from individuation.cli.main import cli
from individuation.view_files import read_view
from rules.readings import ALL
from traces import schema, text, vocabulary
from traces.file import read_spaces

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
_GUIDES = ("for-philosophers", "why", "sensitivity", "own-views", "cases", "comparing", "desiderata")
_RECORDING = ("recording", "recording-in-python")
EXECUTED = tuple(f"docs/{name}.md" for name in (*_GUIDES, *_RECORDING))
RUNNABLE = ("docs/trace-format.md", "docs/store.md", *EXECUTED, "README.md")

_BLOCK = re.compile(r"(?:^<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


def build_script():
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- what is made from the code


@pytest.mark.slow  # `make lint` checks it too
def test_pages_and_pictures_made_from_the_code_are_current():
    assert build_script().stale() == [], "run `make docs`"


def test_every_command_has_a_page_and_is_listed():
    names = cli.list_commands(None)
    assert {page.stem for page in (DOCS / "commands").glob("*.md")} == {*names, "index"}
    listed = (DOCS / "commands" / "index.md").read_text(encoding="utf-8")
    for name in names:
        page = (DOCS / "commands" / f"{name}.md").read_text(encoding="utf-8")
        assert "Examples:" in page, name
        assert f"({name}.md)" in listed


def test_every_view_and_reading_is_on_the_page_of_views():
    page = (DOCS / "views.md").read_text(encoding="utf-8")
    for view in VIEWS.values():
        assert f"### {view.name}\n" in page
        assert view.definition in page
    for reading in ALL:
        assert f"### {reading.name}\n" in page
        assert reading.question in page
        assert all(f"`{value}`" in page for value in reading.values)


def test_pictures_load_nothing_from_elsewhere():
    for picture in (DOCS / "img").glob("*.svg"):
        found = re.findall(r"https?://[^\"' )]+", picture.read_text(encoding="utf-8"))
        assert {url for url in found if not url.startswith("http://www.w3.org/")} == set(), picture.name


@pytest.mark.slow
def test_without_graphviz_the_pages_are_made_and_one_line_says_what_was_left(tmp_path):
    shutil.copytree(DOCS, tmp_path / "docs")
    for folder in ("examples", "individuation"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    picture, page = tmp_path / "docs" / "img" / "views.svg", tmp_path / "docs" / "views.md"
    page.unlink()
    before = picture.read_bytes()
    # No program is found on an empty PATH, `dot` among them.
    environment = {**os.environ, "PATH": str(tmp_path)}
    words = [sys.executable, str(tmp_path / "docs" / "build.py")]
    made = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert made.stderr.count("\n") == 1
    assert "no `dot`" in made.stderr
    assert picture.read_bytes() == before
    assert page.read_bytes() == (DOCS / "views.md").read_bytes()


# --- what is shown runs


class Block(NamedTuple):
    kind: str
    body: str
    file: str | None
    line: int


def blocks(page):
    content = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(m["kind"], m["body"], m["file"], content.count("\n", 0, m.start("kind")) + 1)
        for m in _BLOCK.finditer(content)
    ]


@pytest.mark.parametrize("page", RUNNABLE)
def test_examples_run_and_give_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    if page in EXECUTED:
        monkeypatch.setenv("COLUMNS", str(build_script().TUTORIAL_COLUMNS))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for folder in ("examples", "individuation"):
        Path(folder).symlink_to(ROOT / folder)
    full = next(block.body for block in blocks("docs/trace-format.md") if block.file == "full.yaml")
    Path("full.yaml").write_text(full, encoding="utf-8")
    output, names = None, {}
    for block in blocks(page):
        place = f"{page}:{block.line}"
        if block.file is not None:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.body, encoding="utf-8")
        match block.kind:
            case "yaml" | "json" if re.match(r"(#.*\n)*\W*individuation\b", block.body):
                Path(f"example.{block.kind}").write_text(block.body, encoding="utf-8")
                _try_trace(Path(f"example.{block.kind}"), block.body, place)
            case "json" if block.file is not None:
                json.loads(block.body)
            case "json":
                _same_data(json.loads(block.body), json.loads(output), place)
            case "console":
                output = _run(block.body, place)
            case "python" if ">>> " in block.body:
                _doctest(block.body, names, place)
            case "python":
                exec(compile(block.body, place, "exec"), {})
            case "sql":
                output = _query(block.body)
            case "toml" if block.file is None:
                assert tomllib.loads(block.body), place
            case "toml" if block.file.startswith("broken"):
                with pytest.raises(TraceError):
                    read_view(Path(block.file))
            case "toml":
                assert read_view(Path(block.file)).name in block.body, place
            case "text":
                assert block.body.splitlines() == output, place
            case _:
                raise AssertionError(f"{place}: no way to try a block of kind {block.kind}")


@pytest.mark.parametrize("page", RUNNABLE)
def test_every_page_has_examples_that_are_found(page):
    content = (ROOT / page).read_text(encoding="utf-8")
    assert len(blocks(page)) == content.count("```") / 2 > 0


def _try_trace(path, body, place):
    if body.splitlines()[0].endswith("# refused"):
        with pytest.raises(TraceError):
            overview(path)
    elif "conversations:" in body or '"conversations"' in body:
        assert len(overview(path)) == len(VIEWS), place
    else:
        assert read_spaces(path), place


def _same_data(shown, found, place):
    if isinstance(shown, list) and shown and isinstance(shown[-1], dict) and "..." in shown[-1]:
        shown, found = shown[:-1], found[: len(shown) - 1]
    if isinstance(shown, dict) and isinstance(found, dict):
        assert list(shown) == list(found), place
        for key in shown:
            _same_data(shown[key], found[key], place)
    elif isinstance(shown, list) and isinstance(found, list):
        assert len(shown) == len(found), place
        for one, other in zip(shown, found, strict=True):
            _same_data(one, other, place)
    else:
        assert shown == found, place


def _run(body, place):
    output = ""
    for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
        command, *expected = part.splitlines()
        program, *arguments = shlex.split(command)
        assert program == "individuate", place
        result = CliRunner().invoke(cli, arguments, prog_name="individuate", catch_exceptions=False)
        output = result.output
        if expected:
            _same_lines(expected, output.splitlines(), f"{place}: {command}")
        else:
            assert result.exit_code == 0, f"{place}: {command}\n{output}"
    return output


def _same_lines(expected, found, place):
    """Whether lines are as shown, blanks at their ends and empty lines after the last aside; `...` stands for any lines."""
    while expected and not expected[-1]:
        expected = expected[:-1]
    while found and not found[-1].strip():
        found = found[:-1]
    pattern = "".join(".*" if line == "..." else f"{re.escape(line.rstrip())}\n" for line in expected)
    shown = "".join(f"{line.rstrip()}\n" for line in found)
    assert re.fullmatch(pattern, shown, re.S), f"{place}\n{shown}"


def _doctest(body, names, place):
    test = doctest.DocTestParser().get_doctest(body, names, place, None, 0)
    # The parser copies the names; the blocks of a page share theirs.
    test.globs = names
    report = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags).run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)


def _query(body):
    with closing(sqlite3.connect("trace.db")) as connection:
        rows = connection.execute(body).fetchall()
    return ["|".join("" if cell is None else str(cell) for cell in row) for row in rows]


def test_the_trace_format_page_names_every_field_word_and_limit():
    page = (DOCS / "trace-format.md").read_text(encoding="utf-8")
    records = (
        vocabulary.TraceDocument, vocabulary.Model, vocabulary.Server, vocabulary.Space, vocabulary.Probe,
        vocabulary.Intervention, vocabulary.KVCache, vocabulary.TokenCoordinates, vocabulary.Turn,
        vocabulary.Conversation, vocabulary.Labelling, vocabulary.CacheSpan, vocabulary.Connection,
    )  # fmt: skip
    for record in records:
        for name, field in record.model_fields.items():
            assert f"`{field.alias or name}`" in page, f"{record.__name__}.{name}"
    for word in (*vocabulary.ROLES, *vocabulary.CACHES, *vocabulary.INTERVENTIONS):
        assert f"`{word}`" in page, word
    for word in vocabulary.DERIVATIONS:
        assert f"`how: {word}`" in page, word
    for limit in (text.DEEPEST_NESTING, text.LARGEST_EXPANSION, text.LONGEST_YAML_LINE, 10**9):
        assert f"{limit:,}" in page, limit


def test_the_store_page_names_every_table_and_column():
    page = (DOCS / "store.md").read_text(encoding="utf-8")
    for table in schema.metadata.tables.values():
        assert f"`{table.name}`" in page, table.name
        for column in table.columns:
            assert f"`{column.name}`" in page, f"{table.name}.{column.name}"
    for _, names in schema.LOOKUPS:
        for code, name in enumerate(names):
            assert f"{code} {name}" in page, name
    assert f"0x{schema.APPLICATION_ID:08X}" in page
    assert f"`user_version` is {schema.SCHEMA_VERSION}" in page


# --- what is named exists


def _defined(path):
    """All functions, classes, methods and module variables of a file, by their dotted names."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_every_rule_and_test_that_conformance_names_exists():
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)(?:::([\w.]+))?`", page))
    assert any(path.startswith("tests/") for path, _ in named)
    for path, name in sorted(named):
        assert (ROOT / path).is_file(), path
        assert not name or name in _defined(ROOT / path), f"{path}::{name}"
    cases = set(re.findall(r"case `([a-z-]+)`", page))
    assert cases <= {path.stem for path in (ROOT / "individuation" / "cases").glob("*.yaml")}


def test_relative_links_lead_somewhere():
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for target in _LINK.findall(re.sub(r"```.*?```", "", content, flags=re.S)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            aim = (page.parent / path).resolve() if path else page
            assert aim.exists(), f"{page.relative_to(ROOT)} -> {target}"
            if anchor and aim.suffix == ".md":
                assert anchor in _anchors(aim), f"{page.relative_to(ROOT)} -> {target}"


def _anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _project_files():
    """All files but those that .gitignore leaves out."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.strip()]
    folders = [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            names = (path.name, path.relative_to(ROOT).as_posix())
            if path.name == ".git" or any(fnmatch.fnmatch(name, pattern) for name in names for pattern in ignored):
                continue
            if path.is_dir():
                folders.append(path)
            else:
                yield path


# Written so that they do not match themselves.
_OF_A_MACHINE = re.compile(rb"(?<![\w.~:/-])/(?:home|Users|root|work|[t]mp|[m]nt)/[\w.]")
_OF_A_REGISTRY = re.compile(rb"py[p]i\.(?:org|python)|python[h]osted|(?:index|registry)[-_]url|conda\.anaconda")


def test_no_file_names_a_place_on_somebodys_machine_or_a_package_registry():
    found = {}
    for path in _project_files():
        content = path.read_bytes()
        for pattern in (_OF_A_MACHINE, _OF_A_REGISTRY):
            if match := pattern.search(content):
                found[path.relative_to(ROOT).as_posix()] = match[0]
    assert found == {}
