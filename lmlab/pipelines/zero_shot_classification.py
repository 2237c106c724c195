"""Which of some labels fits a text, none of which the model was trained for: {"sequence", "labels", "scores"}."""

import numpy as np

from lmlab.data.cleaning import valid_unicode
from lmlab.decoding import zero_shot
from lmlab.decoding.embedding import cosines, embed
from lmlab.utils.errors import UserError

TEMPERATURE = 0.05  # of cosines: that with which sentence embeddings are commonly trained (SimCSE: Gao et al. 2021)


def make(lm):
    """The call: texts, candidate_labels= (a list, or one string with commas) -> {"sequence", "labels", "scores"}, the
    likeliest label first; of a list of texts a list of such.

    The scores are those of hypotheses, hypothesis_template= with a label in the place of {}:
      - a head with entailment among its labels: the softmax of the hypotheses' logits of entailment.
      - an encoder: the softmax of the cosines of the text's and the hypotheses' embeddings, over TEMPERATURE.
      - a decoder: the softmax of log p(hypothesis | text) - log p(hypothesis).
    With multi_label=True (and of one label) each label is told by itself, in the place of the softmax over all:
    entailment against contradiction; by how much its hypothesis is nearer than one without a label; by whether it is
    likelier with the text than without.
    """
    score = _scorer(lm)

    def call(texts, *, candidate_labels, hypothesis_template="This example is {}.", multi_label=False):
        rows = [texts] if isinstance(texts, str) else list(texts)
        labels = _labels(candidate_labels)
        if "{}" not in str(hypothesis_template):
            raise UserError(f"hypothesis_template={str(hypothesis_template)[:80]!r} has no {{}} where the label goes")
        for text in rows:
            if not isinstance(text, str):
                raise UserError(f"{str(text)[:80]!r} is no text; give a string or a list of strings")
        hypothesis = lambda label: valid_unicode(hypothesis_template.replace("{}", label))
        out = []
        if rows:
            hypotheses = [hypothesis(label) for label in labels]
            alone = multi_label or len(labels) == 1
            p_NL = score([valid_unicode(text) for text in rows], hypotheses, hypothesis(""), alone)
            for text, p_L in zip(rows, p_NL.tolist(), strict=True):
                order = sorted(range(len(labels)), key=lambda label: -p_L[label])
                out.append({"sequence": text, "labels": [labels[i] for i in order], "scores": [p_L[i] for i in order]})
        return out[0] if isinstance(texts, str) else out
    return call


def _scorer(lm):
    """(texts, hypotheses, one without a label, whether each is told by itself) -> p_NL."""
    spec = lm.model.spec
    if lm.labels is not None:
        return lambda texts, hypotheses, nothing, alone: _entailed(
            zero_shot.by_entailment(lm, texts, hypotheses), alone)
    if spec.attends == "full":
        return lambda texts, hypotheses, nothing, alone: _shares(_nearness(lm, texts, hypotheses, nothing), alone)
    if spec.attends == "causal" and not spec.encoder_layers:
        return lambda texts, hypotheses, nothing, alone: _shares(zero_shot.by_likelihood(lm, texts, hypotheses), alone)
    raise UserError("zero-shot classification takes a head that tells entailment, an encoder or a decoder; this model "
                    "is none of them")


def _nearness(lm, texts, hypotheses, nothing):
    """(N, H) of the cosines over TEMPERATURE, less those of the hypothesis without a label."""
    x_BD = embed(lm, [*texts, *hypotheses, nothing])
    near = cosines(x_BD[:len(texts)], x_BD[len(texts):])
    return (near[:, :-1] - near[:, -1:]) / TEMPERATURE


def _entailed(logits_NL2, alone):
    """p_NL of the logits of contradiction and entailment."""
    return _softmax(logits_NL2.astype(np.float64))[..., 1] if alone else _softmax(logits_NL2[..., 1].astype(np.float64))


def _shares(score_NL, alone):
    """p_NL of scores that are above 0 where a label fits."""
    return _softmax(np.stack([np.zeros_like(score_NL), score_NL], -1))[..., 1] if alone else _softmax(score_NL)


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _labels(given):
    labels = [label.strip() for label in given.split(",")] if isinstance(given, str) else list(given)
    labels = [label for label in labels if label]
    if not labels or not all(isinstance(label, str) for label in labels):
        raise UserError(f"candidate_labels={str(given)[:80]!r} must be texts, at least one")
    return labels
