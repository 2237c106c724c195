"""The softmax over a question's choices, written out choice by choice, however the questions are packed."""

import jax
import numpy as np
import pytest

import asking
from lmlab import models, objectives
from lmlab.data.features import choices
from lmlab.objectives import multiple_choice
from lmlab.utils.errors import UserError

FOUND = [{"question": f"q{number}?", "choices": [f"c{number}" * (1 + choice) for choice in range(2 + number % 3)],
          "answer": number % 2} for number in range(6)]


@pytest.fixture(scope="module")
def lm(lively):
    return asking.model("multiple_choice", asking.tokenizer("bytes"), lively)


def batch(windows, padding=0):
    """All rows of FOUND, and some of padding."""
    rows = choices.features(asking.split(FOUND), asking.tokenizer("bytes"), length=64, windows=windows)
    numbers = np.append(np.arange(rows.count), np.full(padding, -1))
    return rows.make(numbers, np.zeros_like(numbers), 0)


def loss(lm):
    return jax.jit(lambda params, batch: objectives.build("multiple_choice")(lm.model.apply, params, batch))


def test_the_loss_is_that_of_each_choice_alone_however_they_are_packed(lm):
    nats, right = 0.0, 0
    for one, framed in zip(FOUND, choices.encode(asking.tokenizer("bytes"), FOUND, 64)):
        scores = np.array([asking.alone(lm, choice.ids, choice.types)[0] for choice in framed])
        nats += np.log(np.exp(scores).sum()) - scores[one["answer"]]
        right += scores.argmax() == one["answer"]
    for windows, padding in (("stream", 0), ("packed", 0), ("packed", 2)):
        terms, metrics = loss(lm)(lm.params, batch(windows, padding))
        found = [float(x) for x in (*terms["loss"], *metrics["accuracy"])]
        assert found == pytest.approx([nats, 6, right, 6], rel=1e-5)
    assert len(batch("packed")["tokens"]) < 6


def test_choices_of_other_questions_do_not_matter(lm):
    """Moving a choice's score moves the loss of its own question alone: one row, by torch's cross-entropy."""
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(0).normal(size=(1, 7, 1)).astype(np.float32)
    made = {"question": np.array([[4, 4, 9, 9, 9, 0, 0]]), "weights": np.array([[1, 1, 1, 1, 1, 0, 0]], np.float32),
            "right": np.array([[0, 1, 1, 0, 0, 0, 0]], np.float32)}
    made |= {name: np.zeros((1, 5), int) for name in ("tokens", "segments", "positions")}
    apply = lambda variables, *args, mutable=None, **more: (None, {}) if mutable else scores
    total, weight = objectives.build("multiple_choice")(apply, {}, made)[0]["loss"]
    each = [torch.nn.functional.cross_entropy(torch.tensor(scores[:, part, 0]), torch.tensor([right]))
            for part, right in ((slice(0, 2), 1), (slice(2, 5), 0))]
    assert total == pytest.approx(float(sum(each)), rel=1e-6) and weight == 2


def test_rows_of_padding_have_finite_gradients(lm):
    total = lambda params: loss(lm)(params, batch("packed", 2))[0]["loss"][0]
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(total))(lm.params)))


@pytest.mark.parametrize("spec, settings, message", [
    ({}, dict(pool="max"), "config.objective.pool='max' is unknown"),
    (dict(attends="full", generator=0.5), {}, "config.model.generator does not go with")])
def test_what_cannot_be_is_refused(spec, settings, message):
    with pytest.raises(UserError, match=message):
        multiple_choice.check(models.find("transformer").Spec(vocab_size=9, **spec), **settings)
