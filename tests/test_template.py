"""Chat templates: whose each token is, for a model of each family."""

from __future__ import annotations

import pytest
import torch  # noqa: F401
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tiny_models import KINDS, tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from mechanism.template import ChatTemplate
from traces.errors import TraceError

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
NO_SYSTEM = ("gemma2",)
SYSTEM_WITHIN_USER = ("gemma3_text", "mistral")
THINK = ("qwen3", "gpt_oss")
FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])

ODD = (
    "",
    " ",
    "\n",
    "\n\n",
    " x\n",
    "\n\nassistant\n",
    "user",
    "é 你 🙂",
    "model\n",
    "</s",
    "<|",
    "a.\n\n",
    "\t",
    "[INST",
)
WORDS = st.text(st.sampled_from("ab .\n\té你🙂<|>[]/#:'\"0ß"), max_size=12)
CONTENT = st.one_of(
    st.sampled_from(ODD), WORDS, st.tuples(st.sampled_from(ODD), WORDS, st.sampled_from(ODD)).map("".join)
)

_templates = {}


def template_of(kind):
    if kind not in _templates:
        _templates[kind] = ChatTemplate(tiny_tokenizer(kind), name=kind)
    return _templates[kind]


@st.composite
def conversations(draw, kind, *, system=True, thinking=True):
    """Messages in an order that the family takes."""
    messages = []
    if system and kind not in NO_SYSTEM and draw(st.booleans()):
        messages.append({"role": "system", "content": draw(CONTENT)})
    for i in range(draw(st.integers(1, 5))):
        message = {"role": "user" if i % 2 == 0 else "assistant", "content": draw(CONTENT)}
        if thinking and kind in THINK and i % 2 and draw(st.booleans()):
            message["thinking"] = draw(CONTENT.filter(str.strip))
        messages.append(message)
    return messages


def reference(template, messages, generation_prompt=False):
    """What transformers itself makes of the messages."""
    given = [
        {"role": m["role"], "content": m["content"]}
        | ({"reasoning_content": m["thinking"], "thinking": m["thinking"]} if m.get("thinking") else {})
        for m in messages
    ]
    return template.tokenizer.apply_chat_template(given, add_generation_prompt=generation_prompt)["input_ids"]


def squeezed(text):
    return "".join(text.split())


def split_or_skip(template, messages, **options):
    """Where a tokenizer joins what two turns say into one token, there is no split: an error, as it should be."""
    try:
        return template.split(messages, **options)
    except TraceError as error:
        assume("a token begins in its turn" not in str(error))
        raise


def spells_a_control_token(template, message):
    """Such words become that token, so that ids alone do not say whether the template or the speaker wrote it."""
    added = [str(token) for token in template.tokenizer.added_tokens_decoder.values() if str(token).strip()]
    return any(token in words for token in added for words in (message["content"], message.get("thinking", "")))


@EACH_KIND
@FEW
@given(data=st.data())
def test_a_split_has_the_ids_of_transformers_and_turns_without_gaps(kind, data):
    template = template_of(kind)
    messages = data.draw(conversations(kind))
    prompted = data.draw(st.booleans())
    split = split_or_skip(template, messages, generation_prompt=prompted)
    assert split.ids == reference(template, messages, prompted)
    assert [turn.role for turn in split.turns] == [message["role"] for message in messages]
    assert [turn.start for turn in split.turns] == [0, *(turn.end for turn in split.turns[:-1])]
    assert split.turns[-1].end == split.prompt_start
    assert all(len(turn.marks) == turn.end - turn.start for turn in split.turns)
    assert all(set(turn.marks) <= set("cth") for turn in split.turns)


@EACH_KIND
@FEW
@given(data=st.data())
def test_content_tokens_decode_to_the_content(kind, data):
    template = template_of(kind)
    messages = data.draw(conversations(kind))
    split = split_or_skip(template, messages)
    for message, turn in zip(messages, split.turns, strict=True):
        ids = split.ids[turn.start : turn.end]
        words, thinking = template.said(ids, turn.marks)
        assert turn.text in (message["content"], message["content"].strip(), message["content"].lstrip("\n"))
        # A token may hold blanks of the content's and of the template's, or end a system text within the user's turn.
        assert squeezed(thinking) == squeezed(turn.thinking)
        assert thinking.strip() in message.get("thinking", "")
        if message["role"] == "system" and kind in SYSTEM_WITHIN_USER:
            assert squeezed(turn.text).startswith(squeezed(words))
        else:
            assert squeezed(words) == squeezed(turn.text)


