"""Folders of Hugging Face's without transformers: round trips, what is refused and how, memory, older spellings."""

import json
import re
import tracemalloc
from pathlib import Path

import flax
import ml_dtypes
import numpy as np
import pytest

from lmlab import interop
from lmlab.data.tokenizers import plain
from lmlab.interop import configs, huggingface, names, weights
from lmlab.interop.families import FAMILIES
from lmlab.models import presets
from lmlab.models.spec import Spec
from lmlab.utils.errors import UserError

KIND = {**{name: name for name in presets.FAMILIES}, "t5_v1_1": "t5", "llama2": "llama", "llama3": "llama",
        "transformer": "marian", "smollm2": "llama", "gemma3": "gemma3_text"}
SMALL = dict(vocab_size=53, context=16, width=24, layers=2, heads=4, head_dim=0, ff=20)
CHANGES = {"t5": dict(encoder_layers=3, head_dim=10, logit_scale=24 ** -0.5), "t5_v1_1": dict(encoder_layers=2),
           "bart": dict(encoder_layers=3), "marian": dict(encoder_layers=1), "mistral": dict(kv_heads=2, window=5),
           "gpt2": dict(tied=False), **{name: dict(kv_heads=2, head_dim=8) for name in ("qwen3", "gemma2", "gemma3")}}


def random_params(spec, seed=0):
    rng = np.random.default_rng(seed)
    return {path: rng.standard_normal(shape, np.float32) for path, shape in names.shapes(spec).items()}


def nested(arrays):
    return flax.traverse_util.unflatten_dict(arrays, sep="/")


@pytest.fixture
def folder(tmp_path):
    """A function that writes a small model of a family: (its name) -> (folder, keyword arguments, {path: array})."""
    def make(family="llama2", **changes):
        kwargs = presets.get(family, **{**SMALL, "kv_heads": 0, **CHANGES.get(family, {}), **changes})
        arrays = random_params(Spec(**kwargs))
        interop.save(tmp_path, kwargs, nested(arrays))
        return tmp_path, kwargs, arrays
    return make


