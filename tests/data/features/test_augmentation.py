"""Changed texts: how often each change comes, what may not change, and that the same index gives the same text."""

from collections import Counter

import numpy as np
import pytest

from lmlab.data.examples import Split
from lmlab.data.features import augmentation, labelled, tagged
from lmlab.data.tokenizers import extend, plain
from lmlab.utils.errors import UserError

TOKENIZER = extend(plain.Bytes(), ["cls"])
TEXT = "the quick brown fox jumps over the lazy dog, again and again and again (it is said) today"


@pytest.fixture
def synonyms(tmp_path):
    (tmp_path / "synonyms.txt").write_text("quick,fast,speedy\n今天,今日\n\nlazy, idle\n", "utf-8")
    return tmp_path / "synonyms.txt"


def operation(before, after, known):
    """Which change made a text of others, told by its words alone."""
    a, b = (Counter(unit.text for unit in augmentation.split(text, known)[0]) for text in (before, after))
    new = sum((b - a).values())
    return ("nothing" if after == before else "swap") if a == b else "delete" if not new else (
        "insert" if not a - b else "replace")


def test_each_operation_is_as_likely(synonyms):
    known, rng = augmentation.read(synonyms), np.random.default_rng(0)
    found = Counter(operation(TEXT, augmentation.text(TEXT, 0.2, known, rng), known) for _ in range(4000))
    # a swap of equal words, and nothing left out, look like nothing
    assert found["replace"] == pytest.approx(800, abs=100) and found["insert"] == pytest.approx(800, abs=100)
    assert found["swap"] == pytest.approx(800, abs=100) and found["delete"] == pytest.approx(770, abs=100)
    none = augmentation.read("")
    without = Counter(operation(TEXT, augmentation.text(TEXT, 0.2, none, rng), known) for _ in range(900))
    assert without.keys() == {"nothing", "swap", "delete"}


def test_words_are_left_out_with_their_probability_and_others_are_n():
    known, rng, words = augmentation.read(""), np.random.default_rng(1), [f"w{i}" for i in range(40)]
    units = augmentation.split(" ".join(words), known)[0]
    left, moved = [], []
    for _ in range(3000):
        after = [unit.text for unit in augmentation.changed(units, 0.1, known, rng)]
        if len(after) < len(words):
            left.append(len(words) - len(after))
        elif after != words:
            moved.append(sum(x != y for x, y in zip(after, words)))
    assert np.mean(left) == pytest.approx(4 / (1 - 0.9 ** 40), rel=0.05)  # of binomials that are not 0
    assert max(moved) == 8 and np.mean(moved) > 6  # four swaps move eight words, or fewer where they meet
    alone = [augmentation.text("word", 1.0, known, rng) for _ in range(50)]
    assert set(alone) == {"word"}


def test_a_text_is_put_together_as_it_was(synonyms):
    for text in (TEXT, "今天天气 很好，don't go!", "", "  ", "(x)"):
        for file in ("", synonyms):
            assert augmentation.join(*augmentation.split(text, augmentation.read(file))) == text


def test_chinese_changes_by_characters_and_the_words_of_the_file(synonyms):
    known, rng = augmentation.read(synonyms), np.random.default_rng(0)
    assert [unit.text for unit in augmentation.split("今天很好", known)[0]] == ["今天", "很", "好"]
    found = {augmentation.text("今天很好", 0.4, known, rng) for _ in range(300)}
    assert {"今日很好", "很今天好", "今天今日很好", "今天好"} <= found and not any(" " in text for text in found)


