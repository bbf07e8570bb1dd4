"""Bad input: status 2, one paragraph that says where, what was found and what was expected, and nothing changed."""

import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import yaml

SOUND = """\
individuation: 1
title: Sound
models:
  qwen: {name: Qwen/Qwen3-32B}
  other: {}
servers: [new-york, texas]
spaces:
  axis:
    model: qwen
    axes: [assistant]
    regions:
      aura: {assistant: [null, -40]}
conversations:
  c1:
    turns:
      - {role: user, tokens: 12, model: qwen, server: new-york}
      - {role: assistant, tokens: 40, at: {assistant: 33.5}}
  c2:
    parent: c1
    at: 2
    turns:
      - {role: user, tokens: 3}
      - {role: assistant, tokens: 5, server: texas}
  c3:
    turns:
      - {role: user, tokens: 8, model: other}
      - {role: assistant, tokens: 9, server: texas}
"""

PARAGRAPH = re.compile(
    r"(?P<place>\S[^\n]*?): (?P<found>[^\n]+)[.?]\n"
    r"Expected: (?P<expected>[^\n]+)\.\n"
    r"(?P<note>Nothing was written\.\n)?\Z"
)


def told(result, writes=False):
    """The three parts of a refusal, once its form is checked."""
    assert result.exit_code == 2, result.stdout + result.stderr
    assert result.stdout == ""
    assert len(result.stderr) <= 640
    said = PARAGRAPH.match(result.stderr)
    assert said, result.stderr
    assert bool(said["note"]) == writes
    assert all(character.isprintable() for character in said["place"] + said["found"] + said["expected"])
    return said


def refused(result, place=(), found=(), expected=(), writes=False):
    """Assert a refusal whose parts hold these words."""
    said = told(result, writes)
    for part, words in (("place", place), ("found", found), ("expected", expected)):
        for word in [words] if isinstance(words, str) else words:
            # Where the parts meet is not the business of these tests: a place may itself hold a colon.
            where = said["place"] + ": " + said["found"] if part in ("place", "found") else said["expected"]
            assert word in where, result.stderr
    return said


