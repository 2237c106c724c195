"""Easy data augmentation (Wei & Zou 2019): words of a text change places, are left out, put in, or replaced by
synonyms.

A word is what stands between blanks and marks, a character where words are not set apart (Chinese, Japanese), and there
whatever the synonyms have. An entity of tagged text moves as a whole, and is neither replaced nor left out.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmlab.data import cleaning, readers
from lmlab.data.features import check_range
from lmlab.utils.errors import UserError
from lmlab.utils.files import sha256_file

OPERATIONS = ("nothing", "swap", "delete", "insert", "replace")
_WORD = rf"[{cleaning.CJK}]|[^\W{cleaning.CJK}]+(?:['’-][^\W{cleaning.CJK}]+)*"
_UNSPACED = re.compile(f"[{cleaning.CJK}]")


class Unit(NamedTuple):
    """What moves as a whole: the text before it that stays where it is (blanks, marks), its own text, the tags of its
    words, the [start, end] of these in it, and whether it is an entity."""
    gap: str
    text: str
    tags: tuple = ()
    words: tuple = ()
    entity: bool = False


class Synonyms(NamedTuple):
    """others: {word in lower case: the others of its sets}. words: the regular expression of a text's words."""
    others: dict
    words: re.Pattern


def check(augment: float, synonyms: str) -> None:
    """UserError where a setting means nothing. The file itself is read for training alone: a model needs it no more."""
    check_range("augment", augment, 0, 1)
    if synonyms and not augment:
        raise UserError(f"config.objective.synonyms={synonyms} would not be used; set config.objective.augment above "
                        "0, as 0.1, or leave it out")


def digest(path: str) -> str:
    """Equal for equal synonyms; "" for none. Raises as `read` does."""
    read(path)
    return sha256_file(path) if path else ""


def read(path: str) -> Synonyms:
    """The synonyms of a file: a set a line, commas between its words. "": none.

    Raises:
      UserError: where there is no such file, or a line holds fewer than two words.
    """
    others = {}
    if path and not Path(path).is_file():
        raise UserError(f"config.objective.synonyms={path} is no file; name one with a set of synonyms a line, commas "
                        "between the words")
    for where, line in readers.lines(Path(path)) if path else ():
        words = list(dict.fromkeys(word.strip() for word in line.split(",") if word.strip()))
        if len(words) == 1:
            raise UserError(f"{where}: {words[0][:40]!r} stands alone; give two words or more, commas between them")
        for word in words:
            others.setdefault(word.lower(), []).extend(other for other in words if other != word)
    longer = sorted((word for word in others if len(word) > 1 and _UNSPACED.match(word)), key=len, reverse=True)
    return Synonyms(others, re.compile("|".join([*map(re.escape, longer), _WORD])))


def split(text: str, synonyms: Synonyms) -> tuple[list[Unit], str]:
    """A text as its words, and what stands after the last."""
    units, at = [], 0
    for match in synonyms.words.finditer(text):
        units.append(Unit(text[at:match.start()], match[0]))
        at = match.end()
    return units, text[at:]


def split_tagged(text: str, words: list, tags: list[str]) -> tuple[list[Unit], str]:
    """A tagged text as its entities and its other words, and what stands after the last."""
    units, at = [], 0
    for (start, end), tag in zip(words, tags, strict=True):
        if tag.startswith("I-") and units and units[-1].entity:
            last = units[-1]
            begin = at - len(last.text)
            units[-1] = last._replace(text=text[begin:end], tags=(*last.tags, tag),
                                      words=(*last.words, (start - begin, end - begin)))
        else:
            units.append(Unit(text[at:start], text[start:end], (tag,), ((0, end - start),), tag.startswith("B-")))
        at = end
    return units, text[at:]


def join(units: list[Unit], tail: str) -> str:
    """The text of units."""
    return "".join(unit.gap + unit.text for unit in units) + tail


def join_tagged(units: list[Unit], tail: str) -> tuple[str, list, list[str]]:
    """The text of units, the [start, end] of its words, and their tags."""
    words, tags, at = [], [], 0
    for unit in units:
        at += len(unit.gap)
        words += [[at + start, at + end] for start, end in unit.words]
        tags += unit.tags
        at += len(unit.text)
    return join(units, tail), words, tags


def text(original: str, share: float, synonyms: Synonyms, rng: np.random.Generator) -> str:
    """A text, changed."""
    units, tail = split(original, synonyms)
    return join(changed(units, share, synonyms, rng), tail)


def tagged(original: str, words: list, tags: list[str], share: float, synonyms: Synonyms,
           rng: np.random.Generator) -> tuple[str, list, list[str]]:
    """A tagged text, changed: the text, the [start, end] of its words, and their tags."""
    units, tail = split_tagged(original, words, tags)
    return join_tagged(changed(units, share, synonyms, rng), tail)


def growth(share: float) -> Callable[[int], int]:
    """How many words, or about as many tokens, so many may become: at least four, which a row needs."""
    return lambda count: max(4, count + changes(count, share))


def changes(count: int, share: float) -> int:
    """n, the words of `count` that are swapped, put in or replaced: share x count, at least one."""
    return max(1, int(share * count))


def changed(units: list[Unit], share: float, synonyms: Synonyms, rng: np.random.Generator) -> list[Unit]:
    """The units after one of OPERATIONS, each as likely: the last two only where a word has a synonym.

    swap: n times two units change places. delete: each word is left out with probability `share`, but never all.
    insert: n times a synonym of a word of the text stands after any unit. replace: n words become a synonym of theirs.
    """
    known = [i for i, unit in enumerate(units) if not unit.entity and unit.text.lower() in synonyms.others]
    operation = OPERATIONS[rng.integers(len(OPERATIONS) if known else 3)]
    n, units = changes(len(units), share), list(units)
    draw = lambda i: _synonym(units[i], synonyms, rng)
    if operation == "swap" and len(units) > 1:
        for i, j in (rng.choice(len(units), 2, replace=False) for _ in range(n)):
            units[i], units[j] = units[j]._replace(gap=units[i].gap), units[i]._replace(gap=units[j].gap)
    elif operation == "delete" and units:
        kept = np.array([unit.entity for unit in units]) | (rng.random(len(units)) >= share)
        kept[rng.integers(len(units))] |= not kept.any()
        first, *rest = [unit for unit, stays in zip(units, kept) if stays]
        units = [first._replace(gap=units[0].gap), *rest]
    elif operation == "replace":
        for i in rng.permutation(known)[:n]:
            units[i] = draw(i)._replace(gap=units[i].gap)
    elif operation == "insert":
        new = [draw(known[rng.integers(len(known))]) for _ in range(n)]
        for one in new:
            at = int(rng.integers(len(units)))
            unspaced = _UNSPACED.match(units[at].text[-1]) and _UNSPACED.match(one.text[0])
            units.insert(at + 1, one._replace(gap="" if unspaced else " "))
    return units


def _synonym(unit, synonyms, rng):
    """A synonym in the place of a word, with its tag."""
    others = synonyms.others[unit.text.lower()]
    text = others[rng.integers(len(others))]
    return unit._replace(text=text, words=((0, len(text)),) if unit.tags else ())
