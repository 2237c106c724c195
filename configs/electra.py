"""ELECTRA: an encoder that learns to tell replaced tokens from original ones (Clark et al. 2020).

    ./run.sh train --config=configs/electra.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | Python's own documentation | 2 CPU cores | 420 s beside other work | replaced or not: 87.7 % right, 0.358 nats (never: 87.6 %, 0.375) |
| base | data.path=yours (Wikipedia and books) | 16 TPU v3 chips | not run here | not known |

`base` is the paper's table 6: 766,000 steps of 256 sequences of 512 tokens, a generator a third as wide, a rate of 2e-4
that rises for 10,000 steps and falls linearly to 0, the discriminator's loss weighted by 50. The paper shares the token
embeddings between the two networks; here each has its own.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

ENCODER = dict(head="linear", pooler=False, tied=True)

PRESETS = {
    "tiny": dict(
        tokenizer=dict(name="wordpiece", vocab_size=2048),
        model=presets.get("bert", context=64, width=128, layers=4, heads=4, ff=512, dropout=0.0, zero_init=True,
                          generator=0.5, **ENCODER),
        optimizer=optimizer.muon(adam_rate=0.003, decay=0.6, warmup=20),
        train=dict(steps=400, batch=64)),
    "base": dict(
        data=dict(source="files"), tokenizer=dict(name="wordpiece", vocab_size=30522),
        model=presets.get("bert:base", generator=1 / 3, **ENCODER),
        optimizer=dict(rate=2e-4, schedule="wsd", decay=1.0, floor=0.0, warmup=10_000, beta2=0.999, eps=1e-6,
                       weight_decay=0.01),
        train=dict(steps=766_000, batch=256, precision="bfloat16", save_every=10_000), evals=dict(every=10_000)),
}


def get_config(arg="tiny"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    return run.from_presets(PRESETS, arg, objective="replaced")
