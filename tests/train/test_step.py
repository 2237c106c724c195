"""One step on any mesh, with any accumulation, against the same step on one device, and against autodiff by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import kinds
import numpy as np
import optax
import pytest

from lmlab.models import layers, spec, transformer
from lmlab.train import loop, sharding, step
from lmlab.utils.errors import UserError

NAMES = ("data", "fsdp", "tensor", "mixed", "context", "mixed_context", "pmap")
CASES = {  # name: (model, objective)
    "decoder": (dict(), dict(objective="causal", chunk=8)),
    "experts": (dict(experts=4, expert_balance=1.0), dict(objective="causal")),
    "windows": (dict(window=3, window_every=2, score_softcap=3.0), dict(objective="causal")),
    "prefix": (dict(attends="prefix", positions="learned"), dict(objective="prefix")),
    "bert": (dict(attends="full", positions="learned", norm="layer", norm_place="post", activation="gelu_exact",
                  embedding_norm=True, token_types=2, head="transform", head_bias=True, tied=True, pooler=True),
             dict(objective="masked", pair_weight=0.7)),
    "encoder_decoder": (dict(encoder_layers=3, positions="relative", relative_buckets=8, relative_distance=6,
                             head_bias=True, bias=False),
                        dict(objective="seq2seq", smoothing=0.1, chunk=8)),
}
slow = lambda *cases: [pytest.param(*case, marks=pytest.mark.slow) for case in cases]
ROWS = kinds.ROWS * 3 + ((), (4,), (), ())  # of 16: devices and pieces get unequal numbers of tokens, some none


@pytest.fixture(scope="module")
def case(make_model, lively):
    """A function: (name in CASES, dropout) -> (model, objective's settings, batch, params, loss and gradients by
    hand); parameters are away from their initial values (dropout has none)."""
    made = {}

    def make(name, rate=0.0):
        if (name, rate) not in made:
            more, objective = CASES[name]
            model = make_model(**more, dropout=rate)
            batch = kinds.batch_of(model.spec, ROWS)[0]
            params = lively(jax.jit(lambda key: nn.meta.unbox(transformer.init(model, key)))(jax.random.key(0)), 0.1)
            made[name, rate] = model, objective, batch, params, by_hand(model, objective, batch, params)
        return made[name, rate]
    return make


def by_hand(model, objective, batch, params):
    """(loss, gradients) on one device, in one piece, from whole logits and log_softmax."""
    at_step = jax.random.fold_in(jax.random.key(5), 3)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(at_step, jnp.arange(16)) if model.spec.dropout else None
    pick = lambda logits, labels: jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0]
    mean = lambda values, weights: (values * weights).sum() / weights.sum()

    def loss(params):
        run = lambda method: model.apply({"params": params}, **kinds.inputs(batch), keys_B=keys_B, method=method,
                                         mutable=["losses"])
        logits, sown = run("__call__")
        smooth = objective.get("smoothing", 0.0)
        log_p = (1 - smooth) * pick(logits, batch["targets"]) + smooth * jax.nn.log_softmax(logits).mean(-1)
        total = -mean(log_p, batch["weights"])
        if "pair" in batch:
            _, pair = model.apply({"params": params}, run("hidden")[0], method="pooled")
            total -= objective["pair_weight"] * mean(pick(pair, batch["pair"]), batch["segments"].any(1))
        for balance_NB in jax.tree.leaves(sown):
            total += mean(balance_NB.sum(0), batch["weights"].sum(1))
        return total
    return jax.jit(jax.value_and_grad(loss))(params)


def check(made, name, accumulation, make_strategy, tap, assert_close):
    """One step from step 3 on; the tap's state is the gradient."""
    model, objective, batch, params, (loss, grads) = made
    strategy = make_strategy(name, model, tap, accumulation=accumulation, **objective)
    state = {"params": params, "opt_state": tap[0].init(params), "step": jnp.int32(3),
             "extra": step.memory()}
    state, metrics = strategy.step(strategy.place(state), strategy.put(batch))
    state = strategy.collect(state)
    assert metrics["tokens"] == (batch["segments"] > 0).sum() + (batch.get("encoder_segments", np.zeros(1)) > 0).sum()
    assert_close(metrics.get("total", metrics["loss"]), loss, 1e-6)
    assert_close(state["opt_state"]["seen"], grads, 1e-6)
    assert metrics["grad_norm"] == pytest.approx(float(optax.tree.norm(grads)), rel=1e-6)
    assert state["step"] == 4


