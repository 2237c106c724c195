"""Pairs side by side in one row, each text framed alone; pairs of labels as SetFit draws them."""

from collections import Counter

import numpy as np
import pytest
from reading import every

import asking
from lmlab.data.features import similar
from lmlab.utils.errors import UserError

TOKENIZER = asking.tokenizer("bytes")
CLS, EOD = TOKENIZER.specials["cls"], TOKENIZER.eod
FOUND = [{"anchor": "a?", "positive": "yes", "negative": "no"}, {"anchor": "b?", "positive": "It is b."},
         {"anchor": "a?", "positive": "It is b.", "negative": "中"}, {"anchor": "yes", "positive": "d" * 40}]
SCORED = [{"first": "a", "second": "b", "score": 0.25}, {"first": "b", "second": "b", "score": 1.0}]


def read(batch):
    """{pair: [(role, text, number of the text, of the anchor, score), ...]}; each pair in one row."""
    seen = {}
    for b in range(len(batch["tokens"])):
        row = {}
        for k in np.flatnonzero(batch["weights"][b]):
            here = batch["segments"][b] == k + 1
            ids = batch["tokens"][b][here].tolist()
            assert (ids[0], ids[-1]) == (CLS, EOD) and batch["positions"][b][here].tolist() == list(range(len(ids)))
            values = [batch[name][b, k].item() for name in ("role", "text", "anchor", "score")]
            row.setdefault(batch["pair"][b, k].item(), []).append(
                (values[0], bytes(ids[1:-1]).decode(), *values[1:]))
        assert not set(row) & set(seen)
        seen |= row
    return seen


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_the_texts_of_a_pair_share_a_row(windows):
    rows = similar.features(asking.split(FOUND), TOKENIZER, length=64, windows=windows)
    assert rows.count == (4 if windows == "stream" else 2)  # 13, 14, 20 and 47 tokens
    assert read(every(rows)) == {
        1: [(1, "a?", 1, 1, 0), (2, "yes", 2, 1, 0), (3, "no", 3, 1, 0)],
        2: [(1, "b?", 4, 4, 0), (2, "It is b.", 5, 4, 0)],
        3: [(1, "a?", 1, 1, 0), (2, "It is b.", 5, 1, 0), (3, "中", 6, 1, 0)],
        4: [(1, "yes", 2, 2, 0), (2, "d" * 40, 7, 2, 0)]}


def test_scored_pairs_have_their_score():
    rows = similar.features(asking.split(SCORED), TOKENIZER, length=16, windows="packed", kind="cosine")
    assert read(every(rows)) == {1: [(1, "a", 1, 1, 0.25), (2, "b", 2, 1, 0.25)],
                                 2: [(1, "b", 2, 2, 1), (2, "b", 2, 2, 1)]}


def test_the_longer_texts_of_a_pair_are_cut(capsys):
    found = [{"anchor": "a" * 30, "positive": "b" * 3, "negative": "c" * 30}]
    rows = similar.features(asking.split(found), TOKENIZER, length=33, windows="stream")
    assert [len(text) for _, text, *_ in read(every(rows))[1]] == [12, 3, 12]  # 5 tokens, 28 left for two
    assert "1 of the 1 pairs" in capsys.readouterr().err


@pytest.mark.parametrize("sizes", [[3, 9, 9], [9], [5, 5, 5, 5], [1, 2, 30], [4, 4]])
def test_room_is_the_most_that_fits(sizes):
    for length in range(len(sizes), sum(sizes) + 3):
        fits = [most for most in range(1, max(sizes) + 1) if sum(min(size, most) for size in sizes) <= length]
        assert similar.room(sizes, length) == max(fits)


def test_pairs_of_the_other_kind_are_refused():
    for found, kind, message in ((SCORED, "ranking", "learns from anchor and positive, .* set it to cosine"),
                                 (FOUND, "cosine", "learns from first and second, scored, .* set it to ranking")):
        with pytest.raises(UserError, match=message):
            similar.features(asking.split(found), TOKENIZER, length=64, windows="packed", kind=kind)


def test_setfit_pairs_are_as_many_of_one_label_as_of_two():
    found = [{"text": f"{label}{n}", "label": label} for label in "abc" for n in range(4)] + [
        {"text": "d0", "label": "d"}]
    pairs = similar.of_labels(found, rounds=20)
    assert pairs == similar.of_labels(found, rounds=20)
    for pair in pairs:
        assert pair["score"] == float(pair["first"][0] == pair["second"][0]) and pair["first"] != pair["second"]
    of = lambda score: Counter(pair["first"][0] for pair in pairs if pair["score"] == score)
    assert similar.of_labels(found[:1], rounds=20) == []
    assert of(1.0) == dict.fromkeys("abc", 20) and of(0.0) == dict.fromkeys("abcd", 20)  # one d has no other


@pytest.mark.parametrize("found,message", [
    ([{"text": "x", "label": "a"}, {"text": "y", "label": "a"}], "all examples have the same one"),
    ([{"text": "x", "pair": "y", "label": "a"}], "compares single texts"),
    ([{"text": "x", "label": ["a", "b"]}], "takes one")])
def test_what_setfit_cannot_compare_is_named(found, message):
    with pytest.raises(UserError, match=message):
        similar.of_labels(found, 2)
