"""Batches by number: batch i depends on (seed, i) alone, however many processes share it."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np

from lmlab.data.features import Rows
from lmlab.utils.errors import UserError

_AHEAD = 2  # batches made before they are asked for


@dataclass(frozen=True)
class Batches:
    """Batches in random access: `batches[i]` is a dict of arrays, `len(batches)` how many there are.

    Attributes:
      records: i -> (numbers_B, epochs_B), which rows of which epochs stand in this process's share of batch i; a number
        below 0 is padding.
    """

    fetch: Callable[[int], dict[str, np.ndarray]]
    count: int
    records: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        """The number of batches; 2**31 - 1 where they never end."""
        return self.count

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        """Batch i, made anew at each call; IndexError past the end, so that a for loop ends."""
        if not 0 <= i < self.count:
            raise IndexError(f"batch {i} of {self.count}")
        return self.fetch(i)


def ramped(i: int, batch: int, ramp: int = 0, ramp_from: int = 1) -> tuple[int, int]:
    """(rows before, rows) of batch i, where batches grow to `batch` rows by doubling: a step of the stairs begins at
    ramp_from rows, and all steps but the last share the first `ramp` batches equally. ramp = 0: all are of `batch`."""
    before, stairs = 0, (batch // ramp_from).bit_length() - 1 if ramp else 0
    for stair in range(stairs):
        begin, end, size = stair * ramp // stairs, (stair + 1) * ramp // stairs, ramp_from << stair
        if i < end:
            return before + (i - begin) * size, size
        before += (end - begin) * size
    return before + (i - ramp) * batch, batch


def train_batches(rows: Rows, *, batch: int, seed: int, ramp: int = 0, ramp_from: int = 1, process: int = 0,
                  processes: int = 1) -> Batches:
    """This process's share of endless training batches: every row once an epoch, shuffled anew for each epoch.

    The rows of epoch after epoch make one long list, and global batch i is its next run of rows (so one batch may
    hold the end of an epoch and the start of the next); the processes take their parts of it in order.

    Args:
      rows: of a split. batch: rows of the global batch; a multiple of processes. seed: of the order, and of what
        is random in a row. ramp, ramp_from: how batches grow to that, as `ramped` has it; 0: they do not.
    Returns:
      Batches whose item i holds the arrays of `rows.make`, B = batch // processes, and "row", (B,) int32: the
      place of each row within the global batch.
    """
    unit = _share(ramp_from if ramp else batch, processes)
    numbers = grain.MapDataset.range(rows.count).seed(seed).shuffle().repeat().batch(unit)

    def records(i: int) -> tuple[np.ndarray, np.ndarray]:
        before, size = ramped(i, batch, ramp, ramp_from)
        place = before + _place(size // processes, process).astype(np.int64)
        units = range(place[0] // unit, place[-1] // unit + 1)
        return np.concatenate([numbers[n] for n in units]), place // rows.count

    return _batches(rows, records, seed, process, 2**31 - 1)


def eval_batches(rows: Rows, *, batch: int, process: int = 0, processes: int = 1) -> Batches:
    """This process's share of batches that hold every row exactly once, in order; the last is filled with padding.

    What is random in a row is that of seed 0, epoch 0. Args and items as in `train_batches`; the number of batches
    is the same for every process.
    """
    share = _share(batch, processes)

    def records(i: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = i * batch + _place(share, process).astype(np.int64)
        return np.where(numbers < rows.count, numbers, -1), np.zeros_like(numbers)

    return _batches(rows, records, 0, process, -(-rows.count // batch))


def _batches(rows: Rows, records: Callable, seed: int, process: int, count: int) -> Batches:
    """The batches of the rows that `records` names."""
    def fetch(i: int) -> dict[str, np.ndarray]:
        numbers, epochs = records(i)
        return rows.make(numbers, epochs, seed) | {"row": _place(len(numbers), process)}

    return Batches(fetch, count, records)


def _place(share: int, process: int) -> np.ndarray:
    """Where the rows of a process stand in the global batch, (share,) int32."""
    return process * share + np.arange(share, dtype=np.int32)


def prefetch(make: Callable[[int], Any], start: int, stop: int,
             waiting: Callable[[], Any] = lambda: None) -> Iterator[tuple[int, Any]]:
    """(i, make(i)) for i from start to stop, made ahead in a thread; an error is raised where its batch was due.

    The thread ends when the iterator is used up, closed or dropped. waiting: called where the next is not there yet,
    before it is waited for.
    """
    ready: queue.Queue = queue.Queue(_AHEAD)
    ended = threading.Event()

    def offer(item: tuple) -> None:
        while not ended.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        for i in range(start, stop):
            if ended.is_set():
                return
            try:
                item = (i, make(i), None)
            except BaseException as error:
                return offer((i, None, error))
            offer(item)

    thread = threading.Thread(target=work, name="lmlab-prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            if ready.empty():
                waiting()
            i, made, error = ready.get()
            if error is not None:
                raise error
            yield i, made
    finally:
        ended.set()
        thread.join()


def _share(batch: int, processes: int) -> int:
    """Rows of a global batch for each process."""
    if batch < 1 or batch % processes:
        raise UserError(f"config.train.batch={batch} does not divide among {processes} processes; "
                        f"use a multiple of {processes}")
    return batch // processes
