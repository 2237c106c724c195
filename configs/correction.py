"""Spelling corrected: an encoder-decoder from a sentence with mistakes to the same without, trained from scratch on
mistakes that were put there.

    ./run.sh train --config=configs/correction.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]
    ./run.sh evaluate --run=runs/NAME --split=test [--beams=4]
    ./run.sh evaluate --run=runs/NAME --path=catalog:sighan15

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | Chinese sentences of learners (SIGHAN 2015) | 2 CPU cores | seconds | a smoke test |
| english | Brown Corpus, misspelt | 2 CPU cores | 7.7 min for 500 steps | F0.5 0.711 (confusions and bigrams: 0.920) |
| chinese | People's Daily with homophones; sighan15 stays unseen | 2 CPU cores | not run here | not known |
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

COMMON = dict(model=presets.get("transformer", **presets.MODERN, context=128, width=256, layers=3,
                                encoder_layers=3, heads=4, ff=1024),
              optimizer=optimizer.muon(decay=0.7, warmup=50),
              train=dict(steps=3000, batch=16, length=128, windows="packed"),
              evals=dict(task="correction", samples=4, sample_tokens=60, temperature=0.0))

PRESETS = {
    "tiny": dict(
        data=dict(source="catalog", path="sighan15", validation=0.1, test=0.2), tokenizer=dict(name="bytes"),
        model=presets.get("transformer", context=128, width=32, layers=1, encoder_layers=1, heads=2, ff=64,
                          dropout=0.0),
        optimizer=dict(rate=3e-3, warmup=5), train=dict(steps=30, batch=4, length=128, log_every=1),
        evals=dict(task="correction", samples=2, sample_tokens=40)),
    "english": dict(data=dict(source="catalog", path="brown-misspelt", validation=0.02, test=0.05),
                    tokenizer=dict(name="bpe", vocab_size=2048), **COMMON),
    "chinese": dict(data=dict(source="catalog", path="peoples-daily-misspelt", validation=0.02, test=0.05),
                    tokenizer=dict(name="chars"), **COMMON),
}


def get_config(arg="english"):
    """arg: a preset, then overrides: "chinese,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="seq2seq")
