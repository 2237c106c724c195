"""Relations: what two spans of a text have to do with each other, read at the marks before them (Baldini Soares et al.
2019, section 3.2, "entity start"). Events are relations of the words that tell of them to their arguments."""

import jax.numpy as jnp

from lmlab.data.features import check_range
from lmlab.data.features.relations import MARKS, features, names  # noqa: F401
from lmlab.objectives import losses
from lmlab.utils.errors import UserError

READS = "relations"  # the kind of examples that it learns from
UNIT = "pair"        # what the loss is a mean over
SPECIALS = ("cls", *MARKS)
WHOLE = False


def check(spec, none="no_relation", smoothing=0.0, **_):
    """Raises a UserError where a setting means nothing, or the network does not look both ways."""
    losses.require(spec, "relations", attends=("full",))
    check_range("smoothing", smoothing, 0, 0.99)
    if not none.strip():
        raise UserError("config.objective.none is empty; name the relation of spans that have none, as in no_relation")


def head(spec, labels, **_) -> dict:
    """The head that the network needs (adapt.heads.Headed): of each token an output a label as a head's mark, and one
    as a tail's."""
    return {"outputs": 2 * len(labels), "pool": ""}


def loss(apply, params, batch, keys_B=None, *, smoothing: float = 0.0):
    """-log p(relation) in nats over the pairs of spans.

    Args:
      apply, params, keys_B: as in causal.loss, of a network with a head.
      batch: tokens, segments, positions, types (B, T), segment k being pair k - 1; places (B, W), of the marks before
        heads and tails by turns; words (B, W), the segment that each is of; label (B, S); weights (B, S), 0 where there
        is no pair.
      smoothing: this share of the target is spread over all labels (Szegedy et al. 2016).
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}).
    """
    weights_BS = batch["weights"].astype(jnp.float32)
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    x_BWD = jnp.take_along_axis(x_BTD, batch["places"][..., None], axis=1)
    scores_BWX = apply({"params": params}, x_BWD, batch["words"], 0, keys_B, method="score")
    B, S = weights_BS.shape
    logits_BSC = of_marks(scores_BWX[:, :2 * S].reshape(B, S, 2, -1))
    nll_BS, correct_BS = losses.cross_entropy(logits_BSC, batch["label"])
    nll_BS += smoothing * losses.spread(logits_BSC, batch["label"])
    over = lambda each_BS: ((each_BS * weights_BS).sum(), weights_BS.sum())
    return {"loss": over(nll_BS), **terms}, {"accuracy": over(correct_BS)}


def of_marks(scores_2X):
    """(..., C) logits of (..., 2, 2C) outputs at the marks of a head and a tail: a linear function of both states, side
    by side."""
    C = scores_2X.shape[-1] // 2
    return scores_2X[..., 0, :C] + scores_2X[..., 1, C:]
