"""Several models as one: means and votes by hand, means of weights, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

import lmlab
import tasks
from lmlab import run
from lmlab.adapt import lora
from lmlab.decoding import classification
from lmlab.utils.errors import UserError

TEXTS = ["the cat sat on the mat", "paris is in france", "a dog ran in the park", "who is it?"]


def variants(kind, count=3):
    """So many random models of a kind, with other parameters each."""
    lm, rng = tasks.model(kind), np.random.default_rng(0)
    vary = lambda x: x + 0.3 * rng.standard_normal(x.shape).astype(x.dtype)
    return [dataclasses.replace(lm, params=jax.tree.map(vary, lm.params)) for _ in range(count)]


@pytest.mark.parametrize("kind", ["single", "several", "number"])
def test_probabilities_are_the_mean(kind):
    lms = variants(kind)
    each = [classification.probabilities(lm, TEXTS) for lm in lms]
    both = classification.probabilities(run.together(lms), TEXTS)
    np.testing.assert_allclose(both, (each[0] + each[1] + each[2]) / 3, rtol=1e-6)
    assert kind != "single" or np.abs(both.sum(1) - 1).max() < 1e-6
    assert run.together(lms[:1]) is lms[0]


def test_votes_are_counted():
    lms = variants("single", 5)
    each = np.stack([classification.probabilities(lm, TEXTS) for lm in lms]).argmax(-1)
    wanted = [[sum(vote == c for vote in votes) / 5 for c in range(3)] for votes in each.T.tolist()]
    assert any(len(set(votes)) > 1 for votes in each.T.tolist())
    np.testing.assert_allclose(classification.probabilities(run.together(lms, "vote"), TEXTS), wanted)
    several = variants("several")
    each = np.stack([classification.probabilities(lm, TEXTS) for lm in several])
    np.testing.assert_allclose(classification.probabilities(run.together(several, "vote"), TEXTS), (each > 0.5).mean(0))


def test_the_pipeline_takes_a_list():
    lms = variants("single")
    wanted = classification.probabilities(run.together(lms), TEXTS[:1])[0]
    found = lmlab.pipeline("text-classification", lms)(TEXTS[0])
    assert found == [{"label": tasks.LABELS[wanted.argmax()], "score": pytest.approx(wanted.max(), rel=1e-6)}]
    with pytest.raises(UserError, match="'fill-mask' takes one model, and there are 3"):
        lmlab.pipeline("fill-mask", lms)


def test_the_mean_of_weights(lively):
    lms = variants("decoder")
    soup = run.together(lms, "weights")
    wanted = jax.tree.map(lambda *x: np.mean(np.stack(x).astype(np.float64), axis=0), *(lm.params for lm in lms))
    for mine, theirs in zip(jax.tree.leaves(soup.params), jax.tree.leaves(wanted), strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    same = run.together([lms[0]] * 3, "weights").params
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(lms[0].params), strict=True))
    adapted = dataclasses.replace(lms[0], params=lively(lora.add(lms[0].params, jax.random.key(0), rank=2, alpha=4.0,
                                                                 pattern="ff")))
    mixed = run.together([adapted, adapted], "weights").params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mixed, lora.merge(adapted.params))


@pytest.mark.parametrize("kinds, how, message", [
    (("single", "entailment"), "average", "tells animals, sport, towns, and number 2 contradiction, entailment,"),
    (("single", "several"), "vote", "ensemble=vote is of classifiers with the same config.objective.kind"),
    (("decoder", "decoder"), "average", "these are not; use ensemble=weights"),
    (("number", "number"), "vote", "these models tell a number; use ensemble=average"),
    (("single", "decoder with a head"), "weights", "config.model.attends differs"),
    (("single", "single"), "averge", "ensemble='averge' is unknown; did you mean 'average'")])
def test_what_does_not_belong_together_is_refused(kinds, how, message):
    with pytest.raises(UserError, match=message):
        run.together([tasks.model(kind) for kind in kinds], how)
    lm = tasks.model("single")
    small = dataclasses.replace(lm, params=jax.tree.map(lambda x: x[..., :1], lm.params))
    with pytest.raises(UserError, match="another network than the first"):
        run.together([lm, small], "weights")
