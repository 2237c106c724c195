"""The Transformer (Vaswani et al. 2017), decoder first; every family is a set of values of `Spec`.

Layers are stacked on a leading N axis and run by `nn.scan`: one parameter layout on disk and for training, and a
compile time flat in depth. Decoding runs the layers one by one (`unstack`), since slicing stacked weights for every
token would halve its speed.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.models import layers
from lmlab.models.attention import BACKENDS, Attention, causal_mask
from lmlab.utils.errors import UserError, did_you_mean

CHOICES = {
    "positions": ("learned", "sinusoidal", "rotary", "none"),
    "norm": ("layer", "rms"),
    "activation": (*layers.ACTIVATIONS, *layers.GATES),
    "attention": BACKENDS,
    "remat": ("none", "dots", "full"),
}


@dataclasses.dataclass(frozen=True)
class Spec:
    """The keyword arguments of the Transformer. Zero means "the usual": see each comment."""
    vocab_size: int                 # V, from the tokenizer
    context: int = 256              # the longest sequence, tokens
    width: int = 128                # D
    layers: int = 4                 # N
    heads: int = 4                  # H
    kv_heads: int = 0               # G; 0: as many as heads (grouped-query attention: Ainslie et al. 2023)
    head_dim: int = 0               # K; 0: width / heads
    ff: int = 0                     # F; 0: 4 width, or 8/3 width where the activation is gated
    activation: str = "gelu"        # gelu, gelu_exact, relu, relu2, swiglu, geglu
    norm: str = "layer"             # layer, rms
    norm_eps: float = 1e-5
    positions: str = "learned"      # learned, sinusoidal, rotary, none
    rotary_theta: float = 10000.0
    qk_norm: bool = False           # RMSNorm on queries and keys (Henry et al. 2020)
    bias: bool = True               # in projections and LayerNorm
    tied: bool = True               # the output projection is the embedding
    zero_init: bool = False         # residual branches start as zero, else N(0, 0.02 / sqrt(2N)) as GPT-2
    logit_softcap: float = 0.0      # c tanh(logits / c) (Gemma 2); 0: off
    dropout: float = 0.0            # on embeddings and residual branches
    attention: str = "auto"         # backend: auto, xla, cudnn
    unroll: int = 0                 # layers a step of the scan; 0: all of them on a CPU, else one
    remat: str = "none"             # recompute in the backward pass: none, dots (keep matrix products), full
    dtype: Any = jnp.float32        # of the computation (config.train.precision); parameters are float32

    def __post_init__(self):
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UserError(f"config.model.{name}={getattr(self, name)!r} is unknown"
                                f"{did_you_mean(getattr(self, name), known)}; one of {', '.join(known)}")
        for name in ("vocab_size", "context", "width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise UserError(f"config.model.{name}={getattr(self, name)} must be at least 1")
        for name in ("kv_heads", "head_dim", "ff", "unroll", "logit_softcap"):
            if not getattr(self, name) >= 0:
                raise UserError(f"config.model.{name}={getattr(self, name)} must not be negative")
        if not 0 <= self.dropout < 1:
            raise UserError(f"config.model.dropout={self.dropout} must be at least 0 and below 1")
        if not self.head_dim and self.width % self.heads:
            raise UserError(f"config.model.heads={self.heads} does not divide config.model.width={self.width}; "
                            f"try {_divisors(self.width)}, or set config.model.head_dim")
        if self.heads % self.groups:
            raise UserError(f"config.model.kv_heads={self.kv_heads} does not divide config.model.heads="
                            f"{self.heads}; try {_divisors(self.heads)}")
        if self.positions == "rotary" and self.head_size % 2:
            raise UserError(f"rotary positions need an even head size, not {self.head_size}: change "
                            "config.model.heads, config.model.width or config.model.head_dim")

    @property
    def groups(self):
        """G, key/value heads."""
        return self.kv_heads or self.heads

    @property
    def head_size(self):
        """K."""
        return self.head_dim or self.width // self.heads

    @property
    def hidden(self):
        """F; a gated feed-forward gets two thirds, so that its parameters are those of a plain one."""
        return self.ff or (8 * self.width // 3 if self.activation in layers.GATES else 4 * self.width)

    @property
    def stddev_out(self):
        """Of the projections that write into the residual stream."""
        return 0.0 if self.zero_init else 0.02 / (2 * self.layers) ** 0.5


def _divisors(n):
    return ", ".join(str(d) for d in range(1, min(n, 128) + 1) if n % d == 0)


class Block(nn.Module):
    """One pre-norm layer: x + attention(norm(x)), then x + feed-forward(norm(x))."""
    spec: Spec

    @nn.compact
    def __call__(self, x_BTD, layer, positions_BT, mask_B1TS, keys_B, cache=None, index=None):
        """layer: its number, for the dropout keys. Returns (x_BTD, cache)."""
        s = self.spec
        keys_B = layers.fold_in(keys_B, layer)
        norm = lambda name: layers.Norm(s.norm, s.bias, s.norm_eps, s.dtype, name=name)
        h_BTD, cache = Attention(s, name="attention")(norm("norm_attention")(x_BTD), positions_BT, mask_B1TS, cache,
                                                      index)
        x_BTD = x_BTD + layers.dropout(h_BTD, s.dropout, layers.fold_in(keys_B, 0))
        feed = layers.FeedForward(s.width, s.hidden, s.activation, s.bias, s.stddev_out, s.dtype, name="ff")
        h_BTD = feed(norm("norm_ff")(x_BTD))
        x_BTD = x_BTD + layers.dropout(h_BTD, s.dropout, layers.fold_in(keys_B, 1))
        x_BTD = nn.with_logical_constraint(x_BTD, ("batch", "length", "activation"))
        self.sow("intermediates", "residual_BTD", x_BTD)
        return x_BTD, cache


class Model(nn.Module):
    """A causal Transformer. `apply` gives logits; with mutable=["intermediates"] also every layer's attention
    weights (N, B, H, T, S) and residual stream (N, B, T, D)."""
    spec: Spec
    stacked: bool = True            # one scan over stacked layers, or layers one by one (decoding)

    def setup(self):
        s = self.spec
        table = lambda name, rows, axis: self.param(
            name, nn.with_logical_partitioning(layers.normal(0.02), (axis, "embed")), (rows, s.width))
        self.token_embedding = table("token_embedding", s.vocab_size, "vocab")
        if s.positions == "learned":
            self.position_embedding = table("position_embedding", s.context, "position")
        if self.stacked:
            block = Block
            if s.remat != "none":
                policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if s.remat == "dots" else None
                block = nn.remat(Block, policy=policy, prevent_cse=False)
            unroll = s.unroll or (s.layers if jax.default_backend() == "cpu" else 1)
            self.blocks = nn.scan(
                block, length=s.layers, unroll=unroll, in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
                variable_axes={"params": 0, "intermediates": 0}, split_rngs={"params": True},
                metadata_params={nn.PARTITION_NAME: "layers"})(s)
        else:
            self.blocks = [Block(s, name=f"block_{i}") for i in range(s.layers)]
        self.norm_final = layers.Norm(s.norm, s.bias, s.norm_eps, s.dtype)
        if not s.tied:
            self.head = layers.Projection((s.width, s.vocab_size), ("embed", "vocab"), bias=False, dtype=s.dtype,
                                          out_dtype=jnp.float32)

    def __call__(self, tokens_BT, segments_BT=None, positions_BT=None, keys_B=None):
        """Logits_BTV, float32. segments_BT: tokens see only their own segment, 0 is padding; positions_BT: counted
        from 0 in each segment; both default to one segment a row. keys_B: dropout keys, one an example."""
        return self.logits(self.hidden(tokens_BT, segments_BT, positions_BT, keys_B))

    def hidden(self, tokens_BT, segments_BT=None, positions_BT=None, keys_B=None):
        """The final normed states x_BTD: all of the network but the output projection."""
        if segments_BT is None:
            segments_BT = jnp.ones_like(tokens_BT)
        if positions_BT is None:
            positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
        x_BTD = self.embed(tokens_BT, positions_BT)
        x_BTD = layers.dropout(x_BTD, self.spec.dropout, layers.fold_in(keys_B, self.spec.layers))
        mask_B1TS = causal_mask(segments_BT)
        if self.stacked:
            x_BTD, _ = self.blocks(x_BTD, jnp.arange(self.spec.layers), positions_BT, mask_B1TS, keys_B)
        else:
            for layer, block in enumerate(self.blocks):
                x_BTD, _ = block(x_BTD, layer, positions_BT, mask_B1TS, keys_B)
        return self.norm_final(x_BTD)

    def embed(self, tokens_BT, positions_BT):
        """Token embeddings plus absolute positions, x_BTD in the computation's dtype."""
        s = self.spec
        # Looked up in a whole table: a gather from a split one would be replicated anyway, activations and all.
        table_VD = nn.with_logical_constraint(self.token_embedding, ("words", "activation"))
        x_BTD = jnp.asarray(table_VD, s.dtype)[tokens_BT]
        if s.positions == "learned":
            x_BTD = x_BTD + jnp.asarray(self.position_embedding, s.dtype)[positions_BT]
        elif s.positions == "sinusoidal":
            x_BTD = x_BTD + jnp.asarray(layers.sinusoids(s.context, s.width), s.dtype)[positions_BT]
        return nn.with_logical_constraint(x_BTD, ("batch", "length", "activation"))

    def logits(self, x_BTD):
        """The output projection: logits_BTV in float32."""
        s = self.spec
        if s.tied:
            table_VD = self.token_embedding.astype(s.dtype)
            logits_BTV = jnp.einsum("btd,vd->btv", x_BTD, table_VD, preferred_element_type=jnp.float32)
        else:
            logits_BTV = self.head(x_BTD)
        return s.logit_softcap * jnp.tanh(logits_BTV / s.logit_softcap) if s.logit_softcap else logits_BTV

    def decode(self, tokens_BT, positions_BT, cache, last=False):
        """The next T tokens after those in `cache` (init_cache), for a model that is not stacked.

        tokens_BT: padding is marked by a negative position. last: only the last token's logits are wanted.
        Returns (logits_BTV, cache), T being 1 with `last`.
        """
        slots_S = jnp.arange(cache["valid"].shape[1])
        index, T = cache["index"], tokens_BT.shape[1]
        valid_BS = jax.lax.dynamic_update_slice_in_dim(cache["valid"], positions_BT >= 0, index, axis=1)
        seen_TS = slots_S[None] <= index + jnp.arange(T)[:, None]
        mask_B1TS = (valid_BS[:, None, :] & seen_TS[None])[:, None]
        positions_BT = jnp.maximum(positions_BT, 0)
        x_BTD = self.embed(tokens_BT, positions_BT)
        new = []
        for layer, (block, kv) in enumerate(zip(self.blocks, cache["layers"], strict=True)):
            x_BTD, kv = block(x_BTD, layer, positions_BT, mask_B1TS, None, kv, index)
            new.append(kv)
        logits_BTV = self.logits(self.norm_final(x_BTD[:, -1:] if last else x_BTD))
        return logits_BTV, {"layers": new, "valid": valid_BS, "index": index + T}


def init_cache(spec, batch, length):
    """An empty cache for `decode`: keys and values of `length` slots a layer, which slots hold a token, the next."""
    shape = (batch, length, spec.groups, spec.head_size)
    return {"layers": [{"k": jnp.zeros(shape, spec.dtype), "v": jnp.zeros(shape, spec.dtype)}
                       for _ in range(spec.layers)],
            "valid": jnp.zeros((batch, length), bool), "index": jnp.zeros((), jnp.int32)}


def unstack(model, params):
    """(model, params) with the layers one by one instead of stacked, for decoding: the same function."""
    stacked, rest = params["blocks"], {k: v for k, v in params.items() if k != "blocks"}
    blocks = {f"block_{i}": jax.tree.map(lambda x: x[i], stacked) for i in range(model.spec.layers)}
    return model.clone(stacked=False), {**rest, **blocks}


def init(model, key):
    """Parameters, boxed with the names of their logical axes (`flax.linen.meta.unbox` gives plain arrays)."""
    return model.init(key, jnp.zeros((1, 1), jnp.int32))["params"]


