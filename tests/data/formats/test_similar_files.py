"""Texts that mean nearly the same: scored pairs, and triples."""

import pytest

from lmlab.data.formats import similar

PAIR, TRIPLE = {"first": "a", "second": "b", "score": 0.5}, {"anchor": "a", "positive": "b", "negative": "c"}
TWO = {"anchor": "d", "positive": "e"}


def test_tables_and_objects_say_the_same(read):
    assert read("similar", "a.csv", "score,first,second\n0.5,a,b\n") == [PAIR]
    assert read("similar", "a.tsv", "positive\tanchor\tnegative\nb\ta\tc\ne\td\t\n") == [TRIPLE, TWO]
    assert read("similar", "a.csv", "anchor,positive\nd,e\n") == [TWO]
    rows = [PAIR, TRIPLE, TWO, {"first": "a", "second": "b", "score": 4}]
    assert read("similar", "a.jsonl", rows) == read("similar", "a.json", rows) == [*rows[:3], PAIR | {"score": 4.0}]
    for name, content in (("a.csv", "x,y,z\na,b,0.5\n"), ("a.jsonl", [{"x": "a", "y": "b", "z": "0.5"}])):
        assert read("similar", name, content, "x,y,z") == [PAIR]
    for name, content in (("a.csv", "x,y\nd,e\n"), ("a.jsonl", [{"x": "d", "y": "e"}])):
        assert read("similar", name, content, "x,y") == [TWO]
    assert similar.key(PAIR) == similar.key(TRIPLE) == "a" and similar.texts(TRIPLE) == ["a", "b", "c"]
    assert similar.same(PAIR) == similar.same(PAIR | {"score": 0.1}) != similar.same(TRIPLE)


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "first,second\na,b\n", "a.csv, line 1: no column 'score'; it has first, second"),
    ("a.csv", "anchor,negative\na,b\n", "a.csv, line 1: no column 'positive'"),
    ("a.csv", "first,second,score\na,b,high\n", "a.csv, line 2: the score 'high' is no number"),
    ("a.csv", "first,second,score\na,b,nan\n", "a.csv, line 2: the score is no finite number"),
    ("a.jsonl", '{"first": "a", "second": "b", "score": true}', "the score is no finite number"),
    ("a.jsonl", '{"first": "a", "second": "b"}', "the score is no finite number"),
    ("a.jsonl", '{"first": "a", "second": "b", "score": 1' + "0" * 400 + "}", "the score is no finite number"),
    ("a.jsonl", '{"anchor": "a"}', "no text in field 'positive'"),
    ("a.jsonl", "[]", "no text in field 'first'; it has a list"),
    ("a.jsonl", '{"anchor": "a", "positive": "b", "negative": 3}', "no text in field 'negative'")])
def test_what_is_wrong_is_told(refusal, name, content, message):
    assert message in refusal("similar", name, content)
