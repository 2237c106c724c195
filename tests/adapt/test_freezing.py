"""What trains and how fast, by path and depth: against the rules written out layer by layer."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import kinds
from lmlab.adapt import freezing, heads
from lmlab.utils import trees
from lmlab.utils.errors import UserError


@pytest.fixture(scope="module")
def headed():
    """Parameters of a three-layer encoder with a head."""
    model, _ = kinds.build("bert", layers=3, head_bias=False)
    return nn.meta.unbox(heads.init(heads.Headed(model, outputs=5), jax.random.key(0)))


def below(path, layer=None):
    """How deep a parameter of that network is, by hand."""
    return 0 if path.startswith("task/") or "norm_final" in path else 4 if "embedding" in path else 3 - layer


def test_layers_are_as_fast_as_their_depth_says(headed):
    ones = jax.tree.map(np.ones_like, headed)
    slow = freezing.layerwise(optax.sgd(1.0), freezing.Settings(layer_decay=0.5))
    updates, _ = slow.update(ones, slow.init(headed), headed)
    for path, update in trees.by_path(updates).items():
        if "blocks" in path:
            for layer in range(3):
                np.testing.assert_array_equal(update[layer], -0.5 ** below(path, layer))
        else:
            np.testing.assert_array_equal(update, -0.5 ** below(path))


def test_layers_begin_one_after_the_other_and_as_if_they_were_new(headed):
    """A layer that begins at step n has the moments of a run that began there."""
    rng = np.random.default_rng(0)
    grads = [jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), headed) for _ in range(10)]
    gradual = freezing.layerwise(optax.adamw(0.1, b1=0.9, weight_decay=0.1), freezing.Settings(unfreeze_every=2))
    state, params = gradual.init(headed), headed
    for n, g in enumerate(grads):
        updates, state = gradual.update(g, state, params)
        params = optax.apply_updates(params, updates)
        for path, update in trees.by_path(updates).items():
            for layer in range(3) if "blocks" in path else [None]:
                begun = n >= 2 * below(path, layer)
                assert bool(np.any(update if layer is None else update[layer])) == begun, (path, layer, n)


def test_paths_are_frozen_by_pattern(headed):
    chosen = freezing.trains(freezing.Settings(freeze="embedding|blocks/attention"))
    frozen = {path for path in trees.by_path(headed) if not chosen(path)}
    assert frozen == {path for path in trees.by_path(headed) if "embedding" in path or "attention/" in path
                      and "norm" not in path}
    assert freezing.trains(freezing.Settings()) is None


def test_the_table_counts(headed):
    settings = freezing.Settings(freeze="embedding")
    lines = freezing.table(headed, settings, loaded=[path for path in trees.by_path(headed) if "task" not in path])
    total = trees.count(headed)
    embedded = sum(x.size for path, x in trees.by_path(headed).items() if "embedding" in path)
    task = trees.count(headed["task"])
    assert lines.splitlines()[-1].split() == ["all", f"{total:,}", f"{total - embedded:,}", f"{total - task:,}"]


@pytest.mark.parametrize("wrong, message", [
    (dict(freeze="("), "freeze='\\(' is no regular expression"),
    (dict(layer_decay=0.0), "layer_decay=0.0 must be above 0"),
    (dict(lora_rank=-1), "lora_rank=-1 must be at least 0")])
def test_values_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        freezing.Settings(**wrong)
