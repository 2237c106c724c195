"""Tags of words: entities with a conditional random field (Lafferty et al. 2001) over a Transformer, parts of speech.

    ./run.sh train --config=configs/tagging.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]
    ./run.sh evaluate --run=runs/NAME --split=test

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | people, places, organisations in a Chinese newspaper | 2 CPU cores | a minute, reading above all | a smoke test |
| peoples_daily | the same, whole | 2 CPU cores | 4.4 min | strict F1 0.774 (most frequent tag of a character: 0.136) |
| brown | parts of speech of the Brown Corpus | 2 CPU cores | 5.1 min | accuracy 0.932 (most frequent tag of a word: 0.902) |
| events | what tells of events, and what may take part | 2 CPU cores | 84 s beside other work | strict F1 0.560 (0.376) |
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

PEOPLES_DAILY = dict(source="catalog", path="peoples-daily", validation=0.02, test=0.1)
EVENTS = dict(source="catalog", path="peoples-daily-event-spans", validation=0.05, test=0.2)  # as in relations.py
BROWN = dict(source="catalog", path="brown", validation=0.05, test=0.1)
SCRATCH = optimizer.finetuning(rate=1e-3, warmup=50, beta2=0.99)
MODEL = presets.get("bert", context=128, width=128, layers=2, heads=4, ff=512, dropout=0.1, pooler=False)

PRESETS = {
    "tiny": dict(data=PEOPLES_DAILY, tokenizer=dict(name="bytes"), objective=dict(crf=True), model=presets.get(
        "bert", context=256, width=32, layers=1, heads=2, ff=64, dropout=0.0, pooler=False),
        optimizer={**SCRATCH, "warmup": 5}, train=dict(steps=20, batch=4, length=256, windows="packed", log_every=1),
        evals=dict(batch=64)),
    "peoples_daily": dict(data=PEOPLES_DAILY, tokenizer=dict(name="chars"), objective=dict(crf=True), model=MODEL,
                          optimizer=SCRATCH, train=dict(steps=2000, batch=16, length=128, windows="packed"),
                          evals=dict(batch=64)),
    "events": dict(data=EVENTS, tokenizer=dict(name="chars"), objective=dict(crf=True), model=MODEL, optimizer=SCRATCH,
                   train=dict(steps=600, batch=16, length=128, windows="packed"), evals=dict(batch=64)),
    "brown": dict(data=BROWN, tokenizer=dict(name="wordpiece", vocab_size=8192), model=MODEL, optimizer=SCRATCH,
                  train=dict(steps=2000, batch=16, length=128, windows="packed"), evals=dict(batch=64)),
}


def get_config(arg="peoples_daily"):
    """arg: a preset, then overrides: "brown,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="tagging")
