"""Optimizers by name, from optax. What an optimizer does to a leaf is chosen by the leaf's path, never by its rank:
stacked norm scales are (N, D), stacked kernels (N, D, F)."""

import re

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers

from lmlab.models.transformer import is_wide
from lmlab.train import schedules
from lmlab.utils.errors import UserError, did_you_mean
from lmlab.utils.trees import map_with_path

# The matrices that Muon orthogonalises: path -> (axes contracted, axes new), counted from the back so that a leading
# layer axis does not matter. An axis in neither is a batch of matrices: q, k and v are three, gate and up are two.
MUON = (
    (r"attention/qkv/kernel$", (-4,), (-3, -1)),
    (r"cross/q/kernel$", (-3,), (-2, -1)),
    (r"cross/kv/kernel$", (-4,), (-3, -1)),
    (r"(attention|cross)/out/kernel$", (-3, -2), (-1,)),
    (r"experts/(wi|wi_linear|wo)$", (-2,), (-1,)),
    (r"ff/w[io]/kernel$", (-2,), (-1,)),
    (r"ff/wi_gated/kernel$", (-3,), (-1,)),
)
UNDECAYED = r"(scale|bias)$"


def muon(**changes) -> dict:
    """The settings of our recipes for small models: Muon, its rate falling linearly to nothing; with `changes`."""
    return dict(name="muon", rate=0.02, adam_rate=0.005, schedule="wsd", decay=0.5, floor=0.0, warmup=10,
                weight_decay=0.0, beta2=0.95) | changes


def finetuning(**changes) -> dict:
    """The settings of our recipes for networks that are there already: AdamW, its rate falling linearly to nothing from
    the end of a short warm-up on, as BERT was fine-tuned (Devlin et al. 2019, appendix A.3); with `changes`."""
    return dict(rate=2e-4, schedule="wsd", decay=0.9, floor=0.0, warmup=20, beta2=0.999, weight_decay=0.01) | changes


