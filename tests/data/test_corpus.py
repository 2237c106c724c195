"""Splits: nanoGPT's cut, hashes that do not move, files the user held out; and every wrong value named."""

import json
from pathlib import Path

import pytest

from lmlab.data import corpus
from lmlab.utils.errors import UserError


def jsonl(path, texts):
    """A .jsonl of texts."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return str(path)


def test_a_single_file_is_cut_as_nanogpt_cuts_it(tmp_path):
    text = "".join(f"{i} " for i in range(4567))
    (tmp_path / "input.txt").write_text(text, "utf-8")
    built = corpus.build(path=str(tmp_path / "input.txt"), validation=0.1, test=0)
    n = len(text)
    assert built.splits == ("train", "validation")  # data[:int(n*0.9)], data[int(n*0.9):]
    assert list(built.documents("train")) == [text[:int(n * 0.9)]]
    assert list(built.documents("validation")) == [text[int(n * 0.9):]]
    parts = corpus.build(path=str(tmp_path / "input.txt"))
    assert "".join(text for split in parts.splits for text in parts.documents(split)) == text


def test_document_split_is_a_partition_and_adding_text_moves_nothing(tmp_path):
    texts = [f"document number {i}" for i in range(400)]
    one = corpus.build(path=jsonl(tmp_path / "one.jsonl", texts + texts[:50]))
    two = corpus.build(path=jsonl(tmp_path / "two.jsonl", [f"new {i}" for i in range(100)] + texts[::-1]))
    splits = {split: list(one.documents(split)) for split in one.splits}
    assert sorted(sum(splits.values(), [])) == sorted(texts)
    assert {split: len(found) for split, found in splits.items()} == one.counts
    assert 8 <= one.counts["validation"] <= 35 and 8 <= one.counts["test"] <= 35
    for split, found in splits.items():
        assert set(found) <= set(two.documents(split))
    assert list(one.documents("train")) == list(one.documents("train"))  # re-iterable


def test_the_fingerprint_follows_the_text_and_the_rule_alone(tmp_path):
    texts = [f"document {i}" for i in range(100)]
    first = corpus.build(path=jsonl(tmp_path / "a.jsonl", texts))
    assert corpus.build(path=jsonl(tmp_path / "b.jsonl", texts)).fingerprint == first.fingerprint
    others = [corpus.build(path=jsonl(tmp_path / "c.jsonl", texts[:-1] + ["other"])),
              corpus.build(path=str(tmp_path / "a.jsonl"), validation=0.1),
              corpus.build(path=str(tmp_path / "a.jsonl"), split="tail")]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_pairs_are_split_whole(tmp_path):
    rows = [json.dumps({"de": f"Satz {i}", "en": f"sentence {i}"}) for i in range(200)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows + rows[:9]))
    built = corpus.build(path=str(tmp_path / "a.jsonl"), field="de,en")
    found = [text for split in built.splits for text in built.documents(split)]
    assert built.pairs and sorted(found) == sorted(f"Satz {i}\x1fsentence {i}" for i in range(200))
    plain = corpus.build(path=str(tmp_path / "a.jsonl"), field="de")
    assert not plain.pairs and plain.fingerprint != built.fingerprint
    for wrong in ({"split": "tail"}, {"dedup": "paragraph"}):
        with pytest.raises(UserError, match="holds pairs, which stay whole"):
            corpus.build(path=str(tmp_path / "a.jsonl"), field="de,en", **wrong)
    (tmp_path / "b.txt").write_text("plain text")
    with pytest.raises(UserError, match="some of the files hold pairs and some plain text"):
        corpus.build(path=f"{tmp_path}/a.jsonl,{tmp_path}/b.txt", field="de,en")


def test_parallel_files_are_a_corpus_with_splits_of_its_own(tmp_path):
    for name, n in (("train", 30), ("val", 5)):
        for language in ("de", "en"):
            (tmp_path / f"{name}.{language}").write_text("".join(f"{language} {name} {i}\n" for i in range(n)))
    built = corpus.build(path=f"{tmp_path}/train.de+train.en", validation_path=f"{tmp_path}/val.de+val.en")
    assert built.counts == {"train": 30, "validation": 5} and built.name == "train.de+train.en" and built.pairs
    assert list(built.documents("validation"))[1] == "de val 1\x1fen val 1"
    assert corpus.whole(f"{tmp_path}/val.de+val.en").pairs


def test_held_out_files_are_taken_as_they_are(tmp_path):
    paths = [jsonl(tmp_path / f"{name}.jsonl", [f"{name} {i}" for i in range(9)]) for name in "abc"]
    built = corpus.build(path=f"{paths[0]},{paths[1]}", validation_path=paths[2])
    assert built.counts == {"train": 18, "validation": 9}
    assert set(built.documents("validation")) == {f"c {i}" for i in range(9)}
    assert corpus.build(path=paths[0], validation_path=paths[1], test_path=paths[2]).splits[2] == "test"


def test_tail_of_several_files_holds_out_the_end_of_each(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name * 80 + name.upper() * 20, "utf-8")
    built = corpus.build(path=f"{tmp_path}/*.txt", split="tail", validation=0.2, test=0)
    assert list(built.documents("validation")) == ["A" * 20, "B" * 20]


def test_surrogates_in_json_do_not_stop_anything_and_are_told(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\ud800b"}\n' + "".join(f'{{"text": "{i}"}}\n' for i in range(200)), "utf-8")
    built = corpus.build(path=str(path))
    assert "a\ufffdb" in [text for split in built.splits for text in built.documents(split)]
    assert capsys.readouterr().err == (
        "a.jsonl: lone surrogates, which are no characters, became U+FFFD in 1 of 201 documents\n")


def test_damaged_records_are_left_out_and_told_once(tmp_path, capsys):
    texts = [f"document {i}" for i in range(100)]
    whole = corpus.build(path=jsonl(tmp_path / "a.jsonl", texts))
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"text": "\xff"}\n{"text": \n')
    built = corpus.build(path=str(tmp_path / "a.jsonl"), damaged=2)
    assert built.fingerprint == whole.fingerprint
    said = capsys.readouterr().err
    assert said.startswith("a.jsonl: 2 damaged records left out (config.data.damaged=2); the first: ")
    assert f"{tmp_path}/a.jsonl, line 101: not UTF-8" in said and said.count("\n") == 1
    assert len(list(built.documents("train"))) == whole.counts["train"] and not capsys.readouterr().err
    for limit, line in ((0, 101), (1, 102)):
        with pytest.raises(UserError, match=f"line {line}: .*; config.data.damaged={limit} skips no"):
            corpus.build(path=str(tmp_path / "a.jsonl"), damaged=limit)
    held = corpus.build(path=jsonl(tmp_path / "b.jsonl", texts), validation_path=str(tmp_path / "a.jsonl"), damaged=2)
    assert held.counts == {"train": 100, "validation": 100}


def test_pairs_that_are_cut_in_another_place_are_no_repetition(tmp_path):
    """Though a separator between source and target is white space to str.split."""
    rows = [("a b", "c"), ("a", "b c"), ("a  b", " c")] + [(f"s{i}", f"t{i}") for i in range(60)]
    (tmp_path / "a.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in rows))
    built = corpus.build(path=str(tmp_path / "a.tsv"), field="0,1")
    found = [text for split in built.splits for text in built.documents(split)]
    assert len(found) == 62 and {"a b\x1fc", "a\x1fb c"} < {*found}


@pytest.mark.parametrize("arguments, message", [
    ({"source": "pyton_docs"}, "config.data.source='pyton_docs'.*did you mean 'python_docs'"),
    ({"split": "half"}, "config.data.split='half'"), ({"dedup": "yes"}, "config.data.dedup='yes'"),
    ({"validation": 0}, "config.data.validation=0"),
    ({"validation": 0.5, "test": 0.5}, "config.data.test=0.5"),
    ({"damaged": -1}, "config.data.damaged=-1 must be at least 0"),
    ({"source": "files"}, "needs config.data.path"), ({"validation_path": "x.txt"}, "set config.data.path="),
    ({"path": "/no/such.txt"}, "no such file"),
    ({"source": "catalog", "path": "x"}, "not in the catalog; it has shakespeare"),
    ({"source": "python_calls", "path": "x.txt"}, "config.data.source=python_calls reads no files"),
    ({"source": "tfds", "path": "/no/such"}, "not a folder prepared by tfds"),
])
def test_wrong_values_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        corpus.build(**arguments)


def test_a_split_without_documents_is_an_error_that_says_what_would_do(tmp_path):
    with pytest.raises(UserError, match="none of 2 documents.*validation split.*tail"):
        corpus.build(path=jsonl(tmp_path / "few.jsonl", ["one", "two"]))
    with pytest.raises(UserError, match=r"none of 1 documents \(8 of the 9 read are repetitions\) is in its"):
        corpus.build(path=jsonl(tmp_path / "same.jsonl", ["one"] * 9))
    (tmp_path / "short.txt").write_text("ab")
    with pytest.raises(UserError, match="short.txt: too short to be cut into train, validation, test; give more text"):
        corpus.build(path=str(tmp_path / "short.txt"))
    with pytest.raises(UserError, match="no split 'dev'; it has train, validation"):
        (tmp_path / "a.txt").write_text("some text " * 20)
        corpus.build(path=str(tmp_path / "a.txt")).documents("dev")


def test_the_examples_work_as_they_are():
    folder = Path(__file__).parents[2] / "examples"
    english = corpus.build(path=str(folder / "english.txt"))
    chinese = corpus.build(path=str(folder / "chinese.jsonl"))
    assert english.counts == {"train": 1, "validation": 1, "test": 1}
    assert sum(chinese.counts.values()) == 84 and min(chinese.counts.values()) >= 1
