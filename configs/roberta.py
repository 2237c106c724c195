"""RoBERTa: an encoder that learns to guess masked tokens alone, masked anew in every epoch (Liu et al. 2019).

    ./run.sh train --config=configs/roberta.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | Python's own documentation | 2 CPU cores | 175 s | masked tokens: 5.77 nats, 13.4 % right (unigram 6.42, 5.6 %) |
| base | data.path=yours (160 GB) | 1,024 GPUs of 32 GB | not run here | not known |

`base` is the paper's table 9: 500,000 steps of 8,192 sequences of 512 tokens, Adam (beta2 0.98, eps 1e-6), a rate of
6e-4 that rises for 24,000 steps and falls linearly to 0, weight decay 0.01, dropout 0.1.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

PRESETS = {
    "tiny": dict(
        tokenizer=dict(name="bbpe", vocab_size=2048),
        model=presets.get("roberta", context=64, width=128, layers=4, heads=4, ff=512, dropout=0.0, zero_init=True),
        optimizer=optimizer.muon(adam_rate=0.003, decay=0.6, warmup=20),
        train=dict(steps=400, batch=64)),
    "base": dict(
        data=dict(source="files"), tokenizer=dict(name="bbpe", vocab_size=50265), model=presets.get("roberta:base"),
        optimizer=dict(rate=6e-4, schedule="wsd", decay=1.0, floor=0.0, warmup=24_000, beta2=0.98, eps=1e-6,
                       weight_decay=0.01, clip=0.0),
        train=dict(steps=500_000, batch=8192, accumulation=32, precision="bfloat16", save_every=5000),
        evals=dict(every=5000)),
}


def get_config(arg="tiny"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    return run.from_presets(PRESETS, arg, objective="masked")
