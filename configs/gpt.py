"""GPT: a decoder-only Transformer that learns to predict the next token.

    ./run.sh train --config=configs/gpt.py:quickstart --workdir=runs/quickstart
    ./run.sh train --config=configs/gpt.py:small --workdir=runs/x --config.train.steps=100
"""

from lmlab import config, run

MODERN = dict(positions="rotary", norm="rms", activation="relu2", qk_norm=True, bias=False, zero_init=True)

PRESETS = {
    # The embedded documentation of the running Python; two minutes on two cores.
    "quickstart": dict(
        tokenizer=dict(name="bpe", vocab_size=1024),
        model=dict(context=128, width=128, layers=4, heads=4, **MODERN),
        optimizer=dict(name="muon", rate=0.02, adam_rate=0.003, schedule="wsd", warmup=20, weight_decay=0.0),
        train=dict(steps=800, batch=16)),
    # Two steps of everything, for tests.
    "tiny": dict(
        tokenizer=dict(name="bytes"),
        model=dict(context=32, width=32, layers=2, heads=2),
        optimizer=dict(warmup=1),
        train=dict(steps=20, batch=8, log_every=1),
        evals=dict(sample_tokens=16)),
}


def get_config(arg="quickstart"):
    """arg: a preset, then overrides: "tiny,train.steps=5,model.layers=1"."""
    preset, assignments = config.parse_arg(arg, PRESETS)
    sections = {name: dict(values) for name, values in PRESETS[preset].items()}
    sections["model"] = dict(name="transformer", **sections["model"])
    sections.setdefault("objective", {})["name"] = "causal"
    return run.complete(sections, assignments)
