"""Search and similarity with vectors that are known: the places and the ranks by hand, scikit-learn and scipy."""

import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from lmlab.decoding import embedding
from lmlab.eval import tasks
from lmlab.eval.tasks import retrieval, similarity

VECTORS = {"q1": (1, 0), "q2": (0, 1), "q3": (1, 1), "right": (1, 0.1), "up": (0, 2), "left": (-1, 0), "half": (2, 1.9),
           "low": (0.1, -1)}
FOUND = [{"anchor": "q1", "positive": "right", "negative": "low"}, {"anchor": "q2", "positive": "left"},
         {"anchor": "q3", "positive": "half"}, {"anchor": "q2", "positive": "up"}]


@pytest.fixture
def lm(monkeypatch):
    """A model whose embeddings are VECTORS."""
    monkeypatch.setattr(embedding, "embed", lambda lm, texts: np.array([VECTORS[text] for text in texts], float))
    return types.SimpleNamespace(config=ConfigDict({"init_from": ""}))


def test_a_query_is_looked_up_among_all_texts(lm):
    said_N4 = retrieval.task(lm).predict(FOUND)
    # q2: up, half, right, left, low: of its two the first and the fourth; the others' own stand first
    gain = (1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3))
    expected = [[1, 1, 1, 1], [0.5, 1, 1, gain], [1, 1, 1, 1], [0.5, 1, 1, gain]]
    np.testing.assert_allclose(said_N4, expected)
    metrics = pytest.importorskip("sklearn.metrics")
    queries, texts, relevance_QD = retrieval._asked(FOUND)
    near_QD = embedding.cosines(*(np.array([VECTORS[text] for text in side]) for side in (queries, texts)))
    assert said_N4[:, 3].mean() == pytest.approx(metrics.ndcg_score(relevance_QD, near_QD, k=10))


def test_bm25_stands_beside_it(lm, monkeypatch):
    monkeypatch.setattr(embedding, "embed", lambda lm, texts: np.ones((len(texts), 2)))
    found = [{"anchor": f"where is {word}?", "positive": f"{word} is far away from it all"} for word in
             ("rome", "oslo", "巴黎", "lima")]
    report = tasks.measure(retrieval.task(lm), found, found)
    value = lambda scores: scores["recall@1"]["value"]
    assert value(report["model"]) == 0 and value(report["baselines"]["BM25"]) == 1  # of equal ones the wrong come first
    assert report["notes"] == {"candidates": "4"}


def test_cosines_are_compared_with_scores_by_rank(lm):
    stats = pytest.importorskip("scipy.stats")
    found = [{"first": a, "second": b, "score": score} for a, b, score in (
        ("q1", "right", 5), ("q1", "up", 1), ("q2", "half", 4), ("q3", "low", 1), ("left", "right", 0))]
    report = tasks.measure(similarity.task(lm), [], found)
    cosines = [np.dot(VECTORS[one["first"]], VECTORS[one["second"]]) / np.prod(
        [np.linalg.norm(VECTORS[one[side]]) for side in ("first", "second")]) for one in found]
    gold = [one["score"] for one in found]
    assert report["model"]["spearman"]["value"] == pytest.approx(stats.spearmanr(gold, cosines).statistic)
    assert report["model"]["pearson"]["value"] == pytest.approx(stats.pearsonr(gold, cosines).statistic)


def test_words_shared_are_jaccards(lm):
    column = similarity.task(lm).baselines["words shared"]([], [
        {"first": "A cat sat.", "second": "a cat, a mat", "score": 1}, {"first": "x", "second": "y", "score": 0},
        {"first": "中国人", "second": "中国", "score": 0}])
    assert column.tolist() == pytest.approx([2 / 4, 0, 2 / 3])
