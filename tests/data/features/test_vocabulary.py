"""Tables over real vocabularies, against words and sentences found in the text by regular expressions."""

import re

import numpy as np
import pytest

from lmlab.data import corpus, tokenizers
from lmlab.data.features import vocabulary

TEXT = "The tokenizers, trained here, (re)build words.\nIs this so? Yes! \u4e2d\u6587\u3002 It has sub-word pieces."


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A corpus with the characters of TEXT."""
    folder = tmp_path_factory.mktemp("text")
    more = "\nSome more words and characters to build pieces of words from. "
    (folder / "a.txt").write_text((TEXT + more) * 40, "utf-8")
    return corpus.build(path=str(folder / "a.txt"))


@pytest.fixture(params=["chars", "bpe", "unigram", "bbpe", "wordpiece"])
def tokenizer(request, text):
    """One of each kind, with special tokens."""
    sizes = {"bpe": 340, "unigram": 300, "bbpe": 330, "wordpiece": 90}
    return tokenizers.build(request.param, sizes.get(request.param, 0), corpus=text, specials=("cls", "mask"))


def test_words_are_those_between_spaces_and_marks(tokenizer):
    begins_V, ends_V = vocabulary.words(tokenizer)
    ids = np.array(tokenizer.encode(TEXT))
    first = begins_V[ids] | np.concatenate([[True], ends_V[ids[:-1]]])
    groups = np.split(ids, np.flatnonzero(first)[1:] if first[0] else np.flatnonzero(first))
    found = [word for word in (tokenizer.decode(group.tolist()).strip() for group in groups) if word]
    if tokenizer.kind == "bbpe":  # a Chinese character may be several tokens: one word or more
        found = [word for word in found if word.isascii()]
    expected = re.findall(r"[\u4e00-\u9fff]|[a-zA-Z]+|[^\w\s]", TEXT)
    assert found == [word for word in expected if word.isascii() or tokenizer.kind != "bbpe"]


def test_sentences_begin_after_marks_and_lines(tokenizer):
    ids = np.array(tokenizer.encode(TEXT))
    starts = vocabulary.sentence_starts(ids, vocabulary.sentence_ends(tokenizer))
    parts = [tokenizer.decode(part.tolist()).strip() for part in np.split(ids, starts)]
    expected = [part.strip() for part in re.findall(r".+?[.?!\u3002](?:\s|$)*", TEXT.replace("\n", " "))]
    if tokenizer.kind == "bbpe":  # its CJK full stop may be split into bytes
        parts, expected = parts[:3], expected[:3]
    bare = lambda texts: ["".join(text.split()) for text in texts]  # WordPiece does not keep spaces
    assert bare(parts) == bare(expected)


def test_special_ids_are_eod_and_the_roles(tokenizer):
    special = set(np.flatnonzero(vocabulary.specials(tokenizer)).tolist())
    assert {tokenizer.eod, tokenizer.specials["cls"], tokenizer.specials["mask"]} <= special and len(special) < 9


def test_bytes_of_one_character_stay_together():
    tokenizer = tokenizers.extend(tokenizers.plain.Bytes(), ["mask"])
    begins_V, ends_V = vocabulary.words(tokenizer)
    assert not begins_V[0x80:0x100].any() and not ends_V[0x80:0x100].any()
    assert begins_V[ord(" ")] and begins_V[ord(",")] and ends_V[ord(",")] and not begins_V[ord("e")]
