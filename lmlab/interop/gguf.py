"""Models in GGUF files (llama.cpp), read as the Hugging Face models that they were made from.

Metadata become a config.json, tensors get their old names and form back, and huggingface.py does the rest: there is one
table of families.
"""

from typing import NamedTuple

import numpy as np

from lmlab.interop import gguf_file, gguf_tokenizer, huggingface
from lmlab.interop.families import FAMILIES
from lmlab.interop.loaded import Loaded
from lmlab.models.spec import Spec
from lmlab.utils.errors import UserError, did_you_mean


class Architecture(NamedTuple):
    """One value of general.architecture.

    Attributes:
      model_type: of Hugging Face. norms: what its norms of a layer are called there, where not as in LLaMA.
      permuted: rows of queries and keys are in the order of interleaved rotary positions. offset: its norms here less
        those there. fixed: the config's keys where the file does not say them. whole_width: models of so many layers
        scale queries by the width over the heads, not by the head size.
    """
    model_type: str
    norms: dict = {}
    permuted: bool = False
    offset: float = 0.0
    fixed: dict = {}
    whole_width: int = 0


_GEMMA = {"ffn_norm": "pre_feedforward_layernorm", "post_attention_norm": "post_attention_layernorm",
          "post_ffw_norm": "post_feedforward_layernorm"}
