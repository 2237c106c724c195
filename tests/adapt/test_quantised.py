"""QLoRA: a base of four bits computes nearly what it stands for, costs 4.5 bits a number, and never trains."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import kinds
from lmlab import models, objectives
from lmlab.adapt import freezing, lora, quantised
from lmlab.models import flops, nf4, presets, transformer
from lmlab.train import step
from lmlab.utils import trees
from lmlab.utils.errors import UserError

FAMILIES = ("gpt2", "llama", "mixtral", "bert", "bart")


def logits(model, params, inputs):
    return np.asarray(model.apply({"params": params}, **inputs))


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, lively):
    """(model, inputs, parameters, the same quantised)."""
    model, params = kinds.build(request.param)
    params = lively(params)
    return model, kinds.inputs(kinds.batch_of(model.spec)[0]), params, quantised.quantise(params)


def test_layers_compute_with_the_kernels_that_the_codes_stand_for(case, assert_close):
    model, inputs, params, four = case
    rounded = quantised.dequantise(four)
    assert jax.tree.structure(rounded) == jax.tree.structure(params)
    assert_close(logits(model, four, inputs), logits(model, rounded, inputs), 1e-6)
    assert_close(logits(*transformer.unstack(model, four), inputs), logits(model, rounded, inputs), 1e-5)
    for path, x in trees.by_path(params).items():
        changed = bool((np.asarray(trees.by_path(rounded)[path]) != x).any())
        assert changed == (path.endswith("/kernel") and any(part in path for part in ("attention/", "cross/", "/ff/")))


def test_gradients_are_those_of_the_rounded_kernels(case, assert_close):
    """Of all that is not codes, by way of all that is."""
    model, inputs, _, four = case
    rest = lambda tree: trees.split(tree, lambda path: path.rpartition("/")[2] not in ("kernel", *nf4.LEAVES))
    grad = lambda params: jax.jit(jax.grad(lambda trained, frozen: (model.apply(
        {"params": trees.join(frozen, trained)}, **inputs) ** 2).mean()))(*rest(params))
    assert_close(grad(four), grad(quantised.dequantise(four)), 1e-5)


def test_merging_gives_floats(case, assert_close):
    model, inputs, _, four = case
    adapted = lora.add(quantised.dequantise(four), jax.random.key(0), rank=2, alpha=4.0, pattern="attention|ff")
    adapted = trees.map_with_path(lambda path, x: x + 0.1 if path.endswith("lora_b") else x, adapted)
    both = trees.join(four, lora.extract(adapted))
    assert_close(lora.merge(both), lora.merge(adapted), 1e-6)
    assert_close(logits(model, both, inputs), logits(model, adapted, inputs), 1e-5)


@pytest.fixture(scope="module")
def smol():
    """(model, boxed parameters) of two layers in SmolLM2's shape: width 576, heads of 64."""
    model = models.build("transformer", **{
        **presets.get("smollm2"), "vocab_size": 64, "context": 32, "width": 576, "layers": 2, "heads": 9, "kv_heads": 3,
        "ff": 1536, "unroll": 1})
    return model, jax.eval_shape(lambda key: transformer.init(model, key), jax.random.key(0))


def test_it_costs_four_and_a_half_bits_a_number(smol):
    model, boxed = smol
    sizes, four = (nn.meta.unbox(tree) for tree in (boxed, jax.eval_shape(quantised.quantise, boxed)))
    kernels = sum(x.size for path, x in trees.by_path(sizes).items() if "/kernel" in path)
    held = {path: x for path, x in trees.by_path(four).items() if path.rpartition("/")[2] in nf4.LEAVES}
    # Of a layer: 576 x (9 + 2 x 3) x 64 and 9 x 64 x 576 in attention, 3 x 576 x 1536 in the feed-forward.
    assert kernels == 2 * (576 * 15 * 64 + 9 * 64 * 576 + 3 * 576 * 1536)
    assert 8 * sum(x.size * x.dtype.itemsize for x in held.values()) == 4.5 * kernels
    assert nf4.count(four) == trees.count(sizes)
    assert flops.multiplied(model.spec, four, 7) == flops.multiplied(model.spec, sizes, 7)


def test_logits_stay_near_those_of_floats(smol):
    """An error of about 9 % a weight (for normal numbers, in blocks of 64) does no more than noise of that size."""
    model, _ = smol
    params = nn.meta.unbox(transformer.init(model, jax.random.key(0)))
    tokens = {"tokens_BT": np.random.default_rng(0).integers(0, 64, (2, 16))}
    plain, four = logits(model, params, tokens), logits(model, quantised.quantise(params), tokens)
    rms = lambda x: float(np.sqrt(np.square(x).mean()))
    rounded = quantised.dequantise(quantised.quantise(params))
    rng, sizes = np.random.default_rng(1), []

    def noisy(x, near):
        if (np.asarray(x) == near).all():
            return x
        sizes.append(rms(near - x) / rms(x))
        return x + 0.09 * rms(x) * rng.standard_normal(x.shape, np.float32)

    noised = logits(model, jax.tree.map(noisy, params, rounded), tokens)
    assert len(sizes) == 4 and sizes == pytest.approx([0.09] * len(sizes), abs=0.01)
    assert rms(four - plain) == pytest.approx(rms(noised - plain), rel=0.2)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_moves_adapters_only(accumulation, assert_same):
    model, boxed = kinds.initial("llama")
    batch, _ = kinds.batch_of(model.spec)
    settings = freezing.Settings(lora_rank=2, base="nf4")
    params = quantised.quantise(lora.add(nn.meta.unbox(boxed), jax.random.key(0), rank=2, alpha=4.0,
                                         pattern="attention|ff"))
    trained, frozen = trees.split(params, freezing.trains(settings))
    optimizer = optax.adamw(0.1, weight_decay=0.1)
    objective = objectives.build("causal", vocab_size=37)
    update = jax.jit(step.make_update(model, objective, optimizer, lambda n: 0.1, seed=0, accumulation=accumulation,
                                      trains=freezing.trains(settings)))
    state = {"params": params, "opt_state": optimizer.init(trained), "step": np.int32(0), "extra": step.memory()}
    state, first = update(state, batch)
    state, second = update(state, batch)
    after = trees.split(state["params"], freezing.trains(settings))
    assert_same(after[1], frozen)
    moved = {path.rpartition("/")[2] for path, x in trees.by_path(after[0]).items()
             if (np.asarray(x) != trees.by_path(trained)[path]).any()}
    assert moved == {"lora_a", "lora_b"} and second["loss"] < first["loss"]


@pytest.mark.parametrize("wrong, message", [
    (dict(base="int4"), "config.adapt.base='int4' is unknown; one of float32, nf4"),
    (dict(base="nf4"), "base='nf4' keeps a network that does not train; set config.adapt.lora_rank above 0")])
def test_what_means_nothing_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        freezing.Settings(**wrong)
