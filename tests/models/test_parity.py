"""Whole models against transformers', with the same random weights (mapped here by hand)."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models
from lmlab.models import transformer

pytestmark = pytest.mark.slow
TOKENS = np.random.default_rng(0).integers(0, 53, (2, 11))


@pytest.fixture(scope="module")
def oracle():
    """(torch, transformers), seeded."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    return torch, transformers


def logits_of(oracle, reference):
    torch, _ = oracle
    with torch.no_grad():
        for p in reference.parameters():  # away from zeros and ones, so that nothing can hide
            p.add_(0.1 * torch.randn_like(p))
        out = reference.eval()(torch.tensor(TOKENS)).logits.numpy()
    return out, {k: v.detach().numpy() for k, v in reference.state_dict().items()}


def compare(model, params, expected):
    shapes = jax.tree.map(np.shape, nn.meta.unbox(jax.eval_shape(lambda k: transformer.init(model, k),
                                                                 jax.random.key(0))))
    assert jax.tree.map(np.shape, params) == shapes
    got = np.asarray(model.apply({"params": params}, TOKENS))
    assert np.abs(got - expected).max() < 1e-5 * max(1, np.abs(expected).max())


def test_gpt2(oracle):
    config = oracle[1].GPT2Config(vocab_size=53, n_positions=16, n_embd=24, n_layer=3, n_head=4, resid_pdrop=0,
                                  embd_pdrop=0, attn_pdrop=0)
    expected, w = logits_of(oracle, oracle[1].GPT2LMHeadModel(config))
    stack = lambda name: np.stack([w[f"transformer.h.{i}.{name}"] for i in range(3)])
    norm = lambda name: {"scale": stack(f"{name}.weight"), "bias": stack(f"{name}.bias")}
    params = {
        "token_embedding": w["transformer.wte.weight"], "position_embedding": w["transformer.wpe.weight"],
        "norm_final": {"scale": w["transformer.ln_f.weight"], "bias": w["transformer.ln_f.bias"]},
        "blocks": {
            "norm_attention": norm("ln_1"), "norm_ff": norm("ln_2"),
            "attention": {  # GPT-2's columns are q, k, v, each heads by head size; ours are heads, then q, k, v
                "qkv": {"kernel": stack("attn.c_attn.weight").reshape(3, 24, 3, 4, 6).swapaxes(2, 3),
                        "bias": stack("attn.c_attn.bias").reshape(3, 3, 4, 6).swapaxes(1, 2)},
                "out": {"kernel": stack("attn.c_proj.weight").reshape(3, 4, 6, 24),
                        "bias": stack("attn.c_proj.bias")}},
            "ff": {"wi": {"kernel": stack("mlp.c_fc.weight"), "bias": stack("mlp.c_fc.bias")},
                   "wo": {"kernel": stack("mlp.c_proj.weight"), "bias": stack("mlp.c_proj.bias")}}}}
    compare(models.build("transformer", vocab_size=53, context=16, width=24, layers=3, heads=4), params, expected)


def test_llama(oracle):
    config = oracle[1].LlamaConfig(
        vocab_size=53, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=16, rms_norm_eps=1e-6, tie_word_embeddings=False)
    expected, w = logits_of(oracle, oracle[1].LlamaForCausalLM(config))
    stack = lambda name: np.stack([w[f"model.layers.{i}.{name}.weight"] for i in range(3)])
    heads = lambda name: stack(f"self_attn.{name}_proj").swapaxes(1, 2).reshape(3, 24, 2, -1, 4)
    params = {
        "token_embedding": w["model.embed_tokens.weight"], "norm_final": {"scale": w["model.norm.weight"]},
        "head": {"kernel": w["lm_head.weight"].T},
        "blocks": {
            "norm_attention": {"scale": stack("input_layernorm")},
            "norm_ff": {"scale": stack("post_attention_layernorm")},
            "attention": {"qkv": {"kernel": np.concatenate([heads("q"), heads("k"), heads("v")], 3)},
                          "out": {"kernel": stack("self_attn.o_proj").swapaxes(1, 2).reshape(3, 6, 4, 24)}},
            "ff": {"wi_gated": {"kernel": np.stack([stack(f"mlp.{name}_proj") for name in ("gate", "up")], 1
                                                   ).transpose(0, 3, 1, 2)},
                   "wo": {"kernel": stack("mlp.down_proj").swapaxes(1, 2)}}}}
    model = models.build("transformer", vocab_size=53, context=16, width=24, layers=3, heads=6, kv_heads=2, ff=40,
                         activation="swiglu", norm="rms", norm_eps=1e-6, positions="rotary", bias=False, tied=False)
    compare(model, params, expected)
