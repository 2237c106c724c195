"""Translations: BLEU, chrF and TER, beside copies of the sources and translations word for word."""

import functools

import numpy as np

from lmlab.decoding import text2text
from lmlab.eval import lexical, written
from lmlab.eval.metrics import translation as metrics
from lmlab.eval.tasks import Task


def task(lm, beams=1, length_penalty=1.0) -> Task:
    """The task of an encoder-decoder, whose translations are the likeliest that so many beams find. The script of the
    references tells how the target is cut into words (metrics.translation.guess); the signatures say how."""
    def said(train, held, write):
        return _counted(written.targets(held), write(train, written.sources(held)))
    copy = functools.partial(said, write=lambda train, sources: sources)
    words = functools.partial(said, write=lambda train, sources: lexical.word_for_word(
        list(zip(written.sources(train), written.targets(train))), sources))
    model = functools.partial(said, None, write=lambda train, sources: text2text.answers(
        lm, sources, beams=beams, length_penalty=length_penalty))
    gold = lambda held: (written.sources(held), written.targets(held))
    return Task(model, {"copy": copy, "word for word": words}, gold, STATISTICS, written.by_length,
                draw=written.keep, notes=_signatures)


def _counted(references, texts):
    """The column of texts, with the counts of all measures side by side."""
    measures = metrics.measures([[text] for text in references], texts)
    return written.column(texts, np.concatenate([measure.counts_BX for measure in measures.values()], axis=1))


def _of(name):
    """A statistic: one measure of the summed counts."""
    measures = metrics.measures([["a"]], ["a"])
    sizes = [measure.counts_BX.shape[1] for measure in measures.values()]
    end = dict(zip(measures, np.cumsum(sizes)))[name]
    size = dict(zip(measures, sizes))[name]
    return written.of_sums(lambda sums_X: measures[name].of_sums(sums_X[end - size:end]))


STATISTICS = {name: _of(name) for name in ("bleu", "chrf", "ter")}


def _signatures(held):
    """How sacrebleu counted."""
    references = [[text] for text in written.targets(held)]
    language = metrics.guess(references)
    measures = metrics.measures(references[:1], [references[0][0]], language)
    return {name: measure.signature for name, measure in measures.items()}
