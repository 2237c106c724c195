"""IBM model 1 against its equations written out pair by pair, and what is translated by it."""

from collections import defaultdict

import pytest

from lmlab.eval import lexical

SOURCES = [["a", "b"], ["a"], ["b", "c", "a"], []]
TARGETS = [["x", "y"], ["x"], ["y", "z", "x", "x"], ["y"]]


def by_hand(rounds):
    """Brown et al. 1993, equation 17 and what follows, one pair after the other."""
    pairs = [([*source, ""], target) for source, target in zip(SOURCES, TARGETS)]
    t = {(s, f): 1.0 for source, target in pairs for s in source for f in target}
    for _ in range(rounds):
        count = defaultdict(float)
        for source, target in pairs:
            for f in target:
                for s in source:
                    count[s, f] += t[s, f] / sum(t[other, f] for other in source)
        t = {(s, f): c / sum(d for (other, _), d in count.items() if other == s) for (s, f), c in count.items()}
    return t


@pytest.mark.parametrize("rounds", [0, 1, 4])
def test_the_table_is_that_of_the_equations(rounds):
    table = lexical.learn(SOURCES, TARGETS, rounds)
    found = dict(zip(zip(table.sources.tolist(), table.targets.tolist()), table.probability_P.tolist()))
    assert found == pytest.approx(by_hand(rounds), abs=1e-12)


def test_words_are_translated_where_they_stand_and_unknown_ones_copied():
    train = [("the house", "das Haus"), ("the book", "das Buch"), ("a book", "ein Buch"), ("the end.", "das Ende.")]
    assert lexical.word_for_word(train, ["a house, Ada.", ""]) == ["ein Haus, Ada.", ""]
    assert lexical.word_for_word([], ["a house, Ada."]) == ["a house, Ada."]


def test_no_more_is_read_than_so_many_links():
    table = lexical.learn(SOURCES, TARGETS, links=3 * 2 + 2 * 1)  # the first two pairs, each with the empty word
    assert set(table.sources.tolist()) == {"", "a", "b"} and set(table.targets.tolist()) == {"x", "y"}
