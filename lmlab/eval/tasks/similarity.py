"""Similarity: whether pairs of texts that people find alike have embeddings that are, by rank."""

import numpy as np

from lmlab import run
from lmlab.decoding import embedding
from lmlab.eval import baselines
from lmlab.eval.metrics import correlation
from lmlab.eval.tasks import Task
from lmlab.utils.errors import UserError

READS = "similar"  # the kind of examples that it is measured on


def task(lm) -> Task:
    """The task of a network that embeds texts. A system says of each pair how alike the two are, (N,)."""
    systems = {"words shared": lambda train, held: _shared(held)}
    if lm.config.init_from:
        start = run.load(lm.config.init_from)
        systems["before training"] = lambda train, held: _cosines(start, held)
    return Task(lambda held: _cosines(lm, held), systems, lambda held: (np.array([one["score"] for one in held]),),
                {name: lambda said_N, gold_N, of=of: of(gold_N, said_N) for name, of in
                 (("spearman", correlation.spearman), ("pearson", correlation.pearson))})


def _pairs(examples):
    """The first and the second texts."""
    if any("score" not in one for one in examples):
        raise UserError("similarity is of pairs with a score, and these are anchors and their positives; use "
                        "--task=retrieval")
    return [one["first"] for one in examples], [one["second"] for one in examples]


def _cosines(lm, examples):
    first_ND, second_ND = (embedding.embed(lm, texts) for texts in _pairs(examples))
    return np.array([embedding.cosines(a_D[None], b_D[None])[0, 0] for a_D, b_D in zip(first_ND, second_ND)])


def _shared(examples):
    """The share of the words of both texts that stand in both (Jaccard 1901)."""
    sets = ((set(baselines.terms(a)), set(baselines.terms(b))) for a, b in zip(*_pairs(examples)))
    return np.array([len(a & b) / max(1, len(a | b)) for a, b in sets])
