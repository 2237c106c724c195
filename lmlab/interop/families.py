"""The families of Hugging Face's architectures as one table: names of weights, keys of the config, constants.

A decoder like LLaMA is `_llama(its class, where it differs)`: docs/adding-a-family.md adds one.
"""

from typing import NamedTuple

from lmlab.interop.configs import Rule, activation, choice, gate, layer_types, rotary


class Family(NamedTuple):
    """One model_type.

    Attributes:
      heads: ((class of transformers, fields of the Spec that it stands for), ...): the first that fits is written.
      names: {our path, of an array or of a module with kernel or scale and bias: the tensors' names in order}; {} is
        the layer's number, a name after | is read where the first is missing (and written beside it).
      keys: {field of the Spec: the config's keys with its value}, the first key being read and the others its equals.
      constants: fields of the Spec that are the same in the whole family. rules: what configs.py knows how to do.
      defaults: values of keys that a config.json may lack. only: {key: the values that can be expressed}.
      written: keys that are always written. prefix: what may be missing before the names (files of a bare network).
      repeated: tensors that repeat others or follow from the config, and may stand in a file.
      conv1d: matrices are stored (in, out). norm_offset: norms are stored less one.
      rows: paths of vectors stored as a matrix of one row.
    """
    heads: tuple
    names: dict
    keys: dict
    constants: dict
    rules: tuple = ()
    defaults: dict = {}
    only: dict = {}
    written: dict = {}
    prefix: str = ""
    repeated: tuple = ()
    conv1d: bool = False
    norm_offset: float = 0.0
    rows: tuple = ()


def _layers(path, prefix, names):
    """{path + ours: prefix + theirs} of the names of one layer."""
    put = lambda tensors: " ".join("|".join(prefix + name for name in t.split("|")) for t in tensors.split())
    return {path + ours: put(theirs) for ours, theirs in names.items()}


# --- decoders like LLaMA ---

_LLAMA = {
    "attention/qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj", "attention/out": "self_attn.o_proj",
    "attention/q_norm": "self_attn.q_norm", "attention/k_norm": "self_attn.k_norm",
    "ff/wi_gated": "mlp.gate_proj mlp.up_proj", "ff/wo": "mlp.down_proj",
    "norm_attention": "input_layernorm", "norm_ff": "post_attention_layernorm"}
_AFTER = {"norm_attention_out": "post_attention_layernorm", "norm_ff_out": "post_feedforward_layernorm"}
_BOTH = {**_AFTER, "norm_ff": "pre_feedforward_layernorm"}


def _llama(name, layer=(), keys=(), **more):
    """A decoder like LLaMA: what differs from it in a layer's names and the config's keys, constants and so on."""
    constants = dict(positions="rotary", norm="rms", bias=False, **more.pop("constants", {}))
    return Family(
        heads=((name, {}),), constants=constants, prefix="model.", **{"rules": (gate(), rotary()), **more,
        "defaults": {"num_key_value_heads": None, "head_dim": None, "tie_word_embeddings": False,
                     **more.get("defaults", {})}},
        names={"token_embedding": "model.embed_tokens.weight", "trunk/norm_final": "model.norm", "head": "lm_head",
               **_layers("trunk/blocks/", "model.layers.{}.", {**_LLAMA, **dict(layer)})},
        keys={"vocab_size": "vocab_size", "context": "max_position_embeddings", "width": "hidden_size",
              "layers": "num_hidden_layers", "heads": "num_attention_heads", "kv_heads": "num_key_value_heads",
              "head_dim": "head_dim", "ff": "intermediate_size", "norm_eps": "rms_norm_eps",
              "tied": "tie_word_embeddings", **dict(keys)})


_SCALAR = Rule(lambda config: {"score_scale": config.get("query_pre_attn_scalar") ** -0.5},
               lambda spec: {"query_pre_attn_scalar": round(spec.scale ** -2)})
_GEMMA = dict(layer=_BOTH, norm_offset=1.0,
              keys={"score_softcap": "attn_logit_softcapping", "logit_softcap": "final_logit_softcapping"})

# --- encoders and encoder-decoders ---

_BERT = {
    "attention/qkv": "attention.self.query attention.self.key attention.self.value",
    "attention/out": "attention.output.dense", "norm_attention": "attention.output.LayerNorm",
    "ff/wi": "intermediate.dense", "ff/wo": "output.dense", "norm_ff": "output.LayerNorm"}


def _bert(prefix, heads, names, context, **more):
    """An encoder like BERT: the names of its heads, and how its config says the context."""
    embeddings = f"{prefix}embeddings."
    return Family(
        heads=heads, prefix=prefix, **more,
        names={"token_embedding": f"{embeddings}word_embeddings.weight", "pooler": f"{prefix}pooler.dense",
               "position_embedding": f"{embeddings}position_embeddings.weight",
               "type_embedding": f"{embeddings}token_type_embeddings.weight",
               "norm_embedding": f"{embeddings}LayerNorm",
               **_layers("trunk/blocks/", prefix + "encoder.layer.{}.", _BERT), **names},
        keys={"vocab_size": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers",
              "heads": "num_attention_heads", "ff": "intermediate_size", "norm_eps": "layer_norm_eps",
              "token_types": "type_vocab_size", "tied": "tie_word_embeddings", "dropout": "hidden_dropout_prob"},
        constants=dict(attends="full", norm_place="post", embedding_norm=True), rules=(activation(), context),
        defaults={"tie_word_embeddings": True, "pad_token_id": 1})


