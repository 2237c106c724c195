"""Makes more training examples of labelled texts: each in other words, with its label, by two translating runs.

    ./run.sh back_translate --path=train.csv --there=runs/en-de --back=runs/de-en --out=more.jsonl
    ./run.sh train --config=configs/classification.py:tiny --config.data.source=files \
        --config.data.path=train.csv,more.jsonl --config.data.validation_path=valid.csv --config.data.test_path=test.csv

Held-out texts stand in files of their own there: of a text and its other words, one could else be learned from and the
other be measured on.
"""

import json
import sys

from absl import flags

from lmlab.utils import cli, environment
from lmlab.utils.errors import UserError
from lmlab.utils.files import write_text

PATH = flags.DEFINE_string("path", None, "Training files of texts and labels (as config.data.path).", required=True)
FIELD = flags.DEFINE_string("field", "text", "Their columns, as config.data.field.")
THERE = flags.DEFINE_string("there", None, "An encoder-decoder into another language, as lmlab.load takes it.",
                            required=True)
BACK = flags.DEFINE_string("back", None, "An encoder-decoder from there.", required=True)
OUT = flags.DEFINE_string("out", None, "The .jsonl file that is written.", required=True)
TEMPERATURE = flags.DEFINE_float("temperature", 0.7, "Of the draws; 0: the most likely text.")
SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")


def main():
    """Translates every text, and its pair, there and back; writes what came back changed."""
    from lmlab import run
    from lmlab.data import corpus
    from lmlab.decoding.back_translation import back_translated
    environment.set_up_jax()
    if not OUT.value.endswith(".jsonl"):
        raise UserError(f"--out={OUT.value} must end in .jsonl")
    found = list(corpus.whole(PATH.value, field=FIELD.value, reads="labelled").examples("all"))
    there, back = run.load(THERE.value), run.load(BACK.value)
    told = [[one.get(name) for one in found] for name in ("text", "pair")]
    made = [back_translated(there, back, texts, temperature=TEMPERATURE.value, seed=SEED.value) for texts in told]
    lines = []
    for one, text, pair in zip(found, *made, strict=True):
        new = {"text": text, **({"pair": pair} if "pair" in one else {}), "label": one["label"]}
        if None not in new.values() and new != one:
            lines.append(json.dumps(new, ensure_ascii=False) + "\n")
    write_text(OUT.value, "".join(lines))
    print(f"{len(lines)} of {len(found)} examples came back in other words: {OUT.value}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
