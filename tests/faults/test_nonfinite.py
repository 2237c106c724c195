"""NaN, infinity and overflow, in the loss, in its gradient alone, in a weight of one row: caught in the same step,
nothing of it applied, and a run that goes on so is ended, with nothing of it saved."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from commands import quick, text, train_flags
from lmlab import models, objectives
from lmlab.models import transformer
from lmlab.train import checkpoint, guard, optimizer, sharding, step

POISONS = {"loss": (np.nan, np.inf, -np.inf, 3e38), "gradient": (np.nan, np.inf, -np.inf, 1e30),
           "weights": (np.nan, np.inf, -np.inf)}


@jax.custom_vjp
def slope(x, factor):
    """x, its gradient multiplied by `factor`."""
    return x


slope.defvjp(lambda x, factor: (x, factor), lambda factor, g: (g * factor, jnp.zeros_like(factor)))


def poisoned(loss):
    """An objective that multiplies its loss by the batch's "loss", and its gradient by the batch's "gradient"."""
    def objective(apply, params, batch, keys_B):
        harm = {name: batch[name][0] for name in ("loss", "gradient")}
        terms, metrics = loss(apply, params, {k: v for k, v in batch.items() if k not in harm}, keys_B)
        nats, weight = terms["loss"]
        return {"loss": (slope(nats * harm["loss"], harm["gradient"]), weight)}, metrics
    return objective


def batch(rng):
    """Eight random rows and no poison."""
    tokens = rng.integers(1, 37, (8, 17)).astype(np.int32)
    ones = np.ones((8, 16), np.int32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "segments": ones, "positions": ones.cumsum(1) - 1,
            "weights": ones.astype(np.float32), "row": np.arange(8, dtype=np.int32),
            "loss": np.ones(8, np.float32), "gradient": np.ones(8, np.float32)}


def test_every_poison_is_caught_in_its_step(eight, trials, tally, assert_same):
    model = models.build("transformer", vocab_size=37, context=16, width=16, layers=2, heads=2, unroll=1)
    mesh = sharding.make_mesh(2, 2, devices=eight[:4])
    strategy = step.make_strategy(
        "jit", model, functools.partial(transformer.init, model), poisoned(objectives.build("causal", vocab_size=37)),
        *optimizer.build(steps=99, name="muon", warmup=1), mesh, seed=0, accumulation=2)
    state, count, caught = strategy.init(), trials(60, 1000), 0
    for trial in range(count):
        rng = np.random.default_rng(trial)
        before, rows = jax.device_get(state), batch(rng)
        kind = rng.choice(list(POISONS))
        value = np.float32(rng.choice(POISONS[kind]))
        if kind == "weights":
            rows["weights"][rng.integers(8), rng.integers(16)] = value
        else:
            rows[kind][:] = value
        state, metrics = strategy.step(state, strategy.put(rows))
        after = jax.device_get(state)
        assert_same((after["params"], after["opt_state"]), (before["params"], before["opt_state"]))
        caught += int(metrics["skipped"]) and int(after["extra"]["guard"]["skipped"]) == trial + 1
        state, metrics = strategy.step(state, strategy.put(batch(rng)))  # and a good step is taken
        assert not metrics["skipped"] and guard.finite(state)
        after = jax.device_get(state["params"])
        assert any((a != b).any() for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before["params"])))
    tally("NaN, infinity or overflow in a step", count, caught, "caught in the same step, nothing applied")
    assert caught == count


def test_a_run_that_diverges_ends_with_what_was_good(tmp_path):
    """A learning rate that overflows, the gradient not clipped: the real thing, through the command line."""
    (tmp_path / "text.txt").write_text(text(), "utf-8")
    done = quick(*train_flags(
        tmp_path / "run", tmp_path / "text.txt", "--config.optimizer.name=sgd", "--config.optimizer.rate=1e30",
        "--config.optimizer.clip=0.0", "--config.train.steps=40", "--config.train.save_every=1",
        "--config.train.max_skips=5", "--config.train.keep=50"))
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.code == 1 and len(lines) == 1 and "the last of 5 in a row (config.train.max_skips)" in lines[0]
    saved = tmp_path / "run" / "checkpoints"
    assert checkpoint.good_steps(saved)
    for number in checkpoint.good_steps(saved):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(checkpoint.restore_params(saved, number)))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(row.get("skipped", 0) for row in rows) >= 4
