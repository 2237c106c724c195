"""Labelled texts, and pairs of texts, as rows."""

from collections import Counter

import numpy as np

from lmlab.data.features import Rows, augmentation, examples
from lmlab.utils.errors import UserError

KINDS = ("single", "several", "number")


def names(found, kind: str = "single") -> tuple[str, ...]:
    """The labels of examples, sorted; none of kind "number"."""
    if kind == "number":
        return ()
    return tuple(sorted({label for example in found for label in labels_of(example["label"], kind)}))


def labels_of(label, kind: str) -> list[str]:
    """An example's labels: of kind "several" a list, or a text in which | stands between them ("" for none)."""
    if kind != "several":
        return [_name(label)]
    if isinstance(label, list):
        return [_name(one) for one in label]
    return [part for part in str(label).split("|") if part]


def _name(label) -> str:
    if isinstance(label, list):
        raise UserError(f"an example has the labels {', '.join(map(str, label))[:80]}, and "
                        "config.objective.kind=single takes one; set it to several")
    return str(label)


def target(label, labels, kind: str) -> np.ndarray:
    """(C,) float32: 1 at the example's labels; of kind "number" the number alone."""
    if kind == "number":
        try:
            return np.array([float(label)], np.float32)
        except (TypeError, ValueError):
            raise UserError(f"the label {str(label)[:80]!r} is no number, and config.objective.kind=number takes "
                            "numbers; use single or several") from None
    mine = set(labels_of(label, kind))
    return np.array([name in mine for name in labels], np.float32)


def features(split, tokenizer, *, length, windows, labels, kind: str = "single", balance: float = 0.0,
             augment: float = 0.0, synonyms: str = "", mixup: float = 0.0) -> Rows:
    """Rows of examples with their targets.

    Args:
      split: of labelled examples. tokenizer: with "cls", or the texts begin with nothing. length: T.
      windows: "stream", one example a row, or "packed", as many as fit. labels: their names.
      kind: single, several labels, or a number. balance: an example's weight in the loss is its label's rarity to this
        power, (examples / (labels x those with its label)); 0: all weigh the same, 1: all labels weigh the same.
      augment: the share of the words of a training text that are changed each time it is read (features.augmentation);
        0: none. synonyms: a file with a set of synonyms a line, commas between them; "": none. mixup: as in the loss; a
        row must then hold several examples.
    Returns:
      Rows as `examples.rows` gives, with target (B, S, C) and balance (B, S) float32.
    """
    if mixup and windows != "packed":
        raise UserError(f"config.objective.mixup={mixup} mixes the examples of a row; set config.train.windows=packed, "
                        "so that it holds several")
    found = split.examples
    encoded = examples.encode(tokenizer, [one["text"] for one in found], [one.get("pair") for one in found], length,
                              f"{split.meta['name']} ({split.split})")
    count = Counter(label for one in found for label in labels_of(one["label"], kind)) if kind != "number" else {}

    def rarity(label) -> float:
        mine = [count[name] for name in labels_of(label, kind)] if balance else []
        return (len(found) / (len(labels) * min(mine))) ** balance if mine else 1.0

    def values(number: int) -> dict:
        label = found[number]["label"]
        return {"target": target(label, labels, kind), "balance": rarity(label)}

    widths = {"target": ("example", np.float32, 1 if kind == "number" else len(labels)),
              "balance": ("example", np.float32)}
    if not augment or split.split != "train":
        return examples.rows(encoded, length, windows, widths, values)
    known = augmentation.read(synonyms)

    def dress(number: int, room: int, rng) -> tuple[examples.Encoded, dict]:
        texts = (found[number][name] for name in ("text", "pair") if name in found[number])
        first, second, *_ = [*(tokenizer.encode(augmentation.text(one, augment, known, rng)) for one in texts), None]
        return examples.frame(tokenizer, first, second, room), values(number)

    return examples.rows(encoded, length, windows, widths, values, dress, grow=augmentation.growth(augment))
