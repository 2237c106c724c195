"""What is done to documents before the split: valid Unicode, no duplicates; and what they still share."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np

_LONG_PARAGRAPH = 80  # characters; shorter ones ("Raises:", "See also") recur in honest text
_PARAGRAPHS = re.compile(r"\n[ \t]*\n+")
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and Han, for a class of a regular expression
_WORDS = re.compile(rf"[{CJK}]|[^\s{CJK}]+")  # a Chinese or Japanese character counts as a word
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def valid_unicode(text: str) -> str:
    """text with surrogate pairs joined and lone surrogates replaced by U+FFFD, so that UTF-8 can hold it."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def fraction(text: str) -> float:
    """Where text falls in [0, 1): a SHA-256 that does not see spacing, the same on every machine."""
    return int.from_bytes(_digest(text)) / 2**64


def deduplicate(documents: Iterable[str], how: str, same: Callable[[str], str] = str) -> Iterator[str]:
    """Documents without the ones seen before, in their order; blank documents are dropped in any case.

    Args:
      documents: texts.
      how: "document" drops exact repetitions (after whitespace normalisation); "paragraph" also cuts
        paragraphs of 80 characters or more that stood in an earlier document; "none" keeps everything that is
        not blank.
      same: what of a document is compared. """
    seen: set[bytes] = set()
    paragraphs: set[bytes] = set()
    for document in documents:
        if how == "paragraph":
            document = _without_paragraphs(document, paragraphs)
        if not document or document.isspace():
            continue
        if how != "none":
            digest = _digest(same(document))
            if digest in seen:
                continue
            seen.add(digest)
        yield document


def overlap(train: Callable[[], Iterable[str]], held_out: dict[str, Callable[[], Iterable[str]]],
            n: int = 13) -> dict[str, float]:
    """The share of each held-out split's word n-grams that also stand somewhere in the training documents.

    Only the held-out n-grams are kept in memory (as 64-bit hashes); the training documents stream past. Words
    are split at whitespace and lower-cased. n = 13 is the measure of Brown et al. 2020, appendix C.

    Returns:
      {split: share in [0, 1]}, 0.0 for a split with no document of n words.
    """
    grams = {split: _concatenate(_ngrams(document, n) for document in documents())
             for split, documents in held_out.items()}
    known = np.unique(_concatenate(grams.values()))
    seen = np.zeros(len(known), bool)
    if len(known):
        for document in train():
            new = _ngrams(document, n)
            place = np.minimum(np.searchsorted(known, new), len(known) - 1)
            seen[place[known[place] == new]] = True
    return {split: float(seen[np.searchsorted(known, values)].mean()) if len(values) else 0.0
            for split, values in grams.items()}


def _digest(text: str) -> bytes:
    """Eight bytes that name a text, whatever its spacing."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8")).digest()[:8]


def _without_paragraphs(document: str, seen: set[bytes]) -> str:
    """document less its long paragraphs that are in seen; its own are added to seen."""
    kept = []
    for paragraph in _PARAGRAPHS.split(document):
        if len(paragraph) >= _LONG_PARAGRAPH:
            digest = _digest(paragraph)
            if digest in seen:
                continue
            seen.add(digest)
        kept.append(paragraph)
    return "\n\n".join(kept).strip("\n")


def _ngrams(document: str, n: int) -> np.ndarray:
    """A 64-bit polynomial hash of every run of n words, (words - n + 1,) uint64; equal within one process."""
    text = document.lower()
    words = text.split() if text.isascii() else _WORDS.findall(text)
    if len(words) < n:
        return np.zeros(0, np.uint64)
    hashes = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    count = len(words) - n + 1
    grams = np.zeros(count, np.uint64)
    for place in range(n):
        grams = grams * _MULTIPLIER + hashes[place:place + count]
    return grams


def _concatenate(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Hash arrays end to end; empty for none."""
    return np.concatenate([np.zeros(0, np.uint64), *arrays])
