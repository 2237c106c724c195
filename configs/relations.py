"""What two spans of a text have to do with each other: an encoder reads marks around both (Baldini Soares et al. 2019,
Zhou & Chen 2022). Events are relations of the words that tell of them to their arguments.

    ./run.sh train --config=configs/relations.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]
    ./run.sh evaluate --run=runs/NAME --split=test [--spans=RUN]

`--spans` names a run of tagging that finds the spans; without it they are those of the file. All relations and events
here are made by rule from the tags of a Chinese newspaper (`data/catalog/related.py`): they show that the code learns,
not how well people's judgements are met.

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | events of a Chinese newspaper, made by rule | 2 CPU cores | a minute, reading above all | a smoke test |
| relations | who holds an office of what, what is part of what | 2 CPU cores | 4 min beside other work | F1 0.785 (rule by words between: 0.901) |
| events | meetings, visits, arrivals: who, whom, where, when | 2 CPU cores | 108 s beside other work | arguments F1 0.416 (rules: 0.416), triggers 0.807, both found |

`events` and `configs/tagging.py:events`, which finds what tells of them, are two halves:

    ./run.sh train --config=configs/tagging.py:events --workdir=runs/triggers
    ./run.sh train --config=configs/relations.py:events --workdir=runs/events
    ./run.sh evaluate --run=runs/events --split=test --spans=runs/triggers
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

RELATIONS = dict(source="catalog", path="peoples-daily-relations", validation=0.05, test=0.2)
EVENTS = dict(source="catalog", path="peoples-daily-events", validation=0.05, test=0.2)
HEADS = dict(heads="Arrive|Meet|Visit")
SCRATCH = dict(
    tokenizer=dict(name="chars"),
    model=presets.get("bert", context=160, width=128, layers=2, heads=4, ff=512, dropout=0.1, pooler=False),
    optimizer=optimizer.finetuning(rate=1e-3, warmup=50, beta2=0.99))

PRESETS = {
    "relations": dict(data=RELATIONS, **SCRATCH, train=dict(steps=2000, batch=16, length=160, windows="packed"),
                      evals=dict(batch=64)),
    "events": dict(data=EVENTS, **SCRATCH, objective=HEADS, evals=dict(batch=64),
                   train=dict(steps=1500, batch=8, length=160, windows="packed")),
    "tiny": dict(
        data=EVENTS, objective=HEADS, tokenizer=dict(name="bytes"), model=presets.get(
            "bert", context=256, width=32, layers=1, heads=2, ff=64, dropout=0.0, pooler=False),
        optimizer=optimizer.finetuning(rate=1e-3, warmup=5),
        train=dict(steps=20, batch=4, length=256, windows="packed", log_every=1)),
}


def get_config(arg="relations"):
    """arg: a preset, then overrides: "events,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="relations")