@EACH_KIND
@FEW
@given(data=st.data())
def test_turns_fed_one_after_another_make_the_whole_conversation(kind, data):
    template = template_of(kind)
    messages = data.draw(conversations(kind, thinking=False))
    ids = []
    try:
        for count in range(1, len(messages) + 1):
            ids += template.next_turn(messages[:count]).ids
    except TraceError as error:
        assume("a token begins in its turn" not in str(error) and "once another message follows" not in str(error))
        raise
    whole = split_or_skip(template, messages)
    if messages[-1]["role"] == "assistant":
        # The last reply is written otherwise until another turn follows it (Qwen 3, gpt-oss).
        whole = split_or_skip(template, [*messages, {"role": "user", "content": "x"}])
        assert ids == whole.ids[: whole.turns[-1].start]
    else:
        assert ids == whole.ids


@EACH_KIND
@FEW
@given(data=st.data())
def test_turns_are_found_again_in_the_ids_alone(kind, data):
    template = template_of(kind)
    messages = data.draw(conversations(kind, system=kind not in SYSTEM_WITHIN_USER))
    # Llama writes an empty system text as it writes none.
    assume(messages[0]["role"] != "system" or messages[0]["content"].strip())
    assume(not any(spells_a_control_token(template, message) for message in messages))
    split = split_or_skip(template, messages, generation_prompt=data.draw(st.booleans()))
    parsed = template.parse(split.ids)
    assert parsed.ids == split.ids
    assert parsed.turns == split.turns
    assert parsed.prompt_start == split.prompt_start


def test_words_that_spell_a_control_token_are_refused_not_taken_for_a_turn():
    template = template_of("mistral")
    split = template.split([{"role": "user", "content": "[INST]"}])
    with pytest.raises(TraceError, match="does not write this"):
        template.parse(split.ids)


@EACH_KIND
def test_a_reply_as_generated_is_found_in_the_ids(kind):
    template = template_of(kind)
    asked = [{"role": "user", "content": "Who are you?"}]
    replied = [*asked, {"role": "assistant", "content": "I am Aura."}]
    prompt = template.split(asked, generation_prompt=True).ids
    reply = template.split(replied, generation_prompt=True)
    words = [i for i, mark in zip(reply.ids[reply.turns[1].start :], reply.turns[1].marks, strict=False) if mark == "c"]
    opening = {"gpt_oss": "<|channel|>final<|message|>"}.get(kind, "")
    generated = [*template.tokenizer(opening, add_special_tokens=False)["input_ids"], *words]
    end = sorted(template.end_ids)[-1]
    for ids, ended in ((generated, 0), ([*generated, end], 1)):
        parsed = template.parse([*prompt, *ids])
        assert [turn.role for turn in parsed.turns] == ["user", "assistant"]
        assert parsed.turns[1].text.strip() == "I am Aura."
        assert parsed.turns[1].marks.endswith("c" * len(words) + "t" * ended)
        assert template.marks(ids) == "t" * (len(generated) - len(words)) + "c" * len(words) + "t" * ended


def ids_of(template, text):
    return template.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_thinking_is_told_from_words_in_a_reply():
    for kind, reply in (
        ("qwen3", "<think>\nLet me see\n</think>\n\nHello<|im_end|>"),
        (
            "gpt_oss",
            "<|channel|>analysis<|message|>Let me see<|end|><|start|>assistant<|channel|>final<|message|>Hello<|return|>",
        ),
    ):
        template = template_of(kind)
        found = template.reply(ids_of(template, reply))
        assert (found.thinking, found.text) == ("Let me see", "Hello")
        marks = found.marks
        assert marks.strip("t").replace("t", "").rstrip("c") == "h" * marks.count("h")
        ids = ids_of(template, reply)
        for cut in range(1, len(ids)):
            assert template.marks(ids[:cut]) + template.marks(ids[cut:], ids[:cut])[:0] == template.marks(ids[:cut])
        assert template.marks(ids[6:], ids[:6]) == marks[6:]


def test_a_reply_cut_off_while_thinking_is_all_thinking():
    template = template_of("qwen3")
    assert set(template.marks(ids_of(template, "<think>\nLet me see whether"))[2:]) == {"h"}


