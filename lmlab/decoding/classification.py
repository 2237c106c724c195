"""Texts, and pairs of texts, to the probabilities of labels."""

import numpy as np

from lmlab import run
from lmlab.data.features import examples
from lmlab.decoding import headed


def probabilities(lm, texts, pairs=None) -> np.ndarray:
    """(N, C) float32: softmax of the outputs; of several labels the sigmoid of each; of a number (N, 1), the number.

    Args:
      lm: a model with a head for classification, or an Ensemble of some. texts: N. pairs: the second text of each, or
        None.
    """
    if isinstance(lm, run.Ensemble):
        return lm.said([probabilities(one, texts, pairs) for one in lm.members])
    headed.check(lm, "classification")
    pairs = [None] * len(texts) if pairs is None else pairs
    encoded = examples.encode(lm.tokenizer, texts, pairs, headed.length(lm))
    if not encoded:
        return np.zeros((0, lm.model.outputs), np.float32)
    logits_NC = np.stack(headed.logits(lm, encoded))
    kind = lm.config.objective.kind
    if kind == "number":
        return logits_NC
    if kind == "several":
        return 1 / (1 + np.exp(-logits_NC))
    e_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return e_NC / e_NC.sum(1, keepdims=True)