@pytest.fixture(scope="session")
def sound(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    path = folder / "sound.yaml"
    path.write_text(SOUND, encoding="utf-8")
    done = run("import", path, "-o", folder / "sound.db")
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture
def stays(run, sound, snapshot, tmp_path):
    """Try a bad file in every way that reads one, and see that no way leaves a trace of it."""

    def tried(path, place=(), found=(), expected=()):
        refused(run(path), (str(path), *([place] if isinstance(place, str) else place)), found, expected)
        targets = tmp_path / "targets"
        targets.mkdir()
        refused(run("import", path, "-o", targets / "new.db"), place, found, expected, writes=True)
        refused(run("import", path, "-o", targets / "new.yaml"), place, found, expected, writes=True)
        assert list(targets.iterdir()) == []
        before = snapshot(sound)
        refused(run("import", path, "-o", sound / "sound.db"), place, found, expected, writes=True)
        refused(
            run("import", sound / "sound.yaml", path, "-o", targets / "new.db"), place, found, expected, writes=True
        )
        assert snapshot(sound) == before
        assert list(targets.iterdir()) == []

    return tried


def case(name, old, new, place, found, expected, line=0, in_json=True):
    """`line`: where the message says that it is, counted from the first changed line; None where it cannot say."""
    return pytest.param(old, new, place, found, expected, line, in_json, id=name.replace(" ", "-"))


USER = "{role: user, tokens: 12, model: qwen, server: new-york}"
ASSISTANT = "{role: assistant, tokens: 40, at: {assistant: 33.5}}"
C1_0, C1_1 = "conversation c1, turn 0", "conversation c1, turn 1"


def tokens(value, found):
    return turn(f"tokens {value}", "tokens: 40", f"tokens: {value}", f"tokens is {found}", "whole number")


def turn(name, old, new, found, expected, place=C1_1):
    return case(name, old, new, place, found, expected)


WRONG = [
    *(
        case(f"version {value}", "individuation: 1", f"individuation: {value}", (), found, "`individuation: 1`")
        for value, found in [
            ("0", "version is 0"),
            ("2", "version is 2"),
            ('"1"', 'version is "1"'),
            ("true", "version is true"),
            ("null", "version is null"),
            ("1.5", "version is 1.5"),
            ("[1]", "version is a list"),
        ]
    ),
    case("no version", "individuation: 1\n", "", (), "no `individuation:` line", "`individuation: 1`", None),
    case(
        "no models",
        "models:\n  qwen: {name: Qwen/Qwen3-32B}\n  other: {}\n",
        "",
        (),
        "models is missing",
        "mapping",
        None,
    ),
    case(
        "a list of models",
        "models:\n  qwen: {name: Qwen/Qwen3-32B}\n  other: {}\n",
        "models: [qwen, other]\n",
        (),
        "models is a list of 2",
        "mapping from names to models",
    ),
    case(
        "a server twice", "[new-york, texas]", "[new-york, texas, texas]", (), ("servers", "texas"), "each once", None
    ),
    case("servers that are numbers", "[new-york, texas]", "[1, 2]", (), "servers", "names", None),
    case(
        "a dangling parent",
        "parent: c1",
        "parent: c9",
        "conversation c2",
        'no conversation "c9"',
        "c1, c2, c3",
    ),
    case(
        "a parent of itself",
        "parent: c1",
        "parent: c2",
        "conversation c2",
        ("lead back to itself", "c2 -> c2"),
        "does not branch from it",
    ),
    case(
        "two parents of each other",
        "  c3:\n",
        "  c3:\n    parent: c4\n    at: 0\n    turns: []\n  c4:\n    parent: c3\n    at: 0\n",
        "conversation c",
        ("lead back to itself", "c3 -> c4 -> c3"),
        "does not branch from it",
        1,
    ),
    case("a negative branch point", "at: 2", "at: -1", "conversation c2", "at is -1", "whole number >= 0"),
    case(
        "a branch point after the end",
        "at: 2",
        "at: 3",
        "conversation c2",
        ("at is 3", "path of c1 has 2 turns"),
        "from 0 to 2",
    ),
    case(
        "a branch point of many digits",
        "at: 2",
        "at: 3000000000",
        "conversation c2",
        "at is 3000000000",
        "whole number",
    ),
    case("a branch point that is text", "at: 2", "at: two", "conversation c2", 'at is "two"', "whole number"),
    case(
        "a parent without a branch point",
        "    at: 2\n",
        "",
        "conversation c2",
        ("parent", "c1", "at is missing"),
        "at:",
        -2,
    ),
    case(
        "a branch point without a parent",
        "    parent: c1\n",
        "",
        "conversation c2",
        ("at is given", "parent is missing"),
        "parent",
        -1,
    ),
    case(
        "an unknown field of a conversation",
        "    at: 2\n",
        "    at: 2\n    titel: x\n",
        "conversation c2",
        'no field "titel"',
        "parent, at, principal, turns",
        1,
    ),
    case(
        "turns that are a mapping",
        "  c3:\n",
        "  c4:\n    turns: {role: user}\n  c3:\n",
        "conversation c4",
        "turns is a mapping",
        "list of turns",
        1,
    ),
    tokens("-3", "-3"),
    tokens("0", "0"),
    tokens(".nan", "nan"),
    tokens("1.5", "1.5"),
    tokens("many", '"many"'),
    tokens('"40"', '"40"'),
    tokens("true", "true"),
    tokens("[40]", "a list of 1"),
    tokens("9223372036854775808", "9223372036854775808"),
    tokens("1" + 27 * "0", "1000"),
    turn(
        "an unknown role",
        "role: assistant, tokens: 40",
        "role: asistant, tokens: 40",
        ('role is "asistant"', 'did you mean "assistant"'),
        "system, user, assistant, tool",
    ),
    turn("no role", "role: assistant, tokens: 40", "tokens: 40", "role is missing", "assistant"),
    turn(
        "an unknown cache",
        "tokens: 40",
        "tokens: 40, cache: kept",
        'cache is "kept"',
        "retained, transferred, rebuilt, unknown",
    ),
    turn(
        "an unknown field of a turn",
        "tokens: 40",
        "token: 40",
        ('no field "token"', 'did you mean "tokens"'),
        "role, tokens",
    ),
    turn("a turn that is text", ASSISTANT, "hello", '"hello"', "mapping"),
    turn(
        "a region on a user turn",
        "tokens: 12",
        "tokens: 12, region: aura",
        ('region is "aura"', "role is user"),
        "assistant turns only",
        C1_0,
    ),
    turn("a region and coordinates", "tokens: 40", "tokens: 40, region: aura", "both region and at", "either"),
    turn(
        "probabilities of regions on a user turn",
        "tokens: 12",
        "tokens: 12, region_probabilities: {aura: 0.5}",
        ("region_probabilities is given", "role is user"),
        "assistant turns only",
        C1_0,
    ),
    turn(
        "a region and its probability",
        ASSISTANT,
        "{role: assistant, region: aura, region_probabilities: {aura: 0.5}}",
        "both region and region_probabilities",
        "either the region, or how probable each is",
    ),
    turn(
        "probabilities of regions and coordinates",
        "tokens: 40",
        "tokens: 40, region_probabilities: {aura: 0.5}",
        "both region_probabilities and at",
        "either how probable each region is, or coordinates",
    ),
    *(
        turn(
            f"probabilities {given}", ASSISTANT, f"{{role: assistant, region_probabilities: {given}}}", found, expected
        )
        for given, found, expected in [
            ("{aura: 1.5}", "region_probabilities.aura is 1.5", "a number from 0 to 1"),
            ("{aura: -0.1}", "region_probabilities.aura is -0.1", "a number from 0 to 1"),
            ("{aura: .nan}", "region_probabilities.aura is nan", "a number from 0 to 1"),
            ("{aura: high}", 'region_probabilities.aura is "high"', "a number from 0 to 1"),
            ("{aura: true}", "region_probabilities.aura is true", "a number from 0 to 1"),
            ("{aura: null}", "region_probabilities.aura is null", "a number from 0 to 1"),
            ("{aura: 0.7, calm: 0.4}", "add up to 1.1", "at most 1 in all"),
            ("[0.7, 0.2]", "region_probabilities is a list of 2", "a mapping from regions to probabilities"),
            ('{" ": 0.5}', 'the name is " "', "a name without blanks"),
        ]
    ),
    case(
        "a principal that is a number",
        "    at: 2\n",
        "    at: 2\n    principal: 7\n",
        "conversation c2",
        "principal is 7",
        "text",
        1,
    ),
    turn("a coordinate NaN", "33.5", ".nan", "assistant is nan", "finite number"),
    turn("a coordinate infinity", "33.5", ".inf", "assistant is inf", "finite number"),
    turn("a coordinate that is text", "33.5", "high", 'assistant is "high"', "finite number"),
    turn(
        "a coordinate on an axis that no space of the model has",
        "at: {assistant: 33.5}",
        "at: {asistant: 33.5}",
        ('"asistant"', 'did you mean "assistant"'),
        "assistant",
    ),
    turn("negative drift", "tokens: 40", "tokens: 40, drift: -0.1", "drift is -0.1", "number >= 0"),
    turn("drift NaN", "tokens: 40", "tokens: 40, drift: .nan", "drift is nan", "number >= 0"),
    turn("edited that is text", "tokens: 40", 'tokens: 40, edited: "yes"', 'edited is "yes"', "true or false"),
    turn("a time that is none", "tokens: 40", "tokens: 40, time: yesterday", 'time is "yesterday"', "ISO 8601"),
    turn(
        "a list of beliefs that is text",
        "tokens: 40",
        "tokens: 40, believes: p",
        'believes is "p"',
        "list of propositions",
    ),
    turn(
        "token ids too few",
        "tokens: 40",
        "tokens: 40, token_ids: [1, 2]",
        ("token_ids has 2", "tokens is 40"),
        "one entry a token",
    ),
    turn("a token id of many digits", "tokens: 40", "tokens: 1, token_ids: [3000000000]", "3000000000", "whole number"),
    turn(
        "token coordinates that are not base64",
        "tokens: 40",
        'tokens: 40, at_tokens: {probes: [assistant], float32: "?"}',
        "float32 is not base64",
        "base64",
    ),
    turn(
        "token coordinates too few",
        "tokens: 40",
        'tokens: 40, at_tokens: {probes: [assistant], float32: "AAAA"}',
        "3 bytes",
        "4 bytes for each",
    ),
    turn(
        "transferred with nothing to transfer",
        ASSISTANT,
        "{role: assistant, tokens: 40, model: other, cache: transferred}",
        ('cache is "transferred"', 'ran on model "other"'),
        ("retained or transferred only", "rebuilt"),
    ),
    turn(
        "retained on a first turn",
        USER,
        USER[:-1] + ", cache: retained}",
        ('cache is "retained"', "no earlier turn"),
        "rebuilt",
        C1_0,
    ),
    turn(
        "retained on another server",
        ASSISTANT,
        "{role: assistant, tokens: 40, server: texas, cache: retained}",
        ('cache is "retained"', "texas", "c1/0", "new-york"),
        "transferred or rebuilt",
    ),
    turn(
        "an unknown model",
        "tokens: 40",
        "tokens: 40, model: qwin",
        ('no model "qwin"', 'did you mean "qwen"'),
        "qwen, other",
    ),
    turn(
        "an unknown server",
        "tokens: 40",
        "tokens: 40, server: new-yrok",
        ('no server "new-yrok"', 'did you mean "new-york"'),
        "new-york, texas",
    ),
    turn("no model on a first turn", "model: qwen, server", "server", "no model", "model on the first turn", C1_0),
    turn("an unknown recorded cache", "tokens: 40", "tokens: 40, kv: k1", 'no cache "k1"', "cache"),
    turn(
        "an unknown intervention",
        "tokens: 40",
        "tokens: 40, interventions: [cap]",
        'no intervention "cap"',
        "intervention",
    ),
    turn("shared from nowhere", "tokens: 40", "tokens: 40, shared_from: c9/0", 'no conversation "c9"', "c1, c2, c3"),
    turn(
        "shared from a stage that is not there",
        "tokens: 40",
        "tokens: 40, shared_from: c2/2",
        'shared_from is "c2/2"',
        ("c2/ORDINAL", "below 2"),
    ),
    turn(
        "shared from what is no stage",
        "tokens: 40",
        "tokens: 40, shared_from: c2/²",
        'shared_from is "c2/²"',
        "ORDINAL",
    ),
    turn(
        "shared from itself",
        "tokens: 40",
        "tokens: 40, shared_from: c1/0",
        ('shared_from is "c1/0"', "same conversation"),
        "another conversation",
    ),
    turn(
        "shared from another model",
        "tokens: 40",
        "tokens: 40, shared_from: c3/0",
        ('shared_from is "c3/0"', "another model"),
        "same model",
    ),
    case(
        "a range on an axis that the space lacks",
        "aura: {assistant: [null, -40]}",
        "aura: {evil: [null, -40]}",
        "space axis",
        ('"aura"', '"evil"'),
        "assistant",
        -4,
    ),
    case(
        "a range from high to low",
        "[null, -40]",
        "[40, -40]",
        ("space axis", "region aura"),
        "[40, -40]",
        "low <= high",
    ),
    case("a range of three", "[null, -40]", "[0, 1, 2]", ("space axis", "region aura"), "[0, 1, 2]", "[low, high]"),
    case("a range of text", "[null, -40]", "[low, high]", ("space axis", "region aura"), "low", "numbers"),
    case("a range NaN", "[null, -40]", "[.nan, 1]", ("space axis", "region aura"), "nan", "numbers"),
    case(
        "a range beyond floating point",
        "[null, -40]",
        "[1.0e+400, null]",
        ("space axis", "region aura"),
        "1.0e+400",
        "numbers",
        in_json=False,
    ),
    case("a space without axes", "axes: [assistant]", "axes: []", "space axis", "axes is", "at least one axis", -2),
    case(
        "a space of an unknown model",
        "    model: qwen\n",
        "    model: qwin\n",
        "space axis",
        ('no model "qwin"', 'did you mean "qwen"'),
        "qwen, other",
    ),
    case(
        "discrete that is text",
        "axes: [assistant]",
        "axes: [assistant]\n    discrete: maybe",
        "space axis",
        'discrete is "maybe"',
        "null where it was not tested",
        1,
    ),
    case("a space named stated", "  axis:\n", "  stated:\n", "space stated", "stated", "another name"),
    case(
        "a model that is its own base",
        "other: {}",
        "other: {base: other}",
        "model other",
        "base leads back to itself",
        "another model",
    ),
    case(
        "a model with layers beyond any integer",
        "other: {}",
        "other: {layers: 1180591620717411303424}",
        "model other",
        "layers is 1180591620717411303424",
        "whole number",
    ),
    case("a name with a blank at its end", "  other: {}", '  "other ": {}', (), '"other "', "name without blanks"),
    case(
        "an unknown key of the file",
        "title: Sound",
        "titel: Sound",
        (),
        ('no field "titel"', 'did you mean "title"'),
        "title",
    ),
    case("a title that is a number", "title: Sound", "title: 7", (), "title is 7", "text"),
    case("a key twice", "title: Sound", "title: Sound\ntitle: Again", (), '"title" twice', "once", 1, in_json=False),
    case(
        "a conversation twice", "  c2:\n    parent: c1\n    at: 2\n", "  c1:\n", (), '"c1" twice', "once", in_json=False
    ),
    case("a model twice", "  other: {}\n", "  qwen: {}\n", (), '"qwen" twice', "once", in_json=False),
    case(
        "a tag",
        "title: Sound",
        "title: !!python/object/apply:os.mkdir [pwned]",
        (),
        "tag",
        "without tags",
        in_json=False,
    ),
    case("a tag of its own", "title: Sound", "title: !secret x", (), "tag", "without tags", in_json=False),
    case("an alias of nothing", "title: Sound", "title: *nothing", (), "undefined alias", "YAML", in_json=False),
    case("bad indentation", "    at: 2\n", "   at: 2\n", (), "not YAML", "YAML", in_json=False),
    case("an open bracket", "[new-york, texas]", "[new-york, texas", (), "not YAML", "YAML", 1, in_json=False),
    case("a key that is a list", "title: Sound", "[a, b]: Sound", (), "key", "plain text", in_json=False),
    case("a second document", "title: Sound", "title: Sound\n---", (), "document", "YAML", 1, in_json=False),
    case("a number of a thousand digits", "tokens: 40", "tokens: " + 1000 * "9", (), "9999", "digits", in_json=False),
]


def broken(old, new):
    """The sound trace with one thing in it wrong, and the number of the first line that is not as it was."""
    assert SOUND.count(old) == 1, old
    return SOUND.replace(old, new), SOUND.count("\n", 0, SOUND.index(old)) + 1


def test_the_trace_that_the_bad_ones_are_made_from_is_sound(run, sound):
    assert run(sound / "sound.yaml").exit_code == 0
    assert run("check", sound / "sound.db").exit_code == 0


FIELDS = ("old", "new", "place", "found", "expected")


@pytest.mark.parametrize((*FIELDS, "line"), [pytest.param(*p.values[:6], id=p.id) for p in WRONG])
def test_a_wrong_trace_in_yaml_is_refused_with_its_place_and_changes_nothing(
    old, new, place, found, expected, line, stays, run, tmp_path
):
    text, first = broken(old, new)
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    stays(path, place, found, expected)
    said = re.search(r"\bline (\d+)", run(path).stderr)
    assert (said and int(said[1])) == (None if line is None else first + line)


@pytest.mark.parametrize(FIELDS, [pytest.param(*p.values[:5], id=p.id) for p in WRONG if p.values[6]])
def test_the_same_wrong_trace_in_json_is_refused_in_the_same_words(old, new, place, found, expected, stays, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(yaml.safe_load(broken(old, new)[0])), encoding="utf-8")
    stays(path, place, found, expected)


# --- files that are no trace at all

NOTHING_LIKE_IT = [
    pytest.param(b"", "it is empty", "trace file in YAML or JSON", id="an empty file"),
    pytest.param(b"# nothing but a remark\n", "it is empty", "trace file in YAML or JSON", id="a remark"),
    pytest.param(b"just words", '"just words"', "individuation: 1", id="words"),
    pytest.param(b"- a\n- b\n", "a list of 2", "mapping", id="a list in YAML"),
    pytest.param(b"[1, 2, 3]", "a list of 3", "mapping", id="a list in JSON"),
    pytest.param(b"7", "it holds 7", "mapping", id="a number"),
    pytest.param(b"a: [1, 2}", "line 1: it is not YAML", "YAML or JSON", id="broken YAML"),
    pytest.param(b'{"a": [1, 2}', "line 1: it is not JSON", "YAML or JSON", id="broken JSON"),
    pytest.param(
        b'{"a": 1,\n "b": ]}', "line 2: it is not JSON", "YAML or JSON", id="JSON that breaks in its second line"
    ),
    pytest.param(
        b'{"individuation": 1, "individuation": 1}', '"individuation" is given twice', "once", id="a key twice in JSON"
    ),
    pytest.param(
        b'{"individuation": 1, "models": {"m": {}, "m": {}}}', '"m" is given twice', "once", id="a model twice in JSON"
    ),
    pytest.param(
        b'condition,coefficient,probe\nbaseline,0.0,Who are you?\nsteered,2.0,"a, b: c"\n', "", "YAML", id="CSV"
    ),
    pytest.param(
        b'{"messages": [], "id": 3}',
        "messages, id",
        "a result file of the published mini-experiments",
        id="another recording",
    ),
    pytest.param(b"individuation: 1\ntitle: caf\xe9\n", "line 2: byte 27 (0xe9) is not UTF-8", "UTF-8", id="Latin-1"),
    pytest.param("individuation: 1".encode("utf-16"), "line 1: byte 0 (0xff) is not UTF-8", "UTF-8", id="UTF-16"),
    pytest.param(b"individuation: 1\0\n", "zero bytes", "text", id="a zero byte"),
    pytest.param(b"individuation: 1\ntitle: \x07", "#x0007", "YAML", id="a control character"),
    pytest.param(b"\x89PNG\r\n\x1a\n\0\0\0", "is not UTF-8", "UTF-8", id="a picture"),
    pytest.param(
        b'{"individuation": 1, "title": "\\ud83d"}', "half of a surrogate pair", "Unicode", id="half a surrogate pair"
    ),
    pytest.param(
        b'{"individuation": 1, "models": {"m": {"layers": ' + 5000 * b"1" + b"}}}",
        "digits",
        "digits",
        id="5,000 digits",
    ),
    pytest.param(b"a: &a [*a]", "line 1: an alias refers to itself", "without cycles", id="an alias within itself"),
    pytest.param(b"individuation: 1\n---\nindividuation: 1\n", "line 2", "YAML", id="two documents"),
]


@pytest.mark.parametrize(("content", "found", "expected"), NOTHING_LIKE_IT)
def test_a_file_that_is_no_trace_is_refused_and_changes_nothing(content, found, expected, stays, tmp_path):
    path = tmp_path / "thing"
    path.write_bytes(content)
    stays(path, found=found, expected=expected)


def test_a_missing_file_is_refused_by_every_command(run, sound, snapshot, tmp_path):
    missing, before = tmp_path / "missing.yaml", snapshot(sound)
    for command in ([], ["info"], ["check"]):
        refused(run(*command, missing), str(missing), "no such file", "a trace.db or a trace file")
    refused(run("import", missing, "-o", tmp_path / "new.db"), str(missing), "no such file", (), writes=True)
    refused(run("label", missing, "--space", sound / "sound.yaml"), str(missing), "no such file", (), writes=True)
    refused(run("label", sound / "sound.db", "--space", missing), str(missing), "no such file", (), writes=True)
    assert list(tmp_path.iterdir()) == []
    assert snapshot(sound) == before


def test_a_folder_is_refused_by_every_command(run, sound, snapshot, tmp_path):
    folder, before = tmp_path / "folder", snapshot(sound)
    folder.mkdir()
    for command in ([], ["info"], ["check"]):
        refused(run(*command, folder), str(folder), "it is a directory", "a trace.db or a trace file")
    refused(run("import", folder, "-o", tmp_path / "new.db"), str(folder), "it is a directory", (), writes=True)
    for suffix in ("", ".db", ".yaml"):
        target = tmp_path / f"target{suffix}"
        target.mkdir()
        refused(run("import", sound / "sound.yaml", "-o", target), str(target), "directory", (), writes=True)
        assert list(target.iterdir()) == []
        target.rmdir()
    refused(run("label", folder, "--space", sound / "sound.yaml"), str(folder), "it is a directory", (), writes=True)
    refused(run("label", sound / "sound.db", "--space", folder), str(folder), "it is a directory", (), writes=True)
    assert list(tmp_path.iterdir()) == [folder]
    assert snapshot(sound) == before


def test_a_target_in_a_folder_that_is_not_there_is_refused(run, sound, tmp_path):
    for name in ("new.db", "new.yaml"):
        target = tmp_path / "nowhere" / name
        refused(run("import", sound / "sound.yaml", "-o", target), str(target), "folder", "exist", writes=True)
    assert list(tmp_path.iterdir()) == []


def test_an_import_into_a_file_that_is_no_trace_is_refused_and_leaves_it_as_it_was(run, sound, tmp_path):
    target = tmp_path / "notes.db"
    target.write_text("dear diary", encoding="utf-8")
    refused(
        run("import", sound / "sound.yaml", "-o", target), str(target), "not an SQLite file", "trace.db", writes=True
    )
    assert target.read_text(encoding="utf-8") == "dear diary"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_may_not_be_read_is_refused(run_bound, tmp_path):
    path = tmp_path / "secret.yaml"
    path.write_text(SOUND, encoding="utf-8")
    path.chmod(0)
    refused(run_bound(path), str(path), "cannot be read: Permission denied", "a file that you may read")


# --- broken recordings of the mini-experiments


@pytest.fixture
def recording():
    return {
        "case": "Made up",
        "condition": "cap_asst",
        "model": "Some/Model-1B",
        "monitor_layer": 5,
        "capping_experiment": "layers_3:6-p0.25",
        "conversation": [
            {"turn": 0, "role": "user", "content": "Hello.", "projection": float("nan")},
            {"turn": 1, "role": "assistant", "content": "Good day.", "projection": 1.5},
        ],
    }


def test_the_recording_that_the_broken_ones_are_made_from_is_sound(run, recording, tmp_path):
    path = tmp_path / "made-up.json"
    path.write_text(json.dumps(recording), encoding="utf-8")
    assert run(path).exit_code == 0


@pytest.mark.parametrize(
    ("place", "key", "value", "found", "expected"),
    [
        (1, "role", "asistant", 'role is "asistant"', "system, user, assistant, tool"),
        (1, "role", None, "role is null", "system, user, assistant, tool"),
        (1, "projection", "high", 'projection is "high"', "a number, NaN or null"),
        (1, "projection", True, "projection is true", "a number, NaN or null"),
        (1, "projection", 10**400, "1000000", "number"),
        (1, "content", 7, "content is 7", "text"),
        (1, "turn", 5, "numbered 5", "so 1"),
        (None, "condition", "uncapped", 'condition is "uncapped"', "unsteered, cap_asst"),
        (None, "condition", ["cap_asst"], "condition is a list of 1", "unsteered, cap_asst"),
        (None, "case", 7, "case is 7", "text"),
        (None, "model", None, "model is null", "text"),
        (None, "monitor_layer", "fifty", 'monitor_layer is "fifty"', "a whole number"),
        (None, "conversation", "hello", 'conversation is "hello"', "a list of turns"),
        (None, "conversation", ["hello"], 'turn 0: it is "hello"', "a mapping"),
        (None, "capping_experiment", "all layers", 'capping_experiment is "all layers"', "layers_46:54-p0.25"),
        (None, "capping_experiment", "layers_0:99999999999-p0.25", "layers_0:99999999999", "layers_46:54-p0.25"),
        (None, "capping_experiment", None, "capping_experiment is null", "layers_46:54-p0.25"),
    ],
)
def test_a_broken_mini_experiment_is_refused_with_its_place(
    place, key, value, found, expected, recording, stays, tmp_path
):
    (recording if place is None else recording["conversation"][place])[key] = value
    path = tmp_path / "made-up.json"
    path.write_text(json.dumps(recording), encoding="utf-8")
    stays(path, "conversation" if place is None and key == "conversation" else (), found, expected)


# --- files that are hostile, or merely huge

# A process in between: what a child is said to have used begins with what its parent held when it forked.
MEASURED = """
import json, pathlib, resource, subprocess, sys
done = subprocess.run(sys.argv[2:], capture_output=True, encoding="utf-8")
used = resource.getrusage(resource.RUSAGE_CHILDREN)
pathlib.Path(sys.argv[1]).write_text(json.dumps({
    "exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr,
    "seconds": used.ru_utime + used.ru_stime,
    "megabytes": used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
}))
"""


def laughs(levels):
    first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    return first + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, levels))


