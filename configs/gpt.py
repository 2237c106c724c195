"""GPT: a decoder-only Transformer that learns to predict the next token (Radford et al. 2018, 2019).

    ./run.sh train --config=configs/gpt.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| quickstart | Python's own documentation | 2 CPU cores | 142 s | 1.71 bits a byte held out (lzma 2.48) |
| tiny | the same | 2 CPU cores | seconds | a smoke test: 7.1 bits a byte |
| distilled | the same; runs/quickstart, of quickstart, is its teacher | 2 CPU cores | not run here | not known |
| small | the same | 1 GPU | not run here | not known |
| shakespeare_char | data.path=tiny Shakespeare | 2 CPU cores | 149 s | 1.91 nats a character held out |
| shakespeare_fast | the same | 2 CPU cores | not timed alone | 1.71 to 1.73 |
| gpt2 | data.path=yours (OpenWebText) | 8 GPUs of 80 GB | not run here | nanoGPT reports 2.85 |
| modern | data.path=yours | 8 GPUs of 80 GB | not run here | not known |
| depth | data.path=yours | by its size | not run here | not known |

`depth` has one dial, as nanochat: `configs/gpt.py:depth,model.layers=20` is 20 layers of width 64 x 20, in heads of
128, trained on 20 tokens a parameter (Hoffmann et al. 2022) in batches that grow with the square of the depth, at rates
found at width 768 and scaled from there (muP). It is set in the config's argument; --config.model.layers=20 changes
the layers alone. What it makes of a depth: `./run.sh plan --config=configs/gpt.py:depth,model.layers=20 ...`.
"""

import math

from lmlab import config, run
from lmlab.models import presets
from lmlab.train import optimizer

MUON = optimizer.muon()
SHAKESPEARE = dict(data=dict(source="files", split="tail", validation=0.1, test=0.0), tokenizer=dict(name="chars"))


def depth(layers, context=1024, vocab_size=32768):
    """The sections of a model of so many layers, all else following from them."""
    width = 64 * layers
    parameters = 12 * layers * width ** 2 + vocab_size * width
    batch = 2 ** max(0, round(math.log2(512 * (layers / 12) ** 2)))  # half a million tokens at 12 layers
    steps = math.ceil(20 * parameters / (batch * context))
    return dict(
        data=dict(source="files"), tokenizer=dict(name="bbpe", vocab_size=vocab_size),
        model=dict(context=context, width=width, layers=layers, heads=-(-width // 128), head_dim=128,
                   logit_softcap=15.0, base_width=768, **presets.MODERN),
        optimizer=optimizer.muon(decay=0.4, warmup=min(200, steps // 10)),
        train=dict(steps=steps, batch=batch, accumulation=max(1, batch // 128), precision="bfloat16", save_every=1000),
        evals=dict(every=max(1, min(1000, steps // 4))))


PRESETS = {
    # The embedded documentation of the running Python; two minutes on two cores.
    "quickstart": dict(
        tokenizer=dict(name="bpe", vocab_size=1024),
        model=dict(context=128, width=128, layers=4, heads=4, **presets.MODERN),
        optimizer=MUON, train=dict(steps=600, batch=16), evals=dict(samples=3, sample_tokens=100)),
    # A smoke test: it learns little, in seconds.
    "tiny": dict(
        tokenizer=dict(name="bytes"),
        model=dict(context=32, width=32, layers=2, heads=2),
        optimizer=dict(warmup=1), train=dict(steps=20, batch=8, log_every=1), evals=dict(sample_tokens=16)),
    # A quarter of the quickstart's parameters, which teaches them; distil.soft=0: from the text alone.
    "distilled": dict(
        distil=dict(teacher="runs/quickstart"), model=dict(context=128, width=64, layers=2, heads=2, **presets.MODERN),
        optimizer=MUON, train=dict(steps=600, batch=16), evals=dict(samples=3, sample_tokens=100)),
    # Six layers of width 384, meant for one GPU.
    "small": dict(
        tokenizer=dict(name="bpe", vocab_size=4096),
        model=dict(context=256, width=384, layers=6, heads=6, **presets.MODERN),
        optimizer=MUON, train=dict(steps=2000, batch=32)),
    # nanoGPT's train_shakespeare_char at its CPU setting.
    "shakespeare_char": dict(
        **SHAKESPEARE,
        model=dict(context=64, width=128, layers=4, heads=4, bias=False),
        optimizer=dict(rate=1e-3, warmup=100, floor=0.1, beta2=0.99, weight_decay=0.1),
        train=dict(steps=2000, batch=12)),
    # The same data, no more parameters, a third of the time or less: each change has a row in README's ladder.
    "shakespeare_fast": dict(
        **SHAKESPEARE,
        model=dict(context=64, width=128, layers=4, heads=4, kv_heads=1, ff=604, token_shift=0.5, tied=False,
                   **presets.MODERN),
        optimizer=optimizer.muon(adam_rate=0.01, decay=1.0), train=dict(steps=180, batch=32)),
    # GPT-2 124M (Radford et al. 2019) with nanoGPT's training settings; the text is yours (data.path).
    "gpt2": dict(
        data=dict(source="files"), tokenizer=dict(name="bbpe", vocab_size=50257),
        model=presets.get("gpt2:small", dropout=0.0),
        optimizer=dict(rate=6e-4, warmup=2000, floor=0.1, beta2=0.95, weight_decay=0.1),
        train=dict(steps=600_000, batch=480, accumulation=40, precision="bfloat16", save_every=1000),
        evals=dict(every=1000)),
    # The size of GPT-2 with what came after it.
    "modern": dict(
        data=dict(source="files"), tokenizer=dict(name="bbpe", vocab_size=50257),
        model=dict(context=1024, width=768, layers=12, heads=12, kv_heads=4, logit_softcap=30.0,
                   **{**presets.MODERN, "activation": "swiglu"}),
        optimizer=optimizer.muon(decay=0.3, warmup=500),
        train=dict(steps=20_000, batch=480, accumulation=40, precision="bfloat16", save_every=1000),
        evals=dict(every=1000)),
    "depth": depth(12),
}


def get_config(arg="quickstart"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    preset, changes = config.parse_arg(arg, PRESETS)
    if preset == "depth" and "model.layers" in changes:
        layers = config.parse_value("model.layers", changes["model.layers"], 12)
        return run.from_presets({"depth": depth(max(1, layers))}, arg, objective="causal")
    return run.from_presets(PRESETS, arg, objective="causal")
