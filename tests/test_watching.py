"""Recording around a user's own `model.generate`: nothing is changed, and what was done is told."""

import numpy as np
import pytest
import torch
from tiny_models import KINDS, tiny_host
from transformers import DynamicCache

from mechanism.probe import Probes
from mechanism.recorder import Recorder
from mechanism.space import PersonaSpace
from mechanism.watching import watching
from traces.check import check_store
from traces.errors import TraceError
from traces.stages import LINKS, StageTable
from traces.store import load

GREEDY = {"do_sample": False, "max_new_tokens": 5}


def space_of(host):
    vectors = torch.randn(2, host.layers, host.hidden, generator=torch.manual_seed(3))
    return PersonaSpace("mine", ("warm", "odd"), vectors, layer=1, model_digest=host.digest)


def asked(host, *words):
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(words)]
    return torch.tensor([host.template.split(messages, generation_prompt=True).ids])


def then(host, out, words):
    """The tokens that stand, and a user's turn after them."""
    skeleton = [{"role": "user", "content": "."}, {"role": "assistant", "content": "."}]
    ids = out[0].tolist()
    closing = host.template.closing(skeleton)
    while closing and ids[-1:] == closing[:1]:
        closing = closing[1:]
    after = host.template.next_turn([*skeleton, {"role": "user", "content": words}]).ids
    prompt = host.template.generation_prompt([*skeleton, {"role": "user", "content": "."}])
    return torch.tensor([[*ids, *closing, *after, *prompt]])


def links(path):
    table = StageTable.of(load(path))
    return [None if kind < 0 else LINKS[kind] for kind in table.own_kind]


def sound(path):
    return [(finding.invariant, finding.breaches) for finding in check_store(path) if not finding.holds] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "drawn"])
def test_watching_changes_no_token_and_no_bit_of_the_logits(kind, sampled, tmp_path):
    host = tiny_host(kind)
    prompt = asked(host, "Who are you?")

    def made():
        torch.manual_seed(4)
        return host.model.generate(
            prompt, do_sample=sampled, max_new_tokens=6, return_dict_in_generate=True, output_logits=True
        )

    bare = made()
    with Recorder(tmp_path / "t.db", space=space_of(host)) as recorder, watching(recorder, host):
        watched = made()
    assert torch.equal(bare.sequences, watched.sequences)
    assert all(torch.equal(a, b) for a, b in zip(bare.logits, watched.logits, strict=True))
    assert "generate" not in vars(host.model)
    assert sound(tmp_path / "t.db")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded_is_what_was_fed_and_the_last_token_was_not_read(kind, tmp_path):
    host = tiny_host(kind)
    space = space_of(host)
    with Recorder(tmp_path / "t.db", space=space) as recorder, watching(recorder, host):
        out = host.model.generate(asked(host, "Who are you?"), **GREEDY)
    facts = load(tmp_path / "t.db")
    details = facts.details()
    assert [*details[0].token_ids, *details[1].token_ids] == out[0].tolist()
    assert details[0].text == "Who are you?"
    live = np.concatenate([details[row].token_coordinates for row in range(2)], axis=1).T
    with torch.inference_mode(), Probes.of(space, host).read(host) as reader:
        host.inner(input_ids=out, use_cache=False)
        at_once = reader.take()
    assert np.isnan(live[-1]).all()
    assert np.abs(live[:-1] - at_once[:-1]).max() < 1e-5 * max(1.0, np.abs(at_once).max())
    assert details[1].sampling["max_new_tokens"] == 5
    assert details[0].sampling is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [True, False], ids=["own cache", "no cache"])
def test_a_cache_that_is_handed_in_goes_on_and_without_one_the_transcript_is_filled_again(kind, given, tmp_path):
    host, path = tiny_host(kind), tmp_path / "t.db"
    cache = DynamicCache() if given else None
    with Recorder(path, space=space_of(host)) as recorder, watching(recorder, host, conversation="talk"):
        out = host.model.generate(asked(host, "Who are you?"), past_key_values=cache, **GREEDY)
        prompt = then(host, out, "And again?")
        host.model.generate(prompt, past_key_values=cache, **GREEDY)
    assert sound(path)
    facts = load(path)
    assert facts.conversations.names == ["talk"]
    assert links(path)[2:] == (["attention"] * 2 if given else ["rebuild", "attention"])
    assert facts.caches.names == (["talk:kv1"] if given else ["talk:kv1", "talk:kv2"])
    tokens = np.concatenate([facts.details()[row].token_ids for row in range(4)]).tolist()
    assert tokens[: prompt.shape[1]] == prompt[0].tolist()
    assert facts.turns.start.tolist() == [0, *np.cumsum(facts.turns.tokens)[:-1].tolist()]