def rewrite(folder, change=None, **config):
    """Changes a folder's config, and its tensors by a function of {name: array}."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    if change:
        tensors = {name: np.array(x) for name, x in weights.read(folder).items()}
        change(tensors)
        weights.write(folder, tensors)


@pytest.mark.parametrize("family", presets.FAMILIES)
def test_every_size_finds_its_architecture(family):
    for size in presets.FAMILIES[family][1]:
        spec = Spec(vocab_size=97, **presets.get(f"{family}:{size}"))
        assert huggingface.find(spec)[0] == KIND[family]


def test_the_first_transformer_is_marian_with_a_bias_of_zero(folder):
    path, kwargs, arrays = folder("transformer", encoder_layers=1)
    loaded = interop.load(path)
    assert configs.difference(Spec(**kwargs), Spec(**loaded.kwargs)) == ["head_bias"]
    found = flax.traverse_util.flatten_dict(loaded.params, sep="/")
    assert not found.pop("head_bias").any() and found.keys() == arrays.keys()
    assert all((found[name] == x).all() for name, x in arrays.items())


@pytest.mark.parametrize("family", [name for name in presets.FAMILIES if name != "transformer"])
def test_out_and_in_again(family, folder):
    path, kwargs, arrays = folder(family)
    loaded = interop.load(path)
    assert not configs.difference(Spec(**kwargs), Spec(**loaded.kwargs))
    found = flax.traverse_util.flatten_dict(loaded.params, sep="/")
    assert found.keys() == arrays.keys() and loaded.tokenizer is None
    for name, x in arrays.items():
        assert found[name].dtype == np.float32 and found[name].flags.writeable
        np.testing.assert_allclose(found[name], x, atol=1e-6 if "gemma" in family else 0)
    assert json.loads((path / "config.json").read_text())["model_type"] == KIND[family]


@pytest.mark.parametrize("pad,kind", [(1, "roberta"), (2, "bert"), (None, "bert")])
def test_roberta_counts_positions_by_the_tokens_that_are_no_padding(pad, kind, tmp_path):
    """So it can be RoBERTa only where the tokenizer pads with the id before its first position."""
    kwargs = presets.get("roberta", **{**SMALL, "vocab_size": 257})
    arrays, tokenizer = random_params(Spec(**kwargs)), plain.Bytes()
    tokenizer.specials = {} if pad is None else {"pad": pad}
    interop.save(tmp_path, kwargs, nested(arrays), tokenizer)
    said = json.loads((tmp_path / "config.json").read_text())
    loaded = interop.load(tmp_path)
    assert said["model_type"] == kind and said["pad_token_id"] == pad
    rows = loaded.params["position_embedding"][loaded.kwargs.get("position_offset", 0):]
    np.testing.assert_array_equal(rows, arrays["position_embedding"][2:])


@pytest.mark.parametrize("field,value", [("positions", "none"), ("norm", "layer"), ("norm_place", "post"),
                                         ("logit_scale", 0.3), ("head_bias", True), ("experts", 4), ("window", 7),
                                         ("attends", "full"), ("encoder_layers", 1), ("generator", 0.5)])
def test_what_no_architecture_has_is_named(field, value, tmp_path):
    kwargs = {**presets.get("qwen2", **SMALL, kv_heads=2), "qk_norm": "all", field: value}
    with pytest.raises(UserError) as error:
        interop.save(tmp_path, kwargs, {})
    assert "config.model." in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family,config,said", [
    ("llama2", {"model_type": "lama"}, "model_type='lama'.*did you mean 'llama'"),
    ("llama2", {"model_type": ["llama"]}, "model_type"),
    ("llama2", {"hidden_act": "quick_gelu"}, "hidden_act='quick_gelu'.*silu"),
    ("llama2", {"attention_bias": True}, "attention_bias='True'"),
    ("llama2", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ("llama2", {"hidden_size": "24"}, "hidden_size='24'.*int"),
    ("llama2", {"hidden_size": 2 ** 40}, "hidden_size"),
    ("llama2", {"num_hidden_layers": True}, "num_hidden_layers"),
    ("llama2", {"num_attention_heads": 5}, "config.json: .*heads"),
    ("llama2", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type='yarn'"),
    ("llama2", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type='dynamic'"),
    ("llama2", {"rope_scaling": 3}, "rope_scaling='3'"),
    ("llama2", {"rope_scaling": {"type": "linear"}}, "rotary_factor"),
    ("gemma3", {"rope_scaling": None, "rope_parameters": {"sliding_attention": {"rope_type": "linear"}}},
     "sliding_attention.rope_type='linear'"),
    ("llama2", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}, "rope_scaling": None},
     "partial_rotary_factor='0.5'"),
    ("gemma2", {"query_pre_attn_scalar": "a"}, "query_pre_attn_scalar='a'"),
    ("gemma2", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ("gemma2", {"layer_types": ["chunked_attention"] * 2}, "layer_types"),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "layer_types": None, "max_window_layers": 1},
     "max_window_layers='1'"),
    ("t5", {"feed_forward_proj": "gated-relu"}, "feed_forward_proj='gated-relu'"),
    ("bart", {"encoder_attention_heads": 2}, "encoder_attention_heads='2'"),
    ("bart", {"normalize_before": True}, "normalize_before"),
    ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
    ("bert", {"is_decoder": True}, "is_decoder"),
    ("roberta", {"hidden_act": "relu"}, "hidden_act='relu'"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
])
def test_a_config_that_cannot_be_expressed(family, config, said, folder):
    path = folder(family)[0]
    rewrite(path, **config)
    with pytest.raises(UserError, match=said) as error:
        interop.load(path)
    assert str(path / "config.json") in str(error.value) and "\n" not in str(error.value)


def test_a_key_that_is_missing(folder):
    path = folder()[0]
    values = json.loads((path / "config.json").read_text())
    del values["hidden_size"]
    (path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="hidden_size is missing"):
        interop.load(path)


Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize("change,said", [
    (lambda t: t.pop(Q), f"'{Q}', which is missing"),
    (lambda t: t.pop("lm_head.weight"), "lm_head.weight"),
    (lambda t: t.update({Q: t[Q][:-1]}), rf"'{Q}' has shape \(23, 24\).*\(24, 24\)"),
    (lambda t: t.update({Q: t[Q].T.reshape(12, 48)}), Q),
    (lambda t: t.update({Q: t[Q].astype(np.int8)}), f"'{Q}' is of type int8"),
    (lambda t: t.update({"model.layers.2.mlp.up_proj.weight": t[Q]}), "model.layers.2.mlp.up_proj.weight"),
    (lambda t: t.update({"score.weight": t[Q]}), "'score.weight'.*has no place"),
])
def test_every_tensor_has_one_place(change, said, folder):
    path = folder()[0]
    rewrite(path, change)
    with pytest.raises(UserError, match=said) as error:
        interop.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family,sizes", [
    ("gemma2", [{"num_hidden_layers": 2 ** 30, "layer_types": None}, {"vocab_size": 2 ** 30},
                {"vocab_size": 10 ** 30}]),
    ("llama2", [{"num_hidden_layers": 2 ** 30}, {"num_hidden_layers": 3}, {"intermediate_size": 2 ** 30},
                {"head_dim": 2 ** 30}]),
    ("t5", [{"relative_attention_num_buckets": 2 ** 29, "relative_attention_max_distance": 2 ** 30},
            {"num_layers": 2 ** 30}, {"num_decoder_layers": 2 ** 30}]),
    ("marian", [{"max_position_embeddings": 2 ** 30}, {"encoder_layers": 2 ** 30}, {"d_model": 2 ** 30},
                {"max_position_embeddings": 2 ** 17, "d_model": 512}]),
])
def test_sizes_that_the_weights_have_not_cost_no_memory(family, sizes, folder):
    path = folder(family)[0]
    said = (path / "config.json").read_text()
    for config in sizes:
        (path / "config.json").write_text(said)
        rewrite(path, **config)
        tracemalloc.start()
        with pytest.raises(UserError, match="layers|shape|missing|at most|no tensor is so large"):
            interop.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2 ** 26
        tracemalloc.stop()


def test_what_older_files_hold_beside_the_weights(folder):
    """Buffers, tied copies, LayerNorm's old names, and the network without its prefix."""
    path, _, arrays = folder("bert", tied=True)

    def older(tensors):
        tensors["bert.embeddings.position_ids"] = np.arange(16)[None]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
        for name in list(tensors):
            old = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name))
            tensors[old.removeprefix("bert.")] = tensors.pop(name)
    rewrite(path, older)
    found = flax.traverse_util.flatten_dict(interop.load(path).params, sep="/")
    assert all((found[name] == x).all() for name, x in arrays.items())


