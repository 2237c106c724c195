"""Replaced-token detection (ELECTRA: Clark et al. 2020): a small generator fills masked places, the model tells which
tokens are not the original ones."""

import jax
import jax.numpy as jnp

from lmlab.data.features import masked
from lmlab.data.features.masked import features  # noqa: F401
from lmlab.objectives import losses
from lmlab.objectives.masked import pick
from lmlab.utils.errors import UserError

SPECIALS = ("cls", "mask")
WHOLE = False
_DRAW = 2 ** 21  # folded into a row's key for the generator's draws


def check(spec, pairs="none", **settings):
    """Raises a UserError where `spec` is no encoder with a generator, or a setting means nothing."""
    losses.require(spec, "replaced", attends=("full",))
    masked.check(**settings)
    if not spec.generator:
        raise UserError("config.objective.name='replaced' needs config.model.generator above 0, the share of the "
                        "model's width that its generator has; try 0.25")
    if pairs != "none":
        raise UserError(f"config.objective.pairs={pairs!r} does not go with config.objective.name='replaced'; use none")


def loss(apply, params, batch, keys_B=None, *, vocab_size, rate: float = 0.15, replaced_weight: float = 50.0):
    """The generator's -log p(token) in nats over the masked tokens, plus the binary cross-entropy of "replaced or not"
    over all tokens (Clark et al. 2020, section 2).

    Args:
      apply, params, keys_B, vocab_size: as in causal.loss; without keys a row's draws hang on its text alone.
      batch: its keys, `tokens` being masked and `original` not. rate: the most of a row that is masked.
      replaced_weight: of the second term.
    Returns:
      ({"loss", "replaced"}, {"accuracy", "replaced_nats", "replaced_accuracy", "replaced_share"}), a (sum, weight)
      each; replaced_nats is the second term before its weight, replaced_share how many tokens were replaced.
    """
    x_BTD, generator_terms = losses.states(apply, params, batch, keys_B, part="generator")
    picked = pick(batch, rate)
    logits_BMV = apply({"params": params}, jnp.take_along_axis(x_BTD, picked["place"][..., None], axis=1),
                       method=lambda model, x_BmD: model.generator.logits(x_BmD))
    nll_BM, correct_BM = losses.cross_entropy(logits_BMV, picked["targets"])
    tokens_BT = _filled(batch["original"], picked, logits_BMV, keys_B)
    replaced_BT = (tokens_BT != batch["original"]).astype(jnp.float32)

    x_BTD, terms = losses.states(apply, params, {**batch, "tokens": tokens_BT}, keys_B)
    score_BT = apply({"params": params}, x_BTD, method="replaced")
    real_BT = (batch["segments"] > 0).astype(jnp.float32)
    nats_BT = jax.nn.softplus(score_BT) - score_BT * replaced_BT
    masked_count, count = picked["weights"].sum(), real_BT.sum()
    over_masked = lambda a_BM: ((a_BM * picked["weights"]).sum(), masked_count)
    over_all = lambda a_BT: ((a_BT * real_BT).sum(), count)
    terms |= {f"generator_{name}": term for name, term in generator_terms.items()}
    return ({"loss": over_masked(nll_BM), "replaced": over_all(replaced_weight * nats_BT), **terms},
            {"accuracy": over_masked(correct_BM), "replaced_nats": over_all(nats_BT),
             "replaced_accuracy": over_all((score_BT > 0) == (replaced_BT > 0)),
             "replaced_share": over_all(replaced_BT)})


def _filled(original_BT, picked, logits_BMV, keys_B):
    """The original tokens, at the masked places what the generator draws."""
    if keys_B is None:
        keys_B = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), original_BT.sum(1))
    draw = lambda key, logits_MV: jax.random.categorical(jax.random.fold_in(key, _DRAW), logits_MV)
    own_BM = jnp.take_along_axis(original_BT, picked["place"], axis=1)  # for places that are left over
    drawn_BM = jnp.where(picked["weights"] > 0, jax.vmap(draw)(keys_B, logits_BMV), own_BM)
    return jnp.asarray(original_BT).at[jnp.arange(len(original_BT))[:, None], picked["place"]].set(drawn_BM)
