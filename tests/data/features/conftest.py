"""A tokenizer whose text can be read off its ids, and stores laid out from lists of ids."""

import numpy as np
import pytest

from lmlab.data.store import TokenStore

FIRST = 110  # ids below it are special


class Numbers:
    """Id i >= FIRST is a word's beginning (" w120"), at 1 of 4 ids its continuation ("c121"), and at 1 of 10 the end
    of a sentence ("."). Below that: eod 0, cls 1, mask 2, pad 3, extra_99 to extra_0 4 to 103."""

    kind, eod, chat_template = "numbers", 0, ""

    def __init__(self, vocab_size=20000):
        self.vocab_size = vocab_size
        self.specials = {"cls": 1, "mask": 2, "pad": 3} | {f"extra_{i}": 103 - i for i in range(100)}

    def piece(self, i):
        """The text of one id."""
        if i < FIRST:
            return f"<{i}>"
        return "." if i % 10 == 9 else f"c{i}" if i % 4 == 1 else f" w{i}"

    def encode(self, text):
        """Only what the tables ask for."""
        assert text == "a"
        return [FIRST]

    def decode(self, ids):
        """The pieces, special ones left out."""
        return "".join(self.piece(i) for i in ids if i >= FIRST)


@pytest.fixture(scope="session")
def numbers():
    """The tokenizer."""
    return Numbers()


@pytest.fixture
def lay(tmp_path):
    """(documents, fields=1) -> a TokenStore of lists of ids."""
    made = iter(range(10**6))

    def store(documents, fields=1):
        tokens = np.concatenate([[0], *([*document, 0] for document in documents)]).astype(np.uint16)
        offsets = np.concatenate([[0], np.cumsum([len(document) + 1 for document in documents])]).astype(np.int64)
        folder = tmp_path / str(next(made))
        folder.mkdir()
        return TokenStore(tokens, offsets, {"name": "laid out", "fields": fields}, folder, "train")

    return store


@pytest.fixture
def distinct(lay):
    """A store of 90 documents of 1 to 200 tokens, no token twice: a token tells where it stood."""
    sizes = np.random.default_rng(0).integers(1, 200, 90)
    ids = np.split(np.arange(FIRST, FIRST + sizes.sum()), np.cumsum(sizes)[:-1])
    return lay([document.tolist() for document in ids])
