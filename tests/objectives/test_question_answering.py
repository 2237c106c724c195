"""Starts and ends of answers: the loss written out window by window, and packed windows as if each were alone."""

import jax
import numpy as np
import pytest

import asking
from lmlab import models, objectives
from lmlab.data.features import questions
from lmlab.objectives import question_answering
from lmlab.utils.errors import UserError

LOSS, PLAIN = objectives.build("question_answering"), asking.CONTEXTS["plain"]
FOUND = [asking.question(PLAIN, 23, 35), asking.question(PLAIN), asking.question("Ada", 0, 3),
         asking.question("in 1843", 3, 7)]


@pytest.fixture(scope="module")
def lm(lively):
    return asking.model("question_answering", asking.tokenizer("bytes"), lively)


def batch(windows, padding=0):
    """All rows of the windows of FOUND, and some of padding."""
    rows = questions.features(asking.split(FOUND), asking.tokenizer("bytes"), length=64, windows=windows, stride=20)
    numbers = np.append(np.arange(rows.count), np.full(padding, -1))
    return rows.make(numbers, np.zeros_like(numbers), 0)


def told(lm, batch):
    terms, metrics = jax.jit(lambda *args: LOSS(lm.model.apply, *args))(lm.params, batch)
    assert set(terms) == {"loss"} and set(metrics) == {"accuracy"}
    return [float(x) for x in (*terms["loss"], *metrics["accuracy"])]


def by_hand(lm):
    """[sum of nats, windows, exactly right, windows], each window alone in a row."""
    nats, right, count = 0.0, 0, 0
    windows = questions.cut(asking.tokenizer("bytes"), [one["question"] for one in FOUND],
                            [one["context"] for one in FOUND], 64, 20)
    for window in windows:
        gold = FOUND[window.question]["answers"]
        place = questions.place(window, gold[0]["start"], gold[0]["start"] + len(gold[0]["text"])) if gold else (0, 0)
        logits = asking.alone(lm, window.encoded.ids, window.encoded.types)
        log_p = logits - np.log(np.exp(logits).sum(0))
        nats -= (log_p[place[0], 0] + log_p[place[1], 1]) / 2
        right += tuple(log_p.argmax(0)) == place
        count += 1
    return [nats, count, right, count]


def test_the_loss_is_that_of_each_window_alone_however_they_are_packed(lm):
    expected = by_hand(lm)
    assert expected[1] == 6  # a row has room for 57 of PLAIN's 83 characters: two windows, twice
    for windows, padding in (("stream", 0), ("packed", 0), ("packed", 3)):
        assert told(lm, batch(windows, padding)) == pytest.approx(expected, rel=1e-5)
    assert batch("packed")["tokens"].shape[0] < batch("stream")["tokens"].shape[0]


def test_what_is_exactly_right_is_counted(lm):
    """Where the targets are what the network says, all is right; with one end off, all but one."""
    made = batch("packed")
    states = lm.model.apply({"params": lm.params}, made["tokens"], made["segments"], made["positions"],
                            types_BT=made["types"], method="hidden")
    logits = np.asarray(lm.model.apply({"params": lm.params}, states, made["segments"], 1, method="score"))
    for b, k in np.argwhere(made["weights"]):
        mine = logits[b, made["segments"][b] == k + 1]
        made["start"][b, k], made["end"][b, k] = mine.argmax(0)
    total, count, right, _ = told(lm, made)
    assert right == count == 6
    made["end"][0, 0] += 1
    assert told(lm, made)[2] == 5 and told(lm, made)[0] > total


def test_rows_of_padding_have_finite_gradients(lm):
    total = lambda params: LOSS(lm.model.apply, params, batch("packed", 2))[0]["loss"][0]
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(total))(lm.params)))


def test_as_transformers(lm):
    """The mean over windows is the loss that transformers' models report."""
    torch = pytest.importorskip("torch")
    windows = batch("stream")
    each = []
    for b in range(len(windows["tokens"])):
        size = windows["segments"][b].sum()
        logits = torch.tensor(asking.alone(lm, windows["tokens"][b, :size], windows["types"][b, :size]))
        each += [torch.nn.functional.cross_entropy(logits[None, :, k], torch.tensor(windows[name][b].astype(np.int64)))
                 for k, name in enumerate(("start", "end"))]
    total, count, *_ = told(lm, windows)
    assert total / count == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)


@pytest.mark.parametrize("spec, settings, message", [
    (dict(attends="causal"), {}, "attends='causal' does not go with config.objective.name='question_answering'"),
    (dict(attends="full"), dict(stride=-1), "config.objective.stride=-1 must be from 0"),
    (dict(attends="full", generator=0.5), {}, "config.model.generator=0.5 does not go")])
def test_what_cannot_learn_it_is_refused(spec, settings, message):
    with pytest.raises(UserError, match=message):
        question_answering.check(models.find("transformer").Spec(vocab_size=9, **spec), **settings)
