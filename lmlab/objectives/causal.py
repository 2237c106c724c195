"""Causal language modelling: predict each token from those before it in its document."""

from lmlab.data.features.causal import features  # noqa: F401
from lmlab.objectives.losses import require, token_loss

SPECIALS = ()
WHOLE = True  # every token of a text is a target once: the sum of nats is the text's, so bits per byte mean something


def check(spec, **_):
    """Raises a UserError where `spec` is no decoder."""
    require(spec, "causal", attends=("causal",))


def loss(apply, params, batch, keys_B=None, *, vocab_size, chunk: int = 0):
    """-log p(target | tokens so far), in nats, over the weighted targets.

    Args:
      apply: the model's `apply`. params: its parameters.
      batch: tokens, targets, weights, segments, positions, each (B, T).
      keys_B: dropout keys, one an example; None for no dropout.
      vocab_size: V. chunk: positions whose logits exist at once; 0 chooses by memory.
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}).
    """
    return token_loss(apply, params, batch, keys_B, vocab_size, chunk)[:2]
