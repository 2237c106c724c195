"""One step on any mesh, with any accumulation, against the same step on one device, and against autodiff by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmlab.models import layers, transformer
from lmlab.train import sharding, step
from lmlab.utils.errors import UserError

NAMES = ("data", "fsdp", "tensor", "mixed", "pmap")


@pytest.fixture(scope="module")
def batch(packed):
    """16 rows of 16 tokens, the last five empty: pieces and devices get unequal numbers of tokens, some none."""
    return packed(16, 16, 37, padding=5)[0]


@pytest.fixture(scope="module")
def params(make_model, lively):
    """Parameters away from their initial values (dropout has none)."""
    model = make_model()
    return lively(jax.jit(lambda key: nn.meta.unbox(transformer.init(model, key)))(jax.random.key(0)), 0.1)


@pytest.fixture(scope="module")
def by_hand(make_model, params, batch):
    """{dropout rate: (loss, gradients)} on one device, in one piece, from whole logits and log_softmax."""
    def make(rate):
        model = make_model(dropout=rate)
        at_step = jax.random.fold_in(jax.random.key(5), 3)
        keys_B = jax.vmap(jax.random.fold_in, (None, 0))(at_step, jnp.arange(16)) if rate else None

        def loss(params):
            logits = model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"], keys_B)
            picked = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["targets"][..., None], -1)[..., 0]
            return -(picked * batch["weights"]).sum() / batch["weights"].sum()
        return jax.jit(jax.value_and_grad(loss))(params)
    return {rate: make(rate) for rate in (0.0, 0.3)}


@pytest.mark.parametrize("name,accumulation", [("one", 1), ("one", 4), *((name, 1) for name in NAMES), ("pmap", 2)])
def test_loss_and_gradients_on_any_mesh_with_any_accumulation(name, accumulation, make_model, make_strategy, tap,
                                                              params, batch, by_hand, assert_close):
    check(name, accumulation, 0.0, make_model, make_strategy, tap, params, batch, by_hand, assert_close)


@pytest.mark.parametrize("name,accumulation", [("fsdp", 2), ("mixed", 1), ("pmap", 2)])
def test_dropout_masks_do_not_depend_on_mesh_or_accumulation(name, accumulation, make_model, make_strategy, tap, params,
                                                             batch, by_hand, assert_close):
    """One kept or dropped entry that differed would show in the gradients a thousand times over."""
    check(name, accumulation, 0.3, make_model, make_strategy, tap, params, batch, by_hand, assert_close)


def check(name, accumulation, rate, make_model, make_strategy, tap, params, batch, by_hand, assert_close):
    """One step from step 3 on; the tap's state is the gradient."""
    strategy = make_strategy(name, make_model(dropout=rate), tap, accumulation=accumulation)
    state = {"params": params, "opt_state": tap[0].init(params), "step": jnp.int32(3), "extra": {}}
    state, metrics = strategy.step(strategy.place(state), strategy.put(batch))
    state = strategy.collect(state)
    assert metrics["weight"] == batch["weights"].sum()
    loss, grads = by_hand[rate]
    assert_close(metrics["loss"], loss, 1e-6)
    assert_close(state["opt_state"]["seen"], grads, 1e-6)
    assert metrics["grad_norm"] == pytest.approx(float(optax.tree.norm(grads)), rel=1e-6)
    assert state["step"] == 4


def test_masks_are_the_same_bit_for_bit(eight, assert_same):
    """What `dropout` keeps of ones, row by row on one device, and cut up and laid out as the step does."""
    key, batch = jax.random.fold_in(jax.random.key(0), 7), {"x": jnp.ones((16, 4, 8)), "row": np.arange(16)}
    alone = jnp.concatenate([layers.dropout(jnp.ones((1, 4, 8)), 0.5, jax.random.fold_in(key, row)[None])
                             for row in range(16)])
    mesh = sharding.make_mesh(2, 4, devices=eight)
    for pieces in (1, 2):
        cut = jax.jit(lambda batch: [layers.dropout(rest["x"], 0.5, keys_B)
                                     for rest, keys_B in step._cut(batch, key, pieces)],
                      in_shardings=(sharding.batch_sharding(mesh),))(batch)
        whole = np.zeros((16, 4, 8), np.float32)
        for j, part in enumerate(cut):
            whole[j::pieces] = part
        assert_same(whole, alone)


@pytest.fixture(scope="module")
def start(make_model, make_strategy, tap):
    """The state at step 0 on one device."""
    return make_strategy("one", make_model(), tap).init()


@pytest.mark.parametrize("name", NAMES)
def test_initial_state_is_the_same_on_any_mesh(name, start, make_model, make_strategy, tap, assert_same):
    strategy = make_strategy(name, make_model(), tap)
    assert_same(strategy.collect(strategy.init()), start)
    if name == "mixed":  # what evaluation sees before the first step
        assert_same(strategy.init_params(), start["params"])


def test_an_empty_batch_changes_nothing_and_is_no_nan(make_model, make_strategy, tap, params, batch):
    strategy = make_strategy("one", make_model(), tap)
    state = strategy.place({"params": params, "opt_state": tap[0].init(params), "step": jnp.int32(3), "extra": {}})
    empty = {k: np.zeros_like(v) if k != "row" else v for k, v in batch.items()}
    state, metrics = strategy.step(state, strategy.put(empty))
    assert metrics["loss"] == 0 and metrics["weight"] < 1e-8
    assert not any(np.any(g) for g in jax.tree.leaves(state["opt_state"]["seen"]))


def test_steps_and_rows_have_keys_of_their_own():
    batch = {"row": np.array([0, 1, 5])}
    data = lambda step_number, pieces=1: [jax.random.key_data(k) for _, k in step._cut(
        batch, jax.random.fold_in(jax.random.key(0), step_number), pieces)]
    one, two = data(0)[0], data(1)[0]
    assert len({tuple(map(int, k)) for k in [*one, *two]}) == 6
    np.testing.assert_array_equal(np.concatenate(data(0, 3)), one)


@pytest.mark.parametrize("more,message", [
    (dict(batch=12), r"config.train.batch=12 must be a multiple of 8: 8 device\(s\) that split the batch"),
    (dict(batch=16, accumulation=3), r"must be a multiple of 24: 8 device\(s\).*config.train.accumulation=3"),
])
def test_batches_that_cannot_be_cut_are_refused(more, message, eight):
    with pytest.raises(UserError, match=message):
        step.check_layout("jit", sharding.make_mesh(devices=eight), **{"accumulation": 1, **more})


def test_pmap_takes_the_data_axis_only(eight):
    mesh = sharding.make_mesh(4, 2, devices=eight)
    with pytest.raises(UserError, match="splits the batch only: config.mesh.fsdp and config.mesh.tensor must be 1"):
        step.check_layout("pmap", mesh, batch=8, accumulation=1)
