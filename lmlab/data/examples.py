"""One split of a corpus of examples, in memory: what the features of tasks are made of."""

import functools
from typing import NamedTuple

from lmlab.data import formats
from lmlab.data.corpus import Corpus


class Split(NamedTuple):
    """The examples of a split.

    Attributes:
      examples: as the format reads them, plain JSON values. meta: name, licence and fingerprint of the whole corpus;
        documents (examples), bytes and words of this split's texts. split: its name.
    """

    examples: list[dict]
    meta: dict
    split: str


@functools.lru_cache(maxsize=4)
def open_split(corpus: Corpus, split: str) -> Split:
    """A split of a corpus of examples; UserError where it has no such split, or holds no examples."""
    examples = list(corpus.examples(split))
    texts = formats.find(corpus.kind).texts
    counts = {"documents": len(examples), "bytes": 0, "words": 0}
    for text in (text for example in examples for text in texts(example)):
        counts["bytes"] += len(text.encode("utf-8"))
        counts["words"] += len(text.split())
    meta = {"name": corpus.name, "licence": corpus.licence, "fingerprint": corpus.fingerprint}
    return Split(examples, meta | counts, split)
