"""Embeddings by comparison: texts that go together come near to each other (Reimers & Gurevych 2019), for search, for
similarity, and for labels of which there are few examples (SetFit: Tunstall et al. 2022).

    ./run.sh train --config=configs/similarity.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]
    ./run.sh evaluate --run=runs/NAME --split=test [--task=similarity --path=SCORED]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | questions and the passages that answer them, from scratch | 2 CPU cores | seconds | a smoke test |
| search | the same (Disfl-QA), MiniLM tuned | 2 CPU cores | 6 min beside other work | recall@1 0.911 of 101 (before tuning 0.931, BM25 0.931) |
| setfit | eight questions of each type (TREC), compared; MiniLM tuned | 2 CPU cores | 43 s | then with a head: accuracy 0.813 |

`setfit` is the first half, `configs/classification.py:trec_setfit` the second, a head on what it has learned:

    ./run.sh train --config=configs/similarity.py:setfit --workdir=runs/setfit
    ./run.sh train --config=configs/classification.py:trec_setfit --workdir=runs/trec_setfit
    ./run.sh evaluate --run=runs/trec_setfit --split=test
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

PASSAGES = dict(source="catalog", path="disflqa-passages", validation=0.1, test=0.2)
FEW = dict(source="catalog", path="trec", validation=0.1, test=0.2, shots=8)
MINILM = dict(init_from="catalog:minilm-l6-v2", model=dict(dropout=0.1))

PRESETS = {
    "search": dict(data=PASSAGES, **MINILM, optimizer=optimizer.finetuning(rate=5e-5),
                   evals=dict(batch=64), train=dict(steps=120, batch=16, length=256, windows="stream")),
    "setfit": dict(data=FEW, **MINILM, objective=dict(name="setfit"), optimizer=optimizer.finetuning(rate=1e-4),
                   train=dict(steps=60, batch=4, length=128, windows="packed")),
    "tiny": dict(
        data=PASSAGES, tokenizer=dict(name="bytes"), model=presets.get(
            "bert", context=256, width=32, layers=1, heads=2, ff=64, dropout=0.0, pooler=False),
        optimizer=optimizer.finetuning(rate=1e-3, warmup=5),
        train=dict(steps=20, batch=4, length=256, windows="packed", log_every=1)),
}


def get_config(arg="search"):
    """arg: a preset, then overrides: "search,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="contrastive")
