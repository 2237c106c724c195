"""Pairs of text for next-sentence prediction (Devlin et al. 2019) and sentence-order prediction (Lan et al. 2020)."""

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import role, vocabulary
from lmlab.utils.errors import UserError

_DRAWS = 4  # pieces looked at for a B of the right length


def examples(split, tokenizer, length, windows, kind, short):
    """One pair a row: [cls] A [eod] B [eod], cut from a piece of one document where a sentence begins; where none does,
    anywhere but near its ends.

    Args:
      split: a TokenStore. tokenizer: with "cls". length: the most tokens of a row.
      kind: "next_sentence": half the time B is from another document (of another place, where there is but one
        document); of a few pieces that are looked at it is the end of one, begun as the true B is begun, that is
        nearest to that in length. "sentence_order": half the time A and B are swapped.
      short: the share of pieces that are cut to a random length from 2 tokens up.
    Returns:
      (count, row), row: (number, shift, rng) -> tokens, segments, positions, types (0: cls A eod, 1: B eod) and pair
      (1: B does not follow A).
    Raises:
      UserError: where no document has two tokens, or there is no other piece for B.
    """
    plans.check(length, windows, least=5)
    cls, eod, tokens = role(tokenizer, "cls"), tokenizer.eod, split.tokens
    tables = vocabulary.sentence_ends(tokenizer)
    pieces = plans.bodies(split.offsets, length - 3)
    pieces = pieces[pieces[:, 1] > 1]
    others = _others(split, pieces) if kind == "next_sentence" else None
    if len(pieces) < (2 if others else 1):
        raise UserError(f"config.objective.pairs={kind}: {split.meta['name']} has {len(pieces)} pieces of text to "
                        f"pair in its {split.split} split; add text, or use none")

    def elsewhere(rng, number, like, at_sentence):
        """The end of another piece that is nearest to `like` tokens, begun at a sentence or anywhere."""
        found = []
        for start, n in pieces[others(rng, number)].tolist():
            begins = vocabulary.sentence_starts(tokens[start:start + n], tables) if at_sentence else np.arange(1, n)
            if len(begins):
                far = np.abs(n - begins - like)
                found.append((far.min(), start + begins[far.argmin()], start + n))
        _, start, stop = min(found, default=(0, start, start + n))
        return tokens[start:stop]

    def row(number, shift, rng):
        start, n = pieces[number].tolist()
        if rng.random() < short:
            most = min(n, int(rng.integers(2, length - 2)))
            start, n = start + int(rng.integers(n - most + 1)), most
        text = tokens[start:start + n]
        cuts = vocabulary.sentence_starts(text, tables)
        cut = int(rng.choice(cuts)) if len(cuts) else int(rng.integers(max(1, n // 4), n - n // 4))
        first, second = text[:cut], text[cut:]
        pair = int(rng.random() < 0.5)
        if pair and others:
            second = elsewhere(rng, number, n - cut, len(cuts) > 0)[:length - 3 - cut]
        elif pair:
            first, second = second, first
        made = np.concatenate([[cls], first, [eod], second, [eod]]).astype(np.int32)
        return {"tokens": made, "segments": np.ones(len(made)), "positions": np.arange(len(made)),
                "types": np.arange(len(made)) >= len(first) + 2, "pair": pair}

    return len(pieces), row


def _others(split, pieces):
    """(rng, number) -> a few pieces of other documents than that of piece `number`, each as likely."""
    document = np.searchsorted(split.offsets, pieces[:, 0], "right")
    if len(document) and document[0] == document[-1]:
        document = np.arange(len(pieces))

    def others(rng, number):
        low, high = np.searchsorted(document, document[number] + np.arange(2))
        draws = rng.integers(len(pieces) - (high - low), size=_DRAWS)
        return draws + (draws >= low) * (high - low)

    return others