_SEQ2SEQ = {
    "attention/qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj", "attention/out": "self_attn.out_proj",
    "norm_attention": "self_attn_layer_norm", "cross/q": "encoder_attn.q_proj", "cross/out": "encoder_attn.out_proj",
    "cross/kv": "encoder_attn.k_proj encoder_attn.v_proj", "norm_cross": "encoder_attn_layer_norm",
    "ff/wi": "fc1", "ff/wo": "fc2", "norm_ff": "final_layer_norm"}


def _seq2seq(name, constants, **more):
    """An encoder-decoder like BART."""
    side = {"encoder_": "model.encoder.", "": "model.decoder."}
    return Family(
        heads=((name, dict(head_bias=True)),), prefix="model.", rows=("head_bias",), **more,
        names={"token_embedding": "model.shared.weight", "head": "lm_head", "head_bias": "final_logits_bias",
               **{f"{ours}position_embedding": f"{theirs}embed_positions.weight" for ours, theirs in side.items()},
               **{f"norm_{ours}embedding": f"{theirs}layernorm_embedding" for ours, theirs in side.items()},
               **_layers("trunk/blocks/", "model.decoder.layers.{}.", _SEQ2SEQ),
               **_layers("encoder/blocks/", "model.encoder.layers.{}.", _SEQ2SEQ)},
        keys={"vocab_size": "vocab_size", "context": "max_position_embeddings", "width": "d_model",
              "encoder_layers": "encoder_layers", "layers": "decoder_layers", "dropout": "dropout",
              "heads": "decoder_attention_heads encoder_attention_heads", "ff": "decoder_ffn_dim encoder_ffn_dim",
              "embedding_scale": "scale_embedding", "tied": "tie_word_embeddings"},
        constants=dict(norm_place="post", norm_eps=1e-5, **constants), rules=(activation("activation_function"),),
        defaults={"scale_embedding": False, "tie_word_embeddings": True},
        written={"is_encoder_decoder": True},
        repeated=tuple(f"model.{part}.embed_{what}.weight" for part in ("encoder", "decoder")
                       for what in ("tokens", "positions")))


def _t5_layers(path, prefix, ff):
    """The names of T5's layers, whose feed-forward is their last sublayer, number `ff`."""
    number = lambda part, names: " ".join(f"layer.{part}.{name}" for name in names.split())
    return _layers(path, prefix, {
        "attention/qkv": number(0, "SelfAttention.q SelfAttention.k SelfAttention.v"),
        "attention/out": number(0, "SelfAttention.o"), "norm_attention": number(0, "layer_norm"),
        "cross/q": number(1, "EncDecAttention.q"), "cross/kv": number(1, "EncDecAttention.k EncDecAttention.v"),
        "cross/out": number(1, "EncDecAttention.o"), "norm_cross": number(1, "layer_norm"),
        "ff/wi": number(ff, "DenseReluDense.wi"), "ff/wo": number(ff, "DenseReluDense.wo"),
        "ff/wi_gated": number(ff, "DenseReluDense.wi_0 DenseReluDense.wi_1"), "norm_ff": number(ff, "layer_norm")})


def _t5_out(config):
    """Whether T5's logits share the embedding, and are scaled by width^-1/2 (in transformers 4: both or neither)."""
    tied = config.get("tie_word_embeddings")
    scaled = config.get("scale_decoder_outputs", tied)
    layers = config.get("num_decoder_layers", None)
    return {"tied": tied, "logit_scale": config.get("d_model") ** -0.5 if scaled else 1.0,
            "layers": config.get("num_layers") if layers is None else layers}


_T5_FF = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu", "gelu": "gelu_exact", "gelu_new": "gelu",
          "silu": "silu"}
_BIAS = "SelfAttention.relative_attention_bias.weight"
_POOLED = dict(head="transform", head_bias=True, pooler=True)
_MASKED = dict(head="transform", head_bias=True, pooler=False)
_BARE = dict(head="linear", head_bias=False, tied=True)

