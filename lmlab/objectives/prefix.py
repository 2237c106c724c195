"""Prefix language modelling (Raffel et al. 2020, section 3.2.1; Dong et al. 2019): the first part of a text is read
both ways, the rest predicted from left to right."""

from lmlab.data.features.prefix import features  # noqa: F401
from lmlab.objectives.causal import loss  # noqa: F401  (the batch says what is prefix, and gives it no weight)
from lmlab.objectives.losses import require

SPECIALS = ()
WHOLE = False


def check(spec, **_):
    """Raises a UserError where `spec` is no prefix model."""
    require(spec, "prefix", attends=("prefix",))
