"""The losses of tags: against torch's, against all sequences of tags, and packed against alone."""

import itertools

import flax.linen as nn
import jax
import numpy as np
import pytest

import kinds
from lmlab import models, objectives
from lmlab.adapt import freezing, heads
from lmlab.models import crf
from lmlab.objectives import tagging
from lmlab.utils import trees
from lmlab.utils.errors import UserError

RNG = np.random.default_rng(0)
C = 3


@pytest.fixture(scope="module", params=[False, True], ids=["each", "crf"])
def case(request, lively):
    """(model, params, batch, crf): texts packed into rows, some of whose tokens stand for words with tags."""
    body, _ = kinds.build("bert", head_bias=False)
    model = heads.Headed(body, **tagging.head(body.spec, "abc", crf=request.param))
    params = lively(nn.meta.unbox(heads.init(model, jax.random.key(0))))
    batch, _ = kinds.batch_of(body.spec)
    batch = {name: np.asarray(a) for name, a in batch.items() if name in ("tokens", "segments", "positions", "types")}
    B, T = batch["tokens"].shape
    places, words = np.zeros((2, B, T), np.int32)
    for b in range(B):
        chosen = np.flatnonzero((batch["segments"][b] > 0) & (RNG.random(T) < 0.7))
        places[b, :len(chosen)], words[b, :len(chosen)] = chosen, batch["segments"][b, chosen]
    batch |= {"places": places, "words": words, "weights": np.ones((B, 3), np.float32),
              "tags": np.where(words > 0, RNG.integers(0, C, (B, T)), 0)}
    return model, params, batch, request.param


def told(case, **more):
    model, params, batch, crf = case
    terms, metrics = objectives.build("tagging", crf=crf, **more)(model.apply, params, batch)
    return terms["loss"], metrics["accuracy"]


def scores_of(case):
    """The scores of each word, (B, W, C): the head's product with the state of its token, by hand."""
    model, params, batch, _ = case
    x_BTD = model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"],
                        types_BT=batch.get("types"), method="hidden")
    x_BWD = np.asarray(x_BTD)[np.arange(len(x_BTD))[:, None], batch["places"]]
    return x_BWD @ params["task"]["kernel"] + params["task"]["bias"]


@pytest.mark.parametrize("case", [False], indirect=True)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_of_words_one_by_one_it_is_torch_s_cross_entropy(case, smoothing):
    torch = pytest.importorskip("torch")
    real, tags = case[2]["words"] > 0, case[2]["tags"]
    scores = scores_of(case)
    expected = torch.nn.functional.cross_entropy(torch.tensor(scores[real]), torch.tensor(tags[real]), reduction="sum",
                                                 label_smoothing=smoothing)
    (nll, count), (right, of) = told(case, smoothing=smoothing)
    assert nll == pytest.approx(float(expected), rel=1e-5) and count == of == real.sum() > 20
    assert right == (scores.argmax(-1) == tags)[real].sum()


@pytest.mark.parametrize("case", [True], indirect=True)
def test_of_texts_as_a_whole_it_is_that_of_all_sequences(case):
    model, params, batch, _ = case
    scores, expected, right = np.float64(scores_of(case)), 0.0, 0
    transitions = np.float64(params["task_transitions"])
    assert transitions.shape == (C + 2, C) and np.abs(transitions).min() > 0
    for b, segment in {(b, s) for b, row in enumerate(batch["words"].tolist()) for s in row if s}:
        mine = batch["words"][b] == segment
        scores_WC, tags = scores[b, mine], batch["tags"][b, mine]
        forward = transitions[-2] + scores_WC[0]  # the same the long way: probabilities, not their logarithms
        forward = np.exp(forward)
        for row in scores_WC[1:]:
            forward = (forward @ np.exp(transitions[:-2])) * np.exp(row)
        path = transitions[-2, tags[0]] + scores_WC[np.arange(len(tags)), tags].sum() + transitions[-1, tags[-1]]
        path += sum(transitions[a, b] for a, b in itertools.pairwise(tags))
        expected += np.log(forward @ np.exp(transitions[-1])) - path
        best = crf.viterbi(np.float32(scores_WC)[None], np.ones((1, len(tags)), int), params["task_transitions"])[0]
        right += (np.asarray(best) == tags).sum()
    (nll, count), (found, _) = told(case)
    assert nll == pytest.approx(expected, rel=1e-5) and count == (batch["words"] > 0).sum() and found == right


def test_packed_texts_lose_what_each_loses_alone(case):
    model, params, batch, crf = case
    batch = {name: a[:3] for name, a in batch.items()}
    total = np.zeros(3)
    for b in range(3):
        for segment in set(batch["words"][b].tolist()) - {0}:
            here, mine = batch["segments"][b] == segment, batch["words"][b] == segment
            one = {name: batch[name][b:b + 1, here] for name in ("tokens", "positions", "types") if name in batch}
            one |= {name: batch[name][b:b + 1, mine] for name in ("places", "tags")}
            one["places"] = one["places"] - np.flatnonzero(here)[0]
            one |= {"segments": np.ones((1, here.sum()), int), "words": np.ones((1, mine.sum()), int),
                    "weights": np.ones((1, 1), np.float32)}
            (nll, count), (right, _) = told((model, params, one, crf))
            total += nll, count, right
    (nll, count), (right, _) = told((model, params, batch, crf))
    np.testing.assert_allclose([nll, count, right], total, rtol=1e-5)


def test_every_parameter_of_the_head_learns(case):
    model, params, batch, crf = case
    grads = jax.grad(lambda p: told((model, p, batch, crf))[0][0])(params)
    head = {name: leaf for name, leaf in grads.items() if name.startswith("task")}
    assert set(head) == ({"task", "task_transitions"} if crf else {"task"})
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(head))
    chosen = freezing.trains(freezing.Settings(lora_rank=1))  # beside adapters too
    assert {path for path in trees.by_path(params) if chosen(path)} == set(trees.by_path(head))


@pytest.mark.parametrize("spec, settings, message", [
    (dict(attends="causal"), {}, "attends='causal' does not go with config.objective.name='tagging'; use full"),
    (dict(attends="full", encoder_layers=2), {}, "encoder_layers=2 does not go with config.objective.name='tagging'"),
    (dict(attends="full"), dict(smoothing=1.0), "smoothing=1.0 must be from 0 to 0.99"),
    (dict(attends="full"), dict(smoothing=0.1, crf=True), "smoothing=0.1 is of words told one by one")])
def test_what_cannot_be_is_refused(spec, settings, message):
    with pytest.raises(UserError, match=message):
        tagging.check(models.find("transformer").Spec(vocab_size=9, **spec), **settings)
