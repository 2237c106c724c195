"""Which of a question's choices is right."""

import functools

import numpy as np

from lmlab.decoding import multiple_choice
from lmlab.eval import overlap
from lmlab.eval.tasks import Task

READS = "choices"  # the kind of examples that it is measured on


def task(lm) -> Task:
    """The task of a model with a head for multiple choice, or of a decoder as it is. What a system says of a question
    is the number of a choice; of equal ones the first."""
    predict = lambda examples: np.array([p_C.argmax() for p_C in multiple_choice.probabilities(lm, examples)], int)
    return Task(predict, {"longest choice": functools.partial(_most, _length), "word overlap": functools.partial(
        _most, _overlap)}, lambda examples: (np.array([one["answer"] for one in examples], int),),
        {"accuracy": lambda said_N, right_N: float((said_N == right_N).mean())}, _slices)


def _most(score, train, held):
    """The choice that has most of something; learns nothing."""
    return np.array([np.argmax([score(one, choice) for choice in one["choices"]]) for one in held], int)


def _length(_, choice):
    """Its characters."""
    return len(choice)


def _overlap(example, choice):
    """The share of its words that stand in the question or the context."""
    return overlap.shared(choice, f"{example.get('context', '')} {example['question']}")


def _slices(examples):
    """The questions whose right choice is the longest, and the others; those of each number of choices, where it
    differs."""
    right = np.array([one["answer"] for one in examples], int)
    longest, counts = _most(_length, [], examples) == right, np.array([len(one["choices"]) for one in examples])
    slices = {"the longest is right": np.flatnonzero(longest), "another is right": np.flatnonzero(~longest)}
    if len(set(counts.tolist())) > 1:
        slices |= {f"{count} choices": np.flatnonzero(counts == count) for count in sorted(set(counts.tolist()))}
    return slices
