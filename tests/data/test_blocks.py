"""Reading checked ids: against numpy on the whole file; damage is met by exactly the reads that lie in it."""

import zlib

import numpy as np
import pytest

from lmlab.data import blocks, loader, store, tokenizers, windows
from lmlab.data.features import causal, masked, prefix
from lmlab.utils.errors import UserError

COUNT = 100_000  # ids: three blocks and a shorter one


@pytest.fixture
def laid(tmp_path):
    """(file, its ids, open): open(may_lose) reads it by the checksums of how it was laid down."""
    ids = np.random.default_rng(0).integers(0, 60000, COUNT).astype(np.uint16)
    file = tmp_path / "x.bin"
    file.write_bytes(ids.tobytes())
    sums = blocks.checksums(file)
    return file, ids, lambda may_lose=0: blocks.Blocks(file, np.dtype(np.uint16), COUNT, sums, may_lose)


def spoil(file, place, content=b"\xff\x00\xff"):
    """Writes over a few bytes."""
    with open(file, "r+b") as opened:
        opened.seek(place)
        opened.write(content)


def test_slices_are_those_of_the_array(laid):
    file, ids, reader = laid
    rng, opened = np.random.default_rng(1), reader()
    assert len(opened) == COUNT and blocks.checksums(file).tolist() == [
        zlib.crc32(ids[i:i + 32768].tobytes()) for i in range(0, COUNT, 32768)]
    for _ in range(300):
        where = slice(*rng.integers(-COUNT - 9, COUNT + 9, 2).tolist())
        assert opened[where].tolist() == ids[where].tolist() and opened[where].dtype == np.uint16
    assert (opened[:] == ids).all() and opened.lost == 0


def test_only_reads_of_a_damaged_block_are_lost_and_each_is_counted(laid, capsys):
    file, ids, reader = laid
    spoil(file, 65536 * 2 - 1, b"!!")  # the last byte of block 1 and the first of block 2
    opened, lost = reader(10**6), 0
    for start in range(0, COUNT - 700, 777):
        touched = start + 700 > 32768 and start < 3 * 32768
        if touched:
            lost += 1
            with pytest.raises(blocks.Damaged):
                opened[start:start + 700]
        else:
            assert (opened[start:start + 700] == ids[start:start + 700]).all()
    assert opened.lost == lost and f"{file}: block 1 (of 65536 bytes, from 0) is damaged" in capsys.readouterr().err
    with pytest.raises(UserError, match="x.bin: block 1 .*is damaged; remove .*damaged_rows=0"):
        reader()[:]


def test_one_more_than_may_be_lost_stops(laid):
    file, _, reader = laid
    spoil(file, 10)
    opened = reader(2)
    for _ in range(2):
        with pytest.raises(blocks.Damaged):
            opened[:5]
    with pytest.raises(UserError, match="damaged_rows=2") as error:
        opened[:5]
    assert not isinstance(error.value, blocks.Damaged) and "\n" not in str(error.value)


@pytest.mark.parametrize("seen", [False, True])
def test_a_file_cut_short_while_it_is_open_is_damage_and_no_crash(laid, seen):
    file, _, reader = laid
    opened = reader(9)
    if seen:
        opened[:]
    with open(file, "r+b") as other:
        other.truncate(150_001)
    assert len(opened[:5]) == 5
    for where in (slice(75_000, 75_010), slice(COUNT - 5, None)):
        with pytest.raises(blocks.Damaged):
            opened[where]


def test_each_block_is_checked_once(laid, monkeypatch):
    seen, real = [], zlib.crc32
    monkeypatch.setattr(blocks.zlib, "crc32", lambda data: seen.append(len(data)) or real(data))
    opened = laid[2]()
    assert not seen  # nothing is read before it is asked for
    for _ in range(3):
        opened[40_000:40_010]
    assert seen == [65536]
    opened[:]
    assert sorted(seen) == [200_000 - 3 * 65536, 65536, 65536, 65536]


@pytest.fixture
def folder(small, tmp_path):
    """A prepared store whose validation split is damaged."""
    tokenizer = tokenizers.extend(tokenizers.build("bytes", corpus=small), ["cls", "mask"])
    made = store.prepare(small, tokenizer, tmp_path / "store")
    spoil(made / "validation.bin", 6)
    return made, tokenizer


@pytest.mark.parametrize("module", [causal, prefix, masked])
def test_training_passes_damaged_rows_over_and_an_evaluation_does_not(folder, module):
    made = lambda **more: module.features(store.open_split(folder[0], "validation", **more), folder[1], length=16,
                                          windows="stream")
    batch = loader.train_batches(made(damaged_rows=4), batch=4, seed=0)[0]
    assert batch["row"].tolist() == [0, 1, 2, 3] and not any(batch[k].any() for k in batch if k != "row")
    with pytest.raises(UserError, match="validation.bin: block 0 .*is damaged"):
        list(loader.eval_batches(made(), batch=4))


def test_a_plan_of_another_store_is_made_again(small, tmp_path, capsys):
    bytes_, chars = (tokenizers.build(name, corpus=small) for name in ("bytes", "chars"))
    mine, other = (store.open_split(store.prepare(small, tokenizer, tmp_path / name), split)
                   for tokenizer, name, split in ((bytes_, "mine", "train"), (chars, "other", "validation")))
    right = windows.Index(*map(np.array, windows.plan(mine, 9, "packed")))
    windows.plan(other, 9, "packed")
    for file in other.folder.glob("validation.packed.9.*"):  # whole as it is, but not this store's
        (mine.folder / file.name.replace("validation", "train")).write_bytes(file.read_bytes())
    again = windows.plan(mine, 9, "packed")
    assert (again.pieces == right.pieces).all() and (again.rows == right.rows).all()
    assert "this plan of rows is damaged, and is made again" in capsys.readouterr().err
    windows.plan(mine, 9, "packed")
    assert not capsys.readouterr().err
