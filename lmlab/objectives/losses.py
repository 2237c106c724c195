"""The vocabulary loss, in pieces, so that logits for a large vocabulary never exist whole."""

import jax
import jax.numpy as jnp

AUTO_LOGITS = 2 ** 25  # logits that may exist at once where `chunk` is 0: 128 MiB in float32


def cross_entropy(logits_BTV, targets_BT):
    """(nll_BT, correct_BT): -log softmax(logits)[target] in nats, and whether the target has the largest logit."""
    lse_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return lse_BT - target_BT, logits_BTV.max(-1) == target_BT


def chunks(length, rows_by_vocab, chunk=0) -> int:
    """How many pieces to cut `length` positions into: the fewest that divide it and hold at most `chunk` positions
    each (0: at most AUTO_LOGITS logits, given `rows_by_vocab` logits a position)."""
    most = max(1, chunk or AUTO_LOGITS // rows_by_vocab)
    return next(n for n in range(1, length + 1) if length % n == 0 and length // n <= most)


def vocabulary_loss(logits_of, x_BTD, targets_BT, weights_BT, vocab_size, chunk=0):
    """Sums of weighted cross-entropy and of weighted accuracy, the logits of `chunk` positions at a time.

    Args:
      logits_of: x_BtD -> logits_BtV, recomputed in the backward pass when there is more than one piece.
      x_BTD, targets_BT, weights_BT: final states, target ids, weights (0 for padding).
      vocab_size: V. chunk: positions (of every row) whose logits exist at once; 0 chooses.
    Returns:
      (nll_sum, correct_sum), float32 scalars.
    """
    B, T = targets_BT.shape

    def piece(x_BtD, targets_Bt, weights_Bt):
        nll_Bt, correct_Bt = cross_entropy(logits_of(x_BtD), targets_Bt)
        return (nll_Bt * weights_Bt).sum(), (correct_Bt * weights_Bt).sum()

    n = chunks(T, B * vocab_size, chunk)
    if n == 1:
        return piece(x_BTD, targets_BT, weights_BT)
    cut = lambda a: a.reshape(B, n, T // n, *a.shape[2:]).swapaxes(0, 1)
    sums = jax.lax.map(jax.checkpoint(lambda parts: piece(*parts)), (cut(x_BTD), cut(targets_BT), cut(weights_BT)))
    return sums[0].sum(), sums[1].sum()
