"""Pairs of spans of a text as rows: the text with marks around both (Baldini Soares et al. 2019, section 3.2), the labels
of the spans as its second text."""

import itertools

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, examples
from lmlab.utils.errors import UserError

# Roles of the tokens before and after the head and the tail; what stands for each in a tokenizer without the role
# (Zhou & Chen 2022).
MARKS = {"head": "@", "head_end": "@", "tail": "#", "tail_end": "#"}


def names(found, none: str = "no_relation") -> tuple[str, ...]:
    """`none`, which two spans without a relation have, then the labels of relations, sorted."""
    return none, *sorted({one["label"] for example in found for one in example["relations"]} - {none})


def pairs(spans, heads: str = "") -> list[tuple[int, int]]:
    """(head, tail): every two of the spans, both ways round. heads: the labels that a head may have, with | between them;
    "": any."""
    may = heads.split("|") if heads else {span["label"] for span in spans}
    return [(head, tail) for head, tail in itertools.permutations(range(len(spans)), 2) if spans[head]["label"] in may]


def encode(tokenizer, text: str, spans, asked, length: int) -> list[examples.Encoded]:
    """Pairs of a text's spans, each framed, with the places of the marks before the head and the tail. Of a text that is
    too long the tokens stay that are nearest to a mark.

    Args:
      tokenizer: with "cls", or texts begin with nothing. spans: {"start", "end", "label"} in characters of the text.
      asked: (head, tail), places in spans. length: the most tokens.
    """
    ids, offsets = tokenizer.encode_offsets(text)
    ids, starts_n = np.array(ids, np.int32), np.array([start for start, _ in offsets], np.int64)
    ends_n = np.maximum.accumulate(np.array([end for _, end in offsets], np.int64))
    around = []
    for span in spans:  # the tokens that have a part of it; where it has none, the place where it would stand
        first = int(np.searchsorted(ends_n, span["start"], side="right"))
        around.append((first, max(first, int(np.searchsorted(starts_n, span["end"])))))
    marks = [np.array([tokenizer.specials[role]] if role in tokenizer.specials else tokenizer.encode(mark), np.int32)
             for role, mark in MARKS.items()]
    labels = {span["label"]: tokenizer.encode(span["label"]) for span in spans}
    comma, found = tokenizer.encode(", "), []
    for head, tail in asked:
        second = [*labels[spans[head]["label"]], *comma, *labels[spans[tail]["label"]]][:length // 4]
        bare = examples.frame(tokenizer, [], second, length)
        first, places = _marked(ids, around[head], around[tail], marks, length - len(bare.ids))
        one = examples.frame(tokenizer, first.tolist(), second, length)
        before = int(tokenizer.specials.get("cls", -1) >= 0)
        found.append(one._replace(places=(places + before).astype(np.int32)))
    return found


def _marked(ids, head, tail, marks, room):
    """(at most `room` ids with marks before and after the tokens of the head and the tail, the places (2,) of the first
    mark of each)."""
    # Where marks meet, what ends goes before what begins, what is empty between them, and an inner span stays inside.
    ends = [(span[side], 1 if span[0] == span[1] else 2 - 2 * side, -span[1 - side], 2 * number + side)
            for number, span in enumerate((head, tail)) for side in (0, 1)]
    parts, places, at, size = [], np.zeros(4, np.int64), 0, 0
    for place, *_, number in sorted(ends):
        parts += [ids[at:place], marks[number]]
        places[number] = size + place - at
        size, at = places[number] + len(marks[number]), place
    marked = np.concatenate([*parts, ids[at:]])
    if len(marked) > room:
        far = np.abs(np.arange(len(marked))[:, None] - places).min(1)
        kept = np.sort(np.argsort(far, kind="stable")[:room])
        marked, places = marked[kept], np.searchsorted(kept, places)
    return marked, places[[0, 2]]


def features(split, tokenizer, *, length, windows, labels, none: str = "no_relation", heads: str = "") -> Rows:
    """Rows of the pairs of each text's spans, each with its relation.

    Args:
      split: of examples with relations. tokenizer, length: as `encode` takes them. windows: "stream", one pair a row, or
        "packed", as many as fit. labels: as `names` gives them. none: the relation of two spans that have none.
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
        examples.say(f"{lost} relations of {whose} are of a span with itself or of one that config.objective.heads={heads!r} "
                     "does not name, and are not taught")
    return examples.rows(encoded, length, windows, {"label": ("example", np.int32)}, lambda n: {"label": told[n]})
