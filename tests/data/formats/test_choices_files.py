"""Questions with choices: an answer by its index, letter or text."""

import pytest

from lmlab.data.formats import choices

QUESTION = {"question": "Which is a colour?", "choices": ["one", "red ", "tree"]}


@pytest.mark.parametrize("answer", [1, "B", "b", "red", " red "])
def test_an_answer_by_index_letter_or_text(read, answer):
    expected = {"question": "Which is a colour?", "choices": ["one", "red", "tree"], "answer": 1}
    for name in ("a.jsonl", "a.json.gz"):
        assert read("choices", name, [QUESTION | {"answer": answer}]) == [expected]
    named = {"q": "Which is a colour?", "c": ["one", "red", "tree"], "a": answer, "context": "Red is one."}
    (found,) = read("choices", "b.jsonl", [named], "q,c,a")
    assert found == expected | {"context": "Red is one."}
    assert choices.key(found) == "Red is one." and choices.key(expected) == expected["question"]


def test_text_goes_before_the_letter(read):
    (found,) = read("choices", "a.jsonl", [{"question": "q", "choices": ["B", "A"], "answer": "A"}])
    assert found["answer"] == 1


@pytest.mark.parametrize("change, message", [
    ({"answer": 3}, "line 1: the answer '3' is none of the 3 choices; give an index from 0"),
    ({"answer": -1}, "the answer '-1' is none"), ({"answer": "D"}, "the answer 'D' is none"),
    ({"answer": "blue"}, "the answer 'blue' is none"), ({"answer": True}, "the answer is a bool"),
    ({"answer": 1.0}, "the answer is a float"), ({}, "the answer is a NoneType"),
    ({"choices": ["a", "a", "b"], "answer": "a"}, None),
    ({"choices": ["x", "x"], "answer": "x"}, "the answer 'x' is none"),
    ({"choices": ["a"], "answer": 0}, "choices are not two or more texts"),
    ({"choices": ["a", " "], "answer": 0}, "choices are not two or more texts"),
    ({"choices": "ab", "answer": 0}, "choices holds a str and no list"),
    ({"context": 3, "answer": 0}, "no text in field 'context'"),
    ({"question": "", "answer": 0}, "the question is empty"),
])
def test_what_is_wrong_is_told(refusal, read, change, message):
    rows = [QUESTION | change]
    if message is None:  # "a" stands there twice as a text, and is a letter too
        assert read("choices", "a.jsonl", rows)[0]["answer"] == 0
    else:
        assert message in refusal("choices", "a.jsonl", rows)
