"""What a compressor and a word count reach on the same held-out bytes: a language model must beat them."""

import lzma
import math

import numpy as np

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

    train, held_out: arrays of ids, memory-mapped or not, the first of each only starting it off. n_bytes: of the
    held-out text.
    """
    counts_V = 1.0 + _counts(train[1:], vocab_size)
    bits_V = -np.log2(counts_V / counts_V.sum())
    return float((_counts(held_out[1:], vocab_size) * bits_V).sum() / max(n_bytes, 1))


def unigram_loss(train, held_out, vocab_size) -> float:
    """The same in nats a token."""
    return unigram_bits_per_byte(train, held_out, vocab_size, len(held_out) - 1) * math.log(2)


def _counts(tokens, vocab_size, piece=1 << 24):
    """Occurrences of each id, a piece of the memory map at a time."""
    counts_V = np.zeros(vocab_size, np.int64)
    for start in range(0, len(tokens), piece):
        counts_V += np.bincount(tokens[start:start + piece], minlength=vocab_size)
    return counts_V
