"""A file of ids, read a piece at a time; each block of it is checked when it is first read."""

import os
import sys
import weakref
import zlib
from pathlib import Path

import numpy as np

from lmlab.utils.errors import UserError

BLOCK = 1 << 16  # bytes that one checksum stands for
_GOOD, _BAD = 1, 2


class Damaged(ValueError):
    """What was asked for lies in a damaged block; the row that wants it is lost."""


def checksums(file: str | Path) -> np.ndarray:
    """The CRC-32 of each block of a file, (blocks,) uint32; the last block may be shorter."""
    with open(file, "rb") as opened:
        return np.array([zlib.crc32(block) for block in iter(lambda: opened.read(BLOCK), b"")], np.uint32)


class Blocks:
    """Ids on disk: `ids[start:stop]` is an array, `len(ids)` how many there are.

    It reads, and maps nothing: a file cut short while it is open, or a disk that fails, is damage and not the end of
    the process. A block is checked once; a damaged one is told on stderr.

    Attributes:
      lost: how many reads have met a damaged block: the rows that are lost, where each row gives up at its first.
    """

    def __init__(self, file: Path, dtype: np.dtype, count: int, sums: np.ndarray, may_lose: int = 0):
        """file: `count` ids of `dtype`. sums: its `checksums`. may_lose: reads that may fail with `Damaged`; one more
        is a UserError."""
        self._file, self._count, self._sums, self._may_lose = file, count, sums, may_lose
        self._dtype, self._width = dtype, dtype.itemsize
        self._found, self.lost = bytearray(len(sums)), 0
        self._handle = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def __len__(self) -> int:
        """The number of ids."""
        return self._count

    def __getitem__(self, where: slice) -> np.ndarray:
        """The ids from where.start to where.stop, at most 2 GB; Damaged or a UserError where they are not whole."""
        start, stop, _ = where.indices(self._count)
        place, size = start * self._width, max(0, stop - start) * self._width
        first, last = place // BLOCK, (place + size - 1) // BLOCK
        if self._found.count(_GOOD, first, last + 1) != last + 1 - first:
            self._check(range(first, last + 1))
        content = self._read(size, place)
        if len(content) != size:  # cut short since it was checked
            self._lose(last)
        return np.frombuffer(content, self._dtype)

    def _read(self, size: int, place: int) -> bytes:
        """Up to `size` bytes; none where the disk fails."""
        try:
            return os.pread(self._handle, size, place)
        except OSError:
            return b""

    def _check(self, blocks: range) -> None:
        """Checks those that are new, and gives up where one is damaged."""
        for block in blocks:
            if not self._found[block] and zlib.crc32(self._read(BLOCK, block * BLOCK)) == self._sums[block]:
                self._found[block] = _GOOD
            if self._found[block] != _GOOD:
                self._lose(block)

    def _lose(self, block: int) -> None:
        """Counts a lost read and raises."""
        self.lost += 1
        what = f"{self._file}: block {block} (of {BLOCK} bytes, from 0) is damaged"
        if self.lost > self._may_lose:
            raise UserError(f"{what}; remove {self._file.parent} and it will be made again (lost rows: {self.lost}; "
                            f"config.train.damaged_rows={self._may_lose} is how many training may lose)")
        if self._found[block] != _BAD:
            self._found[block] = _BAD
            print(f"{what}; the rows in it are left out of training", file=sys.stderr)
        raise Damaged(what)
