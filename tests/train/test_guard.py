"""A step that would harm the state changes nothing but its count; all others are what they are without the guard."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmlab.train import guard, step


def plain(state, batch, gate=lambda metrics, apply: (*apply(), {})):
    """A regression by Adam: the loss is the mean of (w x - y)^2."""
    loss, grads = jax.value_and_grad(lambda w: jnp.mean((batch["x"] @ w - batch["y"]) ** 2))(state["params"])

    def apply():
        updates, opt_state = ADAM.update(grads, state["opt_state"], state["params"])
        return optax.apply_updates(state["params"], batch["boost"] * updates), opt_state
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    params, opt_state, more = gate(metrics, apply)
    after = {"params": params, "opt_state": opt_state, "step": state["step"] + 1, "extra": state["extra"]}
    return after, metrics | more


ADAM = optax.adam(0.1)
STEP = jax.jit(guard.guarded(plain))
HARM = {"nan in the input": ("x", np.nan), "infinity in the input": ("x", np.inf), "nan in the target": ("y", np.nan),
        "a gradient whose square overflows": ("y", 1e25), "an update that overflows": ("boost", np.inf)}


def begin():
    w = jnp.array([0.5, -0.5, 0.25])
    return {"params": w, "opt_state": ADAM.init(w), "step": jnp.int32(0), "extra": step.memory()}


def batch(i, harm=None):
    rng = np.random.default_rng(i)
    made = {"x": rng.normal(size=(8, 3)).astype(np.float32), "y": rng.normal(size=8).astype(np.float32),
            "boost": np.float32(1)}
    if harm:
        name, value = HARM[harm]
        made[name] = np.float32(value) if name == "boost" else np.where(
            np.arange(made[name].size).reshape(made[name].shape) == 3, np.float32(value), made[name])
    return made


@pytest.mark.parametrize("harm", HARM)
def test_a_harmful_step_is_caught_in_the_same_step_and_the_rest_goes_on_as_if_it_had_not_been(harm, assert_same):
    state, clean = begin(), begin()
    for i in range(6):
        before = jax.device_get(state)
        state, metrics = STEP(state, batch(i, harm if i in (2, 3) else None))
        assert metrics["skipped"] == (i in (2, 3)) and metrics["in_row"] == {2: 1, 3: 2}.get(i, 0)
        if i in (2, 3):
            assert_same(state["params"], before["params"])
            if harm != "an update that overflows":  # there the gradient was finite, and the optimizer has seen it
                assert_same(state["opt_state"], before["opt_state"])
            else:
                clean["opt_state"] = state["opt_state"]
        else:
            clean, _ = STEP(clean, batch(i))
        assert state["step"] == i + 1 and guard.finite(state)
    assert state["extra"]["guard"]["skipped"] == 2
    assert_same((state["params"], state["opt_state"]), (clean["params"], clean["opt_state"]))


def test_a_good_step_is_the_plain_one(assert_same):
    state, bare = begin(), begin()
    for i in range(5):
        state, metrics = STEP(state, batch(i))
        bare, plain_metrics = jax.jit(plain)(bare, batch(i))
        assert_same({name: metrics[name] for name in plain_metrics}, plain_metrics)
    assert_same((state["params"], state["opt_state"]), (bare["params"], bare["opt_state"]))


def test_finite_sees_every_leaf_and_integers_are_finite():
    tree = {"a": np.ones(3, np.float32), "b": [np.arange(4), jnp.ones(2, jnp.bfloat16)]}
    assert guard.finite(tree) and guard.finite({})
    for bad in (np.nan, np.inf, -np.inf):
        assert not guard.finite({**tree, "a": np.array([1, bad, 2], np.float32)})
        assert not guard.finite({**tree, "b": [jnp.full(1, bad, jnp.bfloat16)]})


def series(losses, spikes):
    """Which losses a guard skips, fed one by one."""
    def plus_one(state, loss, gate):
        metrics = {"loss": loss, "grad_norm": loss}
        params, _, more = gate(metrics, lambda: (state["params"] + 1, state["opt_state"]))
        return {**state, "params": params}, metrics | more
    step = jax.jit(guard.guarded(plus_one, spikes))
    state, skipped = {**begin(), "params": jnp.zeros(())}, []
    for loss in losses:
        state, metrics = step(state, jnp.float32(loss))
        skipped.append(bool(metrics["skipped"]))
    return np.array(skipped), state


def test_spikes_are_those_six_sigma_over_the_mean_of_the_losses_before():
    """Against mean and standard deviation by numpy, over fewer losses than the window."""
    rng = np.random.default_rng(0)
    losses = rng.normal(3.0, 0.1, 90)
    losses[[40, 60, 61, 75]] = [5.0, 3.9, 3.3, np.nan]
    skipped, state = series(losses, spikes=6.0)
    seen = []
    for loss, left_out in zip(losses, skipped):
        expected = np.isnan(loss) or len(seen) >= guard.SETTLED and loss > np.mean(seen) + 6 * np.std(seen)
        assert left_out == expected
        if not left_out:
            seen.append(loss)
    assert np.flatnonzero(skipped).tolist() == [40, 60, 75]
    assert state["extra"]["guard"]["mean"] == pytest.approx(np.mean(seen), rel=1e-5)
    assert state["extra"]["guard"]["variance"] == pytest.approx(np.var(seen), rel=1e-4)
    assert not series(losses[:70], spikes=0.0)[0].any()


def test_the_rolling_mean_forgets():
    """After a long fall, a loss of the beginning is a spike."""
    losses = np.concatenate([np.linspace(8, 2, 400), np.full(400, 2) + 0.01 * np.sin(np.arange(400)), [8.0]])
    assert np.flatnonzero(series(losses, spikes=6.0)[0]).tolist() == [800]


@pytest.mark.parametrize("name", ["fsdp", "mixed", "pmap"])
def test_on_any_mesh(name, make_model, make_strategy, packed, assert_same):
    """A NaN in one weight of one device: every device leaves the step out."""
    model = make_model()
    strategy = make_strategy(name, model, (optax.adamw(0.1), lambda step: 0.1))
    rows, _ = packed(8, 16, 37)
    state = strategy.init()
    params = jax.device_get(strategy.collect(state))
    harmed = {**rows, "weights": rows["weights"].copy()}
    harmed["weights"][5, 2] = np.nan
    state, metrics = strategy.step(state, strategy.put(harmed))
    assert metrics["skipped"] == 1
    after = jax.device_get(strategy.collect(state))
    assert_same((after["params"], after["opt_state"]), (params["params"], params["opt_state"]))
    state, metrics = strategy.step(state, strategy.put(rows))
    assert metrics["skipped"] == 0 and metrics["rate"] == pytest.approx(0.1)
    assert strategy.collect(state)["extra"]["guard"]["skipped"] == 1


