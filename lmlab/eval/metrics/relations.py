"""Relations between spans, and events with their arguments: right where all of it is right."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from lmlab.eval.metrics import counts

Span = tuple[int, int]  # start and end, in characters or words


class Relation(NamedTuple):
    """The span `head` has the relation `label` to the span `tail`."""
    head: Span
    tail: Span
    label: str


class Event(NamedTuple):
    """What the words `trigger` tell of: its type, and a (span, role) of each argument."""
    trigger: Span
    type: str
    arguments: tuple[tuple[Span, str], ...]


def relations(example: dict) -> list[Relation]:
    """The relations of an example {"spans": [{"start", "end", ...}], "relations": [{"head", "tail", "label"}]}."""
    spans = [(span["start"], span["end"]) for span in example["spans"]]
    return [Relation(spans[one["head"]], spans[one["tail"]], one["label"]) for one in example["relations"]]


def scores(gold: Sequence[Collection[Relation]], predicted: Sequence[Collection[Relation]]) -> dict[str, float]:
    """{"precision", "recall", "f1", "macro_f1"} of relations, then "f1/LABEL" of each; one is right where both spans
    and the label are. macro_f1: the mean over labels that are there or were predicted."""
    labels = {f"f1/{label}": counts.f1(sums_3) for label, sums_3 in
              counts.by_label(gold, predicted, lambda relation: relation.label).items()}
    return counts.scores(relation_counts(gold, predicted).sum(axis=0)) | {
        "macro_f1": sum(labels.values()) / max(len(labels), 1)} | labels


def relation_counts(gold: Sequence[Collection[Relation]], predicted: Sequence[Collection[Relation]]) -> np.ndarray:
    """(B, 3) counts for a bootstrap of f1: relations found, predicted, there."""
    return counts.of_sets(gold, predicted)


def events_of(example: dict, heads: Collection[str]) -> list[Event]:
    """The events of an example as `relations` takes it: each span whose label is one of `heads` is what tells of one,
    each relation of which it is the head an argument."""
    spans = [(span["start"], span["end"]) for span in example["spans"]]
    return [Event(spans[place], span["label"], tuple((spans[one["tail"]], one["label"]) for one in example["relations"]
                                                     if one["head"] == place))
            for place, span in enumerate(example["spans"]) if span["label"] in heads]


def triggers(found: Collection[Event]) -> list[tuple[Span, str]]:
    """What is right of a trigger: (its span, the event's type)."""
    return [(one.trigger, one.type) for one in found]


def arguments(found: Collection[Event]) -> list[tuple[str, Span, str]]:
    """What is right of an argument: (the event's type, the argument's span, its role)."""
    return [(one.type, span, role) for one in found for span, role in one.arguments]


def events(gold: Sequence[Collection[Event]], predicted: Sequence[Collection[Event]]) -> dict[str, float]:
    """{"trigger_precision", "trigger_recall", "trigger_f1"}, where the trigger's span and the event's type are right,
    and the same of "argument", where its span, its role and the event's type are (Ji & Grishman 2008)."""
    result = {}
    for kind, parts in (("trigger", triggers), ("argument", arguments)):
        there, found = (list(map(parts, examples)) for examples in (gold, predicted))
        result |= {f"{kind}_{name}": value for name, value in
                   counts.scores(counts.of_sets(there, found).sum(axis=0)).items()}
    return result
