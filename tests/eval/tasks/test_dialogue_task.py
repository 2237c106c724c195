"""The report on conversations: the loss of the objective, and replies told apart, with the baselines by hand."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models, objectives, run
from lmlab.data import loader, tokenizers
from lmlab.data.examples import Split
from lmlab.data.features import dialogue as features
from lmlab.data.tokenizers import extended, plain
from lmlab.eval import tasks
from lmlab.eval.tasks import dialogue
from lmlab.models import transformer

TOKENIZER = tokenizers.chatting(tokenizers.extend(plain.Bytes(), extended.SPEAKERS))
WORDS = [f"{a}{b}o" for a in "bcdfglm" for b in "aei"]


def talk(*said):
    """An example of what two say in turn."""
    return {"messages": [{"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(said)]}


HELD = [talk("hi", "ho", f"what is {word}", f"this is {word}") if n % 3 else talk(f"say {word}", f"{word} it is")
        for n, word in enumerate(WORDS)] + [talk("nobody answers")]
TRAIN = [talk("hi", "this is it"), talk("what", "it is a toy")]


@pytest.fixture(scope="module")
def lm(lively):
    """A random model that chats."""
    model = models.build("transformer", vocab_size=TOKENIZER.vocab_size, context=64, width=8, layers=1, heads=2)
    params = lively(nn.meta.unbox(jax.jit(lambda key: transformer.init(model, key))(jax.random.key(0))))
    config = run.complete({"model": {"name": "transformer"}, "objective": {"name": "dialogue"}}, {})
    return run.LM(model, params, TOKENIZER, config, 0)


def test_every_query_has_the_true_reply_first_and_others_once():
    found = dialogue.queries(HELD)
    assert len(found) == len(WORDS)
    for (before, replies), one in zip(found, HELD):
        assert [*before, {"role": "assistant", "content": replies[0]}] == one["messages"]
        assert len(replies) == len(set(replies)) == dialogue.CANDIDATES and replies[0] not in replies[1:]


def test_the_report(lm):
    report = tasks.measure(tasks.find("dialogue").task(lm), TRAIN, HELD)
    rows = features.features(Split(HELD, {"name": "talk"}, "test"), TOKENIZER, length=64, windows="packed")
    sums = [objectives.build("dialogue", vocab_size=TOKENIZER.vocab_size)(lm.model.apply, lm.params, batch)[0]["loss"]
            for batch in loader.eval_batches(rows, batch=4)]
    loss = sum(float(nats) for nats, _ in sums) / sum(float(count) for _, count in sums)
    model = report["model"]
    assert model["loss"]["value"] == pytest.approx(loss, rel=1e-4)
    assert model["loss"]["low"] < loss < model["loss"]["high"]
    assert model["perplexity"]["value"] == pytest.approx(np.exp(loss), rel=1e-3)
    assert report["baselines"]["BM25"]["recall@1"]["value"] == 1  # the word of the question is in its answer alone
    assert np.isnan(report["baselines"]["BM25"]["loss"]["value"]) and "–" in tasks.table(report)
    assert report["baselines"]["chance"]["recall@1"]["value"] < 0.5 and report["examples"] == len(HELD)
    assert report["difference"]["recall@1"]["BM25"]["value"] == model["recall@1"]["value"] - 1


def test_the_unigram_is_a_count_of_what_is_answered(lm):
    said = dialogue._unigram(lm, TRAIN, HELD)
    text = b"".join(answer + b"\xff" for answer in (b"this is it", b"it is a toy"))
    nats_of = lambda byte: -np.log((text.count(bytes([byte])) + 1) / (len(text) + TOKENIZER.vocab_size))
    answer = f"this is {WORDS[1]}".encode() + b"\xff"
    assert said[1, :2] == pytest.approx([sum(map(nats_of, answer + b"ho\xff")), len(answer) + 3])
    assert said[-1].tolist()[:2] == [0, 0] and np.isnan(said[-1, 2:]).all()


def test_a_reply_is_found_where_it_has_the_highest_score(lm):
    replies = dialogue._replies(lm, HELD)
    places = [2 * number % 8 for number in range(len(replies))]  # how many others have a higher score
    scores = [[-place, *(-0.5 - np.arange(len(each) - 1))] for place, each in zip(places, replies)]
    said = dialogue._said(HELD, 0, scores)
    known = said[~np.isnan(said[:, 2])]
    assert known[:, 2].tolist() == [place < 1 for place in places]
    assert known[:, 3].tolist() == [place < 5 for place in places]


def test_a_conversation_longer_than_the_context_is_measured_in_pieces(lm):
    long = [talk(*sum((["a" * 9, "b" * 9] for _ in range(8)), []))]
    report = tasks.measure(tasks.find("dialogue").task(lm), TRAIN, long)
    assert np.isfinite(report["model"]["loss"]["value"])
