"""Hugging Face's config.json and our Spec: each rule reads and writes.

A family (families.py) is a table of the keys that hold a field of the Spec as it is, constants, and some of the rules
below, which know both directions. What cannot be expressed is refused by its key, value and file.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from lmlab.models.spec import Spec
from lmlab.utils.errors import UserError

_OFF = ("window", "score_softcap", "logit_softcap")  # zero here, null there
_WHOLE = {"ff": "hidden", "kv_heads": "groups", "head_dim": "head_size"}  # fields whose zero means "the usual"
# Fields that choose how to compute or to train, not what.
_FREE = ("attention", "unroll", "matmul", "remat", "dtype", "dropout", "zero_init", "expert_balance")
_MOST = 2 ** 31  # of any number in a config: beyond it lies damage
_DEEPEST, _LONGEST = 10_000, 2 ** 17  # layers; positions of a table that no file holds
# Values that these keys must have, in whatever family they stand.
_ONLY = {"is_decoder": (False,), "add_cross_attention": (False,), "position_embedding_type": ("absolute", None),
         "partial_rotary_factor": (1.0, None), "quantization_config": (None,), "attention_bias": (False,),
         "mlp_bias": (False,), "use_bidirectional_attention": (None, False), "scale_attn_weights": (True,),
         "scale_attn_by_inverse_layer_idx": (False,), "share_encoder_decoder_embeddings": (True,),
         "normalize_before": (False,), "add_final_layer_norm": (False,), "pruned_heads": ({}, None),
         "rope_interleaved": (False,)}


class Config(NamedTuple):
    """A config.json: its path for messages, its values, what its class takes for keys that are not there, and the
    keys asked for so far."""
    path: Any
    values: dict
    defaults: dict
    asked: list

    def get(self, key, *default):
        """The value of a key; a UserError where it is neither there nor has a default."""
        self.asked.append(key)
        for values in (self.values, self.defaults):
            if key in values:
                return values[key]
        if not default:
            raise UserError(f"{self.path}: {key} is missing; fetch the file again")
        return default[0]

    def refuse(self, key, value, hint):
        """Raises the UserError that a key's value is not supported."""
        raise UserError(f"{self.path}: {key}={str(value)[:80]!r} is not supported; {hint}")


class Rule(NamedTuple):
    """Part of a config, both ways."""
    read: Callable              # Config -> {field of the Spec: value}
    write: Callable             # Spec -> {key: value}


def from_hf(family, values, path="config.json") -> dict:
    """The Spec's keyword arguments of a config.json's values. A UserError names the key that cannot be expressed."""
    config = Config(path, values, family.defaults, [])
    for key, allowed in {**_ONLY, **family.only}.items():
        if config.get(key, allowed[0]) not in allowed:
            config.refuse(key, config.get(key), f"only {' or '.join(map(str, allowed))} is")
    kwargs = {**family.constants, **family.heads[0][1]}
    for field, keys in family.keys.items():
        first, *others = keys.split()
        kwargs[field] = 0 if config.get(first) is None else config.get(first)
        for key in others if field != "dropout" else ():
            if config.get(key, config.get(first)) != config.get(first):
                config.refuse(key, config.get(key), f"only {first}'s value, {config.get(first)}, is")
        most = _DEEPEST if field in ("layers", "encoder_layers") else (
            _LONGEST if field == "context" and "sinusoidal" in kwargs.get("positions", "") else _MOST)
        if type(kwargs[field]) is int and kwargs[field] > most:
            config.refuse(first, kwargs[field], f"at most {most} is")
    for rule in family.rules:
        try:
            kwargs |= rule.read(config)
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            config.refuse(config.asked[-1], config.get(config.asked[-1], None), "it is of the wrong kind")
    for field in dataclasses.fields(Spec):
        if field.name in kwargs and field.name != "dtype":
            kwargs[field.name] = _typed(config, family, field, kwargs[field.name])
    try:
        Spec(**kwargs)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return kwargs