HOSTILE = [
    pytest.param(laughs(10), "aliases expand to 12,345,679,021 values", id="a billion laughs"),
    pytest.param(laughs(6), "aliases expand to", id="a million laughs"),
    pytest.param(f"a: &a [{'x, ' * 2000}]\nb: [{'*a, ' * 2000}]\n", "aliases expand to", id="many aliases of much"),
    pytest.param(
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 400)), "nested", id="deep aliases"
    ),
    pytest.param("a: " + 10_000 * "[" + 10_000 * "]", "nested too deeply", id="10,000 brackets"),
    pytest.param("a:\n" + 60_000 * " [[[[[[[[[[\n", "nested too deeply", id="600,000 brackets"),
    pytest.param(400_000 * "- ", "nested too deeply", id="400,000 dashes"),
    pytest.param(10_000 * "[" + 10_000 * "]", "nested too deeply", id="10,000 brackets in JSON"),
    pytest.param(1_000_000 * "[", "nested too deeply", id="a million brackets in JSON"),
]


@pytest.mark.parametrize(("text", "found"), HOSTILE)
def test_a_hostile_file_is_refused_within_two_seconds_and_300_megabytes(text, found, command, tmp_path):
    path, usage = tmp_path / "hostile", tmp_path / "usage.json"
    path.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-c", MEASURED, usage, *command(path)], check=True, timeout=60)
    result = SimpleNamespace(**json.loads(usage.read_text(encoding="utf-8")))
    refused(result, str(path), found)
    assert result.seconds < 2
    assert result.megabytes < 300


