"""Intervals against scipy's bootstrap, drawn alike; paired ones against the long way."""

import numpy as np
import pytest

from lmlab.eval.metrics import correlation, counts, interval

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("statistic, columns", [
    (np.mean, (RNG.normal(size=40),)), (np.median, (RNG.integers(0, 5, 25),)),
    (correlation.spearman, (RNG.normal(size=30), RNG.normal(size=30)))])
def test_as_scipy_with_the_same_draws(statistic, columns, level):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.bootstrap(columns, statistic, n_resamples=200, confidence_level=level, method="percentile",
                             paired=True, vectorized=False, rng=np.random.default_rng(7)).confidence_interval
    assert interval.bootstrap(statistic, *columns, trials=200, seed=7, level=level) == pytest.approx(tuple(theirs))


def test_a_mean_has_the_interval_of_the_normal_distribution():
    """1.96 standard errors each way, within the error of 4000 trials; of a share of 10,000."""
    right = np.arange(10_000) < 8_000
    low, high = interval.bootstrap(np.mean, right, trials=4000)
    error = np.sqrt(0.8 * 0.2 / 10_000)
    assert [(low - 0.8) / error, (high - 0.8) / error] == pytest.approx([-1.96, 1.96], abs=0.15)


def test_sums_are_the_metric_of_the_drawn_examples():
    gold = [{*RNG.integers(0, 9, 3).tolist()} for _ in range(30)]
    found = [{*RNG.integers(0, 9, 3).tolist()} for _ in range(30)]
    fast = interval.bootstrap(interval.of_sums(counts.f1), counts.of_sets(gold, found), trials=50)
    slow = interval.bootstrap(lambda a, b: counts.f1(counts.of_sets(a, b).sum(axis=0)), gold, found, trials=50)
    assert fast == slow and fast[0] < counts.f1(counts.of_sets(gold, found).sum(axis=0)) < fast[1]


def test_a_difference_is_paired():
    """Always one better on the same examples: an interval of one point, where two intervals apart would overlap."""
    theirs = RNG.normal(size=50) * 100
    assert interval.difference(np.mean, theirs + 1, theirs) == pytest.approx((1, 1, 1))
    gold = RNG.normal(size=50)
    ours, others = gold + RNG.normal(size=50), RNG.normal(size=50)
    shift = lambda mine, other, truth: correlation.pearson(mine, truth) - correlation.pearson(other, truth)
    found = interval.difference(correlation.pearson, ours, others, gold, trials=100, seed=2)
    assert found == (shift(ours, others, gold), *interval.bootstrap(shift, ours, others, gold, trials=100, seed=2))


def test_lists_are_drawn_like_arrays_and_seeds_differ():
    values = RNG.normal(size=20)
    assert interval.bootstrap(np.mean, values) == interval.bootstrap(np.mean, values.tolist())
    assert interval.bootstrap(np.mean, values) != interval.bootstrap(np.mean, values, seed=1)


@pytest.mark.parametrize("columns", [((),), ([1, 2], [1]), ([], [1]), ()])
def test_columns_that_do_not_fit(columns):
    with pytest.raises(ValueError, match="equally long, and not empty"):
        interval.bootstrap(np.mean, *columns)
