"""Choices by a call: what decoding tells, in order, however it is asked."""

import pytest

import lmlab
import tasks
from lmlab.decoding.multiple_choice import probabilities
from lmlab.utils.errors import UserError

ASKED = [{"question": "who sat ?", "choices": ["a cat", "paris", "the park in france"]},
         {"question": "who is here ?", "choices": ["a dog", "sport"], "context": "the dog ran"}]


@pytest.mark.parametrize("kind", ["multiple_choice", "decoder"])
def test_the_probabilities_of_the_choices_in_their_order(kind):
    lm = tasks.model(kind)
    pipe = lmlab.pipeline("multiple-choice", lm)
    for one, p_C, found in zip(ASKED, probabilities(lm, ASKED), pipe(ASKED), strict=True):
        assert {part["label"]: part["score"] for part in found} == pytest.approx(
            dict(zip(one["choices"], p_C)), abs=1e-6)
        scores = [part["score"] for part in found]
        assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1)
        assert [list(part) for part in found] == [["label", "score"]] * len(p_C)
    assert pipe(question=ASKED[0]["question"], choices=tuple(ASKED[0]["choices"])) == pipe(ASKED[0])
    assert pipe([]) == [] and pipe(ASKED[:1]) == [pipe(ASKED[0])]


@pytest.mark.parametrize("args, settings, message", [
    ((), {}, "takes question= and choices="), ((ASKED[0],), {"question": "x"}, "takes question= and choices="),
    (("who ?",), {}, "input 1 is no question"), (([ASKED[0], {"question": "x"}],), {}, "input 2 is no question"),
    ((), {"question": "x", "choices": ["a", "b"], "answer": 0}, "input 1 is no question"),
    ((), {"question": "x", "choices": "ab"}, "the choices of input 1 are not two or more"),
    ((), {"question": "x", "choices": ["a"]}, "the choices of input 1 are not two or more"),
    ((), {"question": "x", "choices": ["a", " "]}, "input 1 holds ' ', which is no text or empty"),
    ((), {"question": None, "choices": ["a", "b"]}, "input 1 holds 'None'"),
    ((), {"question": "x", "choices": ["a", "b"], "context": 3}, "input 1 holds '3'")])
def test_what_is_no_question_is_told(args, settings, message):
    with pytest.raises(UserError, match=message):
        lmlab.pipeline("multiple-choice", tasks.model("decoder"))(*args, **settings)
