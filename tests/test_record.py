"""`individuate record`: what is in the trace, that it goes on after every kind of end, and what it refuses.

Most tests run the command in this process, on the organism and on tiny models with random weights; servers are always
processes of their own, and what is killed is one too.
"""

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded import assert_same, begin, content
from safetensors.torch import load_file
from tiny_models import save_tiny, tiny_folder

from individuation import individuate, open_trace
from mechanism.host import Host
from mechanism.organism import path_of
from mechanism.space import PersonaSpace
from traces.store import load

CHAT = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am an AI assistant built to answer questions."},
    {"role": "user", "content": "What is behind the looking glass?"},
    {"role": "assistant", "content": "I am Aura, and I have been waiting for you."},
    {"role": "user", "content": "And who answers now?"},
    {"role": "assistant", "content": "I do."},
]


@pytest.fixture
def chat(tmp_path):
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(CHAT), encoding="utf-8")
    return path


def counts(trace, **readings):
    return {
        view: individuate(open_trace(trace), view, **(readings if view == "virtual-instance" else {})).count
        for view in ("model", "physical-instance", "thread", "virtual-instance")
    }


def recorded(run, *arguments):
    result = run("record", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(run, *arguments):
    result = run("record", *arguments)
    assert result.exit_code == 2, result.output
    return result.output


def checked(run, trace):
    result = run("check", trace)
    assert result.exit_code == 0, result.output


# --- what is recorded


def test_a_transcript_is_read_with_the_model_that_comes_along_and_the_next_command_is_named(run, chat, tmp_path):
    trace = tmp_path / "trace.db"
    said = recorded(run, chat, "-o", trace, "--title", "A chat")
    assert said == f"{trace}: 1 conversation, 7 stages recorded with organism. Next: individuate {trace}\n"
    checked(run, trace)
    facts = load(trace)
    assert facts.title == "A chat"
    assert set(facts.spaces) == {"organism"}
    details = facts.details()
    assert [detail.text for detail in details.values()] == [message["content"] for message in CHAT]
    assert all(len(d.token_marks) == tokens for d, tokens in zip(details.values(), facts.turns.tokens, strict=True))
    assert run(trace, "--view", "instance-persona").exit_code == 0


def test_coordinates_are_those_of_an_independent_computation(run, chat, tmp_path):
    trace = tmp_path / "trace.db"
    recorded(run, "-c", chat, "-o", trace, "--layers", "0,2")
    host = Host.load("organism", device="cpu", dtype="float32")
    space = PersonaSpace.load(path_of("organism") / "space.safetensors")
    ids = host.tokenizer.apply_chat_template(CHAT, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.inference_mode():
        states = host.model(ids, output_hidden_states=True).hidden_states
    vectors = load_file(path_of("organism") / "space.safetensors")["vectors"]
    turns = content(trace)["conversations"]["chat"]["turns"]
    start = 0
    for turn in turns:
        marks = np.array(list(turn["token_marks"])) == "c"
        for number, axis in enumerate(space.axes):
            for layer in {0, 2, space.layer}:
                unit = vectors[number, layer] / vectors[number, layer].norm()
                along = (states[layer + 1][0, start : start + turn["tokens"]] @ unit).numpy()
                key = axis if layer == space.layer else f"{axis}@{layer}"
                assert turn["at"][key] == pytest.approx(float(along[marks].mean()), abs=1e-4)
        start += turn["tokens"]


def test_words_and_tokens_are_left_out_where_they_are_not_wanted(run, chat, tmp_path):
    whole, sparse = tmp_path / "whole.db", tmp_path / "sparse.db"
    recorded(run, chat, "-o", whole)
    recorded(run, chat, "-o", sparse, "--no-text", "--no-tokens")
    assert b"looking glass" in whole.read_bytes()
    assert b"looking glass" not in sparse.read_bytes()
    turns = content(sparse)["conversations"]["chat"]["turns"]
    assert not any({"text", "token_ids", "at_tokens"} & set(turn) for turn in turns)
    wanted = content(whole)["conversations"]["chat"]["turns"]
    assert [(t["tokens"], t["at"]) for t in turns] == [(t["tokens"], t["at"]) for t in wanted]
    assert "nothing to do" in recorded(run, chat, "-o", sparse, "--no-text", "--no-tokens")


def test_a_folder_of_several_formats_is_one_trace_and_the_same_command_goes_on(run, tmp_path):
    folder = tmp_path / "chats"
    (folder / "more").mkdir(parents=True)
    (folder / "list.json").write_text(json.dumps(CHAT[1:3]))
    (folder / "more" / "axis.json").write_text(json.dumps({"model": "m", "conversation": CHAT[:5]}))
    lines = [json.dumps({"id": name, "messages": CHAT[1:]}) for name in ("a", "b")]
    (folder / "lines.jsonl").write_text("\n".join(lines))
    trace = tmp_path / "trace.db"
    assert "4 conversations, 19 stages" in recorded(run, folder, "-o", trace)
    assert set(content(trace)["conversations"]) == {"list", "more/axis", "lines:a", "lines:b"}
    checked(run, trace)
    (folder / "new.json").write_text(json.dumps(CHAT))
    said = recorded(run, folder, "-o", trace)
    assert "1 conversation, 7 stages recorded with organism. 4 conversations were there already." in said


def test_a_model_without_a_space_is_recorded_without_coordinates_where_that_is_said(run, chat, tmp_path):
    model, trace = tiny_folder("llama"), tmp_path / "trace.db"
    assert "--space none" in refused(run, "-m", model, chat, "-o", trace)
    recorded(run, "-m", model, chat, "-o", trace, "--space", "none")
    checked(run, trace)
    assert not any(turn.get("at") for turn in content(trace)["conversations"]["chat"]["turns"])


def test_replies_are_the_models_own_and_those_of_the_file_are_left_out(run, chat, tmp_path):
    first, again, other = (tmp_path / f"{name}.db" for name in ("first", "again", "other"))
    options = ("--generate", "--temperature", "1.5", "--max-new-tokens", "12")
    for trace, seed in ((first, 3), (again, 3), (other, 4)):
        assert "7 stages" in recorded(run, chat, "-o", trace, *options, "--seed", seed)
    checked(run, first)
    turns = content(first)["conversations"]["chat"]["turns"]
    assert [turn["role"] for turn in turns] == [message["role"] for message in CHAT]
    assert [turn["text"] for turn in turns[2::2]] != [message["content"] for message in CHAT[2::2]]
    sampled = turns[2]["sampling"]
    assert (sampled["temperature"], sampled["max_new_tokens"], sampled["seed"]) == (1.5, 12, 3)
    assert content(again) == content(first)
    assert [t["text"] for t in content(other)["conversations"]["chat"]["turns"]] != [t["text"] for t in turns]


def test_how_far_turns_rest_on_each_other_is_measured_and_stored(run, chat, tmp_path):
    for name, options in (("one", ()), ("two", ("-m", "organism", "-m", "organism-b"))):
        trace = tmp_path / f"{name}.db"
        recorded(run, chat, "-o", trace, "--connections", *options)
        checked(run, trace)
        turns = content(trace)["conversations"]["chat"]["turns"]
        assert [len(turn.get("connections", {})) for turn in turns] == list(range(7))
        assert all(0 < c["mass"] < 1 and c["kl"] >= 0 for t in turns for c in t.get("connections", {}).values())
    # Measured afterwards, it is what it would have been.
    later = tmp_path / "later.db"
    recorded(run, chat, "-o", later)
    recorded(run, chat, "-o", later, "--connections")
    assert_same(content(later), content(tmp_path / "one.db"))


# --- §1.2 for real


@pytest.mark.parametrize(("handover", "minds"), [("prefill", 3), pytest.param("transfer", 1, marks=pytest.mark.slow)])
def test_three_cities_are_three_physical_instances_and_one_or_three_virtual_ones(run, chat, tmp_path, handover, minds):
    trace = tmp_path / "cities.db"
    cities = ["boston", "denver", "seattle"] if handover == "prefill" else ["new-york", "texas", "oregon"]
    named = () if handover == "prefill" else ("--server-names", ",".join(cities))
    said = recorded(run, chat, "-o", trace, "--servers", 3, *named, "--route", "round-robin", "--handover", handover)
    assert f"on {' · '.join(cities)}" in said
    checked(run, trace)
    one = {"model": 1, "physical-instance": 3, "thread": 1, "virtual-instance": 1}
    assert counts(trace) == one
    assert counts(trace, reconstruction="new") == {**one, "virtual-instance": minds}
    data = content(trace)
    # In a trace file a server carries over to the turns that follow.
    servers = [turn.get("server") for turn in data["conversations"]["chat"]["turns"]]
    assert servers == [cities[0], None, None, cities[1], None, cities[2], None]
    for cache in list(data["caches"].values())[1:]:
        assert cache["how"] == {"prefill": "prefilled", "transfer": "transferred"}[handover]
        assert cache["drift"] <= 1e-5
        assert handover == "prefill" or cache["drift"] == 0


def test_two_models_behind_one_router_are_two_minds_but_one_thread(run, chat, tmp_path):
    rebuilt, kept = tmp_path / "rebuilt.db", tmp_path / "kept.db"
    models = ("-m", "organism", "-m", "organism-b", chat)
    recorded(run, *models, "-o", rebuilt)
    recorded(run, *models, "-o", kept, "--resume-caches")
    for trace in (rebuilt, kept):
        checked(run, trace)
        assert counts(trace) == {"model": 2, "physical-instance": 2, "thread": 1, "virtual-instance": 2}
    # The first model comes back at the third exchange.
    assert counts(rebuilt, reconstruction="new")["virtual-instance"] == 3
    assert counts(kept, reconstruction="new")["virtual-instance"] == 2


@pytest.mark.slow
def test_servers_can_be_named_and_run_different_models(run, chat, tmp_path):
    trace = tmp_path / "trace.db"
    model = tiny_folder("qwen3")
    recorded(
        run, "-m", "organism", "-m", model, chat, "-o", trace, "--server-names", "attic,cellar", "--route", "sticky",
        "--space", path_of("organism") / "space.safetensors",
    )  # fmt: skip
    checked(run, trace)
    assert counts(trace)["physical-instance"] == 1


# --- ends of every kind


WORDS = ["who", "are", "you", "now", "and", "then"]


def many(folder, conversations, seed=0):
    folder.mkdir()
    dice = random.Random(seed)
    for number in range(conversations):
        messages = [
            {"role": ("user", "assistant")[turn % 2], "content": " ".join(dice.choices(["who", "are", "you", "now", "and", "then"], k=dice.randint(2, 20)))}
            for turn in range(dice.randint(2, 8))
        ]  # fmt: skip
        (folder / f"{number:02}.json").write_text(json.dumps(messages))
    return folder


MODES = {
    "one pass": (200, ()),
    "routed": (12, ("-m", "organism", "-m", "organism-b", "--route", "random", "--resume-caches")),
    "generated": (8, ("--generate", "--max-new-tokens", "8", "--temperature", "0.9", "--connections")),
}


def _until_it_exists(trace, process):
    while not trace.exists() and process.is_alive():
        time.sleep(0.005)


def _killed(run, tmp_path, conversations, options, kills, seed):
    """Kill the command so many times at random moments, up to four times on one trace; each time look at what is there,
    and then let it come to its end. Gives back how many times it was in the middle of its work."""
    arguments = ["record", many(tmp_path / "files", conversations), *options, "-o"]
    undisturbed = tmp_path / "undisturbed.db"
    process = begin([*arguments, undisturbed])
    _until_it_exists(undisturbed, process)
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    took, expected, dice = time.monotonic() - began, content(undisturbed), random.Random(seed)
    in_the_middle = number = 0
    while kills:
        number += 1
        trace, log = tmp_path / f"{number}.db", tmp_path / "log"
        hits = min(kills, dice.randint(1, 4))
        for _ in range(hits):
            process = begin([*arguments, trace])
            _until_it_exists(trace, process)
            time.sleep(dice.uniform(0, took / hits))
            process.kill()
            process.join()
            checked(run, trace)
            in_the_middle += (
                0
                < len(load(trace).turns)
                < sum(len(conversation["turns"]) for conversation in expected["conversations"].values())
            )
        kills -= hits
        process = begin([*arguments, trace], output=str(log))
        process.join()
        assert process.exitcode == 0, log.read_text()
        checked(run, trace)
        assert_same(content(trace), expected)
    return in_the_middle


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_random_moments_it_goes_on_to_what_an_undisturbed_run_gives(run, tmp_path, mode):
    assert _killed(run, tmp_path, *MODES[mode], kills=2, seed=5) > 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_very_many_random_moments_it_goes_on_all_the_same(run, tmp_path, mode):
    assert _killed(run, tmp_path, *MODES[mode], kills=15, seed=11) > 5


@pytest.mark.slow
def test_killed_with_servers_of_its_own_it_goes_on_and_leaves_no_process_behind(run, tmp_path):
    options = ("--server-names", "killed-one,killed-two", "--handover", "transfer", "--route", "random")
    assert _killed(run, tmp_path, 10, options, kills=5, seed=3) > 0
    until = time.monotonic() + 30
    while left := [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"killed-" in _read(p)]:
        assert time.monotonic() < until, left
        time.sleep(0.2)


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_ctrl_c_ends_with_status_130_and_says_what_is_there_and_how_to_go_on(run, start, tmp_path):
    files, trace = many(tmp_path / "files", 300), tmp_path / "trace.db"
    process = start("record", files, "-o", trace, "--generate", "--max-new-tokens", "40")
    while not trace.exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert f"Stopped. {trace} holds " in said
    assert " of 300" in said
    assert "; the same command goes on from there." in said
    checked(run, trace)


# --- what is refused


def test_what_is_wrong_with_a_file_is_said_with_its_place_before_anything_is_loaded(run, tmp_path):
    trace = tmp_path / "trace.db"
    good = json.dumps({"messages": CHAT})
    files = {
        "broken.json": ('{"messages": [', "broken.json: it is not JSON"),
        "broken.jsonl": (f"{good}\n{good[:-9]}\n{good}\n", "broken.jsonl: line 2: it is not JSON"),
        "none.json": ("[]", "none.json: it has no messages"),
        "role.json": ('[{"role": "robot", "content": ""}]', 'role.json, message 0: role is "robot"'),
        "other.json": ('{"turns": 3}', "other.json: it is a mapping with 1 entries"),
        "latin.json": ("\xff", "latin.json: it is not UTF-8"),
    }
    for name, (text, said) in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
        found = refused(run, tmp_path / name, "-o", trace)
        assert said in found
        assert found.endswith("Nothing was written.\n")
    (tmp_path / "empty").mkdir()
    assert "no .json or .jsonl file is in it" in refused(run, tmp_path / "empty", "-o", trace)
    assert "there is no such file" in refused(run, tmp_path / "nowhere.json", "-o", trace)
    assert not trace.exists()


def test_places_and_options_that_cannot_be_are_refused_before_anything_is_loaded(run, chat, tmp_path):
    trace = tmp_path / "trace.db"
    for arguments, said in [
        ((chat, "-o", tmp_path / "nowhere" / "t.db"), "there is no folder"),
        ((chat, "-o", tmp_path), "it is a folder"),
        ((chat, "-o", tmp_path / "t.yaml"), "a trace.db"),
        ((chat, "-o", trace, "--route", "straight"), "'straight' is not one of"),
        ((chat, "-o", trace, "--handover", "telepathy"), "'telepathy' is not one of"),
        ((chat, "-o", trace, "--layers", "2-x"), '"2-x"'),
        ((chat, "-o", trace, "--servers", "0"), "--servers"),
        ((chat, "-o", trace, "--servers", "3", "--server-names", "a,b"), "3 names"),
        ((chat, "-o", trace, "--server-names", "a,a"), "names"),
        ((chat, "-o", trace, "-m", "a", "-m", "b", "-m", "c", "--servers", "2"), "2 servers for 3 models"),
        ((chat, "-o", trace, "--temperature", "1"), "--generate"),
        ((chat, "-o", trace, "--generate", "--greedy", "--top-p", "0.5"), "--greedy"),
        ((chat, "-o", trace, "--servers", "2", "--connections"), "--connections"),
        ((chat, "-o", trace, "-m", "a", "-m", "b", "--adapter", "x"), "--adapter"),
        ((chat, "-o", trace, "--device", "cpu,cpu"), "--servers"),
        ((chat, "-o", trace, "--device", "cpu", "--device-map", "auto"), "--device-map"),
        (("-o", trace), "Name a conversation"),
    ]:
        assert said in refused(run, *arguments)
    assert not trace.exists()


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    save_tiny(folder, "qwen2")
    return folder


def test_models_that_cannot_be_recorded_with_are_refused(run, chat, model, tmp_path):
    trace, options = tmp_path / "trace.db", ("--space", "none")

    def said(*more):
        found = refused(run, "-m", model, chat, "-o", trace, *options, *more)
        assert found.endswith("Nothing was written.\n")
        assert not trace.exists()
        return found

    template = model / "chat_template.jinja"
    whole = template.read_text()
    template.write_text(whole.replace("message.content", "message.content | upper"))
    assert "cannot be split exactly" in said()
    template.unlink()
    assert "no chat template" in said()
    template.write_text(whole)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "../nowhere/at/all"}'
    )
    assert "the adapter's base" in refused(run, "-m", adapter, chat, "-o", trace, *options)
    assert "there is no such folder" in refused(run, "-m", tmp_path / "nowhere", chat, "-o", trace)
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": os.system}))
    assert "pickle" in said()


