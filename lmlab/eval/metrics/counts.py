"""Precision, recall and F of things found among things that are there, from three counts of each example."""

from collections.abc import Callable, Collection, Hashable, Sequence

import numpy as np


def of_sets(gold: Sequence[Collection[Hashable]], predicted: Sequence[Collection[Hashable]]) -> np.ndarray:
    """(B, 3): of every example how many things were found rightly, were predicted, and are there; each counts once."""
    rows = [(len({*there} & {*found}), len({*found}), len({*there}))
            for there, found in zip(gold, predicted, strict=True)]
    return np.array(rows, np.int64).reshape(-1, 3)


def scores(sums_3, beta: float = 1, empty: float = 0.0) -> dict[str, float]:
    """{"precision", "recall", "f1"} of the three counts, summed; with another beta the last is "f0.5" and so on.

    beta: how many times as much recall weighs (van Rijsbergen 1979): F = (1 + beta^2) P R / (beta^2 P + R).
    empty: the precision where nothing was predicted, and the recall where nothing is there.
    """
    correct, predicted, gold = map(float, sums_3)
    precision = correct / predicted if predicted else empty
    recall = correct / gold if gold else empty
    below = beta ** 2 * precision + recall
    return {"precision": precision, "recall": recall,
            f"f{beta:g}": (1 + beta ** 2) * precision * recall / below if below else 0.0}


def f1(sums_3) -> float:
    """F1 of the three counts, summed: the statistic to give to `interval.of_sums`."""
    return scores(sums_3)["f1"]


def by_label(gold: Sequence[Collection], predicted: Sequence[Collection], label: Callable[[Hashable], str]
             ) -> dict[str, np.ndarray]:
    """The three counts, summed over examples, of every label that is there or was predicted, sorted.

    label: of one thing.
    """
    labels = sorted({label(thing) for things in (*gold, *predicted) for thing in things})
    only = lambda name, examples: [{thing for thing in things if label(thing) == name} for things in examples]
    return {name: of_sets(only(name, gold), only(name, predicted)).sum(axis=0) for name in labels}
