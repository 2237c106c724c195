"""A mixture of experts in place of the feed-forward (shape key in layers.py; E experts, P picks a token)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.models import layers


class Experts(nn.Module):
    """Each token goes through its `experts_per_token` most likely experts, weighted by their softmax among themselves
    (Shazeer et al. 2017; Jiang et al. 2024). Dropless: tokens are sorted by expert and no expert has a capacity.

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
        wi_EDF = weight("wi", (E, D, F), ("expert", "embed", "ff"))
        wo_EFD = weight("wo", (E, F, D), ("expert", "ff", "embed"), s.stddev_out)
        order = jnp.argsort(expert_MP.reshape(-1), stable=True)
        sizes_E = jnp.bincount(expert_MP.reshape(-1), length=E)
        rows_LD = x_MD.astype(s.dtype)[order // P]  # one row a pick, sorted by expert
        h_LF = jax.lax.ragged_dot(rows_LD, wi_EDF, sizes_E)
        if s.activation in layers.GATES:
            linear_EDF = weight("wi_linear", (E, D, F), ("expert", "embed", "ff"))
            h_LF = layers.GATES[s.activation](h_LF) * jax.lax.ragged_dot(rows_LD, linear_EDF, sizes_E)
        else:
            h_LF = layers.ACTIVATIONS[s.activation](h_LF)
        y_LD = jax.lax.ragged_dot(h_LF, wo_EFD, sizes_E) * weight_MP.reshape(-1)[order][:, None].astype(s.dtype)
        return jnp.zeros(x_MD.shape, s.dtype).at[order // P].add(y_LD).reshape(x_BTD.shape)
