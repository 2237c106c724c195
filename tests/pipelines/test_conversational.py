"""Chat as messages in and messages out."""

import dataclasses

import pytest

import lmlab
from commands import tiny
from lmlab.data import tokenizers
from lmlab.data.chat import encode_chat
from lmlab.utils.errors import UserError

CHAT = [{"role": "user", "content": "the cat"}]


@pytest.fixture(scope="module")
def lm():
    """The tiny run, with a template that needs no new ids."""
    found = lmlab.load(tiny() / "run")
    return dataclasses.replace(found, tokenizer=tokenizers.chatting(found.tokenizer))


def test_the_reply_stands_after_the_messages(lm):
    pipe, settings = lmlab.pipeline("conversational", lm), dict(max_new_tokens=6, temperature=0)
    reply = {"role": "assistant", "content": lmlab.generate(lm, encode_chat(lm.tokenizer, CHAT), **settings).strip()}
    assert pipe(CHAT, **settings) == [*CHAT, reply] and len(CHAT) == 1
    again = [*CHAT, reply, {"role": "user", "content": "why"}]
    assert pipe([again, CHAT], **settings)[1] == [*CHAT, reply] and len(pipe([again], **settings)[0]) == 4
    assert pipe([], **settings) == []


@pytest.mark.parametrize("wrong", ["hi", [["hi"]], [[]], [{"content": "x"}]])
def test_what_is_no_chat(lm, wrong):
    with pytest.raises(UserError, match="no chat|message 1 must be"):
        lmlab.pipeline("conversational", lm)(wrong)


def test_a_model_that_cannot_chat_says_so():
    with pytest.raises(UserError, match="no chat template"):
        lmlab.pipeline("conversational", str(tiny() / "run"))(CHAT)
