"""Masked language modelling and pairs against sums written out by hand."""

import numpy as np
import pytest

from lmlab import models, objectives
from lmlab.objectives import masked
from lmlab.utils.errors import UserError


def softmax(x):
    return np.exp(x - x.max(-1, keepdims=True)) / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)


def test_loss_is_that_of_the_masked_places_alone(encoder):
    model, params, batch = encoder
    p = softmax(np.float64(model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"],
                                       types_BT=batch["types"])))
    places = np.argwhere(batch["weights"])
    nats = -sum(np.log(p[b, t, batch["targets"][b, t]]) for b, t in places)
    hits = sum(p[b, t].argmax() == batch["targets"][b, t] for b, t in places)
    terms, metrics = objectives.build("masked", vocab_size=29, rate=0.25)(model.apply, params, batch)
    assert terms["loss"][0] == pytest.approx(nats, rel=1e-5) and terms["loss"][1] == 5
    assert metrics["accuracy"] == (hits, 5)


def test_pairs_are_told_from_the_first_place(encoder):
    model, params, batch = encoder
    x_BTD = model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"],
                        types_BT=batch["types"], method="hidden")
    w = {name: np.float64(params[name]["kernel"]) for name in ("pooler", "pair_head")}
    logits = np.tanh(np.float64(x_BTD[:, 0]) @ w["pooler"] + params["pooler"]["bias"]) @ w["pair_head"]
    p = softmax(logits + params["pair_head"]["bias"])
    terms, metrics = objectives.build("masked", vocab_size=29, rate=0.25, pair_weight=3.0)(model.apply, params, batch)
    assert terms["pair"][0] == pytest.approx(-3 * (np.log(p[0, 1]) + np.log(p[1, 0])), rel=1e-5)
    assert terms["pair"][1] == 2  # the empty row is none
    assert metrics["pair_accuracy"] == ((p[0].argmax() == 1) + (p[1].argmax() == 0), 2)


def test_every_masked_place_is_picked_once():
    weights = np.zeros((50, 40), np.float32)
    rng = np.random.default_rng(0)
    for row in weights[1:]:
        row[rng.choice(40, rng.integers(1, 7), replace=False)] = 1
    targets = rng.integers(0, 9, weights.shape)
    picked = masked.pick({"weights": weights, "targets": targets}, 0.15)
    assert picked["place"].shape == (50, 7)
    for b in range(50):
        on = np.asarray(picked["weights"][b]) > 0
        places = np.asarray(picked["place"][b])
        assert sorted(places[on]) == np.flatnonzero(weights[b]).tolist()
        np.testing.assert_array_equal(picked["targets"][b], targets[b, places])


@pytest.mark.parametrize("objective, settings, model, message", [
    ("masked", {}, dict(attends="causal"),
     "attends='causal' does not go with config.objective.name='masked'; use full"),
    ("masked", dict(pairs="next_sentence"), dict(attends="full"), "pairs='next_sentence' needs config.model.pooler"),
    ("causal", {}, dict(attends="full"), "use causal"),
    ("prefix", {}, {}, "use prefix"),
    ("causal", {}, dict(encoder_layers=2), "encoder_layers=2 does not go with .*; set it to 0"),
    ("span_corruption", {}, {}, "it needs an encoder"),
    ("seq2seq", {}, {}, "it needs an encoder"),
    ("replaced", {}, dict(attends="full"), "config.model.generator above 0"),
    ("replaced", dict(pairs="next_sentence"), dict(attends="full", generator=0.5), "use none"),
    ("masked", {}, dict(attends="full", generator=0.5), "generator=0.5 does not go with .*'masked'.*; set it to 0"),
    *((name, dict(smoothing=2.0), dict(encoder_layers=1), "smoothing=2.0 must be from 0 to 1")
      for name in ("seq2seq", "span_corruption", "ul2", "denoising")),
])
def test_a_model_that_cannot_learn_by_it_is_refused(objective, settings, model, message):
    spec = models.build("transformer", vocab_size=9, **model).spec
    with pytest.raises(UserError, match=message):
        objectives.find(objective).check(spec, **settings)
