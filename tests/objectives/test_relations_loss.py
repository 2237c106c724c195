"""The loss of relations: against the long way in numpy, and packed against alone."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

import kinds
from lmlab import models, objectives
from lmlab.adapt import heads
from lmlab.objectives import relations
from lmlab.utils.errors import UserError

C, S = 3, 3
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def case(lively):
    """(model, params, batch): packed texts, two of whose tokens are marks; the last place of some rows holds none."""
    body, _ = kinds.build("bert", head_bias=False)
    model = heads.Headed(body, **relations.head(body.spec, "abc"))
    params = lively(nn.meta.unbox(heads.init(model, jax.random.key(0))))
    batch, _ = kinds.batch_of(body.spec)
    batch = {name: np.asarray(a) for name, a in batch.items() if name in ("tokens", "segments", "positions", "types")}
    B = len(batch["tokens"])
    places, words = np.zeros((2, B, 32), np.int32)
    weights, label = np.zeros((B, S), np.float32), RNG.integers(0, C, (B, S))
    for b in range(B):
        for k in range(batch["segments"][b].max()):
            places[b, 2 * k:2 * k + 2] = RNG.permutation(np.flatnonzero(batch["segments"][b] == k + 1))[:2]
            words[b, 2 * k:2 * k + 2], weights[b, k] = k + 1, 1
    return model, params, batch | {"places": places, "words": words, "weights": weights, "label": label}


@functools.partial(jax.jit, static_argnames=("model", "smoothing"))
def loss(params, batch, model, smoothing=0.0):
    terms, metrics = objectives.build("relations", smoothing=smoothing)(model.apply, params, batch)
    return terms["loss"][0], (terms["loss"], metrics["accuracy"])


def told(case, **more):
    model, params, batch = case
    return loss(params, batch, model, **more)[1]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_it_is_the_cross_entropy_of_both_states_side_by_side(case, smoothing):
    """log softmax of [state of the head's mark; of the tail's] W + b, the rows of W taken out of the head's kernel."""
    model, params, batch = case
    x_BTD = np.float64(model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"],
                                   types_BT=batch.get("types"), method="hidden"))
    kernel, bias = (np.float64(params["task"][name]) for name in ("kernel", "bias"))
    W, b = np.concatenate([kernel[:, :C], kernel[:, C:]]), bias[:C] + bias[C:]
    expected, right = 0.0, 0
    for row, k in np.argwhere(batch["weights"]).tolist():
        head, tail = batch["places"][row, 2 * k:2 * k + 2]
        logits = np.concatenate([x_BTD[row, head], x_BTD[row, tail]]) @ W + b
        log_p = logits - np.log(np.exp(logits).sum())
        target = np.full(C, smoothing / C)
        target[batch["label"][row, k]] += 1 - smoothing
        expected -= target @ log_p
        right += logits.argmax() == batch["label"][row, k]
    (nll, count), (correct, of) = told(case, smoothing=smoothing)
    assert nll == pytest.approx(expected, rel=1e-5) and count == of == batch["weights"].sum() > 5 and correct == right


def test_packed_pairs_lose_what_each_loses_alone(case):
    model, params, batch = case
    total = np.zeros(2)
    for row, k in np.argwhere(batch["weights"]).tolist():
        here = batch["segments"][row] == k + 1
        one = {name: batch[name][row:row + 1, here] for name in ("tokens", "positions", "types") if name in batch}
        one |= {"places": batch["places"][row:row + 1, 2 * k:2 * k + 2] - np.flatnonzero(here)[0],
                "segments": np.ones((1, here.sum()), int), "words": np.ones((1, 2), int),
                "weights": np.ones((1, 1), np.float32), "label": batch["label"][row:row + 1, k:k + 1]}
        (nll, _), (right, _) = told((model, params, one))
        total += nll, right
    (nll, _), (right, _) = told(case)
    np.testing.assert_allclose([nll, right], total, rtol=1e-5)


def test_gradients_are_finite_where_there_is_no_pair(case):
    model, params, batch = case
    grads = jax.jit(jax.grad(functools.partial(loss, model=model), has_aux=True))
    found = grads(params, batch)[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert np.abs(found["task"]["kernel"]).max() > 1e-3
    nothing, _ = grads(params, batch | {"weights": np.zeros_like(batch["weights"])})
    assert not any(np.abs(leaf).max() for leaf in jax.tree.leaves(nothing))


@pytest.mark.parametrize("spec, settings, message", [
    (dict(attends="causal"), {}, "attends='causal' does not go with config.objective.name='relations'; use full"),
    (dict(attends="full"), dict(smoothing=1.0), "smoothing=1.0 must be from 0 to 0.99"),
    (dict(attends="full"), dict(none=" "), "config.objective.none is empty")])
def test_what_cannot_be_is_refused(spec, settings, message):
    with pytest.raises(UserError, match=message):
        relations.check(models.find("transformer").Spec(vocab_size=9, **spec), **settings)