def test_entities_move_as_a_whole_and_keep_their_tags(synonyms):
    words = "Quick New York sees lazy old Ann Lee".split()
    tags = ["O", "B-LOC", "I-LOC", "O", "O", "O", "B-PER", "I-PER"]
    text, places, at = " ".join(words), [], 0
    for word in words:
        places.append([at, at + len(word)])
        at += len(word) + 1
    known, rng, seen = augmentation.read(synonyms), np.random.default_rng(0), set()
    for _ in range(500):
        new, where, told = augmentation.tagged(text, places, tags, 0.3, known, rng)
        assert len(where) == len(told) and all(new[start:end].strip() == new[start:end] != "" for start, end in where)
        assert where == sorted(where)
        spans = sorted((told[i][2:], new[where[i][0]:where[i + 1][1]]) for i in range(len(told)) if told[i][0] == "B")
        assert spans == [("LOC", "New York"), ("PER", "Ann Lee")]
        assert Counter(told)["I-LOC"] == Counter(told)["I-PER"] == 1
        seen.add(new)
    assert any(text.startswith("Ann Lee") for text in seen) and any("idle" in text for text in seen)
    assert augmentation.join_tagged(*augmentation.split_tagged(text, places, tags)) == (text, places, tags)


def split(name, count=12):
    words = [["the", "quick", "dog", "ran", str(i)] for i in range(count)]
    found = [{"text": " ".join(w), "label": "ab"[i % 2], "tags": ["O", "O", "B-X", "O", "O"],
              "words": [[0, 3], [4, 9], [10, 13], [14, 17], [18, 18 + len(w[-1])]]} for i, w in enumerate(words)]
    return Split(found, {"name": "made up"}, name)


@pytest.mark.parametrize("windows", ["stream", "packed"])
@pytest.mark.parametrize("features,labels", [(labelled.features, ("a", "b")), (tagged.features, ("B-X", "O"))])
def test_rows_change_with_the_epoch_alone_and_only_those_of_training(features, labels, windows, synonyms):
    make = lambda name="train", **more: features(split(name), TOKENIZER, length=64, windows=windows, labels=labels,
                                                 **more)
    rows, plain_rows = make(augment=0.3, synonyms=str(synonyms)), make()
    every = lambda rows, epoch, seed=3: rows.make(np.arange(rows.count), np.full(rows.count, epoch), seed)
    first, again, later = every(rows, 0), every(rows, 0), every(rows, 1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["tokens"], later["tokens"])
    if "target" in first:
        assert first["weights"].sum() == later["weights"].sum() == 12
        gold, told = ({n: t.tolist() for n, t in zip(b["example"].flat, b["target"].reshape(-1, 2)) if n}
                      for b in (every(plain_rows, 0), first))
        assert gold == told
    else:
        assert ((first["tags"] == 0) & (first["words"] > 0)).sum() == 12  # every entity, once
        place = first["places"][(first["tags"] == 0) & (first["words"] > 0)]
        rows_of = np.nonzero((first["tags"] == 0) & (first["words"] > 0))[0]
        assert all(bytes(first["tokens"][b, p:p + 3].tolist()) == b"dog" for b, p in zip(rows_of, place))
    one = rows.make(np.array([1]), np.array([0]), 3)
    assert np.array_equal(one["tokens"][0], first["tokens"][1])
    for off in (make(augment=0.0), make("validation", augment=0.3), make("test", augment=0.3)):
        a, b = every(off, 1), every(plain_rows, 1)
        assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_text_too_long_for_its_row_is_as_it_was(synonyms):
    rows = tagged.features(split("train", 1), TOKENIZER, length=20, windows="packed", labels=("B-X", "O"), augment=1.0,
                           synonyms=str(synonyms))
    assert all(rows.make(np.array([0]), np.array([e]), 0)["words"].max() == 1 for e in range(20))


@pytest.mark.parametrize("content, settings, message", [
    ("alone\n", dict(augment=0.1), "line 1: 'alone' stands alone"),
    ("", dict(augment=2.0), "augment=2.0 must be from 0"),
    ("a,b\n", dict(augment=0.0), "would not be used; set config.objective.augment above 0"),
    (None, dict(augment=0.1), "is no file; name one with a set of synonyms")])
def test_settings_that_mean_nothing_are_refused(content, settings, message, tmp_path):
    if content is not None:
        (tmp_path / "synonyms.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        augmentation.check(synonyms=str(tmp_path / "synonyms.txt"), **settings)
        augmentation.digest(str(tmp_path / "synonyms.txt"))
