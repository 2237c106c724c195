"""Where in a context a question's answer stands, or that it does not: an encoder that is there already, fine-tuned
(Devlin et al. 2019, section 4.2).

    ./run.sh train --config=configs/question_answering.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]
    ./run.sh evaluate --run=runs/NAME --split=test

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | Disfl-QA, 1,000 questions | 2 CPU cores | seconds | a smoke test |
| disflqa | the same, MiniLM tuned | 2 CPU cores | 17 min beside other work | F1 0.245, as no answer gets: too few to learn from |
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

DISFLQA = dict(source="catalog", path="disflqa", validation=0.1, test=0.2)

PRESETS = {
    "tiny": dict(data=DISFLQA, tokenizer=dict(name="bytes"), model=presets.get(
        "bert", context=256, width=32, layers=1, heads=2, ff=64, dropout=0.0, pooler=False, token_types=2),
        optimizer=optimizer.finetuning(rate=1e-3, warmup=5),
        train=dict(steps=20, batch=4, length=256, windows="packed", log_every=1)),
    "disflqa": dict(
        data=DISFLQA, init_from="catalog:minilm-l6-v2", model=dict(dropout=0.1),
        optimizer=optimizer.finetuning(),
        train=dict(steps=400, batch=8, length=384, windows="packed")),
}


def get_config(arg="disflqa"):
    """arg: a preset, then overrides: "disflqa,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="question_answering")
