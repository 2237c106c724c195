"""Tags of words: many texts as each alone, long texts by their windows, entities where they stand."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from lmlab import models, run
from lmlab.adapt import heads
from lmlab.data.features import tagged
from lmlab.data.formats.tagged import words_of
from lmlab.data.tokenizers import extend, plain
from lmlab.decoding import tagging
from lmlab.eval.metrics import tagging as metrics
from lmlab.utils.errors import UserError

ENTITIES, SPEECH = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O"), ("NN", "VB", "IN")
TEXTS = ["Anna saw Oslo.", "", "春天在北京!", "words " * 30, " \n", "one, two; three"]
TOKENIZER = extend(plain.Bytes(), ["cls"])


@pytest.fixture(scope="session")
def tagger(lively):
    """(labels, crf) -> a random tagger over bytes, of at most 24 tokens."""
    def made(labels, crf):
        body = models.build("transformer", vocab_size=TOKENIZER.vocab_size, context=24, width=16, layers=1, heads=2,
                            ff=32, attends="full", head_bias=False)
        model = heads.Headed(body, outputs=len(labels), pool="", crf=crf)
        params = lively(nn.meta.unbox(jax.jit(lambda: heads.init(model, jax.random.key(0)))()), scale=0.4)
        config = ConfigDict({"train": {"length": 0}, "objective": {"name": "tagging"}})
        return run.LM(model, params, TOKENIZER, config, 0, labels)
    return made


def scores_of(lm, text):
    """The scores_WC of a text's words, each from a run of the network over its window alone."""
    rows = []
    for window in tagged.windows_of(lm.tokenizer, [text], [words_of(text)], 24):
        x_TC = lm.model.apply({"params": lm.params}, window.encoded.ids[None])[0]
        rows.extend(np.asarray(x_TC)[window.encoded.places])
    return np.array(rows).reshape(-1, len(lm.labels))


@pytest.mark.parametrize("labels, crf", [*itertools.product((ENTITIES, SPEECH), (False, True))])
def test_many_texts_are_told_as_each_alone(labels, crf, tagger):
    lm = tagger(labels, crf)
    together = tagging.tag(lm, TEXTS)
    for text, said in zip(TEXTS, together, strict=True):
        alone, = tagging.tag(lm, [text])
        assert said.words == alone.words == [tuple(word) for word in words_of(text)] and said.tags == alone.tags
        assert len(said.words) == len(said.tags) == len(said.probabilities)
        np.testing.assert_allclose(said.probabilities, alone.probabilities, atol=1e-5)
    assert tagging.tag(lm, []) == [] and len(together[3].words) == 30


def test_of_words_one_by_one_it_is_the_likeliest_tag(tagger):
    lm = tagger(SPEECH, False)
    for text, said in zip(TEXTS, tagging.tag(lm, TEXTS)):
        scores = scores_of(lm, text)
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        assert said.tags == [SPEECH[best] for best in p.argmax(1)]
        np.testing.assert_allclose(said.probabilities, p.max(1, initial=0), atol=1e-5)


@pytest.mark.parametrize("crf", [False, True])
def test_entities_are_the_likeliest_that_there_can_be(crf, tagger):
    """Against all sequences that IOB2 allows, one by one."""
    lm = tagger(ENTITIES, crf)
    transitions = lm.params["task_transitions"] if crf else np.zeros((7, 5))
    for text in ("Anna saw Oslo.", "春天在北京!", "x"):
        scores, best = scores_of(lm, text), {}
        for tags in itertools.product(range(5), repeat=len(scores)):
            names = [ENTITIES[tag] for tag in tags]
            if any(b[0] == "I" and a[1:] != b[1:] for a, b in itertools.pairwise(["O", *names])):
                continue
            best[tags] = (scores[np.arange(len(tags)), tags].sum() + transitions[5, tags[0]] + transitions[6, tags[-1]]
                          + sum(transitions[a, b] for a, b in itertools.pairwise(tags)))
        likeliest = max(best, key=best.get)
        said, = tagging.tag(lm, [text])
        assert said.tags == [ENTITIES[tag] for tag in likeliest]
        p = {tags: np.exp(score - best[likeliest]) for tags, score in best.items()}
        expected = [sum(x for tags, x in p.items() if tags[place] == likeliest[place]) / sum(p.values())
                    for place in range(len(likeliest))]
        np.testing.assert_allclose(said.probabilities, expected, atol=1e-4)


def test_entities_stand_where_the_measure_finds_them(tagger):
    found = 0
    for text, said in zip(TEXTS, tagging.tag(tagger(ENTITIES, True), TEXTS)):
        entities = tagging.entities(said)
        assert [(one.label, one.start, one.end) for one in entities] == [
            (kind, said.words[first][0], said.words[after - 1][1])
            for kind, first, after in metrics.entities(said.tags)]
        assert all(text[one.start:one.end].strip() == text[one.start:one.end] != "" for one in entities)
        found += len(entities)
    assert found > 3


def test_words_may_be_given(tagger):
    lm = tagger(SPEECH, False)
    said, = tagging.tag(lm, ["Anna saw"], [[[0, 2], [2, 4], [5, 8]]])
    assert said.words == [(0, 2), (2, 4), (5, 8)]
    ids = [TOKENIZER.specials["cls"], *b"Anna saw", TOKENIZER.eod]
    x_TC = lm.model.apply({"params": lm.params}, np.array([ids]))[0]
    assert said.tags == [SPEECH[i] for i in np.asarray(x_TC)[[1, 3, 6]].argmax(1)]


def test_a_model_without_a_head_is_refused(tagger):
    with pytest.raises(UserError, match="no head for a task"):
        tagging.tag(dataclasses.replace(tagger(SPEECH, False), labels=None), ["x"])