def test_gpt2_without_its_prefix_and_with_its_buffers(folder):
    path, _, arrays = folder("gpt2", tied=True)

    def older(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors |= {f"h.{i}.attn.{name}": np.ones((1, 1, 4, 4), np.uint8) for i in (0, 1)
                    for name in ("bias", "masked_bias")}
    rewrite(path, older)
    found = flax.traverse_util.flatten_dict(interop.load(path).params, sep="/")
    assert all((found[name] == x).all() for name, x in arrays.items())


def test_a_head_that_is_not_the_embedding_is_not_tied(folder):
    path, kwargs, arrays = folder("smollm2")
    assert kwargs["tied"]
    rewrite(path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] * 2}))
    loaded = interop.load(path)
    assert not loaded.kwargs["tied"]
    np.testing.assert_array_equal(loaded.params["head"]["kernel"], 2 * arrays["token_embedding"].T)


def test_two_tables_of_embeddings_are_refused(folder):
    path = folder("bart", tied=False)[0]
    rewrite(path, lambda t: t.update({"model.encoder.embed_tokens.weight": t["model.shared.weight"]}))
    interop.load(path)
    rewrite(path, lambda t: t.update({"model.decoder.embed_tokens.weight": t["model.shared.weight"] + 1}))
    with pytest.raises(UserError, match="'model.decoder.embed_tokens.weight' is not 'model.shared.weight'; only one"):
        interop.load(path)


def test_half_precision_and_memory(folder):
    """bfloat16 tensors become float32 without a second copy of the model."""
    path, _, arrays = folder(width=512, heads=8, ff=2048, vocab_size=8000)

    def halve(tensors):
        tensors |= {name: x.astype(ml_dtypes.bfloat16) for name, x in tensors.items()}
    rewrite(path, halve)
    size = sum(x.nbytes for x in arrays.values())
    interop.load(path)  # what is traced and compiled once
    tracemalloc.start()
    loaded = interop.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 5e7 and peak < 1.1 * size
    found = flax.traverse_util.flatten_dict(loaded.params, sep="/")
    for name, x in arrays.items():
        assert (found[name] == x.astype(ml_dtypes.bfloat16).astype(np.float32)).all()


