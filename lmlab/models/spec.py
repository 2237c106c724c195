"""The keyword arguments of the Transformer: every family is a set of values of them (presets.py)."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from lmlab.models import layers
from lmlab.models.attention import BACKENDS
from lmlab.utils.errors import UserError, did_you_mean, divisors

# What a layer keeps for its backward pass, by the names of its projections; the rest is computed again.
SAVED = {"dots": ("qkv", "q", "kv", "out", "wi", "wi_gated"), "attention": ("qkv", "q", "kv", "out"), "full": ()}
CHOICES = {
    "attends": ("causal", "full", "prefix"),
    "positions": ("learned", "sinusoidal", "rotary", "relative", "none"),
    "rotary_scaling": ("none", "linear", "llama3"),
    "norm": ("layer", "rms"),
    "norm_place": ("pre", "post", "both", "after"),
    "qk_norm": ("none", "head", "all"),
    "activation": tuple(layers.FUNCTIONS),
    "head": ("linear", "transform"),
    "attention": BACKENDS,
    "matmul": ("plain", "fp8"),
    "remat": ("none", *SAVED),
}
LEAST = {**dict.fromkeys(("vocab_size", "context", "width", "layers", "heads", "rotary_theta", "rotary_factor",
                          "rotary_original"), 1), "relative_buckets": 4,
         **dict.fromkeys(("kv_heads", "head_dim", "ff", "base_width", "unroll", "logit_softcap",
                          "score_softcap", "score_scale", "encoder_layers", "window", "window_every", "token_types",
                          "experts", "expert_balance", "position_offset", "rotary_local_theta", "norm_eps"), 0)}


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
    # what looks at what
    attends: str = "causal"         # causal; full: both ways (encoder); prefix: both ways in the prefix, causal after
    encoder_layers: int = 0         # above 0: an encoder of so many layers, which every layer looks at (Vaswani 2017)
    window: int = 0                 # tokens back that a layer sees, itself included; 0: all (Beltagy et al. 2020)
    window_every: int = 0           # each so-manieth layer sees all (Gemma 2: 2, Gemma 3: 6); 0: none does
    # positions and embeddings
    positions: str = "learned"      # learned, sinusoidal, rotary, relative (T5), none
    position_offset: int = 0        # the row of the first position in a learned table (RoBERTa, BART: 2)
    rotary_theta: float = 10000.0
    rotary_local_theta: float = 0.0  # of layers with a window; 0: as rotary_theta
    rotary_scaling: str = "none"    # none; linear: angles / rotary_factor; llama3 (Dubey et al. 2024)
    rotary_factor: float = 1.0
    rotary_low: float = 1.0         # of llama3: waves longer than original / low are slowed by the factor,
    rotary_high: float = 4.0        # those shorter than original / high are left alone
    rotary_original: int = 8192
    relative_buckets: int = 32      # of T5's relative positions (Raffel et al. 2020),
    relative_distance: int = 128    # all further away fall into the last
    token_types: int = 0            # kinds of segment with an embedding each (BERT: 2)
    embedding_scale: bool = False   # token embeddings times sqrt(D) (Vaswani et al. 2017, Gemma)
    embedding_norm: bool = False    # a norm on the embeddings (BERT, BART)
    # a layer
    norm: str = "layer"             # layer, rms
    norm_eps: float = 1e-5
    norm_place: str = "pre"         # pre; post (Vaswani 2017); both: before and after (Gemma 2); after (OLMo 2)
    token_shift: float = 0.0        # this share of what attention and feed-forward read is the token before's
    activation: str = "gelu"        # gelu, gelu_exact, relu, relu2, silu, swiglu, geglu
    qk_norm: str = "none"           # RMSNorm on queries and keys (Henry et al. 2020): of each head, of all at once
    score_scale: float = 0.0        # of q k^T; 0: K^-1/2
    score_softcap: float = 0.0      # c tanh(scores / c) (Gemma 2); 0: off
    bias: bool = True               # in projections and LayerNorm
    qkv_bias: bool = False          # in queries, keys and values even so (Qwen2)
    zero_init: bool = False         # residual branches start as zero, else N(0, 0.02 / sqrt(2N)) as GPT-2
    dropout: float = 0.0            # on embeddings and residual branches
    experts: int = 0                # E, feed-forwards of which each token takes some (Shazeer et al. 2017); 0: one
    experts_per_token: int = 2
    expert_balance: float = 0.01    # of the load-balancing loss (Fedus et al. 2021)
    base_width: int = 0             # rates and initial values were found at this width, and are scaled from there to
                                    # this one (muP: Yang et al. 2022, table 8); 0: they are used as they stand
    # the way out
    tied: bool = True               # the output projection is the embedding
    head: str = "linear"            # linear; transform: a layer and a norm before it (BERT)
    head_bias: bool = False         # on the logits
    logit_scale: float = 1.0        # (T5 v1.0: width^-1/2)
    logit_softcap: float = 0.0      # c tanh(logits / c) (Gemma 2); 0: off
    pooler: bool = False            # tanh(W x_0 + b), and from it two classes of sentence pair (BERT)
    generator: float = 0.0          # above 0: a masked-language model beside it, this share of its width (ELECTRA)
    # the computation
    attention: str = "auto"         # backend: auto, xla, cudnn, splash
    unroll: int = 0                 # layers a step of the scan; 0: all of them on a CPU, else one
    matmul: str = "plain"           # of the layers' projections: plain, fp8 (GPUs that have it)
    remat: str = "none"             # computed again in the backward pass: none; dots: all but matrix products;
                                    # attention: all but those of attention; full: all
    dtype: Any = jnp.float32        # of the computation (config.train.precision); parameters are float32

    def __post_init__(self):
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UserError(f"config.model.{name}={getattr(self, name)!r} is unknown"
                                f"{did_you_mean(getattr(self, name), known)}; one of {', '.join(known)}")
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise UserError(f"config.model.{name}={getattr(self, name)} must be at least {least}")
        if not 0 <= self.generator <= 1:
            raise UserError(f"config.model.generator={self.generator} must be from 0 to 1")
        if not 0 <= self.token_shift <= 1:
            raise UserError(f"config.model.token_shift={self.token_shift} must be from 0 to 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"config.model.dropout={self.dropout} must be at least 0 and below 1")
        if not self.head_dim and self.width % self.heads:
            raise UserError(f"config.model.heads={self.heads} does not divide config.model.width={self.width}; "
                            f"try {divisors(self.width, most=128)}, or set config.model.head_dim")
        if self.heads % self.groups:
            raise UserError(f"config.model.kv_heads={self.kv_heads} does not divide config.model.heads="
                            f"{self.heads}; try {divisors(self.heads, most=128)}")
        if self.positions == "rotary" and self.head_size % 2:
            raise UserError(f"rotary positions need an even head size, not {self.head_size}: change "
                            "config.model.heads, config.model.width or config.model.head_dim")
        if self.experts and not 1 <= self.experts_per_token <= self.experts:
            raise UserError(f"config.model.experts_per_token={self.experts_per_token} must be from 1 to "
                            f"config.model.experts={self.experts}")
        if self.relative_distance <= self.relative_buckets // 2:
            raise UserError(f"config.model.relative_distance={self.relative_distance} must be above half of "
                            f"config.model.relative_buckets={self.relative_buckets}")

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
    def scale(self):
        """What q k^T is multiplied by."""
        return self.score_scale or self.head_size ** -0.5

    @property
    def narrowing(self):
        """base_width / width, 1 without a base: what muP scales by."""
        return self.base_width / self.width if self.base_width else 1.0

    @property
    def stddev_out(self):
        """Of the projections that write into the residual stream."""
        return 0.0 if self.zero_init else 0.02 / (2 * self.layers) ** 0.5

    @property
    def local(self):
        """For each layer of the deeper stack whether it sees only its window: (N,) bool."""
        number = np.arange(1, max(self.layers, self.encoder_layers) + 1)
        return (self.window > 0) & ((number % self.window_every != 0) if self.window_every else number > 0)

    @property
    def generated(self):
        """The Spec of the generator: its share of the heads, each as large, of the width and of the feed-forward."""
        heads = max(1, round(self.generator * self.heads))
        return dataclasses.replace(self, generator=0.0, pooler=False, heads=heads, kv_heads=0,
                                   head_dim=self.head_size, width=heads * self.head_size,
                                   base_width=round(self.narrowing * heads * self.head_size) if self.base_width else 0,
                                   ff=max(1, round(self.hidden * heads / self.heads)))

    def frequencies(self, local=False):
        """Rotary angles a position, (K/2,) float32: theta^(-2i/K), slowed as rotary_scaling says where not local."""
        theta = (local and self.rotary_local_theta) or self.rotary_theta
        plain = theta ** -(np.arange(0, self.head_size, 2) / self.head_size)
        if self.rotary_scaling == "none" or (local and self.rotary_local_theta):
            return plain.astype(np.float32)
        if self.rotary_scaling == "linear":
            return (plain / self.rotary_factor).astype(np.float32)
        waves = self.rotary_original * plain / (2 * np.pi)  # in the original context
        kept = np.clip((waves - self.rotary_low) / (self.rotary_high - self.rotary_low), 0, 1)
        return (plain * (kept + (1 - kept) / self.rotary_factor)).astype(np.float32)
