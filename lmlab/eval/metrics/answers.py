"""Answers to questions, as spans of text: exact match and F1 of SQuAD (Rajpurkar et al. 2016, 2018), in any script.

What is compared has no case, no ASCII punctuation, no English article and single spaces. In text with Chinese or
Japanese characters all punctuation goes, and each such character is a word of its own (MLQA, Lewis et al. 2020).
"""

import functools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lmlab.data.cleaning import CJK

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ASCII = str.maketrans("", "", string.punctuation)
_CHARACTER = re.compile(rf"([{CJK}])")


def normalise(text: str) -> str:
    """The text as it is compared."""
    text = text.lower().translate(_ASCII)
    if _CHARACTER.search(text):
        text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
    return " ".join(_ARTICLES.sub(" ", text).split())


def scores(answers: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, float]:
    """{"exact_match", "f1"}; where some questions have an answer and some have none, also of each kind alone, as
    "f1/answerable" and "f1/unanswerable".

    answers: the gold answers of each question, none of one that cannot be answered. predicted: a text for each, "" for
    no answer.
    """
    values = each(answers, predicted)
    there_B = np.array([bool(_gold(texts)[0]) for texts in answers])
    result = {name: float(values_B.mean()) for name, values_B in values.items()}
    if there_B.any() and not there_B.all():
        for kind, of_kind_B in (("answerable", there_B), ("unanswerable", ~there_B)):
            result |= {f"{name}/{kind}": float(values_B[of_kind_B].mean()) for name, values_B in values.items()}
    return result


def each(answers: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, np.ndarray]:
    """{"exact_match", "f1"} of every question (B,), by the gold answer that fits best; the arguments are those of
    `scores`. A question without an answer is worth 1 if none was given, else 0."""
    rows = [_values(tuple(texts), text) for texts, text in zip(answers, predicted, strict=True)]
    return dict(zip(("exact_match", "f1"), np.array(rows, np.float64).reshape(-1, 2).T))


def best_thresholds(answers: Sequence[Sequence[str]], predicted: Sequence[str], no_answer_B) -> dict[str, float]:
    """The best scores that can be had by giving no answer where `no_answer` is above a threshold, and the thresholds
    (the smallest, of equals): {"best_exact_match", "best_exact_match_threshold", "best_f1", "best_f1_threshold"}.

    answers, predicted: as for `scores`; predicted texts are those to give where an answer is given. no_answer_B: how
    much speaks for no answer, on any scale. Giving none at all is a threshold just below the smallest.

    The optimum of SQuAD 2.0's official evaluation, which says 0 for giving none at all and may part questions of one
    value. As it is chosen on these very questions, it is more than a threshold from elsewhere reaches.
    """
    no_answer_B = np.asarray(no_answer_B, np.float64)
    silent = each(answers, [""] * len(predicted))
    order_B = np.argsort(no_answer_B, kind="stable")
    sorted_B = no_answer_B[order_B]
    thresholds = np.concatenate([[np.nextafter(sorted_B[0], -np.inf)], sorted_B])
    last = np.append(np.diff(thresholds) > 0, True)  # of those that are equal
    result = {}
    for name, values_B in each(answers, predicted).items():
        gains_B = (values_B - silent[name])[order_B]  # by answering, from the surest on
        totals = np.cumsum([silent[name].sum(), *gains_B])
        best = int(np.argmax(np.where(last, totals, -np.inf)))
        result |= {f"best_{name}": float(totals[best] / len(predicted)),
                   f"best_{name}_threshold": float(thresholds[best])}
    return result


@functools.lru_cache(2 ** 16)  # an interval asks for the same ones a thousand times
def _values(texts: tuple[str, ...], text: str) -> list[float]:
    """[exact match, F1] of one question."""
    return [max(measure(gold, normalise(text)) for gold in _gold(texts)) for measure in (_exact, _f1)]


def _gold(texts) -> list[str]:
    """The gold answers as they are compared; "" alone where there is none, or nothing is left of any."""
    return list(filter(None, map(normalise, texts))) or [""]


def _exact(gold: str, text: str) -> float:
    return float(gold == text)


def _f1(gold: str, text: str) -> float:
    """F1 of the words that both have, each as often as it stands there."""
    gold, words = (_CHARACTER.sub(r" \1 ", part).split() for part in (gold, text))
    if not gold or not words:
        return float(gold == words)
    return 2 * (Counter(gold) & Counter(words)).total() / (len(gold) + len(words))
