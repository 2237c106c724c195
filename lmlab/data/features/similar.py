"""Texts that mean nearly the same as rows, each text a segment of its own, those of a pair side by side."""

import itertools

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, examples, labelled
from lmlab.utils.errors import UserError

KINDS = ("ranking", "cosine")
LEAST = 4  # tokens of a text with what stands around it
ANCHOR, POSITIVE, NEGATIVE = 1, 2, 3  # roles; the two texts of a scored pair have the first two
_ROLES = {"ranking": ("anchor", "positive", "negative"), "cosine": ("first", "second")}


def of_labels(found: list[dict], rounds: int) -> list[dict]:
    """Scored pairs of labelled texts (Tunstall et al. 2022, section 3): for each label `rounds` pairs of texts that
    have it, of score 1, and `rounds` of one that has it and one that has not, of score 0. The same for the same texts.

    One example alone makes none.

    Raises:
      UserError: where an example has several labels or two texts, or all have the same one.
    """
    if any("pair" in one for one in found):
        raise UserError("config.objective.name=setfit compares single texts, and an example has a pair; use "
                        "classification")
    names = np.array([labelled.labels_of(one["label"], "single")[0] for one in found])
    if len(found) > 1 and len(set(names)) < 2:
        raise UserError("config.objective.name=setfit tells labels apart, and all examples have the same one; give two")
    pair = lambda a, b, score: {"first": found[a]["text"], "second": found[b]["text"], "score": score}
    rng, made = np.random.default_rng(0), []
    for name in sorted(set(names)):
        mine, others = np.flatnonzero(names == name), np.flatnonzero(names != name)
        for _ in range(rounds if len(others) else 0):
            if len(mine) > 1:
                made.append(pair(*rng.choice(mine, 2, replace=False), 1.0))
            made.append(pair(rng.choice(mine), rng.choice(others), 0.0))
    return made


def features(split, tokenizer, *, length, windows, kind: str = "ranking") -> Rows:
    """Rows of pairs.

    Args:
      split: of similar texts: for "ranking" with an anchor and a positive, for "cosine" with a score. tokenizer: with
        "cls", or the texts begin with nothing. length: T. windows: "stream", one pair a row (with its negative, where
        it has one), or "packed", as many as fit.
    Returns:
      Rows as `examples.rows` gives, segment k being a text, with (B, S) int32: pair, the number of its pair from 1;
      role; text, a number from 1, equal for equal texts; anchor, that of its pair's anchor; and score (B, S) float32.
    Raises:
      UserError: where an example is of the other kind, or a text would have fewer than LEAST tokens.
    """
    found, whose = split.examples, f"{split.meta['name']} ({split.split})"
    if any(_ROLES[kind][0] not in one for one in found):
        raise UserError(f"config.objective.kind={kind} learns from {' and '.join(_ROLES[kind][:2])}"
                        f"{', scored' if kind == 'cosine' else ''}, and {whose} has other pairs; set it to "
                        f"{KINDS[1 - KINDS.index(kind)]}")
    plans.check(length, windows, least=LEAST * len(_ROLES[kind]))
    texts = [[one[role] for role in _ROLES[kind] if role in one] for one in found]
    numbers = {text: n for n, text in enumerate(dict.fromkeys(itertools.chain(*texts)), 1)}
    ids = dict(zip(numbers, tokenizer.encode_batch(list(numbers))))
    around = len(examples.frame(tokenizer, [], None, LEAST).ids)
    framed, values, cut = [], [], 0
    for pair, (one, mine) in enumerate(zip(found, texts), 1):
        most = room([len(ids[text]) + around for text in mine], length)
        cut += any(len(ids[text]) + around > most for text in mine)
        framed += [examples.frame(tokenizer, ids[text], None, most) for text in mine]
        values += [{"pair": pair, "role": role, "text": numbers[text], "anchor": numbers[mine[0]],
                    "score": one.get("score", 0.0)} for role, text in enumerate(mine, ANCHOR)]
    if cut:
        examples.say(f"{cut} of the {len(found)} pairs of {whose} are cut to config.train.length={length} tokens in "
                     "all")
    widths = {name: ("example", np.int32) for name in ("pair", "role", "text", "anchor")}
    return examples.rows(framed, length, windows, widths | {"score": ("example", np.float32)}, values.__getitem__,
                         together=[len(mine) for mine in texts])


def room(sizes: list[int], length: int) -> int:
    """The most tokens of a text, so that texts of these sizes, the longer ones cut to it, fit in `length`."""
    for left, size in zip(range(len(sizes), 0, -1), sorted(sizes)):
        if size * left > length:
            return length // left
        length -= size
    return max(sizes, default=0)