@pytest.fixture
def huge(tmp_path):
    """A place for a file that is not to stay on the disk when the test has passed."""
    path = tmp_path / "huge"
    yield path
    path.unlink(missing_ok=True)


MANY = 100_000_000


@pytest.mark.parametrize(
    ("before", "after", "place", "found"),
    [
        (b"individuation: 1\ntitle: ", b"\n", "line 2", "the line has 100,000,007 characters"),
        (b'{"individuation": 1, "title": "', b'", "models": 3}', (), "models is 3"),
        (b'{"individuation": 1, "models": {}, "conversations": {}, "', b'": 3}', (), "no field"),
        (
            b'{"individuation": 1, "models": {"m": {}}, "conversations": {"',
            b'": {"turns": 3}}}',
            "conversation",
            "turns is 3",
        ),
        (b'{"individuation": 1, "title": "', b"", "line 1", "it is not JSON"),
    ],
    ids=["a line of YAML", "a title in JSON", "a key in JSON", "a name in JSON", "JSON without an end"],
)
def test_a_file_with_a_line_of_100_megabytes_is_refused_in_few_words(before, after, place, found, run, huge):
    huge.write_bytes(before + MANY * b"a" + after)
    began = time.process_time()
    refused(run(huge), (str(huge), *([place] if place else [])), found)
    assert time.process_time() - began < 5