@pytest.mark.parametrize("name,accumulation", [("one", 1), ("one", 4), *((name, 1) for name in NAMES), ("pmap", 2)])
def test_loss_and_gradients_on_any_mesh_with_any_accumulation(name, accumulation, case, make_strategy, tap,
                                                              assert_close):
    check(case("decoder"), name, accumulation, make_strategy, tap, assert_close)


@pytest.mark.parametrize("name,accumulation", [
    ("mixed", 2), *slow(("fsdp", 1), ("tensor", 1), ("mixed_context", 2), ("pmap", 2))])
@pytest.mark.parametrize("kind", ["experts", "bert", pytest.param("encoder_decoder", marks=pytest.mark.slow)])
def test_so_it_is_for_every_kind(kind, name, accumulation, case, make_strategy, tap, assert_close):
    check(case(kind), name, accumulation, make_strategy, tap, assert_close)


@pytest.mark.parametrize("kind,name", [
    ("prefix", "mixed_context"), ("windows", "mixed_context"), ("experts", "mixed_expert"),
    *slow(("prefix", "mixed"), ("experts", "expert"))])
def test_so_it_is_for_other_masks_and_where_experts_are_split(kind, name, case, make_strategy, tap, assert_close):
    check(case(kind), name, 2, make_strategy, tap, assert_close)


@pytest.mark.parametrize("kind,name,accumulation", [
    ("decoder", "mixed", 2), ("decoder", "context", 2),
    *slow(("decoder", "fsdp", 2), ("decoder", "pmap", 2), ("encoder_decoder", "mixed", 2))])
def test_dropout_masks_do_not_depend_on_mesh_or_accumulation(kind, name, accumulation, case, make_strategy, tap,
                                                             assert_close):
    """One kept or dropped entry that differed would show in the gradients a thousand times over."""
    check(case(kind, 0.3), name, accumulation, make_strategy, tap, assert_close)


def test_masks_are_the_same_bit_for_bit(eight, assert_same):
    """What `dropout` keeps of ones, row by row on one device, and cut up and laid out as the step does."""
    key, batch = jax.random.fold_in(jax.random.key(0), 7), {"x": jnp.ones((16, 4, 8)), "row": np.arange(16)}
    alone = jnp.concatenate([layers.dropout(jnp.ones((1, 4, 8)), 0.5, jax.random.fold_in(key, row)[None])
                             for row in range(16)])
    mesh = sharding.make_mesh(2, 4, devices=eight)
    for pieces in (1, 2):
        cut = jax.jit(lambda batch: [layers.dropout(rest["x"], 0.5, keys_B)
                                     for rest, keys_B in step._cut(batch, key, pieces)],
                      in_shardings=({k: sharding.batch_sharding(mesh, v.ndim) for k, v in batch.items()},))(batch)
        whole = np.zeros((16, 4, 8), np.float32)
        for j, part in enumerate(cut):
            whole[j::pieces] = part
        assert_same(whole, alone)


@pytest.mark.parametrize("kind,name", [
    *(("decoder", name) for name in NAMES), ("experts", "tensor"), ("encoder_decoder", "mixed"),
    *slow(("experts", "mixed_expert"), ("bert", "fsdp"), ("encoder_decoder", "pmap"))])
def test_initial_state_is_the_same_on_any_mesh(kind, name, one, make_model, make_strategy, tap, assert_same):
    strategy = make_strategy(name, make_model(**CASES[kind][0]), tap)
    assert_same(strategy.collect(strategy.init()), one(kind))
    if name == "mixed":  # what evaluation sees before the first step
        assert_same(strategy.init_params(), one(kind)["params"])


