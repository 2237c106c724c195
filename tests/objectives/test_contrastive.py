"""InfoNCE and squared errors of cosines, written out text by text, however the pairs are packed."""

import jax
import numpy as np
import pytest

import asking
import tasks as models
from lmlab import objectives, run
from lmlab.data.features import similar
from lmlab.decoding import embedding
from lmlab.objectives import setfit
from lmlab.utils.errors import UserError

# a text is another pair's positive; an anchor has two positives; a negative is the anchor of its own pair
FOUND = [{"anchor": "the cat", "positive": "a dog ran", "negative": "paris"},
         {"anchor": "who is here", "positive": "a dog ran", "negative": "in france about animals"},
         {"anchor": "the cat", "positive": "the mat is here", "negative": "the cat"},
         {"anchor": "sport", "positive": "towns", "negative": "animals"}, {"anchor": "a park", "positive": "the park"}]
SCORED = [{"first": "the cat", "second": "a dog ran", "score": 0.5},
          {"first": "paris", "second": "france", "score": 1.0}, {"first": "sport", "second": "the mat", "score": -1.0}]


@pytest.fixture(scope="module")
def lm():
    return models.model("masked")


def batch(found, windows, kind, extra=()):
    """All rows, and more of them by number, -1 for padding."""
    rows = similar.features(asking.split(found), models.tokenizer(), length=32, windows=windows, kind=kind)
    numbers = np.append(np.arange(rows.count), np.array(extra, int))
    return rows.make(numbers, np.zeros_like(numbers), 0)


def loss(lm, made, **settings):
    function = objectives.build("contrastive", **settings)
    return jax.jit(lambda params: function(lm.model.apply, params, made))(lm.params)


def unit(lm, texts):
    """{text: its embedding, of length 1}, each alone."""
    x_ND = np.float64([embedding.embed(lm, [text])[0] for text in texts])
    return dict(zip(texts, x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)))


def by_hand(lm, found, temperature):
    """(sum of -log p, how many are nearest) with every candidate looked at in turn."""
    e = unit(lm, {text for one in found for text in one.values()})
    nats, nearest = 0.0, 0
    for n, one in enumerate(found):
        positives = {other["positive"] for other in found if other["anchor"] == one["anchor"]}
        candidates = [text for m, other in enumerate(found) for role, text in other.items()
                      if role != "anchor" and text != one["anchor"] and text not in positives]
        scores = np.array([e[one["anchor"]] @ e[text] / temperature for text in [one["positive"], *candidates]])
        nats += np.log(np.exp(scores - scores[0]).sum())
        nearest += scores[0] >= scores.max()
    return nats, nearest


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_ranking_is_infonce_over_the_whole_batch(lm, temperature):
    nats, nearest = by_hand(lm, FOUND, temperature)
    for windows, extra in (("stream", []), ("packed", []), ("packed", [-1, -1])):
        made = batch(FOUND, windows, "ranking", extra)
        terms, metrics = loss(lm, made, temperature=temperature)
        assert [float(x) for x in (*terms["loss"], *metrics["accuracy"])] == pytest.approx(
            [nats, 5, nearest, 5], rel=2e-4)
    assert len(batch(FOUND, "packed", "ranking")["tokens"]) < 5


def test_a_pair_that_stands_in_two_rows_is_two_pairs(lm):
    found = [FOUND[0], FOUND[3], FOUND[4]]
    nats, _ = by_hand(lm, [*found, FOUND[3]], 0.5)
    assert float(loss(lm, batch(found, "stream", "ranking", [1]), temperature=0.5)[0]["loss"][0]) == pytest.approx(
        nats, rel=2e-4)


def test_without_likenesses_it_is_torchs_cross_entropy(lm):
    torch = pytest.importorskip("torch")
    found = [FOUND[0], FOUND[3]]
    e = unit(lm, {text for one in found for text in one.values()})
    texts = [one[role] for role in ("positive", "negative") for one in found]
    logits = [[e[one["anchor"]] @ e[text] for text in texts] for one in found]
    wanted = torch.nn.functional.cross_entropy(torch.tensor(np.array(logits)) / 0.2, torch.arange(2), reduction="sum")
    assert float(loss(lm, batch(found, "packed", "ranking"), temperature=0.2)[0]["loss"][0]) == pytest.approx(
        wanted.item(), rel=2e-4)


def test_cosine_is_the_squared_error_of_scores(lm):
    e = unit(lm, {one[role] for one in SCORED for role in ("first", "second")})
    wanted = sum((e[one["first"]] @ e[one["second"]] - one["score"]) ** 2 for one in SCORED)
    for windows, extra in (("stream", []), ("packed", [-1])):
        made = batch(SCORED, windows, "cosine", extra)
        terms, metrics = loss(lm, made, kind="cosine")
        assert [float(x) for x in terms["loss"]] == pytest.approx([wanted, 3], rel=1e-4) and metrics == {}
        assert float(setfit.loss(lm.model.apply, lm.params, made)[0]["loss"][0]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("kind", similar.KINDS)
def test_rows_of_padding_have_finite_gradients(lm, kind):
    made = batch(FOUND if kind == "ranking" else SCORED, "packed", kind, [-1])
    function = objectives.build("contrastive", kind=kind)
    for part in (made, {name: value[-1:] for name, value in made.items()}):
        total = lambda params, part=part: function(lm.model.apply, params, part)[0]["loss"][0]
        grads = jax.jit(jax.grad(total))(lm.params)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
    assert not any(np.any(x) for x in jax.tree.leaves(grads))


@pytest.mark.parametrize("section,values,message", [
    ("train", {"accumulation": 2}, "compares all texts of a batch, which config.train.accumulation=2"),
    ("train", {"parallel": "pmap"}, "config.train.parallel=pmap would cut up; use 1 and jit"),
    ("objective", {"kind": "cosin"}, "config.objective.kind='cosin' is unknown; did you mean 'cosine'"),
    ("objective", {"temperature": 0.0}, "config.objective.temperature=0.0 must be from"),
    ("model", {"attends": "causal"}, "contrastive")])
def test_what_cannot_be_is_refused(section, values, message):
    config = {"model": {"name": "transformer", "width": 8, "heads": 1, "context": 32, "attends": "full"},
              "objective": {"name": "contrastive"}, "train": {"batch": 4}}
    run.check(run.complete(config, {}))
    config[section] |= values
    with pytest.raises(UserError, match=message):
        run.check(run.complete(config, {}))
    if section == "train":  # a row of scored pairs stands alone
        run.check(run.complete(config | {"objective": {"name": "contrastive", "kind": "cosine"}}, {}))
