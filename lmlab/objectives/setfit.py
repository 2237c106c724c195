"""SetFit (Tunstall et al. 2022): few labelled texts, compared with one another, tune an encoder; a head learns after.

The head is a second run: config.objective.name=classification, config.init_from=the first.
"""

from lmlab.data.features import check_range, similar
from lmlab.objectives import contrastive, losses
from lmlab.objectives.contrastive import LOGITS, SPECIALS, UNIT, WHOLE  # noqa: F401

READS = "labelled"  # the kind of examples that it learns from
TASK = ""           # a run is measured by the objective itself


def check(spec, rounds=20, **_):
    """Raises a UserError where `spec` is no encoder, or a setting means nothing."""
    losses.require(spec, "setfit", attends=("full",))
    check_range("rounds", rounds, 1, 2 ** 16)


def features(split, tokenizer, *, length, windows, rounds: int = 20):
    """Rows of scored pairs (`similar.features`). rounds: R of the paper, the pairs of texts with the same label, and
    with another, that each label gives (`similar.of_labels`)."""
    pairs = similar.of_labels(split.examples, rounds)
    return similar.features(split._replace(examples=pairs), tokenizer, length=length, windows=windows, kind="cosine")


def loss(apply, params, batch, keys_B=None):
    """The square of cosine - score over pairs, as in contrastive.loss."""
    return contrastive.loss(apply, params, batch, keys_B, kind="cosine")
