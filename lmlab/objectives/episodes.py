"""Learning to learn from few examples: parameters from which some steps of gradient descent on an episode's few
examples lead far: MAML (Finn et al. 2017) and Reptile (Nichol et al. 2018)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.data.features import check_choice, check_range
from lmlab.data.features import episodes as rows
from lmlab.data.features.episodes import features  # noqa: F401
from lmlab.objectives import classification, losses

READS = "labelled"  # the kind of examples that it learns from
TASK = ""           # a run is measured by the objective itself
SPECIALS = ("cls",)
WHOLE = False
METHODS = ("maml", "first_order", "reptile")


def check(spec, method="maml", inner=3, rate=0.1, ways=5, shots=2, queries=3, held=0.3, **_):
    """Raises a UserError where a setting means nothing."""
    rows.check(ways, shots, queries, held)
    check_choice("method", method, METHODS)
    check_range("inner", inner, 1, 100)
    check_range("rate", rate, 1e-6, 1e3)
    classification.check(spec)


def names(_, ways: int = 5) -> tuple[str, ...]:
    """The places that an episode gives its labels."""
    return tuple(str(1 + way) for way in range(ways))


def head(spec, labels, **_) -> dict:
    """The head that the network needs (adapt.heads.Headed)."""
    return classification.head(spec, labels)


def loss(apply, params, batch, keys_B=None, *, method: str = "maml", inner: int = 3, rate: float = 0.1):
    """-log p(label) in nats over what an episode asks about, by parameters that took `inner` steps from `params`, of
    size `rate`, down the gradient of the same mean over what it is learned from.

    Args:
      apply, params, keys_B: as in causal.loss, of a network with a head.
      batch: as features.episodes has it.
      method: of the gradient. maml: that of this loss, through the steps (equation 1 of Finn et al.). first_order: the
        steps' gradients are taken for constants (section 5.2). reptile: (params - where the steps lead) / rate, which
        asks nothing (algorithm 2 of Nichol et al.); the loss is told, and has no part in it.
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}), after the steps.
    """
    def outcome(params, episode, key, weights_S):
        """(the sum over S of -log p(label), that of what is right)."""
        one = {name: value[None] for name, value in {**episode, "weights": weights_S}.items()}
        with nn.logical_axis_rules(()):  # the batch that a mesh splits is that of the episodes, not this one of one row
            logits_SC = classification.outputs(apply, params, one, None if key is None else key[None])[0][0]
        nll_S, correct_S = losses.cross_entropy(logits_SC, episode["label"])
        return (nll_S * weights_S).sum(), (correct_S * weights_S).sum()

    def of(episode, key):
        asked_S, support_S = episode["weights"].astype(jnp.float32), episode["support"].astype(jnp.float32)
        mean = lambda params: outcome(params, episode, key, support_S)[0] / jnp.maximum(support_S.sum(), 1)

        def step(now, _):
            grads = jax.grad(mean)(now)
            grads = grads if method == "maml" else jax.lax.stop_gradient(grads)
            return jax.tree.map(lambda p, g: p - rate * g, now, grads), None
        adapted, _ = jax.lax.scan(step, params, length=inner)
        total, right = outcome(adapted, episode, key, asked_S)
        if method == "reptile":
            apart = jax.tree.map(lambda p, a: (p * jax.lax.stop_gradient(p - a)).sum() / rate, params, adapted)
            bridge = sum(jax.tree.leaves(apart)) * asked_S.sum()  # its gradient is what is wanted, its value is not
            total = jax.lax.stop_gradient(total - bridge) + bridge
        return total, right, asked_S.sum()

    episodes = {name: batch[name] for name in ("tokens", "segments", "positions", "label", "support", "weights")}
    total_B, right_B, asked_B = jax.vmap(of, (0, None if keys_B is None else 0))(episodes, keys_B)
    return {"loss": (total_B.sum(), asked_B.sum())}, {"accuracy": (right_B.sum(), asked_B.sum())}
