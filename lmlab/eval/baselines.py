"""What a compressor and a word count reach on the same held-out bytes: a language model must beat them."""

import contextlib
import lzma
import math
import re
from collections import Counter

import numpy as np

from lmlab.data.blocks import Damaged

LIMIT = 64 * 2 ** 20  # bytes of either text, the end of the one and the start of the other: it goes at about 1 MB/s
_SEPARATOR = b"\0"    # the compressor, too, must tell where documents end; the separators are not counted as bytes


def lzma_bits_per_byte(train, held_out) -> dict:
    """lzma at its strongest: alone, and primed, what the held-out text adds to the compressed training text.

    Args:
      train, held_out: the documents of each, iterables of strings.
    Returns:
      {"lzma_bits_per_byte", "lzma_primed_bits_per_byte"}, over the UTF-8 bytes of the held-out documents; the second
      only where there is training text.
    """
    sizes, documents = 0, []
    for document in (d.encode("utf-8", "replace") for d in held_out):
        documents.append(document[:LIMIT - sizes])
        sizes += len(documents[-1])
        if sizes == LIMIT:
            break
    text = _SEPARATOR.join(documents)
    scores = {"lzma_bits_per_byte": 8 * _compressed(text) / max(1, sizes)}
    before = bytearray()
    for document in train:
        before += document.encode("utf-8", "replace") + _SEPARATOR
        del before[:-LIMIT]
    if before:
        more = _compressed(bytes(before) + text) - _compressed(bytes(before))
        scores["lzma_primed_bits_per_byte"] = 8 * more / max(1, sizes)
    return scores


def _compressed(data) -> int:
    """Bytes of the raw LZMA2 stream, with a dictionary as large as the data."""
    window = max(2 ** 16, 2 ** (len(data) + 1).bit_length())
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": min(window, 2 ** 27)}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


def unigram_bits_per_byte(train, held_out, vocab_size, n_bytes) -> float:
    """The held-out tokens under the add-one unigram of the training tokens, in bits a byte.

    train, held_out: arrays of ids, or what gives them by slices, the first of each only starting it off. n_bytes: of
    the held-out text.
    """
    loss = unigram(_counts(train, vocab_size), _counts(held_out, vocab_size))["unigram_loss"]
    return loss * (len(held_out) - 1) / math.log(2) / max(n_bytes, 1)


def unigram(train_V, held_out_V) -> dict:
    """How well counting predicts: {"unigram_loss": nats a token under the add-one unigram of the training counts,
    "unigram_accuracy": the share of the training text's most common token}.

    train_V, held_out_V: how often each id is a target.
    """
    nats_V = -np.log((train_V + 1.0) / (train_V + 1.0).sum())
    count = max(held_out_V.sum(), 1e-9)
    return {"unigram_loss": float((held_out_V * nats_V).sum() / count),
            "unigram_accuracy": float(held_out_V[train_V.argmax()] / count)}


def target_counts(batches, vocab_size):
    """How often each id is a target in batches, by their weights: (V,) float64."""
    counts_V = np.zeros(vocab_size)
    for batch in batches:
        counts_V += np.bincount(batch["targets"].ravel(), batch["weights"].ravel(), vocab_size)
    return counts_V


def overlap_accuracy(train, held_out, eod) -> float:
    """How often a pair is told from another by the tokens that its two halves share, the least share of "belongs
    together" being the one that does best on the training pairs.

    train, held_out: batches of pairs (tokens, types, segments, pair). eod: not counted, nor is what stands first.
    """
    (shares, pairs), (held_shares, held_pairs) = _shared(train, eod), _shared(held_out, eod)
    bounds = np.unique(shares)
    right = [((shares < bound) == pairs).mean() for bound in bounds]
    return float(((held_shares < bounds[int(np.argmax(right))]) == held_pairs).mean())


def _shared(batches, eod):
    """For every pair the share of the shorter half's tokens (each once) that stand in the other too, and its label."""
    shares, labels = [], []
    for batch in batches:
        for tokens, types, segments, pair in zip(*(batch[name] for name in ("original", "types", "segments", "pair"))):
            if segments.any():
                tokens, types = tokens[segments > 0][1:], types[segments > 0][1:]
                first, second = ({*tokens[(types == kind) & (tokens != eod)].tolist()} for kind in (0, 1))
                shares.append(len(first & second) / max(1, min(len(first), len(second))))
                labels.append(pair)
    return np.array(shares), np.array(labels) > 0


def terms(text: str) -> list[str]:
    """What `bm25` compares: words in lower case; a Chinese or Japanese character is a word of its own."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|\w+", text.lower())


def bm25(query, candidates, collection, k1=1.2, b=0.75) -> list[float]:
    """How well candidates answer a query by the words that they share with it: Okapi BM25 (Robertson & Zaragoza 2009,
    equation 3.15, their usual k1 and b), a word's rarity being log(1 + (N - n + 1/2) / (n + 1/2)), which is never
    negative.

    Args:
      query: its words. candidates, collection: the words of each; of the N texts of the collection, n hold a word.
    """
    frequency = Counter(word for words in collection for word in set(words))
    count, average = len(collection), max(1, sum(map(len, collection))) / max(1, len(collection))
    rarity = {word: math.log(1 + (count - frequency[word] + 0.5) / (frequency[word] + 0.5)) for word in set(query)}

    def score(words):
        here, slow = Counter(words), k1 * (1 - b + b * len(words) / average)
        return sum(rare * here[word] * (k1 + 1) / (here[word] + slow) for word, rare in rarity.items() if here[word])
    return [score(words) for words in candidates]


def _counts(tokens, vocab_size, piece=1 << 20):
    """Occurrences of each id but the first, a piece at a time; pieces are left out that training may do without."""
    counts_V = np.zeros(vocab_size, np.int64)
    for start in range(1, len(tokens), piece):
        with contextlib.suppress(Damaged):
            counts_V += np.bincount(tokens[start:start + piece], minlength=vocab_size)
    return counts_V
