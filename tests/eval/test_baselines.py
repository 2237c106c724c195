"""The baselines against the lzma module's own container, and a Counter."""

import lzma
import math
from collections import Counter

import numpy as np
import pytest

from lmlab.data.tokenizers.plain import Bytes
from lmlab.eval import baselines

TRAIN = ["the cat sat on the mat. " * 40, "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。" * 30, "x = [i ** 2 for i in range(10)]\n" * 20]
HELD_OUT = ["处处闻啼鸟，花落知多少。" * 9, "the cat knows the mat " * 12 + "\n", "for i in range(99): print(i ** 3)"]


def xz(text):
    """Bytes of the strongest .xz file of a text, less its container."""
    whole = len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME, check=lzma.CHECK_NONE))
    return whole - (len(lzma.compress(b"", check=lzma.CHECK_NONE)))


def test_lzma_by_hand():
    scores = baselines.lzma_bits_per_byte(TRAIN, HELD_OUT)
    n_bytes = sum(len(d.encode()) for d in HELD_OUT)
    held_out, train = "\0".join(HELD_OUT), "\0".join(TRAIN) + "\0"
    slack = 8 * 40 / n_bytes  # of the container: block header and index
    assert scores["lzma_bits_per_byte"] == pytest.approx(8 * xz(held_out) / n_bytes, abs=slack)
    primed = 8 * (xz(train + held_out) - xz(train)) / n_bytes
    assert scores["lzma_primed_bits_per_byte"] == pytest.approx(primed, abs=slack)
    assert scores["lzma_primed_bits_per_byte"] < 0.8 * scores["lzma_bits_per_byte"]


def test_lzma_is_decodable():
    data = "\0".join(TRAIN).encode()
    raw = lzma.compress(data, format=lzma.FORMAT_RAW,
                        filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}])
    assert baselines._compressed(data) == pytest.approx(len(raw), abs=8)
    assert lzma.decompress(raw, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}]) == data


@pytest.mark.parametrize("train, held_out", [([], ["a"]), (["a"], [""]), ([], []), (["\udcff"], ["\udcff中"])])
def test_lzma_of_little(train, held_out):
    assert all(math.isfinite(x) for x in baselines.lzma_bits_per_byte(iter(train), iter(held_out)).values())


def test_unigram_by_hand():
    eod, encode = Bytes.eod, Bytes().encode
    flat = lambda docs: [eod] + [i for d in docs for i in (*encode(d), eod)]
    train, held_out = flat(TRAIN), flat(HELD_OUT)
    counts = Counter(train[1:])
    total = len(train) - 1 + Bytes.vocab_size
    bits = [-math.log2((counts[t] + 1) / total) for t in held_out[1:]]
    n_bytes = sum(len(d.encode()) for d in HELD_OUT)
    arrays = np.array(train, np.uint16), np.array(held_out, np.uint16)
    assert baselines.unigram_bits_per_byte(*arrays, 257, n_bytes) == pytest.approx(sum(bits) / n_bytes)
    assert baselines.unigram_loss(*arrays, 257) == pytest.approx(sum(bits) / len(bits) * math.log(2))


def test_counts_in_pieces():
    tokens = np.random.default_rng(0).integers(0, 7, 1000)
    assert baselines._counts(tokens, 9, piece=13).tolist() == np.bincount(tokens, minlength=9).tolist()
