"""Edits against the distance by recursion, all alignments of short strings, and corrections counted by hand."""

import functools
import itertools

import pytest
from hypothesis import given, settings, strategies as st

from lmlab.eval.metrics import edits
from lmlab.eval.metrics.edits import Edit

TEXTS = st.text("ab中", max_size=7)


def distance(source, target):
    """Levenshtein's, as it is defined."""
    @functools.cache
    def of(i, j):
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (source[i - 1] != target[j - 1]))
    return of(len(source), len(target))


def applied(source, changes):
    """The source with its edits made, from the last to the first."""
    source = list(source)
    for start, end, replacement in reversed(changes):
        source[start:end] = replacement
    return source


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_edits_make_the_target_and_none_is_shorter(source, target):
    changes = edits.edits(source, target)
    assert applied(source, changes) == list(target)
    assert sum(max(end - start, len(new)) for start, end, new in changes) == distance(source, target)
    assert all(before.end < after.start for before, after in itertools.pairwise(changes))  # those that touch are one
    assert all(edit.end > edit.start or edit.replacement for edit in changes)


def alignments(source, target, i, j):
    """Every way to the last unit of both, as choices from the end: keep or substitute 0, delete 1, insert 2; with its
    cost."""
    if not i and not j:
        yield (), 0
    if i and j:
        for ways, cost in alignments(source, target, i - 1, j - 1):
            yield (0, *ways), cost + (source[i - 1] != target[j - 1])
    if i:
        yield from (((1, *ways), cost + 1) for ways, cost in alignments(source, target, i - 1, j))
    if j:
        yield from (((2, *ways), cost + 1) for ways, cost in alignments(source, target, i, j - 1))


def of_alignment(source, target, ways):
    """The edits of choices from the end, gathered from the beginning."""
    changes, i, j, fresh = [], 0, 0, True
    for way in reversed(ways):
        kept = way == 0 and source[i] == target[j]
        if not kept:
            start, _, new = (i, i, ()) if fresh else changes.pop()
            changes.append(Edit(start, i + (way < 2), new + (() if way == 1 else (target[j],))))
        i, j, fresh = i + (way < 2), j + (way != 1), kept
    return changes


def test_of_equal_alignments_it_is_the_one_that_is_said():
    """All alignments of all short strings: of the cheapest, that whose choices from the end are first in order."""
    short = ["".join(letters) for length in range(4) for letters in itertools.product("ab", repeat=length)]
    for source, target in itertools.product(short, repeat=2):
        _, ways = min((cost, ways) for ways, cost in alignments(source, target, len(source), len(target)))
        assert edits.edits(source, target) == of_alignment(source, target, ways), (source, target)


@pytest.mark.parametrize("source, target, expected", [
    ("kitten", "sitting", [Edit(0, 1, ("s",)), Edit(4, 5, ("i",)), Edit(6, 6, ("g",))]),
    ("我在公圆玩", "我在公园里玩", [Edit(3, 4, ("园", "里"))]), ("aa", "a", [Edit(0, 1, ())]), ("", "", []), ("a", "a", []),
    ("", "ab", [Edit(0, 0, ("a", "b"))])])
def test_by_hand(source, target, expected):
    assert edits.edits(source, target) == expected


def test_scores_by_hand():
    """Wanted: 2 edits and 1; made: one right, one right with one wrong; a correct text was changed, another not."""
    sources = ["he go to school yesterday", "she like it", "all is well", "so it is"]
    wanted = ["he went to the school yesterday", "she likes it", "all is well", "so it is"]
    found = ["he went to school yesterday", "she likes that", "all was well", "so it is"]
    # "likes that" is one edit of two words, so it is not the edit that was wanted.
    counts = edits.edit_counts(sources, wanted, found, "word")
    assert counts.tolist() == [[1, 1, 2], [0, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert edits.scores(sources, wanted, found, "word") == pytest.approx({
        "precision": 1 / 3, "recall": 1 / 3, "f0.5": 1 / 3, "accuracy": 1 / 4, "false_positive_rate": 1 / 2})


def test_precision_weighs_twice():
    """Ng et al. 2014: F0.5 = 1.25 P R / (0.25 P + R), here of P = 1, R = 1/2."""
    scores = edits.scores(["abcd"], ["xbcy"], ["xbcd"], "character")
    assert scores["f0.5"] == pytest.approx(1.25 * 0.5 / (0.25 + 0.5)) and scores["precision"] == 1


def test_nothing_to_get_wrong():
    perfect = {"precision": 1, "recall": 1, "f0.5": 1, "accuracy": 1, "false_positive_rate": 0}
    assert edits.scores(["a b"], ["a b"], ["a b"], "word") == perfect == edits.scores(["a"], ["b"], ["b"], "character")
    assert edits.scores(["a"], ["b"], ["a"], "word") == {"precision": 1, "recall": 0, "f0.5": 0, "accuracy": 0,
                                                         "false_positive_rate": 0}
