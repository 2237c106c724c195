"""Adapters: B = 0 changes nothing, merged is unmerged, and PEFT computes the same of the same matrices."""

import jax
import numpy as np
import pytest

import kinds
from lmlab.adapt import freezing, lora
from lmlab.models import transformer
from lmlab.utils import trees
from lmlab.utils.errors import UserError

FAMILIES = ("gpt2", "llama", "mixtral", "bert", "bart")


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, lively):
    """(model, inputs, parameters, the same with adapters): every number is lively."""
    model, params = kinds.build(request.param)
    batch, _ = kinds.batch_of(model.spec)
    params = lively(params)
    adapted = lora.add(params, jax.random.key(0), rank=3, alpha=5.0, pattern="attention|cross|ff")
    return model, kinds.inputs(batch), params, adapted


def stirred(params):
    """The parameters with adapters that do something."""
    rng = np.random.default_rng(1)
    return trees.map_with_path(lambda path, x: rng.normal(size=x.shape).astype(np.float32) if path.endswith("lora_b")
                               else x, params)


def logits(model, params, inputs):
    return np.asarray(model.apply({"params": params}, **inputs))


def test_new_adapters_change_nothing(case, assert_same):
    model, inputs, params, adapted = case
    assert_same(logits(model, adapted, inputs), logits(model, params, inputs))
    assert_same(lora.merge(adapted), params)


def test_merged_and_unmerged_compute_the_same(case, assert_close):
    model, inputs, params, adapted = case
    adapted = stirred(adapted)
    merged = lora.merge(adapted)
    assert jax.tree.structure(merged) == jax.tree.structure(params)
    ours, plain = logits(model, adapted, inputs), logits(model, params, inputs)
    assert np.abs(ours - plain).max() > 0.1
    assert_close(logits(model, merged, inputs), ours, 1e-5)
    assert_close(lora.unmerge(merged, lora.extract(adapted)), adapted, 1e-6)


def test_delta_is_the_product_of_the_two_matrices_layer_by_layer(case):
    model, _, params, adapted = case
    adapted = stirred(adapted)
    change = jax.tree.map(lambda a, b: np.float64(a) - b, lora.merge(adapted), params)
    for branch, adapter in lora.adapters(adapted).items():
        a, b, s = (np.float64(adapter[name]) for name in lora.LEAVES)
        cut = lora.inputs(f"{branch}/kernel")
        made = trees.by_path(change)[f"{branch}/kernel"]
        for layer in range(len(s)):
            expected = 5.0 / 3 * np.tensordot(a[layer], b[layer], 1)
            assert s[layer] == pytest.approx(5 / 3) and a[layer].ndim == cut + 1
            np.testing.assert_allclose(made[layer], expected, atol=2e-6)


def test_decoding_one_by_one_has_them_too(case):
    model, inputs, _, adapted = case
    alone, params = transformer.unstack(model, stirred(adapted))
    np.testing.assert_allclose(logits(alone, params, inputs), logits(model, stirred(adapted), inputs), atol=1e-4)


def test_only_they_train(case):
    _, _, params, adapted = case
    chosen = freezing.trains(freezing.Settings(lora_rank=3))
    trained, frozen = trees.split(adapted, chosen)
    assert {path.rpartition("/")[2] for path in trees.by_path(trained)} == {"lora_a", "lora_b"}
    assert trees.by_path(params).keys() <= trees.by_path(frozen).keys()


def test_a_pattern_that_finds_nothing_is_told():
    _, params = kinds.build("gpt2")
    with pytest.raises(UserError, match="lora_targets='atention' finds no kernel; there are trunk/blocks/attention"):
        lora.add(params, jax.random.key(0), rank=1, alpha=1.0, pattern="atention")
