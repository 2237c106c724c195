"""Summaries: ROUGE, beside the first three sentences of the text."""

import functools

import numpy as np

from lmlab.decoding import text2text
from lmlab.eval import written
from lmlab.eval.metrics import rouge
from lmlab.eval.tasks import Task

METRICS = ("rouge1", "rouge2", "rougeLsum")


def task(lm, beams=1, length_penalty=1.0) -> Task:
    """The task of an encoder-decoder, or of a decoder that chats."""
    model = lambda held: _counted(held, text2text.answers(lm, written.asked(held), task="summarization", beams=beams,
                                                          length_penalty=length_penalty))
    first = lambda train, held: _counted(held, list(map(functools.partial(written.lead, 3), written.sources(held))))
    return Task(model, {"first three sentences": first}, lambda held: (written.sources(held), written.targets(held)),
                STATISTICS, written.by_length, draw=written.keep)


def _counted(held, texts):
    """The column of summaries, with the F-measure of each, a sentence being a line of its own; and 1."""
    lines = lambda text: "\n".join(written.sentences(text))
    each = rouge.each([[lines(text)] for text in written.targets(held)], list(map(lines, texts)))
    return written.column(texts, np.stack([*(each[name] for name in METRICS), np.ones(len(texts))], axis=1))


STATISTICS = {name: written.of_sums(lambda sums_X, place=place: sums_X[place] / sums_X[-1])
              for place, name in enumerate(METRICS)}
