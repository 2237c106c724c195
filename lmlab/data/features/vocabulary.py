"""What the ids of a vocabulary are, as tables over it: special, a word's beginning, a sentence's end."""

import functools
import unicodedata

import numpy as np

_SENTENCE_ENDS = (".", "!", "?", "\n", "\u3002", "\uff01", "\uff1f", "\u2026")  # the last four: CJK, ellipsis
_CLOSING = " \t\"')]}\u201d\u2019\u300d\u300f\uff09"  # what may follow the mark within its token
_CJK = (("\u3040", "\u30ff"), ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"))


@functools.lru_cache(4)
def specials(tokenizer) -> np.ndarray:
    """(V,) bool: eod and whatever has a role."""
    table_V = np.zeros(tokenizer.vocab_size, bool)
    table_V[[tokenizer.eod, *(i for i in tokenizer.specials.values() if i >= 0)]] = True
    return table_V


@functools.lru_cache(4)
def sentence_ends(tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """A (V,) bool table of tokens that end a sentence or a line, and one of tokens that are blank."""
    special_V = specials(tokenizer)
    texts = ["x" if special_V[i] else tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    return (np.array([text.rstrip(_CLOSING).endswith(_SENTENCE_ENDS) for text in texts]),
            np.array([not text.strip() for text in texts]))


def sentence_starts(text: np.ndarray, tables: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Where sentences or lines begin within a text of ids, its first not counted: at a token that is not blank, after
    an end of one. tables: of `sentence_ends`."""
    ends_V, blank_V = tables
    places = np.flatnonzero(~blank_V[text])
    ends_before = np.concatenate([[0], np.cumsum(ends_V[text])])[places]
    return places[1:][np.diff(ends_before) > 0]


@functools.lru_cache(4)
def words(tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Where words begin: a (V,) bool table of tokens that begin one, and one of tokens after which one begins.

    A word is what stands between spaces; marks and Chinese and Japanese characters are words of their own. Each token
    is read behind a letter, as some decoders drop the space of a token that stands first. A piece of a character
    (U+FFFD) goes on with the word.
    """
    special_V, anchor = specials(tokenizer), tokenizer.encode("a")
    before = tokenizer.decode(anchor)
    begins_V, ends_V = np.zeros((2, tokenizer.vocab_size), bool)
    for i in np.flatnonzero(~special_V).tolist():
        text = tokenizer.decode([*anchor, i])
        text = text[len(before):] if text.startswith(before) else text
        if text:
            begins_V[i] = text[0].isspace() or _alone(text[0])
            ends_V[i] = _alone(text[-1])
    return begins_V, ends_V


def _alone(character: str) -> bool:
    """Whether a character is a word of its own."""
    letter = character.isalnum() or character.isspace() or unicodedata.category(character)[0] == "M"
    return not (letter or character == "\ufffd") or any(low <= character <= high for low, high in _CJK)
