"""Choices side by side in one row, framed as BERT does; packing changes nothing."""

import numpy as np
import pytest
from reading import every

import asking
from lmlab.data.features import choices
from lmlab.utils.errors import UserError

TOKENIZER = asking.tokenizer("bytes")
CLS, EOD = TOKENIZER.specials["cls"], TOKENIZER.eod
FOUND = [{"question": "a?", "choices": ["no", "yes"], "answer": 1},
         {"question": "b?", "context": "It is b.", "choices": ["b", "c", "dd"], "answer": 0},
         {"question": "c?", "choices": ["中", "文"], "answer": 0},
         {"question": "d?", "choices": ["1", "2", "3", "4"], "answer": 3}]


def made(windows, length=64, found=FOUND):
    rows = choices.features(asking.split(found), TOKENIZER, length=length, windows=windows)
    return rows, every(rows)


def read(batch):
    """{question: [(first text, second text, right), ...]}; each question in one row."""
    seen = {}
    for b in range(len(batch["tokens"])):
        row = {}
        for k in np.flatnonzero(batch["weights"][b]):
            here = batch["segments"][b] == k + 1
            ids, types = batch["tokens"][b][here], batch["types"][b][here]
            first, second = ids[types == 0].tolist(), ids[types == 1].tolist()
            assert (first[0], first[-1], second[-1]) == (CLS, EOD, EOD)
            assert batch["positions"][b][here].tolist() == list(range(len(ids)))
            row.setdefault(int(batch["question"][b, k]), []).append(
                (bytes(first[1:-1]).decode(), bytes(second[:-1]).decode(), float(batch["right"][b, k])))
        assert not set(row) & set(seen)
        seen |= row
    return seen


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_the_choices_of_a_question_share_a_row(windows):
    rows, batch = made(windows)
    assert rows.count == (4 if windows == "stream" else 2)  # 15, 46, 16 and 24 tokens in rows of 64
    assert read(batch) == {
        1: [("a?", "no", 0), ("a?", "yes", 1)],
        2: [("It is b.", "b? b", 1), ("It is b.", "b? c", 0), ("It is b.", "b? dd", 0)],
        3: [("c?", "中", 1), ("c?", "文", 0)],
        4: [("d?", str(choice), float(choice == 4)) for choice in range(1, 5)]}


def test_a_question_that_is_too_long_is_cut_choice_by_choice(capsys):
    long = {"question": "q" * 9, "choices": ["x" * 30, "y"], "answer": 0}
    _, batch = made("packed", 40, [long, FOUND[0]])
    assert read(batch) == {1: [("q" * 8, "x" * 9, 1), ("q" * 9, "y", 0)], 2: [("a?", "no", 0), ("a?", "yes", 1)]}
    assert "the choices of 1 of the 2 questions of asked (train) are cut" in capsys.readouterr().err


@pytest.mark.parametrize("length, message", [
    (31, "question 4 has 4 choices, which leaves each of them 7 tokens; set config.train.length to at least 32"),
    (8, "length=8: must be at least 16")])
def test_rows_must_hold_the_choices(length, message):
    with pytest.raises(UserError, match=message):
        made("packed", length)
