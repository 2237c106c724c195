"""T5, BART and Marian against transformers': logits, loss, padding in encoder and decoder, and back."""

import numpy as np
import pytest

from lmlab import interop
from lmlab.objectives import losses

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
TOKENS, ENCODER = RNG.integers(2, 53, (3, 11)), RNG.integers(2, 53, (3, 7))
ENCODER_MASK = np.ones((3, 7), np.int32)
ENCODER_MASK[0, 5:] = ENCODER_MASK[1, :2] = 0

T5 = dict(vocab_size=53, d_model=24, d_kv=10, d_ff=40, num_layers=2, num_heads=4, n_positions=16, pad_token_id=0,
          eos_token_id=1, decoder_start_token_id=0)
BART = dict(vocab_size=53, d_model=24, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=40, max_position_embeddings=16,
            pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2)
CASES = {
    "t5": ("T5ForConditionalGeneration", T5, dict(tied=True, logit_scale=24 ** -0.5, head_dim=10)),
    "t5 v1.1": ("T5ForConditionalGeneration", dict(T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                                                   num_decoder_layers=3), dict(activation="geglu", layers=3)),
    "t5 few buckets": ("T5ForConditionalGeneration", dict(T5, relative_attention_num_buckets=8, d_kv=6,
                                                          feed_forward_proj="gated-silu",
                                                          relative_attention_max_distance=10),
                       dict(relative_buckets=8, activation="swiglu")),
    "bart": ("BartForConditionalGeneration", BART, dict(embedding_norm=True, position_offset=2, head_bias=True)),
    "bart scaled": ("BartForConditionalGeneration", dict(BART, scale_embedding=True, activation_function="relu",
                                                         encoder_layers=1), dict(embedding_scale=True)),
    "marian": ("MarianMTModel", dict(BART, activation_function="swish", scale_embedding=True, bos_token_id=None),
               dict(positions="sinusoidal", activation="silu", embedding_norm=False)),
    "marian odd": ("MarianMTModel", dict(BART, d_model=20, activation_function="gelu", bos_token_id=None),
                   dict(embedding_scale=False)),
}


def compare(network, loaded, oracle, apply, close, tokens, mask, encoder, encoder_mask):
    """Ours against theirs, logits and loss; returns (their inputs, their logits)."""
    labels = np.where(mask > 0, np.roll(tokens, -1, 1), -100)
    inputs = dict(input_ids=encoder, attention_mask=encoder_mask, decoder_input_ids=tokens, labels=labels,
                  decoder_attention_mask=mask)
    expected = oracle.call(network, **inputs)
    counted = lambda a: np.broadcast_to(np.arange(a.shape[1]), a.shape)  # these families count padding too
    logits = apply(loaded, tokens, mask, counted(tokens), encoder={
        "tokens": encoder, "segments": encoder_mask, "positions": counted(encoder)})
    close(logits, expected["logits"], mask)
    nll = np.asarray(losses.cross_entropy(logits, np.maximum(labels, 0))[0])[labels >= 0]
    close(nll.mean(keepdims=True), expected["loss"][None])
    return inputs, expected["logits"]


@pytest.mark.parametrize("case", CASES)
def test_logits_and_loss(case, oracle, apply, close, mask, tmp_path):
    name, config, fields = CASES[case]
    network = oracle.make(name, tmp_path / "theirs", **config)
    loaded = interop.load(tmp_path / "theirs")
    assert {field: loaded.kwargs.get(field, False) for field in fields} == fields
    assert loaded.extras["generation"]["decoder_start"] == config["decoder_start_token_id"]
    inputs, expected = compare(network, loaded, oracle, apply, close, TOKENS, mask, ENCODER, ENCODER_MASK)
    again, said = oracle.back(loaded, tmp_path / "ours")
    del inputs["labels"]
    close(oracle.call(again, **inputs)["logits"], expected, mask)
    assert not said and type(again) is type(network)


def test_t5_with_a_head_of_its_own(oracle, apply, close, mask, tmp_path):
    """The published v1.1 weights: config.json says tied to transformers 5 whatever it says, the file has the head."""
    network = oracle.make("T5ForConditionalGeneration", tmp_path / "theirs", **CASES["t5 v1.1"][1])
    from safetensors.numpy import load_file, save_file
    path = tmp_path / "theirs" / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = RNG.standard_normal((53, 24)).astype(np.float32)
    save_file(tensors, path, {"format": "pt"})
    network = type(network).from_pretrained(tmp_path / "theirs").eval()
    loaded = interop.load(tmp_path / "theirs")
    assert not loaded.kwargs["tied"] and loaded.kwargs["logit_scale"] == 1.0
    inputs, expected = compare(network, loaded, oracle, apply, close, TOKENS, mask, ENCODER, ENCODER_MASK)
    again, said = oracle.back(loaded, tmp_path / "ours")
    del inputs["labels"]
    close(oracle.call(again, **inputs)["logits"], expected, mask)
    assert len(said) == 1 and "we will NOT tie them" in said[0]  # transformers 5 says so of its own files too


def test_t5_far_apart(oracle, apply, close, tmp_path):
    """Positions beyond 128, the distance where T5's buckets end, in encoder and decoder."""
    network = oracle.make("T5ForConditionalGeneration", tmp_path, **dict(T5, num_layers=1))
    tokens, encoder = RNG.integers(2, 53, (2, 2, 201))
    ones = np.ones_like(tokens)
    compare(network, interop.load(tmp_path), oracle, apply, close, tokens, ones, encoder, ones)