def build(*, steps, name: str = "adamw", rate: float = 1e-3, schedule: str = "cosine", warmup: int = 100,
          floor: float = 0.1, decay: float = 0.2, rate_decay: float = 0.96, every: int = 1000,
          cycle: str = "triangular", beta1: float = 0.9, beta2: float = 0.95, eps: float = 1e-8,
          momentum: float = 0.95, weight_decay: float = 0.1, clip: float = 1.0, l1: float = 0.0, l2: float = 0.0,
          adam_rate: float = 0.0, narrowing=None):
    """Builds (optimizer, schedule).

    Args:
      steps: of the whole run. name: sgd, adam, adamw, lion (Chen et al. 2023), adafactor (Shazeer & Stern 2018, whose
        rate is relative to the size of a parameter), or muon (Jordan et al. 2024, with adamw for all that is no matrix
        of a layer). rate: the peak learning rate. schedule .. cycle: see schedules.build.
      beta1, beta2, eps: of adam and adamw (the betas of lion). momentum: of sgd and muon. weight_decay: decoupled,
        times the learning rate (adamw, lion, muon, adafactor), never on norms and biases. clip: the largest global
        gradient norm; 0: off.
      l1, l2: added to the gradient: l1 sign(w) and l2 w, the penalties l1 |w| and l2 w^2 / 2.
      adam_rate: the peak rate of muon's adamw part; 0: as rate.
      narrowing: of the model (Spec.narrowing): adam's and adamw's updates of all matrices inside the network are so
        many times as large (Yang et al. 2022, table 8), muon's are as they are.
    Raises:
      UserError: for an unknown name or an impossible value.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"config.optimizer.name={name!r} is unknown{did_you_mean(name, OPTIMIZERS)}; "
                        f"one of {', '.join(OPTIMIZERS)}")
    if narrowing not in (None, 1) and name in ("sgd", "adafactor"):
        raise UserError(f"config.model.base_width has no rule for config.optimizer.name={name!r}; use adamw or muon")
    for field, value in dict(rate=rate, weight_decay=weight_decay, clip=clip, l1=l1, l2=l2, adam_rate=adam_rate,
                             eps=eps).items():
        if not 0 <= value < float("inf"):
            raise UserError(f"config.optimizer.{field}={value} must be at least 0 and finite")
    for field, value in dict(beta1=beta1, beta2=beta2, momentum=momentum).items():
        if not 0 <= value < 1:
            raise UserError(f"config.optimizer.{field}={value} must be at least 0 and below 1")
    for field, value in dict(floor=floor, decay=decay, rate_decay=rate_decay).items():
        if not 0 <= value <= 1:
            raise UserError(f"config.optimizer.{field}={value} must be from 0 to 1")
    scheduled = lambda peak: schedules.build(schedule, rate=peak, steps=steps, warmup=warmup, floor=floor,
                                             decay=decay, rate_decay=rate_decay, every=every, cycle=cycle)
    transform = OPTIMIZERS[name](rate=scheduled(rate), adam_rate=scheduled(adam_rate or rate), beta1=beta1,
                                 beta2=beta2, eps=eps, momentum=momentum, weight_decay=weight_decay,
                                 narrowing=narrowing or 1)
    parts = [optax.add_decayed_weights(l2)] if l2 else []
    parts += [_add_sign(l1)] if l1 else []
    parts += [optax.clip_by_global_norm(clip)] if clip else []
    return optax.chain(*parts, transform), scheduled(rate)


def decayed(params):
    """True for each leaf that weight decay applies to: all but norms and biases."""
    return map_with_path(lambda path, _: not re.search(UNDECAYED, path), params)


def muon_dimensions(params):
    """MuonDimensionNumbers for each matrix of a layer, None for the leaves that adamw updates."""
    def numbers(path, _):
        return next((MuonDimensionNumbers(i, o) for pattern, i, o in MUON if re.search(pattern, path)), None)
    return map_with_path(numbers, params)


def _sgd(rate, momentum, **_):
    return optax.sgd(rate, momentum=momentum or None)


def _adam(rate, beta1, beta2, eps, narrowing, **_):
    return _narrowed(optax.adam(rate, beta1, beta2, eps), narrowing)


def _adamw(rate, beta1, beta2, eps, weight_decay, narrowing, **_):
    return _narrowed(optax.adamw(rate, beta1, beta2, eps, weight_decay=weight_decay, mask=decayed), narrowing)


def _lion(rate, beta1, beta2, weight_decay, narrowing, **_):
    return _narrowed(optax.lion(rate, beta1, beta2, weight_decay=weight_decay, mask=decayed), narrowing)


def _adafactor(rate, weight_decay, **_):
    decay = (lambda step: weight_decay * rate(step)) if weight_decay else None
    return optax.adafactor(rate, weight_decay_rate=decay, weight_decay_mask=decayed)


def _narrowed(transform, narrowing):
    scale = lambda path, update: update * narrowing if is_wide(path) else update
    return transform if narrowing == 1 else optax.chain(transform, optax.stateless(
        lambda updates, _: map_with_path(scale, updates)))


def _muon(rate, adam_rate, beta1, beta2, eps, momentum, weight_decay, narrowing, **_):
    # partition() and not optax.contrib.muon's own adamw, which decays norms and biases.
    label = lambda params: jax.tree.map(lambda d: "muon" if d else "adamw", muon_dimensions(params),
                                        is_leaf=lambda d: d is None or isinstance(d, MuonDimensionNumbers))
    matrices = optax.contrib.muon(rate, beta=momentum, weight_decay=weight_decay,
                                  muon_weight_dimension_numbers=muon_dimensions)
    return optax.partition({"muon": matrices, "adamw": _adamw(
        adam_rate, beta1, beta2, eps, weight_decay, narrowing)}, label)


def _add_sign(l1):
    return optax.stateless(lambda g, p: jax.tree.map(lambda g, w: g + l1 * jnp.sign(w), g, p))


OPTIMIZERS = {"sgd": _sgd, "adam": _adam, "adamw": _adamw, "lion": _lion, "adafactor": _adafactor, "muon": _muon}
