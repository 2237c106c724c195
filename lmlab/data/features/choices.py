"""Questions with choices as rows: each choice is read with its question, and all choices of a question share a row."""

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, examples
from lmlab.utils.errors import UserError

LEAST = 8  # tokens of a choice with what it is read with


def names(_) -> tuple[str, ...]:
    """What the head's output is of, whatever the examples."""
    return ("right",)


def pairs(example) -> list[tuple[str, str]]:
    """The two texts that are read for each choice: the context, and the question with the choice; where there is no
    context, the question and the choice. (Where a text is cut, it is so at its end: the question is not at one.)"""
    question = example["question"]
    if "context" in example:
        return [(example["context"], f"{question} {choice}") for choice in example["choices"]]
    return [(question, choice) for choice in example["choices"]]


def encode(tokenizer, found, length: int, whose: str = "") -> list[list[examples.Encoded]]:
    """The choices of every question framed (`examples.frame`), `length` tokens in all: where there are more, none has
    more than its share. A line on stderr says of how many questions of `whose` that is so, where that is said."""
    ids = iter(tokenizer.encode_batch([text for one in found for pair in pairs(one) for text in pair]))
    out, cut = [], 0
    for number, one in enumerate(found, 1):
        both = [(next(ids), next(ids)) for _ in one["choices"]]
        share = length // len(both)
        if share < LEAST:
            raise UserError(f"question {number} has {len(both)} choices, which leaves each of them {share} tokens; set "
                            f"config.train.length to at least {LEAST * len(both)}")
        whole = sum(len(first) + len(second) + 3 for first, second in both)
        cut += whole > length
        out.append([examples.frame(tokenizer, *pair, share if whole > length else length) for pair in both])
    if cut and whose:
        examples.say(f"the choices of {cut} of the {len(found)} questions of {whose} are cut to "
                     f"config.train.length={length} tokens in all")
    return out


def features(split, tokenizer, *, length, windows, labels=("right",)) -> Rows:
    """Rows of choices, those of a question side by side.

    Args:
      split: of choices. tokenizer: with "cls", or the texts begin with nothing. length: T.
      windows: "stream", one question a row, or "packed", as many as fit. labels: as `names` gives them.
    Returns:
      Rows as `examples.rows` gives, segment k being choice k - 1 of the row, with question (B, S) int32, a number from
      1 that the choices of one question share, and right (B, S) float32, 1 at the right one.
    """
    del labels
    plans.check(length, windows, least=2 * LEAST)
    framed = encode(tokenizer, split.examples, length, f"{split.meta['name']} ({split.split})")
    values = [{"question": number, "right": float(choice == one["answer"])}
              for number, one in enumerate(split.examples, 1) for choice in range(len(one["choices"]))]
    return examples.rows([one for question in framed for one in question], length, windows,
                         {"question": ("example", np.int32), "right": ("example", np.float32)}, values.__getitem__,
                         together=[len(question) for question in framed])