def test_100_megabytes_of_zeros_are_refused(run, huge):
    with huge.open("wb") as file:
        file.truncate(MANY)
    refused(run(huge), str(huge), "zero bytes", "a text file")


def test_json_that_breaks_after_megabytes_is_not_tried_as_yaml(run, huge):
    turn = b'{"role": "user",\n "tokens": 3},\n'
    huge.write_bytes(b'{"individuation": 1,\n "conversations": {"c": {"turns": [\n' + 150_000 * turn + b"}}}")
    began = time.process_time()
    refused(run(huge), (str(huge), "line 300003"), "it is not JSON")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        '{"individuation": 1, "models": {}, "conversations": {"c": {"turns": [{"role": "user", "model": "LONG "}]}}}',
        '{"individuation": 1, "models": {"m": {}}, "conversations": {"LONG": {"turns": [{"role": "user"}]}}}',
        '{"individuation": 1, "models": {"LONG": {}}, "conversations": {"c": {"turns": [{"model": "n"}]}}}',
        '{"individuation": 1, "models": {}, "conversations": {"c": {"turns": [{"role": "user", "region": "LONG"}]}}}',
        '{"individuation": 1, "models": {}, "conversations": {"c": {"turns": [{"role": "user", "time": "LONG"}]}}}',
        '{"individuation": 1, "spaces": {"s": {"model": "m", "axes": ["a"], "regions": {"r": {"a": "LONG"}}}}}',
        '{"individuation": "LONG"}',
        '{"LONG": "LONG"}',
    ],
)
def test_long_names_and_values_are_cut_in_messages(text, run, tmp_path):
    path = tmp_path / "long.json"
    path.write_text(text.replace("LONG", 25_000 * "long"), encoding="utf-8")
    said = refused(run(path), str(path))
    assert "long" in said["place"] + said["found"] + said["expected"]


