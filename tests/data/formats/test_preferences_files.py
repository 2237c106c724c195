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
