"""Span corruption (T5: Raffel et al. 2020, section 3.1.4): sentinels replace spans of the input, the target gives them
back."""

from lmlab.data.features import spans
from lmlab.data.features.spans import features  # noqa: F401
from lmlab.objectives import seq2seq
from lmlab.objectives.seq2seq import loss  # noqa: F401

SPECIALS = tuple(f"extra_{i}" for i in range(100))
WHOLE = False


def check(spec, **settings):
    """Raises a UserError where `spec` is no encoder-decoder, or a setting means nothing."""
    seq2seq.check(spec, "span_corruption", **settings)
    spans.check(**settings)
