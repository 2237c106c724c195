"""Optimizers against numpy, against optax on single matrices, and against gradients of penalties, for real models."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmlab import models
from lmlab.models import transformer
from lmlab.train import optimizer
from lmlab.utils.errors import UserError
from lmlab.utils.trees import by_path

PLAIN = dict(schedule="constant", warmup=0, clip=0.0, rate=0.01)
SPECS = {
    "gpt2": dict(),
    "llama": dict(positions="rotary", norm="rms", activation="swiglu", bias=False, kv_heads=2, tied=False),
    "quickstart": dict(positions="rotary", norm="rms", activation="relu2", qk_norm="head", bias=False),
    "two_wide": dict(width=2, heads=1, ff=2),
    "pair": dict(encoder_layers=3, positions="relative", norm="rms", norm_place="both", bias=False, kv_heads=2,
                 experts=3, activation="swiglu", ff=12, tied=False),
    "bert": dict(attends="full", norm_place="post", token_types=2, embedding_norm=True, head="transform",
                 head_bias=True, pooler=True)}
# What Muon takes: every kernel of a layer, but the one that chooses experts.
TAKEN = re.compile(r"(trunk|encoder)/blocks/((attention|cross|ff)/.*kernel|experts/(wi|wi_linear|wo))$")


def shapes(name):
    """The parameters of a spec, as shapes."""
    model = models.build("transformer", **{**dict(vocab_size=11, context=8, width=8, layers=3, heads=4), **SPECS[name]})
    return nn.meta.unbox(jax.eval_shape(lambda: transformer.init(model, jax.random.key(0))))


def random(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), tree)


def run(built, params, steps=5):
    """Parameters after `steps` updates with gradients 1, 2, ..., and those gradients."""
    transform, _ = built
    state = transform.init(params)
    grads = [random(params, seed) for seed in range(1, steps + 1)]
    update = jax.jit(transform.update)
    for g in grads:
        updates, state = update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params, grads


def test_lion_is_five_steps_of_numpy_with_norms_and_biases_undecayed(assert_close):
    start = random(shapes("gpt2"), 0)
    end, grads = run(optimizer.build(steps=9, name="lion", beta1=0.8, beta2=0.9, weight_decay=0.4, **PLAIN), start)

    def by_hand(path, w):
        w, m = np.float64(w), 0.0
        decay = 0.0 if path.split("/")[-1] in ("scale", "bias") else 0.4
        for g in (np.float64(by_path(g)[path]) for g in grads):
            w, m = w - 0.01 * (np.sign(0.8 * m + 0.2 * g) + decay * w), 0.9 * m + 0.1 * g
        return w
    assert_close(by_path(end), {path: by_hand(path, w) for path, w in by_path(start).items()}, 1e-6)


def test_adafactor_is_five_steps_of_numpy(assert_close):
    start = random({"kernel": np.zeros((130, 128)), "bias": np.zeros(7)}, 0)
    end, grads = run(optimizer.build(steps=9, name="adafactor", weight_decay=0.4, **PLAIN), start)

    def by_hand(name):  # Shazeer & Stern 2018, algorithms 4 to 6
        w, rows, columns, v = np.float64(start[name]), 0.0, 0.0, 0.0
        for t, g in enumerate((np.float64(g[name]) for g in grads), 1):
            decay, square = 1 - t ** -0.8, g ** 2 + 1e-30
            if w.ndim == 2:
                rows = decay * rows + (1 - decay) * square.mean(1, keepdims=True)
                columns = decay * columns + (1 - decay) * square.mean(0, keepdims=True)
                v = rows * columns / rows.mean()
            else:
                v = decay * v + (1 - decay) * square
            u = g / np.sqrt(v)
            u /= max(1.0, np.sqrt((u ** 2).mean()))
            size = max(1e-3, np.sqrt((w ** 2).mean()))
            w = w - 0.01 * (size * u + (0.4 * w if name == "kernel" else 0))
        return w
    assert_close(end, {name: by_hand(name) for name in start}, 1e-5)


def test_adamw_is_five_steps_of_numpy_with_norms_and_biases_undecayed(assert_close):
    start = random(shapes("gpt2"), 0)
    end, grads = run(optimizer.build(steps=9, name="adamw", beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.4, **PLAIN),
                     start)

    def by_hand(path, w):
        w, m, v = np.float64(w), 0.0, 0.0
        decay = 0.0 if path.split("/")[-1] in ("scale", "bias") else 0.4
        for t, g in enumerate([by_path(g)[path] for g in grads], 1):
            g = np.float64(g)
            m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g ** 2
            w = w - 0.01 * (m / (1 - 0.8 ** t) / (np.sqrt(v / (1 - 0.9 ** t)) + 1e-3) + decay * w)
        return w
    assert_close(by_path(end), {path: by_hand(path, w) for path, w in by_path(start).items()}, 1e-6)


def test_decay_falls_on_matrices_and_embeddings_only():
    for name in SPECS:
        for path, decays in by_path(optimizer.decayed(shapes(name))).items():
            assert decays == (path.split("/")[-1].split("_")[-1] not in ("scale", "bias")), path


def test_sgd_and_adam(assert_close):
    start = random(shapes("llama"), 0)
    for ours, theirs in [(dict(name="sgd", momentum=0.0), optax.sgd(0.01)),
                         (dict(name="sgd", momentum=0.9), optax.sgd(0.01, momentum=0.9)),
                         (dict(name="adam", beta1=0.8, beta2=0.9, eps=1e-3), optax.adam(0.01, 0.8, 0.9, 1e-3))]:
        built = optimizer.build(steps=9, **ours, **PLAIN)
        assert_close(run(built, start, 2)[0], run((theirs, None), start, 2)[0], 1e-7)


MATRICES = {  # a layer's kernel -> the matrices in it, (inputs, outputs)
    "attention/qkv": lambda w: [w[:, :, r].reshape(w.shape[0], -1) for r in range(w.shape[2])],
    "attention/out": lambda w: [w.reshape(-1, w.shape[-1])],
    "ff/wi": lambda w: [w],
    "ff/wi_gated": lambda w: [w[:, 0], w[:, 1]],
    "ff/wo": lambda w: [w],
    "cross/q": lambda w: [w.reshape(w.shape[0], -1)],
    "cross/kv": lambda w: [w[:, :, i].reshape(w.shape[0], -1) for i in range(2)],
    "cross/out": lambda w: [w.reshape(-1, w.shape[-1])],
    "experts": list,  # a matrix for each
}


@pytest.mark.parametrize("name", SPECS)
def test_muon_updates_each_matrix_of_each_layer_as_if_it_were_alone(name):
    start = random(shapes(name), 0)
    settings = dict(momentum=0.9, weight_decay=0.1)
    end, grads = run(optimizer.build(steps=9, name="muon", **settings, **PLAIN), start, 2)
    alone = optax.contrib.muon(0.01, beta=0.9, weight_decay=0.1)
    one = jax.jit(lambda g, state, w: alone.update(g, state, w))
    found = [path for path in by_path(start) if TAKEN.match(path)]
    assert len(found) == {"pair": 5 + 8}.get(name, 4)
    for path in found:
        place = path.split("/blocks/")[1].removesuffix("/kernel")
        cut = MATRICES["experts" if place.startswith("experts") else place]
        for layer in (0, 2):
            matrices = lambda tree: cut(np.asarray(by_path(tree)[path])[layer])
            for i, w in enumerate(matrices(start)):
                w, state = jnp.asarray(w), alone.init(jnp.asarray(w))
                for g in grads:
                    update, state = one(matrices(g)[i], state, w)
                    w = w + update
                np.testing.assert_allclose(matrices(end)[i], w, atol=1e-5, err_msg=path)


def test_muon_sends_all_else_to_adamw_at_its_own_rate(assert_close):
    start = random(shapes("quickstart"), 0)
    muon = run(optimizer.build(steps=9, name="muon", adam_rate=0.003, **PLAIN), start, 3)[0]
    adamw = run(optimizer.build(steps=9, name="adamw", **{**PLAIN, "rate": 0.003}), start, 3)[0]
    rest = {path for path in by_path(start) if not TAKEN.match(path)}
    assert {"token_embedding", "trunk/norm_final/scale", "trunk/blocks/attention/q_norm/scale",
            "trunk/blocks/norm_ff/scale"} <= rest
    assert_close(*({path: by_path(tree)[path] for path in rest} for tree in (muon, adamw)), 1e-7)


@pytest.mark.parametrize("name", SPECS)
def test_every_matrix_of_a_layer_is_in_muons_table_and_nothing_else(name):
    is_numbers = lambda x: x is None or isinstance(x, optax.contrib.MuonDimensionNumbers)
    table = jax.tree_util.tree_leaves_with_path(optimizer.muon_dimensions(shapes(name)), is_leaf=is_numbers)
    for (path, numbers), owner in zip(table, by_path(shapes(name)), strict=True):
        assert (numbers is not None) == bool(TAKEN.match(owner)), owner


def test_penalties_are_the_gradients_of_l1_and_l2(assert_close):
    start, grads = random(shapes("gpt2"), 0), random(shapes("gpt2"), 1)
    penalty = lambda params: sum(0.3 * jnp.abs(w).sum() + 0.7 / 2 * (w ** 2).sum() for w in jax.tree.leaves(params))
    transform, _ = optimizer.build(steps=9, name="sgd", momentum=0.0, l1=0.3, l2=0.7, **{**PLAIN, "rate": 1.0})
    updates, _ = jax.jit(transform.update)(grads, transform.init(start), start)
    assert_close(updates, jax.tree.map(lambda g, p: -g - p, grads, jax.jit(jax.grad(penalty))(start)), 1e-6)


def test_clipping_by_the_global_norm(assert_close):
    start, grads = random(shapes("gpt2"), 0), random(shapes("gpt2"), 1)
    norm = np.sqrt(sum((np.float64(g) ** 2).sum() for g in jax.tree.leaves(grads)))
    for clip, factor in [(norm / 4, 0.25), (norm * 4, 1.0)]:
        transform, _ = optimizer.build(steps=9, name="sgd", momentum=0.0, **{**PLAIN, "rate": 1.0, "clip": float(clip)})
        updates, _ = transform.update(grads, transform.init(start), start)
        assert_close(updates, jax.tree.map(lambda g: -g * factor, grads), 1e-6)


def test_the_rate_follows_the_schedule():
    transform, schedule = optimizer.build(steps=10, name="sgd", momentum=0.0, rate=1.0, warmup=4, clip=0.0)
    params = {"w": jnp.ones(())}
    state = transform.init(params)
    for step in range(10):
        update, state = transform.update({"w": jnp.ones(())}, state, params)
        assert -update["w"] == pytest.approx(float(schedule(step)))


@pytest.mark.parametrize("kwargs,message", [
    (dict(name="adamv"), "config.optimizer.name='adamv' is unknown; did you mean 'adam"),
    (dict(rate=-1.0), "config.optimizer.rate=-1.0 must be at least 0 and finite"),
    (dict(clip=float("nan")), "config.optimizer.clip=nan must be at least 0 and finite"),
    (dict(l1=float("inf")), "config.optimizer.l1=inf must be at least 0 and finite"),
])
def test_impossible_optimizers_are_refused(kwargs, message):
    with pytest.raises(UserError, match=message):
        optimizer.build(steps=200, **kwargs)
