"""What a decoder says of texts that are there: their log-likelihoods, and how far it is from another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lmlab.data import loader
from lmlab.data.features import dialogue
from lmlab.objectives import losses
from lmlab.utils.errors import UserError

_ROWS = 4
_SHORT = 1024  # tokens of a row that texts share, where they are no longer
_LONG = 8      # batches from which on a bar is shown, on a terminal


def check(lm) -> None:
    """Raises a UserError for a model that is no decoder, or has a head in place of its predictions."""
    if lm.labels is not None or lm.model.spec.attends != "causal" or lm.model.spec.encoder_layers:
        raise UserError(f"only a decoder tells how likely a text is, and this model, of config.objective.name="
                        f"{lm.config.objective.name}, is none; name another")


def of_texts(lm, texts, windows="packed") -> np.ndarray:
    """(N, 2) float64: of each text the sum of log p of its learned tokens, in nats, and how many those are.

    Args:
      lm: what lmlab.load gives, a decoder. texts: dialogue.Learned; the beginning of one that is longer than the
        context is left out. windows: how they share rows; the sums do not depend on it.
    """
    sums = functools.partial(_sums, lm.model, jax.device_put(lm.params))
    return _by_text(sums, texts, lm.model.spec.context, windows)


def divergences(lm, other, texts, windows="packed") -> np.ndarray:
    """(N,) float64: of each text the mean, over its learned tokens, of the Kullback-Leibler divergence of `lm` from
    `other`, sum p log(p / q) over the vocabulary, in nats. Arguments as in `of_texts`."""
    params = jax.device_put((lm.params, other.params))
    sums_N2 = _by_text(functools.partial(_divergences, (lm.model, other.model), params), texts, lm.model.spec.context,
                       windows)
    return sums_N2[:, 0] / np.maximum(sums_N2[:, 1], 1)


def _by_text(sums, texts, context, windows):
    """(N, 2): what sums(batch, S) -> (B, S), (B, S) gives of each text."""
    texts = [dialogue.Learned(*(array[-context - 1:] for array in text)) for text in texts]
    sizes_N, found = np.array([text.size for text in texts], int), np.zeros((len(texts), 2))
    # Attention over rows as long as the longest would cost the short ones most.
    for of_these in (sizes_N <= _SHORT, sizes_N > _SHORT):
        places = np.flatnonzero(of_these)
        longest = int(max(sizes_N[places], default=1))
        length = min(max(32, 1 << (longest - 1).bit_length()), max(longest, context))  # few shapes are compiled
        rows = dialogue.rows([[texts[n]] for n in places], length, windows, {"example": (np.int32,)},
                             lambda number, places=places: {"example": places[number] + 1})
        batches = loader.eval_batches(rows, batch=_ROWS) if len(places) else ()
        for batch in tqdm(batches, unit="batch", leave=False, disable=len(batches) < _LONG or None):
            example_BS = batch.pop("example")
            both_BS2 = np.stack(sums(batch, example_BS.shape[1]), -1)
            found[example_BS[example_BS > 0] - 1] = both_BS2[example_BS > 0]
    return found


@functools.partial(jax.jit, static_argnums=(0, 3))
def _sums(model, params, batch, count):
    return losses.log_likelihoods(model.apply, params, batch, None, count, model.spec.vocab_size)[:2]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _divergences(models, params, batch, count):
    states = [losses.states(model.apply, each, batch, None)[0] for model, each in zip(models, params)]

    def divergence(*states_BtD):
        log_p, log_q = (jax.nn.log_softmax(model.apply({"params": each}, x_BtD, method="logits"))
                        for model, each, x_BtD in zip(models, params, states_BtD))
        return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
    each, join = losses.in_pieces(divergence, states, models[0].spec.vocab_size)
    return losses.by_segment(join(each), batch, count)
