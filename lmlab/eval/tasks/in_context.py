"""Labels told by a decoder that sees a few labelled texts in its prompt, and is not trained (Brown et al. 2020)."""

import functools

import numpy as np

from lmlab.data.features import labelled
from lmlab.decoding import in_context
from lmlab.eval.metrics import classification as metrics
from lmlab.eval.metrics import interval
from lmlab.eval.tasks import Task, by_length, classification
from lmlab.objectives import likelihood
from lmlab.utils.errors import UserError

READS = "labelled"  # the kind of examples that it is measured on


def task(lm, shots=4) -> Task:
    """The task of a decoder. A system says of each example one of the labels of the training examples. shots: how many
    of each label are shown, the first ones, in an order drawn once; TF-IDF learns from the same."""
    likelihood.check(lm)
    if shots < 0:
        raise UserError(f"--shots={shots} must be at least 0")

    def likeliest(say, train, held):
        labels = labelled.names(train)
        return [labels[c] for c in np.argmax(say(labels, few(train, shots), held), axis=1)]
    prompt = lambda labels, shown, held: in_context.probabilities(
        lm, [(one["text"], *labelled.labels_of(one["label"], "single")) for one in shown],
        [one["text"] for one in held], labels)
    linear = lambda labels, shown, held: classification.linear(labels, "single", shown, held)
    usual = lambda train, held: [max(names := _names(train), key=names.count)] * len(held)
    learned = {"TF-IDF, the same examples": functools.partial(likeliest, linear)} if shots else {}
    return Task(functools.partial(likeliest, prompt), {**learned, "majority": usual},
                lambda held: (_names(held),), STATISTICS, by_length, learns=True)


def few(train, shots) -> list[dict]:
    """The first `shots` examples of each label, in an order drawn once: one label does not stand last for all."""
    found, names = [], _names(train)
    for name in labelled.names(train):
        found += [one for one, label in zip(train, names) if label == name][:shots]
    return [found[n] for n in np.random.default_rng(0).permutation(len(found))]


def _names(examples):
    """The label of each example."""
    return [labelled.labels_of(one["label"], "single")[0] for one in examples]


def _macro_f1(known, said, gold):
    """The mean F1 of the labels that the whole set has, whatever a draw has."""
    places = {name: n for n, name in enumerate(known)}
    return metrics.scores([places[name] for name in gold], [places[name] for name in said], len(known),
                          np.ones(len(known), bool))["macro_f1"]


STATISTICS = {"accuracy": lambda said, gold: float(np.mean([a == b for a, b in zip(said, gold)])),
              "macro_f1": interval.OfWhole(_macro_f1, lambda said, gold: sorted({*said, *gold}))}
