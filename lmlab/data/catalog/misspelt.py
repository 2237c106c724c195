"""Data sets of pairs that are made here: sentences with mistakes put into them, and as they were."""

import functools
import random
import re
from collections import defaultdict

from lmlab.data import readers
from lmlab.data.catalog import pairs, tagged
from lmlab.data.catalog.entry import CODESPELL, PYCORRECTOR
from lmlab.utils.archives import fetch, members, unpacking

RIGHT = 0.3           # of the sentences have no mistake,
MISTAKES = (1, 1, 2)  # of the others, two have one for each that has two
_WORDS = re.compile(r"\w+|\W+")
_TIGHT = ((r"`` ?", '"'), (r" ?''", '"'), (r" (?=[.,;:!?)])", ""), (r"(?<=\() ", ""))  # as print has it


def spoilt(units: list[str], wrongs: dict[str, list[str]]) -> str:
    """A text with mistakes in it, the same for the same text.

    Args:
      units: that it is made of. wrongs: how a unit, in lower case, is also written.
    """
    draw, units = random.Random("".join(units)), list(units)
    places = [place for place, unit in enumerate(units) if unit.lower() in wrongs]
    if places and draw.random() >= RIGHT:
        for place in draw.sample(places, min(len(places), draw.choice(MISTAKES))):
            wrong = draw.choice(wrongs[units[place].lower()])
            units[place] = wrong.capitalize() if units[place][0].isupper() else wrong
    return "".join(units)


def _english(name, text):
    """Sentences of 4 to 24 words of the Brown Corpus, with mistakes that codespell knows."""
    for example in tagged.ENTRIES["brown"].parse(name, text):
        sentence = example["text"]
        for pattern, right in _TIGHT:
            sentence = re.sub(pattern, right, sentence)
        if 4 <= len(sentence.split()) <= 24:
            yield readers.pair(spoilt(_WORDS.findall(sentence), _misspellings()), sentence)


def _chinese(name, text):
    """Sentences of 6 to 48 characters of the People's Daily, with characters in place of others that sound alike."""
    for example in tagged.ENTRIES["peoples-daily"].parse(name, text):
        if 6 <= len(example["text"]) <= 48:
            yield readers.pair(spoilt(list(example["text"]), _homophones()), example["text"])


@functools.cache
def _misspellings():
    """How words are misspelt, of codespell."""
    wrongs = defaultdict(list)
    for document in pairs.ENTRIES["codespell"].parse("", _content(CODESPELL, "codespell_lib/data/dictionary.txt")):
        wrong, right = document.split(readers.SEPARATOR)
        if wrong.isalpha() and right.isalpha():
            wrongs[right.lower()].append(wrong.lower())
    return dict(wrongs)


@functools.cache
def _homophones():
    """Characters that sound as others do, of pycorrector: a character, those with its tone, those with another."""
    lines = (line.split("\t") for line in _content(PYCORRECTOR, "pycorrector/data/same_pinyin.txt").split("\n")[1:])
    return {one: list("".join(others)) for one, *others in lines if "".join(others)}


def _content(archive, name):
    """The text of a member."""
    path = fetch(archive)
    with unpacking(path):
        return next(data for _, data in members(path, name)).decode("utf-8-sig").replace("\r\n", "\n")


_BROWN, _DAILY = tagged.ENTRIES["brown"], tagged.ENTRIES["peoples-daily"]
ENTRIES = {
    "brown-misspelt": _BROWN._replace(
        name="Brown Corpus, misspelt as codespell 2.4.3 knows", kind="pairs", parse=_english,
        licence=f"{_BROWN.licence}; the mistakes CC-BY-SA-3.0"),
    "peoples-daily-misspelt": _DAILY._replace(
        name="People's Daily, January 1998, with homophones of pycorrector 1.1.4", kind="pairs", parse=_chinese,
        licence=f"{_DAILY.licence}; the homophones not stated by pycorrector (itself Apache-2.0)"),
}