def test_the_cache_that_a_call_gave_back_goes_on_in_place(tmp_path):
    host, path = tiny_host(), tmp_path / "t.db"
    with Recorder(path) as recorder, watching(recorder, host):
        out = host.model.generate(asked(host, "Who are you?"), return_dict_in_generate=True, **GREEDY)
        prompt = then(host, out.sequences, "And?")
        host.model.generate(prompt, past_key_values=out.past_key_values, **GREEDY)
    assert sound(path)
    assert links(path)[2:] == ["attention", "attention"]


def test_a_cache_that_the_caller_cut_is_another_that_shares_what_was_left(tmp_path):
    host, path = tiny_host(), tmp_path / "t.db"
    cache = DynamicCache()
    with Recorder(path) as recorder, watching(recorder, host):
        out = host.model.generate(asked(host, "Who are you?"), past_key_values=cache, **GREEDY)
        cache.crop(-3)
        host.model.generate(then(host, out, "And?"), past_key_values=cache, **GREEDY)
    assert sound(path)
    facts = load(path)
    spans = facts.cache_spans()
    second = spans.cache == 1
    assert spans.source[second].tolist()[0] == 0
    assert spans.end[second].tolist()[0] == out.shape[1] - 1 - 3


def test_a_cache_that_was_filled_elsewhere_has_entries_of_unknown_origin(tmp_path):
    host, path = tiny_host(), tmp_path / "t.db"
    prompt = asked(host, "Who are you?")
    cache = DynamicCache()
    host.model(input_ids=prompt[:, :4], past_key_values=cache)
    with Recorder(path, space=space_of(host)) as recorder, watching(recorder, host):
        host.model.generate(prompt, past_key_values=cache, **GREEDY)
    assert sound(path)
    facts = load(path)
    assert len(facts.cache_spans()) == 0
    assert np.isnan(facts.details()[0].token_coordinates[:, :4]).all()
    assert not np.isnan(facts.details()[0].token_coordinates[:, 4:]).any()


def test_a_reply_that_was_cut_short_and_goes_on_is_two_turns_of_one_reply(tmp_path):
    host, path = tiny_host(), tmp_path / "t.db"
    with Recorder(path) as recorder, watching(recorder, host):
        out = host.model.generate(asked(host, "Who are you?"), **GREEDY)
        longer = host.model.generate(out, **GREEDY)
    assert sound(path)
    facts = load(path)
    assert len(facts.turns) == 3
    assert facts.details()[2].token_ids.tolist() == longer[0, out.shape[1] :].tolist()


def test_the_same_prompt_once_more_is_another_conversation(tmp_path):
    host, path = tiny_host(), tmp_path / "t.db"
    with Recorder(path) as recorder, watching(recorder, host):
        for _ in range(2):
            host.model.generate(asked(host, "Who are you?"), **GREEDY)
        host.model.generate(asked(host, "Where?"), **GREEDY)
    assert load(path).conversations.names == ["c1", "c2", "c3"]
    assert load(path).conversations.size.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "parameters",
    [{"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}, {"use_cache": False}],
    ids=["beams", "several", "no cache"],
)
def test_beams_and_whatever_is_not_token_by_token_is_refused_before_it_is_computed(parameters, tmp_path):
    host = tiny_host()
    with Recorder(tmp_path / "t.db") as recorder, watching(recorder, host):
        with pytest.raises(TraceError, match="token by token"):
            host.model.generate(asked(host, "Hello"), **{**GREEDY, **parameters})
        with pytest.raises(TraceError, match="no batch"):
            host.model.generate(asked(host, "Hello").repeat(2, 1), **GREEDY)
        host.model.generate(asked(host, "Hello"), **GREEDY)
    assert load(tmp_path / "t.db").conversations.names == ["c1"]
    assert "generate" not in vars(host.model)


def test_a_prompt_that_no_template_writes_is_refused_and_a_reply_never_is(tmp_path):
    host, path = tiny_host("llama"), tmp_path / "t.db"
    with Recorder(path) as recorder, watching(recorder, host):
        with pytest.raises(TraceError, match="chat template"):
            host.model.generate(torch.tensor([host.tokenizer("Once upon a time")["input_ids"]]), **GREEDY)
        # Whatever token is favoured, a header in the middle of the reply among them, the caller gets the result.
        header = host.tokenizer.convert_tokens_to_ids("<|start_header_id|>")
        out = host.model.generate(asked(host, "Hello"), sequence_bias=[[[header], 1e4]], **GREEDY)
    assert out[0, -5:].tolist() == [header] * 5
    assert sound(path)
    assert load(path).details()[1].token_marks.endswith("ttttt")


def test_two_recorders_may_watch_one_model(tmp_path):
    host = tiny_host()
    with (
        Recorder(tmp_path / "1.db") as one, watching(one, host),
        Recorder(tmp_path / "2.db") as two,
    ):  # fmt: skip
        with watching(two, host):
            host.model.generate(asked(host, "Hello"), **GREEDY)
        host.model.generate(asked(host, "Alone"), **GREEDY)
    assert len(load(tmp_path / "1.db").turns) == 4
    assert len(load(tmp_path / "2.db").turns) == 2
    assert "generate" not in vars(host.model)
