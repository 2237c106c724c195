"""Corrections told as edits: those that a system made against those that should have been made.

An edit replaces the units [start, end) of the source by others. Edits are read off an alignment with the fewest
insertions, deletions and substitutions (Levenshtein 1966), those that touch made one. Of several such alignments it is
the one that, read from the end, keeps or substitutes a unit before it deletes one, and deletes before it inserts: equal
targets of one source always have equal edits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmlab.eval.metrics import counts


class Edit(NamedTuple):
    """The units [start, end) of the source become `replacement`."""
    start: int
    end: int
    replacement: tuple[str, ...]


def units(text: str, unit: str) -> list[str]:
    """The "word"s of a text, between white space, or its "character"s."""
    return text.split() if unit == "word" else list(text)


def edits(source: Sequence[str], target: Sequence[str]) -> list[Edit]:
    """What makes the target of the source, in order; between two edits a unit at least is kept."""
    distances, i, j = _distances(source, target), len(source), len(target)
    found, end = [], (i, j)  # where the edit in hand ends, in both
    while i or j:
        if i and j and distances[i - 1, j - 1] + (source[i - 1] != target[j - 1]) == distances[i, j]:
            i, j = i - 1, j - 1
            if source[i] == target[j]:
                found.append((i + 1, j + 1, *end))
                end = i, j
        elif i and distances[i - 1, j] + 1 == distances[i, j]:
            i -= 1
        else:
            j -= 1
    found.append((0, 0, *end))
    return [Edit(start, stop, tuple(target[begin:finish])) for start, begin, stop, finish in reversed(found)
            if (start, begin) != (stop, finish)]


def scores(sources: Sequence[str], references: Sequence[str], predicted: Sequence[str], unit: str
           ) -> dict[str, float]:
    """How well texts were corrected.

    Args:
      sources, references, predicted: the text, how it should be, and what was made of it. unit: "character" or "word".
    Returns:
      "precision", "recall", "f0.5" of the edits of all texts (Ng et al. 2014; 1 where there is nothing to get wrong, as
      ERRANT has it); "accuracy", the share of texts that are as they should be; and "false_positive_rate", the share of
      those changed that were correct (0 where none was).
    """
    correct = [source == reference for source, reference in zip(sources, references, strict=True)]
    changed = [source != text for source, text, right in zip(sources, predicted, correct, strict=True) if right]
    return counts.scores(edit_counts(sources, references, predicted, unit).sum(axis=0), beta=0.5, empty=1.0) | {
        "accuracy": sum(map(str.__eq__, references, predicted)) / max(len(sources), 1),
        "false_positive_rate": sum(changed) / max(len(changed), 1)}


def edit_counts(sources: Sequence[str], references: Sequence[str], predicted: Sequence[str], unit: str) -> np.ndarray:
    """(B, 3) counts for a bootstrap: edits made rightly, made, and to be made."""
    made, wanted = ([edits(units(source, unit), units(text, unit)) for source, text in zip(sources, texts, strict=True)]
                    for texts in (predicted, references))
    return counts.of_sets(wanted, made)


def _distances(source, target) -> np.ndarray:
    """The fewest changes that make the first j units of the target of the first i of the source: (I + 1, J + 1)."""
    ids = {unit: number for number, unit in enumerate({*source, *target})}
    target = np.array([ids[unit] for unit in target], np.int64)
    places = np.arange(len(target) + 1)
    table = np.empty((len(source) + 1, len(places)), np.int64)
    table[0] = places
    for row, unit in enumerate(source):
        shorter = table[row] + 1
        shorter[1:] = np.minimum(shorter[1:], table[row, :-1] + (target != ids[unit]))
        table[row + 1] = np.minimum.accumulate(shorter - places) + places  # insertions, one for each place
    return table
