"""Conversations and preferences between answers: a decoder that is there already, tuned to chat, or one from scratch.

    ./run.sh train --config=configs/chat.py:PRESET --workdir=runs/NAME
    ./run.sh train --config=configs/chat.py:alpaca,data.source=files,data.path=chat.csv --workdir=runs/NAME
    ./run.sh evaluate --run=runs/NAME --split=test

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | small talk (chatterbot), from scratch | 2 CPU cores | 20 seconds | a smoke test |
| small_talk | the same, a network of yours | 2 CPU cores | 27 s | recall@1 0.692 of 13 (BM25 0.385), from the quickstart |
| alpaca | 784 instructions | 2 CPU cores | 21 min beside other work | held-out loss 1.632 (before: 1.738) |
| dpo | 205 pairs of answers | 2 CPU cores | 19 min beside other work | accuracy 0.698 of 63 (before: 0.492) |

`alpaca` tunes SmolLM2 (135M, instruct) to instructions, `dpo` to preferences, both with low-rank adapters; dpo begins
from another run with --config.init_from=runs/NAME.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

FINETUNE = dict(
    init_from="catalog:smollm2-135m-instruct", adapt=dict(lora_rank=8),
    optimizer=optimizer.finetuning(weight_decay=0.0))
SMALL_TALK = dict(source="catalog", path="chatterbot-en", validation=0.1, test=0.1)
ALPACA = dict(source="catalog", path="alpaca-en", validation=0.1, test=0.1)
PREFERENCES = dict(source="catalog", path="dpo-en", validation=0.1, test=0.2)

PRESETS = {
    "tiny": dict(data=SMALL_TALK, tokenizer=dict(name="bytes"),
                 model=presets.get("smollm2", context=256, width=32, layers=1, heads=2, kv_heads=1, ff=64),
                 optimizer=dict(rate=3e-3, warmup=5),
                 train=dict(steps=30, batch=4, windows="packed", log_every=1),
                 evals=dict(sample_tokens=20)),
    # a network of yours, tuned whole: --config.init_from=runs/NAME
    "small_talk": dict(data=SMALL_TALK, optimizer=optimizer.finetuning(rate=1e-3),
                       train=dict(steps=300, batch=8, windows="packed"), evals=dict(samples=3, temperature=0.0)),
    "alpaca": dict(data=ALPACA, **FINETUNE, train=dict(steps=100, batch=2, length=512, windows="packed"),
                   evals=dict(samples=3)),
    "dpo": dict(data=PREFERENCES, objective=dict(name="preference", kind="dpo"),
                **{**FINETUNE, "optimizer": {**FINETUNE["optimizer"], "rate": 5e-5}},
                train=dict(steps=100, batch=1, length=1024, windows="packed"), evals=dict(samples=3)),
}


def get_config(arg="alpaca"):
    """arg: a preset, then overrides: "dpo,objective.kind=orpo"."""
    return run.from_presets(PRESETS, arg, objective="dialogue")
