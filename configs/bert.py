"""BERT: an encoder that learns to guess masked tokens and whether two passages belong together (Devlin et al. 2019).

    ./run.sh train --config=configs/bert.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | Python's own documentation | 2 CPU cores | 275 s | masked: 5.12 nats, 20.3 % right (unigram 6.11, 4.5 %); pairs 69.7 % |
| small | the same | 2 CPU cores | 25 min beside other work | masked: 3.70 nats, 33.5 % right; pairs 72.3 % (tokens shared: 68.5 %) |
| base | data.path=yours (Wikipedia and books) | 16 TPU v3 chips or the like | not run here | not known |

`base` is the paper's: 1,000,000 steps of 256 sequences, Adam with decoupled weight decay, a rate of 1e-4 that rises for
10,000 steps and falls linearly to 0 (appendix A.2). The paper trains 90 % of the steps on sequences of 128 tokens; here
all have 512.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

MUON = optimizer.muon(adam_rate=0.003, decay=0.6, warmup=20)
WORDPIECE = dict(name="wordpiece", vocab_size=2048)
DATA = dict(validation=0.1)  # some 1,500 pairs to judge by
SMALL = presets.get("bert", context=64, width=128, layers=4, heads=4, ff=512, dropout=0.0, zero_init=True)

PRESETS = {
    "tiny": dict(data=DATA, tokenizer=WORDPIECE, model=SMALL, objective=dict(pairs="next_sentence"), optimizer=MUON,
                 train=dict(steps=600, batch=64)),
    "small": dict(data=DATA, tokenizer=WORDPIECE, model=SMALL, objective=dict(pairs="next_sentence"), optimizer=MUON,
                  train=dict(steps=2400, batch=64)),
    "base": dict(
        data=dict(source="files"), tokenizer=dict(name="wordpiece", vocab_size=30522), model=presets.get("bert:base"),
        objective=dict(pairs="next_sentence"),
        optimizer=dict(rate=1e-4, schedule="wsd", decay=1.0, floor=0.0, warmup=10_000, beta2=0.999, eps=1e-6,
                       weight_decay=0.01),
        train=dict(steps=1_000_000, batch=256, precision="bfloat16", save_every=10_000), evals=dict(every=10_000)),
}


def get_config(arg="tiny"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    return run.from_presets(PRESETS, arg, objective="masked")
