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
    (found,) = read("choices", "a.jsonl", [{"question": "q", "choices": ["a", "a", "b"], "answer": "a"}])
    assert found["answer"] == 0  # "a" stands there twice as a text, and is a letter too
