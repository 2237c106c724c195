"""Classification of texts and pairs of texts: one label of several, any number of them, or a number."""

import jax
import jax.numpy as jnp

from lmlab.data.features import augmentation, check_choice, check_range
from lmlab.data.features.labelled import KINDS, features, names  # noqa: F401
from lmlab.objectives import losses
from lmlab.utils.errors import UserError

READS = "labelled"  # the kind of examples that it learns from
SPECIALS = ("cls",)
WHOLE = False
POOLS = ("auto", "first", "mean", "last")


def check(spec, kind="single", pool="auto", focal=0.0, smoothing=0.0, balance=0.0, mixup=0.0, augment=0.0, synonyms="",
          **_):
    """Raises a UserError where a setting means nothing."""
    check_choice("kind", kind, KINDS)
    check_choice("pool", pool, POOLS)
    check_range("focal", focal, 0, 10)
    check_range("smoothing", smoothing, 0, 0.99)
    check_range("balance", balance, 0, 1)
    check_range("mixup", mixup, 0, 100)
    augmentation.check(augment, synonyms)
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
         smoothing: float = 0.0, mixup: float = 0.0):
    """-log p(label) in nats over the examples; of several labels the sum of their binary cross-entropies; of a number
    half the squared error.

    Args:
      apply, params, keys_B: as in causal.loss, of a network with a head.
      batch: tokens, segments, positions (B, T), segment k being example k - 1; target (B, S, C), 1 at the labels, or
        the number; weights (B, S), 0 where there is no example; balance (B, S), what it weighs in the loss.
      kind: single, several, number. pool: what is read of an example: first, mean, last; auto: the mean where the
        network looks both ways, else the last. focal: the exponent g of (1 - p)^g (Lin et al. 2017); 0: none.
      smoothing: this share of the target is spread over all labels (Szegedy et al. 2016). mixup: above 0, each example
        is mixed with another of its row in training, by a share drawn from Beta(mixup, mixup) (`mixed`).
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}): of several labels the share of examples all of whose
      labels are right; of a number there is no accuracy.
    """
    del pool
    y_BSC, weights_BS = batch["target"], batch["weights"].astype(jnp.float32)
    logits_BSC, terms = outputs(apply, params, batch, keys_B)
    balance_BS, correct_BS = batch["balance"], _correct(logits_BSC, y_BSC, kind)
    if mixup and keys_B is not None:
        logits_BSC, y_BSC, balance_BS = mixed((logits_BSC, y_BSC, balance_BS), weights_BS, keys_B, mixup)
    if kind == "number":
        nll_BS = 0.5 * jnp.square(logits_BSC - y_BSC).sum(-1)
    elif kind == "several":
        y = y_BSC * (1 - smoothing) + smoothing / 2
        log_p, log_q = jax.nn.log_sigmoid(logits_BSC), jax.nn.log_sigmoid(-logits_BSC)
        nll_BS = -(y * log_p * jnp.exp(focal * log_q) + (1 - y) * log_q * jnp.exp(focal * log_p)).sum(-1)
    else:
        y = y_BSC * (1 - smoothing) + smoothing / y_BSC.shape[-1]
        log_p = jax.nn.log_softmax(logits_BSC)
        nll_BS = -(y * log_p * (1 - jnp.exp(log_p)) ** focal).sum(-1)
    over = lambda each_BS, weights_BS: ((each_BS * weights_BS).sum(), weights_BS.sum())
    metrics = {} if correct_BS is None else {"accuracy": over(correct_BS, weights_BS)}
    return {"loss": over(nll_BS, weights_BS * balance_BS), **terms}, metrics


def _correct(logits_BSC, y_BSC, kind):
    """Whether an example's labels are told right; None of a number."""
    if kind == "number":
        return None
    if kind == "several":
        return ((logits_BSC > 0) == (y_BSC > 0.5)).all(-1)
    return logits_BSC.argmax(-1) == y_BSC.argmax(-1)


def mixed(arrays_BS, weights_BS, keys_B, alpha):
    """lambda a_i + (1 - lambda) a_j for each array a (B, S) or (B, S, C), j being another example of i's row (Zhang et
    al. 2018, equation 1): the next but some, as many for all of a row, and lambda one a row, Beta(alpha, alpha).

    Outputs may stand for the states that they are made of, since a head is linear. Rows are mixed by themselves, with
    their own keys, so that neither a mesh nor accumulation changes a mixture; an example alone stays as it is.
    """
    keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, 2 ** 18)
    share_B = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys_B)
    count_B1 = (weights_BS > 0).sum(1, keepdims=True)
    draw_B = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys_B)
    shift_B1 = 1 + jnp.floor(draw_B[:, None] * jnp.maximum(count_B1 - 1, 1)).astype(jnp.int32)
    place_S = jnp.arange(weights_BS.shape[1])
    other_BS = jnp.where(place_S < count_B1, (place_S + shift_B1) % jnp.maximum(count_B1, 1), place_S)

    def mix(a):
        wide = lambda x: x.reshape(*x.shape, *[1] * (a.ndim - x.ndim))
        other = jnp.take_along_axis(a, wide(other_BS), axis=1)
        return other + wide(share_B) * (a - other)
    return tuple(mix(a) for a in arrays_BS)


def outputs(apply, params, batch, keys_B=None):
    """(logits_BSC, float32, of the examples of each row; the loss terms that the network adds)."""
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    return apply({"params": params}, x_BTD, batch["segments"], batch["weights"].shape[1], keys_B, method="score"), terms
