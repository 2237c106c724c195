"""A mixture of experts in place of the feed-forward (shape key in layers.py; E experts, P picks a token)."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.models import kernels, layers


class Experts(nn.Module):
    """Each token goes through its `experts_per_token` most likely experts, weighted by their softmax among themselves
    (Shazeer et al. 2017; Jiang et al. 2024). Dropless: tokens are sorted by expert and no expert has a capacity. On a
    mesh that splits the experts, tokens go to them (`kernels.expert_mix`).

    Sows a load-balancing loss for each row, "balance" (B,) in "losses": expert_balance E sum_e share_e probability_e,
    the shares and mean probabilities over the row's tokens (Fedus et al. 2021, eq. 4). Row by row, it does not depend
    on how a batch is cut up; it is expert_balance for a uniform router, 0 for a row of padding.
    """
    spec: Any

    @nn.compact
    def __call__(self, x_BTD, real_BT):
        """real_BT: False at padding, which is routed but does not count."""
        s = self.spec
        E, D, F, P = s.experts, s.width, s.hidden, s.experts_per_token
        x_MD = x_BTD.reshape(-1, D)
        logits_ME = layers.Projection((D, E), ("embed", "expert"), bias=False, name="router")(x_MD)
        probability_ME = jax.nn.softmax(logits_ME.astype(jnp.float32))
        picked_MP, expert_MP = jax.lax.top_k(probability_ME, P)
        weight_MP = picked_MP / picked_MP.sum(-1, keepdims=True)
        real_BT1 = real_BT[..., None].astype(jnp.float32)
        mean = lambda a_ME: (a_ME.reshape(*real_BT.shape, E) * real_BT1).sum(1) / jnp.maximum(real_BT1.sum(1), 1)
        share_BE, likely_BE = mean(jax.nn.one_hot(expert_MP, E).mean(1)), mean(probability_ME)
        self.sow("losses", "balance", s.expert_balance * E * (share_BE * likely_BE).sum(-1))

        weight = lambda name, shape, axes, stddev=0.02: self.param(
            name, nn.with_logical_partitioning(layers.normal(stddev), axes), shape).astype(s.dtype)
        wide, back = ("expert", "embed", "ff"), ("expert", "ff", "embed")
        weights = [weight("wi", (E, D, F), wide), weight("wo", (E, F, D), back, s.stddev_out)]
        activation = layers.FUNCTIONS[s.activation]
        if s.activation in layers.GATES:
            weights.append(weight("wi_linear", (E, D, F), wide))
        if self.is_initializing():
            return x_BTD  # of a single token, which no mesh divides
        rows = [("batch", "length", None)] * 3
        mix = functools.partial(kernels.expert_mix, activation)
        mix = kernels.on_devices(mix, rows + [wide, back, wide][:len(weights)], rows[0])
        shaped = lambda a_MP: a_MP.reshape(*real_BT.shape, P)
        return mix(x_BTD.astype(s.dtype), shaped(expert_MP), shaped(weight_MP).astype(s.dtype), *weights)
