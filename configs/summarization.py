"""Summaries of news in one sentence: a decoder that chats is asked for them, and learns its answers.

    ./run.sh train --config=configs/summarization.py:PRESET --workdir=runs/NAME
    ./run.sh evaluate --run=runs/NAME --split=test

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | XSum, from scratch | 2 CPU cores | seconds | a smoke test |
| xsum | XSum, 999 articles, their first 250 words | 2 CPU cores | 12 min beside other work for 40 steps | ROUGE-1 22.5 (LEAD-3 18.7) |

`xsum` tunes SmolLM2 (135M, instruct) with low-rank adapters. What was not tuned is measured by `./run.sh evaluate
--run=catalog:smollm2-135m-instruct --task=summarization --path=PAIRS --field=ARTICLE,SUMMARY`. An encoder-decoder
learns from pairs, as in configs/seq2seq.py with --config.evals.task=summarization.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

XSUM = dict(source="catalog", path="xsum-chat", validation=0.05, test=0.1)

PRESETS = {
    "tiny": dict(data=XSUM, tokenizer=dict(name="bytes"),
                 model=presets.get("smollm2", context=2048, width=32, layers=1, heads=2, kv_heads=1, ff=64),
                 optimizer=dict(rate=3e-3, warmup=2), train=dict(steps=20, batch=2, windows="packed", log_every=1),
                 evals=dict(task="summarization", sample_tokens=20)),
    "xsum": dict(data=XSUM, init_from="catalog:smollm2-135m-instruct", adapt=dict(lora_rank=8),
                 optimizer=optimizer.finetuning(weight_decay=0.0),
                 train=dict(steps=200, batch=2, length=512, windows="packed"),
                 evals=dict(task="summarization", samples=3, sample_tokens=60, temperature=0.0)),
}


def get_config(arg="xsum"):
    """arg: a preset, then overrides: "xsum,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="dialogue")
