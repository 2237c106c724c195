"""Tagged texts: nltk reads the same columns, seqeval finds the same entities; spans become words, and back."""

import random

import pytest

from lmlab.data.formats import tagged

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP I-ORG
rejects VBZ B-VP O
German JJ B-NP I-MISC
British JJ I-NP B-MISC
call NN I-NP O

Peter NNP B-NP I-PER
Blackburn NNP I-NP I-PER
"""


def words_of(example):
    return [example["text"][start:end] for start, end in example["words"]]


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.iob.gz", "a.tsv"])
def test_columns_are_read_as_nltk_reads_them(read, tmp_path, monkeypatch, name):
    conll = pytest.importorskip("nltk.corpus.reader.conll")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])  # what it may read
    content = CONLL.replace(" ", "\t") if name == "a.tsv" else CONLL
    found = read("tagged", name, content)
    (tmp_path / "whole.txt").write_text(CONLL.partition("\n\n")[2])
    corpus = conll.ConllCorpusReader(str(tmp_path), ["whole.txt"], ("words", "pos", "chunk", "ignore"))
    assert [words_of(example) for example in found] == list(corpus.sents())
    assert [example["tags"] for example in read("tagged", name, content, "0,1")] == [
        [tag for _, tag in sentence] for sentence in corpus.tagged_sents()]
    assert found[0]["text"] == "EU rejects German British call"
    assert [example["tags"] for example in found] == [["B-ORG", "O", "B-MISC", "B-MISC", "O"], ["B-PER", "I-PER"]]


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES", "BILOU"])
def test_every_scheme_becomes_iob2_with_the_entities_seqeval_finds(scheme):
    schemes = pytest.importorskip("seqeval.scheme")
    found = lambda tags, scheme: [entity.to_tuple()[1:] for entity in
                                  schemes.Entities([tags], getattr(schemes, scheme)).entities[0]]
    rng = random.Random(0)
    for _ in range(200):
        tags, last = [], ""
        while len(tags) < 12:
            kind, size = rng.choice(["", "", "PER", "LOC"]), rng.randint(1, 3)
            if scheme == "IOB1":
                more = [f"{'B' if last == kind else 'I'}-{kind}", *[f"I-{kind}"] * (size - 1)]
            elif scheme == "IOB2":
                more = [f"B-{kind}", *[f"I-{kind}"] * (size - 1)]
            else:
                begin, end, single = {"IOBES": "BES", "BILOU": "BLU"}[scheme]
                more = [f"{single}-{kind}"] if size == 1 else [f"{begin}-{kind}", *[f"I-{kind}"] * (size - 2),
                                                                f"{end}-{kind}"]
            tags += more if kind else ["O"]
            last = kind
        assert found(tagged.iob2(tags), "IOB2") == found(tags, scheme), tags


def test_tags_of_speech_stay_as_they_are(read):
    assert tagged.iob2(["I-X", "nn", "O"]) == ["I-X", "nn", "O"]
    rows = [{"tokens": ["The", "jury", "."], "tags": ["at", "nn", "."]}]
    assert read("tagged", "a.jsonl", rows) == [
        {"text": "The jury .", "words": [[0, 3], [4, 8], [9, 10]], "tags": ["at", "nn", "."]}]
    assert read("tagged", "a.json", [{"w": ["a"], "t": ["x"]}], "w,t")[0]["text"] == "a"


def test_chinese_words_have_no_spaces_between_them(read):
    (example,) = read("tagged", "a.txt", "我 O\n爱 O\n北 B-LOC\n京 I-LOC\n。 O\nOK O\nOK O\n好 O\n")
    assert example["text"] == "我爱北京。 OK OK 好"
    assert words_of(example) == ["我", "爱", "北", "京", "。", "OK", "OK", "好"]


def test_spans_become_words_that_end_where_they_do(read):
    text = "Anna's aunt lives in New York, 我爱北京。"
    spans = [(21, 29, "LOC"), (0, 4, "PER"), (33, 35, "LOC"), (7, 9, "ODD")]  # the last one ends within a word
    row = {"text": text, "spans": [dict(zip(("start", "end", "label"), span)) for span in spans]}
    (example,) = read("tagged", "a.jsonl", [row])
    assert example["text"] == text
    assert words_of(example) == ["Anna", "'", "s", "au", "nt", "lives", "in", "New", "York", ",", *"我爱北京。"]
    found, begun = [], None
    for (start, end), tag in zip(example["words"], example["tags"]):
        if tag[0] == "B":
            found.append([start, end, tag[2:]])
        elif tag[0] == "I":
            found[-1][1] = end
    assert sorted(map(tuple, found)) == sorted(spans)
    assert read("tagged", "b.jsonl", [example]) == [example]  # what was read may be given


def test_columns_that_are_not_there(refusal):
    assert "line 3: 4 columns, and 0,7 are" in refusal("tagged", "a.txt", CONLL, "0,7")
    assert "named by their number" in refusal("tagged", "a.txt", CONLL, "word,tag")


def test_a_sentence_with_a_damaged_line_is_left_out_whole(read):
    told = []
    (found,) = read("tagged", "a.txt", b"a O\n\xff O\nb O\n\nc O\nd O\n\ne\n", skip=told.append)
    assert found["text"] == "c d"
    assert [str(error).split(": ")[0][-6:] for error in told] == ["line 2", "line 8"]
