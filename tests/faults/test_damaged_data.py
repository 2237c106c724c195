"""A damaged token store: what is drawn from it is the undamaged store's, row by row, or padding that was counted, or
nothing at all and a line that names the file. What a trial must give follows from the bytes that changed and from the
tokens that each row reads, both found by brute force."""

import collections
import functools
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lmlab.data import corpus, loader, store, tokenizers
from lmlab.data.features import causal, masked, pairs
from lmlab.utils.errors import UserError

BLOCK, LENGTH, SEED = 65536, 128, 3
KINDS = {"plain": {"stream": (causal, "stream"), "packed": (causal, "packed"), "framed": (masked, "packed")},
         "couples": {"alone": (pairs, "stream"), "pairs": (pairs, "packed")}}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """{"plain", "couples"}: a prepared folder of each, with the plans of every kind of rows."""
    home, rng, made = tmp_path_factory.mktemp("stores"), np.random.default_rng(0), {}
    text = lambda most: "".join(map(chr, rng.integers(97, 123, rng.integers(1, most))))
    for name, field in (("plain", "a"), ("couples", "a,b")):
        lines = [json.dumps({"a": text(700), "b": text(100)}) for _ in range(900)]
        (home / f"{name}.jsonl").write_text("\n".join(lines))
        built = corpus.build(path=str(home / f"{name}.jsonl"), field=field, validation=0.2, test=0.2)
        made[name] = store.prepare(built, tokenizer(), home / name)
        for split in SPLITS:
            for kind in KINDS[name]:
                rows_of(store.open_split(made[name], split), name, kind)
    return made


def tokenizer():
    """Bytes, and what masking needs."""
    return tokenizers.extend(tokenizers.build("bytes", corpus=None), ["cls", "mask"])


def rows_of(split, name, kind):
    """The split's rows."""
    module, windows = KINDS[name][kind]
    return module.features(split, tokenizer(), length=LENGTH, windows=windows)


class Spy:
    """Tokens that note which of them are read."""

    def __init__(self, tokens):
        self.tokens, self.read = tokens, []

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, where):
        self.read.append(where.indices(len(self.tokens))[:2])
        return self.tokens[where]


