"""How well two columns of numbers go together."""

import numpy as np


def pearson(first_B, second_B) -> float:
    """The linear correlation, from -1 to 1; 0 where one column is constant."""
    first_B, second_B = (np.asarray(column, np.float64) - np.mean(column) for column in (first_B, second_B))
    scale = np.linalg.norm(first_B) * np.linalg.norm(second_B)
    return float(np.clip(first_B @ second_B / scale, -1, 1)) if scale else 0.0


def spearman(first_B, second_B) -> float:
    """The correlation of the ranks (Spearman 1904); equal numbers share the mean of their ranks."""
    return pearson(ranks(first_B), ranks(second_B))


def ranks(values_B) -> np.ndarray:
    """The rank of each value from 1, the smallest; equal values share the mean of theirs."""
    _, places_B, counts = np.unique(values_B, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places_B]


def scores(gold_B, predicted_B) -> dict[str, float]:
    """{"mean_squared_error", "pearson", "spearman"} of a regression."""
    gold_B, predicted_B = np.asarray(gold_B, np.float64), np.asarray(predicted_B, np.float64)
    return {"mean_squared_error": float(np.mean((gold_B - predicted_B) ** 2)),
            "pearson": pearson(gold_B, predicted_B), "spearman": spearman(gold_B, predicted_B)}
