"""Extractive question answering: where in a context the answer begins and ends (Devlin et al. 2019, section 4.2)."""

import jax
import jax.numpy as jnp

from lmlab.data.features import check_range
from lmlab.data.features.questions import OUTPUTS, features, names  # noqa: F401
from lmlab.objectives import losses

READS = "questions"  # the kind of examples that it learns from
UNIT = "window"  # what the loss is a mean over
SPECIALS = ("cls",)
WHOLE = False
_NEVER = -1e30  # a token of another window; not infinite, so that a window that is not there has a finite gradient


def check(spec, stride=128, **_):
    """Raises a UserError where a setting means nothing, or the first token cannot tell whether there is an answer."""
    losses.require(spec, "question_answering", attends=("full",))
    check_range("stride", stride, 0, 2 ** 20)


def head(spec, labels, **_) -> dict:
    """The head that the network needs (adapt.heads.Headed): two outputs a token."""
    return {"outputs": len(OUTPUTS), "pool": ""}


def loss(apply, params, batch, keys_B=None):
    """The mean of -log p(start) and -log p(end), in nats (half their sum, as in Devlin et al.'s code), each a softmax
    over the tokens of a window.

    Args:
      apply, params, keys_B: as in causal.loss, of a network with a head.
      batch: tokens, segments, positions, types (B, T), segment k being window k - 1; start, end (B, S), places in the
        windows; weights (B, S), 0 where there is no window.
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}), the latter the share of windows whose likeliest start and
      likeliest end are both right.
    """
    weights_BS = batch["weights"].astype(jnp.float32)
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    logits_BT2 = apply({"params": params}, x_BTD, batch["segments"], weights_BS.shape[1], keys_B, method="score")
    member_BST = batch["segments"][:, None] == jnp.arange(1, weights_BS.shape[1] + 1)[:, None]
    nll_BS, correct_BS = 0.0, True
    for k, name in enumerate(OUTPUTS):
        logits_BST = jnp.where(member_BST, logits_BT2[:, None, :, k], _NEVER)
        here_BST = member_BST & (batch["positions"][:, None] == batch[name][..., None])
        target_BS = jnp.where(here_BST, logits_BST, 0).sum(-1)
        nll_BS += (jax.nn.logsumexp(logits_BST, axis=-1) - target_BS) / len(OUTPUTS)
        correct_BS &= logits_BST.max(-1) == target_BS
    over = lambda each_BS: ((each_BS * weights_BS).sum(), weights_BS.sum())
    return {"loss": over(nll_BS), **terms}, {"accuracy": over(correct_BS)}
