"""The Transformer of every kind against itself the long way round: layers one by one, documents alone, tokens all at
once."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import kinds
import numpy as np
import pytest
from kinds import KINDS

from lmlab import models
from lmlab.models import layers, transformer
from lmlab.utils import trees

DECODE = [name for name in KINDS if KINDS[name].get("attends") != "full"]


@pytest.fixture(scope="module")
def build(lively):
    """(model, params) of a kind, every parameter away from its initial value."""
    def make(name, **more):
        model, params = kinds.build(name, **more)
        return model, lively(params)
    return make


def keys(n):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(n))


def score(model, params, batch, keys_B):
    """The mean of -log p(target), padding included: every logit enters."""
    logits = model.apply({"params": params}, **kinds.inputs(batch), keys_B=keys_B)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["targets"][..., None], -1).mean()


def restack(tree):
    """Parameters (or gradients) of layers one by one, stacked again."""
    tree = dict(tree)
    for name in ("encoder", "trunk"):
        if name in tree:
            stack = dict(tree[name])
            blocks = [stack.pop(f"block_{i}") for i in range(sum(key.startswith("block_") for key in stack))]
            tree[name] = stack | {"blocks": jax.tree.map(lambda *x: jnp.stack(x), *blocks)}
    return tree


@pytest.fixture(scope="module")
def one_by_one(build):
    """(model, params, batch, keys, (value, gradients)) of a kind with dropout, its layers run by a Python loop."""
    made = {}

    def make(name):
        if name not in made:
            model, params = build(name)
            model = transformer.Model(dataclasses.replace(model.spec, dropout=0.2))
            batch, keys_B = kinds.batch_of(model.spec)[0], keys(4)
            loop, flat = transformer.unstack(model, params)
            value, grads = jax.jit(jax.value_and_grad(lambda p: score(loop, p, batch, keys_B)))(flat)
            made[name] = model, params, batch, keys_B, (value, restack(grads))
        return made[name]
    return make


@pytest.mark.parametrize("name,more", [
    ("gemma", dict(unroll=1)), ("gemma", dict(remat="full", unroll=3)),
    ("mixtral", dict(remat="dots", unroll=1)), ("bert", dict(unroll=1)),
    pytest.param("bert", dict(remat="full", unroll=2), marks=pytest.mark.slow),
    ("prefix_relative", dict(remat="dots", unroll=1)), ("t5", dict(unroll=1)),
    pytest.param("t5", dict(remat="full", unroll=2), marks=pytest.mark.slow), ("bart", dict(unroll=1)),
    pytest.param("modern_pair", dict(remat="dots", unroll=3), marks=pytest.mark.slow),
], ids=str)
def test_scan_any_unroll_and_remat_equal_the_plain_loop(name, more, one_by_one, assert_close):
    model, params, batch, keys_B, (value, grads) = one_by_one(name)
    model = transformer.Model(dataclasses.replace(model.spec, **more))
    got = jax.jit(jax.value_and_grad(lambda p: score(model, p, batch, keys_B)))(params)
    assert_close(got[0], value, 1e-6)
    assert_close(got[1], grads, 1e-6)


def alone(documents, size):
    """([(row, start)], batch) of the documents of `size` tokens, each in a row of its own."""
    chosen = [(row, start, made) for row, start, made in documents if len(made["tokens"]) == size]
    return [where[:2] for where in chosen], jax.tree.map(lambda *x: np.stack(x), *(made for _, _, made in chosen))


@pytest.mark.parametrize("name", KINDS)
def test_packed_documents_equal_the_same_documents_alone(name, build, assert_close):
    model, params = build(name)
    batch, documents = kinds.batch_of(model.spec, seed=4)
    apply = jax.jit(lambda batch: model.apply({"params": params}, **kinds.inputs(batch)))
    together = np.asarray(apply(batch))
    assert np.isfinite(together).all()
    for size in (4, 6):
        places, single = alone(documents, size)
        got = np.stack([together[row, start:start + size] for row, start in places])
        assert_close(got, apply(single), 1e-5)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cudnn needs a GPU")
@pytest.mark.parametrize("name", [name for name in KINDS if not KINDS[name].get("score_softcap")])
def test_so_they_do_by_cudnn(name, build, assert_close):
    model, params = build(name, attention="cudnn", dtype=jnp.bfloat16, head_dim=8)
    batch, documents = kinds.batch_of(model.spec, seed=4)
    apply = jax.jit(lambda batch: model.apply({"params": params}, **kinds.inputs(batch)))
    together = np.asarray(apply(batch))
    for row, start, made in documents:
        size = len(made["tokens"])
        assert_close(together[row, start:start + size], apply(jax.tree.map(lambda x: x[None], made))[0], 3e-2)


@pytest.mark.parametrize("name", DECODE)
def test_decoding_with_a_cache_equals_the_full_forward(name, build, assert_close):
    """Two texts of 9 and 6 tokens, padded on the left, and their sources of 7 and 4; the first 5 slots at once, then
    one by one."""
    model, params = build(name)
    rng = np.random.default_rng(5)
    tokens, source = rng.integers(0, 37, (2, 9)), rng.integers(0, 37, (2, 7))
    positions = np.array([np.arange(9), np.arange(9) - 3])
    prefix = (positions >= 0) & (positions < [[4], [2]]) if model.spec.attends == "prefix" else None
    # What follows a token is of no matter: in the full forward the second text begins at once, the rest is nonsense.
    shifted = lambda x, by: None if x is None else np.stack([x[0], np.roll(x[1], -by)])
    encoder = {"tokens": source, "segments": np.array([[1] * 7, [0] * 3 + [1] * 4]),
               "positions": np.array([range(7), [0, 0, 0, 0, 1, 2, 3]])}
    more = {} if prefix is None else dict(prefix_BT=shifted(prefix, 3))
    if model.spec.encoder_layers:
        more["encoder"] = {key: shifted(x, 3) for key, x in encoder.items()}
    expected = np.asarray(jax.jit(lambda t: model.apply({"params": params}, t, **more))(shifted(tokens, 3)))

    flat_model, flat = transformer.unstack(model, params)
    run = lambda *args, **kw: flat_model.apply({"params": flat}, *args, **kw)
    cache = transformer.init_cache(model.spec, 2, 12)
    if model.spec.encoder_layers:
        cache = jax.jit(lambda c: run(encoder, c, method="begin"))(cache)
    decode = jax.jit(lambda t, p, c, prefix: run(t, p, c, method="decode", prefix_BT=prefix))
    for start, stop in [(0, 5), (5, 6), (6, 7), (7, 8), (8, 9)]:
        logits, cache = decode(tokens[:, start:stop], np.maximum(positions[:, start:stop], -1), cache,
                               None if prefix is None or start else prefix[:, :5])
        assert_close(logits[0], expected[0, start:stop], 1e-5)
        new = [slot for slot in range(start, stop) if slot >= 3]
        assert_close(logits[1, [slot - start for slot in new]], expected[1, [slot - 3 for slot in new]], 1e-5)
    assert cache["index"] == 9 and (cache["positions"] >= 0).sum() == 15
    assert "memory_BSD" not in cache  # its keys and values stand in for it


@pytest.mark.parametrize("name,slot,seen", [
    ("gpt2", 6, [6, 7, 8, 9]), ("llama", 4, [4, 5, 6, 7, 8, 9]), ("t5", 8, [8, 9]), ("bert", 8, [4, 5, 6, 7, 8, 9]),
    ("prefix", 5, [4, 5, 6, 7, 8, 9]),
    ("prefix", 7, [7, 8, 9])])  # the first two of its tokens are prefix
def test_who_sees_a_token(name, slot, seen, build):
    """The slots of the second of three documents whose logits change with its token in `slot`."""
    model, params = build(name)
    batch, _ = kinds.batch_of(model.spec, ((4, 6, 4),), seed=6)
    batch = jax.tree.map(lambda x: np.concatenate([x, x]), batch)
    batch["tokens"][1, slot] = (batch["tokens"][1, slot] + 1) % 37
    logits = np.asarray(jax.jit(lambda b: model.apply({"params": params}, **kinds.inputs(b)))(batch))
    assert np.flatnonzero((logits[0] != logits[1]).any(-1)).tolist() == seen


@pytest.mark.parametrize("name", ["t5", "modern_pair"])
def test_a_source_is_seen_by_its_own_target_only(name, build):
    model, params = build(name)
    batch, _ = kinds.batch_of(model.spec, ((4, 6, 4),), seed=6)
    batch = jax.tree.map(lambda x: np.concatenate([x, x]), batch)
    batch["encoder_tokens"][1, 7] = (batch["encoder_tokens"][1, 7] + 1) % 37  # of the second document
    logits = np.asarray(jax.jit(lambda b: model.apply({"params": params}, **kinds.inputs(b)))(batch))
    assert np.flatnonzero((logits[0] != logits[1]).any(-1)).tolist() == [4, 5, 6, 7, 8, 9]


def test_intermediates_hold_attention_and_residual_stream(build):
    model, params = build("modern_pair")
    batch, _ = kinds.batch_of(model.spec)
    logits, state = jax.jit(lambda b: model.apply({"params": params}, **kinds.inputs(b), mutable=["intermediates"]))(
        batch)
    found = trees.by_path(state["intermediates"])
    of = lambda stack, *path: found["/".join([stack, "blocks", *path, "0"])]
    assert of("encoder", "residual_BTD").shape == (3, 4, 16, 16)
    stream = of("trunk", "residual_BTD")
    for weights in (of("trunk", "attention", "attention_BHTS"), of("trunk", "cross", "attention_BHTS")):
        assert weights.shape == (2, 4, 4, 16, 16)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    real = batch["segments"] > 0
    assert not np.triu(of("trunk", "attention", "attention_BHTS"), 1).any()
    other = batch["segments"][:, :, None] != batch["encoder_segments"][:, None]
    assert not of("trunk", "cross", "attention_BHTS")[np.broadcast_to((other & real[..., None])[:, None],
                                                                      (2, 4, 4, 16, 16))].any()
    norm = layers.Norm("rms", False)
    final = norm.apply({"params": params["trunk"]["norm_final"]}, stream[-1])
    np.testing.assert_allclose(model.apply({"params": params}, final, method="logits"), logits, atol=1e-5)


def test_softcap_bounds_the_logits_as_the_formula_says(build):
    model, params = build("gpt2")
    tokens = np.arange(8)[None]
    plain = model.apply({"params": params}, tokens)
    capped = transformer.Model(dataclasses.replace(model.spec, logit_softcap=2.0)).apply({"params": params}, tokens)
    assert np.abs(plain).max() > 2
    np.testing.assert_allclose(capped, 2 * np.tanh(np.asarray(plain) / 2), atol=1e-5)


def test_the_way_out_by_hand(build):
    """BERT's: a layer and a norm, the embedding, a bias; and its pooler."""
    model, params = build("bert")
    x = np.random.default_rng(1).standard_normal((2, 3, 16))
    p = jax.tree.map(np.float64, params)
    h = x @ p["head_transform"]["kernel"] + p["head_transform"]["bias"]
    h = np.asarray(jax.nn.gelu(h, approximate=False))
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    expected = (h * p["head_norm"]["scale"] + p["head_norm"]["bias"]) @ p["token_embedding"].T + p["head_bias"]
    np.testing.assert_allclose(model.apply({"params": params}, jnp.float32(x), method="logits"), expected, atol=1e-4)
    pooled, pair = model.apply({"params": params}, jnp.float32(x), method="pooled")
    by_hand = np.tanh(x[:, 0] @ p["pooler"]["kernel"] + p["pooler"]["bias"])
    np.testing.assert_allclose(pooled, by_hand, atol=1e-5)
    np.testing.assert_allclose(pair, by_hand @ p["pair_head"]["kernel"] + p["pair_head"]["bias"], atol=1e-5)


