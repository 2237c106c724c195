"""Denoising (BART: Lewis et al. 2020): the input has spans masked and sentences out of order, the target is the
text."""

from lmlab.data.features import denoising
from lmlab.data.features.denoising import features  # noqa: F401
from lmlab.objectives import seq2seq
from lmlab.objectives.seq2seq import loss  # noqa: F401

SPECIALS = ("mask",)
WHOLE = False


def check(spec, **settings):
    """Raises a UserError where `spec` is no encoder-decoder, or a setting means nothing."""
    seq2seq.check(spec, "denoising", **settings)
    denoising.check(**settings)
