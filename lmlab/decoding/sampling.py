"""From logits to a token: each rule a pure function logits_BV -> logits_BV, what it rules out at -inf."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmlab.utils.errors import UserError


class Sampler(NamedTuple):
    """How the next token is chosen; the defaults sample from the model's own distribution."""
    temperature: float = 1.0          # 0: the most likely token
    top_k: int = 0                    # only the k most likely; 0: off
    top_p: float = 1.0                # only the fewest that hold probability p (Holtzman et al. 2020); 1: off
    min_p: float = 0.0                # only those at least min_p times as likely as the first (Nguyen et al. 2024)
    repetition_penalty: float = 1.0   # divides the (positive) logit of a token seen before (Keskar et al. 2019); 1: off


def check(sampler):
    """Raises a UserError for a value outside its range."""
    bounds = {"temperature": (0, 1e4), "top_k": (0, 2 ** 31), "top_p": (0, 1), "min_p": (0, 1),
              "repetition_penalty": (1e-3, 1e3)}
    for name, (low, high) in bounds.items():
        value, kind = getattr(sampler, name), int if name == "top_k" else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            what = "a whole number" if name == "top_k" else "a number"
            raise UserError(f"{name}={value!r} must be {what} between {low:g} and {high:g}")
    if sampler.top_p == 0:
        raise UserError("top_p=0 leaves no token; use temperature=0 for the most likely one")


def penalise(logits_BV, seen_BV, penalty):
    """Makes the tokens of `seen_BV` (bool) less likely: logit / penalty where positive, else logit * penalty."""
    lower_BV = jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return jnp.where(seen_BV, lower_BV, logits_BV)


def keep_top_k(logits_BV, k):
    """Only the k largest (and what ties with the k-th)."""
    k = min(k, logits_BV.shape[-1])
    kth_B1 = jax.lax.top_k(logits_BV, k)[0][:, -1:]
    return jnp.where(logits_BV < kth_B1, -jnp.inf, logits_BV)


def keep_top_p(logits_BV, p):
    """Only the most likely tokens, as few as hold probability p; the first always."""
    sorted_BV = jnp.flip(jnp.sort(logits_BV, axis=-1), axis=-1)
    probability_BV = jax.nn.softmax(sorted_BV, axis=-1)
    before_BV = jnp.cumsum(probability_BV, axis=-1) - probability_BV
    last_B1 = jnp.where(before_BV < p, sorted_BV, jnp.inf).min(-1, keepdims=True)
    return jnp.where(logits_BV < last_B1, -jnp.inf, logits_BV)


def keep_min_p(logits_BV, p):
    """Only tokens with at least p times the probability of the most likely."""
    return jnp.where(logits_BV < logits_BV.max(-1, keepdims=True) + jnp.log(p), -jnp.inf, logits_BV)


def adjust(logits_BV, sampler, seen_BV=None):
    """All rules that `sampler` turns on, in the order penalty, temperature, top-k, top-p, min-p."""
    if sampler.repetition_penalty != 1.0 and seen_BV is not None:
        logits_BV = penalise(logits_BV, seen_BV, sampler.repetition_penalty)
    if sampler.temperature:
        # Measured from the largest: with a temperature near 0 all others go to -inf, and nothing to +inf or NaN.
        logits_BV = (logits_BV - logits_BV.max(-1, keepdims=True)) / max(sampler.temperature, 1e-30)
    if sampler.top_k:
        logits_BV = keep_top_k(logits_BV, sampler.top_k)
    if sampler.top_p < 1:
        logits_BV = keep_top_p(logits_BV, sampler.top_p)
    if sampler.min_p:
        logits_BV = keep_min_p(logits_BV, sampler.min_p)
    return logits_BV


def sample(logits_BV, sampler, keys_B, seen_BV=None):
    """Next tokens_B, int32: the most likely at temperature 0, else drawn with a key a row."""
    logits_BV = adjust(logits_BV, sampler, seen_BV)
    if not sampler.temperature:
        return logits_BV.argmax(-1).astype(jnp.int32)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV).astype(jnp.int32)
