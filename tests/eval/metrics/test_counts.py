"""Precision, recall and F against scikit-learn's, from counts."""

import pytest
from hypothesis import given, settings, strategies as st

from lmlab.eval.metrics import counts

SETS = st.lists(st.tuples(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5))), min_size=1, max_size=5)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(SETS, st.sampled_from([0.5, 1, 2]))
def test_as_sklearn(pairs, beta):
    metrics = pytest.importorskip("sklearn.metrics")
    gold, found = zip(*pairs)
    flat = lambda sets: [number in one for one in sets for number in range(6)]
    expected = metrics.precision_recall_fscore_support(flat(gold), flat(found), beta=beta, average="binary")[:3]
    scores = counts.scores(counts.of_sets(gold, found).sum(axis=0), beta=beta)
    assert list(scores.values()) == pytest.approx(list(expected)) and list(scores)[2] == f"f{beta:g}"


def test_by_label():
    found = counts.by_label([{"a1", "b1"}, {"a1"}], [{"a1"}, {"a2", "c1"}], label=lambda thing: thing[0])
    assert {label: sums.tolist() for label, sums in found.items()} == {"a": [1, 2, 2], "b": [0, 0, 1], "c": [0, 1, 0]}


def test_examples_of_other_numbers():
    with pytest.raises(ValueError):
        counts.of_sets([{1}], [])
