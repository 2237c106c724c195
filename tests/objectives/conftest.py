"""A small encoder, an encoder with a generator, and an encoder-decoder, each with a batch of random tokens."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models
from lmlab.models import transformer

V = 29
SHAPE = dict(vocab_size=V, context=12, width=8, layers=1, heads=2, ff=16)


def built(lively, **more):
    """(model, params), the parameters far from where they start."""
    model = models.build("transformer", **SHAPE, **more)
    params = jax.jit(lambda key: nn.meta.unbox(transformer.init(model, key)))(jax.random.key(0))
    return model, lively(params)


def rows(seed, lengths=(12, 9, 0)):
    """tokens, segments, positions, row: rows of the given lengths, the rest padding."""
    rng = np.random.default_rng(seed)
    real = np.arange(12)[None] < np.array(lengths)[:, None]
    return {"tokens": np.where(real, rng.integers(0, V, real.shape), 0).astype(np.int32),
            "segments": real.astype(np.int32), "positions": np.where(real, np.arange(12), 0).astype(np.int32)}


@pytest.fixture(scope="session")
def encoder(lively):
    """(model, params, batch) of BERT's kind: three of fifteen and two of nine tokens masked, pairs, an empty row."""
    batch = rows(1)
    weights = np.zeros((3, 12), np.float32)
    weights[0, [2, 5, 11]] = weights[1, [0, 4]] = 1
    tokens = np.where(weights > 0, V - 1, batch["tokens"])
    types = ((np.arange(12) > 5) & (batch["segments"] > 0)).astype(np.int32)
    batch |= {"original": batch["tokens"], "targets": batch["tokens"], "tokens": tokens, "weights": weights,
              "types": types, "pair": np.array([1, 0, 0], np.int32)}
    return *built(lively, attends="full", token_types=2, pooler=True, head="transform", generator=0.5), batch


@pytest.fixture(scope="session")
def encoder_decoder(lively):
    """(model, params, batch) of T5's kind, with an empty row."""
    source, batch = rows(2, (7, 12, 0)), rows(3, (12, 4, 0))
    batch |= {f"encoder_{name}": value for name, value in source.items()}
    batch |= {"targets": rows(4)["tokens"], "weights": batch["segments"].astype(np.float32)}
    return *built(lively, encoder_layers=1, positions="relative", norm="rms", bias=False, tied=False), batch
