"""Pairs of spans of a text as rows: the text with marks around both, and after each opening mark the span's label
(typed entity markers: Zhou & Chen 2022, section 3.1)."""

import itertools

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, examples
from lmlab.utils.errors import UserError

# Roles of the marks before and after the head and the tail, and what stands for each in a tokenizer without the role.
MARKS = {"head": "@", "head_end": "@", "tail": "#", "tail_end": "#"}


def names(found, none: str = "no_relation") -> tuple[str, ...]:
    """`none`, which two spans without a relation have, then the labels of relations, sorted."""
    return none, *sorted({one["label"] for example in found for one in example["relations"]} - {none})


def pairs(spans, heads: str = "") -> list[tuple[int, int]]:
    """(head, tail): every two of the spans, both ways round. heads: the labels that a head may have, with | between
    them; "": any."""
    may = heads.split("|") if heads else {span["label"] for span in spans}
    return [(head, tail) for head, tail in itertools.permutations(range(len(spans)), 2) if spans[head]["label"] in may]


def encode(tokenizer, text: str, spans, asked, length: int) -> list[examples.Encoded]:
    """Pairs of a text's spans, each framed, with the places of the marks before the head and the tail. Of a text that
    is too long the tokens stay that are nearest to a mark.

    Args:
      tokenizer: with "cls", or texts begin with nothing. spans: {"start", "end", "label"} in characters of the text.
      asked: (head, tail), places in spans. length: the most tokens.
    """
    ids, offsets = tokenizer.encode_offsets(text)
    starts_n, ends_n = np.maximum.accumulate(np.array(offsets, np.int64).reshape(-1, 2)).T
    around = []
    for span in spans:  # the tokens that have a part of it; where it has none, the place where it would stand
        first = int(np.searchsorted(ends_n, span["start"], side="right"))
        around.append((first, max(first, int(np.searchsorted(starts_n, span["end"])))))
    marks = _marks(tokenizer)
    labels = {span["label"]: tokenizer.encode(span["label"]) for span in spans}
    empty, found = examples.frame(tokenizer, [], None, length), []
    for head, tail in asked:
        opening = [mark + labels[spans[place]["label"]] for mark, place in zip(marks[::2], (head, tail), strict=True)]
        marked, places = _marked(ids, (around[head], around[tail]), (opening[0], marks[1], opening[1], marks[3]),
                                 length - len(empty.ids))
        one = examples.frame(tokenizer, marked, None, length)
        found.append(one._replace(places=(places + len(empty.ids) - 1).astype(np.int32)))
    return found


def _marks(tokenizer) -> list[list[int]]:
    """The ids of each of MARKS; UserError where those of a head are not told from those of a tail."""
    found = [[tokenizer.specials[role]] if role in tokenizer.specials else tokenizer.encode(mark)
             for role, mark in MARKS.items()]
    if not found[0] or found[0] == found[2]:
        raise UserError("config.tokenizer: it has no marks of a head and a tail, nor characters @ and # to stand for "
                        "them; use a tokenizer that is trained here, or begin from another network")
    return found


def _marked(ids, spans, marks, room):
    """(at most `room` ids with marks before and after the tokens of a head and a tail, the places (2,) of the first id
    of each one's opening mark)."""
    # Where marks meet, what ends goes before what begins, what is empty between them, and an inner span stays inside.
    ends = [(span[side], 1 if span[0] == span[1] else 2 - 2 * side, -span[1 - side], 2 * number + side)
            for number, span in enumerate(spans) for side in (0, 1)]
    marked, places, at = [], np.zeros(4, np.int64), 0
    for place, *_, number in sorted(ends):
        marked += ids[at:place]
        places[number], at = len(marked), place
        marked += marks[number]
    marked += ids[at:]
    far_n = np.abs(np.arange(len(marked))[:, None] - places).min(1)
    kept = np.sort(np.argsort(far_n, kind="stable")[:room])
    return [marked[place] for place in kept], np.searchsorted(kept, places[::2])


def features(split, tokenizer, *, length, windows, labels, none: str = "no_relation", heads: str = "") -> Rows:
    """Rows of the pairs of each text's spans, each with its relation.

    Args:
      split: of examples with relations. tokenizer, length: as `encode` takes them. windows: "stream", one pair a row,
        or "packed", as many as fit. labels: as `names` gives them. none: the relation of two spans that have none.
      heads: as in `pairs`; events are relations whose heads are the words that tell of them.
    Returns:
      Rows as `examples.rows` gives, with label (B, S) int32, the number of the relation; each pair has two words, its
      marks. Of several relations of a pair the first is taught.
    """
    plans.check(length, windows, least=16)
    whose, numbers = f"{split.meta['name']} ({split.split})", {label: number for number, label in enumerate(labels)}
    encoded, told, more, lost = [], [], 0, 0
    for example in split.examples:
        asked, right = pairs(example["spans"], heads), {}
        for one in example["relations"]:
            if one["label"] not in numbers:
                raise UserError(f"{whose} has the relation {one['label']}, which the model does not know; train one on "
                                "data that has it")
            more += (one["head"], one["tail"]) in right
            right.setdefault((one["head"], one["tail"]), numbers[one["label"]])
        lost += len(set(right) - set(asked))
        encoded += encode(tokenizer, example["text"], example["spans"], asked, length)
        told += [right.get(pair, numbers[none]) for pair in asked]
    if not encoded:
        raise UserError(f"{whose} has no text with two spans to relate; give spans, or other "
                        f"config.objective.heads={heads!r}")
    if more:
        examples.say(f"{more} pairs of spans of {whose} have a further relation, which is not taught")
    if lost:
        examples.say(f"{lost} relations of {whose} are of a span with itself or of one that "
                     f"config.objective.heads={heads!r} does not name, and are not taught")
    return examples.rows(encoded, length, windows, {"label": ("example", np.int32)}, lambda n: {"label": told[n]})
