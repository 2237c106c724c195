"""Continue a text: [{"generated_text": prompt + continuation}]."""

from lmlab.decoding.text import generate


def make(lm):
    """The call: texts -> for a string [{"generated_text"}], for a list of strings a list of such lists.

    Keyword arguments are those of `lmlab.generate`; return_full_text=False leaves the prompt out.
    """
    def call(texts, *, return_full_text=True, **settings):
        rows = [texts] if isinstance(texts, str) else list(texts)
        out = [[{"generated_text": (row if return_full_text else "") + text}]
               for row, text in zip(rows, generate(lm, rows, **settings), strict=True)]
        return out[0] if isinstance(texts, str) else out
    return call