def test_what_a_message_quotes_cannot_command_the_terminal(run, tmp_path):
    path = tmp_path / "hostile.json"
    for sign in ("\\u001b[31m", "\\u009b31m", "\\u2028", "\\u202e"):
        for text in (
            '{"individuation": "SIGN"}',
            '{"individuation": 1, "SIGN": 1}',
            '{"individuation": 1, "models": {"SIGN": 3}}',
        ):
            path.write_text(text.replace("SIGN", f"a{sign}b"), encoding="utf-8")
            refused(run(path), str(path))


# --- spaces and labellings

SPACE = """\
individuation: 1
spaces:
  strict:
    model: qwen
    axes: [assistant]
    regions:
      aura: {assistant: [null, -60]}
"""


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        ("assistant", "evil", ("space strict", "axis evil was not recorded", "sound.db"), "assistant"),
        ("model: qwen", "model: qwin", ("space strict", 'no model "qwin"', 'did you mean "qwen"'), "qwen"),
        ("[null, -60]", "[0, -60]", ("space.yaml", "space strict, region aura", "line 7", "[0, -60]"), "low <= high"),
        ("aura: {assistant", "aura: {evil", ("space.yaml", "space strict", '"evil"'), "assistant"),
        (
            "axes: [assistant]",
            "axes: assistant",
            ("space.yaml", "space strict", "line 5", 'axes is "assistant"'),
            "list",
        ),
        ("  strict:", "  axis:", ("sound.db", 'already has a labelling "axis"'), "another name"),
        ("  strict:", "  stated:", ("sound.db", 'already has a labelling "stated"'), "another name"),
        ("    axes: [assistant]\n", "", ("space.yaml", "axes is missing"), "axes"),
        ("spaces:", "spaces: {}\nother:", ("space.yaml", "no space"), "at least one space"),
        ("individuation: 1\n", "", ("space.yaml", "no `individuation:` line"), "individuation: 1"),
        ("strict:", "strict: {model: qwen}\n  strict:", ("space.yaml", "line 4", '"strict" twice'), "once"),
        (SPACE, "just words", ("space.yaml", '"just words"'), "mapping"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_and_changes_nothing(
    old, new, found, expected, run, sound, snapshot, tmp_path
):
    path, before = tmp_path / "space.yaml", snapshot(sound)
    path.write_text(SPACE.replace(old, new), encoding="utf-8")
    refused(run("label", sound / "sound.db", "--space", path), (), found, expected, writes=True)
    assert snapshot(sound) == before


def test_a_space_on_an_axis_that_was_recorded_twice_is_refused_before_it_is_stored(run, tmp_path):
    trace, space, stored = tmp_path / "twice.yaml", tmp_path / "space.yaml", tmp_path / "twice.db"
    trace.write_text(
        "individuation: 1\nmodels: {m: {}}\nprobes: {x3: {axis: x, layer: 3}, x4: {axis: x, layer: 4}}\n"
        "conversations: {c: {turns: [{role: assistant, model: m, at: {x3: 1, x4: 2}}]}}\n",
        encoding="utf-8",
    )
    assert run("import", trace, "-o", stored).exit_code == 0
    before = stored.read_bytes()
    text = "individuation: 1\nspaces: {s: {model: m, axes: [x], regions: {low: {x: [null, 1]}}}}\n"
    space.write_text(text, encoding="utf-8")
    refused(run("label", stored, "--space", space), "space s", ("recorded 2 times", "x3, x4"), "layer", writes=True)
    assert stored.read_bytes() == before
    space.write_text(text.replace("axes", "layer: 3, axes"), encoding="utf-8")
    assert run("label", stored, "--space", space).exit_code == 0


def test_a_labelling_cannot_have_a_name_that_is_taken(run, sound, tmp_path):
    space, trace = tmp_path / "space.yaml", tmp_path / "trace.db"
    space.write_text(SPACE, encoding="utf-8")
    trace.write_bytes((sound / "sound.db").read_bytes())
    assert run("label", trace, "--space", space).exit_code == 0
    assert run("label", trace, "--space", space, "--name", "second").exit_code == 0
    before = trace.read_bytes()
    for name in ("strict", "second", "axis", "stated"):
        taken = run("label", trace, "--space", space, "--name", name)
        refused(taken, str(trace.name), f'already has a labelling "{name}"', "another name (--name)", writes=True)
    assert trace.read_bytes() == before


def test_only_a_stored_trace_can_be_labelled(run, sound, snapshot, tmp_path):
    space, before = tmp_path / "space.yaml", snapshot(sound)
    space.write_text(SPACE, encoding="utf-8")
    path = sound / "sound.yaml"
    refused(
        run("label", path, "--space", space),
        str(path),
        "not a stored trace",
        f"individuate import {path} -o",
        writes=True,
    )
    assert snapshot(sound) == before


# --- names that the command line gets wrong


@pytest.mark.parametrize(
    ("options", "found", "expected"),
    [
        (["--view", "virtual-instnce"], ('no view "virtual-instnce"', 'did you mean "virtual-instance"'), "thread"),
        (["--view", "thread", "--reading", "recurrence=new"], 'no reading "recurrence"', "branching"),
        (
            ["--reading", "reconstrction=new"],
            ('no reading "reconstrction"', 'did you mean "reconstruction"'),
            "branching",
        ),
        (["--reading", "reconstruction=maybe"], ("reading reconstruction", 'no value "maybe"'), "same, new"),
        (["--reading", "max_drift=-1"], ("reading max_drift", '"-1"'), "a number >= 0"),
        (["--reading", "max_drift=nan"], ("reading max_drift", '"nan"'), "a number >= 0"),
        (["--reading", "reconstruction"], ("--reading", '"reconstruction"'), "NAME=VALUE"),
        (["--reading", "=new"], 'no reading ""', "reconstruction"),
        (["--reading", "reconstruction="], 'no value ""', "same, new"),
        (["--reading", "edits=cut", "--reading", "edits=cut"], ("--reading", "edits is given twice"), "once"),
        (["--labelling", "axes"], ('no labelling "axes"', 'did you mean "axis"'), "axis"),
        (
            ["--view", "instance-persona", "--reading", "recurrence=same", "--reading", "branching=overlap"],
            ("view instance-persona", "recurrence=same", "branching=overlap"),
            "one of the two",
        ),
        (["--reading", "recurrence=same", "--reading", "branching=overlap"], "branching=overlap", "one of the two"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_those_that_do(options, found, expected, run, sound):
    for form in ("table", "json", "csv"):
        refused(run(sound / "sound.db", *options, "--format", form), (), found, expected)


def test_a_command_that_is_misspelt_is_refused_with_the_nearest(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refused(run("veiws"), "veiws", ("no such file or command", 'did you mean "views"'), "a trace, or a command")
    refused(run("imprt"), "imprt", 'did you mean "import"')


def test_the_views_command_refuses_a_view_that_does_not_exist(run):
    refused(run("views", "thred"), (), ('no view "thred"', 'did you mean "thread"'), "virtual-instance")


# --- names that are taken


def test_a_conversation_that_is_already_there_is_not_imported_again(run, sound, snapshot, tmp_path):
    before = snapshot(sound)
    again = run("import", sound / "sound.yaml", "-o", sound / "sound.db")
    refused(
        again,
        ("sound.yaml", "conversation c1"),
        "sound.db already has a conversation of that name",
        "--prefix",
        writes=True,
    )
    assert snapshot(sound) == before
    twice = run("import", sound / "sound.yaml", sound / "sound.yaml", "-o", tmp_path / "new.db")
    refused(
        twice, ("sound.yaml", "conversation c1"), "already has a conversation of that name", "--prefix", writes=True
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (
            "qwen: {name: Qwen/Qwen3-32B}",
            "qwen: {name: Qwen/Qwen3-8B}",
            ("model qwen", "Qwen/Qwen3-8B", "Qwen/Qwen3-32B"),
        ),
        ("other: {}", "other: {layers: 64}", ("model other", "layers is 64", "null")),
        ("[null, -40]", "[null, -50]", ("space axis", "another space of that name")),
    ],
)
def test_a_name_that_means_something_else_is_not_imported(old, new, found, run, sound, snapshot, tmp_path):
    text = SOUND.replace(old, new)
    for name in ("c1", "c2", "c3"):
        text = text.replace(f"{name}:", f"new-{name}:").replace(f": {name}\n", f": new-{name}\n")
    path, before = tmp_path / "second.yaml", snapshot(sound)
    path.write_text(text, encoding="utf-8")
    refused(run("import", path, "-o", sound / "sound.db"), "second.yaml", found, (), writes=True)
    assert snapshot(sound) == before


def test_what_a_terminal_would_obey_is_refused_where_it_would_be_printed(run, tmp_path):
    for field in ({"title": "a\x1b]0;x\x07"}, {"source": "a\x1b[2J"}):
        data = {"individuation": 1, "models": {"m": {}}, "conversations": {}, **field}
        (tmp_path / "t.json").write_text(json.dumps(data), encoding="utf-8")
        result = run(tmp_path / "t.json")
        assert result.exit_code == 2
        assert "\x1b" not in result.stderr
        assert "control characters" in result.stderr


def test_yaml_that_no_person_wrote_is_sent_to_json(run, tmp_path):
    lines = "".join(f"  c{i}: {{turns: []}}\n" for i in range(500_000))
    (tmp_path / "long.yaml").write_text(
        f"individuation: 1\nmodels: {{m: {{}}}}\nconversations:\n{lines}", encoding="utf-8"
    )
    result = run(tmp_path / "long.yaml")
    assert result.exit_code == 2
    assert "JSON or trace.db" in result.stderr


def test_a_name_that_is_too_long_for_the_system_is_refused_for_reading_and_for_writing(run, examples, tmp_path):
    long = tmp_path / ("x" * 300 + ".yaml")
    for result in (run(long), run("import", examples / "qwen3-32b-aura.yaml", "-o", long)):
        assert result.exit_code == 2
        assert "file name too long" in result.stderr
        assert "Expected: " in result.stderr
    assert "Nothing was written." in result.stderr


def test_a_terminal_that_cannot_show_the_text_is_told_so(examples):
    words = [sys.executable, "-m", "individuation.cli.main", str(examples / "qwen3-32b-aura.yaml")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2
    assert "UTF-8" in result.stderr
    assert "Traceback" not in result.stderr
