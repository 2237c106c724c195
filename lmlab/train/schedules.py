"""Learning-rate schedules by name: step -> rate, pure and on device."""

import jax.numpy as jnp
import optax

from lmlab.utils.errors import UserError, did_you_mean


def build(name, *, rate, steps, warmup=0, floor=0.0, decay=0.2, rate_decay=0.96, every=1000, cycle="triangular"):
    """The schedule `name`, a function of the step (0 for the first update).

    Args:
      name: constant; cosine (Loshchilov & Hutter 2017); wsd, warm-up-stable-decay (Hu et al. 2024), linear decay over
        the last share `decay`; rsqrt, inverse square root (Vaswani et al. 2017); exponential, a staircase
        rate * rate_decay^floor(step/every); cyclical (Smith 2017); onecycle (Smith & Topin 2018), from a 25th of the
        peak up to it in the warm-up's steps and down to the floor, both by half a cosine.
      rate: the peak. steps: of the whole run. warmup: linear from 0 to the peak, in steps.
      floor: the final rate (cosine, wsd, onecycle) or the base rate (cyclical), as a fraction of the peak.
      decay: the last share of the steps after warm-up, in which wsd decays. rate_decay, every: of exponential. every:
        half a cycle of cyclical.
      cycle: cyclical's form: triangular, triangular2 (the amplitude halves every cycle), exp_range (it falls by
        rate_decay every step).
    """
    if name not in SCHEDULES:
        raise UserError(f"config.optimizer.schedule={name!r} is unknown{did_you_mean(name, SCHEDULES)}; "
                        f"one of {', '.join(SCHEDULES)}")
    if cycle not in CYCLES:
        raise UserError(f"config.optimizer.cycle={cycle!r} is unknown{did_you_mean(cycle, CYCLES)}; "
                        f"one of {', '.join(CYCLES)}")
    if not 0 <= warmup < max(steps, 1):
        raise UserError(f"config.optimizer.warmup={warmup} must be at least 0 and below config.train.steps={steps}")
    if every < 1:
        raise UserError(f"config.optimizer.every={every} must be at least 1")
    schedule = SCHEDULES[name](rate=rate, steps=steps - warmup, warmup=warmup, floor=floor, decay=decay,
                               rate_decay=rate_decay, every=every, cycle=cycle)
    if not warmup:
        return schedule
    if name == "onecycle":
        rise = lambda step: rate * (1 - (1 - 1 / 25) * (1 + jnp.cos(jnp.pi * step / warmup)) / 2)
    else:  # the first update already has a rate above zero: warm-up counts from 1 to `warmup`
        rise = lambda step: rate * (step + 1) / warmup
    return optax.join_schedules([rise, schedule], [warmup])


def _constant(rate, **_):
    return optax.constant_schedule(rate)


def _cosine(rate, steps, floor, **_):
    return optax.cosine_decay_schedule(rate, max(steps, 1), alpha=floor)


def _wsd(rate, steps, decay, floor, **_):
    falling = max(1, round(steps * decay))
    return optax.linear_schedule(rate, rate * floor, falling, transition_begin=steps - falling)


def _rsqrt(rate, warmup, **_):
    # Counts updates from 1 and from the run's start, as the paper does; `step` is 0 for the first after the warm-up.
    return lambda step: rate * jnp.sqrt(max(warmup, 1) / (warmup + step + 1))


def _exponential(rate, rate_decay, every, **_):
    return optax.exponential_decay(rate, every, rate_decay, staircase=True)


def _cyclical(rate, floor, every, rate_decay, cycle, **_):
    base = rate * floor

    def schedule(step):
        number = jnp.floor(1 + step / (2 * every))
        height = jnp.maximum(0.0, 1 - jnp.abs(step / every - 2 * number + 1))
        return base + (rate - base) * height * CYCLES[cycle](step, number, rate_decay)
    return schedule


SCHEDULES = {"constant": _constant, "cosine": _cosine, "wsd": _wsd, "rsqrt": _rsqrt, "exponential": _exponential,
             "cyclical": _cyclical, "onecycle": _cosine}
CYCLES = {
    "triangular": lambda step, number, decay: 1.0,
    "triangular2": lambda step, number, decay: 0.5 ** (number - 1),
    "exp_range": lambda step, number, decay: decay ** step,
}
