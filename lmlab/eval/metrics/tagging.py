"""Entities told by the tags of words (IOB2: B-TYPE begins one, I-TYPE goes on, O is outside), and tags one by one."""

from collections.abc import Sequence

import numpy as np

from lmlab.eval.metrics import counts
from lmlab.utils.errors import UserError

Tags = Sequence[Sequence[str]]  # of the words of each example


def entities(tags: Sequence[str], lenient: bool = False) -> list[tuple[str, int, int]]:
    """(type, first word, word after the last) of every entity, in order; a bare B or I is of type "".

    lenient: an I that goes on with nothing begins an entity, as in conlleval.pl of CoNLL-2000; otherwise it is outside.
    Raises:
      UserError: for a tag that is not IOB2.
    """
    found, kind, start = [], "", None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, label = tag.partition("-")
        if prefix not in ("B", "I", "O"):
            raise UserError(f"{tag!r} is no tag of an entity; tags are O, B-TYPE and I-TYPE (IOB2)")
        if prefix == "I" and start is not None and label == kind:
            continue
        if start is not None:
            found.append((kind, start, place))
        kind, start = label, place if prefix == "B" or prefix == "I" and lenient else None
    return found


def strict(gold: Tags, predicted: Tags) -> dict[str, float]:
    """{"precision", "recall", "f1"} of entities whose type and both ends are right, then the same of every type as
    "f1/PER" and so on; a predicted I that goes on with nothing is no entity."""
    return _by_type(*_entities(gold, predicted, lenient=False))


def conlleval(gold: Tags, predicted: Tags) -> dict[str, float]:
    """As `strict`, with tags read as conlleval.pl does (Tjong Kim Sang & Buchholz 2000), and its "accuracy" of tags."""
    return token_accuracy(gold, predicted) | _by_type(*_entities(gold, predicted, lenient=True))


def partial(gold: Tags, predicted: Tags) -> dict[str, float]:
    """{"precision", "recall", "f1"} where an entity that overlaps one of its type counts half (see `partial_counts`):
    (correct + partial / 2) / predicted, and / gold (Chinchor & Sundheim 1993, MUC-5)."""
    return counts.scores(partial_counts(gold, predicted).sum(axis=0))


def token_accuracy(gold: Tags, predicted: Tags) -> dict[str, float]:
    """{"accuracy"}: the share of words with the right tag, of any kind: of entities, of speech."""
    pairs = [pair for rows in zip(gold, predicted, strict=True) for pair in zip(*rows, strict=True)]
    return {"accuracy": sum(there == found for there, found in pairs) / max(len(pairs), 1)}


def strict_counts(gold: Tags, predicted: Tags) -> np.ndarray:
    """(B, 3) counts of `strict`, for a bootstrap: entities found, predicted, there."""
    return counts.of_sets(*_entities(gold, predicted, lenient=False))


def conlleval_counts(gold: Tags, predicted: Tags) -> np.ndarray:
    """(B, 3) counts of `conlleval`: entities found, predicted, there."""
    return counts.of_sets(*_entities(gold, predicted, lenient=True))


def partial_counts(gold: Tags, predicted: Tags) -> np.ndarray:
    """(B, 3) counts of `partial`: entities found, predicted, there. Each predicted one is held against one gold one at
    most: 1 where both ends are right, 1/2 where the two overlap, nothing where their types differ."""
    rows = []
    for there, found in zip(*_entities(gold, predicted, lenient=False)):
        kinds = {kind for kind, _, _ in there}
        only = lambda kind, spans: [span for span in spans if span[0] == kind]
        rows.append((sum(_overlaps(only(kind, there), only(kind, found)) for kind in kinds), len(found), len(there)))
    return np.array(rows, np.float64).reshape(-1, 3)


def _entities(gold, predicted, lenient):
    for there, found in zip(gold, predicted, strict=True):
        if len(there) != len(found):
            raise ValueError(f"{len(found)} predicted tags for {len(there)} words")
    return [entities(tags, lenient) for tags in gold], [entities(tags, lenient) for tags in predicted]


def _by_type(gold, predicted):
    result = counts.scores(counts.of_sets(gold, predicted).sum(axis=0))
    for kind, sums_3 in counts.by_label(gold, predicted, lambda entity: entity[0]).items():
        result |= {f"{name}/{kind}": value for name, value in counts.scores(sums_3).items()}
    return result


def _overlaps(gold, predicted) -> float:
    """1 for each pair of equal spans and 1/2 for each that overlaps, most pairs that can be made. Spans of one list do
    not overlap, so that whatever ends first has met all that it can, and equal ones meet nothing else."""
    gold, predicted, total = list(gold), list(predicted), 0.0
    while gold and predicted:
        (_, start, end), (_, begin, stop) = gold[0], predicted[0]
        if start < stop and begin < end:
            total += 1.0 if (start, end) == (begin, stop) else 0.5
            gold.pop(0), predicted.pop(0)
        else:
            (gold if end <= stop else predicted).pop(0)
    return total
