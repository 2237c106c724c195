"""The token store against the documents and their tokens put together by hand."""

import json
import threading

import numpy as np
import pytest

from lmlab.data import corpus, store, tokenizers
from lmlab.utils.errors import UserError


def by_hand(built, tokenizer, split):
    """E d1 E ... dn E and the places of the E's, with plain lists."""
    tokens, offsets = [tokenizer.eod], [0]
    for text in built.documents(split):
        tokens += [*tokenizer.encode(text), tokenizer.eod]
        offsets.append(len(tokens) - 1)
    return tokens, offsets


@pytest.mark.parametrize("name", ["bytes", "chars", "bbpe"])
def test_layout_and_counts(small, name, tmp_path):
    tokenizer = tokenizers.build(name, 280, corpus=small)
    folder = store.prepare(small, tokenizer, tmp_path / "store")
    for split in small.splits:
        opened = store.open_split(folder, split)
        tokens, offsets = by_hand(small, tokenizer, split)
        texts = list(small.documents(split))
        assert opened.tokens[:].tolist() == tokens and opened.offsets.tolist() == offsets
        assert opened.tokens[:].dtype == np.uint16 and opened.offsets.dtype == np.int64
        counts = {
            "documents": len(texts), "tokens": len(tokens),
            "bytes": sum(len(text.encode()) for text in texts),
            "words": sum(len(text.split()) for text in texts), "name": small.name, "licence": small.licence,
            "fingerprint": small.fingerprint, "tokenizer": tokenizers.digest(tokenizer), "dtype": "uint16",
            "fields": 1,
            "vocab_size": tokenizer.vocab_size, "eod": tokenizer.eod}
        assert {key: opened.meta[key] for key in counts} == counts
        assert ("overlap_13gram" in opened.meta) == (split != "train")


def test_pairs_lie_one_after_the_other(tmp_path):
    rows = [json.dumps({"a": f"source {i}", "b": f"a target \u00e9 {i}"}) for i in range(400)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    built = corpus.build(path=str(tmp_path / "a.jsonl"), field="a,b")
    tokenizer = tokenizers.build("bytes", corpus=built)
    opened = store.open_split(store.prepare(built, tokenizer), "train")
    tokens, offsets = [256], [0]
    for text in built.documents("train"):
        for part in text.split("\x1f"):
            tokens += [*part.encode(), 256]
            offsets.append(len(tokens) - 1)
    assert opened.tokens[:].tolist() == tokens and opened.offsets.tolist() == offsets
    targets = [text.split("\x1f")[1] for text in built.documents("train")]
    assert {name: opened.meta[name] for name in ("fields", "documents", "bytes", "words", "tokens")} == {
        "fields": 2, "documents": len(targets), "bytes": sum(len(text.encode()) for text in targets),
        "words": 4 * len(targets), "tokens": len(tokens)}


def test_a_store_is_written_once_and_named_by_its_content(small, tmp_path):
    tokenizer = tokenizers.build("bytes", corpus=small)
    folder = store.prepare(small, tokenizer)
    stamp = (folder / "train.bin").stat().st_mtime_ns
    assert store.prepare(small, tokenizer) == folder and (folder / "train.bin").stat().st_mtime_ns == stamp
    assert store.prepare(small, tokenizers.build("chars", corpus=small)) != folder
    store.prepare(small, tokenizer, tmp_path / "own")
    with pytest.raises(UserError, match="another text or tokenizer"):
        store.prepare(small, tokenizers.build("chars", corpus=small), tmp_path / "own")


def test_two_at_once_leave_one_whole_store(small, tmp_path):
    tokenizer = tokenizers.build("bytes", corpus=small)
    arguments = (small, tokenizer, tmp_path / "store")
    threads = [threading.Thread(target=store.prepare, args=arguments) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened = store.open_split(tmp_path / "store", "train")
    assert opened.tokens[:].tolist() == by_hand(small, tokenizer, "train")[0]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["store"]


def test_a_split_of_which_the_tokenizer_leaves_nothing_is_named(small, tmp_path):
    class Nothing(type(tokenizers.build("bytes", corpus=small))):
        def encode_batch(self, texts):
            return [[] for _ in texts]

    with pytest.raises(UserError, match="the tokenizer leaves nothing of the train split's 42 documents"):
        store.prepare(small, Nothing(), tmp_path / "store")


def test_a_failure_on_the_way_leaves_nothing(small, tmp_path):
    class Broken(type(tokenizers.build("bytes", corpus=small))):
        def encode_batch(self, texts):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        store.prepare(small, Broken(), tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["small.jsonl"]


def test_a_vocabulary_over_65536_is_stored_in_four_bytes(tmp_path):
    characters = "".join(map(chr, [*range(33, 0xd800), *range(0xe000, 0x14000)]))
    lines = [json.dumps({"text": characters[i:i + 1000]}) for i in range(0, len(characters), 1000)]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    (tmp_path / "held.txt").write_text("\U00013fff!")
    built = corpus.build(path=str(tmp_path / "all.jsonl"), validation_path=str(tmp_path / "held.txt"))
    tokenizer = tokenizers.build("chars", corpus=built)
    opened = store.open_split(store.prepare(built, tokenizer), "validation")
    assert opened.tokens[:].dtype == np.uint32 and opened.tokens[:].tolist() == [0, len(characters) + 1, 2, 0]


def test_damage_and_absence_are_named(small, tmp_path):
    folder = store.prepare(small, tokenizers.build("bytes", corpus=small), tmp_path / "store")
    with pytest.raises(UserError, match="no split 'dev'; it has train, validation, test"):
        store.open_split(folder, "dev")
    with open(folder / "train.bin", "r+b") as file:
        file.truncate(10)
    with pytest.raises(UserError, match="train.bin: the token file is not whole"):
        store.open_split(folder, "train")
    (folder / "test.offsets.npy").unlink()
    with pytest.raises(UserError, match="test.offsets.npy is missing or damaged; remove .* and it will be made again"):
        store.open_split(folder, "test")
    meta = (folder / "meta.json").read_text()
    (folder / "meta.json").write_text(meta.replace('"documents": 42', '"documents": 43'))
    for place in (folder, tmp_path):
        with pytest.raises(UserError, match="no token store here"):
            store.open_split(place, "validation")


def test_the_overlap_is_that_of_copied_text(tmp_path):
    words = [f"word{i}" for i in range(40)]
    (tmp_path / "train.txt").write_text(" ".join(words))
    (tmp_path / "held.txt").write_text(" ".join(words[:26] + [f"new{i}" for i in range(26)]))
    built = corpus.build(path=str(tmp_path / "train.txt"), validation_path=str(tmp_path / "held.txt"))
    folder = store.prepare(built, tokenizers.build("bytes", corpus=built))
    assert store.open_split(folder, "validation").meta["overlap_13gram"] == pytest.approx(14 / 40)
