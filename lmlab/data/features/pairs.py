"""Pairs for sequence-to-sequence models (Sutskever et al. 2014; Vaswani et al. 2017): the encoder reads the source, the
decoder gives the target."""

import functools
import sys

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, by_row, sequences
from lmlab.utils.errors import UserError


def features(split, tokenizer, *, length, windows) -> Rows:
    """Rows with source, eod in the encoder and target, eod in the decoder, each cut to `length` tokens where it is
    longer (a line on stderr says how many are).

    Args:
      split: the TokenStore of a corpus of pairs. tokenizer: its. length: of the encoder's rows and the decoder's.
      windows: "stream": one pair a row. "packed": as many as fit, pair k of a row being segment k on either side.
    Raises:
      UserError: where the corpus is plain text.
    """
    plans.check(length, windows, least=2)
    if split.meta.get("fields", 1) != 2:
        raise UserError(f"{split.meta['name']} is plain text, and this objective wants pairs; name two fields in "
                        "config.data.field, two files as config.data.path=SOURCE+TARGET, or "
                        "config.data.source=python_calls")
    tokens, offsets = split.tokens, split.offsets
    eod, start = tokenizer.eod, sequences.start_of(tokenizer)
    count = len(offsets) // 2
    longer = int((np.diff(offsets).reshape(-1, 2).max(1) > length).sum())
    if longer:
        _say(f"{longer} of the {count} pairs of {split.meta['name']} ({split.split}) are cut to config.train.length="
             f"{length} tokens")
    index = plans.pack_pairs(split, length) if windows == "packed" else None

    def text(document: int) -> np.ndarray:
        first, last = offsets[document:document + 2]
        return np.append(tokens[first + 1:min(last, first + length)], eod).astype(np.int32)

    def row(number: int, shift: int, rng: np.random.Generator) -> dict:
        pairs = [number] if index is None else index.pieces[index.rows[number]:index.rows[number + 1], 0].tolist()
        return sequences.sequence([text(2 * pair) for pair in pairs], [text(2 * pair + 1) for pair in pairs], start)

    return by_row(count if index is None else len(index.rows) - 1, sequences.widths(length, length), row)


@functools.cache
def _say(line: str) -> None:
    """A line on stderr, once in a process: rows of the same split are made for more than one purpose."""
    print(line, file=sys.stderr)