FAMILIES = {
    "llama": _llama("LlamaForCausalLM"),
    "mistral": _llama("MistralForCausalLM", keys={"window": "sliding_window"}, defaults={"sliding_window": 4096}),
    "qwen2": _llama("Qwen2ForCausalLM", constants={"qkv_bias": True}, defaults={"sliding_window": 4096},
                    rules=(gate(), rotary(), layer_types(switch=True))),
    "qwen3": _llama("Qwen3ForCausalLM", constants={"qk_norm": "head"},
                    defaults={"head_dim": 128, "sliding_window": 4096},
                    rules=(gate(), rotary(), layer_types(switch=True))),
    "olmo2": _llama("Olmo2ForCausalLM", layer=_AFTER, constants=dict(norm_place="after", qk_norm="all")),
    "gemma2": _llama("Gemma2ForCausalLM", **_GEMMA, constants=dict(norm_place="both", embedding_scale=True),
                     rules=(gate("hidden_activation"), rotary(), layer_types(2), _SCALAR),
                     defaults={"tie_word_embeddings": True, "head_dim": 256, "sliding_window": 4096}),
    "gemma3_text": _llama("Gemma3ForCausalLM", **_GEMMA,
                          constants=dict(norm_place="both", embedding_scale=True, qk_norm="head"),
                          rules=(gate("hidden_activation"), rotary(local=True), layer_types(6), _SCALAR),
                          defaults={"tie_word_embeddings": True, "head_dim": 256, "rope_theta": 1e6,
                                    "sliding_window": 4096}),
    "gpt2": Family(
        heads=(("GPT2LMHeadModel", {}),), prefix="transformer.", conv1d=True,
        names={"token_embedding": "transformer.wte.weight", "position_embedding": "transformer.wpe.weight",
               "trunk/norm_final": "transformer.ln_f", "head": "lm_head",
               **_layers("trunk/blocks/", "transformer.h.{}.", {
                   "attention/qkv": "attn.c_attn", "attention/out": "attn.c_proj", "norm_attention": "ln_1",
                   "ff/wi": "mlp.c_fc", "ff/wo": "mlp.c_proj", "norm_ff": "ln_2"})},
        keys={"vocab_size": "vocab_size", "context": "n_positions", "width": "n_embd", "layers": "n_layer",
              "heads": "n_head", "ff": "n_inner", "norm_eps": "layer_norm_epsilon", "tied": "tie_word_embeddings",
              "dropout": "resid_pdrop embd_pdrop attn_pdrop"},
        constants={}, rules=(activation("activation_function"),),
        defaults={"n_inner": None, "tie_word_embeddings": True, "resid_pdrop": 0.1}),
    "bert": _bert(
        "bert.", (("BertForPreTraining", _POOLED), ("BertForMaskedLM", _MASKED), ("BertModel", _BARE)),
        {"head_transform": "cls.predictions.transform.dense", "head_norm": "cls.predictions.transform.LayerNorm",
         "head": "cls.predictions.decoder", "head_bias": "cls.predictions.decoder.bias|cls.predictions.bias",
         "pair_head": "cls.seq_relationship"},
        Rule(lambda config: {"context": config.get("max_position_embeddings")},
             lambda spec: {"max_position_embeddings": spec.context})),
    "roberta": _bert(
        "roberta.", (("RobertaForMaskedLM", _MASKED), ("RobertaModel", _BARE)),
        {"head_transform": "lm_head.dense", "head_norm": "lm_head.layer_norm", "head": "lm_head.decoder",
         "head_bias": "lm_head.decoder.bias|lm_head.bias"},
        Rule(lambda config: {"position_offset": config.get("pad_token_id") + 1,
                             "context": config.get("max_position_embeddings") - config.get("pad_token_id") - 1},
             lambda spec: {"max_position_embeddings": spec.context + spec.position_offset,
                           "pad_token_id": spec.position_offset - 1}), only={"hidden_act": ("gelu",)}),
    "bart": _seq2seq("BartForConditionalGeneration", dict(positions="learned", position_offset=2, embedding_norm=True),
                     only={"normalize_embedding": (True,), "static_position_embeddings": (False,)}),
    "marian": _seq2seq("MarianMTModel", dict(positions="sinusoidal")),
    "t5": Family(
        heads=(("T5ForConditionalGeneration", {}),),
        names={"token_embedding": "shared.weight", "head": "lm_head", "trunk/norm_final": "decoder.final_layer_norm",
               "encoder/norm_final": "encoder.final_layer_norm", "trunk/relative": f"decoder.block.0.layer.0.{_BIAS}",
               "encoder/relative": f"encoder.block.0.layer.0.{_BIAS}",
               **_t5_layers("trunk/blocks/", "decoder.block.{}.", 2),
               **_t5_layers("encoder/blocks/", "encoder.block.{}.", 1)},
        keys={"vocab_size": "vocab_size", "context": "n_positions", "width": "d_model", "heads": "num_heads",
              "head_dim": "d_kv", "ff": "d_ff", "encoder_layers": "num_layers", "norm_eps": "layer_norm_epsilon",
              "relative_buckets": "relative_attention_num_buckets", "dropout": "dropout_rate",
              "relative_distance": "relative_attention_max_distance"},
        constants=dict(positions="relative", norm="rms", bias=False, score_scale=1.0),
        rules=(choice("activation", "feed_forward_proj", _T5_FF),
               Rule(_t5_out, lambda spec: {"tie_word_embeddings": spec.tied, "num_decoder_layers": spec.layers,
                                           "scale_decoder_outputs": spec.logit_scale != 1.0})),
        defaults={"n_positions": 512, "tie_word_embeddings": True, "relative_attention_max_distance": 128},
        written={"is_encoder_decoder": True},
        repeated=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
                  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight")),
}
