"""Masked language modelling (BERT: Devlin et al. 2019, section 3.1), masked anew in each epoch (RoBERTa: Liu et al.
2019, section 4.1), by tokens, whole words or runs of words (SpanBERT: Joshi et al. 2020; ALBERT: Lan et al. 2020)."""

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, by_row, check_choice, check_range, role, sentence_pairs, vocabulary

_LONGEST = {"word": 1, "ngram": 3}  # words that are masked together


def check(rate=0.15, spans="token", mask_share=0.8, random_share=0.1, pairs="none", short=0.1, **_) -> None:
    """Raises a UserError for values of `features` that mean nothing."""
    check_range("rate", rate, 0, 1)
    check_choice("spans", spans, ("token", *_LONGEST))
    check_range("mask_share", mask_share, 0, 1)
    check_range("random_share", random_share, 0, round(1 - mask_share, 9))
    check_choice("pairs", pairs, ("none", "next_sentence", "sentence_order"))
    check_range("short", short, 0, 1)


def features(split, tokenizer, *, length, windows, rate: float = 0.15, spans: str = "token", mask_share: float = 0.8,
             random_share: float = 0.1, pairs: str = "none", short: float = 0.1) -> Rows:
    """Rows that begin with cls and close with eod, some of their tokens hidden and to be guessed.

    Args:
      split: a TokenStore. tokenizer: with "cls" and "mask". length: T.
      windows: "stream" (whatever fits, over the ends of documents) or "packed" (pieces of documents, each with its own
        cls, eod and segment). With pairs a row is one example in either case.
      rate: as in BERT, exactly round(rate * tokens) tokens of a row are chosen, at least 1; whole words that do not fit
        into that number are passed over. spans: "token", "word", or "ngram": n words in a row, n up to 3 and
        p(n) ~ 1/n.
      mask_share, random_share: of the chosen tokens, how many become mask, and how many any token of the vocabulary
        but a special one; the rest stays.
      pairs: "none", "next_sentence" or "sentence_order". short: the share of pairs cut shorter (see `sentence_pairs`).
    Returns:
      Rows with "original" (B, T), the tokens before masking (the targets too; weights are 1 where one was chosen), and
      with pairs also "types" (B, T) and "pair" (B,).
    """
    check(rate, spans, mask_share, random_share, pairs, short)
    plans.check_plain(split)
    mask = role(tokenizer, "mask")
    special_V = vocabulary.specials(tokenizer)
    ordinary = np.flatnonzero(~special_V)
    tables = None if spans == "token" else vocabulary.words(tokenizer)
    moves = 0
    if pairs != "none":
        count, frame = sentence_pairs.examples(split, tokenizer, length, windows, pairs, short)
    elif windows == "stream":
        (count, frame), moves = _stream(split, tokenizer, length, windows), length - 2
    else:
        count, frame = _packed(split, tokenizer, length, windows)

    def row(number: int, shift: int, rng: np.random.Generator) -> dict:
        made = frame(number, shift, rng)
        original = made["tokens"]
        chosen = _choose(rng, original, ~special_V[original], tables, rate, _LONGEST.get(spans, 0))
        draws, tokens = rng.random(len(chosen)), original.copy()
        tokens[chosen[draws < mask_share]] = mask
        at_random = chosen[(draws >= mask_share) & (draws < mask_share + random_share)]
        tokens[at_random] = rng.choice(ordinary, len(at_random))
        weights = np.zeros(len(tokens), np.float32)
        weights[chosen] = 1
        return made | {"tokens": tokens, "targets": original, "original": original, "weights": weights}

    names = ["tokens", "targets", "segments", "positions", "weights", "original"] + ["types"] * (pairs != "none")
    return by_row(count, dict.fromkeys(names, length) | ({"pair": 0} if pairs != "none" else {}), row, moves)


def _stream(split, tokenizer, length, windows):
    """(count, row) of windows over the whole text, eods and all: cls window eod."""
    plans.check(length, windows, least=3)
    cls, eod, tokens = role(tokenizer, "cls"), tokenizer.eod, split.tokens
    index = plans.plan(split, length - 2, windows)

    def row(number, shift, rng):
        start, n = index.pieces[number].tolist()
        start = min(start + shift, len(tokens) - n)
        text = tokens[start + 1:start + n].astype(np.int32)
        text = np.concatenate([[cls], text, [eod] if text[-1] != eod else []]).astype(np.int32)
        return {"tokens": text, "segments": np.ones(len(text)), "positions": np.arange(len(text))}

    return len(index.pieces), row


def _packed(split, tokenizer, length, windows):
    """(count, row) of packed pieces of documents, each as cls piece eod."""
    plans.check(length, windows, least=3)
    ends, tokens = ([role(tokenizer, "cls")], [tokenizer.eod]), split.tokens
    index = plans.pack_framed(split, length)

    def row(number, shift, rng):
        pieces = index.pieces[index.rows[number]:index.rows[number + 1]].tolist()
        texts = [np.concatenate([ends[0], tokens[start:start + n], ends[1]]) for start, n in pieces]
        return {"tokens": np.concatenate(texts).astype(np.int32),
                "segments": np.repeat(np.arange(len(texts)) + 1, [len(text) for text in texts]),
                "positions": np.concatenate([np.arange(len(text)) for text in texts])}

    return len(index.rows) - 1, row


def _choose(rng, tokens, free, tables, rate, longest) -> np.ndarray:
    """Places to be guessed: max(1, round(rate * free places)) of the free ones, or the whole words that fit into that.

    tables: of `vocabulary.words`. longest: the most words in a row; 0 chooses tokens.
    """
    places = np.flatnonzero(free)
    if not len(places):
        return places
    room = max(1, round(rate * len(places)))
    if not longest:
        return rng.permutation(places)[:room]
    begins_V, ends_V = tables
    before = np.concatenate([[True], ends_V[tokens[:-1]] | ~free[:-1]])
    starts = np.flatnonzero(free & (begins_V[tokens] | before))
    sizes = np.diff(np.append(np.searchsorted(places, starts), len(places)))
    chosen = _whole(rng, starts.tolist(), sizes.tolist(), room, longest)
    if not chosen:  # no word is that short: the beginning of one has to do
        first = starts[rng.integers(len(starts))]
        return np.arange(first, first + room)
    return np.concatenate([np.arange(starts[word], starts[word] + sizes[word]) for word in chosen])


def _whole(rng, starts, sizes, room, longest) -> list[int]:
    """Words in random order, each with those after it up to n in all, n from 1 to `longest` with p(n) ~ 1/n; what was
    taken before, lies beyond a special token or takes more than the room that is left ends the run."""
    taken, least = dict.fromkeys([]), min(sizes)
    shares = 1 / np.arange(1, longest + 1)
    lengths = rng.choice(longest, len(starts), p=shares / shares.sum()) if longest > 1 else np.zeros(len(starts), int)
    for first, more in zip(rng.permutation(len(starts)).tolist(), lengths.tolist()):
        if room < least:
            break
        for word in range(first, min(first + more + 1, len(starts))):
            beyond = word > first and starts[word] != starts[word - 1] + sizes[word - 1]
            if word in taken or beyond or sizes[word] > room:
                break
            taken[word] = None
            room -= sizes[word]
    return list(taken)