@pytest.mark.parametrize("name", ["gemma", "t5", "bert"])
def test_bfloat16_computes_near_float32_and_keeps_parameters_and_logits_in_float32(name, build):
    model, params = build(name)
    batch = kinds.inputs(kinds.batch_of(model.spec, kinds.ROWS[:1])[0])
    half = transformer.Model(dataclasses.replace(model.spec, dtype=jnp.bfloat16))
    assert {x.dtype for x in jax.tree.leaves(kinds.initial(name, dtype=jnp.bfloat16)[1])} == {np.dtype("float32")}
    a, b = (jax.jit(lambda m=m: m.apply({"params": params}, **batch))() for m in (model, half))
    assert b.dtype == jnp.float32
    assert 0 < np.abs(a - b).max() < 0.05 * np.abs(a).max()


@pytest.mark.parametrize("name", ["gemma", "mixtral", "bert", "t5", "bart"])
def test_every_axis_of_every_parameter_is_named(name):
    for leaf in jax.tree.leaves(kinds.initial(name)[1], is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata)):
        assert len(leaf.names) == leaf.value.ndim and None not in leaf.names


def test_initial_values_are_those_of_gpt2():
    model = models.build("transformer", vocab_size=500, context=64, width=64, layers=8, heads=4, unroll=1)
    params = nn.meta.unbox(jax.jit(lambda key: transformer.init(model, key))(jax.random.key(0)))
    blocks = params["trunk"]["blocks"]
    deviation = lambda *path: np.std(blocks[path[0]][path[1]]["kernel"])
    assert np.std(params["token_embedding"]) == pytest.approx(0.02, rel=0.03)
    assert deviation("attention", "qkv") == pytest.approx(0.02, rel=0.03)
    for out in (("attention", "out"), ("ff", "wo")):
        assert deviation(*out) == pytest.approx(0.02 / 4, rel=0.03)  # 1 / sqrt(2 * 8 layers)
    kernels = blocks["ff"]["wi"]["kernel"]
    assert not np.array_equal(kernels[0], kernels[1])  # each layer draws its own
    expected = 500 * 64 + 64 * 64 + 8 * (12 * 64 * 64 + 13 * 64) + 2 * 64  # GPT-2's own count
    assert trees.count(params) == expected


def test_zero_init_starts_as_no_layers_at_all():
    model, params = kinds.build("quickstart", zero_init=True)
    tokens = np.arange(8)[None]
    final = layers.Norm("rms").apply({"params": params["trunk"]["norm_final"]}, params["token_embedding"][tokens])
    direct = model.apply({"params": params}, final, method="logits")
    np.testing.assert_array_equal(model.apply({"params": params}, tokens), direct)
