"""Preferences between answers: how often the network tells the better one, and how far it is from where it began."""

import functools

import numpy as np

from lmlab import run
from lmlab.data.features import preferences
from lmlab.eval.tasks import Task
from lmlab.objectives import likelihood

READS = "preferences"  # the kind of examples that it is measured on
_NOT_SAID = float("nan")


def task(lm) -> Task:
    """The task of a decoder that learned from preferences. A system says of each pair of answers (score, KL): above 0
    the chosen one is the better; of examples with one answer each, how good it is. KL: of the model's predictions from
    those of the network that training began from, a mean over the tokens of the first answer, in nats."""
    likelihood.check(lm)
    start = run.load(lm.config.init_from) if lm.config.init_from else None
    began = _once(lambda texts: likelihood.of_texts(start, texts)) if start is not None else None
    systems = {"longer answer": lambda train, held: _column(_longer(held), _NOT_SAID)}
    if start is not None:
        systems["before training"] = lambda train, held: _column(_scores(lm, began, None, held), 0.0)
    return Task(functools.partial(_model, lm, start, began), systems, _gold, {"accuracy": _accuracy, "kl": _kl})


def _alone(examples):
    """Whether they are answers by themselves, and no pairs."""
    return any("chosen" not in one for one in examples)


def _compared(examples):
    return preferences.compared(examples, "kto" if _alone(examples) else "dpo")


def _gold(examples):
    """One column: whether an answer is good; for pairs None."""
    return ([one.get("good") for one in _compared(examples)],)


def _accuracy(said_N2, gold):
    """The share of pairs that are told right; of single answers, of all pairs of a good and another one (the area under
    the curve: Hanley & McNeil 1982). What is the same counts half."""
    score_N = said_N2[:, 0]
    if gold[0] is None:
        return float((np.sign(score_N) / 2 + 0.5).mean())
    good_N = np.array(gold, bool)
    apart = np.sign(score_N[good_N][:, None] - score_N[~good_N])
    return float((apart / 2 + 0.5).mean()) if apart.size else _NOT_SAID


def _kl(said_N2, gold):
    return float(said_N2[:, 1].mean())


def _column(score_N, kl_N):
    return np.stack([score_N, np.broadcast_to(kl_N, len(score_N))], -1).astype(float)


def _longer(examples):
    """The characters that the chosen answer has more than the rejected one, or that an answer has."""
    return [len(one["completion"]) if "completion" in one else len(one["chosen"]) - len(one["rejected"])
            for one in _compared(examples)]


def _answers(lm, examples):
    """Of each pair of answers, or each answer alone, its texts."""
    kind = "kto" if _alone(examples) else "dpo"
    texts = preferences.answers(lm.tokenizer, _compared(examples), kind, "the examples")
    return [pair[:1] if kind == "kto" else pair for pair in texts]


def _once(function):
    """The function, which remembers what it gave last: two systems ask the same of a large network."""
    asked, found = None, None

    def remembered(texts):
        nonlocal asked, found
        key = [text.ids.tobytes() for text in texts]
        if key != asked:
            asked, found = key, function(texts)
        return found
    return remembered


def _scores(lm, say, against, examples):
    """(N,): the log-likelihood of an answer less that by `against`; without one, per token. Of pairs the difference.
    say, against: texts -> what likelihood.of_texts gives."""
    texts = _answers(lm, examples)
    flat = [text for pair in texts for text in pair]
    sums = say(flat)
    each = sums[:, 0] / np.maximum(sums[:, 1], 1)
    if against is not None:
        each = sums[:, 0] - against(flat)[:, 0]
    each = each.reshape(len(texts), -1)
    return each[:, 0] if each.shape[1] == 1 else each[:, 0] - each[:, 1]


def _model(lm, start, began, examples):
    """By what the objective makes larger: for orpo, and without a start, the mean log-likelihood of a token."""
    against = None if lm.config.objective.get("kind", "orpo") == "orpo" else began
    kl_N = _NOT_SAID if start is None else likelihood.divergences(
        lm, start, [pair[0] for pair in _answers(lm, examples)])
    return _column(_scores(lm, functools.partial(likelihood.of_texts, lm), against, examples), kl_N)
