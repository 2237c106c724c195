"""Which tokens a row holds: planned once, as an index beside the store, so that every row is random access.

A piece of n tokens makes n - 1 predictions: its inputs are piece[:-1], its targets piece[1:]. A row holds
pieces of at most `length` predictions in all. Pieces that follow one another overlap by one token, so that
each token after the first is predicted exactly once. """

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmlab.data.blocks import Damaged
from lmlab.data.store import TokenStore
from lmlab.utils.errors import UserError
from lmlab.utils.files import sha256, sha256_file, write_bytes

_VERSION = 2  # raise when the same store would be cut in another way


class Index(NamedTuple):
    """A plan of rows.

    Attributes:
      pieces: (P, 2) int64, start in the token array and number of tokens.
      rows: (R + 1,) int64; row r holds the pieces rows[r] to rows[r + 1].
    """

    pieces: np.ndarray
    rows: np.ndarray


def plan(store: TokenStore, length: int, windows: str = "stream") -> Index:
    """Cuts a split into rows, or maps the plan that was made before.

    Args:
      length: T, predictions a row. windows: "stream" cuts the whole split, eods and all, into one piece a
        row; "packed" cuts each document with the eod before and after it, so that no piece holds two
        documents, and packs the pieces into rows (best fit decreasing). """
    check(length, windows)
    check_plain(store)
    return _kept(store, f"{windows}.{length}", lambda: stream(len(store.tokens), length) if windows == "stream"
                 else packed(store.offsets, length))


def check(length: int, windows: str, least: int = 1) -> None:
    """UserError for a kind of windows that there is not, or a length below `least`."""
    if windows not in ("stream", "packed"):
        raise UserError(f"config.train.windows={windows!r} is unknown; use stream or packed")
    if length < least:
        raise UserError(f"config.train.length={length}: must be at least {least}")


def check_plain(store: TokenStore) -> None:
    """UserError for a store of pairs."""
    if store.meta.get("fields", 1) != 1:
        raise UserError(f"{store.meta['name']} holds pairs, and this objective wants plain text; set "
                        "config.objective.name=seq2seq, or name one field in config.data.field")


def pack_framed(store: TokenStore, length: int) -> Index:
    """Rows of the pieces of `bodies`, each taking two places more than its tokens (for what stands around it)."""
    def make() -> Index:
        pieces = bodies(store.offsets, length - 2)
        return _in_rows(pieces, best_fit_decreasing(pieces[:, 1] + 2, length))
    return _kept(store, f"framed.{length}", make)


def pack_pairs(store: TokenStore, length: int) -> Index:
    """Rows of pairs for an encoder and a decoder of `length` each: a pair takes on either side what its longer text
    and one token more take, at most `length`. A piece is (number of the pair, places)."""
    def make() -> Index:
        places = np.minimum(np.diff(store.offsets).reshape(-1, 2).max(1), length)
        return _in_rows(np.stack([np.arange(len(places)), places], 1), best_fit_decreasing(places, length))
    return _kept(store, f"pairs.{length}", make)


def stream(n: int, length: int) -> Index:
    """Rows of one piece over n tokens that follow one another; the last may be shorter."""
    starts = np.arange(0, n - 1, length, dtype=np.int64)
    pieces = np.stack([starts, np.minimum(length + 1, n - starts)], 1)
    return Index(pieces, np.arange(len(pieces) + 1, dtype=np.int64))


