"""The Transformer (Vaswani et al. 2017): encoder, decoder, prefix LM and encoder-decoder are the same code, and every
family is a set of values of `Spec` (presets.py).

Layers are stacked on a leading N axis and run by `nn.scan`: one parameter layout on disk and for training, and a
compile time flat in depth. Decoding runs the layers one by one (`unstack`), since slicing stacked weights for every
token would halve its speed.
"""

import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.models import kernels, layers
from lmlab.models.attention import Attention, CrossAttention, relative_buckets, segment_mask, within
from lmlab.models.moe import Experts
from lmlab.models.spec import SAVED, Spec
from lmlab.utils.trees import map_with_path


class View(NamedTuple):
    """What every layer is told: where its tokens stand and what they may look at. S is T, or the slots of a cache."""
    positions_BT: Any
    key_positions_BS: Any
    mask_B1TS: Any
    real_BT: Any                    # False at padding
    bias_BHTS: Any = None           # relative positions
    memory_BSD: Any = None          # the encoder's output,
    memory_mask_B1TS: Any = None    # and what of it a token may look at
    keys_B: Any = None              # dropout
    index: Any = None               # the slot of a cache that the first token is written to
    segments_BT: Any = None         # where the mask is these and the causal one, and nothing else


class Block(nn.Module):
    """One layer: attention, attention to the encoder where there is one, feed-forward, each a residual branch."""
    spec: Spec
    cross: bool = False
    causal: bool = False            # whether the mask hides all that is later

    @nn.compact
    def __call__(self, x_BTD, layer, view, cache=None):
        """layer: its number. cache: None, or a layer's part of one (init_cache). Returns (x_BTD, cache)."""
        s = self.spec
        keys_B = layers.fold_in(view.keys_B, layer)
        local, mask_B1TS = jnp.asarray(s.local)[layer], view.mask_B1TS
        if s.window:
            window = jnp.where(local, s.window, 0)
            mask_B1TS = mask_B1TS & within(window, view.positions_BT, view.key_positions_BS)
        frequency_K = jnp.where(local, s.frequencies(local=True), s.frequencies()) if s.positions == "rotary" else None

        def branch(name, number, x_BTD, function):
            norm = lambda kind, h: layers.Norm(s.norm, s.bias, s.norm_eps, s.dtype, name=f"norm_{name}{kind}")(h)
            nonlocal cache
            h_BTD = norm("", x_BTD) if s.norm_place in ("pre", "both") else x_BTD
            if s.token_shift and name != "cross":
                h_BTD, last_B1d = layers.token_shift(h_BTD, view.positions_BT, s.token_shift, cache and cache[name])
                cache = cache and {**cache, name: last_B1d}
            h_BTD = function(h_BTD)
            h_BTD = norm("_out", h_BTD) if s.norm_place in ("both", "after") else h_BTD
            x_BTD = x_BTD + layers.dropout(h_BTD, s.dropout, layers.fold_in(keys_B, number))
            return norm("", x_BTD) if s.norm_place == "post" else x_BTD

        def attention(h_BTD):
            nonlocal cache
            h_BTD, cache = Attention(s, name="attention")(
                h_BTD, frequency_K, view.positions_BT, mask_B1TS, view.bias_BHTS, cache, view.index,
                causal=self.causal and cache is None, segments_BT=None if s.window else view.segments_BT)
            return h_BTD

        def cross(h_BTD):
            nonlocal cache
            module = CrossAttention(s, name="cross")
            memory = module.memory(view.memory_BSD) if view.memory_BSD is not None else cache["memory"]
            cache = cache and {**cache, "memory": memory}
            return module(h_BTD, memory, view.memory_mask_B1TS)

        feed = ((lambda h_BTD: Experts(s, name="experts")(h_BTD, view.real_BT)) if s.experts else layers.FeedForward(
            s.width, s.hidden, s.activation, s.bias, s.stddev_out, s.dtype, s.matmul, name="ff"))
        x_BTD = branch("attention", 0, x_BTD, attention)
        x_BTD = branch("cross", 2, x_BTD, cross) if self.cross else x_BTD
        x_BTD = branch("ff", 1, x_BTD, feed)
        x_BTD = nn.with_logical_constraint(x_BTD, ("batch", "length", "activation"))
        self.sow("intermediates", "residual_BTD", x_BTD)
        return x_BTD, cache


