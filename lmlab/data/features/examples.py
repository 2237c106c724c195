"""What the features of labelled examples share: texts with what stands around them, and rows that hold several."""

import functools
import itertools
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, generator


class Encoded(NamedTuple):
    """An example as the network reads it: ids (n,), and types (n,), 0 of its first text and 1 of its second; where
    words of it have labels, places (w,): of the token that stands for each."""
    ids: np.ndarray
    types: np.ndarray
    places: np.ndarray = np.zeros(0, np.int32)


def frame(tokenizer, first: list[int], second: list[int] | None, length: int) -> Encoded:
    """[cls] first [eod], and second [eod] where there is one; cls only where the tokenizer has it. At most `length`
    tokens: the longer text is cut until they fit."""
    before = [tokenizer.specials["cls"]] if tokenizer.specials.get("cls", -1) >= 0 else []
    room = length - len(before) - (1 if second is None else 2)
    if second is None:
        first = first[:room]
    else:
        keep = max(room - len(second), min(len(first), room // 2))
        first = first[:keep]
        second = second[:room - len(first)]
    ids = [*before, *first, tokenizer.eod]
    types = np.zeros(len(ids) + (0 if second is None else len(second) + 1), np.int32)
    types[len(ids):] = 1
    return Encoded(np.array(ids if second is None else [*ids, *second, tokenizer.eod], np.int32), types)


def encode(tokenizer, firsts: list[str], seconds: list[str | None], length: int, whose: str = "") -> list[Encoded]:
    """Every example framed; a line on stderr says how many of `whose` had to be cut, where that is said."""
    plans.check(length, "stream", least=4)
    first_ids = tokenizer.encode_batch(firsts)
    second_ids = iter(tokenizer.encode_batch([text for text in seconds if text is not None]))
    both = [(first, next(second_ids) if text is not None else None)
            for first, text in zip(first_ids, seconds, strict=True)]
    framed = [frame(tokenizer, *pair, length) for pair in both]
    most = length - len(frame(tokenizer, [], None, length).ids)
    cut = sum(len(first) + (0 if second is None else len(second) + 1) > most for first, second in both)
    if cut and whose:
        say(f"{cut} of the {len(framed)} examples of {whose} are cut to config.train.length={length} tokens")
    return framed


def in_rows(sizes: list[int], length: int, windows: str) -> list[list[int]]:
    """The numbers of the examples that stand in each row: one ("stream"), or as many as fit ("packed")."""
    if windows == "stream":
        return [[number] for number in range(len(sizes))]
    bins = plans.best_fit_decreasing(np.array(sizes), length)
    found = [[] for _ in range(bins.max(initial=-1) + 1)]
    for number, place in enumerate(bins.tolist()):
        found[place].append(number)
    return found


def rows(encoded: list[Encoded], length: int, windows: str, widths: dict[str, tuple],
         values: Callable[[int], dict], dress: Callable | None = None, together: list[int] | None = None,
         grow: Callable[[int], int] = lambda n: n) -> Rows:
    """Rows of examples, the k-th of a row being segment k.

    Args:
      encoded: the examples. length, windows: of the rows.
      widths: shape of each array of labels: ("example", ...) for what stands once an example, ("token", ...) for what
        stands at each of its tokens, ("word", ...) at each of its words. values: example number -> {name: its value}.
      dress: (number, room, rng) -> an Encoded of at most `room` tokens to read in place of the example's own, and its
        values (augmentation).
      together: how many examples, of those that follow one another, share a row whatever `windows` is; None: one.
      grow: how many tokens, or words, so many may become when they are dressed: packed rows leave as much room.
    Returns:
      Rows of tokens, segments, positions, types (B, T) int32; weights (B, S) float32, 1 where there is an example;
      example (B, S) int32, its number from 1; where words have labels, places and words (B, W) int32, the place of each
      in the row and the segment that it is of, words standing one after another; and those of `widths`.
    """
    starts = np.cumsum([0, *(together or [1] * len(encoded))]).tolist()
    groups = [range(*pair) for pair in itertools.pairwise(starts)]
    room = [length if dress and windows == "stream" else min(length, grow(len(one.ids))) for one in encoded]
    sizes = [sum(room[number] for number in group) for group in groups]
    members = [[number for group in row for number in groups[group]] for row in in_rows(sizes, length, windows)]
    most = max(map(len, members), default=1)
    words = [grow(len(one.places)) if len(one.places) else 0 for one in encoded]
    most_words = max((sum(words[example] for example in row) for row in members), default=0)
    most_words = -(-most_words // 32) * 32  # few shapes, so that few programs are compiled
    most_of = {"example": most, "token": length, "word": most_words}

    def make(numbers_B: np.ndarray, epochs_B: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        B = len(numbers_B)
        batch = {name: np.zeros((B, length), np.int32) for name in ("tokens", "segments", "positions", "types")}
        batch |= {"weights": np.zeros((B, most), np.float32), "example": np.zeros((B, most), np.int32)}
        batch |= {name: np.zeros((B, most_words), np.int32) for name in (("places", "words") if most_words else ())}
        batch |= {name: np.zeros((B, most_of[over], *more), kind) for name, (over, kind, *more) in widths.items()}
        for b, (number, epoch) in enumerate(zip(numbers_B.tolist(), epochs_B.tolist(), strict=True)):
            at, word = 0, 0
            for k, example in enumerate(members[number] if number >= 0 else []):
                one, told = encoded[example], values(example)
                if dress:
                    one, told = dress(example, room[example], generator(seed, epoch, example))
                here, there = slice(at, at + len(one.ids)), slice(word, word + len(one.places))
                batch["tokens"][b, here], batch["types"][b, here] = one.ids, one.types
                batch["segments"][b, here], batch["positions"][b, here] = k + 1, np.arange(len(one.ids))
                batch["weights"][b, k], batch["example"][b, k] = 1, example + 1
                if most_words:
                    batch["places"][b, there], batch["words"][b, there] = at + one.places, k + 1
                for name, value in told.items():
                    batch[name][(b, {"example": k, "token": here, "word": there}[widths[name][0]])] = value
                at, word = here.stop, there.stop
        return batch

    return Rows(len(members), make)


@functools.cache
def say(line: str) -> None:
    """A line on stderr, once in a process: rows of the same split are made for more than one purpose."""
    print(line, file=sys.stderr)
