"""Losses of tasks, and their gradients, on any mesh with any accumulation: as of the whole batch on one device."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmlab import models, objectives
from lmlab.adapt import heads
from lmlab.data.examples import Split
from lmlab.data.features import episodes, labelled, relations, similar, tagged
from lmlab.data.tokenizers import extend, plain
from lmlab.models import transformer
from lmlab.train import step
from lmlab.utils import trees

TOKENIZER = extend(plain.Bytes(), ["cls"])
SPEC = dict(vocab_size=TOKENIZER.vocab_size, context=16, width=16, layers=2, heads=4, ff=24, attends="full",
            token_types=2, unroll=1)
SPLIT = Split([{"text": "ab" * (1 + i % 5), "label": "xyz"[i % 3], "words": [[0, 1], [1, 2]],
                "tags": [["B-P", "I-P"], ["O", "B-P"], ["O", "O"]][i % 3],
                "spans": [{"start": 0, "end": 1, "label": "P"}, {"start": 1, "end": 2, "label": "P"}][:1 + (i > 20)],
                "relations": [{"head": 0, "tail": 1, "label": "xy"[i % 2]}][:i > 20],
                "anchor": "abc"[i % 3] + "de"[i % 2], "positive": "abc"[i % 3] + "fgh"[i % 4 - 1]} for i in range(27)],
              {"name": "made up"}, "train")
KINDS = {  # features, settings of the loss, settings of the head (None: none)
    "classification": (functools.partial(labelled.features, labels=("x", "y", "z"), balance=1.0), dict(smoothing=0.1),
                       dict(outputs=3)),
    "tagging": (functools.partial(tagged.features, labels=("B-P", "I-P", "O")), dict(crf=True),
                dict(outputs=3, pool="", crf=True)),
    "relations": (functools.partial(relations.features, labels=("no_relation", "x", "y")), dict(smoothing=0.1),
                  dict(outputs=6, pool="")),
    "episodes": (functools.partial(episodes.features, labels=("1", "2"), ways=2, shots=1, queries=1, held=0.0),
                 dict(inner=2, rate=0.3), dict(outputs=2)),
    "contrastive": (similar.features, dict(), None)}
BOUNDS = {"episodes": 3e-6, "contrastive": 3e-6}  # gradients of gradients, and of many cosines each, in float32
MESHES = [*((name, *mesh) for name in ("classification", "tagging", "relations") for mesh in (("one", 4), ("pmap", 1))),
          *((name, "mixed", 2) for name in ("classification", "tagging", "relations", "episodes")),
          *(pytest.param("episodes", *mesh, marks=pytest.mark.slow) for mesh in (("one", 4), ("pmap", 1))),
          ("contrastive", "data", 1), ("contrastive", "mixed", 1)]  # it compares rows: nothing is cut up


@pytest.fixture(scope="module")
def case(lively):
    """A function: an objective's name -> (model, batch of 16 rows, parameters, loss, gradients of one device)."""
    @functools.cache
    def make(name):
        features, settings, head = KINDS[name]
        rows = features(SPLIT, TOKENIZER, length=16, windows="packed")
        numbers = np.where(np.arange(16) < rows.count, np.arange(16), -1)
        assert rows.count < 16 and (numbers < 0).any()  # some are padding
        batch = rows.make(numbers, np.zeros(16, int), 0) | {"row": np.arange(16, dtype=np.int32)}
        model = models.build("transformer", **SPEC)
        model = model if head is None else heads.Headed(model, **head)
        params = lively(nn.meta.unbox((transformer if head is None else heads).init(model, jax.random.key(0))))
        loss = objectives.build(name, **settings)

        def mean(params):
            total, weight = loss(model.apply, params, {k: v for k, v in batch.items() if k != "row"})[0]["loss"]
            return total / weight
        return model, batch, params, *jax.jit(jax.value_and_grad(mean))(params)
    return make


@pytest.mark.parametrize("name,mesh,accumulation", MESHES)
def test_loss_and_gradients_are_those_of_one_device(name, mesh, accumulation, case, make_strategy, tap, assert_close):
    model, batch, params, loss, grads = case(name)
    strategy = make_strategy(mesh, model, tap, accumulation=accumulation,
                             objective=objectives.build(name, **KINDS[name][1]))
    state = {"params": params, "opt_state": tap[0].init(params), "step": jnp.int32(3), "extra": step.memory()}
    state, metrics = strategy.step(strategy.place(state), strategy.put(batch))
    assert_close(metrics["loss"], loss, 1e-6)
    assert_close(strategy.collect(state)["opt_state"]["seen"], grads, BOUNDS.get(name, 1e-6))


def test_mixtures_are_the_same_on_any_mesh(case, make_strategy, tap, assert_close):
    model, batch, params, plain, _ = case("classification")
    found = {}
    for mesh, accumulation in (("one", 1), ("mixed", 2)):
        strategy = make_strategy(mesh, model, tap, accumulation=accumulation, objective="classification", mixup=0.4,
                                 smoothing=0.1)
        state = {"params": params, "opt_state": tap[0].init(params), "step": jnp.int32(3), "extra": step.memory()}
        state, metrics = strategy.step(strategy.place(state), strategy.put(batch))
        found[mesh] = metrics["loss"], strategy.collect(state)["opt_state"]["seen"]
    assert_close(*(found[mesh][0] for mesh in ("mixed", "one")), 1e-6)
    assert_close(*(found[mesh][1] for mesh in ("mixed", "one")), 1e-6)
    assert abs(found["one"][0] - plain) > 1e-4


@pytest.mark.parametrize("mesh", ["one", "mixed", "pmap"])
def test_what_is_frozen_has_no_gradient_and_stays_bit_for_bit(mesh, case, make_strategy, assert_same):
    model, batch, params, _, _ = case("classification")
    trains = lambda path: path.startswith("task/") or "blocks/ff" in path
    strategy = make_strategy(mesh, model, (optax.adamw(0.1, weight_decay=0.1), lambda step: 0.1), trains=trains,
                             objective="classification", given=params, smoothing=0.1)
    state = strategy.init()
    assert {path.split("/mu/")[1] for path in trees.by_path(strategy.target["opt_state"]) if "/mu/" in path} == {
        path for path in trees.by_path(params) if trains(path)}
    for _ in range(3):
        state, metrics = strategy.step(state, strategy.put(batch))
    after = strategy.collect(state)["params"]
    assert_same(trees.split(after, trains)[1], trees.split(params, trains)[1])
    trained = (trees.split(tree, trains)[0] for tree in (after, params))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), *trained)))
    assert metrics["skipped"] == 0
