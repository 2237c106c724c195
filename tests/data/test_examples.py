"""A corpus of examples: split by the format's key, folds that hold out everything once, and the split in memory."""

import json
import re
import subprocess

import pytest

from lmlab.data import catalog, corpus, examples, sources, tokenizers
from lmlab.data.formats import questions
from lmlab.utils.errors import UserError


@pytest.fixture
def labelled(tmp_path):
    """A csv of 300 texts, the first 20 of them twice, then with another label."""
    rows = [f"text number {i},{'ab'[i % 2]}\n" for i in range(300)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(rows + rows[:20]) + "text  number 0,c\n")
    return str(tmp_path / "a.csv")


def everything(built):
    return {split: list(built.examples(split)) for split in built.splits}


def test_examples_are_a_partition_whose_keys_meet_in_no_split(tmp_path, labelled):
    built = corpus.build(path=labelled, reads="labelled")
    found = everything(built)
    assert built.kind == "labelled" and not built.pairs
    assert {split: len(rows) for split, rows in found.items()} == built.counts
    assert sorted(int(row["text"].split()[2]) for rows in found.values() for row in rows) == list(range(300))
    assert {row["label"] for rows in found.values() for row in rows} == {"a", "b"}  # the repetitions are gone
    assert list(built.texts("train")) == [row["text"] for row in found["train"]]
    assert all(json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False) == text
               for text in built.documents("train"))
    rows = [{"id": f"{c}-{q}", "context": f"context {c}", "question": f"question {q}", "answers": []}
            for c in range(60) for q in range(5)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    built = corpus.build(path=str(tmp_path / "q.jsonl"), reads="questions", validation=0.2, test=0.2)
    keys = {split: {questions.key(row) for row in rows} for split, rows in everything(built).items()}
    assert sum(map(len, keys.values())) == len(set().union(*keys.values())) == 60 and min(map(len, keys.values())) > 2
    assert sum(built.counts.values()) == 300  # none of them a repetition of another about the same context


def test_the_split_is_that_of_the_text_alone(tmp_path, labelled):
    """A text lies in the same split whatever its label, and whether it is read as text or as an example."""
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text().replace(",a", ",z"))
    splits = [{split: [row["text"] for row in rows] for split, rows in everything(built).items()}
              for built in (corpus.build(path=labelled, reads="labelled"),
                            corpus.build(path=str(tmp_path / "b.csv"), reads="labelled"))]
    plain = corpus.build(path=labelled)
    assert splits[0] == splits[1] == {split: list(plain.documents(split)) for split in plain.splits}
    prints = {corpus.build(path=labelled, reads="labelled").fingerprint, plain.fingerprint,
              corpus.build(path=str(tmp_path / "b.csv"), reads="labelled").fingerprint}
    assert len(prints) == 3


@pytest.mark.parametrize("folds", [2, 5, 7])
@pytest.mark.parametrize("test", [0, 0.2])
@pytest.mark.parametrize("reads", ["labelled", None])
def test_every_document_is_held_out_in_exactly_one_fold(labelled, folds, test, reads):
    usual = corpus.build(path=labelled, validation=0.1, test=test, reads=reads)
    built = [corpus.build(path=labelled, validation=0.1, test=test, folds=folds, fold=fold, reads=reads)
             for fold in range(folds)]
    held = [set(one.documents("validation")) for one in built]
    rest = {text for split in ("train", "validation") for text in usual.documents(split)}
    assert set.union(*held) == rest and sum(map(len, held)) == len(rest)
    for one, part in zip(built, held):
        assert set(one.documents("train")) == rest - part
        assert abs(len(part) - len(rest) / folds) < 4 * (len(rest) / folds) ** 0.5  # a binomial count
        assert not test or set(one.documents("test")) == set(usual.documents("test"))
    assert len({one.fingerprint for one in built} | {usual.fingerprint}) == folds + 1


