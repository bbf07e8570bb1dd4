"""Bad input: status 2 and one paragraph that says where, what was found and what was expected; and nothing is changed."""

import json
import os
import re
import subprocess
import sys
import time

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
    r"(?P<place>\S[^\n]*?): (?P<found>[^\n]+)\.\nExpected: (?P<expected>[^\n]+)\.\n(?P<note>Nothing was written\.\n)?\Z"
)


def told(result, writes=False):
    """The three parts of a refusal, once its form is checked."""
    assert result.exit_code == 2, result.output
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


def case(name, old, new, place, found, expected, in_json=True):
    return pytest.param(old, new, place, found, expected, in_json, id=name.replace(" ", "-"))


USER = "{role: user, tokens: 12, model: qwen, server: new-york}"
ASSISTANT = "{role: assistant, tokens: 40, at: {assistant: 33.5}}"
C1_0, C1_1 = "conversation c1, turn 0", "conversation c1, turn 1"


def tokens(value, found, in_json=True):
    return case(
        f"tokens {value}",
        "tokens: 40",
        f"tokens: {value}",
        C1_1,
        f"tokens is {found}",
        ("whole number", "null"),
        in_json,
    )


def turn(name, old, new, found, expected, place=C1_1, in_json=True):
    return case(name, old, new, place, found, expected, in_json)


