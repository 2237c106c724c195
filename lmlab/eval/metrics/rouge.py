"""ROUGE (Lin 2004): what a summary shares with its references, in 0..100.

Words are cut as rouge-score cuts them without stemming, runs of a-z and 0-9 in lower case; each Chinese or Japanese
character is a word, and so is a run of letters of a script from Greek on, which rouge-score does not see at all.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lmlab.data.cleaning import CJK

_WORD = re.compile(rf"[a-z0-9]+|[{CJK}]|[^\W_\0-\u036f{CJK}]+")


def scores(references: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, float]:
    """{"rouge1", "rouge2", "rougeL", "rougeLsum"}, the F-measures, then the same with "/precision" and "/recall":
    means over examples, each held against the one of its references that gives the best F-measure.

    references: of each example, one at least. rougeLsum takes the lines of a text for its sentences.
    """
    return {name: float(values_B.mean()) for name, values_B in each(references, predicted).items()}


def each(references: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, np.ndarray]:
    """The `scores` of every example (B,)."""
    measures = {"rouge1": lambda gold, text: _grams(gold, text, 1), "rouge2": lambda gold, text: _grams(gold, text, 2),
                "rougeL": _longest, "rougeLsum": _summary}
    result = {}
    for name, measure in measures.items():
        best_B3 = 100 * np.array([max((_scores(*measure(gold, text)) for gold in texts), key=lambda row: row[0])
                                  for texts, text in zip(references, predicted, strict=True)]).reshape(-1, 3)
        result |= dict(zip((name, f"{name}/precision", f"{name}/recall"), best_B3.T))
    return result


def words(text: str) -> list[str]:
    """The words of a text, as they are compared."""
    return _WORD.findall(text.lower())


def _scores(shared, predicted, gold):
    """(F-measure, precision, recall) of counts."""
    return (2 * shared / max(predicted + gold, 1), shared / max(predicted, 1), shared / max(gold, 1))


def _grams(gold, text, n):
    """How many n-grams both have, the prediction has, the reference has."""
    gold, text = (Counter(zip(*(words(part)[i:] for i in range(n)))) for part in (gold, text))
    return (gold & text).total(), text.total(), gold.total()


def _longest(gold, text):
    """The length of the longest common subsequence, and those of both texts."""
    gold, text = words(gold), words(text)
    return int(_table(gold, text)[-1, -1]), len(text), len(gold)


def _summary(gold, text):
    """Words of each sentence of the reference that lie on its longest common subsequence with any predicted sentence
    (section 3.2), none more often than either text has it (as in ROUGE-1.5.5); and the lengths of both texts."""
    gold, text = ([words(line) for line in part.split("\n")] for part in (gold, text))
    left = [Counter(word for sentence in sentences for word in sentence) for sentences in (gold, text)]
    sizes = [counter.total() for counter in left]
    left = left[0] & left[1]
    shared = 0
    for sentence in gold:
        for place in set().union(*(_common(sentence, other) for other in text)):
            shared += left[sentence[place]] > 0
            left[sentence[place]] -= 1
    return shared, sizes[1], sizes[0]


def _table(first, second) -> np.ndarray:
    """The length of the longest common subsequence of the first i and the first j words: (I + 1, J + 1)."""
    ids = {word: number for number, word in enumerate({*first, *second})}
    first, second = (np.array([ids[word] for word in part], np.int64) for part in (first, second))
    table = np.zeros((len(first) + 1, len(second) + 1), np.int64)
    for row, word in enumerate(first):
        longer = np.maximum(table[row, 1:], table[row, :-1] + (second == word))
        table[row + 1, 1:] = np.maximum.accumulate(longer)
    return table


def _common(first, second) -> set[int]:
    """Places in the first of a longest common subsequence; of several, the one that rouge-score takes."""
    table, places, i, j = _table(first, second), set(), len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            places.add(i - 1)
            i, j = i - 1, j - 1
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return places
