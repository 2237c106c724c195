"""Input, rows a second: the loader's batches beside a bare loop that slices a memory map at random places, which
shuffles no epoch, checks no block and knows no documents."""

import itertools
import tempfile
from pathlib import Path

import numpy as np

from lmlab.data import blocks, loader, store
from lmlab.data.features import causal
from lmlab.utils.timing import Race, alternate

TOKENS, DOCUMENT = 2 ** 24, 500
ROUNDS, BATCHES = 12, 400
CASES = {"block 64, batch 12": (64, 12), "block 256, batch 8": (256, 8), "block 1024, batch 16": (1024, 16)}


def measure(options) -> list[Race]:
    """One race a shape of the batch, one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        split = write(Path(folder), TOKENS // 256 if options.tiny else TOKENS)
        return [_case(name, split, *shape, options) for name, shape in options.chosen(CASES).items()]


def write(folder, count):
    """A TokenStore in `folder` of at least so many random tokens, in documents of DOCUMENT."""
    documents = -(-count // DOCUMENT)
    tokens = np.random.default_rng(0).integers(1, 50257, documents * DOCUMENT + 1).astype(np.uint16)
    tokens[::DOCUMENT] = 0
    file = folder / "train.bin"
    tokens.tofile(file)
    ids = blocks.Blocks(file, tokens.dtype, len(tokens), blocks.checksums(file))
    return store.TokenStore(ids, np.arange(documents + 1) * DOCUMENT, {}, folder, "train")


def _case(name, split, length, batch, options):
    count = 4 if options.tiny else BATCHES
    rng, file = np.random.default_rng(0), split.folder / "train.bin"

    def bare():
        for _ in range(count):
            tokens = np.memmap(file, np.uint16, "r")
            starts = rng.integers(len(tokens) - length, size=batch)
            np.stack([tokens[i:i + length].astype(np.int64) for i in starts])
            np.stack([tokens[i + 1:i + 1 + length].astype(np.int64) for i in starts])

    def loaded(windows):
        rows = causal.features(split, None, length=length, windows=windows)
        batches = loader.train_batches(rows, batch=batch, seed=0)
        numbers = itertools.count()

        def call():
            for _ in range(count):
                batches[next(numbers)]
        return call
    figures = alternate({"lmlab": loaded("stream"), "lmlab, packed": loaded("packed"), "memory map": bare},
                        options.count(ROUNDS))
    figures = {way: [s / (count * batch) for s in seconds] for way, seconds in figures.items()}
    return Race(name, "rows/s", figures, ("memory map",))
