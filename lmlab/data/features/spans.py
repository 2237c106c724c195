"""Span corruption (T5: Raffel et al. 2020, section 3.1.4): sentinels stand for spans of the input, the target gives
them back."""

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, by_row, check_choice, check_range, sequences
from lmlab.utils.errors import UserError


def check(rate=0.15, mean_span=3.0, sampler="t5", **_) -> None:
    """Raises a UserError for values of `features` that mean nothing."""
    check_range("rate", rate, 0, 1)
    check_range("mean_span", mean_span, 1, np.inf)
    check_choice("sampler", sampler, ("t5", "unbiased"))


def features(split, tokenizer, *, length, windows, rate: float = 0.15, mean_span: float = 3.0,
             sampler: str = "t5") -> Rows:
    """Encoder rows of exactly `length` tokens (T5's computation: 568 tokens of text make 512), shorter for short text.

    Args:
      split: a TokenStore. tokenizer: with "extra_0" and on. length: of the encoder's rows, and the most of the
        decoder's.
      windows: "stream" or "packed", which here is a piece of one document a row (see `sequences.texts`).
      rate: the share of tokens that is noise. mean_span: mean length of a span of noise.
      sampler: "t5" draws the lengths of as many spans of text as of noise and alternates them, text first: a row begins
        with text and ends with noise, and below some 30 tokens, where there is one span of noise, nothing is random.
        "unbiased" turns that mask around by a random number of places, so that each token is noise as likely as any
        other; where that cuts a span in two there is one sentinel more (rows are planned for it: they hold `length`
        tokens or one less).
    Returns:
      Rows; encoder: text with sentinels, eod; targets: sentinel span sentinel span ... eod. A text of one token has
      nothing that could be noise: its row is padding.
    """
    check(rate, mean_span, sampler)
    plans.check(length, windows, least=4)
    marks, eod, start = sequences.sentinels(tokenizer), tokenizer.eod, sequences.start_of(tokenizer)
    more = int(sampler == "unbiased")
    raw = raw_length(length - more, rate, mean_span)
    texts = sequences.texts(split, raw, windows)
    check_sentinels(counts(raw, rate, mean_span)[1] + more, len(marks), length)

    def row(number: int, shift: int, rng: np.random.Generator) -> dict:
        text = texts.read(number, shift)
        if len(text) < 2:
            return {}
        mask = noise_mask(rng, len(text), rate, mean_span, sampler)
        return sequences.sequence(*([one] for one in corrupt(text, mask, marks, eod)), start)

    return by_row(texts.count, sequences.widths(length, sizes(raw, rate, mean_span)[1] + more), row, texts.moves)


def counts(n: int, rate: float, mean_span: float) -> tuple[int, int]:
    """(tokens of noise, spans of noise) of a text of n > 1 tokens: at least one, and one token is left."""
    noise = min(max(round(n * rate), 1), n - 1)
    return noise, min(max(round(noise / mean_span), 1), n - noise)


def sizes(n: int, rate: float, mean_span: float) -> tuple[int, int]:
    """(inputs, targets) that a text of n tokens makes, sentinels and eod counted."""
    noise, spans = counts(n, rate, mean_span)
    return n - noise + spans + 1, noise + spans + 1


def raw_length(length: int, rate: float, mean_span: float) -> int:
    """The most tokens whose inputs and targets both fit into `length`, above 3."""
    n = 2
    while max(sizes(n + 1, rate, mean_span)) <= length:
        n += 1
    return n


def check_sentinels(spans: int, have: int, length: int) -> None:
    """UserError where a row would have more spans than the tokenizer has sentinels."""
    if spans > have:
        raise UserError(f"config.train.length={length}: a row would have {spans} spans and the tokenizer has {have} "
                        "sentinels for them; use a shorter length, or a larger config.objective.mean_span")


def noise_mask(rng: np.random.Generator, n: int, rate: float, mean_span: float, sampler: str) -> np.ndarray:
    """(n,) bool, True for noise; n > 1. sampler: as in `features`."""
    noise, spans = counts(n, rate, mean_span)
    lengths = np.stack([_parts(rng, n - noise, spans), _parts(rng, noise, spans)], 1).ravel()
    mask = np.repeat(np.arange(2 * spans) % 2 == 1, lengths)
    return np.roll(mask, rng.integers(n)) if sampler == "unbiased" else mask


def corrupt(text: np.ndarray, mask: np.ndarray, marks: np.ndarray, eod: int) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets): text with a sentinel of `marks` for each run of True in mask, and the sentinels each with what
    it stands for; eod after both."""
    first = mask & ~np.concatenate([[False], mask[:-1]])
    which = np.cumsum(first) - 1
    inputs = np.where(mask, marks[which], text)[first | ~mask]
    targets = np.insert(text[mask], np.flatnonzero(first[mask]), marks[:first.sum()])
    return np.append(inputs, eod), np.append(targets, eod)


def _parts(rng, items, parts) -> np.ndarray:
    """Lengths, each at least 1, of `parts` runs that `items` things fall into; every way of cutting is as likely."""
    cuts = np.sort(rng.permutation(items - 1)[:parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [items]]))
