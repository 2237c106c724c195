"""Relations between spans of texts; events, which are relations of the words that tell of them to their arguments."""

import functools
from collections import Counter

import numpy as np

from lmlab import run
from lmlab.data.features.relations import pairs
from lmlab.decoding import headed, tagging
from lmlab.decoding import relations as decoding
from lmlab.eval.metrics import counts, interval
from lmlab.eval.metrics import relations as metrics
from lmlab.eval.tasks import Task, by_length
from lmlab.utils.errors import UserError


def task(lm, spans="") -> Task:
    """The task of a model with a head for relations: of events where config.objective.heads names what tells of them.

    What a system says of an example is compared with it at once and kept as counts, (C + 1, 3): of its spans (of events
    their triggers), of each relation but none, and of those that the model does not know.

    spans: a run, trained for tagging on the same texts, that finds the spans; "": they are given.
    """
    headed.check(lm, "relations")
    objective, finder = lm.config.objective, _finder(lm, spans) if spans else None

    def compared(examples, rule):
        asked = [(one["text"], one["spans"]) for one in examples]
        if finder:
            texts = [one["text"] for one in examples]
            asked = [(text, [{"start": one.start, "end": one.end, "label": one.label}
                             for one in tagging.entities(said)])
                     for text, said in zip(texts, tagging.tag(finder, texts), strict=True)]
        return _counts(lm, examples, [{"spans": found, "relations": said}
                                      for (_, found), said in zip(asked, rule(asked), strict=True)])

    def baseline(key, certain):
        return lambda train, held: compared(held, functools.partial(_usual, key, certain, train, objective))
    kind = "argument_" if objective.heads else ""
    statistics = {f"{kind}f1": _f1, f"{kind}macro_f1": _macro_f1}
    if finder:
        statistics["trigger_f1" if kind else "span_f1"] = interval.of_sums(lambda sums_X3: counts.f1(sums_X3[0]))
    return Task(lambda held: compared(held, functools.partial(decoding.relations, lm)),
                {"majority by labels": baseline(_labels, True), "labels and words between": baseline(_between, False)},
                lambda held: (), statistics, by_length, functools.partial(_parts, lm.labels[1:]),
                notes=lambda held: {"spans": f"found by {spans}" if spans else "given, none to be found"})


def _finder(lm, folder):
    """The model of a run that finds spans; UserError where its training text may be what is measured here."""
    finder = run.load(folder)
    headed.check(finder, "tagging")
    for name in ("validation", "test", "folds", "fold"):
        if finder.config.data[name] != lm.config.data[name]:
            raise UserError(f"{folder} was trained with config.data.{name}={finder.config.data[name]}, and this run "
                            f"with {lm.config.data[name]}, so that it may have seen what is held out; train it with "
                            "the same")
    return finder


_f1 = interval.of_sums(lambda sums_X3: counts.f1(sums_X3[1:].sum(0)))


@interval.of_sums
def _macro_f1(sums_X3):
    """The mean F1 of the relations that are there or were predicted."""
    each = [counts.f1(sums_3) for sums_3 in sums_X3[1:] if sums_3.any()]
    return float(np.mean(each)) if each else 0.0


def _counts(lm, gold, predicted) -> np.ndarray:
    """(N, C + 1, 3): what is right, was said and is there."""
    columns = [[_things(lm, one) for one in examples] for examples in (gold, predicted)]
    return np.stack([counts.of_sets(*([one[x] for one in column] for column in columns))
                     for x in range(len(lm.labels) + 1)], axis=1)


def _things(lm, example) -> list[list]:
    """An example's spans, its relations by their label, and those that the model does not know."""
    none, heads = lm.config.objective.none, lm.config.objective.heads
    example = example | {"relations": [one for one in example["relations"] if one["label"] != none]}
    if heads:
        events = metrics.events_of(example, heads.split("|"))
        spans, related = metrics.triggers(events), metrics.arguments(events)
    else:
        spans = [tuple(span.values()) for span in example["spans"]]
        related = metrics.relations(example)
    known = lm.labels[1:]
    return [spans, *([one for one in related if one[-1] == label] for label in known),
            [one for one in related if one[-1] not in known]]


def _parts(labels, said_NX3):
    """F1 of each relation, and how many there are."""
    return {label: (sums_3[2], counts.f1(sums_3)) for label, sums_3 in zip(labels, said_NX3.sum(0)[1:])}


def _labels(text, spans, head, tail):
    """The labels of two spans, and which of them stands first."""
    return spans[head]["label"], spans[tail]["label"], spans[head]["start"] < spans[tail]["start"]


def _between(text, spans, head, tail):
    """These, and what stands between the two spans."""
    first, second = sorted((spans[head], spans[tail]), key=lambda span: span["start"])
    return *_labels(text, spans, head, tail), text[first["end"]:second["start"]].strip()


def _usual(key, certain, train, objective, asked) -> list[list[dict]]:
    """Of each pair of spans the relation that pairs of its key have most often in training, none where the key is new.

    certain: none is said only where no pair of the key has a relation.
    """
    seen = {}
    for example in train:
        right = {(one["head"], one["tail"]): one["label"] for one in example["relations"]}
        for pair in pairs(example["spans"], objective.heads):
            name = key(example["text"], example["spans"], *pair)
            seen.setdefault(name, Counter())[right.get(pair, objective.none)] += 1
    best = {}
    for name, found in seen.items():
        found = {label: count for label, count in found.items() if label != objective.none} if certain else found
        best[name] = max(found, key=found.get, default=objective.none)
    return [[{"head": head, "tail": tail, "label": best.get(key(text, spans, head, tail), objective.none)}
             for head, tail in pairs(spans, objective.heads)] for text, spans in asked]
