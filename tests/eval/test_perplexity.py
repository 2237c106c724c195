"""Scores of a split against one sum by hand: a full forward pass for every token of the store."""

import math

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models, objectives
from lmlab.data import loader, store
from lmlab.data.corpus import Corpus
from lmlab.data.features import causal
from lmlab.data.tokenizers.plain import Bytes
from lmlab.eval import perplexity
from lmlab.models import transformer

LENGTH = 9
DOCUMENTS = ["The quick brown fox jumps over the lazy dog.\n", "春眠不觉晓, 处处闻啼鸟。", "a", "naïve — ok " * 4]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A token store of four documents."""
    corpus = Corpus("four", "none", ("train",), "f", {"train": 4}, lambda _: iter(DOCUMENTS))
    return store.open_split(store.prepare(corpus, Bytes(), tmp_path_factory.mktemp("store") / "tokens"), "train")


@pytest.fixture(scope="module")
def model_and_params(lively):
    """A byte model with random parameters."""
    model = models.build("transformer", vocab_size=257, context=LENGTH, width=16, layers=2, heads=2)
    return model, lively(nn.meta.unbox(transformer.init(model, jax.random.key(0))), scale=0.1)


def scored(split, model_and_params, batch, style):
    model, params = model_and_params
    batches = loader.eval_batches(causal.features(split, Bytes(), length=LENGTH, windows=style), batch=batch)
    objective = objectives.build("causal", vocab_size=257)
    return perplexity.evaluator(model, objective, batches, split.meta)(params)


@pytest.fixture(scope="module")
def by_hand(split, model_and_params):
    """style -> nats of every token of the store after the first, each from a forward pass of its own."""
    model, params = model_and_params
    forward = jax.jit(lambda tokens_BT: jax.nn.log_softmax(model.apply({"params": params}, tokens_BT)))
    tokens, ends = [int(t) for t in split.tokens[:]], split.offsets.tolist()

    def nats(style):
        total = []
        for i in range(1, len(tokens)):
            # Where the row, or the piece of the document, began that this token stands in.
            origin = 0 if style == "stream" else max(e for e in ends if e < i)
            start = origin + (i - 1 - origin) // LENGTH * LENGTH
            row = np.zeros((1, LENGTH), np.int32)
            row[0, :i - start] = tokens[start:i]
            total.append(-float(forward(row)[0, i - start - 1, tokens[i]]))
        return total
    return {style: nats(style) for style in ("stream", "packed")}


@pytest.mark.parametrize("style", ["stream", "packed"])
@pytest.mark.parametrize("batch", [1, 4, 7, 64])
def test_scores_are_one_sum_by_hand(split, model_and_params, by_hand, batch, style):
    scores, nats = scored(split, model_and_params, batch, style), by_hand[style]
    n_bytes, n_words = sum(len(d.encode()) for d in DOCUMENTS), sum(len(d.split()) for d in DOCUMENTS)
    assert scores["tokens"] == len(nats) == n_bytes + len(DOCUMENTS)
    expected = {"loss": sum(nats) / len(nats), "perplexity": math.exp(sum(nats) / len(nats)),
                "bits_per_byte": sum(nats) / math.log(2) / n_bytes, "word_perplexity": math.exp(sum(nats) / n_words)}
    assert {k: scores[k] for k in expected} == pytest.approx(expected, rel=1e-6 * (1 + sum(nats) / n_words))
    assert scores["loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_perplexity_beyond_floats_is_infinite():
    scores = perplexity.summarise({"loss": (5000.0, 10.0), "accuracy": (3.0, 10.0)}, n_bytes=100, n_words=1)
    assert scores["word_perplexity"] == math.inf and scores["perplexity"] == pytest.approx(math.exp(500))
    assert scores["accuracy"] == 0.3 and scores["bits_per_byte"] == pytest.approx(50 / math.log(2))


def test_text_without_words_or_bytes_divides_by_nothing():
    scores = perplexity.summarise({"loss": (2.0, 1.0)}, n_bytes=0, n_words=0)
    assert all(math.isfinite(x) for x in scores.values())
