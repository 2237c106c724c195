"""A teacher's parameters are constants of the step: on any mesh the loss and the gradient are those of one device."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from lmlab import objectives
from lmlab.models import transformer
from lmlab.objectives import distillation
from lmlab.train import step

SECTION, SETTINGS = ConfigDict({"name": "causal"}), distillation.Settings(teacher="runs/x", hidden=0.5)


@pytest.mark.parametrize("mesh,accumulation", [("mixed", 2), pytest.param("pmap", 1, marks=pytest.mark.slow)])
def test_a_teacher_on_a_mesh_is_that_of_one_device(mesh, accumulation, make_model, make_strategy, lively, tap,
                                                   assert_close, assert_same):
    student, deep = make_model(layers=1), make_model(layers=2, unroll=2)
    params, teacher = (lively(nn.meta.unbox(transformer.init(model, jax.random.key(n)))) for n, model in
                       enumerate((student, deep)))
    rng = np.random.default_rng(0)
    batch = {"tokens": rng.integers(0, 37, (16, 16)), "targets": rng.integers(0, 37, (16, 16)),
             "segments": np.ones((16, 16), int), "positions": np.tile(np.arange(16), (16, 1)), "row": np.arange(16)}
    batch = {name: value.astype(np.int32) for name, value in batch.items()} | {"weights": np.ones((16, 16), np.float32)}
    taught = functools.partial(distillation.taught, teacher_apply=deep.apply, objective=SECTION, settings=SETTINGS,
                               own=objectives.build("causal", vocab_size=37))

    def mean(params):
        terms, _ = taught(student.apply, params, {k: v for k, v in batch.items() if k != "row"}, teacher=teacher)
        return sum(total / weight for total, weight in terms.values())
    loss, grads = jax.jit(jax.value_and_grad(mean))(params)
    strategy = make_strategy(
        mesh, student, tap, accumulation=accumulation, objective=taught,
        constants={"teacher": (jax.device_get(teacher), functools.partial(transformer.init, deep))})
    state = {"params": params, "opt_state": tap[0].init(params), "step": jnp.int32(3), "extra": step.memory()}
    state, metrics = strategy.step(strategy.place(state), strategy.put(batch))
    state, metrics = strategy.step(state, strategy.put(batch))  # the teacher is still there
    after = strategy.collect(state)
    assert after.keys() == strategy.target.keys() == {"params", "opt_state", "step", "extra"}
    assert_close(metrics["total"], loss, 1e-6)
    assert_close(after["opt_state"]["seen"], grads, 1e-6)
    assert_same(after["params"], params)
