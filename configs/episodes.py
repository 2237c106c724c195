"""Learning to learn from few examples (Finn et al. 2017, Nichol et al. 2018): an episode has five kinds of questions,
two of each to learn from. Held-out episodes are of kinds that stood in none of training, and after three steps of
gradient descent on their ten questions the network is asked about fifteen others; by chance one of five is right.

    ./run.sh train --config=configs/episodes.py:PRESET --workdir=runs/NAME
    ./run.sh evaluate --run=runs/NAME

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | questions (TREC), two labels, from scratch | 2 CPU cores | seconds | a smoke test |
| maml | the fine types of TREC's questions, from scratch | 2 CPU cores | 3 min beside other work | held-out accuracy 0.352 (step 0: 0.270) |
| first_order | the same, the steps' gradients taken for constants | 2 CPU cores | not run here | not known |
| reptile | the same | 2 CPU cores | 1 min | 0.215: nothing of use elsewhere is learned |

The first line of training, "step 0", is the same network before it has learned to learn. More steps learn the kinds of
training by heart: after 600, maml's held-out accuracy is 0.263.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

FINE = dict(source="catalog", path="trec-fine", validation=0.3, test=0.1)
COMMON = dict(
    data=FINE, tokenizer=dict(name="wordpiece-uncased", vocab_size=4096),
    model=presets.get("bert", context=512, width=64, layers=1, heads=2, ff=256, dropout=0.0, pooler=False),
    optimizer=optimizer.finetuning(rate=2e-3), evals=dict(batch=16))
TRAIN = dict(steps=150, batch=8, length=512)

PRESETS = {
    "maml": dict(**COMMON, objective=dict(method="maml"), train=TRAIN),
    "first_order": dict(**COMMON, objective=dict(method="first_order"), train=TRAIN),
    "reptile": dict(**COMMON, objective=dict(method="reptile"), train=TRAIN),
    "tiny": dict(
        data={**FINE, "path": "trec"}, tokenizer=dict(name="bytes"), objective=dict(ways=2, held=0.0),
        model=presets.get("bert", context=256, width=16, layers=1, heads=2, ff=32, dropout=0.0, pooler=False),
        optimizer=optimizer.finetuning(rate=1e-3, warmup=5), train=dict(steps=20, batch=4, length=256, log_every=1)),
}


def get_config(arg="maml"):
    """arg: a preset, then overrides: "maml,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="episodes")
