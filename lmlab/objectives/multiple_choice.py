"""Multiple choice: which of a question's choices is right (Radford et al. 2018, section 3.3)."""

import jax
import jax.numpy as jnp

from lmlab.data.features import check_choice
from lmlab.data.features.choices import features, names  # noqa: F401
from lmlab.objectives import classification
from lmlab.objectives.classification import POOLS
from lmlab.utils.errors import UserError

READS = "choices"  # the kind of examples that it learns from
UNIT = "question"  # what the loss is a mean over
SPECIALS = ("cls",)
WHOLE = False
_NEVER = -1e30  # another question's choice; not infinite, so that a choice that is not there has a finite gradient


def check(spec, pool="auto", **_):
    """Raises a UserError where a setting means nothing."""
    check_choice("pool", pool, POOLS)
    if spec.generator:
        raise UserError("config.model.generator does not go with config.objective.name='multiple_choice'; set it to 0")


def head(spec, labels, pool="auto", **_) -> dict:
    """The head that the network needs (adapt.heads.Headed): one output a choice."""
    return classification.head(spec, labels, pool=pool)


def loss(apply, params, batch, keys_B=None, *, pool: str = "auto"):
    """-log p(right choice) in nats over the questions, p being a softmax of the scores of a question's choices.

    Args:
      apply, params, keys_B: as in causal.loss, of a network with a head of one output.
      batch: tokens, segments, positions, types (B, T), segment k being choice k - 1; question (B, S), equal for the
        choices of a question; right (B, S), 1 at the right choice; weights (B, S), 0 where there is no choice.
      pool: what is read of a choice: first, mean, last; auto: the mean where the network looks both ways, else the
        last.
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}), over questions.
    """
    del pool
    logits_BS1, terms = classification.outputs(apply, params, batch, keys_B)
    score_BS, question_BS = logits_BS1[..., 0], batch["question"]
    rivals_BSS = jnp.where(question_BS[:, :, None] == question_BS[:, None], score_BS[:, None], _NEVER)
    right_BS = batch["right"] * batch["weights"]
    over = lambda each_BS: ((each_BS * right_BS).sum(), right_BS.sum())
    return ({"loss": over(jax.nn.logsumexp(rivals_BSS, axis=-1) - score_BS), **terms},
            {"accuracy": over(rivals_BSS.max(-1) == score_BS)})
