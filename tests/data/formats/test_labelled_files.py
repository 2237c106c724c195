"""Labelled texts: the same examples from every kind of file, and what is wrong with one that cannot be read."""

import pytest

from lmlab.data.formats import labelled

TABLE = 'id,text,label\n1,"a, ""b""\nc",good\n2,d,bad\n'
PLAIN = [{"text": 'a, "b"\nc', "label": "good"}, {"text": "d", "label": "bad"}]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_every_kind_of_file_says_the_same(read, end):
    assert read("labelled", f"a.csv{end}", TABLE) == PLAIN
    assert read("labelled", f"a.jsonl{end}", [{"id": 1, **row} for row in PLAIN]) == PLAIN
    assert read("labelled", f"a.json{end}", PLAIN) == PLAIN
    tabs = read("labelled", f"a.tsv{end}", "text\tlabel\nsay \"b\"\tgood\n")
    assert tabs == [{"text": 'say "b"', "label": "good"}]


def test_pairs_are_there_where_the_file_has_them(read):
    pair = [{"text": "a", "pair": "b", "label": "yes"}]
    assert read("labelled", "a.csv", "label,pair,text\nyes,b,a\n") == pair
    assert read("labelled", "a.jsonl", [*pair, {"text": "c", "label": "no"}]) == [*pair, {"text": "c", "label": "no"}]
    assert read("labelled", "a.csv", "q,p,l\na,b,yes\n", "q,p,l") == pair
    assert read("labelled", "a.csv", "yes,b,a\n", "2,1,0") == pair  # without a header
    assert read("labelled", "a.csv", "q,p,l\na,b,yes\n", "q,l") == [{"text": "a", "label": "yes"}]
    assert labelled.key(pair[0]) != labelled.key({"text": "a", "label": "yes"})
    assert labelled.texts(pair[0]) == ["a", "b"]


def test_several_labels_and_numbers(read):
    assert [row["label"] for row in read("labelled", "a.csv", "text,label\na,x|y\nb,|\nc,0.5\nd, z \n")] == [
        ["x", "y"], [], "0.5", "z"]
    labels = [["x", "y"], [], 0.5, 3, "z", True]
    assert [row["label"] for row in read("labelled", "a.jsonl", [{"text": "t", "label": x} for x in labels])] == [
        ["x", "y"], [], 0.5, 3, "z", "true"]


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "text,category\na,b\n", "a.csv, line 1: no column 'label'; it has text, category"),
    ("a.csv", "text,label\na,b\nc, \n", "a.csv, line 3: the label is empty"),
    ("a.csv", "text,label\na,b\n,b\n", "a.csv, line 3: the text is empty"),
    ("a.csv", "text,label\na\n", "a.csv, line 2: the row ends before column 'label'"),
    ("a.csv", "text,pair,label\na, ,b\n", "a.csv, line 2: the pair is empty"),
    ("a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "a"}\n',
     "a.jsonl, line 3: no text in field 'label'; it has text"),
    ("a.jsonl", '{"text": 3, "label": 1}', "a.jsonl, line 1: no text in field 'text'; it has int there"),
    ("a.jsonl", '{"text": "a", "label": ["x", 3]}', "line 1: the label is a list that holds something else"),
    ("a.jsonl", '{"text": "a", "label": NaN}', "line 1: the label is no finite number"),
    ("a.jsonl", '{"text": "a", "label": 1e999}', "line 1: the label is no finite number"),
    ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: not JSON"),
    ("a.json", [{"text": "a", "label": "x"}, 7], "a.json, [1]: no text in field 'text'; it has a int"),
    ("a.json", {"text": "a"}, "a.json holds a dict and no list"),
    ("a.json", '{"text": "a", "label": "x"}\n{}', "a.json: not JSON (Extra data: line 2"),
    ("a.json", "[" * 100_000, "a.json: not JSON (maximum recursion"),
    ("a.json", b'["\xff"]', "a.json, line 1: not UTF-8"),
    ("a.csv", "text,label\n", "a.csv: the file is empty"),
    ("a.txt", "text", "a.txt: examples of this kind are not read from such a file; give .csv, .tsv, .jsonl, .json"),
])
def test_what_is_wrong_is_told_with_its_place(refusal, name, content, message):
    assert message in refusal("labelled", name, content)


def test_fields_that_cannot_be(refusal):
    for field in ("a", "a,b,c,d", "a,,b"):
        assert "as in text,pair,label" in refusal("labelled", "a.csv", TABLE, field)


def test_damaged_ones_may_be_left_out(read):
    told = []
    content = (b'{"text": "a", "label": "x"}\n{"text": "\xff", "label": "x"}\n{"text": "b"}\n{"te\n'
               b'{"text": "c", "label": "x"}\n')
    assert [row["text"] for row in read("labelled", "a.jsonl", content, skip=told.append)] == ["a", "c"]
    assert [str(error).split(": ")[0].split(", ")[1] for error in told] == ["line 2", "line 3", "line 4"]
