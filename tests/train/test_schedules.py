"""Schedules against their published formulas, optax and torch, step by step."""

import math

import numpy as np
import optax
import pytest

from lmlab.train import schedules
from lmlab.utils.errors import UserError

RATE, STEPS, WARMUP = 0.3, 60, 12


def values(name, steps=STEPS, **kwargs):
    """The rate of every update of a run."""
    schedule = schedules.build(name, rate=RATE, steps=steps, **kwargs)
    return np.array([schedule(i) for i in range(steps)])


@pytest.mark.parametrize("name", [name for name in schedules.SCHEDULES if name != "onecycle"])
def test_warmup_is_linear_and_no_update_is_wasted(name):
    got = values(name, warmup=WARMUP)
    np.testing.assert_allclose(got[:WARMUP], RATE * np.arange(1, WARMUP + 1) / WARMUP, rtol=1e-6)


def test_constant():
    np.testing.assert_allclose(values("constant"), RATE, rtol=1e-6)


def test_onecycle_by_optax():
    theirs = optax.cosine_onecycle_schedule(STEPS, RATE, WARMUP / STEPS, div_factor=25, final_div_factor=100)
    np.testing.assert_allclose(values("onecycle", warmup=WARMUP, floor=1 / 2500), [theirs(i) for i in range(STEPS)],
                               rtol=1e-5)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_warmup_cosine_by_formula_and_by_optax(floor):
    got = values("cosine", warmup=WARMUP, floor=floor)[WARMUP:]
    low = floor * RATE
    formula = [low + (RATE - low) * (1 + math.cos(math.pi * i / (STEPS - WARMUP))) / 2 for i in range(STEPS - WARMUP)]
    np.testing.assert_allclose(got, formula, rtol=1e-5)
    theirs = optax.warmup_cosine_decay_schedule(0.0, RATE, WARMUP, STEPS, low)
    np.testing.assert_allclose(got, [theirs(i) for i in range(WARMUP, STEPS)], rtol=1e-5)


def test_cosine_ends_at_its_floor():
    assert schedules.build("cosine", rate=RATE, steps=STEPS, warmup=WARMUP, floor=0.1)(STEPS) == pytest.approx(0.03)


@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_warmup_stable_decay_has_three_parts(floor):
    schedule = schedules.build("wsd", rate=RATE, steps=62, warmup=12, decay=0.2, floor=floor)
    got = np.array([schedule(i) for i in range(63)])
    np.testing.assert_allclose(got[11:53], RATE, rtol=1e-6)  # stable up to the last fifth of the 50 after the warm-up
    np.testing.assert_allclose(got[52:], np.linspace(RATE, floor * RATE, 11), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("warmup", [0, 1, WARMUP])
def test_inverse_square_root_is_vaswani_et_al(warmup):
    """Section 5.3: d^-0.5 min(step^-0.5, step warmup^-1.5), steps from 1; its peak, (d warmup)^-0.5, scaled to ours."""
    w = max(warmup, 1)
    paper = np.array([min(step ** -0.5, step * w ** -1.5) for step in range(1, STEPS + 1)])
    np.testing.assert_allclose(values("rsqrt", warmup=warmup), RATE * paper / w ** -0.5, rtol=1e-6)


def test_exponential_is_a_staircase():
    got = values("exponential", every=7, rate_decay=0.8)
    np.testing.assert_allclose(got, [RATE * 0.8 ** (i // 7) for i in range(STEPS)], rtol=1e-5)
    theirs = optax.exponential_decay(RATE, 7, 0.8, staircase=True)
    np.testing.assert_allclose(got, [theirs(i) for i in range(STEPS)], rtol=1e-6)


@pytest.mark.parametrize("cycle,scale", [("triangular", lambda i: 1), ("triangular2", lambda i: 0.5 ** (i // 14)),
                                         ("exp_range", lambda i: 0.9 ** i)])
def test_cyclical_goes_up_and_down_in_straight_lines(cycle, scale):
    got = values("cyclical", every=7, floor=0.1, cycle=cycle, rate_decay=0.9)
    expected = [0.03 + 0.27 * scale(i) * (i % 14 if i % 14 <= 7 else 14 - i % 14) / 7 for i in range(STEPS)]
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("cycle", schedules.CYCLES)
def test_cyclical_is_torch_cyclic_lr(cycle):
    torch = pytest.importorskip("torch")
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CyclicLR(sgd, 0.03, RATE, step_size_up=7, mode=cycle, gamma=0.9,
                                               cycle_momentum=False)
    expected = []
    for _ in range(STEPS):
        expected.append(theirs.get_last_lr()[0])
        sgd.step()
        theirs.step()
    np.testing.assert_allclose(values("cyclical", every=7, floor=0.1, cycle=cycle, rate_decay=0.9), expected, rtol=1e-4)


@pytest.mark.parametrize("kwargs,message", [
    (dict(name="cosin"), "config.optimizer.schedule='cosin' is unknown; did you mean 'cosine'"),
    (dict(name="cyclical", cycle="triangle"), "config.optimizer.cycle='triangle' is unknown; did you mean 'triang"),
    (dict(name="cosine", warmup=STEPS), "config.optimizer.warmup=60 must be at least 0 and below config.train.ste"),
    (dict(name="cosine", warmup=-1), "config.optimizer.warmup=-1 must be at least 0"),
    (dict(name="exponential", every=0), "config.optimizer.every=0 must be at least 1"),
])
def test_impossible_schedules_are_refused(kwargs, message):
    with pytest.raises(UserError, match=message):
        schedules.build(rate=RATE, steps=STEPS, **kwargs)
