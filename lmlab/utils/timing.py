"""Ways of doing the same thing, timed side by side on a machine that is never quiet."""

import math
import sys
import time
from typing import NamedTuple

import numpy as np

SILENCE = 10.0  # seconds after which `alternate` tells how far it is


class Ratio(NamedTuple):
    """A median, of ratios of times for one, and the interval that holds the true one."""
    median: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Paired times of two ways of doing `what`, in seconds, round by round."""
    what: str
    base: list            # seconds
    other: list           # seconds, each taken right before or after its neighbour in `base`
    claim: float = 0.0    # the ratio other / base is said to be below it; 0: nothing is said


class Race(NamedTuple):
    """Figures of several ways of doing `what`, round by round, the first way being ours.

    Attributes:
      unit: a rate, as "tokens/s"; or what there should be little of, as "GiB".
      figures: {way: list}, of a rate the seconds for one ("tokens/s": seconds a token), else in the unit itself.
      rivals: the ways that ours is held against. claim: it is said to be so many times as good as the best of them.
      notes: {column: text}, more to tell.
    """
    what: str
    unit: str
    figures: dict
    rivals: tuple = ()
    claim: float = 0.0
    notes: dict = {}

    def shown(self, way) -> Ratio:
        """The median of a way in the unit, and its interval."""
        values = np.asarray(self.figures[way])
        return interval(1 / values if self.unit.endswith("/s") else values)

    def best(self) -> tuple:
        """(the best rival, how many times as good ours is by the paired figures)."""
        rival = min(self.rivals, key=lambda way: np.median(self.figures[way]))
        return rival, ratio(next(iter(self.figures.values())), self.figures[rival])


def alternate(calls, rounds, clock=time.perf_counter) -> dict:
    """Times each of `calls` ({name: function}) once a round, the rounds running forwards and backwards in turn:
    A B B A.

    A machine that grows slower while this runs does so for all alike. Each is called once before, untimed. What takes
    long tells on stderr, between two rounds, how far it is.

    Returns:
      {name: a list of seconds, one a round}. A function that returns a number has timed itself; that is taken.
    """
    for call in calls.values():
        call()
    seconds, told = {name: [] for name in calls}, time.monotonic()
    for i in range(rounds):
        if time.monotonic() - told > SILENCE:
            print(f"{' · '.join(calls)}: round {i + 1} of {rounds}", file=sys.stderr, flush=True)
            told = time.monotonic()
        for name in list(calls)[::1 if i % 2 == 0 else -1]:
            began = clock()
            own = calls[name]()
            seconds[name].append(clock() - began if own is None else own)
    return seconds


def interval(values, level=0.95) -> Ratio:
    """The median, and an interval between two order statistics, the k-th from either end.

    It holds the median of any distribution in 1 - 2 P(Binomial(n, 1/2) < k) of all cases, and k is the largest for
    which that is at least `level`. Fewer than 6 values have none (at 95 %): it is 0 to infinity.
    """
    values = np.sort(values)
    n, k, below = len(values), 0, 0
    while 2000 * (below + math.comb(n, k)) <= round(1000 * (1 - level)) * 2 ** n:  # whole numbers do not overflow
        below, k = below + math.comb(n, k), k + 1
    return Ratio(float(np.median(values)), *(map(float, (values[k - 1], values[n - k])) if k else (0.0, math.inf)))


def ratio(base, other, level=0.95) -> Ratio:
    """The median of the paired ratios other / base, and its interval."""
    return interval(np.divide(other, base), level)


def table(found) -> str:
    """Comparisons, or Races, as a Markdown table: medians, ratio, interval, and what is said of them."""
    return (_races if isinstance(found[0], Race) else _comparisons)(found)


def _comparisons(comparisons):
    lines = ["| | without | with | ratio | 95 % interval | pairs | said to be below |",
             "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for c in comparisons:
        found = ratio(c.base, c.other)
        lines.append(f"| {c.what} | {_time(c.base)} | {_time(c.other)} | {_words(found)} | {len(c.base)} | "
                     f"{_verdict(found, c.claim)} |")
    return "\n".join(lines)


def _races(races):
    every = lambda names: list(dict.fromkeys(name for race in races for name in names(race)))
    ways, notes = every(lambda race: race.figures), every(lambda race: race.notes)
    head = ["", *ways, "unit", "against the best", "95 % interval", "rounds", "said to be at least", *notes]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * len(ways) + " --- | ---: | ---: | ---: | --- |"
             + " --- |" * len(notes)]
    for race in races:
        medians = [number(race.shown(way).median) if way in race.figures else "" for way in ways]
        ahead = race.best()[1] if race.rivals else None
        rounds = len(next(iter(race.figures.values())))
        lines.append(f"| {race.what} | {' | '.join(medians)} | {race.unit} | {_words(ahead) if ahead else ' | '} | "
                     f"{rounds} | {_verdict(ahead, race.claim, least=True) if ahead else ''} |"
                     + "".join(f" {race.notes.get(name, '')} |" for name in notes))
    return "\n".join(lines)


def number(value) -> str:
    """A figure with four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _words(found):
    return f"{found.median:.3f} | {found.low:.3f} – {found.high:.3f}"


def _time(seconds):
    return f"{1000 * np.median(seconds):,.4g} ms"


def _verdict(found, claim, least=False):
    """Whether the whole interval is below the claim (or, of the least that is said, at it or above), beyond it, or
    neither."""
    if not claim:
        return ""
    below, above = found.high < claim, found.low >= claim
    return f"{claim:g}: {'open' if not (below or above) else 'holds' if above == least else 'FAILS'}"