_GELU = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
ARCHITECTURES = {
    "llama": Architecture("llama", permuted=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    # In both Gemmas the 27B alone (46 and 62 layers) scales queries by the width over the heads: GGUF does not say so.
    "gemma2": Architecture("gemma2", _GEMMA, offset=1.0, whole_width=46, fixed={
        **_GELU, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096}),
    "gemma3": Architecture("gemma3_text", _GEMMA, offset=1.0, whole_width=62, fixed={
        **_GELU, "attn_logit_softcapping": None, "final_logit_softcapping": None, "rope_theta": 1e6,
        "sliding_window": None}),
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
          "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
          "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
          "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_KEYS = {"embedding_length": "hidden_size", "block_count": "num_hidden_layers",
         "context_length": "max_position_embeddings", "feed_forward_length": "intermediate_size",
         "attention.head_count": "num_attention_heads", "attention.layer_norm_rms_epsilon": "rms_norm_eps",
         "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim",
         "rope.freq_base": "rope_theta", "rope.freq_base_swa": "rope_local_base_freq",
         "attention.sliding_window": "sliding_window",
         "attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
_NEEDED = 6  # the first of them are in every file
_ROTARY = "rope_freqs.weight"  # what LLaMA 3 divides its rotary angles by


class Tensor(NamedTuple):
    """A tensor that is dequantised when numpy asks for it. undo: what gives it the form that Hugging Face has."""
    source: gguf_file.Tensor
    shape: tuple[int, ...]
    undo: object

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.undo(self.source.dequantise()), dtype)


def load(path) -> Loaded:
    """Reads a model, its tokenizer and its chat template; weights become float32.

    Raises:
      UserError: for a damaged file, an architecture or a tokenizer that is not known; it names the key or tensor.
    """
    file = gguf_file.read(path)
    kind = file.meta.get("general.architecture")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise UserError(f"{path}: general.architecture={str(kind)[:80]!r} is none that lmlab reads"
                        f"{did_you_mean(kind, ARCHITECTURES)}; it reads {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[kind]
    values = _config(file, kind, architecture)
    kwargs, params, missing = huggingface.assemble(FAMILIES[architecture.model_type], values,
                                                   dict(_named(file, values, architecture)), path)
    _check_rotary(file, Spec(**kwargs))
    key = {role: f"tokenizer.ggml.{gguf_tokenizer.ROLES[role]}_token_id" for role in ("bos", "eos", "pad")}
    ids = {role: file.meta[key[role]] for role in key if key[role] in file.meta}
    extras = {"architecture": kind, "missing": missing, "generation": ids}
    return Loaded(kwargs, params, gguf_tokenizer.build(path, file.meta), extras)


def _config(file, kind, architecture) -> dict:
    """What config.json would say."""
    said = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in file.meta.items()}
    get = lambda key, default=None: said.get(f"{kind}.{key}", default)
    for key in ("expert_count", "rope.scale_linear"):
        if get(key):
            raise UserError(f"{file.path}: {kind}.{key}={str(get(key))[:80]} is not supported")
    values = dict(architecture.fixed)
    for number, (key, theirs) in enumerate(_KEYS.items()):
        value = get(key)
        if value is None and number < _NEEDED:
            raise UserError(f"{file.path}: {kind}.{key} is missing; fetch the file again")
        if value is not None:
            values[theirs] = float(f"{value:.7g}") if type(value) is float else value
            if type(value) is not float and not (type(value) is int and 0 < value < 2 ** 31):
                raise UserError(f"{file.path}: {kind}.{key}={str(value)[:80]} must be one positive number")
    heads, width, layers = (values[key] for key in ("num_attention_heads", "hidden_size", "num_hidden_layers"))
    if layers > len(file.tensors):
        raise UserError(f"{file.path}: damaged: {kind}.block_count={layers} of {len(file.tensors)} tensors")
    values.setdefault("num_key_value_heads", heads)
    size = values.setdefault("head_dim", width // heads)
    if get("rope.dimension_count", size) != size:
        raise UserError(f"{file.path}: {kind}.rope.dimension_count={str(get('rope.dimension_count'))[:80]} is not "
                        f"supported; only a whole head's {size} is")
    embedding = file.tensors.get("token_embd.weight")
    values |= {"vocab_size": embedding.shape[0] if embedding else 0, "hidden_act": values.get("hidden_act", "silu"),
               "tie_word_embeddings": "output.weight" not in file.tensors,
               "query_pre_attn_scalar": width // heads if layers == architecture.whole_width else size}
    if get("rope.scaling.type", "none") != "none":
        values["rope_scaling"] = {"rope_type": get("rope.scaling.type"), "factor": get("rope.scaling.factor")}
    if _ROTARY in file.tensors:
        slowest = float(file.tensors[_ROTARY].dequantise().max())
        values["rope_scaling"] = {"rope_type": "llama3", "factor": slowest, "low_freq_factor": 1.0,
                                  "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    return values


def _check_rotary(file, spec):
    """Raises a UserError where the file's rotary angles are not those of LLaMA 3."""
    if _ROTARY in file.tensors:
        plain = spec.rotary_theta ** -(np.arange(0, spec.head_size, 2) / spec.head_size)
        factors = file.tensors[_ROTARY].dequantise()
        if factors.shape != plain.shape or not np.allclose(plain / factors, spec.frequencies(), rtol=1e-4):
            raise UserError(f"{file.path}: {_ROTARY} is not what LLaMA 3.1 and 3.2 have; no other is supported")


def _named(file, values, architecture):
    """(Hugging Face's name, Tensor) of every tensor."""
    layer = {**_LAYER, **architecture.norms}
    for name, tensor in file.tensors.items():
        parts = name.split(".")
        if name == _ROTARY:
            continue
        if len(parts) == 2 and parts[0] in _TOP:
            theirs = f"{_TOP[parts[0]]}.{parts[1]}"
        elif len(parts) == 4 and parts[0] == "blk" and parts[2] in layer:
            theirs = f"model.layers.{parts[1]}.{layer[parts[2]]}.{parts[3]}"
        else:
            raise UserError(f"{file.path}: tensor {name[:80]!r} is not known in this architecture")
        undo = lambda x: x
        if parts[-2].endswith("norm") and architecture.offset:
            undo = lambda x: x - np.float32(architecture.offset)
        elif architecture.permuted and parts[-2] in ("attn_q", "attn_k"):
            heads = values["num_attention_heads" if parts[-2] == "attn_q" else "num_key_value_heads"]
            undo = lambda x, heads=heads: _unpermuted(x, heads)
        yield theirs, Tensor(tensor, tensor.shape, undo)


def _unpermuted(rows, heads):
    """Rows (or a bias) of queries or keys from pairs side by side to pairs half a head apart."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
