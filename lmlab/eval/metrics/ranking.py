"""How high what was looked for is ranked, and whether similar texts have similar vectors."""

from collections.abc import Sequence

import numpy as np

from lmlab.eval.metrics import correlation


def scores(relevance_QD, scores_QD, cutoffs: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Means over queries of what `each` gives. relevance_QD, scores_QD, cutoffs: as there.

    R@k of pairs, such as a text and its translation, is recall@k with np.eye(Q) for the relevance.
    """
    return {name: float(values_Q.mean()) for name, values_Q in each(relevance_QD, scores_QD, cutoffs).items()}


def each(relevance_QD, scores_QD, cutoffs: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
    """{"mrr", "recall@1", ..., "ndcg@1", ...} of every query (Q,).

    Args:
      relevance_QD: how relevant each document is to each query, 0 not at all. scores_QD: by which they are ranked; of
        documents with one score the less relevant comes first, so that a model that tells nothing apart gains nothing.
      cutoffs: the k, documents from the first that are looked at.
    Returns:
      mrr: 1 / the place of the first relevant document. recall@k: the share of the relevant documents among the first
      k. ndcg@k: the sum of relevance / log2(1 + place) of the first k, over what the best ranking has (Järvelin &
      Kekäläinen 2002). Each is 0 for a query without a relevant document.
    """
    relevance_QD = np.asarray(relevance_QD, np.float64)
    ranked_QD = np.take_along_axis(relevance_QD, np.lexsort((relevance_QD, -np.asarray(scores_QD))), axis=1)
    ideal_QD = -np.sort(-relevance_QD)
    places_D = np.arange(1, ranked_QD.shape[1] + 1)
    found_QD = ranked_QD > 0
    gain = lambda rows_QD, k: (rows_QD / np.log2(1 + places_D))[:, :k].sum(axis=1)
    share = lambda part_Q, whole_Q: part_Q / np.where(whole_Q > 0, whole_Q, 1)
    result = {"mrr": (found_QD / places_D).max(axis=1)}
    result |= {f"recall@{k}": share(found_QD[:, :k].sum(axis=1), found_QD.sum(axis=1)) for k in cutoffs}
    return result | {f"ndcg@{k}": share(gain(ranked_QD, k), gain(ideal_QD, k)) for k in cutoffs}


def similarity(gold_B, first_BD, second_BD) -> dict[str, float]:
    """{"spearman", "pearson"} of the cosines of two texts' vectors with how similar people find the texts."""
    first_BD, second_BD = np.asarray(first_BD, np.float64), np.asarray(second_BD, np.float64)
    lengths_B = np.linalg.norm(first_BD, axis=1) * np.linalg.norm(second_BD, axis=1)
    cosines_B = (first_BD * second_BD).sum(axis=1) / np.where(lengths_B > 0, lengths_B, 1)
    return {"spearman": correlation.spearman(gold_B, cosines_B), "pearson": correlation.pearson(gold_B, cosines_B)}
