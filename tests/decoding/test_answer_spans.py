"""The best answers against all spans tried one by one, windows alone in their rows; and transformers' own choice."""

import numpy as np
import pytest

import asking
from lmlab.data.features import examples, questions
from lmlab.decoding.question_answering import answers, spans
from lmlab.utils.errors import UserError

ASKED = [("Who?", asking.CONTEXTS["plain"]), ("谁？", asking.CONTEXTS["chinese"]), ("Où?", asking.CONTEXTS["accents"]),
         ("Who is it?", "Ada")]


@pytest.fixture(scope="module", params=["bytes", "wordpiece-uncased"])
def lm(request, lively):
    """A random model of rows of 48, whose windows share 16 tokens."""
    found = asking.model("question_answering", asking.tokenizer(request.param), lively, length=48)
    with found.config.unlocked():
        found.config.objective.stride = 16
    return found


def by_hand(lm, question, context, most):
    """({(start, end): the best score of those characters}, the score of no answer), every span tried."""
    tokenizer, best, none = lm.tokenizer, {}, 1.0
    asked = [tokenizer.specials["cls"], *tokenizer.encode(question), tokenizer.eod]
    ids, offsets = tokenizer.encode_offsets(context)
    room = 48 - len(asked) - 1
    for begin in range(0, len(ids), room - 16):
        part = ids[begin:begin + room]
        logits = asking.alone(lm, [*asked, *part, tokenizer.eod], [0] * len(asked) + [1] * (len(part) + 1))
        kept = np.exp([logits[0], *logits[len(asked):len(asked) + len(part)]])
        p = kept / kept.sum(0)
        none = min(none, p[0, 0] * p[0, 1])
        for first in range(len(part)):
            for last in range(first, min(first + most, len(part))):
                start, end = offsets[begin + first][0], offsets[begin + last][1]
                text = context[start:end + (context[end:end + 1] == "\u0301")]  # an accent that the tokenizer dropped
                start += len(text) - len(text.lstrip())
                place = (start, start + len(text.strip()))
                if text.strip():
                    best[place] = max(best.get(place, 0), p[first + 1, 0] * p[last + 1, 1])
        if begin + room >= len(ids):
            return best, none


@pytest.mark.parametrize("most", [1, 6, 60])
def test_the_best_answers_are_those_of_all_spans(lm, most):
    for (question, context), found in zip(ASKED, answers(lm, ASKED, top_k=4, max_answer_len=most), strict=True):
        best, none = by_hand(lm, question, context, most)
        expected = sorted(best.items(), key=lambda item: -item[1])[:4]
        assert [one["score"] for one in found] == pytest.approx([score for _, score in expected], rel=2e-4)
        for one in found:
            assert one["score"] == pytest.approx(best[one["start"], one["end"]], rel=2e-4)
            assert context[one["start"]:one["end"]] == one["text"] == one["text"].strip() != ""
            assert one["no_answer_score"] == pytest.approx(none, rel=2e-4)


def test_many_at_once_are_as_one(lm):
    together = answers(lm, ASKED * 3, top_k=2)
    for pair, found in zip(ASKED * 3, together, strict=True):
        (single,) = answers(lm, [pair], top_k=2)
        assert [one["score"] for one in single] == pytest.approx([one["score"] for one in found], rel=1e-4)
        assert [one["text"] for one in single] == [one["text"] for one in found]
    assert answers(lm, []) == []


def test_no_answer_has_its_place_among_them(lm):
    for pair in ASKED:
        (plain,) = answers(lm, [pair], top_k=5000)
        (found,) = answers(lm, [pair], top_k=5000, handle_impossible_answer=True)
        none = plain[0]["no_answer_score"]
        silent = {"text": "", "start": 0, "end": 0, "score": none, "no_answer_score": none}
        assert silent in found
        assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
        assert [one["text"] for one in found if one["text"]] == [one["text"] for one in plain]
        margin = np.log(none / plain[0]["score"])
        for threshold, text in ((margin - 0.01, ""), (margin + 0.01, plain[0]["text"])):
            ((best,),) = answers(lm, [pair], handle_impossible_answer=True, threshold=threshold)
            assert best["text"] == text


def test_a_context_without_anything_has_no_answer(lm):
    for context in ("", " \n "):
        ((best,),) = answers(lm, [("Who?", context)])
        assert best["text"] == "" and best["score"] == best["no_answer_score"]


@pytest.mark.parametrize("settings", [dict(top_k=0), dict(max_answer_len=0), dict(top_k=1.5)])
def test_values_that_mean_nothing_are_refused(lm, settings):
    with pytest.raises(UserError, match="must be a whole number, at least 1"):
        answers(lm, ASKED, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_as_transformers(seed):
    """The scores of a window as transformers 4 computes them; transformers 5 has no such pipeline any more."""
    theirs = pytest.importorskip("transformers.pipelines.question_answering")
    rng = np.random.default_rng(seed)
    logits_N2, head, most = rng.normal(size=(30, 2)) * 3, 8, int(rng.integers(1, 25))
    encoded = examples.Encoded(np.arange(30), np.arange(30) >= head)
    scores_PL, none = spans(questions.Window(encoded, 0, head, 0, np.zeros((21, 2))), logits_N2, most)
    outside = np.array([[0] + [1] * (head - 1) + [0] * 21 + [1]])
    starts, ends, scores, null = theirs.select_starts_ends(
        *logits_N2.T[:, None], outside, np.ones((1, 30), int), top_k=10, max_answer_len=most,
        handle_impossible_answer=True)
    assert none == pytest.approx(null)
    flat = np.argsort(-scores_PL, axis=None)[:10]
    first, more = np.unravel_index(flat, scores_PL.shape)
    keep = scores > 0
    assert scores_PL.ravel()[flat][:keep.sum()] == pytest.approx(scores[keep])
    assert (first + head)[:keep.sum()].tolist() == starts[keep].tolist()
    assert (first + more + head)[:keep.sum()].tolist() == ends[keep].tolist()
