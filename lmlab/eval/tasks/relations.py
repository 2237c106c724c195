"""Relations between spans of texts; and events, which are relations of the words that tell of them to their arguments."""

import functools
from collections import Counter

import numpy as np

from lmlab import run
from lmlab.data.features.relations import pairs
from lmlab.decoding import relations as decoding
from lmlab.decoding import tagging
from lmlab.eval.metrics import counts, interval
from lmlab.eval.metrics import relations as metrics
from lmlab.eval.tasks import Task, by_length


def task(lm, spans="") -> Task:
    """The task of a model with a head for relations: of events where config.objective.heads names what tells of them.

    What a system says of an example is compared with it at once and kept as counts, (1 + C, 3): of its spans (of events
    their triggers), then of each relation; the negative one, config.objective.none, is none of them.

    spans: a run, trained for tagging on the same texts, that finds the spans; "": they are given.
    """
    finder = run.load(spans) if spans else None
    find = lambda examples: [one["spans"] for one in examples] if finder is None else [
        [{"start": one.start, "end": one.end, "label": one.label} for one in tagging.entities(said)]
        for said in tagging.tag(finder, [one["text"] for one in examples])]
    ask = lambda examples: [(one["text"], found) for one, found in zip(examples, find(examples), strict=True)]

    def compared(examples, asked, said):
        predicted = [{"spans": found, "relations": each} for (_, found), each in zip(asked, said, strict=True)]
        return _counts(lm, examples, predicted)

    def predict(examples):
        asked = ask(examples)
        return compared(examples, asked, decoding.relations(lm, asked))

    def baseline(rule, train, examples):
        asked = ask(examples)
        return compared(examples, asked, rule(train, asked, lm.config.objective))

    baselines = {name: functools.partial(baseline, rule) for name, rule in RULES.items()}
    kind = "argument_" if lm.config.objective.heads else ""
    statistics = {f"{kind}f1": _f1, f"{kind}macro_f1": _macro_f1}
    if finder is not None:
        statistics["trigger_f1" if kind else "span_f1"] = interval.of_sums(lambda sums_X3: counts.f1(sums_X3[0]))
    how = f"found by {spans}" if spans else "as they are given, so that no trigger or entity is missed"
    return Task(predict, baselines, lambda examples: (), statistics, by_length, functools.partial(_parts, lm.labels[1:]),
                notes=lambda examples: {"spans": how})


_f1 = interval.of_sums(lambda sums_X3: counts.f1(sums_X3[1:].sum(0)))


@interval.of_sums
def _macro_f1(sums_X3):
    """The mean F1 of the relations that are there or were predicted."""
    each = [counts.f1(sums_3) for sums_3 in sums_X3[1:] if sums_3.any()]
    return float(np.mean(each)) if each else 0.0


def _counts(lm, gold, predicted) -> np.ndarray:
    """(N, 1 + C, 3). Relations that the model does not know are those of one more label."""
    none, heads = lm.config.objective.none, [label for label in lm.config.objective.heads.split("|") if label]

    def things(example):
        """(its spans, {label: its relations})."""
        example = example | {"relations": [one for one in example["relations"] if one["label"] != none]}
        if heads:
            events = metrics.events_of(example, heads)
            spans, related = metrics.triggers(events), metrics.arguments(events)
        else:
            spans = [(span["start"], span["end"], span["label"]) for span in example["spans"]]
            related = metrics.relations(example)
        return spans, [[one for one in related if (one[-1] if one[-1] in known else "") == label] for label in [*known, ""]]

    known = lm.labels[1:]
    columns = [[things(one) for one in examples] for examples in (gold, predicted)]
    parts = [counts.of_sets(*([spans for spans, _ in column] for column in columns))]
    parts += [counts.of_sets(*([related[c] for _, related in column] for column in columns)) for c in range(len(known) + 1)]
    return np.stack(parts, axis=1)


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


def _usual(key, certain, train, asked, objective) -> list[list[dict]]:
    """Of each pair the relation that pairs of its key have most often in training, none where the key is new.

    certain: none is said only where no pair of the key has a relation.
    """
    seen = {}
    for example in train:
        right = {(one["head"], one["tail"]): one["label"] for one in example["relations"]}
        for pair in pairs(example["spans"], objective.heads):
            seen.setdefault(key(example["text"], example["spans"], *pair), Counter())[right.get(pair, objective.none)] += 1
    best = {}
    for name, found in seen.items():
        found = {label: count for label, count in found.items() if label != objective.none} if certain else found
        best[name] = max(found, key=found.get, default=objective.none)
    told = lambda text, spans: [{"head": head, "tail": tail, "label": best.get(key(text, spans, head, tail), objective.none)}
                                for head, tail in pairs(spans, objective.heads)]
    return [told(*one) for one in asked]


RULES = {"majority by labels": functools.partial(_usual, _labels, True),
         "labels and words between": functools.partial(_usual, _between, False)}
