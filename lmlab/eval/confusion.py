"""Spelling corrected as a noisy channel (Kernighan et al. 1990): a word or character is replaced by one that it was
written for in training, where a bigram model thinks so. What a corrector must beat."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from lmlab.eval.metrics import edits

_BIGRAM = 0.7  # its weight beside the unigram's (Jelinek & Mercer 1980)
_END = ""


def correct(train: Sequence[tuple[str, str]], texts: Sequence[str], unit: str) -> list[str]:
    """The texts, corrected from left to right: of unit u the c that maximises p(c | before) p(after | c) p(u | c).

    Args:
      train: (source, target) texts. unit: "word" or "character".
    """
    space = " " if unit == "word" else ""
    likely = _bigrams([edits.units(right, unit) for _, right in train])
    written, confused = Counter(), defaultdict(Counter)
    for wrong, right in train:
        source, target = edits.units(wrong, unit), edits.units(right, unit)
        written.update(target)
        for edit in edits.edits(source, target):
            if edit.end - edit.start == len(edit.replacement):  # one for one
                for said, meant in zip(source[edit.start:edit.end], edit.replacement):
                    confused[said][meant] += 1
    wrongly = Counter()
    for said, meant in confused.items():
        wrongly.update(meant)

    def channel(said, meant):
        """p(said | meant): by how often it was written so, of as often as it was meant; itself the rest."""
        count = written[meant] + 1
        return (count - wrongly[meant] if said == meant else confused[said][meant]) / count

    def fixed(text):
        now = [*edits.units(text, unit), _END]
        for place, said in enumerate(now[:-1]):
            if said in confused:
                before, after = now[place - 1] if place else _END, now[place + 1]
                now[place] = max((said, *confused[said]), key=lambda meant: math.log(likely(before, meant)) + math.log(
                    likely(meant, after)) + math.log(channel(said, meant)))
        return space.join(now[:-1]) if now[:-1] != edits.units(text, unit) else text
    return [fixed(text) for text in texts]


def _bigrams(texts):
    """(before, unit) -> p(unit | before), mixed with the unigram's, one added to each of its counts; _END stands before
    and after a text."""
    ones = Counter(unit for text in texts for unit in (*text, _END))
    twos = Counter(pair for text in texts for pair in zip((_END, *text), (*text, _END)))
    total = ones.total() + len(ones) + 1

    def likely(before, unit):
        seen = twos[before, unit] / ones[before] if ones[before] else 0.0
        return _BIGRAM * seen + (1 - _BIGRAM) * (ones[unit] + 1) / total
    return likely
