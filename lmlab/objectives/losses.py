"""What objectives share: the network's states for a batch, and the vocabulary loss in pieces, so that logits for a
large vocabulary never exist whole."""

import jax
import jax.numpy as jnp

from lmlab.models import kernels
from lmlab.utils.errors import UserError

AUTO_LOGITS = 2 ** 25  # logits that may exist at once on a device where `chunk` is 0: 128 MiB in float32


def cross_entropy(logits_BTV, targets_BT):
    """(nll_BT, correct_BT): -log softmax(logits)[target] in nats, and whether the target has the largest logit."""
    lse_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return lse_BT - target_BT, logits_BTV.max(-1) == target_BT


def spread(logits_BTV, targets_BT):
    """(BT) in nats: what label smoothing (Szegedy et al. 2016) adds, the mean of -log p over the whole vocabulary
    less that of the target."""
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return target_BT - logits_BTV.mean(-1)


def chunks(length, rows_by_vocab, chunk=0) -> int:
    """How many pieces to cut `length` positions into: the fewest that divide it and hold at most `chunk` positions
    each (0: at most AUTO_LOGITS logits, given `rows_by_vocab` logits a position)."""
    most = max(1, chunk or AUTO_LOGITS // rows_by_vocab)
    return next(n for n in range(1, length + 1) if length % n == 0 and length // n <= most)


def vocabulary_loss(logits_of, x_BTD, targets_BT, weights_BT, vocab_size, chunk=0, extra=None):
    """Sums of weighted cross-entropy and of weighted accuracy, the logits of `chunk` positions at a time.

    Args:
      logits_of: x_BtD -> logits_BtV, recomputed in the backward pass when there is more than one piece.
      x_BTD, targets_BT, weights_BT: final states, target ids, weights (0 for padding).
      vocab_size: V. chunk: positions (of every row) whose logits exist at once; 0 chooses.
      extra: (logits_BtV, targets_Bt) -> Bt, one more thing to sum, `spread` for one.
    Returns:
      (nll_sum, correct_sum), float32 scalars, and the sum of `extra` where there is one.
    """
    def piece(x_BtD, targets_Bt, weights_Bt):
        logits_BtV = logits_of(x_BtD)
        each = [*cross_entropy(logits_BtV, targets_Bt), *([extra(logits_BtV, targets_Bt)] if extra else [])]
        return tuple((e_Bt * weights_Bt).sum() for e_Bt in each)

    sums, _ = in_pieces(piece, (x_BTD, targets_BT, weights_BT), vocab_size, chunk)
    return tuple(s.sum(0) for s in sums)


def log_likelihoods(apply, params, batch, keys_B, count, vocab_size, chunk=0):
    """(logp_BS, tokens_BS, terms): of each segment the sum of log p(target), in nats, and of the weights, over its
    weighted targets; and what the network adds to the loss. count: S, segment k being column k - 1."""
    x_BTD, terms = states(apply, params, batch, keys_B)
    nll_of = lambda x_BtD, targets_Bt: cross_entropy(apply({"params": params}, x_BtD, method="logits"), targets_Bt)[0]
    nll, join = in_pieces(nll_of, (x_BTD, batch["targets"]), vocab_size, chunk)
    logp_BS, tokens_BS = by_segment(-join(nll), batch, count)
    return logp_BS, tokens_BS, terms


def by_segment(each_BT, batch, count):
    """(B, S), (B, S): of each segment of a batch the weighted sum of each_BT, and of the weights."""
    member_BTS = batch["segments"][..., None] == jnp.arange(1, count + 1)
    weights_BTS = member_BTS * batch["weights"].astype(jnp.float32)[..., None]
    return jnp.einsum("bts,bt->bs", weights_BTS, each_BT), weights_BTS.sum(1)


def in_pieces(function, arrays, vocab_size, chunk=0):
    """What a function makes of arrays (B, T, ...), `chunk` positions at a time (0 chooses) and computed again in the
    backward pass where there is more than one piece.

    Returns:
      (the results, with a first axis of pieces; results (n, B, t) -> (B, T)).
    """
    B, T = arrays[0].shape[:2]
    ways = kernels.shares("length")  # each device cuts its own part of the length, where there are parts
    ways = 1 if T % ways else ways
    n = chunks(T // ways, -(-B * vocab_size // kernels.shares("batch", "vocab")), -(-chunk // ways))
    if n == 1:
        return jax.tree.map(lambda a: a[None], function(*arrays)), lambda a: a[0]
    cut = lambda a: jnp.moveaxis(a.reshape(B, ways, n, -1, *a.shape[2:]), 2, 0).reshape(n, B, T // n, *a.shape[2:])
    join = lambda a: jnp.moveaxis(a.reshape(n, B, ways, -1), 0, 2).reshape(B, T)
    return jax.lax.map(jax.checkpoint(lambda parts: function(*parts)), [cut(a) for a in arrays]), join


def states(apply, params, batch, keys_B, part=""):
    """Runs the network on a batch: (x_BTD, terms).

    Args:
      batch: tokens, segments, positions; types, prefix and the encoder's tokens, segments, positions where it has them.
      part: the submodel that is run ("generator"); "": the whole.
    Returns:
      the states that `logits` takes, and the loss terms that the network adds itself: a mixture of experts' "balance",
      of each row and summed over the layers, a mean over the targets' weights.
    """
    x_BTD, sown = network(apply, params, batch, keys_B, part)
    added = jax.tree.leaves(sown.get("losses", {}))
    weights_B = batch["weights"].astype(jnp.float32).sum(1)
    balance_B = sum(a.reshape(-1, len(weights_B)).sum(0) for a in added)
    return x_BTD, {"balance": ((balance_B * weights_B).sum(), weights_B.sum())} if added else {}


def network(apply, params, batch, keys_B, part=""):
    """(x_BTD, what the layers sow): arguments as in `states`. The one place that calls `apply` with `mutable`."""
    more = {f"{name}_BT": batch[name] for name in ("types", "prefix") if name in batch}
    if "encoder_tokens" in batch:
        more["encoder"] = {name: batch[f"encoder_{name}"] for name in ("tokens", "segments", "positions")}
    run = lambda model, *args, **kw: (getattr(model, part) if part else model).hidden(*args, **kw)
    return apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"], keys_B, method=run,
                 mutable=["losses"], **more)


def token_loss(apply, params, batch, keys_B, vocab_size, chunk):
    """-log p(target) in nats over the weighted targets: (terms, metrics, x_BTD), the states for whoever needs more.

    terms: loss, and what the network adds. metrics: accuracy.
    """
    x_BTD, terms = states(apply, params, batch, keys_B)
    weights_BT = batch["weights"].astype(jnp.float32)
    nll, correct = vocabulary_loss(lambda x_BtD: apply({"params": params}, x_BtD, method="logits"), x_BTD,
                                   batch["targets"], weights_BT, vocab_size, chunk)
    return {"loss": (nll, weights_BT.sum()), **terms}, {"accuracy": (correct, weights_BT.sum())}, x_BTD


def require(spec, objective, *, attends, encoder=False):
    """Raises a UserError where a model cannot learn by an objective.

    Args:
      spec: the model's keyword arguments. attends: what config.model.attends may be. encoder: whether the objective
      needs an encoder beside the decoder.
    """
    if spec.attends not in attends:
        raise UserError(f"config.model.attends={spec.attends!r} does not go with config.objective.name={objective!r}; "
                        f"use {' or '.join(attends)}")
    if encoder != (spec.encoder_layers > 0):
        raise UserError(f"config.model.encoder_layers={spec.encoder_layers} does not go with config.objective.name="
                        f"{objective!r}; " + ("it needs an encoder: set it above 0" if encoder else "set it to 0"))
    if spec.generator and objective != "replaced":
        raise UserError(f"config.model.generator={spec.generator} does not go with config.objective.name="
                        f"{objective!r}, which would not train it; set it to 0")
