"""Sequence to sequence with label smoothing (Vaswani et al. 2017, section 5.4): predict the target from the source and
what of the target came before."""

from lmlab.data.features import check_range
from lmlab.data.features.pairs import features  # noqa: F401
from lmlab.objectives import losses

SPECIALS = ()
WHOLE = False


def check(spec, objective="seq2seq", smoothing=0.0, **_):
    """Raises a UserError where `spec` is no encoder-decoder, or the smoothing means nothing; `objective` is whose loss
    this is."""
    losses.require(spec, objective, attends=("causal",), encoder=True)
    check_range("smoothing", smoothing, 0, 1)


def loss(apply, params, batch, keys_B=None, *, vocab_size, chunk: int = 0, smoothing: float = 0.0):
    """-log p(target | source, targets so far), in nats, over the weighted targets.

    Args:
      apply, params, keys_B, vocab_size, chunk: as in causal.loss.
      batch: its keys, and the encoder's: encoder_tokens, encoder_segments, encoder_positions, (B, S) each.
      smoothing: the share of probability that the target gives to the whole vocabulary alike.
    Returns:
      ({"loss", "smoothing"}, {"accuracy"}), a (sum, weight) each: the cross-entropy, and what smoothing adds to it.
    """
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    count = batch["weights"].sum()
    nll, correct, *added = losses.vocabulary_loss(
        lambda x_BtD: apply({"params": params}, x_BtD, method="logits"), x_BTD, batch["targets"], batch["weights"],
        vocab_size, chunk, losses.spread if smoothing else None)
    terms |= {"smoothing": (smoothing * added[0], count)} if added else {}
    return {"loss": (nll, count), **terms}, {"accuracy": (correct, count)}