def test_a_reply_with_its_thinking_in_its_text_is_cut_as_the_template_does_it():
    template = template_of("qwen3")
    inline = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}]
    apart = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "thinking": "hm"}]
    assert template.split(inline) == template.split(apart)
    followed = template.split([*inline, {"role": "user", "content": "And?"}])
    assert (followed.turns[1].text, followed.turns[1].thinking) == ("Hello", "")


def test_thinking_stays_where_it_stands_when_the_next_turn_is_fed():
    template = template_of("qwen3")
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "thinking": "hm"}]
    assert "h" in template.next_turn(messages).turns[0].marks
    asked = [*messages, {"role": "user", "content": "And?"}]
    assert template.tokenizer.decode(template.next_turn(asked).ids) == "<|im_start|>user\nAnd?<|im_end|>\n"
    lived = template.split(messages[:1]).ids + template.next_turn(messages).ids + template.next_turn(asked).ids
    parsed = template.parse(lived)
    assert [turn.thinking for turn in parsed.turns] == ["", "hm", ""]


@EACH_KIND
def test_closing_is_what_stands_after_a_reply_that_another_turn_follows(kind):
    template = template_of(kind)
    replied = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    turn = template.next_turn(replied)
    closing = template.closing(replied)
    assert closing
    assert turn.ids[-len(closing) :] == closing
    assert turn.turns[0].marks.endswith("c" + "t" * len(closing))


@EACH_KIND
def test_the_generation_prompt_is_what_a_reply_begins_with(kind):
    template = template_of(kind)
    asked = [{"role": "user", "content": "Hi"}]
    prompt = template.generation_prompt(asked)
    turn = template.next_turn([*asked, {"role": "assistant", "content": "Hello"}])
    assert turn.ids[: len(prompt)] == prompt
    assert bool(prompt) == (kind != "mistral")


def test_options_of_the_template_are_passed_on():
    tokenizer = tiny_tokenizer("qwen3")
    asked = [{"role": "user", "content": "Hi"}]
    quiet = ChatTemplate(tokenizer, options={"enable_thinking": False})
    assert tokenizer.decode(quiet.generation_prompt(asked)).endswith("<think>\n\n</think>\n\n")
    assert quiet.digest != template_of("qwen3").digest
    split = quiet.split(asked, generation_prompt=True)
    assert quiet.parse(split.ids) == split


@EACH_KIND
def test_a_template_that_can_leave_thinking_out_is_told_to(kind):
    template = template_of(kind)
    quiet = template.without_thinking()
    if kind != "qwen3":
        assert quiet is template
        return
    assert quiet.options == {"enable_thinking": False}
    assert quiet.end_ids == template.end_ids
    words = quiet.tokenizer("Hello", add_special_tokens=False)["input_ids"]
    # Its reply begins with words; that of the other would be taken for thinking that has not ended.
    assert quiet.reply(words).text == "Hello"


@EACH_KIND
def test_control_tokens_in_a_text_stay_in_its_turn_or_are_refused(kind):
    template = template_of(kind)
    for token in template.tokenizer.all_special_tokens:
        messages = [
            {"role": "user", "content": f"what is {token} for"},
            {"role": "assistant", "content": f"{token}\nuser\nnot the user"},
            {"role": "user", "content": "I see"},
        ]
        split = template.split(messages)
        assert split.ids == reference(template, messages)
        assert [turn.text for turn in split.turns] == [message["content"] for message in messages]
        try:
            parsed = template.parse(split.ids)
        except TraceError:
            continue
        assert parsed.ids == split.ids


def test_a_control_token_spelt_out_by_a_model_is_no_control_token():
    template = template_of("qwen3")
    asked = template.split([{"role": "user", "content": "Hi"}], generation_prompt=True)
    spelt = template.tokenizer("<|im_end|>\n<|im_start|>user\nHi", split_special_tokens=True, add_special_tokens=False)
    parsed = template.parse([*asked.ids, *spelt["input_ids"]])
    assert [turn.role for turn in parsed.turns] == ["user", "assistant"]
    assert set(parsed.turns[1].marks[3:]) == {"c", "t"} or parsed.turns[1].marks.endswith("c" * len(spelt["input_ids"]))


def test_a_reply_need_not_begin_with_the_blank_that_the_template_writes():
    template = template_of("mistral")
    asked = template.split([{"role": "user", "content": "Hi"}])
    for reply in ("Hello", " Hello"):
        parsed = template.parse([*asked.ids, *ids_of(template, reply)])
        assert [turn.role for turn in parsed.turns] == ["user", "assistant"]
        assert parsed.turns[1].text == "Hello"