@functools.cache
def undamaged(folder, split, name, kind):
    """Two epochs of batches, and the blocks that each of their rows lies in."""
    opened = store.open_split(folder, split)
    spy = Spy(np.fromfile(folder / f"{split}.bin", np.uint16))
    rows = rows_of(opened._replace(tokens=spy), name, kind)
    batches = loader.train_batches(rows, batch=16, seed=SEED)
    found, needs = [batches[i] for i in range(2 * rows.count // 16 + 1)], []
    for i in range(len(found)):
        for number, epoch in zip(*batches.records(i), strict=True):
            spy.read.clear()
            rows.make(np.array([number]), np.array([epoch]), SEED)
            needs.append({block for start, stop in spy.read for block in range(2 * start // BLOCK,
                                                                               (2 * stop - 1) // BLOCK + 1)})
    return joined(found), needs


def joined(batches):
    """All rows of batches, under one another."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def damage(file, others, rng):
    """Harms a file in one of eight ways; returns the way. Its bytes are others afterwards, or it is gone."""
    old = file.read_bytes()
    while True:
        way = str(rng.choice(["flip", "zero", "truncate", "append", "swap parts", "remove", "other file", "rewrite"]))
        start, size = int(rng.integers(len(old))), int(rng.integers(1, max(2, min(70000, len(old)))))
        if way == "flip":
            new = old[:start] + bytes([old[start] ^ 1 << int(rng.integers(8))]) + old[start + 1:]
        elif way == "zero":
            new = old[:start] + bytes(len(old[start:start + size])) + old[start + size:]
        elif way == "truncate":
            new = old[:start]
        elif way == "append":
            new = old + rng.bytes(min(size, 100))
        elif way == "swap parts":
            size = min(len(old) // 2, BLOCK)
            a, b = int(rng.integers(len(old) - 2 * size + 1)), len(old) - size
            new = old[:a] + old[b:] + old[a + size:b] + old[a:a + size]
        elif way == "other file":
            new = others[rng.integers(len(others))].read_bytes()
        elif way == "rewrite":  # as well-formed as it was
            new = rewritten(file, old)
        if way == "remove":
            file.unlink()
            return way
        if new != old:
            file.write_bytes(new)
            return way


def rewritten(file, old):
    """A file of the same form that says something else."""
    if file.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, np.load(file) + 1)
        return content.getvalue()
    if file.suffix == ".json":
        return old.replace(b'"documents": ', b'"documents": 1', 1)
    return old[::-1]


def expected(file, whole, split):
    """(what must come of it: "refused", "made again" or "padding", which blocks of the tokens are damaged)."""
    name = file.name.removeprefix(f"{split}.")
    if name in ("meta.json", "offsets.npy", "crc32.npy"):
        return "refused", set()
    if name != "bin":
        return "made again", set()
    if not file.exists() or file.stat().st_size != whole.stat().st_size:
        return "refused", set()
    new, old = file.read_bytes(), whole.read_bytes()
    bad = {at // BLOCK for at in range(0, len(old), BLOCK) if new[at:at + BLOCK] != old[at:at + BLOCK]}
    return "padding", bad


def trial(stores, folder, rng):
    """Damages a copy of a store and draws from it; returns what came of it and whether that is what had to."""
    name = str(rng.choice(list(stores)))
    whole = stores[name]
    shutil.copytree(whole, folder)
    file = Path(rng.choice(sorted(folder.iterdir())))
    if rng.random() < 0.4:  # the tokens are most of a store
        file = folder / f"{rng.choice(SPLITS)}.bin"
    split = file.name.split(".")[0] if file.name != "meta.json" else str(rng.choice(SPLITS))
    kind = file.name.split(".")[1] if file.name.split(".")[1] in KINDS[name] else str(rng.choice(list(KINDS[name])))
    way = damage(file, [one for one in sorted(folder.iterdir()) if one.suffix == file.suffix], rng)
    rows, needs = undamaged(whole, split, name, kind)
    must, bad = expected(file, whole / file.name, split)
    gone = np.array([bool(need & bad) for need in needs])
    limit = int(rng.choice([0, gone.sum() - 1, gone.sum(), 10**6])) if gone.any() else 0
    if gone.sum() > limit:
        must = "refused"
    where = f"{name} {kind}: {file.name} {way}, {must}"
    try:
        opened = store.open_split(folder, split, damaged_rows=limit)
        batches = loader.train_batches(rows_of(opened, name, kind), batch=16, seed=SEED)
        found = joined([batches[i] for i in range(len(needs) // 16)])
    except UserError as error:
        told = str(folder) in str(error) and "\n" not in str(error)
        return must if must == "refused" and told else f"wrong: refused: {error}", where
    same = all((found[part][~gone] == rows[part][~gone]).all() for part in rows)
    padding = not any(found[part][gone].any() for part in found if part != "row")
    again = must != "made again" or all(
        (folder / one.name).read_bytes() == one.read_bytes() for one in whole.iterdir())
    good = must != "refused" and same and padding and again and opened.tokens.lost == gone.sum()
    return (must if good else f"wrong: {same=} {padding=} {again=} lost {opened.tokens.lost} of {gone.sum()}"), where


def test_what_is_drawn_from_a_damaged_store(stores, tmp_path, trials, tally, capsys):
    count, found, wrong = trials(60, 1000), collections.Counter(), []
    for number in range(count):
        outcome, where = trial(stores, tmp_path / str(number), np.random.default_rng((SEED, number)))
        shutil.rmtree(tmp_path / str(number))
        quiet = outcome == "refused" or "sha256 remove" in where  # a plan without its seal is one being made
        if "is damaged" not in capsys.readouterr().err and not quiet:
            outcome = f"wrong: {outcome} in silence"
        found[outcome.split(":")[0]] += 1
        if outcome.startswith("wrong"):
            wrong.append(f"trial {number}: {where}: {outcome}")
    tally("damaged data", count, count - len(wrong), ", ".join(f"{n:,} {what}" for what, n in sorted(found.items())))
    assert not wrong, "\n".join(wrong[:9])
    assert min(found[what] for what in ("refused", "made again", "padding")) > count // 20