class Stack(nn.Module):
    """Layers one after the other, the relative positions that they share, and the norm after the last.

    causal: for the buckets of relative positions. stacked: as one scan, or one by one.
    """
    spec: Spec
    layers: int
    cross: bool = False
    causal: bool = True
    stacked: bool = True

    @nn.compact
    def __call__(self, x_BTD, view, caches=None):
        """Returns (x_BTD, caches): caches is a list, one a layer, where the layers are not stacked, else None."""
        s = self.spec
        if s.positions == "relative":
            table = self.param("relative", nn.with_logical_partitioning(layers.normal(0.02), ("position", "heads")),
                               (s.relative_buckets, s.heads))
            bucket_BTS = relative_buckets(view.positions_BT, view.key_positions_BS, s.relative_buckets,
                                          s.relative_distance, not self.causal)
            view = view._replace(bias_BHTS=jnp.moveaxis(jnp.asarray(table)[bucket_BTS], -1, 1))
        if self.stacked:
            x_BTD, _ = self._scan()(x_BTD, jnp.arange(self.layers), view)
        else:
            caches, olds = [], caches or [None] * self.layers
            for layer, old in enumerate(olds):
                x_BTD, new = Block(s, self.cross, self.causal, name=f"block_{layer}")(x_BTD, layer, view, old)
                caches.append(new)
        if s.norm_place != "post":
            x_BTD = layers.Norm(s.norm, s.bias, s.norm_eps, s.dtype, name="norm_final")(x_BTD)
        return x_BTD, caches

    def _scan(self):
        s, block = self.spec, Block
        if s.remat != "none":
            block = nn.remat(Block, policy=jax.checkpoint_policies.save_only_these_names(*SAVED[s.remat]),
                             prevent_cse=False)
        unroll = s.unroll or (self.layers if kernels.platform() == "cpu" else 1)
        return nn.scan(block, length=self.layers, unroll=unroll, in_axes=(0, nn.broadcast),
                       variable_axes={"params": 0, "intermediates": 0, "losses": 0}, split_rngs={"params": True},
                       metadata_params={nn.PARTITION_NAME: "layers"})(s, self.cross, self.causal, name="blocks")


