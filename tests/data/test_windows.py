"""Plans of rows against brute force: each prediction once, no row too long, no piece over two documents."""

import numpy as np
import pytest

from lmlab.data import store, tokenizers, windows
from lmlab.utils.errors import UserError


@pytest.fixture
def opened(small):
    """The train split of the small corpus in bytes."""
    return store.open_split(store.prepare(small, tokenizers.build("bytes", corpus=small)), "train")


def predictions(index):
    """Every (place of the target) that an index predicts, row by row."""
    rows = [index.pieces[a:b] for a, b in zip(index.rows[:-1], index.rows[1:])]
    return [[place for start, n in row for place in range(start + 1, start + n)] for row in rows]


@pytest.mark.parametrize("kind", ["stream", "packed"])
@pytest.mark.parametrize("length", [1, 2, 7, 16, 64, 10_000])
def test_each_prediction_is_made_once_in_rows_that_fit(opened, kind, length):
    rows = predictions(windows.plan(opened, length, kind))
    assert sorted(sum(rows, [])) == list(range(1, len(opened.tokens)))
    assert all(1 <= len(row) <= length for row in rows)


@pytest.mark.parametrize("length", [2, 16, 64])
def test_packed_pieces_stay_within_a_document(opened, length):
    index = windows.plan(opened, length, "packed")
    document = np.searchsorted(opened.offsets, np.arange(len(opened.tokens)), "right") - 1
    for start, n in index.pieces:  # an eod begins the document after it and ends the one before it
        assert document[start] == document[start + n - 2]
    assert set(index.pieces[:, 0]) >= set(opened.offsets[:-1])  # each document starts a piece


def test_best_fit_decreasing_equals_the_slow_way():
    rng = np.random.default_rng(0)
    for capacity in (1, 5, 32, 100):
        for _ in range(20):
            sizes = rng.integers(1, capacity + 1, rng.integers(1, 200))
            bins = windows.best_fit_decreasing(sizes, capacity)
            used = np.bincount(bins, sizes)
            room = []  # the slow way: look at every bin for every item
            for size in sorted(sizes.tolist(), reverse=True):
                fitting = [left for left in room if left >= size]
                if fitting:
                    room.remove(min(fitting))
                room.append((min(fitting) if fitting else capacity) - size)
            assert sorted(capacity - used) == sorted(room)
            assert (bins == windows.best_fit_decreasing(sizes, capacity)).all()


@pytest.mark.parametrize("kind", ["stream", "packed"])
def test_rows_hold_what_the_plan_says(opened, kind):
    length, index = 16, windows.plan(opened, 16, kind)
    batch = windows.rows(opened, index, np.arange(len(index.rows) - 1), length)
    tokens = opened.tokens[:].tolist()
    for r in range(len(index.rows) - 1):
        expected = {"tokens": [], "targets": [], "segments": [], "positions": []}
        for k, (start, n) in enumerate(index.pieces[index.rows[r]:index.rows[r + 1]].tolist(), 1):
            expected["tokens"] += tokens[start:start + n - 1]
            expected["targets"] += tokens[start + 1:start + n]
            expected["segments"] += [k] * (n - 1)
            expected["positions"] += range(n - 1)
        used = len(expected["tokens"])
        for name, values in expected.items():
            assert batch[name][r].tolist() == values + [0] * (length - used)
            assert batch[name].dtype == np.int32
        assert batch["weights"][r].tolist() == [1.0] * used + [0.0] * (length - used)
    assert batch["weights"].sum() == len(tokens) - 1


def test_plans_are_kept_beside_the_store_and_used_again(opened):
    index = windows.plan(opened, 9, "packed")
    files = sorted(opened.folder.glob("train.packed.9.*.npy"))
    stamps = [file.stat().st_mtime_ns for file in files]
    again = windows.plan(opened, 9, "packed")
    assert len(files) == 2 and [file.stat().st_mtime_ns for file in files] == stamps
    assert (again.pieces == index.pieces).all() and (again.rows == index.rows).all()


def test_wrong_values_are_named(opened):
    with pytest.raises(UserError, match="config.train.windows='pack'"):
        windows.plan(opened, 8, "pack")
    with pytest.raises(UserError, match="config.train.length=0"):
        windows.plan(opened, 0)


def test_shifted_rows_begin_later_and_end_with_the_text(opened):
    index = windows.plan(opened, 7)
    last = len(index.rows) - 2
    batch = windows.rows(opened, index, np.array([0, 1, last]), 7, np.array([3, 0, 6]))
    tokens = opened.tokens[:].tolist()
    assert batch["tokens"][0].tolist() == tokens[3:10] and batch["targets"][0].tolist() == tokens[4:11]
    assert batch["tokens"][1].tolist() == tokens[7:14]
    used = int(batch["weights"][2].sum())
    assert batch["targets"][2, :used].tolist() == tokens[-used:]
