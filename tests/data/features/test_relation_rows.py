"""Rows of pairs of spans: marks where they belong, by hand and the long way."""

import itertools

import numpy as np
import pytest

import asking
from lmlab.data.features import relations
from lmlab.data.tokenizers import extend, plain
from lmlab.utils.errors import UserError

ROLES = ("cls", *relations.MARKS)
BYTES = extend(plain.Bytes(), ROLES)
NAMES = ("no_relation", "knows", "of")


def span(start, end, label="P"):
    return {"start": start, "end": end, "label": label}


def shown(tokenizer, one):
    """An encoded pair as text, a mark as <its role>."""
    roles = {number: f"<{role}>" for role, number in tokenizer.specials.items()} | {tokenizer.eod: "<eod>"}
    return "".join(roles.get(i) or tokenizer.decode([i]) for i in one.ids.tolist())


@pytest.mark.parametrize("head, tail, expected", [
    (span(0, 1), span(2, 3, "L"), "<head>Pa<head_end>b<tail>Lc<tail_end>d"),
    (span(2, 3, "L"), span(0, 1), "<tail>Pa<tail_end>b<head>Lc<head_end>d"),
    (span(0, 2), span(2, 4), "<head>Pab<head_end><tail>Pcd<tail_end>"),             # side by side
    (span(0, 4), span(1, 2, "L"), "<head>Pa<tail>Lb<tail_end>cd<head_end>"),        # one inside the other
    (span(1, 3), span(0, 3, "L"), "<tail>La<head>Pbc<head_end><tail_end>d"),
    (span(0, 2), span(0, 4, "L"), "<tail>L<head>Pab<head_end>cd<tail_end>"),
    (span(0, 3), span(1, 4, "L"), "<head>Pa<tail>Lbc<head_end>d<tail_end>"),        # crossing
    (span(1, 2), span(1, 2, "L"), "a<head>P<tail>Lb<head_end><tail_end>cd")])       # the same characters
def test_marks_stand_around_both(head, tail, expected):
    one, = relations.encode(BYTES, "abcd", [head, tail], [(0, 1)], 99)
    assert shown(BYTES, one) == f"<cls>{expected}<eod>" and not one.types.any()
    assert one.ids[one.places].tolist() == [BYTES.specials[role] for role in ("head", "tail")]


@pytest.mark.parametrize("kind", ["bytes", "chars", "bbpe", "wordpiece-uncased"])
@pytest.mark.parametrize("name", asking.CONTEXTS)
def test_marks_stand_around_every_token_of_a_span(kind, name):
    """The long way: a mark before the first token that shares a character with the span, one after the last."""
    tokenizer, text = extend(asking.tokenizer(kind), ROLES), asking.CONTEXTS[name]
    ids, offsets = tokenizer.encode_offsets(text)
    words = [(n, n + 4) for n in range(0, len(text) - 4, 5) if any(a < n + 4 and b > n for a, b in offsets)]
    spans = [span(*word, "the") for word in words]
    asked = list(itertools.permutations(range(len(spans)), 2))[::7]
    label = tokenizer.encode("the")
    for (head, tail), one in zip(asked, relations.encode(tokenizer, text, spans, asked, 999), strict=True):
        tokens, begin, end = [[i] for i in ids], {}, {}
        for role, place in (("head", head), ("tail", tail)):
            over = [n for n, (a, b) in enumerate(offsets) if a < words[place][1] and b > words[place][0]]
            begin[role], end[role] = over[0], over[-1]
        if max(begin.values()) <= min(end.values()):
            continue  # both have a part of one token
        for role in begin:
            tokens[begin[role]] = [tokenizer.specials[role], *label, *tokens[begin[role]]]
            tokens[end[role]] = [*tokens[end[role]], tokenizer.specials[f"{role}_end"]]
        assert one.ids.tolist() == [tokenizer.specials["cls"], *itertools.chain(*tokens), tokenizer.eod]
        assert one.ids[one.places].tolist() == [tokenizer.specials["head"], tokenizer.specials["tail"]]


def test_a_span_without_a_token_of_its_own_stands_where_it_would():
    tokenizer = extend(asking.tokenizer("wordpiece-uncased"), ROLES)
    text = "the \u200b tower"  # what WordPiece drops
    one, = relations.encode(tokenizer, text, [span(4, 5, "the"), span(6, 11, "the")], [(0, 1)], 99)
    the, tower, role = *tokenizer.encode("the tower"), tokenizer.specials
    assert one.ids.tolist() == [role["cls"], the, role["head"], the, role["head_end"], role["tail"], the, tower,
                                role["tail_end"], tokenizer.eod]


