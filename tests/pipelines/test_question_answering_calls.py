"""The shapes of transformers 4's question-answering pipeline, for every way to call it."""

import pytest

import asking
import lmlab
from lmlab.decoding.question_answering import answers
from lmlab.utils.errors import UserError

PLAIN, CHINESE = asking.CONTEXTS["plain"], asking.CONTEXTS["chinese"]


@pytest.fixture(scope="module")
def lm(lively):
    return asking.model("question_answering", asking.tokenizer("bytes"), lively)


@pytest.fixture(scope="module")
def ask(lm):
    return lmlab.pipeline("question-answering", lm)


def test_one_question_gives_one_dict(ask, lm):
    found = ask(question="Who?", context=PLAIN)
    assert list(found) == ["score", "start", "end", "answer"]
    assert PLAIN[found["start"]:found["end"]] == found["answer"] and 0 < found["score"] < 1
    assert all(type(found[name]) is kind for name, kind in zip(found, (float, int, int, str)))
    ((best,),) = answers(lm, [("Who?", PLAIN)], max_answer_len=15)
    assert found == {"score": best["score"], "start": best["start"], "end": best["end"], "answer": best["text"]}
    one = {"question": "Who?", "context": PLAIN}
    assert ask(one) == ask([one]) == ask(question=["Who?"], context=[PLAIN]) == found


def test_several_questions_and_several_answers_give_lists(ask):
    texts = lambda found: [one["answer"] for one in found]
    two = [ask(question=question, context=context) for question, context in (("Who?", PLAIN), ("谁?", CHINESE))]
    assert texts(ask(question=["Who?", "谁?"], context=[PLAIN, CHINESE])) == texts(two)
    assert texts(ask([{"question": "Who?", "context": PLAIN}, {"question": "谁?", "context": CHINESE}])) == texts(two)
    assert texts(ask(question=["Who?", "Who?"], context=PLAIN)) == texts(two[:1] * 2)
    best = ask(question="Who?", context=PLAIN, top_k=3)
    assert len(best) == 3 and best[0] == ask(question="Who?", context=PLAIN)
    assert [one["score"] for one in best] == sorted((one["score"] for one in best), reverse=True)
    assert [len(found) for found in ask(question=["Who?", "谁?"], context=[PLAIN, CHINESE], top_k=3)] == [3, 3]


def test_settings_reach_the_decoding(ask):
    assert len(ask(question="谁?", context=CHINESE, max_answer_len=3)["answer"]) <= 3
    every = ask(question="Who?", context="ab", top_k=9, handle_impossible_answer=True)
    silent = [one for one in every if not one["answer"]]
    assert len(every) == 4 and [(one["start"], one["end"]) for one in silent] == [(0, 0)]  # a, b, ab, none
    assert len(ask(question="Who?", context="ab", top_k=9)) == 3
    long = "abcdefgh " * 40
    assert ask(question="Who?", context=long, doc_stride=0) != ask(question="Who?", context=long, doc_stride=20)


@pytest.mark.parametrize("inputs, message", [
    (dict(question="Who?"), "takes question= and context="), (dict(context="x"), "takes question= and context="),
    (dict(question=["a", "b"], context=["c"]), "lists of as many"),
    (dict(question="Who?", context=""), "context of input 1 is empty"),
    (dict(question=[" "], context=["c"]), "question of input 1 is empty"),
    (dict(inputs={"question": "a"}), "context of input 1 is no text"), (dict(inputs="Who?"), 'takes {"question"'),
    (dict(question="a", context="b", top_k=0), "top_k=0 must be a whole number")])
def test_what_is_no_question_is_refused(ask, inputs, message):
    with pytest.raises(UserError, match=message):
        ask(**inputs)


def test_a_model_without_a_head_is_refused(lm):
    bare = lmlab.run.LM(lm.model.body, lm.params["body"], lm.tokenizer, lm.config, 0)
    with pytest.raises(UserError, match="no head for a task"):
        lmlab.pipeline("question-answering", bare)(question="Who?", context="Ada")
