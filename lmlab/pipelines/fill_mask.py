"""What may stand where a text has a mask: [{"score", "token", "token_str", "sequence"}]."""

import numpy as np

from lmlab.data.cleaning import valid_unicode
from lmlab.decoding import masked
from lmlab.utils.errors import UserError


def make(lm):
    """The call: a text with <mask> or [MASK] in it -> the top_k= likeliest tokens there, each {"score", "token",
    "token_str", "sequence"}, the last being the text with it; of several masks a list of such lists. A list of texts
    gives a list of what each gives, but a list of one just that.

    score is p(token) over the whole vocabulary, with targets= too: the words among which to choose, of one token each.
    """
    masked.check(lm)

    def call(texts, *, top_k=5, targets=None):
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
            raise UserError(f"top_k={top_k!r} must be a whole number above 0")
        rows = [texts] if isinstance(texts, str) else list(texts)
        for text in rows:
            if not isinstance(text, str):
                raise UserError(f"{str(text)[:80]!r} is no text; give a string or a list of strings")
        among = np.arange(lm.tokenizer.vocab_size) if targets is None else _ids(lm.tokenizer, targets)
        encoded = [masked.encode(lm.tokenizer, valid_unicode(text)) for text in rows]
        out = []
        for text, p_MV in zip(encoded, masked.probabilities(lm, encoded), strict=True):
            found = [_best(lm.tokenizer, text, number, p_V, among, top_k) for number, p_V in enumerate(p_MV)]
            out.append(found[0] if len(found) == 1 else found)
        return out[0] if len(out) == 1 else out
    return call


def _best(tokenizer, text, number, p_V, among, top_k):
    """The likeliest tokens for one mask."""
    order = among[np.argsort(-p_V[among], kind="stable")[:top_k]].tolist()
    return [{"score": float(p_V[i]), "token": i, "token_str": tokenizer.decode([i]),
             "sequence": masked.decode(tokenizer, text, number, i)} for i in order]


def _ids(tokenizer, targets):
    """The ids of words, each once."""
    words = [targets] if isinstance(targets, str) else list(targets)
    if not words:
        raise UserError("targets=[] leaves nothing to choose from; give words, or leave it out")
    found = []
    for word in words:
        ids = tokenizer.encode(word) if isinstance(word, str) else []
        if len(ids) != 1:
            raise UserError(f"targets: {str(word)[:80]!r} is {len(ids)} tokens, and a mask stands for one; give words "
                            "that are one token")
        found += ids
    return np.array(list(dict.fromkeys(found)))
