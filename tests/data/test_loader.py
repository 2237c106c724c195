"""Batches: a function of (seed, i), the same for any number of processes, each row once an epoch."""

import threading
import time

import numpy as np
import pytest

from lmlab.data import loader, store, tokenizers, windows
from lmlab.data.features import Rows, causal
from lmlab.utils.errors import UserError

LENGTH = 8


@pytest.fixture
def opened(small):
    """A split with its plan: (store, index); all stream rows differ in their content."""
    split = store.open_split(store.prepare(small, tokenizers.build("bytes", corpus=small)), "train")
    return split, windows.plan(split, LENGTH)


def keys(batch):
    """Each row of a batch as a hashable value."""
    return [tuple(row) for row in np.concatenate([batch["tokens"], batch["targets"]], 1).tolist()]


def equal(a, b):
    """Whether two batches are the same arrays."""
    same = [(a[name] == b[name]).all() and a[name].dtype == b[name].dtype for name in a]
    return a.keys() == b.keys() and all(same)


def fixed(split, index):
    """The rows of an index, the same in every epoch."""
    return Rows(len(index.rows) - 1, lambda numbers, epochs, seed: windows.rows(split, index, numbers, LENGTH))


def make(opened, shift=False, **more):
    """Training batches of 6 unless told; shift: cut anew in each epoch, as the causal features do it."""
    rows = causal.features(opened[0], None, length=LENGTH, windows="stream") if shift else fixed(*opened)
    return loader.train_batches(rows, **{"batch": 6, "seed": 3, **more})


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_the_global_batch_is_the_same_for_any_number_of_processes(opened, processes):
    alone = make(opened)
    parts = [make(opened, process=process, processes=processes) for process in range(processes)]
    for i in (0, 1, 7, 100, 12345):
        local = [part[i] for part in parts]
        together = {name: np.concatenate([batch[name] for batch in local]) for name in local[0]}
        assert equal(together, alone[i])
        assert together["row"].tolist() == list(range(6)) and local[1]["row"].dtype == np.int32


def test_any_order_of_access_and_any_object_gives_the_same(opened):
    first, second = make(opened), make(opened)
    order = np.random.default_rng(0).permutation(40)
    shuffled = {i: first[int(i)] for i in order}
    assert all(equal(shuffled[i], second[i]) for i in range(40))


def test_another_seed_gives_another_order(opened):
    assert not equal(make(opened)[0], make(opened, seed=4)[0])


