"""Every score of labels against scikit-learn; calibration against the paper's formula, written out."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lmlab.eval.metrics import classification

metrics = pytest.importorskip("sklearn.metrics")

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12)
pytestmark = pytest.mark.filterwarnings("ignore")  # of scikit-learn, for labels that are not there


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_one_class_each(pairs):
    gold, found = np.array(pairs).T
    scores = classification.scores(gold, found, classes=5)
    assert scores == pytest.approx({"accuracy": metrics.accuracy_score(gold, found),
                                    "macro_f1": metrics.f1_score(gold, found, average="macro"),
                                    "matthews": metrics.matthews_corrcoef(gold, found)}, abs=1e-12)
    expected = metrics.confusion_matrix(gold, found, labels=range(5))
    assert (classification.confusion(gold, found, classes=5) == expected).all()


def test_a_large_set_does_not_overflow():
    """Counts of GLUE's largest sets, multiplied as the correlation multiplies them."""
    rng = np.random.default_rng(0)
    gold, found = rng.integers(0, 3, (2, 400_000))
    found = np.where(rng.random(len(gold)) < 0.5, gold, found)
    assert classification.scores(gold, found, 3)["matthews"] == pytest.approx(metrics.matthews_corrcoef(gold, found))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 1)] * 6), min_size=1, max_size=8))
def test_several_classes_each(rows):
    gold, found = np.array(rows)[:, :3], np.array(rows)[:, 3:]
    assert classification.multi_label(gold, found) == pytest.approx({
        "micro_f1": metrics.f1_score(gold, found, average="micro"),
        "macro_f1": metrics.f1_score(gold, found, average="macro"),
        "subset_accuracy": metrics.accuracy_score(gold, found)})


@pytest.mark.parametrize("bins", [15, 4])
def test_calibration_is_the_formula(bins):
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet([0.5] * 3, 300)
    probabilities[:4] = [[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.5, 0.25], [0, 1, 0]]  # on the edges of bins
    gold = rng.integers(0, 3, 300)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == gold
    expected = 0.0
    for m in range(1, bins + 1):
        inside = [i for i in range(300) if (m - 1) / bins < confidence[i] <= m / bins]
        if inside:
            expected += len(inside) / 300 * abs(np.mean(right[inside]) - np.mean(confidence[inside]))
    assert classification.calibration_error(gold, probabilities, bins)["calibration_error"] == pytest.approx(expected)


def test_calibration_by_hand():
    """Sure and always right: 0. Sure and always wrong: 1. Half sure and half right: 0."""
    sure = np.eye(2)[[0, 1, 1, 0]]
    error = lambda gold, probabilities: classification.calibration_error(gold, probabilities)["calibration_error"]
    assert error([0, 1, 1, 0], sure) == 0 and error([1, 0, 0, 1], sure) == 1
    assert error([0, 1], np.full((2, 2), 0.5)) == 0


def test_a_bin_holds_its_upper_edge():
    """One right at 1/2, in (0, 1/2], and one wrong at 3/4, in (1/2, 1]: (1/2 + 3/4) / 2."""
    found = classification.calibration_error([0, 1], [[0.5, 0.5], [0.75, 0.25]], bins=2)
    assert found["calibration_error"] == (1 / 2 + 3 / 4) / 2