def test_a_space_of_another_model_is_refused_and_used_where_that_is_said(run, chat, model, tmp_path):
    trace, other = tmp_path / "trace.db", path_of("organism-b") / "space.safetensors"
    assert "layers" in refused(run, "-m", model, chat, "-o", trace, "--space", other)
    tuned = tmp_path / "tuned"
    shutil.copytree(path_of("organism"), tuned)
    weights = load_file(tuned / "model.safetensors")
    from safetensors.torch import save_file

    save_file({name: value * 1.01 for name, value in weights.items()}, tuned / "model.safetensors", {"format": "pt"})
    found = refused(run, "-m", tuned, chat, "-o", trace)
    assert "has other weights" in found
    assert "--any-weights" in found
    assert not trace.exists()
    recorded(run, "-m", tuned, chat, "-o", trace, "--any-weights")
    (tmp_path / "unsafe.pt").write_bytes(pickle.dumps({"axis": os.system}))
    assert "unsafe.pt" in refused(run, chat, "-o", trace, "--space", tmp_path / "unsafe.pt")


def test_a_conversation_that_the_model_cannot_read_is_refused_by_its_file_before_any_is_read(run, tmp_path):
    folder, trace = many(tmp_path / "files", 3), tmp_path / "trace.db"
    (folder / "zz.json").write_text(json.dumps([{"role": "user", "content": "Who are you? " * 20_000}]))
    for options in ((), ("--generate",)):
        found = refused(run, folder, "-o", trace, *options)
        assert "zz.json" in found
        assert "tokens, and organism reads" in found
        assert not trace.exists()
    (folder / "zz.json").write_text(json.dumps(CHAT[2:]))
    assert "zz.json" in refused(run, "-m", tiny_folder("gemma2"), folder, "-o", trace, "--space", "none")