@pytest.fixture(scope="module")
def one(make_model, make_strategy, tap):
    """A function: a kind -> its state at step 0 on one device."""
    return functools.cache(lambda kind: make_strategy("one", make_model(**CASES[kind][0]), tap).init())


@pytest.mark.parametrize("kind", ["bert", *slow(("experts",), ("encoder_decoder",))])
def test_an_empty_batch_changes_nothing_and_is_no_nan(kind, case, make_strategy, tap):
    model, objective, batch, params, _ = case(kind)
    strategy = make_strategy("one", model, tap, **objective)
    state = strategy.place({"params": params, "opt_state": tap[0].init(params), "step": jnp.int32(3),
                            "extra": step.memory()})
    empty = {k: np.zeros_like(v) if k != "row" else v for k, v in batch.items()}
    state, metrics = strategy.step(state, strategy.put(empty))
    assert metrics["loss"] == 0 and metrics["tokens"] == 0
    assert not any(np.any(g) for g in jax.tree.leaves(state["opt_state"]["seen"]))


def test_steps_and_rows_have_keys_of_their_own():
    batch = {"row": np.array([0, 1, 5])}
    data = lambda step_number, pieces=1: [jax.random.key_data(k) for _, k in step._cut(
        batch, jax.random.fold_in(jax.random.key(0), step_number), pieces)]
    one, two = data(0)[0], data(1)[0]
    assert len({tuple(map(int, k)) for k in [*one, *two]}) == 6
    np.testing.assert_array_equal(np.concatenate(data(0, 3)), one)


@pytest.mark.parametrize("more,message", [
    (dict(batch=16, ramp=3, ramp_from=4), r"config.train.ramp_from=4 must be a multiple of 8: 8 device"),
    (dict(batch=12), r"config.train.batch=12 must be a multiple of 8: 8 device\(s\) that split the batch"),
    (dict(batch=16, accumulation=3), r"must be a multiple of 24: 8 device\(s\).*config.train.accumulation=3"),
])
def test_batches_that_cannot_be_cut_are_refused(more, message, eight):
    with pytest.raises(UserError, match=message):
        step.check_layout(loop.Settings(**more), sharding.make_mesh(devices=eight), spec.Spec(5))


@pytest.mark.parametrize("sizes,model,length,message", [
    (dict(context=8), dict(context=20), 0, "mesh.context=8 does not divide config.model.context=20; try 1, 2, 4$"),
    (dict(context=8), dict(context=20), 12, "mesh.context=8 does not divide config.train.length=12; try 1, 2, 4$"),
    (dict(expert=4), dict(experts=6), 0, "mesh.expert=4 does not divide config.model.experts=6; try 1, 2$"),
    (dict(expert=2), dict(), 0, "mesh.expert=2 splits experts, and config.model.experts=0; use config.mesh.data$"),
    (dict(tensor=8), dict(heads=8, kv_heads=4), 0,
     "mesh.tensor=8 does not divide config.model.kv_heads=4; try 1, 2, 4$"),
    (dict(tensor=4), dict(ff=6), 0, "mesh.tensor=4 does not divide config.model.ff=6; try 1, 2$"),
    (dict(fsdp=8), dict(width=20), 0, "mesh.fsdp=8 does not divide config.model.width=20; try 1, 2, 4$"),
])
def test_what_a_mesh_cannot_cut_is_refused_with_what_would_do(sizes, model, length, message, eight):
    with pytest.raises(UserError, match=f"config.{message}"):
        step.check_layout(loop.Settings(length=length), sharding.make_mesh(**sizes, devices=eight),
                          spec.Spec(5, **model))


def test_pmap_takes_the_data_axis_only(eight):
    mesh = sharding.make_mesh(4, 2, devices=eight)
    with pytest.raises(UserError, match="splits the batch only: every config.mesh size but data must be 1"):
        step.check_layout(loop.Settings(parallel="pmap"), mesh, spec.Spec(5))
