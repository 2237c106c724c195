"""Families and their sizes as one table of keyword arguments of `Spec` (all but the vocabulary, which the text gives).

    presets.get("gpt2:medium", context=256)      # a size, and what to change in it
"""

from lmlab.utils.errors import UserError, did_you_mean

MODERN = dict(positions="rotary", norm="rms", norm_place="pre", activation="relu2", qk_norm="head", bias=False,
              zero_init=True, embedding_scale=False)  # what came after the first: small ones learn faster
_BERT = dict(attends="full", context=512, norm_place="post", activation="gelu_exact", embedding_norm=True,
             head="transform", head_bias=True, dropout=0.1)
_T5 = dict(positions="relative", context=512, norm="rms", norm_eps=1e-6, bias=False, score_scale=1.0, head_dim=64,
           dropout=0.1)
_LLAMA = dict(positions="rotary", norm="rms", activation="swiglu", bias=False, tied=False)
_GEMMA = dict(positions="rotary", norm="rms", norm_eps=1e-6, norm_place="both", activation="geglu", bias=False,
              embedding_scale=True, head_dim=256, score_scale=1 / 16)
_size = lambda layers, width, heads, ff, **more: dict(layers=layers, width=width, heads=heads, ff=ff, **more)
_both = lambda layers, *sizes, **more: _size(layers, *sizes, encoder_layers=layers, **more)

# family: (what all its sizes share, {size: the rest}), the first size being the usual one.
FAMILIES = {
    "transformer": (dict(positions="sinusoidal", context=512, norm_place="post", activation="relu",      # Vaswani 2017
                         embedding_scale=True, dropout=0.1),
                    {"base": _both(6, 512, 8, 2048), "big": _both(6, 1024, 16, 4096, dropout=0.3)}),
    "bert": (dict(**_BERT, token_types=2, pooler=True, norm_eps=1e-12),                                  # Devlin 2019
             {"base": _size(12, 768, 12, 3072), "large": _size(24, 1024, 16, 4096)}),
    "roberta": (dict(**_BERT, token_types=1, position_offset=2),                                         # Liu 2019
                {"base": _size(12, 768, 12, 3072), "large": _size(24, 1024, 16, 4096)}),
    "gpt2": (dict(context=1024, dropout=0.1),                                                            # Radford 2019
             {"small": _size(12, 768, 12, 3072), "medium": _size(24, 1024, 16, 4096),
              "large": _size(36, 1280, 20, 5120), "xl": _size(48, 1600, 25, 6400)}),
    "t5": (dict(**_T5, activation="relu"),                                                               # Raffel 2020
           {"base": _both(12, 768, 12, 3072, logit_scale=768 ** -0.5),
            "small": _both(6, 512, 8, 2048, logit_scale=512 ** -0.5),
            "large": _both(24, 1024, 16, 4096, logit_scale=1024 ** -0.5)}),
    "t5_v1_1": (dict(**_T5, activation="geglu", tied=False),                                             # Shazeer 2020
                {"base": _both(12, 768, 12, 2048), "small": _both(8, 512, 6, 1024),
                 "large": _both(24, 1024, 16, 2816)}),
    "bart": (dict(context=1024, position_offset=2, norm_place="post", activation="gelu_exact",           # Lewis 2020
                  embedding_norm=True, head_bias=True, dropout=0.1),
             {"base": _both(6, 768, 12, 3072), "large": _both(12, 1024, 16, 4096)}),
    "marian": (dict(positions="sinusoidal", context=512, norm_place="post", activation="silu",           # Junczys 2018
                    embedding_scale=True, head_bias=True, dropout=0.1),
               {"base": _both(6, 512, 8, 2048)}),
    "llama2": (dict(**_LLAMA, context=4096),                                                             # Touvron 2023
               {"7b": _size(32, 4096, 32, 11008), "13b": _size(40, 5120, 40, 13824),
                "70b": _size(80, 8192, 64, 28672, kv_heads=8)}),
    "llama3": (dict(**_LLAMA, context=8192, rotary_theta=500_000.0, kv_heads=8),                         # Dubey 2024
               {"8b": _size(32, 4096, 32, 14336), "70b": _size(80, 8192, 64, 28672)}),
    "mistral": (dict(**_LLAMA, context=32768, window=4096, kv_heads=8),                                  # Jiang 2023
                {"7b": _size(32, 4096, 32, 14336)}),
    "qwen2": (dict(**{**_LLAMA, "tied": True}, context=32768, rotary_theta=1e6, norm_eps=1e-6, qkv_bias=True),
              {"0.5b": _size(24, 896, 14, 4864, kv_heads=2),                                             # Yang 2024
               "7b": _size(28, 3584, 28, 18944, kv_heads=4, tied=False)}),
    "qwen3": (dict(**{**_LLAMA, "tied": True}, context=40960, rotary_theta=1e6, norm_eps=1e-6, qk_norm="head",
                   head_dim=128, kv_heads=8),                                                            # Yang 2025
              {"0.6b": _size(28, 1024, 16, 3072), "8b": _size(36, 4096, 32, 12288, tied=False)}),
    "gemma2": (dict(**_GEMMA, context=8192, window=4096, window_every=2, score_softcap=50.0,             # Riviere 2024
                    logit_softcap=30.0),
               {"2b": _size(26, 2304, 8, 9216, kv_heads=4), "9b": _size(42, 3584, 16, 14336, kv_heads=8)}),
    "gemma3": (dict(**_GEMMA, context=32768, window_every=6, qk_norm="head", rotary_theta=1e6,           # Kamath 2025
                    rotary_local_theta=10_000.0),
               {"1b": _size(26, 1152, 4, 6912, kv_heads=1, window=512),
                "4b": _size(34, 2560, 8, 10240, kv_heads=4, window=1024, rotary_scaling="linear", rotary_factor=8.0)}),
    "olmo2": (dict(**_LLAMA, context=4096, rotary_theta=500_000.0, norm_eps=1e-6, norm_place="after",    # OLMo 2024
                   qk_norm="all"),
              {"7b": _size(32, 4096, 32, 11008), "13b": _size(40, 5120, 40, 13824), "1b": _size(16, 2048, 16, 8192)}),
    "smollm2": (dict(**{**_LLAMA, "tied": True}, context=8192, rotary_theta=100_000.0),                  # Allal 2025
                {"135m": _size(30, 576, 9, 1536, kv_heads=3), "360m": _size(32, 960, 15, 2560, kv_heads=5)}),
}

def get(name, **changes) -> dict:
    """The keyword arguments of "family" (its usual size) or "family:size", with `changes` made.

    Raises:
      UserError: for an unknown family or size, naming the nearest.
    """
    family, _, size = name.partition(":")
    if family not in FAMILIES:
        raise UserError(f"{family!r} is no family of models{did_you_mean(family, FAMILIES)}; "
                        f"one of {', '.join(FAMILIES)}")
    common, sizes = FAMILIES[family]
    size = size or next(iter(sizes))
    if size not in sizes:
        raise UserError(f"{size!r} is no size of {family}{did_you_mean(size, sizes)}; one of {', '.join(sizes)}")
    return {**common, **sizes[size], **changes}
