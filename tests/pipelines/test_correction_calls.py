"""Corrections and where they are: all of them made give the target, whatever the two texts."""

from hypothesis import given, settings, strategies as st

from lmlab.pipelines import correction

TEXTS = st.lists(st.sampled_from(["the", "teh", "cat", " ", "  ", ",", "。", "在", "再", "1", "é", "🙂", "\n"]), max_size=9
                 ).map("".join)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_all_errors_put_right_give_the_target(source, target):
    text = source
    for error in reversed(correction.errors(source, target)):
        assert source[error["start"]:error["end"]] == error["text"]
        text = text[:error["start"]] + error["correction"] + text[error["end"]:]
    assert text == target


def test_words_and_characters_are_named_one_by_one():
    assert correction.errors("teh cat sat on mat.", "the cat sat on the mat!") == [
        {"start": 0, "end": 3, "text": "teh", "correction": "the"},
        {"start": 14, "end": 14, "text": "", "correction": " the"},
        {"start": 18, "end": 19, "text": ".", "correction": "!"}]
    assert correction.errors("他在来", "他再来") == [{"start": 1, "end": 2, "text": "在", "correction": "再"}]
    assert correction.errors("fine", "fine") == []
