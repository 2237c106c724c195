"""A dictionary learned from pairs of sentences by IBM model 1 (Brown et al. 1993, section 4.3), and translation
word for word by it: what a translator must beat."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmlab.eval import written

ROUNDS = 5
LINKS = 10_000_000  # of a word and a word of the same pair: what comes after so many is left unread


class Table(NamedTuple):
    """t(target | source) of the words that stand in one pair: entry p is that of sources[p] and targets[p].

    Attributes:
      probability_P. sources, targets: words (P,); the source "" stands for none.
    """
    probability_P: np.ndarray
    sources: np.ndarray
    targets: np.ndarray


def learn(sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], rounds: int = ROUNDS,
          links: int = LINKS) -> Table:
    """The table after some rounds of expectation maximisation from the uniform one; each pair has the empty source word
    too. Arguments: the words of sentences; links: how many at most are read."""
    source_L, place_L, target_L, names = _links(sources, targets, links)
    pair_P, entry_L = np.unique(source_L * len(names[1]) + target_L, return_inverse=True)
    source_P, target_P = np.divmod(pair_P, max(1, len(names[1])))
    p_P = np.ones(len(pair_P))
    for _ in range(rounds):
        p_L = p_P[entry_L]
        share_L = p_L / np.bincount(place_L, p_L)[place_L]  # each target word is shared out over the sources
        count_P = np.bincount(entry_L, share_L, len(pair_P))
        p_P = count_P / np.bincount(source_P, count_P)[source_P]
    found = [np.array([*words, ""], object) for words in names]  # an array of words, be there none
    return Table(p_P, found[0][source_P], found[1][target_P])


def dictionary(table: Table) -> dict[str, str]:
    """The likeliest target of each source word."""
    order = np.argsort(table.probability_P, kind="stable")
    return dict(zip(table.sources[order].tolist(), table.targets[order].tolist()))


def word_for_word(train: Sequence[tuple[str, str]], sources: Sequence[str]) -> list[str]:
    """Translations of texts, the order of the words kept, unknown ones copied. train: (source, target) texts."""
    known = dictionary(learn(*([written.words(pair[side]) for pair in train] for side in (0, 1))))
    return [written.joined([known.get(word, word) for word in written.words(text)]) for text in sources]


def _links(sources, targets, most):
    """Each word of a source, the empty one first, with each of its target: (source_L, place_L, target_L, names), the
    numbers of the source word, of the place of the target word among all, of the target word; and the words."""
    numbers, parts, seen, place = ({"": 0}, {}), [], 0, 0
    for words in zip(sources, targets, strict=True):
        source, target = (np.array([known.setdefault(word, len(known)) for word in side], np.int64)
                          for known, side in zip(numbers, (["", *words[0]], words[1])))
        seen += len(source) * len(target)
        if seen > most:
            break
        parts.append((np.repeat(source, len(target)), np.tile(place + np.arange(len(target)), len(source)),
                      np.tile(target, len(source))))
        place += len(target)
    none = (np.zeros(0, np.int64),) * 3
    return *(np.concatenate(part) for part in zip(none, *parts)), [list(known) for known in numbers]
