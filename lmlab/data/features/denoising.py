"""Denoising (BART: Lewis et al. 2020, section 2.2): spans of the input are each one mask, its sentences are shuffled;
the target is the text as it was."""

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, by_row, check_range, role, sequences, vocabulary


def check(rate=0.3, mean_span=3.0, permute=1.0, **_) -> None:
    """Raises a UserError for values of `features` that mean nothing."""
    check_range("rate", rate, 0, 1)
    check_range("mean_span", mean_span, 0.1, np.inf)
    check_range("permute", permute, 0, 1)


def features(split, tokenizer, *, length, windows, rate: float = 0.3, mean_span: float = 3.0,
             permute: float = 1.0) -> Rows:
    """Rows of up to length - 1 tokens of text and eod on either side.

    Args:
      split: a TokenStore. tokenizer: with "mask". length: of the encoder's rows and the decoder's.
      windows: "stream" or "packed", which here is a piece of one document a row (see `sequences.texts`).
      rate: the share of tokens that is masked. mean_span: of the Poisson lengths of spans.
      permute: the share of rows whose sentences are put in random order.
    Returns:
      Rows; encoder: the corrupted text, eod; targets: the text, eod.
    """
    check(rate, mean_span, permute)
    plans.check(length, windows, least=2)
    mask, eod, start = role(tokenizer, "mask"), tokenizer.eod, sequences.start_of(tokenizer)
    tables = vocabulary.sentence_ends(tokenizer)
    texts = sequences.texts(split, length - 1, windows)

    def row(number: int, shift: int, rng: np.random.Generator) -> dict:
        text = noisy = texts.read(number, shift)
        if rng.random() < permute:
            parts = np.split(text, vocabulary.sentence_starts(text, tables))
            noisy = np.concatenate([parts[i] for i in rng.permutation(len(parts))])
        noisy = infill(rng, noisy, rate, mean_span, mask)
        return sequences.sequence([np.append(noisy, eod)], [np.append(text, eod)], start)

    return by_row(texts.count, sequences.widths(length, length), row, texts.moves)


def infill(rng: np.random.Generator, text: np.ndarray, rate: float, mean_span: float, mask: int) -> np.ndarray:
    """text with round(rate * tokens) of its tokens, at least 1, in spans of Poisson lengths that are one `mask` each; a
    span of no tokens is a mask put in. Spans and other tokens stand in an order as likely as any other (so tokens near
    the ends are masked less often); the result is never longer than text."""
    noise = max(1, round(rate * len(text)))
    lengths = rng.poisson(mean_span, noise)
    lengths = lengths[:np.searchsorted(np.cumsum(lengths), noise) + 1]
    lengths[-1] += noise - lengths.sum()
    places = np.sort(rng.permutation(len(text) - noise + len(lengths))[:len(lengths)])  # of the masks, in the result
    left = places - np.arange(len(places))  # tokens kept before each mask
    starts = left + np.cumsum(lengths) - lengths  # of the spans, in text
    inside = np.zeros(len(text) + 1, int)
    np.add.at(inside, starts, 1)
    np.add.at(inside, starts + lengths, -1)
    kept = text[np.cumsum(inside[:-1]) == 0]
    return np.insert(kept, left, mask)
