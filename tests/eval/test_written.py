"""Sentences, words, and the sources and targets of pairs and conversations."""

import json

import numpy as np
import pytest

from lmlab.eval import written
from lmlab.eval.metrics import interval

PAIR = {"source": "one. two", "target": "eins. zwei"}
CHAT = {"messages": [{"role": "system", "content": "Do."}, {"role": "user", "content": "one"},
                     {"role": "assistant", "content": "eins"}, {"role": "user", "content": "two"},
                     {"role": "assistant", "content": "zwei"}, {"role": "user", "content": "thanks"}]}


def test_pairs_and_conversations_have_a_source_and_a_target():
    assert written.sources([PAIR, CHAT]) == ["one. two", "two"]
    assert written.targets([PAIR, CHAT]) == ["eins. zwei", "zwei"]
    assert written.asked([PAIR, CHAT]) == ["one. two", CHAT["messages"][:4]]


@pytest.mark.parametrize("text, expected", [
    ('He said "no." Then he left. 3.5 is more!', ['He said "no."', "Then he left.", "3.5 is more!"]),
    ("他走了。“我也走！”好吗？\n\n end", ["他走了。", "“我也走！”", "好吗？", "end"]), ("", []), ("no end", ["no end"])])
def test_sentences(text, expected):
    assert written.sentences(text) == expected
    assert written.lead(2, text).split("\n") == (expected[:2] or [""])


@pytest.mark.parametrize("text", ["Hello, world! (really) it's 3.", "他走了。我也走。", "A 3-year-old [dog]?"])
def test_words_are_joined_as_they_were(text):
    assert written.joined(written.words(text)).replace(" ", "") == text.replace(" ", "")
    assert written.joined(written.words("Hello, world! (really)")) == "Hello, world! (really)"
    assert written.joined(written.words("他走了。我也走。")) == "他走了。我也走。"


def test_a_column_is_drawn_text_and_counts_together(tmp_path):
    said = written.column(["a", "b", "c"], np.array([[1, 2], [3, 4], [5, 6]]))
    share = written.of_sums(lambda sums: sums[0] / sums[1])
    assert share(said) == 9 / 12 and share(said[[0, 0, 2]]) == 7 / 10 and said[[2, 0]]["text"].tolist() == ["c", "a"]
    low, high = interval.bootstrap(share, said, trials=50)
    assert 0.5 <= low <= 0.75 <= high <= 5 / 6
    written.keep(tmp_path, said, ["A", "B", "C"], ["x", "y", "z"])
    lines = (tmp_path / "said.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 3 and json.loads(lines[1]) == {"source": "B", "target": "y", "said": "b"}
