"""Words and what they are: one dict a word, or a group of words."""

from lmlab.decoding import tagging
from lmlab.utils.errors import UserError

STRATEGIES = ("none", "simple", "first", "average", "max")


def make(lm):
    """The call: texts -> for a string a list of dicts, for a list of strings a list of such lists; words told O are
    left out.

    aggregation_strategy="none" gives {"entity", "score", "index", "word", "start", "end"} for each word, the index
    being its number from 1, the score its probability. The others give {"entity_group", "score", "word", "start",
    "end"} for words that belong together, with their mean score. They are all the same here: they differ in how the
    tokens of a word are made one, and our networks tell whole words.
    """
    def call(texts, *, aggregation_strategy="none"):
        if aggregation_strategy not in STRATEGIES:
            raise UserError(f"aggregation_strategy={aggregation_strategy!r} is unknown; one of {', '.join(STRATEGIES)}")
        rows = [texts] if isinstance(texts, str) else list(texts)
        for text in rows:
            if not isinstance(text, str):
                raise UserError(f"{str(text)[:80]!r} is no text; give a string or a list of strings")
        shape = _words if aggregation_strategy == "none" else _groups
        out = [shape(text, said) for text, said in zip(rows, tagging.tag(lm, rows), strict=True)]
        return out[0] if isinstance(texts, str) else out
    return call


def _words(text, said):
    return [{"entity": tag, "score": score, "index": index, "word": text[start:end], "start": start, "end": end}
            for index, ((start, end), tag, score) in enumerate(zip(*said), 1) if tag != "O"]


def _groups(text, said):
    return [{"entity_group": one.label, "score": one.probability, "word": text[one.start:one.end], "start": one.start,
             "end": one.end} for one in tagging.entities(said)]
