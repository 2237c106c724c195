"""The losses of labels against torch's and against formulas written out."""

import jax
import numpy as np
import pytest

from lmlab import models, objectives
from lmlab.objectives import classification
from lmlab.utils.errors import UserError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 4)).astype(np.float32) * 2
WEIGHTS = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
BALANCE = np.array([[0.5, 2, 9], [1, 9, 9]], np.float32)
REAL = WEIGHTS > 0


def loss(target, kind, logits=LOGITS, **settings):
    """(sum, weight) of the loss and the metrics, of a network that gives `logits`."""
    def apply(variables, *args, method=None, mutable=None, **more):
        return ((None, {}) if mutable else logits)
    batch = {"tokens": np.zeros((2, 5), int), "segments": np.ones((2, 5), int), "positions": np.zeros((2, 5), int),
             "target": target, "weights": WEIGHTS, "balance": BALANCE}
    terms, metrics = objectives.build("classification", kind=kind, **settings)(apply, {}, batch)
    return terms["loss"], metrics


def one_hot(classes):
    return np.eye(4, dtype=np.float32)[classes]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_label_is_torch_s_cross_entropy(smoothing):
    torch = pytest.importorskip("torch")
    classes = RNG.integers(0, 4, (2, 3))
    (total, weight), metrics = loss(one_hot(classes), "single", smoothing=smoothing)
    each = torch.nn.functional.cross_entropy(torch.tensor(LOGITS[REAL]), torch.tensor(classes[REAL]), reduction="none",
                                             label_smoothing=smoothing).numpy()
    assert total == pytest.approx((each * BALANCE[REAL]).sum(), rel=1e-5) and weight == BALANCE[REAL].sum()
    assert metrics["accuracy"] == ((LOGITS.argmax(-1) == classes)[REAL].sum(), 3)


def test_several_labels_are_torch_s_binary_cross_entropies():
    torch = pytest.importorskip("torch")
    target = RNG.integers(0, 2, (2, 3, 4)).astype(np.float32)
    (total, _), metrics = loss(target, "several")
    each = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(LOGITS), torch.tensor(target),
                                                                reduction="none").numpy().sum(-1)
    assert total == pytest.approx((each * BALANCE)[REAL].sum(), rel=1e-5)
    assert metrics["accuracy"] == (((LOGITS > 0) == target).all(-1)[REAL].sum(), 3)


def test_focal_losses_by_their_formula():
    classes = RNG.integers(0, 4, (2, 3))
    p = np.exp(np.float64(LOGITS)) / np.exp(np.float64(LOGITS)).sum(-1, keepdims=True)
    right = np.take_along_axis(p, classes[..., None], -1)[..., 0]
    expected = (-(1 - right) ** 2 * np.log(right) * BALANCE)[REAL].sum()
    assert loss(one_hot(classes), "single", focal=2.0)[0][0] == pytest.approx(expected, rel=1e-5)
    q, y = 1 / (1 + np.exp(-np.float64(LOGITS))), one_hot(classes)
    each = -(y * (1 - q) ** 2 * np.log(q) + (1 - y) * q ** 2 * np.log(1 - q)).sum(-1)
    assert loss(y, "several", focal=2.0)[0][0] == pytest.approx((each * BALANCE)[REAL].sum(), rel=1e-5)


def test_a_number_is_half_the_squared_error():
    target = RNG.normal(size=(2, 3, 1)).astype(np.float32)
    (total, _), metrics = loss(target, "number", logits=LOGITS[..., :1])
    expected = (0.5 * (LOGITS[..., :1] - target)[..., 0] ** 2 * BALANCE)[REAL].sum()
    assert total == pytest.approx(expected, rel=1e-5) and metrics == {}


@pytest.mark.parametrize("settings, message", [
    (dict(kind="singel"), "kind='singel' is unknown; did you mean 'single'"),
    (dict(pool="max"), "pool='max' is unknown"), (dict(focal=-1.0), "focal=-1.0 must be from 0 to 10"),
    (dict(kind="number", smoothing=0.1), "kind=number has none; leave them at 0")])