def test_of_a_long_text_what_is_near_the_marks_stays():
    text = "x" * 50 + "H" + "y" * 50 + "T" + "z" * 50
    spans = [span(50, 51), span(101, 102, "L")]
    for length in (16, 17, 24, 40, 99):
        one, = relations.encode(BYTES, text, spans, [(0, 1)], length)
        whole = shown(BYTES, one)
        assert len(one.ids) == length and "<head>PH<head_end>" in whole and "<tail>LT<tail_end>" in whole
        assert one.ids[one.places].tolist() == [BYTES.specials["head"], BYTES.specials["tail"]]
        sides = [whole.count(letter) for letter in "xyyz"]  # nearest on the four sides of the marks
        assert sides[0] + sides[1] + sides[3] == length - 10 and max(sides) - min(sides) <= sides[1] // 2 + 1


def test_a_tokenizer_without_the_roles_has_signs():
    one, = relations.encode(plain.Bytes(), "ab", [span(1, 2), span(0, 1, "L")], [(0, 1)], 99)
    assert bytes(one.ids[:-1].tolist()) == b"#La#@Pb@" and one.places.tolist() == [4, 0]
    with pytest.raises(UserError, match="no marks of a head and a tail, nor characters @ and #"):
        relations.encode(plain.Chars("ab"), "ab", [span(0, 1), span(1, 2)], [(0, 1)], 99)


def test_pairs_are_all_or_of_some_heads():
    spans = [span(0, 1, "Meet"), span(1, 2), span(2, 3, "Visit")]
    assert relations.pairs(spans) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert relations.pairs(spans, "Meet|Visit") == [(0, 1), (0, 2), (2, 0), (2, 1)]
    assert relations.pairs(spans[:1]) == [] == relations.pairs(spans, "Meeting")


def split(*more):
    one = {"text": "Ann met Bob", "spans": [span(0, 3), span(8, 11), span(4, 7, "met")],
           "relations": [{"head": 0, "tail": 1, "label": "knows"}, *more]}
    return asking.split([one, {"text": "x", "spans": [], "relations": []}, one | {"relations": []}])


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_rows_hold_every_pair_with_its_relation(windows):
    found = split({"head": 2, "tail": 0, "label": "of"})
    rows = relations.features(found, BYTES, length=64, windows=windows, labels=NAMES)
    batch = rows.make(np.arange(rows.count), np.zeros(rows.count, int), 0)
    found = {}
    for b, k in np.argwhere(batch["weights"]).tolist():
        mine, here = batch["words"][b] == k + 1, batch["segments"][b] == k + 1
        assert np.flatnonzero(mine).tolist() == [2 * k, 2 * k + 1]  # as the objective takes them
        assert batch["tokens"][b, batch["places"][b, mine]].tolist() == [BYTES.specials[r] for r in ("head", "tail")]
        assert (batch["segments"][b, batch["places"][b, mine]] == k + 1).all() and batch["positions"][b, here][0] == 0
        found[int(batch["example"][b, k])] = int(batch["label"][b, k])
    assert [found[n] for n in range(1, 13)] == [1, 0, 0, 0, 2, 0, *[0] * 6]
    assert (rows.count < 12) == (windows == "packed")


def test_events_ask_of_their_triggers_alone(capsys):
    rows = relations.features(split(), BYTES, length=64, windows="stream", labels=NAMES, heads="met")
    assert rows.count == 4
    assert "1 relations of asked (train) are of a span with itself or of one" in capsys.readouterr().err


def test_of_two_relations_of_a_pair_the_first_is_taught(capsys):
    found = split({"head": 0, "tail": 1, "label": "of"})
    rows = relations.features(found, BYTES, length=64, windows="stream", labels=NAMES)
    assert rows.make(np.array([0]), np.array([0]), 0)["label"].tolist() == [[1]]
    assert "1 pairs of spans of asked (train) have a further relation" in capsys.readouterr().err


def test_what_cannot_be_taught_is_refused():
    make = lambda found, **more: relations.features(found, BYTES, length=64, windows="stream", labels=NAMES, **more)
    with pytest.raises(UserError, match=r"asked \(train\) has the relation new, which the model does not know"):
        make(split({"head": 1, "tail": 2, "label": "new"}))
    with pytest.raises(UserError, match="no text with two spans to relate"):
        make(split(), heads="Meet")
    assert relations.names(split({"head": 0, "tail": 1, "label": "a"}).examples) == ("no_relation", "a", "knows")
    assert relations.names(split().examples, "knows") == ("knows",)