@pytest.mark.parametrize("old,new,fields", [
    (dict(rope_theta=50.0), dict(rope_parameters=dict(rope_type="default", rope_theta=50.0)), dict(rotary_theta=50.0)),
    (dict(rope_theta=50.0, rope_scaling=dict(type="linear", factor=2.0)),
     dict(rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=50.0)),
     dict(rotary_theta=50.0, rotary_scaling="linear", rotary_factor=2.0)),
])
def test_rotary_angles_as_transformers_4_and_5_say_them(old, new, fields):
    base = configs.to_hf(FAMILIES["llama"], Spec(**presets.get("llama2", **SMALL)))
    for key in ("rope_theta", "rope_scaling", "rope_parameters"):
        del base[key]
    for said in (old, new):
        kwargs = configs.from_hf(FAMILIES["llama"], {**base, **said})
        assert {field: kwargs[field] for field in fields} == fields


def test_gemma3_of_transformers_4():
    base = configs.to_hf(FAMILIES["gemma3_text"], Spec(vocab_size=9, **presets.get("gemma3:4b")))
    for key in ("rope_theta", "rope_scaling", "rope_parameters", "layer_types", "tie_word_embeddings"):
        del base[key]
    kwargs = configs.from_hf(FAMILIES["gemma3_text"], {
        **base, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}})
    assert not configs.difference(Spec(**kwargs), Spec(vocab_size=9, **presets.get("gemma3:4b")))


def test_a_base_width_is_the_scale_of_the_logits():
    plain, quarter = Spec(vocab_size=9, width=64), Spec(vocab_size=9, width=64, base_width=16)
    assert not configs.difference(quarter, Spec(vocab_size=9, width=64, logit_scale=0.25))
    assert not configs.difference(plain, Spec(vocab_size=9, width=64, base_width=64))
    assert configs.difference(plain, quarter) == ["logit_scale"]


def test_ids_of_special_tokens(folder):
    """Those of generation_config.json before those of config.json."""
    path = folder("bart")[0]
    rewrite(path, eos_token_id=5, decoder_start_token_id=7)
    (path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    assert interop.load(path).extras["generation"] == {"eos": [5, 6], "pad": 0, "decoder_start": 7}


@pytest.fixture
def sentences(folder):
    """A function that makes a folder of sentence-transformers' around a bare BERT: (modules, pooling) -> folder."""
    def make(kinds=("Transformer", "Pooling", "Normalize"), pooling=None, inside=""):
        path = folder("bert", head="linear", head_bias=False, pooler=False)[0]
        (path / "modules.json").write_text(json.dumps([
            {"idx": i, "path": inside if kind == "Transformer" else f"{i}_{kind}",
             "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)]))
        (path / "1_Pooling").mkdir()
        (path / "1_Pooling" / "config.json").write_text(json.dumps(
            pooling or {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True,
                        "pooling_mode_cls_token": False}))
        return path
    return make


def test_sentence_embeddings(sentences):
    assert interop.load(sentences()).extras["embedding"] == {"pooling": "mean", "normalise": True}


def test_sentence_embeddings_of_the_first_token(sentences):
    path = sentences(("Transformer", "Pooling"), {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    assert interop.load(path).extras["embedding"] == {"pooling": "cls", "normalise": False}


@pytest.mark.parametrize("arguments,said", [
    (dict(kinds=("Transformer", "Pooling", "Dense")), "'Dense'"),
    (dict(pooling={"pooling_mode_max_tokens": True}), "pooling_mode_max_tokens"),
    (dict(pooling={"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}), "not supported"),
    (dict(inside="../elsewhere"), "leads out of the folder"),
])
def test_sentence_embeddings_that_cannot_be_expressed(arguments, said, sentences):
    with pytest.raises(UserError, match=said):
        interop.load(sentences(**arguments))


def test_the_document_shows_the_lines_that_are_there():
    root = Path(__file__).parents[2]
    diff = (root / "docs" / "adding-a-family.md").read_text().split("```")[1]
    files = re.split(r"^--- (.*)$", diff, flags=re.M)[1:]
    lines = [(path, line[1:]) for path, text in zip(files[::2], files[1::2]) for line in text.splitlines()
             if line.startswith("+")]
    assert 4 <= len(lines) <= 40
    for path, line in lines:
        assert line in (root / path).read_text().splitlines(), f"{path} has no line {line}"
