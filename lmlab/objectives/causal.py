"""Causal language modelling: predict each token from those before it in its document."""

import jax.numpy as jnp

from lmlab.objectives.losses import vocabulary_loss


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
    variables = {"params": params}
    x_BTD = apply(variables, batch["tokens"], batch["segments"], batch["positions"], keys_B, method="hidden")
    logits_of = lambda x_BtD: apply(variables, x_BtD, method="logits")
    weights_BT = batch["weights"].astype(jnp.float32)
    nll, correct = vocabulary_loss(logits_of, x_BTD, batch["targets"], weights_BT, vocab_size, chunk)
    return {"loss": (nll, weights_BT.sum())}, {"accuracy": (correct, weights_BT.sum())}
