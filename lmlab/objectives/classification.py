"""Classification of texts and pairs of texts: one label of several, any number of them, or a number."""

import jax
import jax.numpy as jnp

from lmlab.data.features import check_choice, check_range
from lmlab.data.features.labelled import KINDS, features, names  # noqa: F401
from lmlab.objectives import losses
from lmlab.utils.errors import UserError

READS = "labelled"  # the kind of examples that it learns from
SPECIALS = ("cls",)
WHOLE = False
POOLS = ("auto", "first", "mean", "last")


def check(spec, kind="single", pool="auto", focal=0.0, smoothing=0.0, balance=0.0, **_):
    """Raises a UserError where a setting means nothing."""
    check_choice("kind", kind, KINDS)
    check_choice("pool", pool, POOLS)
    check_range("focal", focal, 0, 10)
    check_range("smoothing", smoothing, 0, 0.99)
    check_range("balance", balance, 0, 1)
    if kind == "number" and (focal or smoothing or balance):
        raise UserError("config.objective.focal, smoothing and balance are of labels, and config.objective.kind=number "
                        "has none; leave them at 0")
    if spec.generator:
        raise UserError("config.model.generator does not go with config.objective.name='classification'; set it to 0")


def head(spec, labels, kind="single", pool="auto", **_) -> dict:
    """The head that the network needs (adapt.heads.Headed). labels: their names."""
    usual = "mean" if spec.attends == "full" else "last"
    return {"outputs": 1 if kind == "number" else len(labels), "pool": usual if pool == "auto" else pool}


def loss(apply, params, batch, keys_B=None, *, kind: str = "single", pool: str = "auto", focal: float = 0.0,
         smoothing: float = 0.0):
    """-log p(label) in nats over the examples; of several labels the sum of their binary cross-entropies; of a number
    half the squared error.

    Args:
      apply, params, keys_B: as in causal.loss, of a network with a head.
      batch: tokens, segments, positions (B, T), segment k being example k - 1; target (B, S, C), 1 at the labels, or the
        number; weights (B, S), 0 where there is no example; balance (B, S), what it weighs in the loss.
      kind: single, several, number. pool: what is read of an example: first, mean, last; auto: the mean where the
        network looks both ways, else the last. focal: the exponent g of (1 - p)^g (Lin et al. 2017); 0: none.
      smoothing: this share of the target is spread over all labels (Szegedy et al. 2016).
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}): of several labels the share of examples all of whose
      labels are right; of a number there is no accuracy.
    """
    del pool
    y_BSC, weights_BS = batch["target"], batch["weights"].astype(jnp.float32)
    logits_BSC, terms = outputs(apply, params, batch, keys_B)
    if kind == "number":
        nll_BS, correct_BS = 0.5 * jnp.square(logits_BSC - y_BSC).sum(-1), None
    elif kind == "several":
        y = y_BSC * (1 - smoothing) + smoothing / 2
        log_p, log_q = jax.nn.log_sigmoid(logits_BSC), jax.nn.log_sigmoid(-logits_BSC)
        nll_BS = -(y * log_p * jnp.exp(focal * log_q) + (1 - y) * log_q * jnp.exp(focal * log_p)).sum(-1)
        correct_BS = ((logits_BSC > 0) == (y_BSC > 0.5)).all(-1)
    else:
        y = y_BSC * (1 - smoothing) + smoothing / y_BSC.shape[-1]
        log_p = jax.nn.log_softmax(logits_BSC)
        nll_BS = -(y * log_p * (1 - jnp.exp(log_p)) ** focal).sum(-1)
        correct_BS = logits_BSC.argmax(-1) == y_BSC.argmax(-1)
    over = lambda each_BS, weights_BS: ((each_BS * weights_BS).sum(), weights_BS.sum())
    metrics = {} if correct_BS is None else {"accuracy": over(correct_BS, weights_BS)}
    return {"loss": over(nll_BS, weights_BS * batch["balance"]), **terms}, metrics


def outputs(apply, params, batch, keys_B=None):
    """(logits_BSC, float32, of the examples of each row; the loss terms that the network adds)."""
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    return apply({"params": params}, x_BTD, batch["segments"], batch["weights"].shape[1], keys_B, method="score"), terms
