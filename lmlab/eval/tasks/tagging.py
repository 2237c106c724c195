"""Tags of words: entities, or parts of speech."""

import functools
from collections import Counter

import numpy as np

from lmlab.decoding import headed, tagging
from lmlab.eval.metrics import classification, counts, interval
from lmlab.eval.metrics import tagging as metrics
from lmlab.eval.tasks import Task, by_length
from lmlab.models import crf

COUNTS = {"strict_f1": metrics.strict_counts, "conlleval_f1": metrics.conlleval_counts,
          "partial_f1": metrics.partial_counts}
SHOWN = 20  # tags that are told of one by one, the most frequent


def task(lm) -> Task:
    """The task of a model with a head for tagging: of entities where its tags are IOB2.

    What a system says of an example is compared with its tags at once, and kept as counts: the bootstrap then need not
    find the entities anew.
    """
    headed.check(lm, "tagging")
    of_entities = crf.is_iob2(lm.labels)
    compared = functools.partial(_entities if of_entities else _words, lm.labels)
    gold = lambda examples: [one["tags"] for one in examples]
    predict = lambda examples: compared(gold(examples), [said.tags for said in tagging.tag(
        lm, [one["text"] for one in examples], [one["words"] for one in examples])])
    usual = lambda train, held: compared(gold(held), most_frequent(train, held, "O" if of_entities else None))
    return Task(predict, {"most frequent tag of a word": usual}, lambda examples: (),
                ENTITIES if of_entities else WORDS, by_length,
                functools.partial(_types if of_entities else _tags, lm.labels))


def most_frequent(train, held, unknown=None) -> list[list[str]]:
    """The tags of words by what each has most often in training.

    unknown: the tag of a word that is not there; None: what is most frequent of all.
    """
    seen, overall = {}, Counter()
    for one in train:
        overall.update(one["tags"])
        for (start, end), tag in zip(one["words"], one["tags"], strict=True):
            seen.setdefault(one["text"][start:end], Counter())[tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in seen.items()}
    unknown = unknown or overall.most_common(1)[0][0]
    return [[best.get(one["text"][start:end], unknown) for start, end in one["words"]] for one in held]


def _entities(labels, gold, predicted) -> np.ndarray:
    """(N, 4 + types, 3): what is right, was said and is there of each example, by COUNTS, of words, and by `strict` of
    the entities of each type."""
    found = [count(gold, predicted) for count in COUNTS.values()]
    right = [sum(map(str.__eq__, *tags)) for tags in zip(gold, predicted, strict=True)]
    found.append(np.stack([right, *[[len(tags) for tags in gold]] * 2], axis=1))
    there, said = ([metrics.entities(tags) for tags in column] for column in (gold, predicted))
    for kind in _kinds(labels):
        only = lambda column: [[entity for entity in one if entity[0] == kind] for one in column]
        found.append(counts.of_sets(only(there), only(said)))
    return np.stack(found, axis=1)


def _kinds(labels):
    """The types of entities."""
    return sorted({label[2:] for label in labels if label != "O"})


def _f1(column):
    """A statistic of what `_entities` gives: F1 by one of its columns, which of words is their accuracy."""
    return interval.of_sums(lambda sums_X3: counts.f1(sums_X3[column]))


ENTITIES = {name: _f1(column) for column, name in enumerate([*COUNTS, "accuracy"])}


def _types(labels, said_NX3):
    """Strict F1 of each type of entity, and how many there are."""
    sums_X3 = said_NX3.sum(0)[len(ENTITIES):]
    return {kind: (sums_3[2], counts.f1(sums_3)) for kind, sums_3 in zip(_kinds(labels), sums_X3, strict=True)}


def _words(labels, gold, predicted) -> list[np.ndarray]:
    """(w, 2) of each example: the numbers of each word's tag and of the one that was said, those of tags that the model
    does not know being C and above."""
    others = {tag for tags in (*gold, *predicted) for tag in tags} - set(labels)
    numbers = {tag: number for number, tag in enumerate([*labels, *sorted(others)])}
    return [np.array([[numbers[tag] for tag in tags] for tags in pair]).T
            for pair in zip(gold, predicted, strict=True)]


def _of_words(metric):
    """A statistic of what `_words` gives."""
    def statistic(seen_C, said):
        return classification.scores(*np.concatenate(said).T, len(seen_C), seen_C)[metric]

    def known(said):
        pairs_W2 = np.concatenate(said)
        return classification.seen(*pairs_W2.T, pairs_W2.max() + 1)
    return interval.OfWhole(statistic, known)


# Where many tags are rare and yet found, the interval of macro_f1 may lie below it: in a draw that misses one it is 0.
WORDS = {metric: _of_words(metric) for metric in ("accuracy", "macro_f1")}


def _tags(labels, said):
    """Of the most frequent tags, the accuracy of the words that have each, and how many there are."""
    pairs_W2 = np.concatenate(said)
    right_W, count_C = pairs_W2[:, 0] == pairs_W2[:, 1], np.bincount(pairs_W2[:, 0], minlength=len(labels))
    most = [number for number in np.argsort(-count_C[:len(labels)], kind="stable")[:SHOWN] if count_C[number]]
    return {labels[number]: (count_C[number], right_W[pairs_W2[:, 0] == number].mean()) for number in most}
