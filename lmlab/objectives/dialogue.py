"""Supervised dialogue: a decoder learns the answers of conversations, given all that came before them."""

from lmlab.data.features.dialogue import features  # noqa: F401
from lmlab.data.tokenizers.extended import SPEAKERS
from lmlab.objectives.causal import loss  # noqa: F401
from lmlab.objectives.losses import require

READS = "messages"  # the kind of examples that it learns from
CHATS = True        # its tokenizer needs a chat template
SPECIALS = SPEAKERS
WHOLE = False


def check(spec, **_):
    """Raises a UserError where `spec` is no decoder."""
    require(spec, "dialogue", attends=("causal",))
