"""Hostile text: what a fuzzer of tokenizers and parsers throws at them, each string a function of (seed, number)."""

import functools
import sys
import unicodedata

import numpy as np

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "<s>", "</s>",
           "<pad>", "<unk>", "<mask>", "<eod>", "<extra_id_0>", "<extra_id_99>", "<0x0A>", "<0xE2>", "<0x00>", "\u2581",
           "\u2581\u2581", "##", "##a", "\u0120", "\u010a", "\ufeff", "\ufffd", "<|", "|>", "[", "]", "<", ">",
           "I do not", "it 's", "( a )")
EMOJI = ("\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f3\ufe0f\u200d\U0001f308",
         "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "1\ufe0f\u20e3", "\u200d", "\ufe0f")
PLANES = np.array([0, 0, 0, 0, 1, 1, 2, 3, 4, 13, 14, 15, 16])
KINDS = ("planes", "low", "controls", "combining", "bidi", "specials", "piece", "mutated", "run", "bytes", "surrogates")


@functools.cache
def _sets():
    """Code points by what is odd about them."""
    every = [chr(code) for code in range(sys.maxunicode + 1) if not 0xd800 <= code < 0xe000]
    found = {"controls": [c for c in every if unicodedata.category(c) in ("Cc", "Zs", "Zl", "Zp") or c.isspace()]
             + [*"\u200b\u200c\u200d\u2060\ufeff\u180e\xad"],
             "combining": [c for c in every[:0x3100] if unicodedata.combining(c)],
             "bidi": [c for c in every[:0x900] if unicodedata.bidirectional(c) in ("R", "AL", "AN")]
             + [chr(code) for code in (*range(0x202a, 0x202f), *range(0x2066, 0x206a), 0x200e, 0x200f)]}
    return {name: np.array(characters) for name, characters in found.items()}


def string(number, training, own=(), seed=0):
    """Hostile text number `number`: of one kind, or of several; `training` is text that the tokenizer has seen, `own`
    the special tokens that it has."""
    rng = np.random.default_rng([seed, number])
    kinds = rng.choice(len(KINDS), rng.choice([1, 1, 2, 4]))
    return "".join(_made(KINDS[kind], rng, training, (*SPECIAL, *own)) for kind in kinds)


def _made(kind, rng, training, special):
    """Text of one kind."""
    size = int(rng.integers(0, 40))
    if kind == "planes":
        codes = rng.choice(PLANES, size) * 0x10000 + rng.integers(0, 0x10000, size)
        return "".join(map(chr, codes[(codes < 0xd800) | (codes > 0xdfff)]))
    if kind == "low":
        return "".join(map(chr, rng.integers(0, 0x250, size)))
    if kind == "surrogates":
        return "a" + "".join(map(chr, rng.integers(0xd800, 0xe000, size // 8))) + "b"
    if kind == "bytes":
        raw = rng.integers(0, 256, size, np.uint8).tobytes()
        return raw.decode("utf-8", ("replace", "surrogateescape", "backslashreplace")[size % 3])
    if kind == "run":
        length = int(2 ** rng.uniform(0, 12 if rng.random() < 0.02 else 7))
        return _made("planes" if size % 4 == 0 else "low", rng, training, special)[:1 + size % 3] * length
    if kind == "specials":
        words = [special[i] for i in rng.integers(0, len(special), 1 + size // 5)]
        return ("", " ", "\n", "a")[size % 4].join([*words, EMOJI[size % len(EMOJI)]])
    if kind in ("piece", "mutated"):
        at = int(rng.integers(0, len(training)))
        text = training[at:at + size * 3]
        if kind == "piece" or not text:
            return text
        cut = int(rng.integers(0, len(text)))
        return text[:cut] + chr(int(rng.integers(0, 0xd800))) + text[cut + size % 3:]
    characters = rng.choice(_sets()[kind], size)
    if kind == "combining":
        characters[::1 + size % 5] = "e"
    return "".join(characters)
