"""Embeddings of texts by comparison: what means the same is near, what does not is far (Reimers & Gurevych 2019)."""

import jax
import jax.numpy as jnp

from lmlab.data.features import check_choice, check_range
from lmlab.data.features.similar import ANCHOR, KINDS, POSITIVE, features  # noqa: F401
from lmlab.models import pooling
from lmlab.objectives import losses

READS = "similar"  # the kind of examples that it learns from
TASK = "retrieval"
UNIT = "pair"      # what the loss is a mean over
SPECIALS = ("cls",)
WHOLE = False
LOGITS = False     # it makes none of tokens
_NEVER = -1e30     # no candidate; not infinite, so that an anchor that is not there has a finite gradient


def check(spec, kind="ranking", temperature=0.05, **_):
    """Raises a UserError where `spec` is no encoder, or a setting means nothing."""
    losses.require(spec, "contrastive", attends=("full",))
    check_choice("kind", kind, KINDS)
    check_range("temperature", temperature, 1e-3, 1e3)


def compares(kind="ranking", **_) -> bool:
    """Whether the loss of a row hangs on the other rows of its batch, which then is neither cut up nor summed."""
    return kind == "ranking"


def loss(apply, params, batch, keys_B=None, *, kind: str = "ranking", temperature: float = 0.05):
    """How far cosines are from what they should be, a mean over pairs; an embedding is the mean of a text's states.

    Args:
      apply, params, keys_B: as in causal.loss.
      batch: as features.similar has it; N texts in all.
      kind: ranking: -log p(positive | anchor) in nats, p being a softmax of cosine / temperature over all positives and
        negatives of the batch (InfoNCE: van den Oord et al. 2018, equation 4; multiple negatives ranking: Henderson et
        al. 2017, section 4.4). A text that is the anchor itself, or a positive of the same anchor, is no negative.
        cosine: the square of cosine - score, of scores from -1 to 1 (Reimers & Gurevych 2019, section 3).
    Returns:
      ({"loss": (sum, weight)}, {"accuracy": (sum, weight)}): the share of anchors to which no candidate is nearer than
      their positive; cosine has no accuracy.
    """
    B, S = batch["role"].shape
    x_BTD, terms = losses.states(apply, params, batch, keys_B)
    e_ND = pooling.pooled(x_BTD.astype(jnp.float32), batch["segments"], S, "mean").reshape(B * S, -1)
    e_ND *= jax.lax.rsqrt(jnp.maximum(jnp.square(e_ND).sum(-1, keepdims=True), 1e-12))
    cosine_NN = jnp.einsum("nd,md->nm", e_ND, e_ND, precision="highest")
    own_NN, rival_NN = sides(*(batch[name].reshape(-1) for name in ("pair", "role", "text", "anchor")), S)
    anchor_N = (batch["role"].reshape(-1) == ANCHOR).astype(jnp.float32)
    mean = lambda each_N: ((each_N * anchor_N).sum(), anchor_N.sum())
    right_N = jnp.where(own_NN, cosine_NN, 0).sum(-1)
    if kind == "cosine":
        return {"loss": mean(jnp.square(right_N - batch["score"].reshape(-1))), **terms}, {}
    logits_NN = jnp.where(own_NN | rival_NN, cosine_NN / temperature, _NEVER)
    return ({"loss": mean(jax.nn.logsumexp(logits_NN, -1) - right_N / temperature), **terms},
            {"accuracy": mean(right_N / temperature >= logits_NN.max(-1))})


def sides(pair_N, role_N, text_N, anchor_N, per_row):
    """(own_NN, rival_NN): whether text m is the positive, or the second text, of text n, which is an anchor; and
    whether it is a negative for it. pair_N, role_N, text_N, anchor_N: as features.similar has them, 0 for none.
    per_row: S."""
    row_N = jnp.arange(len(pair_N)) // per_row  # of a pair that stands in two rows each has its own
    same = lambda a_N: a_N[:, None] == a_N
    is_anchor_N1, is_positive_N = (role_N == ANCHOR)[:, None], role_N == POSITIVE
    own_NN = same(pair_N) & same(row_N) & is_anchor_N1 & is_positive_N
    positive_NN = (text_N[:, None] == anchor_N) & is_positive_N  # of this anchor, wherever it stands
    known_NN = (positive_NN.astype(jnp.float32) @ same(text_N).astype(jnp.float32)) > 0
    return own_NN, is_anchor_N1 & (role_N >= POSITIVE) & ~known_NN & ~same(text_N)