def to_hf(family, spec) -> dict:
    """The config.json of a Spec in a family, but for the tokenizer's ids; what the family cannot say is lost."""
    values = dict(family.written)
    for field, keys in family.keys.items():
        value = getattr(spec, _WHOLE.get(field, field))
        values |= dict.fromkeys(keys.split(), None if field in _OFF and not value else value)
    for rule in family.rules:
        values |= rule.write(spec)
    return values


def difference(spec, other) -> list[str]:
    """The fields in which two Specs are not the same network."""
    a, b = _meaning(spec), _meaning(other)
    return [field for field in a if a[field] != b.get(field)]


def _typed(config, family, field, value):
    """A value, if it has the type of its field."""
    wanted = type(0 if field.default is dataclasses.MISSING else field.default)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted or wanted in (int, float) and not -_MOST < value < _MOST:
        config.refuse(family.keys.get(field.name, field.name).split()[0], value,
                      f"it must be {wanted.__name__}{' below 2**31' * (wanted in (int, float))}")
    return value


def _meaning(spec):
    """{field: value} with one value for all ways to say the same network."""
    values = {f.name: getattr(spec, _WHOLE.get(f.name, f.name)) for f in dataclasses.fields(spec)
              if f.name not in _FREE}
    values |= {"score_scale": spec.scale, "qkv_bias": spec.bias or spec.qkv_bias, "window_every": tuple(spec.local),
               "logit_scale": spec.logit_scale * spec.narrowing}
    rotary = spec.positions == "rotary"
    full, local = (tuple(f"{x:.5g}" for x in spec.frequencies(local)) if rotary else () for local in (False, True))
    values |= {"rotary_theta": full, "rotary_local_theta": local if spec.local.any() else ()}
    silent = {"rotary_scaling", "rotary_factor", "rotary_low", "rotary_high", "rotary_original",  # in the frequencies
              "base_width"}  # in the logits' scale
    silent |= set() if spec.experts else {"experts_per_token"}
    silent |= set() if spec.local.any() else {"window"}
    silent |= set() if spec.positions == "learned" else {"position_offset"}
    silent |= set() if spec.positions == "relative" else {"relative_buckets", "relative_distance"}
    return {field: float(f"{v:.6g}") if isinstance(v, float) else v for field, v in values.items()
            if field not in silent}


def choice(field, key, table) -> Rule:
    """One field by another name: `table` is {Hugging Face's value: ours}, the first of equals being written."""
    def read(config):
        value = config.get(key)
        if not isinstance(value, str) or value not in table:
            config.refuse(key, value, f"one of {', '.join(table)} is")
        return {field: table[value]}
    back = {ours: theirs for theirs, ours in reversed(table.items())}
    return Rule(read, lambda spec: {key: back.get(getattr(spec, field), next(iter(table)))})


def activation(key="hidden_act") -> Rule:
    """The activation of a plain feed-forward."""
    return choice("activation", key, {"gelu_new": "gelu", "gelu": "gelu_exact", "relu": "relu", "silu": "silu",
                                      "relu2": "relu2", "swish": "silu", "gelu_pytorch_tanh": "gelu"})


def gate(key="hidden_act") -> Rule:
    """The activation of a gated feed-forward."""
    return choice("activation", key, {"silu": "swiglu", "gelu_pytorch_tanh": "geglu", "gelu_new": "geglu",
                                      "swish": "swiglu"})