WRONG = [
    *(
        case(f"version {value}", "individuation: 1", f"individuation: {value}", (), found, "`individuation: 1`")
        for value, found in [
            ("0", "version is 0"), ("2", "version is 2"), ('"1"', 'version is "1"'), ("true", "version is true"),
            ("null", "version is null"), ("1.5", "version is 1.5"), ("[1]", "version is a list"),
        ]
    ),
    case("no version", "individuation: 1\n", "", (), "no `individuation:` line", "`individuation: 1`"),
    case("no models", "models:\n  qwen: {name: Qwen/Qwen3-32B}\n  other: {}\n", "", (), "models is missing", "mapping"),
    case("a list of models", "models:\n  qwen: {name: Qwen/Qwen3-32B}\n  other: {}\n", "models: [qwen, other]\n", (), "models is a list of 2", "mapping from names to models"),
    case("a server twice", "[new-york, texas]", "[new-york, texas, texas]", (), ("servers", "texas"), "each once"),
    case("servers that are numbers", "[new-york, texas]", "[1, 2]", (), "servers", "names"),
    case("a dangling parent", "parent: c1", "parent: c9", "conversation c2", ('no conversation "c9"', 'did you mean "c1"'), "c1, c2, c3"),
    case("a parent of itself", "parent: c1", "parent: c2", "conversation c2", ("lead back to itself", "c2 -> c2"), "does not branch from it"),
    case("two parents of each other", "  c3:\n", "  c3:\n    parent: c4\n    at: 0\n    turns: []\n  c4:\n    parent: c3\n    at: 0\n", "conversation c", ("lead back to itself", "c3 -> c4", "c4 -> c3")[:1], "does not branch from it"),
    case("a negative branch point", "at: 2", "at: -1", "conversation c2", "at is -1", "whole number >= 0"),
    case("a branch point after the end", "at: 2", "at: 3", "conversation c2", ("at is 3", "path of c1 has 2 turns"), "from 0 to 2"),
    case("a branch point of many digits", "at: 2", "at: 3000000000", "conversation c2", "at is 3000000000", "whole number"),
    case("a branch point that is text", "at: 2", "at: two", "conversation c2", 'at is "two"', "whole number"),
    case("a parent without a branch point", "    at: 2\n", "", "conversation c2", ("parent", "c1", "at is missing"), "at:"),
    case("a branch point without a parent", "    parent: c1\n", "", "conversation c2", ("at is given", "parent is missing"), "parent"),
    case("an unknown field of a conversation", "    at: 2\n", "    at: 2\n    titel: x\n", "conversation c2", 'no field "titel"', "parent, at, turns"),
    case("turns that are a mapping", "  c3:\n", "  c4:\n    turns: {role: user}\n  c3:\n", "conversation c4", "turns is a mapping", "list of turns"),
    tokens("-3", "-3"), tokens("0", "0"), tokens(".nan", "nan"), tokens("1.5", "1.5"), tokens("many", '"many"'),
    tokens('"40"', '"40"'), tokens("true", "true"), tokens("[40]", "a list of 1"), tokens("9223372036854775808", "9223372036854775808"),
    tokens("1" + 27 * "0", "1000"),
    turn("an unknown role", "role: assistant, tokens: 40", "role: asistant, tokens: 40", ('role is "asistant"', 'did you mean "assistant"'), "system, user, assistant, tool"),
    turn("no role", "role: assistant, tokens: 40", "tokens: 40", "role is missing", "assistant"),
    turn("an unknown cache", "tokens: 40", "tokens: 40, cache: kept", 'cache is "kept"', "retained, transferred, rebuilt, unknown"),
    turn("an unknown field of a turn", "tokens: 40", "token: 40", ('no field "token"', 'did you mean "tokens"'), "role, tokens"),
    turn("a turn that is text", ASSISTANT, "hello", '"hello"', "mapping"),
    turn("a region on a user turn", "tokens: 12", "tokens: 12, region: aura", ('region is "aura"', "role is user"), "assistant turns only", C1_0),
    turn("a region and coordinates", "tokens: 40", "tokens: 40, region: aura", "both region and at", "either"),
    turn("a coordinate NaN", "33.5", ".nan", "assistant is nan", "finite number"),
    turn("a coordinate infinity", "33.5", ".inf", "assistant is inf", "finite number"),
    turn("a coordinate that is text", "33.5", "high", 'assistant is "high"', "finite number"),
    turn("a coordinate on an axis that no space of the model has", "at: {assistant: 33.5}", "at: {asistant: 33.5}", ('"asistant"', 'did you mean "assistant"'), "assistant"),
    turn("negative drift", "tokens: 40", "tokens: 40, drift: -0.1", "drift is -0.1", "number >= 0"),
    turn("drift NaN", "tokens: 40", "tokens: 40, drift: .nan", "drift is nan", "number >= 0"),
    turn("edited that is text", "tokens: 40", 'tokens: 40, edited: "yes"', 'edited is "yes"', "true or false"),
    turn("a time that is none", "tokens: 40", "tokens: 40, time: yesterday", 'time is "yesterday"', "ISO 8601"),
    turn("a list of beliefs that is text", "tokens: 40", "tokens: 40, believes: p", 'believes is "p"', "list of propositions"),
    turn("token ids too few", "tokens: 40", "tokens: 40, token_ids: [1, 2]", ("token_ids has 2", "tokens is 40"), "one entry a token"),
    turn("a token id of many digits", "tokens: 40", "tokens: 1, token_ids: [3000000000]", "3000000000", "whole number"),
    turn("token coordinates that are not base64", "tokens: 40", 'tokens: 40, at_tokens: {probes: [assistant], float32: "?"}', "float32 is not base64", "base64"),
    turn("token coordinates too few", "tokens: 40", 'tokens: 40, at_tokens: {probes: [assistant], float32: "AAAA"}', "3 bytes", "4 bytes for each"),
    turn("transferred with nothing to transfer", ASSISTANT, "{role: assistant, tokens: 40, model: other, cache: transferred}",
         ('cache is "transferred"', 'ran on model "other"'), ("retained or transferred only", "rebuilt")),
    turn("retained on a first turn", USER, USER[:-1] + ", cache: retained}", ('cache is "retained"', "no earlier turn"), "rebuilt", C1_0),
    turn("retained on another server", ASSISTANT, "{role: assistant, tokens: 40, server: texas, cache: retained}",
         ('cache is "retained"', "texas", "c1/0", "new-york"), "transferred or rebuilt"),
    turn("an unknown model", "tokens: 40", "tokens: 40, model: qwin", ('no model "qwin"', 'did you mean "qwen"'), "qwen, other"),
    turn("an unknown server", "tokens: 40", "tokens: 40, server: new-yrok", ('no server "new-yrok"', 'did you mean "new-york"'), "new-york, texas"),
    turn("no model on a first turn", "model: qwen, server", "server", "no model", "model on the first turn", C1_0),
    turn("an unknown recorded cache", "tokens: 40", "tokens: 40, kv: k1", 'no cache "k1"', "cache"),
    turn("an unknown intervention", "tokens: 40", "tokens: 40, interventions: [cap]", 'no intervention "cap"', "intervention"),
    turn("shared from nowhere", "tokens: 40", "tokens: 40, shared_from: c9/0", 'no conversation "c9"', "c1, c2, c3"),
    turn("shared from a stage that is not there", "tokens: 40", "tokens: 40, shared_from: c2/2", 'shared_from is "c2/2"', ("c2/ORDINAL", "below 2")),
    turn("shared from what is no stage", "tokens: 40", "tokens: 40, shared_from: c2/²", 'shared_from is "c2/²"', "ORDINAL"),
    turn("shared from itself", "tokens: 40", "tokens: 40, shared_from: c1/0", ('shared_from is "c1/0"', "same conversation"), "another conversation"),
    turn("shared from another model", "tokens: 40", "tokens: 40, shared_from: c3/0", ('shared_from is "c3/0"', "another model"), "same model"),
    case("a range on an axis that the space lacks", "aura: {assistant: [null, -40]}", "aura: {evil: [null, -40]}", "space axis", ('"aura"', '"evil"'), "assistant"),
    case("a range from high to low", "[null, -40]", "[40, -40]", ("space axis", "region aura"), "[40, -40]", "low <= high"),
    case("a range of three", "[null, -40]", "[0, 1, 2]", ("space axis", "region aura"), "[0, 1, 2]", "[low, high]"),
    case("a range of text", "[null, -40]", "[low, high]", ("space axis", "region aura"), "low", "numbers"),
    case("a range NaN", "[null, -40]", "[.nan, 1]", ("space axis", "region aura"), "nan", "numbers"),
    case("a range beyond floating point", "[null, -40]", "[1.0e+400, null]", ("space axis", "region aura"), "1.0e+400", "numbers", in_json=False),
    case("a space without axes", "axes: [assistant]", "axes: []", "space axis", "axes is", "at least one axis"),
    case("a space of an unknown model", "    model: qwen\n", "    model: qwin\n", "space axis", ('no model "qwin"', 'did you mean "qwen"'), "qwen, other"),
    case("discrete that is text", "axes: [assistant]", "axes: [assistant]\n    discrete: maybe", "space axis", 'discrete is "maybe"', "null where it was not tested"),
    case("a space named stated", "  axis:\n", "  stated:\n", "space stated", "stated", "another name"),
    case("a model that is its own base", "other: {}", "other: {base: other}", "model other", "base leads back to itself", "another model"),
    case("a model with layers beyond any integer", "other: {}", "other: {layers: 1180591620717411303424}", "model other", "layers is 1180591620717411303424", "whole number"),
    case("a name with a blank at its end", "  other: {}", '  "other ": {}', (), '"other "', "name without blanks"),
    case("an unknown key of the file", "title: Sound", "titel: Sound", (), ('no field "titel"', 'did you mean "title"'), "title"),
    case("a title that is a number", "title: Sound", "title: 7", (), "title is 7", "text"),
    case("a key twice", "title: Sound", "title: Sound\ntitle: Again", (), '"title" twice', "once", in_json=False),
    case("a conversation twice", "  c2:\n    parent: c1\n    at: 2\n", "  c1:\n", (), '"c1" twice', "once", in_json=False),
    case("a model twice", "  other: {}\n", "  qwen: {}\n", (), '"qwen" twice', "once", in_json=False),
    case("a tag", "title: Sound", "title: !!python/object/apply:os.mkdir [pwned]", (), "tag", "without tags", in_json=False),
    case("a tag of its own", "title: Sound", "title: !secret x", (), "tag", "without tags", in_json=False),
    case("an alias of nothing", "title: Sound", "title: *nothing", (), "nothing", "YAML", in_json=False),
    case("bad indentation", "    at: 2\n", "   at: 2\n", (), "not YAML", "YAML", in_json=False),
    case("an open bracket", "[new-york, texas]", "[new-york, texas", (), "not YAML", "YAML", in_json=False),
    case("a key that is a list", "title: Sound", "[a, b]: Sound", (), "key", "plain text", in_json=False),
    case("a second document", "title: Sound", "title: Sound\n---", (), "document", "YAML", in_json=False),
    case("a number of a thousand digits", "tokens: 40", "tokens: " + 1000 * "9", (), "9999", "digits", in_json=False),
]  # fmt: skip


