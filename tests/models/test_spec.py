"""The keyword arguments of the Transformer: patterns of layers, rotary frequencies, impossible values."""

import math

import numpy as np
import pytest

from lmlab import models
from lmlab.models import transformer
from lmlab.models.spec import Spec
from lmlab.utils.errors import UserError

SMALL = dict(vocab_size=37, context=16, width=16, layers=2, heads=4)


@pytest.mark.parametrize("more,pattern", [
    (dict(), "------"), (dict(window=4), "llllll"),
    (dict(window=4, window_every=2), "l-l-l-"),                          # Gemma 2: local first, then by turns
    (dict(window=4, window_every=6, layers=13), "lllll-lllll-l"),        # Gemma 3: five local for each global
    (dict(window=4, window_every=3, encoder_layers=8), "ll-ll-ll"),      # the deeper of the two stacks
])
def test_which_layers_are_local(more, pattern):
    assert "".join("-l"[int(x)] for x in Spec(**{**SMALL, "layers": 6, **more}).local) == pattern


@pytest.mark.slow
@pytest.mark.parametrize("name,changes", [("Gemma2", dict(window_every=2)), ("Gemma3Text", dict(window_every=6))])
def test_local_layers_are_those_of_transformers(name, changes):
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, f"{name}Config")(num_hidden_layers=13).layer_types
    spec = Spec(**{**SMALL, "layers": 13, "window": 4, **changes})
    assert [kind == "sliding_attention" for kind in theirs] == spec.local.tolist()


def test_plain_and_linear_frequencies_are_powers_of_theta():
    plain = Spec(**SMALL, positions="rotary", rotary_theta=500.0, head_dim=8)
    np.testing.assert_allclose(plain.frequencies(), [500.0 ** (-i / 4) for i in range(4)], rtol=1e-6)
    more = dict(rotary_theta=500.0, rotary_local_theta=10.0, rotary_scaling="linear", rotary_factor=8.0)
    gemma = Spec(**SMALL, positions="rotary", head_dim=8, **more)
    np.testing.assert_allclose(gemma.frequencies(), plain.frequencies() / 8, rtol=1e-6)
    np.testing.assert_allclose(gemma.frequencies(local=True), [10.0 ** (-i / 4) for i in range(4)], rtol=1e-6)


LLAMA31 = dict(positions="rotary", head_dim=128, rotary_theta=500_000.0, rotary_scaling="llama3", rotary_factor=8.0,
               rotary_low=1.0, rotary_high=4.0, rotary_original=8192)


def test_llama3_slows_the_long_waves_only():
    """Llama 3.1's numbers: waves under 8192/4 tokens are left, those over 8192 slowed eightfold, between is between."""
    plain = [500_000.0 ** (-i / 64) for i in range(64)]
    got = Spec(**SMALL, **LLAMA31).frequencies()
    kinds = [0, 0, 0]
    for before, after in zip(plain, got):
        wave = 2 * math.pi / before
        kind = 0 if wave < 2048 else 2 if wave > 8192 else 1
        kinds[kind] += 1
        share = (8192 / wave - 1) / 3
        slow = {0: 1.0, 1: share + (1 - share) / 8, 2: 1 / 8}[kind]
        assert after == pytest.approx(before * slow, rel=1e-5)
    assert kinds == [29, 6, 29]


@pytest.mark.slow
def test_llama3_frequencies_are_those_of_transformers():
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    config = transformers.LlamaConfig(hidden_size=512, num_attention_heads=4, rope_parameters=dict(
        rope_type="llama3", rope_theta=500_000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192))
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    np.testing.assert_allclose(Spec(**SMALL, **LLAMA31).frequencies(), theirs.numpy(), rtol=1e-6)


def test_the_usual_sizes():
    spec = Spec(**SMALL)
    assert (spec.groups, spec.head_size, spec.hidden, spec.scale) == (4, 4, 64, 0.5)
    spec = Spec(**SMALL, activation="swiglu", kv_heads=2, head_dim=9, score_scale=3.0)
    assert (spec.groups, spec.head_size, spec.hidden, spec.scale) == (2, 9, 42, 3.0)


@pytest.mark.parametrize("wrong,message", [
    (dict(heads=3), r"config.model.heads=3 does not divide config.model.width=16; try 1, 2, 4, 8, 16"),
    (dict(kv_heads=3), r"config.model.kv_heads=3 does not divide config.model.heads=4; try 1, 2, 4"),
    (dict(positions="rotery"), r"config.model.positions='rotery' is unknown; did you mean 'rotary'\?"),
    (dict(positions="rotary", head_dim=5), "even head size, not 5"),
    (dict(layers=0), "config.model.layers=0 must be at least 1"),
    (dict(dropout=1.0), "config.model.dropout=1.0 must be at least 0 and below 1"),
    (dict(remat="all"), "config.model.remat='all' is unknown"),
    (dict(qk_norm=True), "config.model.qk_norm=True is unknown; one of none, head, all"),
    (dict(attends="both"), "config.model.attends='both' is unknown.*one of causal, full, prefix"),
    (dict(window=-1), "config.model.window=-1 must be at least 0"),
    (dict(positions="rotary", rotary_factor=0.0), "config.model.rotary_factor=0.0 must be at least 1"),
    (dict(norm_eps=-1.0), "config.model.norm_eps=-1.0 must be at least 0"),
    (dict(experts=2, experts_per_token=3), "config.model.experts_per_token=3 must be from 1 to config.model.experts=2"),
    (dict(experts=2, expert_balance=-1.0), "config.model.expert_balance=-1.0 must be at least 0"),
    (dict(positions="relative", relative_buckets=3), "config.model.relative_buckets=3 must be at least 4"),
    (dict(positions="relative", relative_distance=16), "config.model.relative_distance=16 must be above"),
])
def test_impossible_specs_are_refused_by_name(wrong, message):
    with pytest.raises(UserError, match=message):
        transformer.Spec(**{**SMALL, **wrong})


def test_models_are_found_by_name():
    with pytest.raises(UserError, match="did you mean 'transformer'"):
        models.build("transfomer", **SMALL)
    with pytest.raises(UserError, match="'layers' is no model"):
        models.find("layers")
