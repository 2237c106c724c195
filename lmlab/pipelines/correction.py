"""A text without its mistakes, and where they were: {"source", "target", "errors"}.

transformers has no such task; the shape is ours.
"""

import re

from lmlab.data.cleaning import CJK, valid_unicode
from lmlab.decoding.text2text import answers
from lmlab.eval.metrics import edits

_UNITS = re.compile(rf"[{CJK}]|\s+|[^\W{CJK}]+|[^\w\s]")  # all that a text is made of


def make(lm):
    """The call: for a string {"source", "target", "errors"}, for a list of strings a list of such dicts; of an
    encoder-decoder or a decoder that chats. Keyword arguments are those of text2text-generation.

    errors: {"start", "end", "text", "correction"} in their order: characters of the source, what stands there (words
    and marks; "" where something is missing), and what it becomes. All of them made give the target.
    """
    def call(texts, **settings):
        rows = [texts] if isinstance(texts, str) else list(texts)
        made = answers(lm, rows, task="correction", **settings)
        out = [{"source": source, "target": target, "errors": errors(valid_unicode(source), target)}
               for source, target in zip(rows, made, strict=True)]
        return out[0] if isinstance(texts, str) else out
    return call


def errors(source, target) -> list[dict]:
    """What makes the target of the source, as in `make`."""
    units, ends = _UNITS.findall(source), [0]
    for unit in units:
        ends.append(ends[-1] + len(unit))
    return [{"start": ends[edit.start], "end": ends[edit.end], "text": source[ends[edit.start]:ends[edit.end]],
             "correction": "".join(edit.replacement)} for edit in edits.edits(units, _UNITS.findall(target))]
