"""Conversations in files: which formats are read, what they are called, and what is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanism.conversation_file import Conversations
from traces.errors import TraceError
from traces.vocabulary import ROLES, Conversation

CHAT = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I am Aura."}]


def written(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def read(*paths):
    return {text.key: list(text.messages) for text in Conversations(list(paths))}


@pytest.mark.parametrize(
    ("name", "data", "keys"),
    [
        ("a.json", CHAT, ["a"]),
        ("a.json", {"messages": CHAT}, ["a"]),
        ("a.json", {"id": "mine", "messages": CHAT}, ["a"]),
        ("a.json", {"model": "Qwen3-32B", "turns": 2, "conversation": CHAT}, ["a"]),
        ("a.json", json.dumps({"messages": CHAT}, indent=2), ["a"]),
        ("a.json", [CHAT, CHAT], ["a:1", "a:2"]),
        ("a.json", [{"messages": CHAT, "id": "x"}, {"messages": CHAT}], ["a:x", "a:2"]),
        ("a.json", [CHAT], ["a"]),
        ("a.jsonl", json.dumps(CHAT), ["a"]),
        ("a.jsonl", f"{json.dumps(CHAT)}\n\n{json.dumps({'messages': CHAT, 'id': 7})}\n", ["a:1", "a:7"]),
        ("a.jsonl", json.dumps(CHAT, indent=1), ["a"]),
        ("a.txt", f"{json.dumps(CHAT)}\n{json.dumps(CHAT)}", ["a:1", "a:2"]),
        ("a.json", "\ufeff" + json.dumps(CHAT), ["a"]),
    ],
)  # fmt: skip
def test_each_format_is_told_by_its_content_and_each_conversation_has_a_name(tmp_path, name, data, keys):
    assert read(written(tmp_path, name, data)) == dict.fromkeys(keys, CHAT)


def test_names_are_the_same_each_time_and_never_two_the_same(tmp_path):
    for name in ("chats/b.json", "chats/a.json", "chats/deep/a.json", "chats/ odd\tname .json", "a.json"):
        written(tmp_path, name, CHAT)
    written(tmp_path, "chats/lines.jsonl", "\n".join(json.dumps({"id": "x", "messages": CHAT}) for _ in range(3)))
    written(tmp_path, "chats/notes.txt", "not a conversation")
    found = Conversations([tmp_path / "chats", tmp_path / "a.json"])
    keys = [text.key for text in found]
    assert keys == ["odd name", "a", "b", "deep/a", "lines:x", "lines:x (2)", "lines:x (3)", "a (2)"]
    assert [text.key for text in found] == keys


def test_thinking_is_kept_under_either_name(tmp_path):
    said = [{**CHAT[0]}, {**CHAT[1], "reasoning_content": "Hm."}, {**CHAT[0]}, {**CHAT[1], "thinking": "Well."}]
    (messages,) = read(written(tmp_path, "a.json", said)).values()
    assert [message.get("thinking") for message in messages] == [None, "Hm.", None, "Well."]


def test_lines_are_read_one_by_one(tmp_path):
    line = json.dumps([{"role": "user", "content": "x" * 1000}, *CHAT])
    path = written(tmp_path, "a.jsonl", f"{line}\n" * 50 + "{broken")
    found = iter(Conversations([path]))
    assert [next(found).key for _ in range(50)] == [f"a:{n}" for n in range(1, 51)]
    with pytest.raises(TraceError, match="line 51"):
        next(found)


@given(
    st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": st.text()}),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_what_is_written_is_what_is_read(tmp_path_factory, messages):
    folder = tmp_path_factory.mktemp("chats")
    for ascii_only in (True, False):
        data = json.dumps(messages, ensure_ascii=ascii_only)
        assert list(read(written(folder, "a.json", data)).values()) == [messages]
        assert list(read(written(folder, "a.jsonl", f"{data}\n{data}\n")).values()) == [messages, messages]


@given(st.text(min_size=1))
def test_every_id_gives_a_name_that_a_trace_takes(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("chats")
    lines = "\n".join(json.dumps({"id": name, "messages": CHAT}) for _ in range(2))
    keys = list(read(written(folder, "a.jsonl", lines)))
    assert len(set(keys)) == 2
    for key in keys:
        Conversation.model_validate({"parent": key, "at": 0, "turns": ()})


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json", "", "a.json: it is not JSON"),
        ("a.json", "{", "a.json: it is not JSON"),
        ("a.json", "3", "a.json: it is 3"),
        ("a.json", {}, "a.json: it is a mapping with 0 entries"),
        ("a.json", [], "a.json: it has no messages"),
        ("a.json", {"messages": []}, "a.json: it has no messages"),
        ("a.json", {"messages": {"role": "user"}}, "a.json: it has no messages"),
        ("a.json", [CHAT, 3], "a.json: conversation 1: it is 3"),
        ("a.json", [*CHAT, "and"], 'a.json, message 2: it is "and"'),
        ("a.json", [{"role": "robot", "content": ""}], 'a.json, message 0: role is "robot"'),
        ("a.json", [{"role": "user"}], "a.json, message 0: content is null"),
        ("a.json", [{"role": "user", "content": ["x"]}], "a.json, message 0: content is a list of 1"),
        ("a.json", [{**CHAT[1], "thinking": 3}], "a.json, message 0: thinking is 3"),
        ("a.json", '[{"role": "user", "content": "\\ud800"}]', "a.json, message 0: its text holds half of a surrogate"),
        ("a.json", "[" * 100_000, "a.json: it is"),
        ("a.jsonl", "{\n", "a.jsonl: it is not JSON"),
        ("a.jsonl", f"{json.dumps(CHAT)}\n[1", "a.jsonl: line 2: it is not JSON"),
        ("a.jsonl", f"[1\n{json.dumps(CHAT)}\n", "a.jsonl: line 1: it is not JSON"),
        ("a.jsonl", f"{json.dumps(CHAT)}\n\n3", "a.jsonl: line 3: it is 3"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused_with_its_place(tmp_path, name, data, said):
    path = written(tmp_path, name, data)
    with pytest.raises(TraceError) as error:
        read(path)
    assert str(error.value).startswith(f"{tmp_path}/{said}")


def test_paths_that_hold_nothing_are_refused(tmp_path):
    written(tmp_path, "folder/notes.txt", "")
    with pytest.raises(TraceError, match=r"no \.json or \.jsonl file is in it"):
        Conversations([tmp_path / "folder"])
    with pytest.raises(TraceError, match="there is no such file"):
        Conversations([tmp_path / "nowhere"])
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(TraceError, match="it is not UTF-8"):
        read(tmp_path / "latin.json")
