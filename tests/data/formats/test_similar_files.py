"""Texts that mean nearly the same: scored pairs, and triples."""

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
