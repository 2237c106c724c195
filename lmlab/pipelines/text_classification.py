"""The labels of texts, and of pairs of texts: [{"label": ..., "score": ...}]."""

from lmlab.decoding import classification
from lmlab.utils.errors import UserError

ENSEMBLES = True  # several models may answer together
_ALONE = "the likeliest alone"


def make(lm):
    """The call: for a text [{"label", "score"}], for a list of texts one such dict each. With top_k= a list of the
    likeliest labels for each text, all of them for None. A pair is {"text": ..., "text_pair": ...}, and gives one such
    dict.

    Scores are probabilities, of several labels each its own; of a number the label is "number" and the score is it.
    """
    def call(inputs, *, top_k=_ALONE):
        if top_k not in (None, _ALONE) and not (isinstance(top_k, int) and not isinstance(top_k, bool) and top_k > 0):
            raise UserError(f"top_k={top_k!r} must be a whole number above 0, or None for all labels")
        one = isinstance(inputs, (str, dict))
        pairs = [_pair(text) for text in ([inputs] if one else inputs)]
        scores_NC = classification.probabilities(lm, [first for first, _ in pairs], [second for _, second in pairs])
        names = lm.labels or ("number",)
        found = []
        for scores_C in scores_NC.tolist():
            order = sorted(range(len(names)), key=lambda c: -scores_C[c])[:1 if top_k == _ALONE else top_k]
            found.append([{"label": names[c], "score": scores_C[c]} for c in order])
        if top_k == _ALONE and not isinstance(inputs, str):
            found = [labels[0] for labels in found]
        return found[0] if one else found
    return call


def _pair(text):
    """(text, second text or None) of what a caller gives."""
    if isinstance(text, dict) and "text" in text and set(text) <= {"text", "text_pair"}:
        text, second = text["text"], text.get("text_pair")
    else:
        second = None
    if not isinstance(text, str) or not isinstance(second, (str, type(None))):
        raise UserError(f'{str(text)[:80]!r} is no text; give strings, or {{"text": "...", "text_pair": "..."}}')
    return text, second
