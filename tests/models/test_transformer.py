"""The Transformer against itself the long way round: layers one by one, documents alone, tokens all at once."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab import models
from lmlab.models import transformer
from lmlab.utils import trees
from lmlab.utils.errors import UserError

SMALL = dict(vocab_size=37, context=16, width=16, layers=2, heads=4)
SPECS = {
    "gpt2": dict(),
    "llama": dict(positions="rotary", norm="rms", activation="swiglu", bias=False, kv_heads=2, tied=False),
    "quickstart": dict(positions="rotary", norm="rms", activation="relu2", qk_norm=True, bias=False),
    "sinusoidal": dict(positions="sinusoidal", activation="gelu_exact", logit_softcap=5.0),
    "wide_heads": dict(positions="none", head_dim=6, kv_heads=1, activation="geglu", norm="rms", ff=20),
}


def initial(model):
    """Its boxed parameters, compiled in one piece."""
    return jax.jit(lambda key: transformer.init(model, key))(jax.random.key(0))


@pytest.fixture(scope="module")
def build(lively):
    """(model, params) of a spec, every parameter away from its initial value."""
    def make(name, **more):
        model = models.build("transformer", **{**SMALL, **SPECS[name], **more})
        return model, lively(nn.meta.unbox(initial(model)))
    return make


@jax.jit
def rows_keys(n):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), n)


def score(model, params, batch, keys_B=None):
    """A number that every logit enters with a weight of its own."""
    logits = model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"], keys_B)
    return (logits * jnp.sin(jnp.arange(logits.size).reshape(logits.shape))).sum() / logits.size ** 0.5


@pytest.fixture(scope="module")
def one_by_one(build, packed):
    """(model, params, batch, keys, value and gradients) of layers run by a Python loop: two of gpt2, with dropout; or
    three."""
    batch = packed(3, 16, 37)[0]
    keys_B = rows_keys(jnp.arange(3))
    made = {}

    def make(name):
        if name not in made:
            model, params = build(name, **(dict(dropout=0.2) if name == "gpt2" else dict(layers=3)))
            loop, flat = transformer.unstack(model, params)
            value, grads = jax.jit(jax.value_and_grad(lambda p: score(loop, p, batch, keys_B)))(flat)
            blocks = [grads.pop(f"block_{i}") for i in range(model.spec.layers)]
            made[name] = model, params, batch, keys_B, (value, {**grads, "blocks": jax.tree.map(
                lambda *x: jnp.stack(x), *blocks)})
        return made[name]
    return make


@pytest.mark.parametrize("name,more", [
    ("gpt2", dict(unroll=1)), ("llama", dict(unroll=2)), ("llama", dict(remat="dots", unroll=1)),
    ("llama", dict(remat="full", unroll=3)),
], ids=str)
def test_scan_any_unroll_and_remat_equal_the_plain_loop(name, more, one_by_one, assert_close):
    model, params, batch, keys_B, (value, grads) = one_by_one(name)
    model = transformer.Model(dataclasses.replace(model.spec, **more))
    got = jax.jit(jax.value_and_grad(lambda p: score(model, p, batch, keys_B)))(params)
    assert_close(got[0], value, 1e-6)
    assert_close(got[1], grads, 1e-6)


@pytest.mark.parametrize("backend", ["xla", "cudnn"])
@pytest.mark.parametrize("name", SPECS)
def test_packed_documents_equal_the_same_documents_alone(name, backend, build, packed, assert_close):
    if backend == "cudnn" and jax.default_backend() != "gpu":
        pytest.skip("cudnn needs a GPU")
    more = dict(dtype=jnp.bfloat16) if backend == "cudnn" else {}
    model, params = build(name, attention=backend, **more)
    batch, documents = packed(4, 16, 37, padding=1, seed=4)
    apply = jax.jit(lambda *x: model.apply({"params": params}, *x))
    together = np.asarray(apply(batch["tokens"], batch["segments"], batch["positions"]))
    assert np.isfinite(together).all() and max(map(len, documents)) > 1
    for row, row_documents in enumerate(documents):
        at = 0
        for document in row_documents:
            n = len(document) - 1
            alone = apply(document[None, :-1])[0]
            assert_close(together[row, at:at + n], alone, 2e-2 if backend == "cudnn" else 1e-5)
            at += n


@pytest.mark.parametrize("name", SPECS)
def test_decoding_with_a_cache_equals_the_full_forward(name, build, assert_close):
    """Two texts of 9 and 6 tokens, padded on the left; the first 5 slots at once, then one by one."""
    model, params = build(name)
    tokens = np.random.default_rng(5).integers(0, 37, (2, 9))
    positions = np.array([np.arange(9), np.arange(9) - 3])
    full = jax.jit(lambda t: model.apply({"params": params}, t))
    expected = np.stack([np.asarray(full(tokens))[0],
                         np.asarray(full(np.roll(tokens, -3, 1)))[1]])  # causal: what follows a token is of no matter
    flat_model, flat = transformer.unstack(model, params)
    decode = jax.jit(lambda t, p, c: flat_model.apply({"params": flat}, t, jnp.maximum(p, -1), c, method="decode"))
    cache = transformer.init_cache(model.spec, 2, 12)
    for start, stop in [(0, 5), (5, 6), (6, 7), (7, 8), (8, 9)]:
        logits, cache = decode(tokens[:, start:stop], positions[:, start:stop], cache)
        assert_close(logits[0], expected[0, start:stop], 1e-5)
        new = [slot for slot in range(start, stop) if slot >= 3]
        assert_close(logits[1, [slot - start for slot in new]], expected[1, [slot - 3 for slot in new]], 1e-5)
    assert cache["index"] == 9 and cache["valid"].sum() == 15


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_no_token_sees_a_later_one(name, build):
    model, params = build(name)
    tokens = np.random.default_rng(6).integers(0, 37, (1, 16))
    changed = tokens.copy()
    changed[0, 7] = (changed[0, 7] + 1) % 37
    run = jax.jit(lambda t: model.apply({"params": params}, t))
    a, b = run(tokens), run(changed)
    np.testing.assert_array_equal(a[:, :7], b[:, :7])
    assert (np.abs(a - b)[:, 7:].max(-1) > 0).all()


def test_intermediates_hold_attention_and_residual_stream(build):
    model, params = build("llama")
    tokens = np.arange(14).reshape(2, 7)
    logits, state = model.apply({"params": params}, tokens, mutable=["intermediates"])
    found = {k[-1]: v[0] for k, v in _flat(state["intermediates"]["blocks"])}
    weights, stream = found["attention_BHTS"], found["residual_BTD"]
    assert weights.shape == (2, 2, 4, 7, 7) and stream.shape == (2, 2, 7, 16)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert not np.triu(weights, 1).any()
    final = model.apply({"params": params}, stream[-1], method=lambda m, x: m.logits(m.norm_final(x)))
    np.testing.assert_allclose(final, logits, atol=1e-5)


def _flat(tree, path=()):
    for key, value in tree.items():
        yield from _flat(value, (*path, key)) if isinstance(value, dict) else [((*path, key), value)]


def test_softcap_bounds_the_logits_as_the_formula_says(build, lively):
    model, params = build("gpt2", logit_softcap=2.0)
    tokens = np.arange(8)[None]
    plain = transformer.Model(dataclasses.replace(model.spec, logit_softcap=0.0)).apply({"params": params}, tokens)
    capped = model.apply({"params": params}, tokens)
    assert np.abs(plain).max() > 2
    np.testing.assert_allclose(capped, 2 * np.tanh(np.asarray(plain) / 2), atol=1e-5)


def test_bfloat16_computes_near_float32_and_keeps_parameters_and_logits_in_float32(build):
    model, params = build("llama")
    tokens = np.arange(16)[None]
    half = transformer.Model(dataclasses.replace(model.spec, dtype=jnp.bfloat16))
    assert {x.dtype for x in jax.tree.leaves(initial(half))} == {np.dtype("float32")}
    a, b = (jax.jit(lambda m=m: m.apply({"params": params}, tokens))() for m in (model, half))
    assert b.dtype == jnp.float32
    assert 0 < np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_initial_values_are_those_of_gpt2_and_every_axis_is_named():
    model = models.build("transformer", vocab_size=500, context=64, width=64, layers=8, heads=4, unroll=1)
    boxed = initial(model)
    for leaf in jax.tree.leaves(boxed, is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata)):
        assert len(leaf.names) == leaf.value.ndim and None not in leaf.names
    params = nn.meta.unbox(boxed)
    deviation = lambda *path: np.std(params["blocks"][path[0]][path[1]]["kernel"])
    assert np.std(params["token_embedding"]) == pytest.approx(0.02, rel=0.03)
    assert deviation("attention", "qkv") == pytest.approx(0.02, rel=0.03)
    for out in (("attention", "out"), ("ff", "wo")):
        assert deviation(*out) == pytest.approx(0.02 / 4, rel=0.03)  # 1 / sqrt(2 * 8 layers)
    kernels = params["blocks"]["ff"]["wi"]["kernel"]
    assert not np.array_equal(kernels[0], kernels[1])  # each layer draws its own
    expected = 500 * 64 + 64 * 64 + 8 * (12 * 64 * 64 + 13 * 64) + 2 * 64  # GPT-2's own count
    assert trees.count(params) == expected


def test_zero_init_starts_as_no_layers_at_all():
    kwargs = {**SMALL, **SPECS["quickstart"], "zero_init": True}
    model = models.build("transformer", **kwargs)
    params = nn.meta.unbox(initial(model))
    tokens = np.arange(8)[None]
    direct = model.apply({"params": params}, params["token_embedding"][tokens],
                         method=lambda m, x: m.logits(m.norm_final(x)))
    np.testing.assert_array_equal(model.apply({"params": params}, tokens), direct)


@pytest.mark.parametrize("wrong,message", [
    (dict(heads=3), r"config.model.heads=3 does not divide config.model.width=16; try 1, 2, 4, 8, 16"),
    (dict(kv_heads=3), r"config.model.kv_heads=3 does not divide config.model.heads=4; try 1, 2, 4"),
    (dict(positions="rotery"), r"config.model.positions='rotery' is unknown; did you mean 'rotary'\?"),
    (dict(positions="rotary", head_dim=5), "even head size, not 5"),
    (dict(layers=0), "config.model.layers=0 must be at least 1"),
    (dict(dropout=1.0), "config.model.dropout=1.0 must be at least 0 and below 1"),
    (dict(remat="all"), "config.model.remat='all' is unknown"),
])
def test_impossible_specs_are_refused_by_name(wrong, message):
    with pytest.raises(UserError, match=message):
        transformer.Spec(**{**SMALL, **wrong})


def test_models_are_found_by_name():
    with pytest.raises(UserError, match="did you mean 'transformer'"):
        models.build("transfomer", **SMALL)
    with pytest.raises(UserError, match="'layers' is no model"):
        models.find("layers")
