"""Distillation (Hinton et al. 2015): a network learns from another one's probabilities beside the text, as DistilBERT
does (Sanh et al. 2019).

The teacher's parameters come in as constants: they have no gradient and no optimizer, and are in no checkpoint.
"""

import dataclasses

import jax
import jax.numpy as jnp

from lmlab.objectives import losses, masked
from lmlab.utils.errors import UserError

OBJECTIVES = ("causal", "prefix", "dialogue", "seq2seq", "denoising", "span_corruption", "ul2", "masked",
              "classification")  # those that a teacher can stand beside


@dataclasses.dataclass(frozen=True)
class Settings:
    """config.distil: a trained network to learn from beside the data, by the same objective."""
    teacher: str = ""             # as config.init_from; its tokenizer is used; "": none
    layers: int = 0               # above 0: the network is the teacher with so many of its layers, evenly spaced, and
                                  # begins there; 0: it is config.model
    temperature: float = 2.0      # T, which both networks' logits are divided by
    soft: float = 0.5             # the share of the teacher's probabilities in the loss; 1 - soft is the task's own
    hidden: float = 0.0           # the weight of 1 - cos of the two networks' final states; 0: they may differ

    def __post_init__(self):
        for name, low, high in (("layers", 0, 10 ** 4), ("temperature", 1e-3, 1e3), ("soft", 0, 1), ("hidden", 0, 1e3)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"config.distil.{name}={getattr(self, name)} must be from {low:g} to {high:g}")
        if self.layers and not self.teacher:
            raise UserError(f"config.distil.layers={self.layers} are of config.distil.teacher; name that")


def taught(apply, params, batch, keys_B=None, *, teacher, teacher_apply, own, objective, settings):
    """An objective with a teacher beside it.

    Args:
      apply, params, batch, keys_B: as in causal.loss. teacher, teacher_apply: its parameters and its `apply`; it reads
        the same rows, without dropout.
      own: the objective, bound to its settings. objective: config.objective, by whose name it is. settings: Settings.
    Returns:
      (terms, metrics) of `own`, its terms times 1 - soft, and the terms
        soft: soft T^2 KL(softmax(teacher's logits / T) || softmax(the network's / T)) in nats, a mean over what the
          objective predicts (section 2 of Hinton et al.); of labels that do not exclude each other the sum of their
          binary divergences; of a number half the squared difference.
        hidden: hidden (1 - cos) of the final states, a mean over all tokens (where hidden is not 0).
    """
    found = losses.network(apply, params, batch, keys_B)
    known = lambda *args, **more: found if "mutable" in more else apply(*args, **more)
    terms, metrics = own(known, params, batch, keys_B)
    terms = {name: ((1 - settings.soft) * total, weight) for name, (total, weight) in terms.items()}
    states = found[0], losses.states(teacher_apply, teacher, batch, None)[0]
    sides = ((apply, params, keys_B), (teacher_apply, teacher, None))
    divergence = _of_labels if objective.name == "classification" else _of_tokens
    total, weight = divergence(sides, states, batch, objective, settings.temperature)
    terms["soft"] = settings.soft * total, weight
    if settings.hidden:
        real_BT = (batch["segments"] > 0).astype(jnp.float32)
        terms["hidden"] = settings.hidden * ((1 - _cosine(*states)) * real_BT).sum(), real_BT.sum()
    return terms, metrics


def _of_tokens(sides, states, batch, objective, temperature):
    """(sum, weight) of the divergence of the vocabulary's probabilities over the weighted targets."""
    weights = batch["weights"].astype(jnp.float32)
    count = weights.sum()
    if objective.name == "masked":
        picked = masked.pick(batch, objective.rate)
        states = [jnp.take_along_axis(x_BTD, picked["place"][..., None], axis=1) for x_BTD in states]
        weights = picked["weights"]

    def each(*states_BtD):
        logits = [apply({"params": params}, x_BtD, method="logits")
                  for (apply, params, _), x_BtD in zip(sides, states_BtD)]
        return soft_loss(*logits, temperature)
    vocab_size = sides[0][1]["token_embedding"].shape[0]
    parts, join = losses.in_pieces(each, tuple(states), 2 * vocab_size, objective.get("chunk", 0))  # logits of both
    return (join(parts) * weights).sum(), count


def _of_labels(sides, states, batch, objective, temperature):
    """(sum, weight) of the divergence of the labels' probabilities over the examples."""
    weights_BS = batch["weights"].astype(jnp.float32)
    own_BSC, taught_BSC = (
        apply({"params": params}, x_BTD, batch["segments"], weights_BS.shape[1], keys_B, method="score")
        for (apply, params, keys_B), x_BTD in zip(sides, states))
    if objective.kind == "number":
        each_BS = 0.5 * jnp.square(own_BSC - taught_BSC).sum(-1)
    elif objective.kind == "several":  # each label against its absence, whose logit is 0
        against = lambda logits_BSC: jnp.stack([logits_BSC, jnp.zeros_like(logits_BSC)], -1)
        each_BS = soft_loss(against(own_BSC), against(taught_BSC), temperature).sum(-1)
    else:
        each_BS = soft_loss(own_BSC, taught_BSC, temperature)
    return (each_BS * weights_BS).sum(), weights_BS.sum()


def soft_loss(logits, teacher_logits, temperature):
    """T^2 KL(softmax(teacher_logits / T) || softmax(logits / T)) over the last axis, in nats: its gradient is about as
    large at any T (Hinton et al. 2015, section 2)."""
    log_q, log_p = (jax.nn.log_softmax(x / temperature) for x in (logits, teacher_logits))
    return temperature ** 2 * (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def _cosine(x, y):
    """The cosine of the angle between vectors on the last axis, in float32; 0 where one of them is 0."""
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    squares = jnp.square(x).sum(-1) * jnp.square(y).sum(-1)
    return (x * y).sum(-1) * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
