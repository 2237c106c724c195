"""The mean of labels' F1, drawn anew: each draw against scikit-learn's, over the labels of the whole set."""

import numpy as np
import pytest

from lmlab.eval.metrics import interval
from lmlab.eval.tasks import classification, tagging

RARE = 30  # labels beside two that are frequent, each once there and never found


def drawn(seed, count):
    """(right, said) numbers of labels, of 5, of which 3 is never right and 4 is neither right nor said."""
    rng = np.random.default_rng(seed)
    right = rng.choice(5, count, p=[0.5, 0.3, 0.2, 0, 0])
    return right, np.where(rng.random(count) < 0.6, right, rng.integers(0, 4, count))


def probabilities(right, said):
    """As the task of texts has them."""
    return classification.STATISTICS["single"]["macro_f1"], (np.eye(5)[said] * 0.9, np.eye(5)[right])


def words(right, said):
    """As the task of tags has them: three words an example."""
    pairs = np.stack([right, said], axis=1).reshape(-1, 3, 2)
    return tagging.WORDS["macro_f1"], ([*pairs],)


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, for labels that are not there
@pytest.mark.parametrize("task", [probabilities, words])
def test_each_draw_is_scored_over_the_labels_of_the_whole_set(task):
    sklearn = pytest.importorskip("sklearn.metrics")
    right, said = drawn(0, 15)
    statistic, columns = task(right, said)
    score = lambda rows: sklearn.f1_score(right[rows], said[rows], average="macro", zero_division=0,
                                          labels=sorted({*right.tolist(), *said.tolist()}))
    examples = np.arange(15).reshape(len(columns[0]), -1)
    theirs = [score(np.concatenate(rows)) for (rows,) in interval._draws(([*examples],), 50, 3)]
    found = statistic.of(*columns)
    ours = [found(*one) for one in interval._draws(columns, 50, 3)]
    assert ours == pytest.approx(theirs) and statistic(*columns) == pytest.approx(score(np.arange(15)))
    assert interval.bootstrap(statistic, *columns, trials=50, seed=3) == pytest.approx(
        np.quantile(theirs, [0.025, 0.975]).tolist())
    others = drawn(1, 15)[1]  # of another system, by its own labels
    assert interval.difference(statistic, columns[0], task(right, others)[1][0], *columns[1:], trials=9)[0] == (
        pytest.approx(score(np.arange(15)) - task(right, others)[0](*task(right, others)[1])))


def test_rare_labels_do_not_lift_the_interval_above_the_value():
    """Rare labels that are never found count 0 in each draw, also where it has none of them."""
    right = np.concatenate([np.zeros(200, int), np.ones(200, int), 2 + np.arange(RARE)])
    said = np.concatenate([np.arange(200) % 10 == 0, np.arange(200) % 10 > 0, np.zeros(RARE, int)])
    column = [*np.stack([right, said], axis=1)[:, None]]
    low, high = interval.bootstrap(tagging.WORDS["macro_f1"], column, trials=200)
    assert low < tagging.WORDS["macro_f1"](column) < high
