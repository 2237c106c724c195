"""A mixture of denoisers (UL2: Tay et al. 2022): short spans, long ones, or the whole second part of a text to be given
back."""

from lmlab.data.features import ul2
from lmlab.data.features.ul2 import features  # noqa: F401
from lmlab.objectives import seq2seq
from lmlab.objectives.seq2seq import loss  # noqa: F401

SPECIALS = tuple(f"extra_{i}" for i in range(100))
WHOLE = False


def check(spec, **settings):
    """Raises a UserError where `spec` is no encoder-decoder, or a setting means nothing."""
    seq2seq.check(spec, "ul2", **settings)
    ul2.check(**settings)
