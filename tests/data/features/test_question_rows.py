"""Windows over contexts: nothing is left out, answers are cut as they were written, and packing changes nothing."""

import numpy as np
import pytest
from reading import every

import asking
from lmlab.data.features import questions
from lmlab.utils.errors import UserError

KINDS = ("bytes", "chars", "bbpe", "wordpiece-uncased")


def pieces(window):
    """The tokens of the context that a window holds."""
    return window.encoded.ids[window.head:-1].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length, stride", [(12, 0), (16, 3), (24, 100), (200, 5)])
def test_windows_hold_every_token_and_share_the_stride(kind, length, stride):
    tokenizer = asking.tokenizer(kind)
    asked, contexts = ["Who?", "Qui donc?" * 20, "谁"] * 2, [*asking.CONTEXTS.values(), "short", "1"]
    windows = questions.cut(tokenizer, asked, contexts, length, stride)
    assert [window.question for window in windows] == sorted(window.question for window in windows)
    for number, (question, context) in enumerate(zip(asked, contexts)):
        mine, ids = [window for window in windows if window.question == number], tokenizer.encode(context)
        question_ids = tokenizer.encode(question)[:length // 2 - 2]
        together = []
        for window, after in zip(mine, [*mine[1:], None]):
            head = [tokenizer.specials["cls"], *question_ids, tokenizer.eod]
            assert window.encoded.ids.tolist() == [*head, *pieces(window), tokenizer.eod]
            assert window.encoded.types.tolist() == [0] * len(head) + [1] * (len(pieces(window)) + 1)
            assert pieces(window) == ids[window.start:window.start + len(pieces(window))]
            room = length - len(head) - 1
            if after:
                assert len(pieces(window)) == room and len(window.encoded.ids) == length
                assert window.start + room - after.start == min(stride, room // 2)
            together += pieces(window)[:None if after is None else after.start - window.start]
        assert together == ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", asking.CONTEXTS)
def test_an_answer_is_found_where_all_of_it_stands_and_nowhere_else(kind, name):
    """Every span of tokens in every window: its characters lead back to it, and windows with a part of it have none."""
    tokenizer, context = asking.tokenizer(kind), asking.CONTEXTS[name]
    _, offsets = tokenizer.encode_offsets(context)
    windows = questions.cut(tokenizer, ["Who?"], [context], 24, 7)
    assert len(windows) > 1
    for first in range(len(offsets)):
        for last in range(first, min(first + 9, len(offsets))):
            start, end = offsets[first][0], offsets[last][1]
            if start == end:
                continue
            over = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]  # of a character, several bytes
            holding = 0
            for window in windows:
                found = questions.place(window, start, end)
                stop = window.start + len(pieces(window))
                if window.start <= over[0] and over[-1] < stop:
                    assert [i - window.head + window.start for i in found] == [over[0], over[-1]]
                    holding += 1
                else:
                    assert found == (0, 0)
            assert holding or len(over) > 8  # the stride, and one more


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name, answer", [
    ("plain", "Ada Lovelace"), ("plain", "1843"), ("accents", "Besançon"), ("accents", "l’œuvre"),
    ("accents", "İstanbul"), ("accents", "Straße"), ("accents", "e\u0301te\u0301"), ("accents", "Né"),
    ("chinese", "北京大学"), ("chinese", "1898年"),
    ("chinese", "Cài Yuánpéi 先生"), ("blanks", "🙂 and  a face")])
def test_an_answer_is_cut_as_it_is_written(kind, name, answer):
    tokenizer, context = asking.tokenizer(kind), asking.CONTEXTS[name]
    start = context.index(answer)
    for window in questions.cut(tokenizer, ["Who?"], [context], 150, 7):
        first, last = questions.place(window, start, start + len(answer))
        assert first > 0
        assert questions.characters(window, context, first, last) == (start, start + len(answer))


def read(batch):
    """Every window of a batch: (ids, types, start, end)."""
    for b, k in np.argwhere(batch["weights"]):
        here = batch["segments"][b] == k + 1
        assert batch["positions"][b][here].tolist() == list(range(here.sum()))
        yield (batch["tokens"][b][here].tolist(), batch["types"][b][here].tolist(), int(batch["start"][b, k]),
               int(batch["end"][b, k]))


def test_packed_windows_are_the_same_windows(capsys):
    tokenizer, context = asking.tokenizer("bytes"), asking.CONTEXTS["plain"]
    found = [asking.question(context, 23, 35), asking.question(context), asking.question("Ada", 0, 3),
             asking.question(context, 0, len(context))]
    make = lambda windows, length: questions.features(asking.split(found), tokenizer, length=length, windows=windows,
                                                      stride=20)
    alone, packed = (list(read(every(make(windows, 64)))) for windows in ("stream", "packed"))
    assert sorted(alone) == sorted(packed) and make("packed", 128).count < make("stream", 128).count
    assert "1 of the 4 questions of asked (train) have an answer that no window" in capsys.readouterr().err
    windows = questions.cut(tokenizer, [one["question"] for one in found], [one["context"] for one in found], 64, 20)
    said = {text: [] for text in range(4)}
    for window, (ids, _, start, end) in zip(windows, alone, strict=True):
        assert ids == window.encoded.ids.tolist()
        said[window.question].append(bytes(ids[start:end + 1]).decode() if start else "")
    assert set(said[0]) == {"Ada Lovelace", ""} and set(said[1]) == {""} == set(said[3]) and said[2] == ["Ada"]


def test_the_first_answer_teaches_and_rows_must_hold_something():
    tokenizer, context = asking.tokenizer("bytes"), asking.CONTEXTS["plain"]
    one = asking.question(context, 4, 9) | {"answers": [{"text": "tower", "start": 4}, {"text": "The", "start": 0}]}
    batch = every(questions.features(asking.split([one]), tokenizer, length=128, windows="packed"))
    assert (batch["start"] == 6 + 4).all() and (batch["end"] == 6 + 8).all()  # cls, four letters, eod
    with pytest.raises(UserError, match="length=7: must be at least 8"):
        questions.features(asking.split([one]), tokenizer, length=7, windows="packed")