def test_what_is_cut_in_another_place_is_no_repetition(tmp_path):
    rows = [{"question": "q", "choices": ["a b", "c"], "answer": 0},
            {"question": "q", "choices": ["a", "b c"], "answer": 0},
            {"question": "q", "choices": ["a  b ", "c"], "answer": 1}]
    rows += [{"question": f"q{i}", "choices": ["a", "b"], "answer": 0} for i in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    built = corpus.build(path=str(tmp_path / "a.jsonl"), reads="choices", validation=0.2, test=0.2)
    assert sum(built.counts.values()) == 52  # the third says what the first does, to the letter if not to the space


def test_folds_that_cannot_be_are_named(tmp_path, labelled):
    for wrong in ({"folds": 1}, {"folds": 3, "fold": 3}, {"folds": 3, "fold": -1}, {"folds": -2}):
        with pytest.raises(UserError, match="config.data.folds=.* must be 0 .none. or at least 2"):
            corpus.build(path=labelled, **wrong)
    with pytest.raises(UserError, match="the validation split of a.csv is given; leave folds at 0"):
        corpus.build(path=labelled, validation_path=labelled, reads="labelled", folds=3)
    (tmp_path / "a.txt").write_text("some text " * 50)
    with pytest.raises(UserError, match="the validation split of a.txt is the tail of its text; leave folds at 0"):
        corpus.build(path=str(tmp_path / "a.txt"), folds=3)


def test_files_of_their_own_are_held_out_as_they_are(tmp_path, labelled):
    (tmp_path / "v.json").write_text('[{"text": "held", "label": "a"}]')
    built = corpus.build(path=labelled, validation_path=str(tmp_path / "v.json"), test_path=str(tmp_path / "v.json"),
                         reads="labelled")
    assert built.counts == {"train": 300, "validation": 1, "test": 1}
    assert list(built.examples("test")) == [{"text": "held", "label": "a"}]
    whole = corpus.whole(str(tmp_path / "v.json"), reads="labelled")
    assert list(whole.examples("all")) == list(built.examples("test"))
    with pytest.raises(UserError, match=r"\.json is not read; convert it"):  # as plain text it is not
        corpus.build(path=str(tmp_path / "v.json"))


def test_what_has_no_such_examples_is_named(tmp_path, labelled, docs):
    for arguments, message in (({}, "python-docs .* holds text, and labelled examples is what config.objective"),
                               ({"path": labelled, "split": "tail"}, "holds labelled examples, which stay whole"),
                               ({"path": labelled, "dedup": "paragraph"}, "holds labelled examples, which stay whole")):
        with pytest.raises(UserError, match=message):
            corpus.build(**arguments, reads="labelled")
    with pytest.raises(UserError, match="'labeled' is no kind of examples; did you mean 'labelled'"):
        corpus.build(path=labelled, reads="labeled")
    (tmp_path / "a.de").write_text("x")
    with pytest.raises(UserError, match="two files joined by . are pairs of text, and not labelled"):
        corpus.build(path=f"{tmp_path}/a.de+{tmp_path}/a.de", reads="labelled")
    for build in (docs.examples, lambda split: examples.open_split(docs, split)):
        with pytest.raises(UserError, match="python-docs .* holds text and no examples of a format"):
            build("train")


def test_few_shots_are_the_first_of_each_label_in_training_alone(labelled, tmp_path):
    whole = corpus.build(path=labelled, reads="labelled")
    few = corpus.build(path=labelled, reads="labelled", shots=3)
    train = list(whole.examples("train"))
    assert list(few.examples("train")) == [one for n, one in enumerate(train)
                                           if [other["label"] for other in train[:n]].count(one["label"]) < 3]
    assert len({one["label"] for one in train}) * 3 == few.counts["train"] and few.fingerprint != whole.fingerprint
    assert list(few.examples("validation")) == list(whole.examples("validation"))
    (tmp_path / "text.txt").write_text("words " * 2000)
    text = str(tmp_path / "text.txt")
    for arguments, message in (({"path": text, "shots": 3}, "shots=3 is of labelled examples, and"),
                               ({"path": labelled, "reads": "labelled", "shots": -1}, "shots=-1 must be at least 0")):
        with pytest.raises(UserError, match=message):
            corpus.build(**arguments)


def test_pairs_are_examples_too(tmp_path, monkeypatch):
    (tmp_path / "a.tsv").write_text("".join(f"{i} cats\t{i} Katzen\n" for i in range(200)))
    built = corpus.build(path=str(tmp_path / "a.tsv"), field="0,1")
    found = everything(built)
    assert sorted(int(row["source"].split()[0]) for rows in found.values() for row in rows) == list(range(200))
    assert all(row == {"source": row["source"], "target": row["source"].replace("cats", "Katzen")}
               for row in found["train"])
    whole = corpus.whole(str(tmp_path / "a.tsv"), field="0,1")
    assert list(whole.examples("all"))[3] == {"source": "3 cats", "target": "3 Katzen"} and whole.counts == {"all": 200}
    monkeypatch.setattr(catalog, "load", lambda name: sources.Source(
        name, "none", {"all": lambda: iter(["a\x1fb", "", "c\x1fd"])}, kind="pairs"))
    assert [row["target"] for row in corpus.whole("catalog:made-up").examples("all")] == ["b", "d"]
    with pytest.raises(UserError, match="made-up holds pairs, and labelled examples is what"):
        corpus.whole("catalog:made-up", reads="labelled")


def test_the_texts_of_examples_are_text_too_and_stand_in_the_split_of_their_example(labelled, monkeypatch):
    rows = list(corpus.whole(labelled, reads="labelled").documents("all"))
    monkeypatch.setattr(catalog, "load", lambda name: sources.Source(name, "none", {"all": lambda: iter(rows)},
                                                                     kind="labelled"))
    as_text, as_examples = (corpus.build(source="catalog", path="made-up", reads=reads) for reads in (None, "labelled"))
    assert as_text.kind == "text" and as_text.splits == as_examples.splits
    for split in as_text.splits:
        assert list(as_text.documents(split)) == [row["text"] for row in as_examples.examples(split)] != []


def test_damaged_examples_are_left_out_and_told(tmp_path, labelled, capsys):
    whole = corpus.build(path=labelled, reads="labelled")
    with open(labelled, "a") as file:
        file.write("text 300,\n")
    with pytest.raises(UserError, match=r"a.csv, line 323: the label is empty; .*; config.data.damaged=0 skips no"):
        corpus.build(path=labelled, reads="labelled")
    assert corpus.build(path=labelled, reads="labelled", damaged=1).fingerprint == whole.fingerprint
    assert "1 damaged records left out" in capsys.readouterr().err


def test_half_characters_are_mended_in_examples_too(tmp_path, capsys):
    rows = ['{"text": "a\\ud800b", "label": "x\\udc00"}', *(f'{{"text": "t{i}", "label": "x"}}' for i in range(99))]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    found = everything(corpus.build(path=str(tmp_path / "a.jsonl"), reads="labelled"))
    assert {"text": "a\ufffdb", "label": "x\ufffd"} in sum(found.values(), [])
    assert "in 1 of 100 documents" in capsys.readouterr().err


def test_a_split_in_memory_counts_what_wc_counts(tmp_path, labelled):
    built = corpus.build(path=labelled, reads="labelled")
    split = examples.open_split(built, "train")
    assert split.examples == list(built.examples("train")) and split.split == "train"
    (tmp_path / "train.txt").write_text("".join(text + "\n" for text in built.texts("train")))
    lines, words, size = map(int, re.findall(r"\d+", subprocess.check_output(
        ["wc", "-lwc"], stdin=(tmp_path / "train.txt").open(), text=True)))
    assert split.meta == {"name": "a.csv", "licence": "the user's own", "fingerprint": built.fingerprint,
                          "documents": lines, "words": words, "bytes": size - lines}
    with pytest.raises(UserError, match="a.csv has no split 'dev'"):
        examples.open_split(built, "dev")


def test_a_tokenizer_learns_from_the_texts_and_not_from_their_json(labelled):
    tokenizer = tokenizers.build("chars", corpus=corpus.build(path=labelled, reads="labelled"))
    assert tokenizer.decode(tokenizer.encode("text number 1")) == "text number 1"
    assert not {"{", '"', ":"} & set(tokenizer.decode(range(tokenizer.vocab_size)))
