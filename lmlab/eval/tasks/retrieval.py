"""Search: whether the text that goes with a query is ranked before the others, by cosines of embeddings."""

import functools

import numpy as np

from lmlab import run
from lmlab.decoding import embedding
from lmlab.eval import baselines
from lmlab.eval.metrics import ranking
from lmlab.eval.tasks import Task
from lmlab.utils.errors import UserError

READS = "similar"  # the kind of examples that it is measured on
METRICS = ("recall@1", "recall@10", "mrr", "ndcg@10")


def task(lm) -> Task:
    """The task of a network that embeds texts. Each anchor is looked up among all positives and negatives of the
    examples; a system says of each example METRICS, (N, 4)."""
    by_cosine = lambda lm, queries, texts: embedding.cosines(embedding.embed(lm, queries), embedding.embed(lm, texts))
    systems = {"BM25": _bm25}
    if lm.config.init_from:
        start = run.load(lm.config.init_from)
        systems["before training"] = lambda train, *asked: by_cosine(start, *asked)
    rng = np.random.default_rng(0)
    systems["chance"] = lambda train, queries, texts: rng.random((len(queries), len(texts)))
    statistics = {name: functools.partial(_mean, column) for column, name in enumerate(METRICS)}
    return Task(lambda held: _said(lambda train, *asked: by_cosine(lm, *asked), None, held),
                {name: functools.partial(_said, score) for name, score in systems.items()}, lambda held: (), statistics,
                notes=lambda held: {"candidates": f"{len(_asked(held)[1]):,}"})


def _mean(column, said_NX):
    return float(said_NX[:, column].mean())


def _asked(examples):
    """(queries, texts, relevance_QD) of examples: of each anchor all its positives are relevant."""
    if any("anchor" not in one for one in examples):
        raise UserError("retrieval is of anchors and their positives, and these are pairs with a score; use "
                        "--task=similarity")
    texts = list(dict.fromkeys(one[role] for one in examples for role in ("positive", "negative") if role in one))
    queries, place = [one["anchor"] for one in examples], {text: n for n, text in enumerate(texts)}
    relevant = {}
    for one in examples:
        relevant.setdefault(one["anchor"], set()).add(place[one["positive"]])
    relevance_QD = np.zeros((len(queries), len(texts)))
    for n, query in enumerate(queries):
        relevance_QD[n, list(relevant[query])] = 1
    return queries, texts, relevance_QD


def _said(score, train, held):
    """The column of a system: (train, queries, texts) -> (Q, D), the higher the more relevant."""
    queries, texts, relevance_QD = _asked(held)
    found = ranking.each(relevance_QD, score(train, queries, texts), (1, 10))
    return np.stack([found[name] for name in METRICS], axis=1)


def _bm25(train, queries, texts):
    """By the words that a text shares with the query."""
    collection = list(map(baselines.terms, texts))
    return np.array([baselines.bm25(baselines.terms(query), collection, collection) for query in queries])
