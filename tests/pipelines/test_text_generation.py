"""Pipelines take and give what transformers v4's did."""

import dataclasses

import pytest
import tokenizers

import lmlab
from commands import tiny
from lmlab.data.chat import encode_chat
from lmlab.interop import tokenizers as interop
from lmlab.utils.errors import UserError


@pytest.fixture(scope="module")
def pipe():
    """The pipeline of the tiny run."""
    return lmlab.pipeline("text-generation", str(tiny() / "run"))


def test_a_string_gives_a_list_of_dicts(pipe):
    out = pipe("the cat", max_new_tokens=5)
    assert isinstance(out, list) and len(out) == 1 and list(out[0]) == ["generated_text"]
    assert out[0]["generated_text"].startswith("the cat") and len(out[0]["generated_text"]) > len("the cat")


def test_a_list_gives_a_list_of_lists(pipe):
    out = pipe(["the", "春眠"], max_new_tokens=5, temperature=0)
    assert [[list(d) for d in row] for row in out] == [[["generated_text"]]] * 2
    assert out[0] == pipe("the", max_new_tokens=5, temperature=0)
    assert pipe([], max_new_tokens=5) == []
    assert pipe(["the"], max_new_tokens=5, temperature=0) == [out[0]]


def test_return_full_text(pipe):
    whole, part = (pipe("the", max_new_tokens=9, return_full_text=full)[0]["generated_text"] for full in (True, False))
    assert whole == "the" + part


def test_takes_what_load_gives(pipe):
    lm = lmlab.load(tiny() / "run")
    assert lmlab.pipeline("text-generation", lm)("a", max_new_tokens=4) == pipe("a", max_new_tokens=4)
    part = pipe("a", max_new_tokens=4, return_full_text=False)
    assert part == [{"generated_text": lmlab.generate(lm, "a", max_new_tokens=4)}]


CHAT = [{"role": "user", "content": "the <|im_end|>cat"}]


@pytest.fixture(scope="module")
def chatting():
    """The tiny run's network with a tokenizer that has a chat template, as a model from elsewhere would have."""
    lm = lmlab.load(tiny() / "run")
    eod, size = lm.tokenizer.eod, lm.tokenizer.vocab_size
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel(
        {"<|im_end|>": eod, **{str(i): i for i in range(size) if i != eod}}, unk_token="1"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    template = "{% for m in messages %}{{ m.role ~ m.content }}<|im_end|>{% endfor %}"
    tokenizer = interop.wrap(library, {"eos_token": "<|im_end|>", "chat_template": template})
    return dataclasses.replace(lm, tokenizer=tokenizer)


def test_a_chat_gives_the_messages_and_the_answer(chatting):
    pipe = lmlab.pipeline("text-generation", chatting)
    settings = dict(max_new_tokens=4, temperature=0)
    out = pipe(CHAT, **settings)
    (new,) = pipe(CHAT, return_full_text=False, **settings)
    assert out == [{"generated_text": [*CHAT, {"role": "assistant", "content": new["generated_text"]}]}]
    assert new["generated_text"] == lmlab.generate(chatting, encode_chat(chatting.tokenizer, CHAT), **settings)
    assert pipe([CHAT, CHAT], **settings) == [out, out]
    assert len(CHAT) == 1  # the caller's list is left alone


def test_token_ids_are_no_text(pipe):
    for texts in ([1, 2], [[1, 2]], [None]):
        with pytest.raises(UserError, match="is no text and no chat"):
            pipe(texts)


def test_a_chat_needs_a_template(pipe):
    with pytest.raises(UserError, match="no chat template"):
        pipe(CHAT)


@pytest.mark.parametrize("task", ["text-generatoin", "text_generation", "textgeneration"])
def test_an_unknown_task_names_the_near_one(task):
    with pytest.raises(UserError, match="did you mean 'text-generation'"):
        lmlab.pipeline(task, "nowhere")


def test_a_task_like_no_other_lists_them_all():
    with pytest.raises(UserError, match="there are: .*text-generation"):
        lmlab.pipeline("astrology", "nowhere")
