"""LLaMA: the decoder with rotary positions, RMSNorm and a gated feed-forward (Touvron et al. 2023).

    ./run.sh train --config=configs/llama.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | Python's own documentation | 2 CPU cores | 153 s | 1.75 bits a byte (lzma 2.48) |
| moe | the same | 2 CPU cores | a few steps tried | not known |
| prefix | the same | 2 CPU cores | a few steps tried | not known |
| base, large | data.path=yours (2 trillion tokens) | 2,048 GPUs of 80 GB | not run here | not known |

`base` is LLaMA 2 7B: batches of 4 million tokens, rows of 4,096, AdamW (beta2 0.95, eps 1e-5), a rate of 3e-4 that
rises for 2,000 steps and falls as a cosine to a tenth, weight decay 0.1 (its section 2.2); `large` is its 70B, at
1.5e-4. What they take on TPUs, `./run.sh plan` tells. `moe` has four experts of half the size, two a token (Jiang et
al. 2024); `prefix` reads the first part of a text both ways.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

SIZE = dict(context=128, width=128, layers=4, heads=4, kv_heads=2, ff=344, tied=True)
TINY = dict(tokenizer=dict(name="bpe", vocab_size=1024), model=presets.get("llama3", **SIZE),
            optimizer=optimizer.muon(),
            train=dict(steps=600, batch=16), evals=dict(samples=2, sample_tokens=100))

BASE = dict(
    data=dict(source="files"), tokenizer=dict(name="bpe", vocab_size=32000), model=presets.get("llama2:7b"),
    optimizer=dict(rate=3e-4, warmup=2000, floor=0.1, beta2=0.95, eps=1e-5, weight_decay=0.1),
    train=dict(steps=500_000, batch=1024, accumulation=1, precision="bfloat16", save_every=1000),
    evals=dict(every=1000))

PRESETS = {
    "tiny": TINY,
    "moe": {**TINY, "model": presets.get("llama3", **{**SIZE, "ff": 172}, experts=4, experts_per_token=2)},
    "prefix": {**TINY, "model": presets.get("llama3", **SIZE, attends="prefix"), "objective": dict(name="prefix")},
    "base": BASE,
    "large": {**BASE, "model": presets.get("llama2:70b"), "optimizer": {**BASE["optimizer"], "rate": 1.5e-4}},
}


def get_config(arg="tiny"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    return run.from_presets(PRESETS, arg, objective="causal")
