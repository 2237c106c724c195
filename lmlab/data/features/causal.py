"""Causal language modelling: a row's targets are its tokens, one place later."""

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows


def features(split, tokenizer, *, length, windows) -> Rows:
    """Windows of a split, every token predicted once in the first epoch.

    Args:
      split: a TokenStore. tokenizer: not needed. length: T.
      windows: "stream" or "packed" (see `lmlab.data.windows.plan`). Stream windows begin at other places in every
        epoch but the first: a token that came early in its row then has more before it to be predicted from. Such an
        epoch leaves out fewer than `length` tokens at the text's beginning, and has some at its end twice.
    """
    del tokenizer
    index = plans.plan(split, length, windows)

    def make(numbers_B: np.ndarray, epochs_B: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        shifts = plans.shifts(seed, epochs_B, length) if windows == "stream" else None
        return plans.rows(split, index, numbers_B, length, shifts)

    return Rows(len(index.rows) - 1, make)
