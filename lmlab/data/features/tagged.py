"""Texts whose words have tags, as rows: each word is told at its first token."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, augmentation, examples
from lmlab.utils.errors import UserError


class Window(NamedTuple):
    """A part of a text that fits into a row, and which words of the text are told there: first to after, exclusive."""
    encoded: examples.Encoded
    text: int
    first: int
    after: int


def names(found) -> tuple[str, ...]:
    """The tags of examples, sorted."""
    return tuple(sorted({tag for example in found for tag in example["tags"]}))


def windows_of(tokenizer, texts: list[str], words: list[list], length: int, whose: str = "") -> list[Window]:
    """The windows in which the words of texts are told, each word in one of them: in that in whose middle it is most.

    A text of more tokens than a row holds is cut into windows that share at least half of what they hold; one in which
    no word is told is left out.

    Args:
      tokenizer: with "cls", or texts begin with nothing. words: [start, end] of each text's words, in their order.
      length: the most tokens of a window. whose: said on stderr where words have no token of their own.
    """
    plans.check(length, "stream", least=4)
    room, found, odd = length - len(examples.frame(tokenizer, [], None, length).ids), [], []
    for number, (text, places) in enumerate(zip(texts, words, strict=True)):
        ids, offsets = tokenizer.encode_offsets(text)
        first_W, own_W = first_tokens(offsets, places)
        odd += [text[slice(*places[word])] for word in np.flatnonzero(~own_W)]
        last = max(len(ids) - room, 0)
        starts = np.append(np.arange(0, last, max(room // 2, 1)), last)
        # The middles of what neighbours share: a token is nearer to the middle of the window on its own side.
        owner_W = np.searchsorted((starts[:-1] + starts[1:] + room) / 2, first_W, side="right")
        for window in np.unique(owner_W):
            first, after = np.searchsorted(owner_W, [window, window + 1])
            start = starts[window]
            one = examples.frame(tokenizer, ids[start:start + room], None, length)
            before = len(one.ids) - 1 - len(ids[start:start + room])
            found.append(Window(one._replace(places=(before + first_W[first:after] - start).astype(np.int32)),
                                number, int(first), int(after)))
    if odd and whose:
        examples.say(f"{len(odd)} words of {whose} have no token of their own (the first is {odd[0][:40]!r}); each is "
                     "told at the token before or around it")
    return found


def first_tokens(offsets: list, places: list) -> tuple[np.ndarray, np.ndarray]:
    """(the first token of each word, whether it is of no other word), each (w,).

    A word that the tokenizer drops, or that is inside the token of the word before, is told at the last token that
    begins before its end (0 where there is none).
    """
    offsets, places = (np.asarray(pairs, np.int64).reshape(-1, 2) for pairs in (offsets, places))
    ends = np.maximum.accumulate(offsets[:, 1])
    first_W = np.searchsorted(ends, places[:, 0], side="right")
    starts = np.append(offsets[:, 0], np.iinfo(np.int64).max)
    there_W = starts[first_W] < places[:, 1]
    first_W = np.maximum(first_W - ~there_W, 0)
    return first_W, there_W & (np.diff(first_W, prepend=-1) > 0)


def features(split, tokenizer, *, length, windows, labels, augment: float = 0.0, synonyms: str = "") -> Rows:
    """Rows of windows of texts with the tags of their words.

    Args:
      split: of tagged examples. tokenizer, length: as `windows_of` takes them. windows: "stream", one a row, or
        "packed", as many as fit. labels: the tags. augment, synonyms: as in labelled.features; a text that is cut into
        windows stays as it is.
    Returns:
      Rows as `examples.rows` gives, with tags (B, W) int32: the number of the tag of each word.
    """
    found = split.examples
    cut = windows_of(tokenizer, [one["text"] for one in found], [one["words"] for one in found], length,
                     f"{split.meta['name']} ({split.split})")
    numbers = {tag: number for number, tag in enumerate(labels)}
    if unknown := set(names(found)) - set(labels):
        raise UserError(f"{split.meta['name']} ({split.split}) has the tag {min(unknown)}, which the model does not "
                        "know; train one on data that has it")

    def values(number: int) -> dict:
        one = cut[number]
        return {"tags": [numbers[tag] for tag in found[one.text]["tags"][one.first:one.after]]}

    encoded, widths = [one.encoded for one in cut], {"tags": ("word", np.int32)}
    if not augment or split.split != "train":
        return examples.rows(encoded, length, windows, widths, values)
    known, cuts = augmentation.read(synonyms), Counter(one.text for one in cut)

    def dress(number: int, room: int, rng) -> tuple[examples.Encoded, dict]:
        example = found[cut[number].text]
        parts = (example[name] for name in ("text", "words", "tags"))
        text, words, tags = augmentation.tagged(*parts, augment, known, rng)
        new = windows_of(tokenizer, [text], [words], room) if cuts[cut[number].text] == 1 else []
        if len(new) != 1:  # there is no room for it
            return encoded[number], values(number)
        return new[0].encoded, {"tags": [numbers[tag] for tag in tags]}

    return examples.rows(encoded, length, windows, widths, values, dress, grow=augmentation.growth(augment))
