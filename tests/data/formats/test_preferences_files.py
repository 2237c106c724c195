"""Preferences: one of two answers, or one answer that is good or bad, in the shapes they come in."""

import pytest

from lmlab.data.formats import preferences

PROMPT = [{"role": "user", "content": "Say hi."}]
TWO = {"prompt": PROMPT, "chosen": "hi", "rejected": "no"}
ONE = {"prompt": PROMPT, "completion": "hi", "good": True}
user = lambda text: {"role": "user", "content": text}
assistant = lambda text: {"role": "assistant", "content": text}
gpt = lambda text: {"from": "gpt", "value": text}

SHAPES = [
    (TWO, TWO), (ONE, ONE),
    ({"prompt": "Say hi.", "chosen": "hi", "rejected": "no"}, TWO),
    ({"instruction": "Say hi.", "input": "", "chosen": "hi", "rejected": "no"}, TWO),
    ({"conversations": [{"from": "human", "value": "Say hi."}], "chosen": gpt("hi"), "rejected": gpt("no")}, TWO),
    ({"messages": PROMPT, "chosen": assistant("hi"), "rejected": assistant("no")}, TWO),
    ({"prompt": PROMPT, "chosen": [assistant("hi")], "rejected": [assistant("no")]}, TWO),
    ({"messages": [*PROMPT, assistant("hi")], "label": True}, ONE),
    ({"conversations": [{"from": "human", "value": "Say hi."}, gpt("hi")], "kto_tag": True}, ONE),
    ({"prompt": "Say hi.", "completion": "hi", "label": True}, ONE),
    ({"instruction": "Say", "input": "hi.", "output": "hi", "kto_tag": False},
     {"prompt": [user("Say\nhi.")], "completion": "hi", "good": False}),
]


@pytest.mark.parametrize("row, expected", SHAPES)
def test_every_shape_says_the_same(read, row, expected):
    assert read("preferences", "a.jsonl", [row]) == read("preferences", "a.json", [row]) == [expected]


def test_names_of_ones_own_and_keys(read):
    assert read("preferences", "a.jsonl", [{"q": "Say hi.", "yes": "hi", "no": "no"}], "q,yes,no") == [TWO]
    assert preferences.key(TWO) == preferences.key(ONE) == "Say hi."
    assert preferences.same(TWO) != preferences.same(ONE)
    assert preferences.texts(TWO) == ["Say hi.", "hi", "no"] and preferences.texts(ONE) == ["Say hi.", "hi"]


@pytest.mark.parametrize("row, message", [
    ({"prompt": "x", "chosen": "a"}, "line 1: no text in field 'rejected'; it has prompt, chosen"),
    ({"prompt": "x", "chosen": "a", "rejected": "a"}, "the chosen and the rejected answer are the same"),
    ({"prompt": "x", "chosen": "a", "rejected": ""}, "the rejected is empty"),
    ({"prompt": "x", "chosen": "a", "rejected": [gpt("b"), gpt("c")]},
     "no text in field 'rejected'; it has list there"),
    ({"prompt": "x", "chosen": "a", "rejected": {"from": "human", "value": "b"}}, "rejected is a user's message"),
    ({"prompt": "x", "chosen": "a", "rejected": {"from": "bot", "value": "b"}}, "rejected: unknown role 'bot'"),
    ({"prompt": [], "chosen": "a", "rejected": "b"}, "the prompt does not end with what a user says"),
    ({"prompt": [assistant("x")], "chosen": "a", "rejected": "b"}, "the prompt does not end with what a user says"),
    ({"prompt": 3, "chosen": "a", "rejected": "b"}, "prompt holds a int and no list"),
    ({"chosen": "a", "rejected": "b"}, "no text in field 'instruction'"),
    ({"messages": PROMPT, "label": True}, "no text in field 'completion'"),
    ({"messages": [assistant("x")], "label": True}, "the prompt does not end"),
    ({"messages": PROMPT, "label": "yes"}, "neither 'chosen' and 'rejected' nor label, kto_tag, good with true or"),
    ({"prompt": "x"}, "neither 'chosen' and 'rejected' nor"), ("x", "no text in field 'chosen'; it has a str")])
def test_what_is_wrong_is_told(refusal, row, message):
    assert message in refusal("preferences", "a.jsonl", [row])
