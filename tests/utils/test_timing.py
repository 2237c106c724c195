"""Ratios and their intervals: against scipy, and over thousands of made-up pairs whose ratio is known."""

import numpy as np
import pytest
from scipy import stats

from lmlab.utils import timing
from lmlab.utils.timing import Comparison


class Clock:
    """A clock that calls advance by hand, on a machine that grows slower by a hundredth of a second a call."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def takes(self, name, seconds):
        """A function that takes so long, and longer with every call there was."""
        def call():
            self.now += seconds * (1 + len(self.calls) / 100)
            self.calls.append(name)
        return call


def test_rounds_run_forwards_and_backwards_and_drift_cancels():
    clock = Clock()
    seconds = timing.alternate({"a": clock.takes("a", 1.0), "b": clock.takes("b", 1.1)}, 8, clock)
    assert "".join(clock.calls) == "ab" + "abba" * 4
    assert timing.ratio(seconds["a"], seconds["b"]).median == pytest.approx(1.1, rel=1e-3)
    clock = Clock()  # the control: all of a, then all of b
    a, b = (timing.alternate({name: clock.takes(name, s)}, 8, clock)[name] for name, s in (("a", 1.0), ("b", 1.1)))
    assert timing.ratio(a, b).median > 1.15


def test_a_call_that_times_itself_is_believed():
    assert timing.alternate({"a": lambda: 3.0, "b": lambda: 0}, 2) == {"a": [3.0, 3.0], "b": [0, 0]}


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 20, 101])
def test_the_interval_is_scipys(n, level):
    """quantile_test inverts the sign test; where it has no bound (nan) we say 0 or infinity."""
    values = np.random.default_rng(n).lognormal(size=n)
    found, oracle = timing.ratio(np.ones(n), values, level), stats.quantile_test(values, p=0.5)
    expected = oracle.confidence_interval(level)
    assert found.median == pytest.approx(np.median(values))
    assert (found.low, found.high) == (np.nan_to_num(expected.low, nan=0.0), np.nan_to_num(expected.high, nan=np.inf))


def pairs(rng, n, truth):
    """Times of a machine whose speed wanders, with now and then a call that takes three times as long."""
    speed = np.exp(np.cumsum(0.05 * rng.standard_normal(n)))
    noise = lambda: np.exp(0.1 * rng.standard_normal(n)) * np.where(rng.random(n) < 0.05, 3.0, 1.0)
    return speed * noise(), truth * speed * noise()


def test_the_interval_holds_a_known_ratio_in_95_of_100_cases():
    """30 pairs: ranks 10 and 21, which by the binomial hold it in 95.7 %; within 3 sigma of 3,000 cases."""
    rng, cases, exact = np.random.default_rng(0), 3000, 1 - 2 * stats.binom.cdf(9, 30, 0.5)
    found = [timing.ratio(*pairs(rng, 30, 1.02)) for _ in range(cases)]
    held = np.mean([r.low <= 1.02 <= r.high for r in found])
    assert abs(held - exact) < 3 * np.sqrt(exact * (1 - exact) / cases)
    assert np.mean([r.low <= 1.10 <= r.high for r in found]) < 0.6  # the control: another ratio it often rules out


def test_the_table_says_what_holds():
    ones = [0.001] * 9
    lines = timing.table([Comparison("small", ones, [0.00101] * 9, 1.02), Comparison("large", ones, [0.0012] * 9, 1.02),
                          Comparison("noisy", ones, [0.0009, 0.0015] * 4 + [0.001], 1.02),
                          Comparison("told", ones, ones)]).split("\n")
    assert lines[2] == "| small | 1 ms | 1.01 ms | 1.010 | 1.010 – 1.010 | 9 | 1.02: holds |"
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["1.02: holds", "1.02: FAILS", "1.02: open", ""]
