"""Correlations against scipy, errors against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lmlab.eval.metrics import correlation

stats = pytest.importorskip("scipy.stats")
PAIRS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=12)


@settings(max_examples=80, deadline=None)
@given(PAIRS)
@pytest.mark.filterwarnings("ignore")
def test_as_scipy(pairs):
    """With many equal values; where scipy has no number, for a constant column, the correlation is 0."""
    gold, found = np.array(pairs, float).T
    scores = correlation.scores(gold, found)
    assert scores["pearson"] == pytest.approx(np.nan_to_num(stats.pearsonr(gold, found)[0]), abs=1e-12)
    assert scores["spearman"] == pytest.approx(np.nan_to_num(stats.spearmanr(gold, found)[0]), abs=1e-12)
    assert (correlation.ranks(gold) == stats.rankdata(gold)).all()


def test_squared_error_as_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    gold, found = np.random.default_rng(0).normal(size=(2, 9))
    error = correlation.scores(gold, found)["mean_squared_error"]
    assert error == pytest.approx(metrics.mean_squared_error(gold, found))
