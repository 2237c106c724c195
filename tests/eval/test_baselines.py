"""The baselines against the lzma module's own container, and a Counter."""

import lzma
import math
from collections import Counter

import numpy as np
import pytest

from lmlab.data.tokenizers.plain import Bytes
from lmlab.data.blocks import Damaged
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
    counted = [np.bincount(tokens[1:], minlength=257) for tokens in arrays]
    scores = baselines.unigram(*counted)
    assert scores["unigram_loss"] == pytest.approx(sum(bits) / len(bits) * math.log(2))
    common = counts.most_common(1)[0][0]
    assert scores["unigram_accuracy"] == pytest.approx(held_out[1:].count(common) / (len(held_out) - 1))


def test_targets_are_counted_by_their_weights():
    batches = [{"targets": np.array([[1, 2, 2]]), "weights": np.array([[1, 1, 0]])},
               {"targets": np.array([[0, 2, 3]]), "weights": np.array([[0, 1, .5]])}]
    assert baselines.target_counts(batches, 5).tolist() == [0, 1, 2, .5, 0]


def pairs(rows):
    """A batch of [cls] A [eod] B [eod] rows, 99 being cls and eod alike, and a row of padding."""
    batch = {name: np.zeros((len(rows) + 1, 12), int) for name in ("original", "types", "segments")}
    for b, (first, second, _) in enumerate(rows):
        ids = [99, *first, 99, *second, 99]
        batch["original"][b, :len(ids)] = ids
        batch["types"][b, len(first) + 2:len(ids)] = 1
        batch["segments"][b, :len(ids)] = 1
    return [batch | {"pair": np.array([*(label for *_, label in rows), 0])}]


def test_pairs_are_told_by_the_tokens_they_share():
    train = pairs([([1, 2, 3], [3, 4, 2], 0), ([1, 2], [2, 1, 7], 0), ([1, 2, 3], [4, 5, 6], 1),
                   ([8, 9, 7], [7, 6, 5], 1)])
    assert baselines.overlap_accuracy(train, train, 99) == 1  # two thirds and all; none and a third
    held = pairs([([1, 2], [1, 2], 0), ([1, 2], [3, 4], 1), ([1, 2], [3, 4], 0), ([5, 5, 6], [6, 5], 1)])
    assert baselines.overlap_accuracy(train, held, 99) == .5


def test_counts_in_pieces():
    tokens = np.random.default_rng(0).integers(0, 7, 1000)
    assert baselines._counts(tokens, 9, piece=13).tolist() == np.bincount(tokens[1:], minlength=9).tolist()


def test_counts_leave_out_a_piece_that_training_may_do_without():
    class Torn(list):
        def __getitem__(self, where):
            if where.start == 5:
                raise Damaged("torn")
            return super().__getitem__(where)

    found = baselines._counts(Torn([0, 1, 2, 3, 4, 9, 9, 9, 9, 5]), 10, piece=4)
    assert found.tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0, 0]


def test_bm25_by_the_formula():
    """Robertson & Zaragoza 2009, equation 3.15, word by word."""
    texts = ("the cat sat", "the dog", "a dog and a dog and a cat", "mice", "the mice ran")
    collection = [text.split() for text in texts]
    query, k1, b = "the the dog flew".split(), 1.2, 0.75
    average, wanted = sum(map(len, collection)) / 5, []
    for words in collection:
        score = 0
        for word in {"the", "dog"}:
            n, tf = sum(word in other for other in collection), words.count(word)
            saturated = tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(words) / average))
            score += math.log(1 + (5 - n + 0.5) / (n + 0.5)) * saturated
        wanted.append(score)
    found = baselines.bm25(query, collection, collection)
    assert found == pytest.approx(wanted) and found[3] == 0 and max(found) == found[1]
    assert baselines.bm25(["x"], [["x"], []], []) == pytest.approx([math.log(2), 0])
