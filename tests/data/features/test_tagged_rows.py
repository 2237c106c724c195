"""Rows of tagged texts: every word told once, at its first token, in the window that shows most around it."""

import numpy as np
import pytest

from lmlab.data.examples import Split
from lmlab.data.features import tagged
from lmlab.data.formats.tagged import words_of
from lmlab.data.tokenizers import extend, plain, wordpiece
from lmlab.utils.errors import UserError

BYTES = extend(plain.Bytes(), ["cls"])
CLS, EOD = BYTES.specials["cls"], BYTES.eod
TEXTS = ["Anna saw Oslo.", "春天 in 北京!", "a longer text, of which no row holds all the words at once: " * 3, "x"]


def example(text):
    """A text whose words are tagged with their number, modulo 5."""
    words = words_of(text)
    return {"text": text, "words": words, "tags": [str(number % 5) for number in range(len(words))]}


def made(windows, length=40, found=tuple(map(example, TEXTS)), tokenizer=BYTES):
    split = Split(list(found), {"name": "made up"}, "train")
    rows = tagged.features(split, tokenizer, length=length, windows=windows, labels=tuple("01234"))
    return rows.make(np.arange(rows.count), np.zeros(rows.count, int), 0)


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_every_word_stands_once_at_its_first_byte_beside_its_tag(windows):
    batch = made(windows)
    assert batch["places"].shape == batch["words"].shape == batch["tags"].shape and batch["words"].shape[1] % 32 == 0
    cut = tagged.windows_of(BYTES, TEXTS, [words_of(text) for text in TEXTS], 40)
    seen = []
    for b, k in np.argwhere(batch["example"]).tolist():
        window, mine = cut[batch["example"][b, k] - 1], batch["words"][b] == k + 1
        assert (batch["segments"][b, batch["places"][b, mine]] == k + 1).all()
        text = TEXTS[window.text]
        for place, tag, number in zip(batch["places"][b, mine], batch["tags"][b, mine],
                                      range(window.first, window.after), strict=True):
            start, end = words_of(text)[number]
            word = text[start:end].encode()
            assert batch["tokens"][b, place:place + len(word)].tolist()[:3] == list(word[:3]) and tag == number % 5
            seen.append((window.text, number))
    assert sorted(seen) == [(number, word) for number, text in enumerate(TEXTS) for word in range(len(words_of(text)))]
    for b, row in enumerate(batch["words"]):
        real = row[row > 0]
        assert (np.diff(real) >= 0).all() and (row[len(real):] == 0).all()  # one after another, padding last
        assert not batch["tags"][b, len(real):].any()


def test_a_short_text_is_one_window_framed():
    window, = tagged.windows_of(BYTES, ["ab c"], [[[0, 2], [3, 4]]], 7)
    assert window.encoded.ids.tolist() == [CLS, *b"ab c", EOD] and window.encoded.places.tolist() == [1, 4]


@pytest.mark.parametrize("length, size", [(10, 41), (11, 57), (16, 15), (16, 14), (5, 30)])
def test_a_word_is_told_in_the_window_that_shows_most_on_its_poorer_side(length, size):
    """Of all windows, found by their ids: the text's tokens are all different."""
    text = "".join(chr(33 + i) for i in range(size))
    cut = tagged.windows_of(BYTES, [text], [[[i, i + 1] for i in range(size)]], length)
    held = [[i - 33 for i in one.encoded.ids[1:-1].tolist()] for one in cut]
    assert all(len(one.encoded.ids) <= length for one in cut)
    told = [window for window, one in enumerate(cut) for _ in range(one.first, one.after)]
    assert [word for one in cut for word in range(one.first, one.after)] == list(range(size))
    shown = lambda window, word: min(word - held[window][0], held[window][-1] - word)
    for word, window in enumerate(told):
        assert held[window][0] <= word <= held[window][-1]
        assert shown(window, word) == max(shown(other, word) for other in range(len(cut)) if word in held[other])
    assert all(2 * len(set(a) & set(b)) >= len(a) for a, b in zip(held, held[1:]))


def test_the_first_of_a_word_s_pieces():
    tokenizer = extend(wordpiece.train(["Anna saw Oslo unhappily . again and again"] * 9, 48, "wordpiece"), ["cls"])
    text = "Oslo unhappily\u200b Anna."
    ids, offsets = tokenizer.encode_offsets(text)
    first_W, own_W = tagged.first_tokens(offsets, words_of(text))
    expected = [next(i for i, (start, end) in enumerate(offsets) if start < word[1] and end > word[0])
                for word in [(0, 4), (5, 14), (16, 20), (20, 21)]]
    kept = [0, 1, len(first_W) - 2, len(first_W) - 1]
    assert [first_W[word] for word in kept] == expected and own_W[kept].all()
    assert len(ids) > 4  # some words are of several pieces


def test_words_without_a_token_of_their_own_are_told(capsys):
    found = {"text": "ab\u200b \u200b c", "words": [[0, 2], [4, 5], [6, 7]], "tags": ["0", "1", "2"]}
    tokenizer = extend(wordpiece.train(["ab c"] * 9, 10, "wordpiece"), ["cls"])
    ids, _ = tokenizer.encode_offsets(found["text"])
    batch = made("stream", found=[found], tokenizer=tokenizer)
    assert len(ids) == 2 and batch["tokens"][0, batch["places"][0, :3]].tolist() == [ids[0], ids[0], ids[1]]
    assert "1 words of made up (train) have no token of their own (the first is '\\u200b')" in capsys.readouterr().err


def test_words_that_share_a_token():
    first_W, own_W = tagged.first_tokens([(0, 2), (2, 3)], [[0, 1], [1, 2], [2, 3]])
    assert first_W.tolist() == [0, 0, 1] and own_W.tolist() == [True, False, True]
    first_W, own_W = tagged.first_tokens([], [[0, 1]])  # a text of which nothing is left
    assert first_W.tolist() == [0] and own_W.tolist() == [False]


def test_a_tag_that_the_model_does_not_know_is_named():
    with pytest.raises(UserError, match=r"made up \(train\) has the tag 9"):
        made("stream", found=[{"text": "x", "words": [[0, 1]], "tags": ["9"]}])
    assert tagged.names(map(example, TEXTS[:1])) == ("0", "1", "2", "3")
