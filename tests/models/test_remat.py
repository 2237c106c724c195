"""What each remat policy keeps for the backward pass, as XLA counts its buffers, against sizes written out by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from lmlab import models
from lmlab.models import transformer

B, T, D, LAYERS = 8, 64, 64, 12


@functools.cache
def temporary(remat, **kwargs):
    """Bytes of the temporaries of loss and gradients."""
    model = models.build("transformer", vocab_size=11, context=T, width=D, layers=LAYERS, heads=2, unroll=1,
                         remat=remat, **kwargs)
    shapes = nn.meta.unbox(jax.eval_shape(functools.partial(transformer.init, model), jax.random.key(0)))
    loss = lambda params, tokens: jnp.square(model.apply({"params": params}, tokens)).sum()
    lowered = jax.jit(jax.grad(loss)).lower(shapes, jax.ShapeDtypeStruct((B, T), jnp.int32))
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("activation,hidden", [("gelu", 4), ("swiglu", 2 * 8 / 3)])
def test_policies_keep_what_they_name(activation, hidden):
    """Over "full", which keeps each layer's input: qkv and out (4 D a token and layer), and with "dots" the hidden."""
    full, attention, dots, none = (temporary(remat, activation=activation)
                                   for remat in ("full", "attention", "dots", "none"))
    each = 4 * B * T * D * LAYERS
    assert attention - full == pytest.approx(4 * each, rel=0.15)
    assert 0.6 * hidden * each < dots - attention < 1.1 * hidden * each  # a layer's own buffers shrink meanwhile
    assert none > dots + each
