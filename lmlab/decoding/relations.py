"""Texts and their spans to the relations between these."""

import numpy as np

from lmlab.data.cleaning import valid_unicode
from lmlab.data.features import relations as features
from lmlab.decoding import headed
from lmlab.objectives.relations import of_marks


def probabilities(lm, asked) -> list[np.ndarray]:
    """(P, C) float32 of each text: the probability of each relation of its P pairs (`features.relations.pairs`).

    Args:
      lm: a model with a head for relations. asked: [(text, spans), ...], of spans as `encode` takes them.
    """
    headed.check(lm, "relations")
    if not asked:
        return []
    encoded, counts = [], []
    for text, spans in asked:
        pairs = features.pairs(spans, lm.config.objective.heads)
        encoded += features.encode(lm.tokenizer, valid_unicode(text), spans, pairs, headed.length(lm))
        counts.append(len(pairs))
    logits_NC = np.reshape([of_marks(scores_2X) for scores_2X in headed.logits(lm, encoded)], (-1, len(lm.labels)))
    e_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return np.split((e_NC / e_NC.sum(1, keepdims=True)).astype(np.float32), np.cumsum(counts)[:-1])


def relations(lm, asked) -> list[list[dict]]:
    """Of each text [{"head", "tail" (places in its spans), "label", "score"}]: the pairs whose likeliest relation is
    not the one that stands for none. Arguments as in `probabilities`."""
    found = []
    for (_, spans), p_PC in zip(asked, probabilities(lm, asked), strict=True):
        told = zip(features.pairs(spans, lm.config.objective.heads), p_PC.argmax(1).tolist(), p_PC, strict=True)
        found.append([{"head": head, "tail": tail, "label": lm.labels[best], "score": float(p_C[best])}
                      for (head, tail), best, p_C in told if lm.labels[best] != lm.config.objective.none])
    return found
