"""The right one of a question's choices: an encoder that is there already, fine-tuned (Radford et al. 2018).

    ./run.sh train --config=configs/multiple_choice.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]
    ./run.sh evaluate --run=runs/NAME --split=test

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | OpenBookQA, 500 questions | 2 CPU cores | seconds | a smoke test |
| openbookqa | the same, MiniLM tuned | 2 CPU cores | 5.4 min | accuracy 0.359 of 117 (longest choice 0.393): too few to learn from |
| piqa | PIQA | 2 CPU cores | not run here | not known |
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

MINILM = dict(
    init_from="catalog:minilm-l6-v2", model=dict(dropout=0.1),
    optimizer=optimizer.finetuning(rate=1e-4))
OPENBOOKQA = dict(source="catalog", path="openbookqa", validation=0.1, test=0.2)
PIQA = dict(source="catalog", path="piqa", validation=0.1, test=0.2)

PRESETS = {
    "tiny": dict(data=OPENBOOKQA, tokenizer=dict(name="bytes"), model=presets.get(
        "bert", context=512, width=32, layers=1, heads=2, ff=64, dropout=0.0, pooler=False, token_types=2),
        optimizer=optimizer.finetuning(rate=1e-3, warmup=5),
        train=dict(steps=20, batch=4, length=512, windows="packed", log_every=1)),
    "openbookqa": dict(data=OPENBOOKQA, **MINILM, train=dict(steps=200, batch=8, length=256, windows="packed")),
    "piqa": dict(data=PIQA, **MINILM, train=dict(steps=400, batch=8, length=256, windows="packed")),
}


def get_config(arg="openbookqa"):
    """arg: a preset, then overrides: "piqa,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="multiple_choice")
