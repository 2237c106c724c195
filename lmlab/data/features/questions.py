"""Questions about a context as rows: the question with a window of its context, and where in that the answer stands."""

import unicodedata
from typing import NamedTuple

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, examples

OUTPUTS = ("start", "end")  # of the head, for each token


class Window(NamedTuple):
    """What the network reads of one question: [cls] question [eod], a part of the context, [eod].

    Attributes:
      encoded: its ids, and types: 0 up to the first eod, 1 after it. question: number of the question, shared by all
        its windows. head: the place of the part's first token in it. start: the place of that token in the context.
      offsets: (n, 2) the characters of the context that each token of the whole context stands for.
    """
    encoded: examples.Encoded
    question: int
    head: int
    start: int
    offsets: np.ndarray


def names(_) -> tuple[str, ...]:
    """What the head's outputs are of, whatever the examples."""
    return OUTPUTS


def cut(tokenizer, questions: list[str], contexts: list[str], length: int, stride: int = 128) -> list[Window]:
    """The windows of every question, in order; together they hold each token of its context.

    Args:
      length: the most tokens of a window; the question takes at most half of them, and is cut there.
      stride: tokens that neighbouring windows share, but no more than half of what a window holds of the context
        (Devlin et al.'s code calls so what is left of it). What is no longer than these and one more stands whole in
        some window.
    """
    read = {context: tokenizer.encode_offsets(context) for context in dict.fromkeys(contexts)}
    read = {context: (np.array(ids, np.int32), np.array(offsets, np.int64).reshape(-1, 2))
            for context, (ids, offsets) in read.items()}
    found = []
    for number, (asked, context) in enumerate(zip(tokenizer.encode_batch(questions), contexts, strict=True)):
        before = examples.frame(tokenizer, asked, None, length // 2).ids
        ids, offsets = read[context]
        room = length - len(before) - 1
        shared = min(stride, room // 2)
        for start in range(0, max(1, len(ids) - shared), room - shared):
            row = np.concatenate([before, ids[start:start + room], [tokenizer.eod]]).astype(np.int32)
            types = (np.arange(len(row)) >= len(before)).astype(np.int32)
            found.append(Window(examples.Encoded(row, types), number, len(before), start, offsets))
    return found


def place(window: Window, start: int, end: int) -> tuple[int, int]:
    """The first and the last token of a window that the characters start to end (exclusive) of its context are of;
    (0, 0), which stands for no answer, where not all of them are in the window (Devlin et al. 2019, section 4.3)."""
    over = np.flatnonzero((window.offsets[:, 0] < end) & (window.offsets[:, 1] > start)) - window.start + window.head
    if not len(over) or over[0] < window.head or over[-1] >= len(window.encoded.ids) - 1:
        return 0, 0
    return int(over[0]), int(over[-1])


def characters(window: Window, context: str, first: int, last: int) -> tuple[int, int]:
    """(start, end) of the characters of the context that tokens first to last (inclusive) of a window stand for:
    without blanks at the ends, with the accents that the tokenizer may have dropped; start is end where none is left.
    """
    shift = window.start - window.head
    start, end = int(window.offsets[first + shift, 0]), int(window.offsets[last + shift, 1])
    while end < len(context) and unicodedata.combining(context[end]):
        end += 1
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def features(split, tokenizer, *, length, windows, labels=OUTPUTS, stride: int = 128) -> Rows:
    """Rows of windows, each with the place of the first of its question's answers.

    Args:
      split: of questions. tokenizer: with "cls", or the place of no answer is the question's first token. length: T.
      windows: "stream", one window a row, or "packed", as many as fit. labels: OUTPUTS. stride: as `cut` takes it.
    Returns:
      Rows as `examples.rows` gives, with start and end (B, S) int32, places in each window; 0: no answer.
    """
    del labels
    plans.check(length, windows, least=8)
    found, whose = split.examples, f"{split.meta['name']} ({split.split})"
    cuts = cut(tokenizer, [one["question"] for one in found], [one["context"] for one in found], length, stride)
    places = []
    for window in cuts:
        gold = found[window.question]["answers"][:1]
        places.append(place(window, gold[0]["start"], gold[0]["start"] + len(gold[0]["text"])) if gold else (0, 0))
    taught = {window.question for window, (start, _) in zip(cuts, places, strict=True) if start}
    if lost := sum(bool(one["answers"]) for one in found) - len(taught):
        examples.say(f"{lost} of the {len(found)} questions of {whose} have an answer that no window of "
                     f"config.train.length={length} tokens holds, and teach that there is none")
    widths = {name: ("example", np.int32) for name in OUTPUTS}
    return examples.rows([window.encoded for window in cuts], length, windows, widths,
                         lambda number: dict(zip(OUTPUTS, places[number])))
