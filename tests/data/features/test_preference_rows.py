"""Two answers to a prompt side by side: by a table, and what is left out or refused."""

import numpy as np
import pytest

from lmlab.data import tokenizers
from lmlab.data.examples import Split
from lmlab.data.features import preferences
from lmlab.data.tokenizers import extended, plain
from lmlab.utils.errors import UserError
from reading import every

TOKENIZER = tokenizers.chatting(tokenizers.extend(plain.Bytes(), extended.SPEAKERS))
USER, ASSISTANT, END = 258, 259, 256


def pair(prompt, chosen, rejected, **more):
    """An example with two answers."""
    return {"prompt": [{"role": "user", "content": prompt}], "chosen": chosen, "rejected": rejected, **more}


def alone(prompt, completion, good, **more):
    """An example with one."""
    return {"prompt": [{"role": "user", "content": prompt}], "completion": completion, "good": good, **more}


def split_of(*examples):
    """A split of preferences."""
    return Split(list(examples), {"name": "likes"}, "train")


def read(batch, b):
    """[(prompt with its marks, answer)] of the segments of a row, by the weights."""
    found = []
    for segment in range(1, batch["segments"][b].max() + 1):
        mine = batch["segments"][b] == segment
        assert batch["positions"][b][mine].tolist() == list(range(mine.sum()))
        learned = batch["weights"][b][mine] > 0
        assert (np.diff(learned.astype(int)) >= 0).all()  # an answer stands at the end
        tokens, targets = (batch[name][b][mine] for name in ("tokens", "targets"))
        found.append((tokens[:1 + (~learned).sum()].tolist(), targets[learned].tolist()))
    return found


def texts(prompt, answer):
    """What `read` gives of an answer."""
    return [USER, *prompt.encode(), END, ASSISTANT], [*answer.encode(), END]


def test_a_row_holds_both_answers_of_each_pair():
    examples = [pair("a", "bb", "ccc", reference=[-1.5, -2.0]), pair("dd", "e", "f", reference=[-3.0, -4.0]),
                pair("g" * 9, "h" * 9, "i")]
    batch = every(preferences.features(split_of(*examples), TOKENIZER, length=40, windows="packed"))
    rows = {1: [texts("g" * 9, "h" * 9), texts("g" * 9, "i")],
            2: [texts("a", "bb"), texts("a", "ccc"), texts("dd", "e"), texts("dd", "f")]}
    assert batch["pairs"].sum(1).tolist() == [1, 2] and batch["good"].tolist() == batch["pairs"].tolist()
    assert read(batch, 0) == rows[1] and read(batch, 1) == rows[2]
    assert batch["reference"][1].tolist() == [[-1.5, -2.0], [-3.0, -4.0]] and not batch["reference"][0].any()
    stream = preferences.features(split_of(*examples), TOKENIZER, length=40, windows="stream")
    assert stream.count == 3 and read(every(stream), 1) == rows[2][2:]


def test_of_kto_each_answer_stands_beside_that_of_the_next_example():
    found = preferences.compared([pair("a", "b", "c"), alone("d", "e", False), pair("f", "g", "h")], "kto")
    assert [(one["prompt"][0]["content"], one["completion"], one["good"]) for one in found] == [
        ("d", "e", False), ("a", "b", True), ("f", "g", True), ("a", "c", False), ("f", "h", False)]
    assert preferences.compared(found, "kto") == found
    batch = every(preferences.features(split_of(*found), TOKENIZER, length=12, windows="stream", kind="kto"))
    assert [read(batch, b) for b in range(5)] == [
        [texts(one["prompt"][0]["content"], one["completion"]), texts(one["prompt"][0]["content"], after["completion"])]
        for one, after in zip(found, [*found[1:], found[0]])]
    assert batch["good"].ravel().tolist() == [0, 1, 1, 0, 0]


def test_pairs_that_do_not_fit_are_left_out_and_said(capsys):
    rows = preferences.features(split_of(pair("a", "b", "c"), pair("a", "b" * 40, "c")), TOKENIZER, length=40,
                                windows="packed")
    assert rows.count == 1 and every(rows)["pairs"].sum() == 1
    assert "1 of the 2 pairs of answers of likes (train) are left out" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"likes \(train\) has no pair of answers that.* fits in config.train.length=8"):
        preferences.features(split_of(pair("a", "b" * 40, "c")), TOKENIZER, length=8, windows="packed")


@pytest.mark.parametrize("kind", ["dpo", "orpo"])
def test_answers_alone_are_no_pairs(kind):
    with pytest.raises(UserError, match=f"config.objective.kind={kind} compares two answers.*use kto"):
        preferences.features(split_of(alone("a", "b", True)), TOKENIZER, length=40, windows="packed", kind=kind)
