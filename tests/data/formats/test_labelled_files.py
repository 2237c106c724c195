"""Labelled texts: the same examples from every kind of file."""

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


def test_fields_that_cannot_be(refusal):
    for field in ("a", "a,b,c,d", "a,,b"):
        assert "as in text,pair,label" in refusal("labelled", "a.csv", TABLE, field)


def test_damaged_ones_may_be_left_out(read):
    told = []
    content = (b'{"text": "a", "label": "x"}\n{"text": "\xff", "label": "x"}\n{"text": "b"}\n{"te\n'
               b'{"text": "c", "label": "x"}\n')
    assert [row["text"] for row in read("labelled", "a.jsonl", content, skip=told.append)] == ["a", "c"]
    assert [str(error).split(": ")[0].split(", ")[1] for error in told] == ["line 2", "line 3", "line 4"]