class Model(nn.Module):
    """A Transformer. `apply` gives logits; with mutable=["intermediates"] also every layer's attention weights
    (N, B, H, T, S) and residual stream (N, B, T, D).

    Arguments of its methods, all but the tokens optional:
      tokens_BT; segments_BT: tokens see only their own segment, 0 is padding; positions_BT: counted from 0 in each
      segment; types_BT: kinds of segment (BERT); prefix_BT: True in the part that looks both ways; keys_B: dropout
      keys, one an example; encoder: {"tokens", "segments", "positions"} of the encoder's input, (B, S) each.
    """
    spec: Spec
    stacked: bool = True            # one scan over stacked layers, or layers one by one (decoding)

    def setup(self):
        s = self.spec
        table = lambda name, rows, axis: self.param(
            name, nn.with_logical_partitioning(layers.normal(0.02), (axis, "embed")), (rows, s.width))
        norm = lambda: layers.Norm(s.norm, s.bias, s.norm_eps, s.dtype)
        dense = lambda shape, axes, bias: layers.Projection(shape, axes, bias=bias, dtype=s.dtype)
        self.token_embedding = table("token_embedding", s.vocab_size, "vocab")
        rows, both = s.context + s.position_offset, s.encoder_layers > 0
        if s.positions == "learned":
            self.position_embedding = table("position_embedding", rows, "position")
        if s.positions == "learned" and both:
            self.encoder_position_embedding = table("encoder_position_embedding", rows, "position")
        if s.token_types:
            self.type_embedding = table("type_embedding", s.token_types, "position")
        if s.embedding_norm:
            self.norm_embedding = norm()
        if s.embedding_norm and both:
            self.norm_encoder_embedding = norm()
        if both:
            self.encoder = Stack(s, s.encoder_layers, causal=False, stacked=self.stacked)
        self.trunk = Stack(s, s.layers, both, s.attends == "causal", self.stacked)
        if s.head == "transform":
            self.head_transform = dense((s.width, s.width), ("embed", "activation"), True)
            self.head_norm = norm()
        if not s.tied:
            self.head = layers.Projection((s.width, s.vocab_size), ("embed", "vocab"), bias=False, dtype=s.dtype,
                                          out_dtype=jnp.float32)
        if s.head_bias:
            self.head_bias = self.param("head_bias", nn.with_logical_partitioning(nn.initializers.zeros, ("vocab",)),
                                        (s.vocab_size,))
        if s.pooler:
            self.pooler = dense((s.width, s.width), ("embed", "activation"), True)
            self.pair_head = dense((s.width, 2), ("embed", "position"), True)
        if s.generator:
            self.generator = Model(s.generated)
            self.replaced_transform = dense((s.width, s.width), ("embed", "activation"), True)
            self.replaced_head = dense((s.width, 1), ("embed", "position"), True)

    def __call__(self, tokens_BT, segments_BT=None, positions_BT=None, keys_B=None, **more):
        """Logits_BTV, float32."""
        x_BTD = self.hidden(tokens_BT, segments_BT, positions_BT, keys_B, **more)
        if self.is_initializing() and self.spec.pooler:
            self.pooled(x_BTD)
        if self.is_initializing() and self.spec.generator:
            self.replaced(x_BTD), self.generator(tokens_BT)
        return self.logits(x_BTD)

    def hidden(self, tokens_BT, segments_BT=None, positions_BT=None, keys_B=None, types_BT=None, prefix_BT=None,
               encoder=None):
        """The final states x_BTD: all of the network but the way out."""
        segments_BT, positions_BT = _defaults(tokens_BT, segments_BT, positions_BT)
        view = View(positions_BT, positions_BT, segment_mask(segments_BT, self.spec.attends, prefix_BT),
                    segments_BT > 0, keys_B=keys_B,
                    segments_BT=segments_BT if self.spec.attends == "causal" else None)
        if self.spec.encoder_layers:
            encoder = dict(encoder or {"tokens": tokens_BT})
            memory_BSD = self.encode(**encoder, keys_B=layers.fold_in(keys_B, 2 ** 20))
            mask_BTS = segments_BT[:, :, None] == _defaults(**encoder)[0][:, None, :]
            view = view._replace(memory_BSD=memory_BSD, memory_mask_B1TS=mask_BTS[:, None])
        return self.trunk(self.embed(tokens_BT, positions_BT, keys_B, types_BT), view)[0]

    def encode(self, tokens, segments=None, positions=None, keys_B=None):
        """The encoder's output memory_BSD for its tokens, segments and positions, (B, S) each."""
        segments, positions = _defaults(tokens, segments, positions)
        view = View(positions, positions, segment_mask(segments, "full"), segments > 0, keys_B=keys_B)
        return self.encoder(self.embed(tokens, positions, keys_B, in_encoder=True), view)[0]

    def embed(self, tokens_BT, positions_BT, keys_B=None, types_BT=None, in_encoder=False):
        """The sum of the embeddings, normed and dropped out as the family does it: x_BTD."""
        s = self.spec
        # Looked up in a whole table: a gather from a split one would be replicated anyway, activations and all.
        table_VD = nn.with_logical_constraint(self.token_embedding, ("words", "activation"))
        x_BTD = jnp.asarray(table_VD, s.dtype)[tokens_BT]
        if s.embedding_scale:
            x_BTD = x_BTD * jnp.asarray(s.width ** 0.5, s.dtype)
        if s.positions == "learned":
            table = self.encoder_position_embedding if in_encoder else self.position_embedding
            x_BTD = x_BTD + jnp.asarray(table, s.dtype)[positions_BT + s.position_offset]
        elif s.positions == "sinusoidal":
            x_BTD = x_BTD + jnp.asarray(layers.sinusoids(s.context, s.width), s.dtype)[positions_BT]
        if s.token_types:
            x_BTD = x_BTD + jnp.asarray(self.type_embedding, s.dtype)[0 if types_BT is None else types_BT]
        if s.embedding_norm:
            x_BTD = (self.norm_encoder_embedding if in_encoder else self.norm_embedding)(x_BTD)
        x_BTD = nn.with_logical_constraint(x_BTD, ("batch", "length", "activation"))
        return layers.dropout(x_BTD, s.dropout, layers.fold_in(keys_B, s.layers))

    def logits(self, x_BTD):
        """The way out: logits_BTV in float32."""
        s = self.spec
        if s.head == "transform":
            x_BTD = self.head_norm(layers.FUNCTIONS[s.activation](self.head_transform(x_BTD)))
        logits_BTV = self.head(x_BTD) if not s.tied else jnp.einsum(
            "btd,vd->btv", x_BTD, self.token_embedding.astype(s.dtype), preferred_element_type=jnp.float32)
        scale = s.logit_scale * s.narrowing
        logits_BTV = logits_BTV * scale if scale != 1.0 else logits_BTV
        logits_BTV = logits_BTV + self.head_bias if s.head_bias else logits_BTV
        return s.logit_softcap * jnp.tanh(logits_BTV / s.logit_softcap) if s.logit_softcap else logits_BTV

    def pooled(self, x_BTD):
        """(x_BD, logits_B2): BERT's pooled first state, and whether the second sentence follows the first."""
        x_BD = jnp.tanh(self.pooler(x_BTD[:, 0]))
        return x_BD, self.pair_head(x_BD).astype(jnp.float32)

    def replaced(self, x_BTD):
        """score_BT, float32: the log-odds that a token is not the original one (Clark et al. 2020)."""
        h_BTD = layers.ACTIVATIONS["gelu_exact"](self.replaced_transform(x_BTD))
        return self.replaced_head(h_BTD).astype(jnp.float32)[..., 0]

    def decode(self, tokens_BT, positions_BT, cache, last=False, prefix_BT=None):
        """The next T tokens after those in `cache` (init_cache, begin), for a model that is not stacked.

        tokens_BT: padding is marked by a negative position. prefix_BT: True (bool) where those before see a token too.
        last: only the last token's logits are wanted. Returns (logits_BTV, cache), T being 1 with `last`.
        """
        index, T = cache["index"], tokens_BT.shape[1]
        write = lambda old_BS, new_BT: jax.lax.dynamic_update_slice_in_dim(old_BS, new_BT, index, axis=1)
        held_BS = write(cache["positions"], positions_BT)
        seen_BTS = (jnp.arange(held_BS.shape[1]) <= index + jnp.arange(T)[:, None])[None]
        if prefix_BT is not None:
            seen_BTS = seen_BTS | write(jnp.zeros_like(held_BS, bool), prefix_BT)[:, None]
        mask_B1TS = ((held_BS >= 0)[:, None] & seen_BTS)[:, None]
        real_BT, positions_BT = positions_BT >= 0, jnp.maximum(positions_BT, 0)
        view = View(positions_BT, held_BS, mask_B1TS, real_BT, index=index)
        cache = dict(cache)
        if self.spec.encoder_layers:
            view = view._replace(memory_BSD=cache.pop("memory_BSD", None), memory_mask_B1TS=cache["memory_mask_B1TS"])
        x_BTD, blocks = self.trunk(self.embed(tokens_BT, positions_BT), view, cache["layers"])
        cache |= {"layers": blocks, "positions": held_BS, "index": index + T}
        return self.logits(x_BTD[:, -1:] if last else x_BTD), cache

    def begin(self, encoder, cache):
        """`cache` with what an encoder made of its input: tokens, segments and positions, as in `hidden`. The first
        `decode` turns it into keys and values for every layer."""
        real_BS = _defaults(**encoder)[0] > 0
        return {**cache, "memory_mask_B1TS": real_BS[:, None, None], "memory_BSD": self.encode(**encoder)}


