"""Masked language modelling (Devlin et al. 2019), alone or with next-sentence or sentence-order prediction (Lan et al.
2020)."""

import jax.numpy as jnp

from lmlab.data.features import masked
from lmlab.data.features.masked import features  # noqa: F401
from lmlab.objectives import losses
from lmlab.utils.errors import UserError

SPECIALS = ("cls", "mask")
WHOLE = False


def check(spec, pairs="none", **settings):
    """Raises a UserError where `spec` is no encoder, has nothing that reads pairs, or a setting means nothing."""
    losses.require(spec, "masked", attends=("full",))
    masked.check(pairs=pairs, **settings)
    if pairs != "none" and not (spec.pooler and spec.token_types >= 2):
        raise UserError(f"config.objective.pairs={pairs!r} needs config.model.pooler=True and config.model.token_types"
                        "=2")


def loss(apply, params, batch, keys_B=None, *, vocab_size, rate: float = 0.15, pair_weight: float = 1.0):
    """-log p(token | the rest) in nats over the masked tokens, plus that of the pair's label.

    Args:
      apply, params, keys_B, vocab_size: as in causal.loss.
      batch: its keys, weights being 1 where a token is to be guessed; types (B, T) and pair (B,) where there are pairs.
      rate: the most of a row that is masked (only there are logits made). pair_weight: of the pair's term.
    Returns:
      ({"loss", "pair"}, {"accuracy", "pair_accuracy"}), a (sum, weight) each.
    """
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    picked = pick(batch, rate)
    nll, correct = losses.vocabulary_loss(
        lambda x_BmD: apply({"params": params}, x_BmD, method="logits"),
        jnp.take_along_axis(x_BTD, picked["place"][..., None], axis=1), picked["targets"], picked["weights"],
        vocab_size)
    count = batch["weights"].sum()
    terms, metrics = {"loss": (nll, count), **terms}, {"accuracy": (correct, count)}
    if "pair" in batch:
        weights_B = (batch["segments"].max(1) > 0).astype(jnp.float32)
        _, logits_B2 = apply({"params": params}, x_BTD, method="pooled")
        nll_B, correct_B = losses.cross_entropy(logits_B2, batch["pair"])
        terms["pair"] = pair_weight * (nll_B * weights_B).sum(), weights_B.sum()
        metrics["pair_accuracy"] = (correct_B * weights_B).sum(), weights_B.sum()
    return terms, metrics


def most(length, rate):
    """The places of a row for which logits are made: as many as can be masked."""
    return min(length, int(rate * length) + 1)


def pick(batch, rate):
    """The masked places of each row, (B, M), M being the most there can be: {"place", "targets", "weights"}; places
    that are left over have weight 0."""
    weights_BT = batch["weights"].astype(jnp.float32)
    place_BM = jnp.argsort(-weights_BT, axis=1, stable=True)[:, :most(weights_BT.shape[1], rate)]
    at = lambda a_BT: jnp.take_along_axis(a_BT, place_BM, axis=1)
    return {"place": place_BM, "targets": at(batch["targets"]), "weights": at(weights_BT)}
