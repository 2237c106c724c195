"""Episodes as rows: few labels with few examples of each to learn from, and others of the same labels to be asked
about (Vinyals et al. 2016)."""

import numpy as np

from lmlab.data import cleaning
from lmlab.data import windows as plans
from lmlab.data.features import Rows, by_row, check_range, examples, labelled
from lmlab.utils.errors import UserError

LEAST = 4  # tokens of a text with what stands around it


def check(ways: int, shots: int, queries: int, held: float) -> None:
    """UserError where a setting means nothing."""
    check_range("ways", ways, 2, 2 ** 10)
    check_range("shots", shots, 1, 2 ** 10)
    check_range("queries", queries, 1, 2 ** 10)
    check_range("held", held, 0, 0.9)


def features(split, tokenizer, *, length, windows, labels, ways: int = 5, shots: int = 2, queries: int = 3,
             held: float = 0.3) -> Rows:
    """Rows of one episode each, drawn anew each epoch.

    Args:
      split: of labelled examples. tokenizer: with "cls", or the texts begin with nothing. length: T; each text has an
        equal part of it. windows: does not matter. labels: of the head, a name a way.
      ways, shots, queries: N labels an episode, K examples of each to learn from and Q to be asked about. held: the
        share of all labels, by a hash of their names, that stand in held-out episodes alone; 0: all stand in both.
    Returns:
      Rows, as many as episodes use the examples up, with (B, S) of the N (K + Q) texts, text k being segment k + 1:
      label int32, from 0 to N - 1, given out anew each time; support int32, 1 where one is learned from; weights
      float32, 1 where one is asked about.
    Raises:
      UserError: but for one example alone, where fewer than N labels have K + Q examples, or a text would have fewer
        than LEAST tokens.
    """
    del labels
    whose, most = f"{split.meta['name']} ({split.split})", length // (ways * (shots + queries))
    plans.check(length, windows, least=LEAST * ways * (shots + queries))
    texts = [[one["text"] for one in split.examples], [one.get("pair") for one in split.examples]]
    encoded = examples.encode(tokenizer, *texts, most)
    if long := sum(len(one.ids) == most for one in encoded) if len(encoded) > 1 else 0:
        examples.say(f"{long} of the {len(encoded)} examples of {whose} are cut to {most} tokens, their part of "
                     f"config.train.length={length}, or just fit")
    of, unseen = {}, split.split != "train"
    for number, one in enumerate(split.examples):
        name = labelled.labels_of(one["label"], "single")[0]
        if not held or (cleaning.fraction(name) < held) == unseen:
            of.setdefault(name, []).append(number)
    usable = [np.array(numbers) for _, numbers in sorted(of.items()) if len(numbers) >= shots + queries]
    if len(usable) < ways and len(encoded) > 1:
        raise UserError(f"{whose} has {len(usable)} labels with {shots + queries} examples or more, and an episode "
                        f"takes {ways}; set config.objective.ways, shots or queries lower, or held to another share")

    def row(_, __, rng) -> dict:
        made = {name: [] for name in ("tokens", "segments", "positions", "label", "support", "weights")}
        chosen = [(label, number, place < shots) for label, which in enumerate(rng.permutation(len(usable))[:ways])
                  for place, number in enumerate(rng.permutation(usable[which])[:shots + queries])]
        for segment, (label, number, support) in enumerate(chosen, 1):
            ids = encoded[number].ids
            made["tokens"] += ids.tolist()
            made["segments"] += [segment] * len(ids)
            made["positions"] += range(len(ids))
            made["label"].append(label)
            made["support"].append(int(support))
            made["weights"].append(float(not support))
        return made

    count = max(1, sum(map(len, usable)) // (ways * (shots + queries)))
    widths = dict.fromkeys(("tokens", "segments", "positions"), length)
    return by_row(count, widths | dict.fromkeys(("label", "support", "weights"), ways * (shots + queries)), row)
