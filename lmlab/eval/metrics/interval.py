"""How far a score would move with other examples: percentile bootstrap intervals (Efron & Tibshirani 1993, 13.3)."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np


class OfWhole(NamedTuple):
    """A statistic that stands on something of all the examples, which is the same in every draw: a mean over labels
    is over those of the whole set, though a draw has not one example of some.

    Attributes:
      function: (known, *columns) -> a number. known: (*columns) -> what is known of all the examples.
    """
    function: Callable
    known: Callable[..., Any]

    def __call__(self, *columns) -> float:
        """The statistic of all the examples."""
        return self.of(*columns)(*columns)

    def of(self, *columns) -> Callable[..., float]:
        """The statistic of draws from these columns."""
        return functools.partial(self.function, self.known(*columns))


def bootstrap(statistic: Callable[..., float], *columns: Sequence, trials: int = 1000, seed: int = 0,
              level: float = 0.95) -> tuple[float, float]:
    """The interval (low, high) of a statistic over examples that are drawn anew, with replacement.

    Args:
      statistic: gets the columns, drawn alike, and gives a number: np.mean of a column of scores, `of_sums` of counts,
        or any metric, the slowest; or one `OfWhole`.
      columns: sequences of one length, an item for each example; arrays stay arrays, anything else becomes a list.
      trials: how often examples are drawn. seed: of the draws. level: the share of the trials that the interval holds.
    Raises:
      ValueError: for columns of different lengths, or no examples.
    """
    drawn, statistic = _draws(columns, trials, seed), _of(statistic, *columns)
    return _percentiles([statistic(*one) for one in drawn], level)


def difference(statistic: Callable[..., float], ours: Sequence, theirs: Sequence, *columns: Sequence,
               trials: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """statistic(ours, *columns) - statistic(theirs, *columns) and its interval, (difference, low, high): paired, since
    each draw takes the same examples of both (Koehn 2004). An interval without 0 tells the two apart.

    The arguments and errors are those of `bootstrap`.
    """
    by_us, by_them = _of(statistic, ours, *columns), _of(statistic, theirs, *columns)

    def between(ours, theirs, *columns):
        return float(by_us(ours, *columns) - by_them(theirs, *columns))
    return (between(ours, theirs, *columns),
            *bootstrap(between, ours, theirs, *columns, trials=trials, seed=seed, level=level))


def of_sums(function: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """A statistic of one column, counts_BX, that is a function of its sums over examples (X,): no draw then counts
    anything anew."""
    return lambda counts_BX: function(counts_BX.sum(axis=0))


def _of(statistic, *columns):
    """The statistic of draws from these columns."""
    return statistic.of(*columns) if isinstance(statistic, OfWhole) else statistic


def _draws(columns, trials, seed) -> Iterator[list]:
    """The columns with their examples drawn anew, `trials` times."""
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"columns of {sorted(lengths)} examples; they must be equally long, and not empty")
    count, rng = lengths.pop(), np.random.default_rng(seed)
    for _ in range(trials):
        rows_B = rng.integers(count, size=count)
        yield [column[rows_B] if isinstance(column, np.ndarray) else [column[row] for row in rows_B]
               for column in columns]


def _percentiles(values, level):
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
