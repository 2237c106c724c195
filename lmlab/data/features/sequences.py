"""What the features of encoder-decoders share: runs of text, sentinels, and rows of sources and targets."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import role

ENCODER = ("encoder_tokens", "encoder_segments", "encoder_positions")
DECODER = ("tokens", "targets", "segments", "positions", "weights")


class Texts(NamedTuple):
    """A split cut into runs of text without eods: count of them; read: (number, shift) -> ids (n,) int32; moves: shift
    is to be below it."""

    count: int
    read: Callable[[int, int], np.ndarray]
    moves: int


def texts(split, length: int, windows: str) -> Texts:
    """Runs of at most `length` tokens; every token but the eods is in one of them.

    windows: "stream": all documents end to end, with nothing between them (as T5 cuts its text: Raffel et al. 2020,
      section 3.1.4), `length` tokens a run but for the last. "packed": each document on its own, in pieces of nearly
      the same size.
    """
    plans.check(length, windows)
    plans.check_plain(split)
    tokens, offsets = split.tokens, split.offsets
    if windows == "packed":
        pieces = plans.bodies(offsets, length)
        return Texts(len(pieces), lambda number, shift: tokens[slice(*_ends(pieces[number]))].astype(np.int32), 0)
    before = offsets - np.arange(len(offsets))  # tokens before each document, eods not counted
    total = int(before[-1])

    def read(number: int, shift: int) -> np.ndarray:
        n = min(length, total - number * length)
        first = min(number * length + shift, total - n)
        start, stop = np.array([first, first + n - 1]) + np.searchsorted(before, [first, first + n - 1], "right")
        run = np.array(tokens[start:stop + 1], np.int32)
        inside = offsets[np.searchsorted(offsets, start):np.searchsorted(offsets, stop)]
        return np.delete(run, inside - start)

    return Texts(-(-total // length), read, length)


def _ends(piece):
    """(start, stop) of a (start, number of tokens)."""
    return int(piece[0]), int(piece[0] + piece[1])


def widths(source: int, target: int) -> dict[str, int]:
    """The arrays of an encoder-decoder's rows, for `by_row`."""
    return dict.fromkeys(ENCODER, source) | dict.fromkeys(DECODER, target)


def start_of(tokenizer) -> int:
    """What a decoder is given first."""
    return tokenizer.specials.get("decoder_start", tokenizer.eod)


def sentinels(tokenizer) -> np.ndarray:
    """The ids of extra_0, extra_1, ..., as many as follow one another; UserError for none."""
    role(tokenizer, "extra_0")
    count = next(i for i in range(len(tokenizer.specials) + 1) if f"extra_{i}" not in tokenizer.specials)
    return np.array([tokenizer.specials[f"extra_{i}"] for i in range(count)], np.int32)


def sequence(sources: list[np.ndarray], targets: list[np.ndarray], start: int) -> dict[str, np.ndarray]:
    """A row of sources and targets, pair k being segment k on either side from 1; the decoder is given `start` and then
    the target, one place later."""
    (segments_S, positions_S), (segments_T, positions_T) = _places(sources), _places(targets)
    target_T = np.concatenate(targets)
    return {"encoder_tokens": np.concatenate(sources), "encoder_segments": segments_S, "encoder_positions": positions_S,
            "tokens": np.where(positions_T == 0, start, np.roll(target_T, 1)), "targets": target_T,
            "segments": segments_T, "positions": positions_T, "weights": np.ones(len(target_T), np.float32)}


def _places(texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(segments, positions) of texts end to end."""
    lengths = np.array([len(text) for text in texts])
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(np.arange(1, len(texts) + 1), lengths), np.arange(len(starts)) - starts