def _defaults(tokens, segments=None, positions=None):
    """(segments, positions): one segment a row and positions from 0 where they are not given."""
    counted_BT = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return jnp.ones_like(tokens) if segments is None else segments, counted_BT if positions is None else positions


def init_cache(spec, batch, length):
    """An empty cache for `decode`: keys and values of `length` slots a layer, what of the last token the next one reads
    (token_shift), the position of the token in each slot (negative: none), the next slot."""
    shape = (batch, length, spec.groups, spec.head_size)
    shapes = {"k": shape, "v": shape}
    if spec.token_shift:
        shapes |= dict.fromkeys(("attention", "ff"), (batch, 1, round(spec.token_shift * spec.width)))
    return {"layers": [{name: jnp.zeros(shape, spec.dtype) for name, shape in shapes.items()}
                       for _ in range(spec.layers)],
            "positions": jnp.full((batch, length), -1, jnp.int32), "index": jnp.zeros((), jnp.int32)}


def unstack(model, params):
    """(model, params) with the layers one by one instead of stacked, for decoding: the same function."""
    params = dict(params)
    for name in ("encoder", "trunk"):
        if name in params:
            stack = dict(params[name])
            stacked = stack.pop("blocks")
            depth = jax.tree.leaves(stacked)[0].shape[0]
            params[name] = stack | {f"block_{i}": jax.tree.map(lambda x: x[i], stacked) for i in range(depth)}
    return model.clone(stacked=False), params


def init(model, key):
    """Parameters, boxed with the names of their logical axes (`flax.linen.meta.unbox` gives plain arrays)."""
    return widened(model.init(key, jnp.zeros((1, 1), jnp.int32))["params"], model.spec)


def widened(params, spec):
    """New parameters as muP wants them at the width of `spec` (Yang et al. 2022, table 8)."""
    scale = spec.narrowing ** 0.5
    return params if scale == 1 else map_with_path(lambda path, x: x * scale if is_wide(path) else x, params)


def is_wide(path):
    """Whether a parameter sums over as many inputs as the model is wide: all matrices but the output projection, which
    the logits' own scale takes care of, and a task's head."""
    return bool(re.search(r"/kernel|/experts/w", path)) and not re.search(r"(^|/)(head|task)/", path)