def rotary(local=False) -> Rule:
    """Rotary angles, as transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters) say them; local: layers with
    a window have their own (Gemma 3: rope_local_base_freq, or one dict for each type of layer)."""
    def read(config):
        said = config.get("rope_parameters", None) or {}
        nested = "full_attention" in said or "sliding_attention" in said
        scaling = config.get("rope_scaling", None) or (said.get("full_attention") if nested else said) or {}
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        for part in (scaling, said.get("sliding_attention") or {}):
            if part.get("partial_rotary_factor") not in (1.0, None):
                config.refuse("rope_parameters.partial_rotary_factor", part["partial_rotary_factor"], "only 1.0 is")
        out = {"rotary_theta": scaling.get("rope_theta", config.get("rope_theta", 10000.0)),
               "rotary_scaling": "none" if kind == "default" else kind}
        if kind not in ("default", "linear", "llama3"):
            config.refuse("rope_parameters.rope_type", kind, "one of default, linear, llama3 is")
        if kind != "default":
            out["rotary_factor"] = scaling.get("factor")
        if kind == "llama3":
            out |= {"rotary_low": scaling.get("low_freq_factor"), "rotary_high": scaling.get("high_freq_factor"),
                    "rotary_original": scaling.get("original_max_position_embeddings",
                                                   config.get("max_position_embeddings"))}
        if local:
            near = (said.get("sliding_attention") if nested else None) or {}
            if near.get("rope_type", "default") != "default":
                config.refuse("rope_parameters.sliding_attention.rope_type", near["rope_type"], "only default is")
            out["rotary_local_theta"] = near.get("rope_theta", config.get("rope_local_base_freq", 10000.0))
        return out

    def write(spec):
        scaling = {"rope_type": spec.rotary_scaling, "factor": spec.rotary_factor}
        if spec.rotary_scaling == "llama3":
            scaling |= {"low_freq_factor": spec.rotary_low, "high_freq_factor": spec.rotary_high,
                        "original_max_position_embeddings": spec.rotary_original}
        scaling = {"rope_type": "default"} if spec.rotary_scaling == "none" else scaling
        full = {**scaling, "rope_theta": spec.rotary_theta}
        old = {"rope_theta": spec.rotary_theta, "rope_scaling": scaling if len(scaling) > 1 else None}
        if not local:
            return {**old, "rope_parameters": full}
        near = spec.rotary_local_theta or spec.rotary_theta
        return {**old, "rope_local_base_freq": near, "rope_parameters": {
            "full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": near}}}
    return Rule(read, write)


def layer_types(every=0, switch=False) -> Rule:
    """Layers with a window among those that see all. every: where layer_types is missing, each so-manieth sees all;
    switch: use_sliding_window turns the window on, for the layers from max_window_layers on (Qwen)."""
    def read(config):
        depth, types, window = config.get("num_hidden_layers"), config.get("layer_types", None), config.get(
            "sliding_window", None)
        if not window or switch and not config.get("use_sliding_window", False):
            return {"window": 0, "window_every": 0}
        period = config.get("sliding_window_pattern", config.get("_sliding_window_pattern", every))
        if types is not None:
            local = [kind == "sliding_attention" for kind in types]
            if len(local) != depth or not set(types) <= {"sliding_attention", "full_attention"}:
                config.refuse("layer_types", types, f"it must be sliding_attention or full_attention, {depth} times")
        elif switch:
            local = [layer >= config.get("max_window_layers", 28) for layer in range(depth)]
        else:
            local = [(layer + 1) % period != 0 for layer in range(depth)]
        period = local.index(False) + 1 if False in local else 0
        if not any(local):
            return {"window": 0, "window_every": 0}
        if period and local != [(layer + 1) % period != 0 for layer in range(depth)]:
            config.refuse("layer_types" if types else "max_window_layers", types or config.get("max_window_layers", 28),
                          "layers that see all must come at equal distances")
        return {"window": window, "window_every": period}

    def write(spec):
        types = ["sliding_attention" if local else "full_attention" for local in spec.local.tolist()]
        on = bool(spec.local.any())
        used = {"use_sliding_window": on, "max_window_layers": 0 if on else spec.layers}
        return {"layer_types": types, "sliding_window": spec.window or None, **(used if switch else {})}
    return Rule(read, write)
