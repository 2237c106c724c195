"""Rankings against scikit-learn, cosines against scipy, and ties by hand."""

import numpy as np
import pytest

from lmlab.eval.metrics import ranking

CUTOFFS = (1, 2, 3, 7, 20)


def drawn(seed, queries=6, documents=7):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, (queries, documents)) * (rng.random((queries, documents)) < 0.5), rng.normal(
        size=(queries, documents))


@pytest.mark.parametrize("seed", range(8))
def test_as_sklearn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    relevance, found = drawn(seed)
    relevance[0] = seed % 2  # in every second set a query without a relevant document
    scores = ranking.scores(relevance, found, CUTOFFS)
    for k in CUTOFFS:
        assert scores[f"ndcg@{k}"] == pytest.approx(metrics.ndcg_score(relevance, found, k=k))
    one = np.eye(7, dtype=int)[np.random.default_rng(seed).integers(0, 7, 6)]  # one relevant: recall@k is accuracy@k
    scores = ranking.scores(one, found, CUTOFFS)
    for k in CUTOFFS[:3]:
        assert scores[f"recall@{k}"] == pytest.approx(
            metrics.top_k_accuracy_score(one.argmax(1), found, k=k, labels=range(7)))
    assert scores["mrr"] == pytest.approx(metrics.label_ranking_average_precision_score(one, found))


@pytest.mark.parametrize("seed", range(4))
def test_the_long_way(seed):
    relevance, found = drawn(seed)
    recall, reciprocal = [], []
    for query, row in zip(relevance, found):
        ranked = [query[i] > 0 for i in sorted(range(len(row)), key=lambda i: -row[i])]
        recall.append(sum(ranked[:3]) / max(sum(ranked), 1))
        reciprocal.append(next((1 / place for place, hit in enumerate(ranked, 1) if hit), 0))
    each = ranking.each(relevance, found, (3,))
    assert each["recall@3"] == pytest.approx(recall) and each["mrr"] == pytest.approx(reciprocal)


def test_a_model_that_tells_nothing_apart_gains_nothing():
    scores = ranking.scores([[1, 0, 0, 0]], np.zeros((1, 4)), (1, 3, 4))
    assert scores == pytest.approx({"mrr": 1 / 4, "recall@1": 0, "recall@3": 0, "recall@4": 1, "ndcg@1": 0,
                                    "ndcg@3": 0, "ndcg@4": 1 / np.log2(5)})


def test_similarity_as_scipy():
    stats, distance = pytest.importorskip("scipy.stats"), pytest.importorskip("scipy.spatial.distance")
    rng = np.random.default_rng(0)
    first, second, gold = rng.normal(size=(20, 5)), rng.normal(size=(20, 5)), rng.integers(0, 6, 20)
    cosines = [1 - distance.cosine(a, b) for a, b in zip(first, second)]
    assert ranking.similarity(gold, first, second) == pytest.approx(
        {"spearman": stats.spearmanr(gold, cosines)[0], "pearson": stats.pearsonr(gold, cosines)[0]})
    first[0] = 0  # no direction: similar to nothing
    assert np.isfinite(list(ranking.similarity(gold, first, second).values())).all()
