"""GGUF files of every architecture, made from random models of transformers, against these models; and what
transformers itself reads from the file."""

import numpy as np
import pytest

from lmlab.interop import gguf
from lmlab.models import transformer
from lmlab.models.spec import Spec

pytestmark = pytest.mark.slow
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
official = pytest.importorskip("gguf")

SIZES = dict(vocab_size=67, hidden_size=48, num_hidden_layers=3, intermediate_size=40, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, initializer_range=0.3)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}
# name: (class, what its config has beyond SIZES, general.architecture, norms stored plus one)
CASES = {
    "llama": ("Llama", dict(tie_word_embeddings=False), "llama", 0),
    "llama3 angles": ("Llama", dict(tie_word_embeddings=True, rope_parameters=LLAMA3, head_dim=32), "llama", 0),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True), "qwen2", 0),
    "qwen3": ("Qwen3", dict(head_dim=20, tie_word_embeddings=False), "qwen3", 0),
    "gemma2": ("Gemma2", dict(head_dim=20, query_pre_attn_scalar=20, sliding_window=5, tie_word_embeddings=True,
                              attn_logit_softcapping=20.0, final_logit_softcapping=30.0), "gemma2", 1),
    "gemma3": ("Gemma3", dict(head_dim=20, query_pre_attn_scalar=20, sliding_window=5, num_hidden_layers=7),
               "gemma3", 1),
}
KEYS = {"hidden_size": "embedding_length", "num_hidden_layers": "block_count",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
        "max_position_embeddings": "context_length", "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "head_dim": "attention.key_length", "sliding_window": "attention.sliding_window",
        "attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}


def model_of(name):
    """A random model of transformers in float32, attention the plain way."""
    family, more, _, _ = CASES[name]
    config = getattr(transformers, f"{family}{'Text' if family == 'Gemma3' else ''}Config")(**{**SIZES, **more})
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def write(path, name, model):
    """Writes the model as llama.cpp's conversion does: names of the gguf package, rows and norms in its form."""
    _, more, kind, plus = CASES[name]
    config, writer = model.config, official.GGUFWriter(path, kind)
    for theirs, ours in KEYS.items():
        value = getattr(config, theirs, None)
        if value is not None and (theirs in {**SIZES, **more}):
            (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"{kind}.{ours}", value)
    rope = config.rope_parameters
    writer.add_float32(f"{kind}.rope.freq_base", rope.get("full_attention", rope)["rope_theta"])
    architecture = {v: k for k, v in official.MODEL_ARCH_NAMES.items()}[kind]
    table = official.get_tensor_name_map(architecture, config.num_hidden_layers)
    for theirs, tensor in model.state_dict().items():
        array = tensor.numpy()
        if theirs == "lm_head.weight" and config.tie_word_embeddings:
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(theirs.split(".")[-2])
        if kind == "llama" and heads:
            array = array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        array = array + np.float32(plus) if theirs.endswith("norm.weight") else array
        writer.add_tensor(table.get_name(theirs, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(array))
    if rope.get("rope_type") == "llama3":
        plain = rope["rope_theta"] ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_model_it_was_made_from(name, tmp_path):
    model = model_of(name)
    found = gguf.load(write(tmp_path / "x.gguf", name, model))
    tokens = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 23))
    with torch.no_grad():
        expected = model(torch.tensor(tokens)).logits.numpy()
    logits = transformer.Model(Spec(**found.kwargs)).apply({"params": found.params}, tokens)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2"])
def test_transformers_reads_the_same_tensors_from_the_file(name, tmp_path):
    """So that the file of the test above is one that others read as we do."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    model = model_of(name)
    path = write(tmp_path / "x.gguf", name, model)
    found = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    expected = model.state_dict()
    for key in found:
        np.testing.assert_allclose(np.asarray(found[key]), expected[key].numpy(), atol=1e-6)
    assert len(found) >= len(expected) - 1
