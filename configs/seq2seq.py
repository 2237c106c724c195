"""The encoder-decoder Transformer, from one text to another (Vaswani et al. 2017).

    ./run.sh train --config=configs/seq2seq.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | signatures of Python's functions -> what they do | 2 CPU cores | 248 s | 4.01 nats a token, 25.0 % right (unigram 6.13, 5.8 %) |
| multi30k | Multi30k en-de (data.path=train.en+train.de) | 2 CPU cores | 49 min beside other work | BLEU 39.4 with 4 beams |
| base | data.path=pairs of yours (WMT 2014 en-de) | 8 GPUs | not run here | the paper: 27.3 BLEU |

`base` is the paper's: 100,000 steps of about 25,000 tokens on either side (here 200 rows of 128, packed), Adam (beta2
0.98, eps 1e-9), a rate that rises for 4,000 steps to (512 * 4000)^-1/2 and falls as one over the square root of the
step, dropout 0.1, label smoothing 0.1, 37,000 byte pairs shared by both languages (sections 5.1 to 5.4).
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

PRESETS = {
    "tiny": dict(
        data=dict(source="python_calls"), tokenizer=dict(name="bpe", vocab_size=2048),
        model=presets.get("transformer", context=64, width=128, layers=2, encoder_layers=2, heads=4, ff=512,
                          dropout=0.1),
        objective=dict(smoothing=0.1),
        optimizer=dict(rate=2e-3, schedule="rsqrt", warmup=200, beta2=0.98, eps=1e-9, weight_decay=0.0),
        train=dict(steps=800, batch=32), evals=dict(samples=4, sample_tokens=60)),
    "multi30k": dict(
        data=dict(source="files"), tokenizer=dict(name="bpe", vocab_size=6000),
        model=presets.get("transformer", **presets.MODERN, context=128, width=256, layers=3, encoder_layers=3,
                          heads=4, ff=1024, dropout=0.2),
        objective=dict(smoothing=0.1), optimizer=optimizer.muon(decay=0.7, warmup=50),
        train=dict(steps=2700, batch=16, windows="packed"),
        evals=dict(task="translation", every=450, samples=4, sample_tokens=40, temperature=0.0)),
    "base": dict(
        data=dict(source="files"), tokenizer=dict(name="bpe", vocab_size=37000),
        model=presets.get("transformer:base"), objective=dict(smoothing=0.1),
        optimizer=dict(rate=(512 * 4000) ** -0.5, schedule="rsqrt", warmup=4000, beta2=0.98, eps=1e-9,
                       weight_decay=0.0, clip=0.0),
        train=dict(steps=100_000, batch=200, length=128, windows="packed", precision="bfloat16", save_every=1000),
        evals=dict(every=1000)),
}


def get_config(arg="tiny"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    return run.from_presets(PRESETS, arg, objective="seq2seq")