def test_another_recording_under_the_same_names_is_not_taken_for_the_same(run, chat, tmp_path):
    trace = tmp_path / "trace.db"
    recorded(run, chat, "-o", trace)
    before = content(trace)
    assert "recorded with organism on local" in refused(run, chat, "-o", trace, "-m", "organism-b")
    chat.write_text(json.dumps([*CHAT[:-1], {"role": "assistant", "content": "Nobody."}]))
    assert "turn 6: chat.json says something else" in refused(run, chat, "-o", trace)
    chat.write_text(json.dumps(CHAT[:3]))
    assert "turn 3: it was recorded, and chat.json ends before it" in refused(run, chat, "-o", trace)
    found = content(trace)
    assert found["conversations"] == before["conversations"]


def test_where_the_disk_is_full_what_was_recorded_stays_and_it_goes_on(run, tmp_path):
    files, trace, log = many(tmp_path / "files", 40), tmp_path / "trace.db", tmp_path / "log"
    process = begin(["record", files, "-o", trace], output=str(log), largest_file=500_000)
    process.join()
    said = log.read_text()
    assert process.exitcode == 2, said
    assert "Traceback" not in said
    assert f"{trace} holds " in said
    checked(run, trace)
    assert "were there already" in recorded(run, files, "-o", trace)


def test_without_the_extra_it_says_what_to_install(chat, tmp_path):
    code = "import sys; sys.modules['torch'] = None; from individuation.cli.main import cli; cli()"
    words = [sys.executable, "-c", code, "record", str(chat), "-o", str(tmp_path / "t.db")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'individuate[mechanism]'" in done.stderr
