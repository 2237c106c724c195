"""Answers by counting alone: what stands where a context has the most of a question's words."""

import math
import re
from collections import Counter

import numpy as np

from lmlab.data.cleaning import CJK

_WORD = re.compile(rf"[{CJK}]|[^\W{CJK}]+")


def words(text: str) -> list[tuple[str, int, int]]:
    """(word in lower case, start, end) of a text; a Chinese or Japanese character counts as a word."""
    return [(match.group().lower(), *match.span()) for match in _WORD.finditer(text)]


def sliding_window(question: str, context: str, size: int) -> tuple[str, float]:
    """(answer, how much of the question is near it, from 0 to 1) by a sliding window (Richardson et al. 2013, 3.1).

    A word of the question that the context has n times is worth log(1 + 1/n), as there; the window is as many words as
    the question has different ones, and is put where they are worth the most, the first such place. As there are no
    choices here, the answer is the `size` words at or beside the window that are worth least as words of the question,
    those nearest to its middle of equals. The share is the window's worth over that of all the question's words.
    """
    said = words(context)
    if not said:
        return "", 0.0
    count, asked = Counter(word for word, *_ in said), {word for word, *_ in words(question)}
    worth = {word: math.log(1 + 1 / count[word]) if count[word] else math.log(2) for word in asked}
    sums = np.concatenate([[0.0], np.cumsum([worth.get(word, 0.0) for word, *_ in said])])
    width, size = min(max(1, len(asked)), len(said)), min(size, len(said))
    near = np.round(sums[width:] - sums[:-width], 9)  # so that equals are equal
    best = int(near.argmax())
    starts = np.arange(max(0, best - size), min(len(said) - size, best + width) + 1)
    off = np.abs(starts + size / 2 - best - width / 2)
    first = starts[np.lexsort((off, np.round(sums[starts + size] - sums[starts], 9)))[0]]
    share = float(near[best] / sum(worth.values())) if worth else 0.0
    return context[said[first][1]:said[first + size - 1][2]], min(share, 1.0)


def shared(text: str, other: str) -> float:
    """The share of the words of `text` that `other` has too; 0 of no words."""
    mine, theirs = [word for word, *_ in words(text)], {word for word, *_ in words(other)}
    return sum(word in theirs for word in mine) / max(1, len(mine))
