"""Answers that stand in a context."""

import functools
import math
import re

import numpy as np

from lmlab.decoding import headed, question_answering
from lmlab.eval import overlap
from lmlab.eval.metrics import answers as metrics
from lmlab.eval.tasks import Task

_TEACHES = 1000  # training examples that the baseline's two numbers are made of
_ASKS = re.compile(r"\b(who|whom|whose|what|when|where|which|why|how)\b|(谁|什么|何时|哪|为什么|为何|怎么|如何|多少|几)",
                   re.IGNORECASE)


def task(lm) -> Task:
    """The task of a model with a head for question answering. What a system says of a question is (the answer to give,
    how much speaks for giving none: above 0, none is given)."""
    headed.check(lm, "question_answering")
    baselines = {"sliding window": _window, "no answer": _none}
    return Task(functools.partial(_predict, lm), baselines, _gold, STATISTICS, _slices)


def _given(said):
    return [text if no_answer <= 0 else "" for text, no_answer in said]


STATISTICS = {
    **{name: lambda said, gold, name=name: metrics.each(gold, _given(said))[name].mean()
       for name in ("f1", "exact_match")},
    # by the threshold that is best on these very questions
    "best_f1": lambda said, gold: metrics.best_thresholds(
        gold, [text for text, _ in said], [no_answer for _, no_answer in said])["best_f1"],
}


def _gold(examples):
    return ([[answer["text"] for answer in one["answers"]] for one in examples],)


def _predict(lm, examples):
    """The best answer, and log(score of no answer / its score)."""
    found = question_answering.answers(lm, [(one["question"], one["context"]) for one in examples])
    log = lambda score: math.log(max(score, 1e-300))
    return [(best["text"], log(best["no_answer_score"]) - log(best["score"])) for (best,) in found]


def _window(train, held):
    """A sliding window (`overlap.sliding_window`). As many words as half the training answers have at most; no answer
    where less of the question is near than is best for the training questions."""
    train = train[:_TEACHES]
    sizes = [len(overlap.words(one["answers"][0]["text"])) for one in train if one["answers"]]
    size = max(1, int(np.median(sizes or [1])))
    found = [[overlap.sliding_window(one["question"], one["context"], size) for one in examples]
             for examples in (train, held)]
    least = metrics.best_thresholds(*_gold(train), [text for text, _ in found[0]],
                                    [-share for _, share in found[0]])["best_f1_threshold"]
    return [(text, -share - least) for text, share in found[1]]


def _none(train, held):
    """Never an answer."""
    return [("", 1.0)] * len(held)


def _slices(examples):
    """The questions that have an answer and those that have none; those of each question word, the first that stands
    there."""
    there = np.array([bool(one["answers"]) for one in examples], bool)
    found = [_ASKS.search(one["question"]) for one in examples]
    asks = np.array([match.group().lower() if match else "other" for match in found])
    return {"answerable": np.flatnonzero(there), "not answerable": np.flatnonzero(~there),
            **{name: np.flatnonzero(asks == name) for name in sorted(set(asks))}}
