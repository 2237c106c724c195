"""GPT: a decoder-only Transformer that learns to predict the next token (Radford et al. 2018, 2019).

    ./run.sh train --config=configs/gpt.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| quickstart | Python's own documentation | 2 CPU cores | 142 s | 1.71 bits a byte held out (lzma 2.48) |
| tiny | the same | 2 CPU cores | seconds | a smoke test: 7.1 bits a byte |
| small | the same | 1 GPU | not run here | not known |
| shakespeare_char | data.path=tiny Shakespeare | 2 CPU cores | 149 s | 1.91 nats a character held out |
| shakespeare_fast | the same | 2 CPU cores | 45 s | 1.77 to 1.80 |
| gpt2 | data.path=yours (OpenWebText) | 8 GPUs of 80 GB | not run here | nanoGPT reports 2.85 |
| modern | data.path=yours | 8 GPUs of 80 GB | not run here | not known |
"""

from lmlab import run
from lmlab.models import presets

MODERN = dict(positions="rotary", norm="rms", activation="relu2", qk_norm="head", bias=False, zero_init=True)
MUON = dict(name="muon", rate=0.02, adam_rate=0.005, schedule="wsd", decay=0.5, floor=0.0, warmup=10,
            weight_decay=0.0, beta2=0.95)
SHAKESPEARE = dict(data=dict(source="files", split="tail", validation=0.1, test=0.0), tokenizer=dict(name="chars"))

PRESETS = {
    # The embedded documentation of the running Python; two minutes on two cores.
    "quickstart": dict(
        tokenizer=dict(name="bpe", vocab_size=1024),
        model=dict(context=128, width=128, layers=4, heads=4, **MODERN),
        optimizer=MUON, train=dict(steps=600, batch=16), evals=dict(samples=3, sample_tokens=100)),
    # A smoke test: it learns little, in seconds.
    "tiny": dict(
        tokenizer=dict(name="bytes"),
        model=dict(context=32, width=32, layers=2, heads=2),
        optimizer=dict(warmup=1), train=dict(steps=20, batch=8, log_every=1), evals=dict(sample_tokens=16)),
    # Six layers of width 384, meant for one GPU.
    "small": dict(
        tokenizer=dict(name="bpe", vocab_size=4096),
        model=dict(context=256, width=384, layers=6, heads=6, **MODERN),
        optimizer=MUON, train=dict(steps=2000, batch=32)),
    # nanoGPT's train_shakespeare_char at its CPU setting.
    "shakespeare_char": dict(
        **SHAKESPEARE,
        model=dict(context=64, width=128, layers=4, heads=4, bias=False),
        optimizer=dict(rate=1e-3, warmup=100, floor=0.1, beta2=0.99, weight_decay=0.1),
        train=dict(steps=2000, batch=12)),
    # The same data and size, half the time: Muon, rotary positions, QK-norm, squared ReLU.
    "shakespeare_fast": dict(
        **SHAKESPEARE,
        model=dict(context=64, width=128, layers=4, heads=4, **MODERN),
        optimizer={**MUON, "adam_rate": 0.01}, train=dict(steps=200, batch=32)),
    # GPT-2 124M (Radford et al. 2019) with nanoGPT's training settings; the text is yours (data.path).
    "gpt2": dict(
        data=dict(source="files"), tokenizer=dict(name="bbpe", vocab_size=50257),
        model=presets.get("gpt2:small", dropout=0.0),
        optimizer=dict(rate=6e-4, warmup=2000, floor=0.1, beta2=0.95, weight_decay=0.1),
        train=dict(steps=600_000, batch=480, accumulation=40, precision="bfloat16", save_every=1000),
        evals=dict(every=1000)),
    # The size of GPT-2 with what came after it.
    "modern": dict(
        data=dict(source="files"), tokenizer=dict(name="bbpe", vocab_size=50257),
        model=dict(context=1024, width=768, layers=12, heads=12, kv_heads=4, logit_softcap=30.0,
                   **{**MODERN, "activation": "swiglu"}),
        optimizer=dict(**{**MUON, "decay": 0.3, "warmup": 500}),
        train=dict(steps=20_000, batch=480, accumulation=40, precision="bfloat16", save_every=1000),
        evals=dict(every=1000)),
}


def get_config(arg="quickstart"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    return run.from_presets(PRESETS, arg, objective="causal")
