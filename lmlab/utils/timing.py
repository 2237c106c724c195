"""Two ways of doing the same thing, timed side by side on a machine that is never quiet."""

import math
import time
from typing import NamedTuple

import numpy as np


class Ratio(NamedTuple):
    """A ratio of times, and the interval that holds the true one."""
    median: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Paired times of two ways of doing `what`, in seconds, round by round."""
    what: str
    base: list            # seconds
    other: list           # seconds, each taken right before or after its neighbour in `base`
    claim: float = 0.0    # the ratio other / base is said to be below it; 0: nothing is said


def alternate(calls, rounds, clock=time.perf_counter) -> dict:
    """Times each of `calls` ({name: function}) once a round, the rounds running forwards and backwards in turn: A B B A.

    A machine that grows slower while this runs does so for all alike. Each is called once before, untimed.

    Returns:
      {name: a list of seconds, one a round}. A function that returns a number has timed itself; that is taken.
    """
    for call in calls.values():
        call()
    seconds = {name: [] for name in calls}
    for i in range(rounds):
        for name in list(calls)[::1 if i % 2 == 0 else -1]:
            began = clock()
            own = calls[name]()
            seconds[name].append(clock() - began if own is None else own)
    return seconds


def ratio(base, other, level=0.95) -> Ratio:
    """The median of the paired ratios other / base.

    The interval runs between two order statistics, the k-th from either end: it holds the median of any distribution
    in 1 - 2 P(Binomial(n, 1/2) < k) of all cases, and k is the largest for which that is at least `level`. Fewer than
    6 pairs have none (at 95 %): it is 0 to infinity.
    """
    values = np.sort(np.divide(other, base))
    n, k, below = len(values), 0, 0
    while 2000 * (below + math.comb(n, k)) <= round(1000 * (1 - level)) * 2 ** n:  # whole numbers do not overflow
        below, k = below + math.comb(n, k), k + 1
    return Ratio(float(np.median(values)), *(map(float, (values[k - 1], values[n - k])) if k else (0.0, math.inf)))


def table(comparisons) -> str:
    """The comparisons as a Markdown table: medians, ratio, interval, and what is said of them."""
    lines = ["| | without | with | ratio | 95 % interval | pairs | said to be below |",
             "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for c in comparisons:
        found = ratio(c.base, c.other)
        lines.append(f"| {c.what} | {_time(c.base)} | {_time(c.other)} | {found.median:.3f} | {found.low:.3f} – "
                     f"{found.high:.3f} | {len(c.base)} | {_verdict(found, c.claim)} |")
    return "\n".join(lines)


def _time(seconds):
    return f"{1000 * np.median(seconds):,.4g} ms"


def _verdict(found, claim):
    """Whether the whole interval is below the claim, above it, or neither."""
    if not claim:
        return ""
    return f"{claim:g}: {'holds' if found.high < claim else 'FAILS' if found.low >= claim else 'open'}"
