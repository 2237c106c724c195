"""Decoders against transformers': logits, loss, and back. A family is its rows in CASES."""

import numpy as np
import pytest

from lmlab import interop
from lmlab.objectives import losses

pytestmark = pytest.mark.slow
TOKENS = np.random.default_rng(0).integers(0, 53, (3, 11))

COMMON = dict(vocab_size=53, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6,
              num_key_value_heads=2, max_position_embeddings=16, pad_token_id=None, bos_token_id=None,
              eos_token_id=None)
GPT2 = dict(vocab_size=53, n_embd=24, n_layer=3, n_head=4, n_positions=16, bos_token_id=None, eos_token_id=None)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_theta=100.0,
              original_max_position_embeddings=8)
TYPES = ["sliding_attention", "full_attention", "sliding_attention"]
GEMMA = dict(COMMON, head_dim=8, query_pre_attn_scalar=10, sliding_window=4)
GEMMA3 = dict(full_attention=dict(rope_type="linear", factor=2.0, rope_theta=1000.0),
              sliding_attention=dict(rope_type="default", rope_theta=100.0))
# class, its config, and what of the Spec the case must have reached
CASES = {
    "gpt2": ("GPT2LMHeadModel", GPT2, dict(tied=True, ff=0)),
    "gpt2 untied": ("GPT2LMHeadModel", dict(GPT2, n_inner=40, activation_function="relu", tie_word_embeddings=False),
                    dict(tied=False, activation="relu")),
    "llama": ("LlamaForCausalLM", COMMON, dict(tied=False, kv_heads=2, rotary_theta=10000.0)),
    "llama tied, head_dim": ("LlamaForCausalLM", dict(COMMON, tie_word_embeddings=True, head_dim=6, rms_norm_eps=1e-3),
                             dict(tied=True, head_dim=6)),
    "llama3": ("LlamaForCausalLM", dict(COMMON, num_key_value_heads=6, rope_parameters=LLAMA3),
               dict(rotary_scaling="llama3", rotary_original=8)),
    "llama linear": ("LlamaForCausalLM", dict(COMMON, num_key_value_heads=1, rope_parameters=dict(
        rope_type="linear", factor=4.0, rope_theta=500.0)), dict(rotary_scaling="linear", rotary_factor=4.0)),
    "mistral": ("MistralForCausalLM", dict(COMMON, sliding_window=4), dict(window=4)),
    "mistral, no window": ("MistralForCausalLM", dict(COMMON, sliding_window=None), dict(window=0)),
    "qwen2": ("Qwen2ForCausalLM", COMMON, dict(qkv_bias=True, window=0)),
    "qwen2 window": ("Qwen2ForCausalLM", dict(COMMON, tie_word_embeddings=True, use_sliding_window=True,
                                              sliding_window=3, layer_types=TYPES), dict(window=3, window_every=2)),
    "qwen3": ("Qwen3ForCausalLM", dict(COMMON, head_dim=8), dict(qk_norm="head", head_dim=8)),
    "qwen3 tied": ("Qwen3ForCausalLM", dict(COMMON, head_dim=6, num_key_value_heads=6, tie_word_embeddings=True),
                   dict(tied=True)),
    "olmo2": ("Olmo2ForCausalLM", COMMON, dict(norm_place="after", qk_norm="all")),
    "gemma2": ("Gemma2ForCausalLM", GEMMA, dict(window=4, window_every=2, score_softcap=50.0, logit_softcap=30.0)),
    "gemma2 small caps": ("Gemma2ForCausalLM", dict(GEMMA, attn_logit_softcapping=1.5, final_logit_softcapping=None,
                                                    query_pre_attn_scalar=8), dict(logit_softcap=0.0)),
    "gemma3": ("Gemma3ForCausalLM", dict(GEMMA, rope_parameters=GEMMA3, layer_types=TYPES[:1] * 2 + TYPES[1:2]),
               dict(window_every=3, rotary_local_theta=100.0, rotary_factor=2.0)),
    "gemma3 all local": ("Gemma3ForCausalLM", dict(GEMMA, num_key_value_heads=3), dict(window_every=0, window=4)),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_and_loss(case, oracle, apply, close, mask, tmp_path):
    name, config, fields = CASES[case]
    network = oracle.make(name, tmp_path / "theirs", **config)
    loaded = interop.load(tmp_path / "theirs")
    assert {field: loaded.kwargs.get(field, 0) for field in fields} == fields
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    labels = np.where(mask * np.pad(mask, ((0, 0), (1, 0)))[:, :-1] > 0, TOKENS, -100)  # a token after a token
    inputs = dict(input_ids=TOKENS, attention_mask=mask, position_ids=positions, labels=labels)
    expected = oracle.call(network, **inputs)
    logits = apply(loaded, TOKENS, mask, positions)
    close(logits, expected["logits"], mask)
    nll = np.asarray(losses.cross_entropy(logits[:, :-1], np.maximum(labels[:, 1:], 0))[0])[labels[:, 1:] >= 0]
    close(nll.mean(keepdims=True), expected["loss"][None])
    again, said = oracle.back(loaded, tmp_path / "ours")
    close(oracle.call(again, **inputs)["logits"], expected["logits"], mask)
    assert not said
    assert type(again) is type(network) or case == "mistral, no window"  # which is a LLaMA
