"""What a network makes of text: the last layer's states, [1][tokens][width] a text, or one vector a text."""

from lmlab.decoding.embedding import embed, states


def make(lm):
    """The call: texts -> for a string [states], for a list of strings a list of such lists, as nested lists.

    pooled=True gives one vector a text instead (`embed`): a list of floats for a string, a list of such for a list.
    """
    def call(texts, *, pooled=False):
        rows = [texts] if isinstance(texts, str) else list(texts)
        out = embed(lm, rows).tolist() if pooled else [[x_TD.tolist()] for x_TD in states(lm, rows)]
        return out[0] if isinstance(texts, str) else out
    return call
