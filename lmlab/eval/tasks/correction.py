"""Corrections: how many of the edits are right, beside a noisy channel and the text as it is."""

import numpy as np

from lmlab.decoding import text2text
from lmlab.eval import confusion, written
from lmlab.eval.metrics import counts, edits, translation
from lmlab.eval.tasks import Task


def task(lm, beams=1, length_penalty=1.0) -> Task:
    """The task of an encoder-decoder, or of a decoder that chats. Edits are of characters where the script is Chinese
    or Japanese, else of words."""
    def said(held, texts):
        return _counted(written.sources(held), written.targets(held), texts)
    model = lambda held: said(held, text2text.answers(lm, written.asked(held), task="correction", beams=beams,
                                                      length_penalty=length_penalty))
    channel = lambda train, held: said(held, confusion.correct(
        list(zip(written.sources(train), written.targets(train))), written.sources(held), unit(written.targets(held))))
    return Task(model, {"confusions and bigrams": channel, "as it is": lambda train, held: said(
        held, written.sources(held))}, lambda held: (written.sources(held), written.targets(held)), STATISTICS, _slices,
        draw=written.keep)


def unit(texts) -> str:
    """What an edit replaces in such texts."""
    return "character" if translation.guess([[text] for text in texts]) else "word"


def _counted(sources, targets, texts):
    """The column of texts with (edits made rightly, made, to be made, whether the text is as it should be, whether it
    was to be left and was not, whether it was to be left, 1)."""
    left = np.array([source == target for source, target in zip(sources, targets)], bool)
    changed = np.array([source != text for source, text in zip(sources, texts)], bool)
    right = np.array([target == text for target, text in zip(targets, texts)], bool)
    rest_N4 = np.stack([right, left & changed, left, np.ones_like(left)], axis=1)
    return written.column(texts, np.concatenate(
        [edits.edit_counts(sources, targets, texts, unit(targets)), rest_N4], axis=1))


def _edit(name):
    """A statistic of the edits."""
    return written.of_sums(lambda sums_7: counts.scores(sums_7[:3], beta=0.5, empty=1.0)[name])


STATISTICS = {**{name: _edit(name) for name in ("f0.5", "precision", "recall")},
              "accuracy": written.of_sums(lambda sums_7: sums_7[3] / sums_7[6]),
              "false_positive_rate": written.of_sums(lambda sums_7: sums_7[4] / max(sums_7[5], 1))}


def _slices(held):
    """The texts with a mistake and those without."""
    wrong = np.array([source != target for source, target in zip(written.sources(held), written.targets(held))], bool)
    return {"with a mistake": np.flatnonzero(wrong), "without": np.flatnonzero(~wrong)}
