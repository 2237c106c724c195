"""Labels told rightly: one of C classes, any of them at once, and how far probabilities of them can be believed."""

import numpy as np

from lmlab.eval.metrics import counts


def confusion(gold_B, predicted_B, classes: int) -> np.ndarray:
    """How often each class (row) was taken for each (column): (C, C). gold_B, predicted_B: class numbers below C."""
    pairs_B = np.asarray(gold_B, np.int64) * classes + np.asarray(predicted_B, np.int64)
    return np.bincount(pairs_B, minlength=classes ** 2).reshape(classes, classes)


def seen(gold_B, predicted_B, classes: int) -> np.ndarray:
    """Which classes are there or were predicted: (C,) bool."""
    confusion_CC = confusion(gold_B, predicted_B, classes)
    return confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1) > 0


def scores(gold_B, predicted_B, classes: int, mean_C=None) -> dict[str, float]:
    """{"accuracy", "macro_f1", "matthews"} of one class for each example.

    macro_f1: the mean of the F1 of each class in mean_C, by default those that are `seen`; one that is not has 0.
    matthews: the correlation coefficient for any number of classes (Gorodkin 2004), 0 where it is not defined.
    """
    confusion_CC = confusion(gold_B, predicted_B, classes)
    right_C, gold_C, predicted_C = confusion_CC.diagonal(), confusion_CC.sum(axis=1), confusion_CC.sum(axis=0)
    mean_C = gold_C + predicted_C > 0 if mean_C is None else mean_C
    total = float(confusion_CC.sum())
    # By Gorodkin's K-category covariances, in counts: cov(x, y) / sqrt(cov(x, x) cov(y, y)).
    shared = right_C.sum() * total - gold_C @ predicted_C
    scale = np.sqrt(total ** 2 - gold_C @ gold_C) * np.sqrt(total ** 2 - predicted_C @ predicted_C)
    return {"accuracy": float(right_C.sum() / max(total, 1)),
            "macro_f1": float(_f1(right_C, predicted_C, gold_C)[mean_C].mean()) if total else 0.0,
            "matthews": float(shared / scale) if scale else 0.0}


def multi_label(gold_BC, predicted_BC) -> dict[str, float]:
    """{"micro_f1", "macro_f1", "subset_accuracy"} of any number of classes for each example, given as 0 and 1.

    macro_f1 is the mean over all C classes: one that is never there and never predicted counts 0, as in scikit-learn.
    subset_accuracy: the share of examples with exactly the right classes.
    """
    gold_BC, predicted_BC = np.asarray(gold_BC, bool), np.asarray(predicted_BC, bool)
    sums_3C = np.stack([gold_BC & predicted_BC, predicted_BC, gold_BC]).sum(axis=1)
    return {"micro_f1": counts.f1(sums_3C.sum(axis=1)), "macro_f1": float(_f1(*sums_3C).mean()),
            "subset_accuracy": float((gold_BC == predicted_BC).all(axis=1).mean())}


def calibration_error(gold_B, probabilities_BC, bins: int = 15) -> dict[str, float]:
    """{"calibration_error"}: the expected calibration error (Guo et al. 2017, eq. 3), how far accuracy is from the
    probability of the likeliest class, the mean over bins of equal width ((m - 1) / bins, m / bins], by examples."""
    probabilities_BC = np.asarray(probabilities_BC, np.float64)
    confidence_B = probabilities_BC.max(axis=1)
    right_B = probabilities_BC.argmax(axis=1) == np.asarray(gold_B)
    bins_B = np.clip(np.ceil(confidence_B * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bins_B, right_B - confidence_B, bins)  # of each bin: examples x (accuracy - confidence)
    return {"calibration_error": float(np.abs(gaps).sum() / len(right_B))}


def _f1(right_C, predicted_C, gold_C):
    """F1 of each class, 0 for one that is not there."""
    return 2 * right_C / np.maximum(predicted_C + gold_C, 1)