@pytest.mark.parametrize("batch", [1, 5, 7, 6])
def test_each_row_once_an_epoch_and_a_new_order_in_each(opened, batch):
    count = len(opened[1].rows) - 1
    every = sorted(keys(windows.rows(*opened, np.arange(count), LENGTH)))
    batches = make(opened, batch=batch)
    seen = [key for i in range(3 * count // batch + 1) for key in keys(batches[i])]
    epochs = [seen[e * count:(e + 1) * count] for e in range(3)]
    assert all(sorted(epoch) == every for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] and epochs[0] != every


def test_shifted_epochs_are_cut_at_other_places_and_keep_every_promise(opened):
    count = len(opened[1].rows) - 1
    plain, moved = make(opened, batch=count), make(opened, batch=count, shift=True)
    assert equal(plain[0], moved[0])  # the first epoch is every row as planned
    text = opened[0].tokens[:].tolist()
    for epoch in (1, 2):
        assert not equal(plain[epoch], moved[epoch])
        for row in np.concatenate([moved[epoch]["tokens"], moved[epoch]["targets"][:, -1:]], 1).tolist():
            used = row if 0 not in row[1:] else row[:row.index(0, 1)]
            assert any(text[i:i + len(used)] == used for i in range(len(text)))
    halves = [make(opened, batch=count * 2, shift=True, process=p, processes=2)[1] for p in range(2)]
    together = {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
    assert equal(together, make(opened, batch=count * 2, shift=True)[1])


@pytest.mark.parametrize("ramp", [1, 2, 6, 7])
@pytest.mark.parametrize("processes", [1, 3])
def test_a_ramp_hands_out_the_same_rows_in_growing_batches(opened, ramp, processes):
    ways = dict(batch=24, ramp=ramp, ramp_from=6)
    parts = [make(opened, **ways, process=p, processes=processes) for p in range(processes)]
    steps = [[part[i] for part in parts] for i in range(ramp + 3)]
    sizes = [sum(len(part["row"]) for part in step) for step in steps]
    middle = ramp // 2  # two doublings, each size for half of the ramp
    assert sizes == [6] * middle + [12] * (ramp - middle) + [24] * 3
    plain = make(opened, batch=1)
    rows = [key for step in steps for part in step for key in keys(part)]
    assert rows == [key for i in range(sum(sizes)) for key in keys(plain[i])]
    assert [n for step in steps[:1] for part in step for n in part["row"]] == [*range(sizes[0])]
    numbers, epochs = (np.concatenate([part.records(ramp)[k] for part in parts]) for k in range(2))
    first = sum(sizes[:ramp])
    assert [n.item() for i in range(first, first + 24) for n in plain.records(i)[0]] == numbers.tolist()
    assert [n.item() for i in range(first, first + 24) for n in plain.records(i)[1]] == epochs.tolist()


def test_fewer_rows_than_a_batch_repeat(opened):
    split, index = opened
    few = windows.Index(index.pieces[:3], index.rows[:4])
    batch = loader.train_batches(fixed(split, few), batch=8, seed=0)[0]
    assert len(set(keys(batch))) == 3


@pytest.mark.parametrize("kind", ["stream", "packed"])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_covers_every_prediction_once(opened, kind, processes):
    split = opened[0]
    index = windows.plan(split, LENGTH, kind)
    count = len(index.rows) - 1
    features = causal.features(split, None, length=LENGTH, windows=kind)
    parts = [loader.eval_batches(features, batch=6, process=process, processes=processes)
             for process in range(processes)]
    assert {len(part) for part in parts} == {-(-count // 6)}
    batches = [{name: np.concatenate([batch[name] for batch in local]) for name in local[0]}
               for local in zip(*parts, strict=True)]  # a for loop over them ends
    assert sum(batch["weights"].sum() for batch in batches) == len(split.tokens) - 1
    rows = [key for batch in batches for key in keys(batch)]
    assert rows[:count] == keys(windows.rows(split, index, np.arange(count), LENGTH))
    assert not np.array(rows[count:]).any() and len(rows) == 6 * len(batches)
    assert all(batch["row"].tolist() == [0, 1, 2, 3, 4, 5] for batch in batches)


@pytest.mark.parametrize("length", [10, 150, 10_000])
def test_text_for_one_row_or_none_a_process_is_scored_by_all_alike(tmp_path, length):
    """A process without a row makes as many batches as the others: none waits for another for ever."""
    tokens = np.array([0, *range(1, 101), 0], np.uint16)
    split = store.TokenStore(tokens, np.array([0, 101]), {"name": "laid out"}, tmp_path, "train")
    for kind in ("stream", "packed"):
        rows = causal.features(split, None, length=length, windows=kind)
        parts = [loader.eval_batches(rows, batch=6, process=process, processes=3) for process in range(3)]
        assert {len(part) for part in parts} == {-(-rows.count // 6)} and rows.count == -(-101 // length)
        found = np.concatenate([batch["targets"][batch["weights"] > 0] for local in zip(*parts) for batch in local])
        assert found.tolist() == [*range(1, 101), 0]
        trained = loader.train_batches(rows, batch=6, seed=0)[0]  # fewer rows than a batch: each more than once
        assert trained["weights"].any(1).all()


def test_records_name_the_rows_of_a_batch(opened):
    split, index = opened
    for processes in (1, 2, 3):
        for process in range(processes):
            training = make(opened, process=process, processes=processes)
            scoring = loader.eval_batches(fixed(*opened), batch=6, process=process, processes=processes)
            for batches, i in ((training, 0), (training, 99), (scoring, 0), (scoring, len(scoring) - 1)):
                numbers, epochs = batches.records(i)
                assert keys(batches[i]) == keys(windows.rows(split, index, numbers, LENGTH))
                assert len(numbers) == len(epochs) == 6 // processes
    count, alone = len(index.rows) - 1, make(opened)
    seen = [pair for i in range(count) for pair in zip(*(array.tolist() for array in alone.records(i)))]
    assert sorted(seen) == [(number, epoch) for number in range(count) for epoch in range(6)]


def test_a_batch_that_does_not_divide_is_named(opened):
    with pytest.raises(UserError, match="config.train.batch=6 does not divide among 4 processes"):
        make(opened, processes=4)


def threads():
    """How many prefetch threads are alive."""
    return sum(thread.name == "lmlab-prefetch" for thread in threading.enumerate())


def test_prefetch_gives_the_same_batches_and_ends_its_thread(opened):
    batches = make(opened)
    found = list(loader.prefetch(batches.__getitem__, 5, 12))
    assert [i for i, _ in found] == list(range(5, 12)) and all(equal(batch, batches[i]) for i, batch in found)
    assert threads() == 0


def test_prefetch_ends_its_thread_when_the_consumer_stops_early(opened):
    ahead = loader.prefetch(make(opened).__getitem__, 0, 10**6)
    next(ahead)
    assert threads() == 1
    start = time.monotonic()
    ahead.close()
    assert threads() == 0 and time.monotonic() - start < 2


def test_prefetch_raises_an_error_where_its_batch_was_due():
    def fetch(i):
        if i == 3:
            raise OSError("disk")
        return {"i": i}

    seen = []
    with pytest.raises(OSError, match="disk"):
        for i, _ in loader.prefetch(fetch, 0, 10):
            seen.append(i)
    assert seen == [0, 1, 2] and threads() == 0


def test_prefetch_says_that_it_waits_only_where_it_does():
    allowed, waited, order = threading.Semaphore(0), [], []

    def fetch(i):
        allowed.acquire(timeout=10)
        order.append(i)
        return i

    ahead = loader.prefetch(fetch, 0, 4, waiting=lambda: (waited.append(len(order)), allowed.release()))
    assert [next(ahead)[1], next(ahead)[1]] == [0, 1] and waited == [0, 1]
    allowed.release(2)
    while len(order) < 4:
        time.sleep(0.01)
    time.sleep(0.1)
    assert [i for i, _ in ahead] == [2, 3] and waited == [0, 1]
