"""Tagging: a tag for each word of a text, such as the entity or the part of speech that it is of."""

import jax.numpy as jnp

from lmlab.data.features import augmentation, check_range
from lmlab.data.features.tagged import features, names  # noqa: F401
from lmlab.models import crf as fields
from lmlab.objectives import losses
from lmlab.utils.errors import UserError

READS = "tagged"  # the kind of examples that it learns from
SPECIALS = ("cls",)
WHOLE = False
UNIT = "word"     # what the loss is a mean over


def check(spec, crf=False, smoothing=0.0, augment=0.0, synonyms="", **_):
    """Raises a UserError where a setting means nothing, or the network does not look both ways."""
    losses.require(spec, "tagging", attends=("full",))
    check_range("smoothing", smoothing, 0, 0.99)
    augmentation.check(augment, synonyms)
    if crf and smoothing:
        raise UserError(f"config.objective.smoothing={smoothing} is of words told one by one, and config.objective.crf="
                        "True tells whole texts; set one of them off")


def head(spec, labels, crf=False, **_) -> dict:
    """The head that the network needs (adapt.heads.Headed). labels: the tags."""
    return {"outputs": len(labels), "pool": "", "crf": crf}


def loss(apply, params, batch, keys_B=None, *, crf: bool = False, smoothing: float = 0.0):
    """-log p(tag) in nats over the words.

    Args:
      apply, params, keys_B: as in causal.loss, of a network with a head.
      batch: tokens, segments, positions (B, T), segment k being text k - 1; words (B, W), the segment that each word is
        of, 0 where there is none; places (B, W), of the token that stands for it; tags (B, W); weights (B, S).
      crf: the tags of a text are told together, by a conditional random field (Lafferty et al. 2001): the loss is
        -log p(tags). smoothing: this share of the target is spread over all tags (Szegedy et al. 2016).
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}), the weight being the number of words.
    """
    words_BW, tags_BW = batch["words"], batch["tags"]
    real_BW = (words_BW > 0).astype(jnp.float32)
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    x_BWD = jnp.take_along_axis(x_BTD, batch["places"][..., None], axis=1)
    scores_BWC = apply({"params": params}, x_BWD, words_BW, 0, keys_B, method="score")
    if crf:
        transitions = apply({"params": params}, method=lambda model: model.transitions)
        nll = -fields.log_likelihood(scores_BWC, tags_BW, words_BW, transitions).sum()
        told_BW = fields.viterbi(scores_BWC, words_BW, transitions)
    else:
        nll_BW, _ = losses.cross_entropy(scores_BWC, tags_BW)
        nll = ((nll_BW + smoothing * losses.spread(scores_BWC, tags_BW)) * real_BW).sum()
        told_BW = scores_BWC.argmax(-1)
    count = real_BW.sum()
    return {"loss": (nll, count), **terms}, {"accuracy": (((told_BW == tags_BW) * real_BW).sum(), count)}
