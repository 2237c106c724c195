"""Conversations: how well their answers are predicted, and told from answers of other conversations."""

import functools
import json

import numpy as np

from lmlab.data.features import dialogue, preferences
from lmlab.eval import baselines
from lmlab.eval.metrics import ranking
from lmlab.eval.tasks import Task
from lmlab.objectives import likelihood

READS = "messages"  # the kind of examples that it is measured on
QUERIES, CANDIDATES = 50, 20  # conversations whose last answer is looked for, and among how many
_NOT_SAID = float("nan")


def task(lm) -> Task:
    """The task of a decoder that chats. A system says of each conversation: (nats, tokens) of its answers, and whether
    the first, and one of the first five, of CANDIDATES replies to its last question is the one that is there (of the
    first QUERIES conversations, chosen by the mean log-likelihood of a token, as the model or the baseline has it)."""
    likelihood.check(lm)
    return Task(functools.partial(_model, lm), {"BM25": _bm25, "unigram": functools.partial(_unigram, lm),
                                                "chance": _chance}, lambda examples: (), STATISTICS)


def _mean(column):
    """A statistic: the mean of a column over the conversations that it says something of."""
    def statistic(said_NX):
        known = said_NX[~np.isnan(said_NX[:, column]), column]
        return float(known.mean()) if len(known) else _NOT_SAID
    return statistic


def _loss(said_NX):
    nats, tokens = said_NX[:, :2].sum(0)
    return float(nats / tokens) if tokens else _NOT_SAID


STATISTICS = {"recall@1": _mean(2), "recall@5": _mean(3), "loss": _loss,
              "perplexity": lambda said_NX: float(np.exp(min(_loss(said_NX), 700)))}


def queries(examples) -> list[tuple[list[dict], list[str]]]:
    """(the messages before the last answer, replies, the true one first) of the first conversations that have one."""
    last = [next((i for i in reversed(range(1, len(one["messages"]))) if one["messages"][i]["role"] == "assistant"), 0)
            for one in examples]
    known = {number: one["messages"][i]["content"] for number, (one, i) in enumerate(zip(examples, last)) if i}
    pool, rng = np.array(sorted(set(known.values())), object), np.random.default_rng(0)
    found = []
    for number in list(known)[:QUERIES]:
        others = pool[pool != known[number]]
        drawn = rng.permutation(len(others))[:CANDIDATES - 1]
        found.append((examples[number]["messages"][:last[number]], [known[number], *others[drawn]]))
    return found


def _said(examples, sums_N2, scores):
    """The column of a system, from its (nats, tokens) of each conversation and its scores of each query's replies."""
    asked = [number for number, one in enumerate(examples)
             if any(message["role"] == "assistant" for message in one["messages"][1:])][:QUERIES]
    said_N4 = np.full((len(examples), 4), _NOT_SAID)
    said_N4[:, :2] = sums_N2
    for number, each in zip(asked, scores, strict=True):
        true = np.eye(1, len(each))
        found = ranking.scores(true, np.asarray(each)[None], (1, 5))
        said_N4[number, 2:] = found["recall@1"], found["recall@5"]
    return said_N4


def _texts(lm, examples):
    """Of each conversation the texts in which its answers are learned."""
    length = min(lm.config.train.length or lm.model.spec.context, lm.model.spec.context)
    return [dialogue.fitting(lm.tokenizer, one["messages"], length)[0] for one in examples]


def _replies(lm, examples):
    """Of each query its replies as texts."""
    return [[preferences.answer(lm.tokenizer, json.dumps(before), reply) for reply in replies]
            for before, replies in queries(examples)]


def _grouped(values, groups):
    """values, one for each member of the groups, cut into their groups."""
    return np.split(np.asarray(values), np.cumsum([len(group) for group in groups])[:-1])


def _by_texts(lm, examples, sums):
    """The column of a system that gives (log p, tokens) of texts."""
    texts, replies = _texts(lm, examples), _replies(lm, examples)
    sums_N2 = [part.sum(0) * (-1, 1) for part in _grouped(sums(sum(texts, [])), texts)]
    scores = [part[:, 0] / np.maximum(part[:, 1], 1) for part in _grouped(sums(sum(replies, [])), replies)]
    return _said(examples, np.array(sums_N2), scores if replies else [])


def _model(lm, examples):
    return _by_texts(lm, examples, functools.partial(likelihood.of_texts, lm))


def _unigram(lm, train, held):
    """How often each token stands in the training answers, one added: it knows no question."""
    count_V = np.ones(lm.model.spec.vocab_size)
    for text in sum(_texts(lm, train), []):
        np.add.at(count_V, text.ids[text.weights > 0], 1)
    log_p_V = np.log(count_V / count_V.sum())
    return _by_texts(lm, held, lambda texts: np.array(
        [(log_p_V[text.ids[text.weights > 0]].sum(), text.weights.sum()) for text in texts]).reshape(-1, 2))


def _bm25(train, held):
    """By the words that a reply shares with the conversation so far."""
    terms = baselines.terms
    replies = [terms(message["content"]) for one in train for message in one["messages"]
               if message["role"] == "assistant"]
    scores = [baselines.bm25(terms(" ".join(message["content"] for message in before)), list(map(terms, candidates)),
                             replies) for before, candidates in queries(held)]
    return _said(held, _NOT_SAID, scores)


def _chance(train, held):
    rng = np.random.default_rng(0)
    return _said(held, _NOT_SAID, [rng.random(len(replies)) for _, replies in queries(held)])