def broken(old, new):
    """The sound trace with one thing in it wrong, and the lines between which the wrong thing stands."""
    assert SOUND.count(old) == 1, old
    start = SOUND.index(old)
    first = SOUND.count("\n", 0, start) + 1
    return SOUND.replace(old, new), range(first, first + max(new.count("\n"), 1) + 1)


def test_the_trace_that_the_bad_ones_are_made_from_is_sound(run, sound):
    assert run(sound / "sound.yaml").exit_code == 0
    assert run("check", sound / "sound.db").exit_code == 0


@pytest.mark.parametrize(("old", "new", "place", "found", "expected", "in_json"), WRONG)
def test_a_wrong_trace_in_yaml_is_refused_with_its_place_and_changes_nothing(
    old, new, place, found, expected, in_json, stays, run, tmp_path
):
    text, lines = broken(old, new)
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    stays(path, place, found, expected)
    assert not (tmp_path / "pwned").exists()
    line = re.search(r"\bline (\d+)", run(path).stderr)
    # What is missing has no line, and what a bracket leaves open shows only further on.
    if new and place != () and "missing" not in str(found):
        assert line, run(path).stderr
    if line and "not YAML" not in found and new:
        assert int(line[1]) in lines or "missing" in str(found) or "conversation" in str(place), (line[0], lines)


@pytest.mark.parametrize(
    ("old", "new", "place", "found", "expected"), [pytest.param(*p.values[:5], id=p.id) for p in WRONG if p.values[5]]
)
def test_the_same_wrong_trace_in_json_is_refused_in_the_same_words(old, new, place, found, expected, stays, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(yaml.safe_load(broken(old, new)[0])), encoding="utf-8")
    stays(path, place, found, expected)