def test_settings_that_mean_nothing_are_refused(settings, message):
    spec = models.find("transformer").Spec(vocab_size=9, attends="full")
    with pytest.raises(UserError, match=message):
        classification.check(spec, **settings)


def test_mixup_is_its_formula_and_stays_within_a_row():
    """Each mixture is told from the arrays alone: with distinct values, lambda and the partner follow."""
    keys = jax.random.split(jax.random.key(0), 200)
    weights = np.tile(np.array([[1, 1, 1, 0]], np.float32), (200, 1))
    values = np.tile(np.array([[1.0, 10.0, 100.0, 5.0]], np.float32), (200, 1))
    wide = np.stack([values, -values], -1)
    mixed, mixed_wide = map(np.asarray, classification.mixed((values, wide), weights, keys, 0.5))
    np.testing.assert_allclose(mixed_wide[..., 0], mixed, rtol=1e-6)
    np.testing.assert_allclose(mixed_wide[..., 1], -mixed, rtol=1e-6)
    shares, shifts = [], []
    for row in mixed:
        told = {shift: [(row[i] - x[(i + shift) % 3]) / (x[i] - x[(i + shift) % 3]) for i in range(3)]
                for x in (values[0],) for shift in (1, 2)}
        shift = min(told, key=lambda s: np.ptp(told[s]))
        assert np.ptp(told[shift]) < 1e-4 and row[3] == 5
        shares.append(np.mean(told[shift])), shifts.append(shift)
    assert 60 < shifts.count(1) < 140
    assert np.mean(shares) == pytest.approx(0.5, abs=0.08) and np.var(shares) == pytest.approx(1 / 8, abs=0.03)
    alone = classification.mixed((values,), weights * [1, 0, 0, 0], keys, 0.5)[0]
    np.testing.assert_array_equal(alone, values)
    part = classification.mixed((values[50:60],), weights[50:60], keys[50:60], 0.5)[0]
    np.testing.assert_array_equal(part, mixed[50:60])  # whatever else is in the batch


def test_outputs_mixed_are_those_of_mixed_states_and_the_loss_is_two_cross_entropies():
    torch = pytest.importorskip("torch")
    keys, classes = jax.random.split(jax.random.key(1), 2), RNG.integers(0, 4, (2, 3))
    kernel, states = RNG.normal(size=(5, 4)).astype(np.float32), RNG.normal(size=(2, 3, 5)).astype(np.float32)
    of_states = classification.mixed((states,), WEIGHTS, keys, 1.0)[0] @ kernel + 0.3
    logits = states @ kernel + 0.3
    of_logits, indices = classification.mixed((logits, np.tile(np.arange(3.0), (2, 1))), WEIGHTS, keys, 1.0)
    np.testing.assert_allclose(of_states, of_logits, atol=1e-5)

    def apply(variables, *args, method=None, mutable=None, **more):
        return (None, {}) if mutable else logits
    batch = {"tokens": np.zeros((2, 5), int), "segments": np.ones((2, 5), int), "positions": np.zeros((2, 5), int),
             "target": one_hot(classes), "weights": WEIGHTS, "balance": np.ones((2, 3), np.float32)}
    mix = objectives.build("classification", mixup=1.0)
    terms, metrics = mix(apply, {}, batch, keys)
    share = float(1 - indices[0, 0])  # row 0 has two examples: 0 mixed with 1
    nll = lambda x, c: float(torch.nn.functional.cross_entropy(torch.tensor(x)[None], torch.tensor([c])))
    expected = nll(logits[1, 0], classes[1, 0]) + sum(
        share * nll(np.array(of_logits)[0, i], classes[0, i]) + (1 - share) * nll(np.array(of_logits)[0, i],
                                                                                  classes[0, 1 - i]) for i in (0, 1))
    assert terms["loss"] == (pytest.approx(expected, rel=1e-5), 3)
    assert metrics["accuracy"][0] == ((logits.argmax(-1) == classes)[REAL]).sum()
    held_out = objectives.build("classification")(apply, {}, batch)[0]["loss"][0]
    assert mix(apply, {}, batch, None)[0]["loss"][0] == held_out
