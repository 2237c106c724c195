"""The losses of labels against torch's and against formulas written out."""

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
