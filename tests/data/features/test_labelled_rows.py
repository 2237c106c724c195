"""Rows of labelled examples: every text once, framed as BERT does, packed as if each were alone."""

import numpy as np
import pytest

from lmlab.data.examples import Split
from lmlab.data.features import examples, labelled
from lmlab.data.tokenizers import extend, plain
from lmlab.utils.errors import UserError

TOKENIZER = extend(plain.Bytes(), ["cls"])
CLS, EOD = TOKENIZER.specials["cls"], TOKENIZER.eod
TEXTS = ["one", "a longer text of some words", "x", "中文", "two and", "the pair of"]
FOUND = [{"text": text, "label": "ab"[i % 2], **({"pair": "its second"} if i > 4 else {})}
         for i, text in enumerate(TEXTS)]


def made(windows, length=32, found=FOUND, **settings):
    split = Split(found, {"name": "made up"}, "train")
    rows = labelled.features(split, TOKENIZER, length=length, windows=windows, labels=("a", "b"), **settings)
    return rows, rows.make(np.arange(rows.count), np.zeros(rows.count, int), 0)


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_every_example_stands_in_one_place_with_what_belongs_around_it(windows):
    rows, batch = made(windows)
    assert rows.count == (6 if windows == "stream" else 3)  # 29 + 3, 24 + 8, 5 + 9 tokens in rows of 32
    seen = {}
    for b, k in np.argwhere(batch["example"]).tolist():
        here = batch["segments"][b] == k + 1
        ids, types = batch["tokens"][b, here].tolist(), batch["types"][b, here].tolist()
        np.testing.assert_array_equal(batch["positions"][b, here], np.arange(len(ids)))
        number = batch["example"][b, k] - 1
        seen[number] = ids, types
        assert batch["weights"][b, k] == 1
        np.testing.assert_array_equal(batch["target"][b, k], [number % 2 == 0, number % 2 == 1])
    assert sorted(seen) == list(range(6)) and batch["weights"].sum() == 6
    for number, (ids, types) in seen.items():
        first = [CLS, *TEXTS[number].encode(), EOD]
        second = [*b"its second", EOD] if number > 4 else []
        assert ids == first + second and types == [0] * len(first) + [1] * len(second)
    assert (batch["tokens"][batch["segments"] == 0] == 0).all()


@pytest.mark.parametrize("first, second, kept", [(50, 5, (13, 5)), (5, 50, (5, 13)), (50, 50, (9, 9)), (9, 9, (9, 9)),
                                                 (50, None, (19, None)), (3, 4, (3, 4))])
def test_the_longer_text_is_cut(first, second, kept):
    framed = examples.frame(TOKENIZER, [1] * first, None if second is None else [2] * second, 21)
    assert (framed.ids == 1).sum() == kept[0] and (framed.ids == 2).sum() == (kept[1] or 0)
    assert len(framed.ids) <= 21 and framed.types.sum() == (0 if second is None else kept[1] + 1)


def test_what_was_cut_is_told_once(capsys):
    for _ in range(2):
        made("stream", length=16)
    assert capsys.readouterr().err == (
        "2 of the 6 examples of made up (train) are cut to config.train.length=16 tokens\n")


def test_rare_labels_weigh_more():
    found = [{"text": "x", "label": label} for label in "aaab"]
    _, batch = made("stream", found=found, balance=1.0)
    np.testing.assert_allclose(batch["balance"][:, 0], [4 / 6] * 3 + [2])
    np.testing.assert_allclose(made("stream", found=found, balance=0.5)[1]["balance"][:, 0] ** 2, [4 / 6] * 3 + [2],
                               rtol=1e-6)


def test_labels_of_each_kind():
    several = [{"text": "x", "label": "b|a"}, {"text": "y", "label": []}, {"text": "z", "label": ["c"]}]
    assert labelled.names(several, "several") == ("a", "b", "c")
    np.testing.assert_array_equal(labelled.target("b|a", ("a", "b", "c"), "several"), [1, 1, 0])
    np.testing.assert_array_equal(labelled.target("2.5", (), "number"), [2.5])
    with pytest.raises(UserError, match="'two' is no number"):
        labelled.target("two", (), "number")
    with pytest.raises(UserError, match="an example has the labels c, d"):
        labelled.names([{"text": "z", "label": ["c", "d"]}], "single")
