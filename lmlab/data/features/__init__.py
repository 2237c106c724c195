"""Rows of an objective: what a model is given and what it must predict, each row made on request.

A module of this package has `features(split, tokenizer, *, length, windows, **settings) -> Rows`, and where
it has settings, `check(**settings)`, which refuses values that mean nothing before any text is read.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.blocks import Damaged
from lmlab.utils.errors import UserError, did_you_mean

_DTYPES = {"weights": np.float32, "prefix": np.bool_}  # all else is int32


class Rows(NamedTuple):
    """The rows of one split.

    Attributes:
      count: rows an epoch.
      make: (numbers_B, epochs_B, seed) -> a dict of arrays with B rows: tokens, targets, segments, positions
        (B, T) int32, weights (B, T) float32, and what else the objective needs. A number below 0 gives a row of
        padding, zeros everywhere, and so does a row whose tokens are `Damaged`. Row n of epoch e depends on
        (seed, e, n) alone.
    """

    count: int
    make: Callable[[np.ndarray, np.ndarray, int], dict[str, np.ndarray]]


def generator(seed: int, epoch: int, number: int) -> np.random.Generator:
    """The source of every random choice of row `number` in `epoch`."""
    return np.random.default_rng((seed, epoch, number))


def by_row(count: int, widths: dict[str, int], row: Callable[..., dict], moves: int = 0) -> Rows:
    """Rows that are made one at a time and padded with zeros to one width.

    Args:
      count: rows an epoch. widths: of each array; 0 for one number a row.
      row: (number, shift, rng) -> values by name, none longer than its width.
      moves: shift is a random number below it that an epoch's rows share (see `windows.shifts`); 0: it is always 0.
    """
    def make(numbers_B: np.ndarray, epochs_B: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        batch = {name: np.zeros((len(numbers_B), width) if width else len(numbers_B), _DTYPES.get(name, np.int32))
                 for name, width in widths.items()}
        shifts_B = plans.shifts(seed, epochs_B, moves) if moves else np.zeros_like(epochs_B)
        for b, number in enumerate(numbers_B.tolist()):
            if number >= 0:
                try:
                    made = row(number, int(shifts_B[b]), generator(seed, int(epochs_B[b]), number))
                except Damaged:
                    continue
                for name, values in made.items():
                    if widths[name]:
                        batch[name][b, :len(values)] = values
                    else:
                        batch[name][b] = values
        return batch

    return Rows(count, make)


def role(tokenizer, name: str) -> int:
    """The id of one of the tokenizer's special tokens; UserError where it has none of that role."""
    found = tokenizer.specials.get(name, -1)
    if found < 0:
        raise UserError(f"config.tokenizer: it has no {name} token, which this objective needs; use a tokenizer that "
                        "is trained here, or one made for the objective")
    return found


def check_choice(field: str, value: str, allowed: Iterable[str]) -> None:
    """UserError unless config.objective.FIELD is one of `allowed`."""
    if value not in allowed:
        raise UserError(f"config.objective.{field}={value!r} is unknown{did_you_mean(value, allowed)}; one of "
                        f"{', '.join(allowed)}")


def check_range(field: str, value: float, low: float, high: float) -> None:
    """UserError unless low <= config.objective.FIELD <= high."""
    if not low <= value <= high:
        raise UserError(f"config.objective.{field}={value} must be from {low} to {high}")
