"""T5: an encoder-decoder that learns to give back spans cut out of a text (Raffel et al. 2020).

    ./run.sh train --config=configs/t5.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | Python's own documentation | 2 CPU cores | 163 s | 4.35 nats a target, 29.1 % right (unigram 5.48, 4.8 %) |
| ul2 | the same | 2 CPU cores | a few steps tried | not known |
| bart | the same | 2 CPU cores | a few steps tried | not known |
| base | data.path=yours (C4) | a TPU pod slice | not run here | not known |

`base` is the paper's: 524,288 steps of 128 sequences of 512 tokens, density 0.15, spans of 3, a rate of 0.01 for 10,000
steps that then falls as one over the square root of the step (sections 3.1.2 to 3.1.4); the paper's Adafactor, which
scales steps by the size of the parameters, is replaced by AdamW at a peak rate of 1e-3. `ul2` and `bart` are the tiny
model with a mixture of denoisers (Tay et al. 2022) and with text infilling (Lewis et al. 2020).
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

TINY = dict(
    tokenizer=dict(name="unigram", vocab_size=2048),
    model=presets.get("t5_v1_1", context=128, width=128, layers=2, encoder_layers=2, heads=4, head_dim=32, ff=256,
                      dropout=0.0, zero_init=True),
    optimizer=optimizer.muon(adam_rate=0.003, decay=0.6, warmup=20),
    train=dict(steps=400, batch=32), evals=dict(samples=2, sample_tokens=60))

PRESETS = {
    "tiny": TINY,
    "ul2": {**TINY, "objective": dict(name="ul2")},
    "bart": {**TINY, "objective": dict(name="denoising"),
             "model": presets.get("bart", context=128, width=128, layers=2, encoder_layers=2, heads=4, ff=512,
                                  dropout=0.0, zero_init=True)},
    "base": dict(
        data=dict(source="files"), tokenizer=dict(name="unigram", vocab_size=32000), model=presets.get("t5:base"),
        optimizer=dict(rate=1e-3, schedule="rsqrt", warmup=10_000, beta2=0.999, weight_decay=0.0),
        train=dict(steps=524_288, batch=128, precision="bfloat16", save_every=5000), evals=dict(every=5000)),
}


def get_config(arg="tiny"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    return run.from_presets(PRESETS, arg, objective="span_corruption")
