"""Batches by number: batch i depends on (seed, i) alone, however many processes share it."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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


def train_batches(rows: Rows, *, batch: int, seed: int, process: int = 0, processes: int = 1) -> Batches:
    """This process's share of endless training batches: every row once an epoch, shuffled anew for each epoch.

    The rows of epoch after epoch make one long list; global batch i is its i-th run of `batch` rows (so one
    batch may hold the end of an epoch and the start of the next), and the processes take their parts of it in
    order.

    Args:
      rows: of a split. batch: rows of the global batch; a multiple of processes. seed: of the order, and of what
        is random in a row.
    Returns:
      Batches whose item i holds the arrays of `rows.make`, B = batch // processes, and "row", (B,) int32: the
      place of each row within the global batch.
    """
    share = _share(batch, processes)
    numbers = grain.MapDataset.range(rows.count).seed(seed).shuffle().repeat().batch(share)
    place = process * share + np.arange(share, dtype=np.int32)

    def records(i: int) -> tuple[np.ndarray, np.ndarray]:
        return numbers[i * processes + process], (i * batch + place.astype(np.int64)) // rows.count

    return _batches(rows, records, seed, place, 2**31 - 1)


def eval_batches(rows: Rows, *, batch: int, process: int = 0, processes: int = 1) -> Batches:
    """This process's share of batches that hold every row exactly once, in order; the last is filled with padding.

    What is random in a row is that of seed 0, epoch 0. Args and items as in `train_batches`; the number of batches
    is the same for every process.
    """
    share = _share(batch, processes)
    place = process * share + np.arange(share, dtype=np.int32)

    def records(i: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = i * batch + place.astype(np.int64)
        return np.where(numbers < rows.count, numbers, -1), np.zeros_like(numbers)

    return _batches(rows, records, 0, place, -(-rows.count // batch))


def _batches(rows: Rows, records: Callable, seed: int, place: np.ndarray, count: int) -> Batches:
    """The batches of the rows that `records` names."""
    return Batches(lambda i: rows.make(*records(i), seed) | {"row": place.copy()}, count, records)


def prefetch(batches: Batches, start: int, stop: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """(i, batches[i]) for i from start to stop, made ahead in a thread; an error is raised where its batch
    was due.

    The thread ends when the iterator is used up, closed or dropped.
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
                item = (i, batches[i], None)
            except BaseException as error:
                return offer((i, None, error))
            offer(item)

    thread = threading.Thread(target=work, name="lmlab-prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            i, batch, error = ready.get()
            if error is not None:
                raise error
            yield i, batch
    finally:
        ended.set()
        thread.join()


def _share(batch: int, processes: int) -> int:
    """Rows of a global batch for each process."""
    if batch < 1 or batch % processes:
        raise UserError(f"config.train.batch={batch} does not divide among {processes} processes; "
                        f"use a multiple of {processes}")
    return batch // processes