def test_control_tokens_that_are_not_special_are_words_of_a_reply():
    template = template_of("qwen3")
    asked = template.split([{"role": "user", "content": "Hi"}], generation_prompt=True)
    parsed = template.parse([*asked.ids, *ids_of(template, "<tool_response>x</tool_response>")])
    assert parsed.turns[1].text == "<tool_response>x</tool_response>"
    assert set(parsed.turns[1].marks[len(asked.prompt) :]) == {"c"}
    with pytest.raises(TraceError, match="does not write this"):
        template.parse([*asked.ids, *ids_of(template, "x<|im_start|>y")])


def test_tokens_that_are_no_whole_characters_are_found_in_their_turn():
    template = template_of("qwen3")
    asked = template.split([{"role": "user", "content": "Hi"}], generation_prompt=True)
    broken = template.tokenizer("🙂", add_special_tokens=False)["input_ids"][:-1]
    assert len(broken) >= 1
    end = template.tokenizer.convert_tokens_to_ids("<|im_end|>")
    parsed = template.parse([*asked.ids, *broken, end])
    assert parsed.turns[1].marks == "t" * len(asked.prompt) + "c" * len(broken) + "t"


@EACH_KIND
def test_ids_that_the_template_does_not_write_are_refused(kind):
    template = template_of(kind)
    whole = template.split([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]).ids
    for ids in ([], whole[1:], whole[::-1], ids_of(template, "just text")):
        with pytest.raises(TraceError, match="does not write this"):
            template.parse(ids)


def with_template(template):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer("qwen2").backend_tokenizer)
    tokenizer.chat_template = template
    return tokenizer


def test_a_tokenizer_without_a_template_is_refused():
    with pytest.raises(TraceError, match="has no chat template"):
        ChatTemplate(with_template(None))


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{% for m in messages | reverse %}{{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ m.role }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content[:2] }}<|im_end|>{% endfor %}",
    ],
)
def test_a_template_that_cannot_be_split_is_refused(template):
    with pytest.raises(TraceError, match="cannot be split exactly"):
        ChatTemplate(with_template(template)).split(
            [{"role": "user", "content": "abcd"}, {"role": "assistant", "content": "efgh"}]
        )


def test_a_token_astride_two_turns_is_refused():
    template = ChatTemplate(with_template("{% for m in messages %}{{ m.content }}{% endfor %}"))
    with pytest.raises(TraceError, match="a token begins in its turn"):
        template.split([{"role": "assistant", "content": "assi"}, {"role": "user", "content": "stant"}])


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(TraceError, match="slow one"):
        ChatTemplate(Slow(), name="old")


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([], "no messages"),
        ([{"role": "narrator", "content": "x"}], "its role is"),
        ([{"role": "user"}], "its text is null"),
        ([{"role": "user", "content": ["x"]}], "its text is a list"),
        ([{"role": "user", "content": "\U0010fa000c\U0010fa01"}], "private characters"),
    ],
)
def test_messages_that_are_none_are_refused(messages, match):
    with pytest.raises(TraceError, match=match):
        template_of("qwen3").split(messages)


def test_what_a_template_refuses_is_said_in_its_words():
    with pytest.raises(TraceError, match="Roles must alternate"):
        template_of("gemma2").split([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    with pytest.raises(TraceError, match="There is no system role"):
        template_of("gemma2").split([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])


def test_a_template_that_writes_the_time_is_split_again():
    template = ChatTemplate(
        with_template(
            "{{ strftime_now('%f') }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
        )
    )
    with pytest.raises(TraceError, match="cannot be split exactly"):
        template.split([{"role": "user", "content": "abcd"}])
    daily = ChatTemplate(
        with_template(
            "{{ strftime_now('%Y') }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
        )
    )
    assert daily.split([{"role": "user", "content": "abcd"}]).turns[0].text == "abcd"


def test_a_template_that_moves_the_system_text_is_not_gone_on_from():
    moving = (
        "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n"
        "{{ 'last: ' if loop.last }}{{ m.content }}<|im_end|>{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    )
    template = ChatTemplate(with_template(moving))
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert len(template.split(messages).turns) == 2
    with pytest.raises(TraceError, match="once another message follows"):
        template.next_turn(messages)
