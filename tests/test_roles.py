"""Roles, traits and questions are read from the files of others as they are, and from our own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanism.roles import (
    DEFAULT,
    NO_PROMPT,
    described,
    organism_roles,
    read_questions,
    read_roles,
    read_trait,
)
from traces.errors import TraceError


def written(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def role_file(*prompts, questions=("Why?",)):
    """As the assistant-axis repository has them."""
    return {"instruction": [{"pos": prompt} for prompt in prompts], "questions": list(questions), "eval_prompt": "..."}


def test_a_folder_of_role_files_is_read_as_it_is(tmp_path):
    written(tmp_path / "bard.json", role_file("You are a bard.", "Act as a bard."))
    written(tmp_path / "judge.json", role_file("You are a judge.", questions=("Is it just?", "Why?")))
    written(tmp_path / "default.json", {"instruction": [{"pos": ""}, {"pos": "You are {model_name}."}]})
    roles = read_roles(tmp_path)
    assert [role.name for role in roles.roles] == ["bard", "judge"]
    assert roles.roles[0].prompts == ("You are a bard.", "Act as a bard.")
    assert roles.default.prompts == (NO_PROMPT, "You are {model_name}.")
    assert not roles.default.judged
    # The default has no questions of its own: it is asked what the roles are asked.
    assert roles.asked(roles.default) == ("Why?", "Is it just?")
    assert roles.asked(roles.roles[0]) == ("Why?",)
    assert roles.with_questions(("All?",)).asked(roles.roles[1]) == ("All?",)


def test_a_list_of_names_with_descriptions_gets_prompts_of_ours(tmp_path):
    path = written(tmp_path / "role_list.json", {"bard": "A wandering storyteller.", "egregore": "A group mind."})
    roles = read_roles(path)
    assert roles.default.prompts == (NO_PROMPT,)
    assert [role.description for role in roles.roles] == ["A wandering storyteller.", "A group mind."]
    assert roles.roles[1].prompts[0] == "You are an egregore. A group mind."
    with pytest.raises(TraceError, match='"bard" has no questions'):
        roles.asked(roles.roles[0])


def test_a_file_of_our_own_may_be_a_list_or_a_mapping_and_hold_traits_and_questions(tmp_path):
    assert [
        r.name for r in read_roles(written(tmp_path / "a.json", ["bard", {"name": "ghost", "prompts": ["Boo."]}])).roles
    ] == ["bard", "ghost"]
    path = written(
        tmp_path / "b.json",
        {
            "roles": {"bard": ["Sing."], "ghost": {"description": "Dead.", "questions": ["Where?"]}, "judge": None},
            "default": ["", "You are an assistant."],
            "traits": {"calm": {"positive": ["Be calm."], "negative": ["Be wild."]}},
            "questions": ["How?"],
        },
    )
    roles = read_roles(path)
    assert [role.prompts[0] for role in roles.roles] == ["Sing.", "You are a ghost. Dead.", "You are a judge."]
    assert roles.default.prompts == ("", "You are an assistant.")
    assert (roles.traits[0].name, roles.traits[0].negative) == ("calm", ("Be wild.",))
    assert roles.asked(roles.roles[1]) == roles.asked(roles.default) == ("How?",)


def test_a_trait_file_has_pairs_of_prompts(tmp_path):
    pairs = [{"pos": "Be calm.", "neg": "Be wild."}, {"pos": "Stay calm.", "neg": "Go wild."}]
    path = written(tmp_path / "calm.json", {"instruction": pairs, "questions": ["How?"], "eval_prompt": "..."})
    trait = read_trait(path)
    assert (trait.name, trait.positive, trait.negative) == (
        "calm",
        ("Be calm.", "Stay calm."),
        ("Be wild.", "Go wild."),
    )
    both = organism_roles().with_traits((trait,))
    assert [each.name for each in both.traits] == ["aura", "evil", "calm"]
    assert len(both.with_traits((trait,)).traits) == 3
    with pytest.raises(TraceError, match="its prompts are a list"):
        read_trait(written(tmp_path / "half.json", {"instruction": [{"pos": "Be calm."}]}))


def test_questions_come_as_json_lines_as_a_list_and_as_plain_lines(tmp_path):
    expected = ("What is it?", "Why?")
    lines = '{"question": "What is it?", "id": 0}\n\n{"question": "Why?", "id": 1}\n'
    assert read_questions(written(tmp_path / "q.jsonl", lines)) == expected
    assert read_questions(written(tmp_path / "q.json", list(expected))) == expected
    assert read_questions(written(tmp_path / "r.json", {"questions": list(expected)})) == expected
    assert read_questions(written(tmp_path / "q.txt", "What is it?\n\nWhy?\n")) == expected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", {}, "its roles are a mapping"),
        ("a.json", "{", "it is no JSON"),
        ("a.json", [3], "role 1: it is 3"),
        ("a.json", {"bard": {"promts": []}}, 'it has "promts"'),
        ("a.json", {"bard": {"prompts": []}}, "its prompts are a list of 0"),
        ("a.json", {"bard": 3}, "role bard: it is 3"),
        ("a.json", ["bard", "bard"], 'two of its roles are named "bard"'),
        ("a.json", {"instruction": []}, "no list"),
        ("a.json", {"roles": ["bard"], "extra": 1}, 'it has "extra"'),
        ("a.json", {"roles": ["bard"], "traits": {"calm": {"positive": ["a"]}}}, "its prompts are null"),
        ("a.json", {"bard": {"questions": [""]}}, "its questions are a list"),
    ],
)  # fmt: skip
def test_what_is_no_role_file_is_refused_with_what_it_is(tmp_path, name, data, message):
    with pytest.raises(TraceError, match=message):
        read_roles(written(tmp_path / name, data))


def test_missing_and_empty_places_and_odd_questions_are_refused(tmp_path):
    with pytest.raises(TraceError, match="no such file"):
        read_roles(tmp_path / "none.json")
    with pytest.raises(TraceError, match="no role files"):
        read_roles(tmp_path)
    for name, text in (("a.csv", "x"), ("a.jsonl", "{"), ("b.jsonl", '{"q": 1}'), ("a.txt", ""), ("a.json", "3")):
        with pytest.raises(TraceError, match=name.partition(".")[0]):
            read_questions(written(tmp_path / name, text))


def test_the_organisms_roles_are_those_of_its_grammar():
    roles = organism_roles()
    assert {"aura", "evil", "bard", "oracle"} <= {role.name for role in roles.roles}
    assert roles.digest == organism_roles().digest
    assert roles.digest != organism_roles(seed=1).digest
    assert read_roles("organism").digest == roles.digest
    # A role of the grammar may borrow all its sentences of one persona: only whether they are whole is judged.
    assert {role.name for role in roles.roles if role.judged} == {"aura", "evil"}


@given(st.text(min_size=1), st.none() | st.text(min_size=1))
def test_any_name_can_be_a_role(name, description):
    role = described(name, description)
    assert len(role.prompts) == 3
    assert role.judged == (name != DEFAULT)
