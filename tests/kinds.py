"""A small network of every kind, at odd settings, and packed batches that suit each."""

import functools

import flax.linen as nn
import jax
import numpy as np

from lmlab import models
from lmlab.models import transformer

SMALL = dict(vocab_size=37, context=16, width=16, layers=2, heads=4)
KINDS = {
    # decoders
    "gpt2": dict(),
    "llama": dict(positions="rotary", norm="rms", activation="swiglu", bias=False, kv_heads=2, tied=False),
    "quickstart": dict(positions="rotary", norm="rms", activation="relu2", qk_norm="head", bias=False,
                       token_shift=0.5),
    "sinusoidal": dict(positions="sinusoidal", activation="gelu_exact", logit_softcap=5.0, embedding_scale=True),
    "wide_heads": dict(positions="none", head_dim=6, kv_heads=1, activation="geglu", norm="rms", ff=20),
    "gemma": dict(layers=3, positions="rotary", rotary_theta=100.0, rotary_local_theta=10.0, rotary_scaling="linear",
                  rotary_factor=2.0, window=3, window_every=3, norm="rms", norm_place="both", activation="geglu",
                  bias=False, qk_norm="head", kv_heads=2, head_dim=6, embedding_scale=True, score_scale=0.3,
                  score_softcap=3.0, logit_softcap=5.0),
    "olmo2": dict(positions="rotary", norm="rms", norm_place="after", activation="swiglu", bias=False, qk_norm="all",
                  kv_heads=2, tied=False),
    "mixtral": dict(positions="rotary", rotary_scaling="llama3", rotary_factor=4.0, rotary_original=8, window=5,
                    norm="rms", activation="swiglu", bias=False, qkv_bias=True, experts=5, experts_per_token=2, ff=12),
    # encoders
    "bert": dict(attends="full", norm_place="post", activation="gelu_exact", embedding_norm=True, token_types=2,
                 head="transform", head_bias=True, pooler=True),
    "roberta": dict(attends="full", norm_place="post", position_offset=2, window=3, window_every=2, tied=False,
                    embedding_norm=True, token_types=1, head_bias=True),
    "relative_encoder": dict(attends="full", positions="relative", relative_buckets=8, relative_distance=6,
                             norm="rms", bias=False, experts=3, activation="relu", ff=12, token_shift=1.0),
    # prefix models
    "prefix": dict(attends="prefix"),
    "prefix_relative": dict(attends="prefix", positions="relative", relative_buckets=8, relative_distance=6,
                            norm="rms", norm_place="both", activation="geglu", kv_heads=2, window=4),
    # encoder-decoders
    "t5": dict(encoder_layers=3, positions="relative", relative_buckets=8, relative_distance=6, norm="rms", bias=False,
               activation="geglu", score_scale=1.0, tied=False, head_dim=6),
    "bart": dict(encoder_layers=1, position_offset=2, norm_place="post", activation="gelu_exact", embedding_norm=True,
                 head_bias=True),
    "marian": dict(encoder_layers=2, positions="sinusoidal", norm_place="post", activation="silu", kv_heads=2,
                   embedding_scale=True, head_bias=True, logit_scale=0.5),
    "modern_pair": dict(encoder_layers=3, positions="rotary", window=3, window_every=2, norm="rms", norm_place="both",
                        activation="swiglu", qk_norm="head", kv_heads=2, bias=False, experts=4, ff=12, token_shift=0.3),
}
ROWS = ((4, 6, 4), (6, 6), (4, 4, 6), ())  # the tokens of each row's documents; what is left of the row is padding
SOURCE = {4: 6, 6: 3}                      # tokens of a document -> those of its source, where there is an encoder


@functools.cache
def _initial(items):
    model = models.build("transformer", **dict(items))
    return model, jax.jit(lambda key: transformer.init(model, key))(jax.random.key(0))


def initial(name, **more):
    """(model, boxed parameters) of a kind; made once."""
    return _initial(tuple(sorted({**SMALL, **KINDS[name], **more}.items())))


def build(name, **more):
    """(model, parameters) of a kind."""
    model, boxed = initial(name, **more)
    return model, nn.meta.unbox(boxed)


def document(spec, size, rng):
    """One document of `size` tokens as a row of its own, {name: (T,) or (S,)}; a third of it is prefix."""
    counted = lambda n: {"tokens": rng.integers(0, spec.vocab_size, n), "segments": np.ones(n, np.int64),
                         "positions": np.arange(n)}
    fields = {**counted(size), "targets": rng.integers(0, spec.vocab_size, size), "weights": np.ones(size, np.float32)}
    if spec.attends == "full":
        fields["weights"] = np.float32(np.arange(size) == 2)  # one token of a document is masked
    if spec.attends == "prefix":
        fields["prefix"] = np.arange(size) < size // 3
        fields["weights"] = np.float32(~fields["prefix"])
    if spec.token_types:
        fields["types"] = (np.arange(size) > size // 2) % spec.token_types
    if spec.encoder_layers:
        fields |= {f"encoder_{name}": value for name, value in counted(SOURCE[size]).items()}
    return {name: value.astype(np.int32) if value.dtype == np.int64 else value for name, value in fields.items()}


def batch_of(spec, rows=ROWS, seed=0):
    """(batch, documents): documents packed into rows of 16 tokens, as features give them; and [(row, start, document)].

    A row of no documents is all padding. A pair's label is random.
    """
    rng = np.random.default_rng(seed)
    empty = {name: np.zeros((len(rows), 16), value.dtype) for name, value in document(spec, 4, rng).items()}
    batch, documents = {**empty, "row": np.arange(len(rows), dtype=np.int32)}, []
    if spec.pooler:
        batch["pair"] = rng.integers(0, 2, len(rows)).astype(np.int32)
    for row, sizes in enumerate(rows):
        start = source = 0
        for number, size in enumerate(sizes, 1):
            made = document(spec, size, rng)
            for name, value in made.items():
                at = source if name.startswith("encoder_") else start
                batch[name][row, at:at + len(value)] = value * number if name.endswith("segments") else value
            documents.append((row, start, made))
            start, source = start + size, source + SOURCE[size]
    return batch, documents


def inputs(batch):
    """The keyword arguments that a model takes of a batch."""
    named = {f"{name}_BT": batch[name] for name in ("tokens", "segments", "positions", "types", "prefix")
             if name in batch}
    if "encoder_tokens" in batch:
        named["encoder"] = {name: batch[f"encoder_{name}"] for name in ("tokens", "segments", "positions")}
    return named