def packed(offsets: np.ndarray, length: int) -> Index:
    """Rows of pieces that each lie within one document.

    Args:
      offsets: (documents + 1,) places of the eods. length: T.
    """
    predictions = np.diff(offsets)
    cuts = -(-predictions // length)  # pieces of each document
    document = np.repeat(np.arange(len(predictions)), cuts)
    place = np.arange(len(document)) - np.repeat(np.cumsum(cuts) - cuts, cuts)  # within its document
    starts = offsets[document] + place * length
    sizes = np.minimum(length, offsets[document + 1] - starts)
    return _in_rows(np.stack([starts, sizes + 1], 1), best_fit_decreasing(sizes, length))


def bodies(offsets: np.ndarray, length: int) -> np.ndarray:
    """(P, 2) int64, start and number of tokens: each document, without its eods, in the fewest pieces of at most
    `length` tokens, no two of a document differing by more than one token."""
    sizes = np.diff(offsets) - 1
    cuts = -(-sizes // length)
    document = np.repeat(np.arange(len(sizes)), cuts)
    place = np.arange(len(document)) - np.repeat(np.cumsum(cuts) - cuts, cuts)
    first = place * sizes[document] // cuts[document]
    last = (place + 1) * sizes[document] // cuts[document]
    return np.stack([offsets[document] + 1 + first, last - first], 1).astype(np.int64)


def best_fit_decreasing(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each item: largest item first, into the fullest bin that still holds it (Johnson 1973).

    Args:
      sizes: (P,) each from 1 to capacity.
    Returns:
      (P,) bin numbers from 0; ties go by position, so the same sizes always give the same bins.
    """
    bins = np.empty(len(sizes), np.int64)
    order = np.argsort(-sizes, kind="stable")
    full = int(np.count_nonzero(sizes == capacity))
    bins[order[:full]] = np.arange(full)
    count = full
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set where some bin has room r: the best fit is one bit operation away
    for item, size in zip(order[full:].tolist(), sizes[order[full:]].tolist()):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            chosen = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, chosen, count = capacity, count, count + 1
        bins[item] = chosen
        left = room - size
        if left:
            with_room[left].append(chosen)
            rooms |= 1 << left
    return bins


def rows(store: TokenStore, index: Index, numbers: np.ndarray, length: int,
         shifts: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The rows of the given numbers, stacked; a number below 0 gives a row of padding, and so do damaged tokens.

    Args:
      length: T. shifts: for each row, how many tokens later (at most up to the end of the text) its piece begins.
    Returns:
      tokens, targets, segments, positions (B, T) int32 and weights (B, T) float32. Segments count the pieces of a row
      from 1, positions restart at 0 in each; padding is 0 everywhere, its weight too.
    """
    names = ("tokens", "targets", "segments", "positions")
    batch = {name: np.zeros((len(numbers), length), np.int32) for name in names}
    batch["weights"] = np.zeros((len(numbers), length), np.float32)
    ramp = np.arange(length, dtype=np.int32)
    for b, number in enumerate(numbers):
        try:
            pieces = _pieces(store, index, number, 0 if shifts is None else int(shifts[b])) if number >= 0 else []
        except Damaged:
            continue
        at = 0
        for segment, piece in enumerate(pieces, 1):
            here = slice(at, at + len(piece) - 1)
            batch["tokens"][b, here] = piece[:-1]
            batch["targets"][b, here] = piece[1:]
            batch["segments"][b, here] = segment
            batch["positions"][b, here] = ramp[:len(piece) - 1]
            at = here.stop
        batch["weights"][b, :at] = 1
    return batch


def _pieces(store: TokenStore, index: Index, number: int, shift: int) -> list[np.ndarray]:
    """The pieces of row `number`, each `shift` tokens later."""
    pieces = index.pieces[index.rows[number]:index.rows[number + 1]].tolist()
    starts = [min(start + shift, len(store.tokens) - n) for start, n in pieces]
    return [store.tokens[start:start + n] for start, (_, n) in zip(starts, pieces)]


def shifts(seed: int, epochs_B: np.ndarray, length: int) -> np.ndarray:
    """How many tokens later the rows of each epoch begin: 0 in the first, a random number below length after it."""
    of = {epoch: int(np.random.default_rng((seed, epoch)).integers(length)) if epoch else 0
          for epoch in set(epochs_B.tolist())}
    return np.array([of[epoch] for epoch in epochs_B.tolist()], np.int64)


def _in_rows(pieces: np.ndarray, row: np.ndarray) -> Index:
    """The plan that puts each piece into the row of its number, in the order of the text."""
    order = np.lexsort((pieces[:, 0], row))
    return Index(pieces[order].astype(np.int64), np.concatenate([[0], np.cumsum(np.bincount(row))]).astype(np.int64))


def _kept(store: TokenStore, name: str, make: Callable[[], Index]) -> Index:
    """The plan of that name beside the store, mapped; made if it is not there, and again if it is not what was made for
    this store."""
    stem = store.folder / f"{store.split}.{name}.v{_VERSION}"
    files, seal = [Path(f"{stem}.{part}.npy") for part in Index._fields], Path(f"{stem}.sha256")
    sealed = lambda: sha256("\n".join([store.meta.get("sha256", ""), stem.name, *map(sha256_file, files)])).encode()
    try:
        whole = seal.read_bytes() == sealed()
    except FileNotFoundError:
        whole = False
    if not whole:
        if seal.exists():
            print(f"{stem}.*: this plan of rows is damaged, and is made again", file=sys.stderr)
        for file, array in zip(files, make()):
            _save(file, array)
        write_bytes(seal, sealed())
    return Index(*(np.asarray(np.load(file, mmap_mode="r")) for file in files))  # a memmap is slow to index


def _save(file: Path, array: np.ndarray) -> None:
    """Writes a .npy file atomically: another process may be planning the same."""
    content = io.BytesIO()
    np.save(content, array)
    write_bytes(file, content.getvalue())
