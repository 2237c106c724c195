"""Whatever a file holds, a format refuses it in one line, or reads examples of its shape; and nothing else happens."""

import gzip
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from lmlab.data import formats, readers
from lmlab.utils.errors import UserError


# --- the shapes, written out once more ---

def is_text(value):
    return isinstance(value, str) and bool(value.strip())


def is_messages(value):
    return isinstance(value, list) and bool(value) and all(
        set(one) == {"role", "content"} and one["role"] in ("system", "user", "assistant") and is_text(one["content"])
        for one in value) and "system" not in [one["role"] for one in value[1:]]


def is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def labelled(example):
    label = example["label"]
    return set(example) - {"pair"} == {"text", "label"} and is_text(example["text"]) and is_text(
        example.get("pair", "x")) and (is_text(label) or is_number(label) or (
            isinstance(label, list) and all(map(is_text, label))))


def tagged(example):
    text, words, tags = example["text"], example["words"], example["tags"]
    flat = [place for word in words for place in word]
    return set(example) == {"text", "words", "tags"} and len(words) == len(tags) > 0 and all(map(is_text, tags)) and (
        flat == sorted(flat) and 0 <= flat[0] and flat[-1] <= len(text) and all(a < b for a, b in words))


def questions(example):
    return set(example) == {"id", "context", "question", "answers"} and all(
        is_text(example[name]) for name in ("id", "context", "question")) and all(
        is_text(a["text"]) and a["start"] >= 0 and (
            example["context"][a["start"]:a["start"] + len(a["text"])] == a["text"]) for a in example["answers"])


def choices(example):
    return set(example) - {"context"} == {"question", "choices", "answer"} and is_text(example["question"]) and all(
        map(is_text, example["choices"])) and example["answer"] in range(len(example["choices"])) and (
        len(example["choices"]) > 1 and is_text(example.get("context", "x")))


def relations(example):
    text, spans = example["text"], example["spans"]
    return set(example) == {"text", "spans", "relations"} and is_text(text) and all(
        set(span) == {"start", "end", "label"} and is_text(span["label"])
        and 0 <= span["start"] < span["end"] <= len(text) for span in spans) and all(
        set(one) == {"head", "tail", "label"} and {one["head"], one["tail"]} <= set(range(len(spans)))
        and is_text(one["label"]) for one in example["relations"])


def messages(example):
    return set(example) == {"messages"} and is_messages(example["messages"]) and "assistant" in [
        one["role"] for one in example["messages"]]


def preferences(example):
    rest = {name: value for name, value in example.items() if name != "prompt"}
    return is_messages(example["prompt"]) and example["prompt"][-1]["role"] == "user" and (
        set(rest) == {"chosen", "rejected"} and all(map(is_text, rest.values()))
        or set(rest) == {"completion", "good"} and is_text(rest["completion"]) and isinstance(rest["good"], bool))


def similar(example):
    score = example.get("score", 0.0)
    names = set(example) - {"negative"} if "anchor" in example else set(example)
    return names in ({"first", "second", "score"}, {"anchor", "positive"}) and all(
        is_text(value) for name, value in example.items() if name != "score") and (
        type(score) is float and math.isfinite(score))


SHAPES = {shape.__name__: shape for shape in (
    labelled, tagged, questions, choices, relations, messages, preferences, similar)}

# --- files that are nearly right: (name, text) ---

TURNS = [{"role": "user", "content": "hi 中"}, {"role": "assistant", "content": "hé"}]
SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]
SPANS = [{"start": 0, "end": 2, "label": "X"}, {"start": 3, "end": 5, "label": "Y"}]
QUESTION = {"id": "1", "question": "who?", "answers": [{"text": "cat", "answer_start": 4}], "is_impossible": False}
ROWS = {
    "labelled": [{"text": "a b", "label": "x"}, {"text": "c", "pair": "d", "label": ["y"]},
                 {"text": "e", "label": 0.5}],
    "tagged": [{"tokens": ["a", "中"], "tags": ["B-X", "O"]}, {"text": "ab cd", "spans": SPANS},
               {"text": "ab", "words": [[0, 1], [1, 2]], "tags": ["x", "y"]}],
    "questions": [{"context": "The cat", **QUESTION}, {"context": "The", "question": "q",
                                                       "answers": {"text": ["The"], "answer_start": [0]}}],
    "choices": [{"question": "q", "choices": ["a b", "c"], "answer": 1, "context": "x"},
                {"question": "q", "choices": ["a b", "c"], "answer": "A"}],
    "relations": [{"text": "ab cd", "spans": SPANS, "relations": [{"head": 0, "tail": 1, "label": "r"}]}],
    "messages": [{"messages": TURNS}, {"conversations": SHAREGPT, "system": "s"},
                 {"instruction": "i", "input": "j", "output": "o", "history": [["a", "b"]]}],
    "preferences": [{"prompt": "p", "chosen": "a", "rejected": "b"},
                    {"conversations": SHAREGPT[:1], "chosen": SHAREGPT[1], "rejected": {"from": "gpt", "value": "no"}},
                    {"messages": TURNS, "label": True}, {"instruction": "i", "output": "o", "kto_tag": False}],
    "similar": [{"first": "a", "second": "b", "score": 0.5}, {"anchor": "a", "positive": "b", "negative": "c"}],
}
SQUAD = {"data": [{"paragraphs": [{"context": "The cat", "qas": [QUESTION, QUESTION]}]}]}
TABLES = {"labelled": "text,pair,label\na,b,x\nc,\"d\ne\",y|z\n", "similar": "first,second,score\na,b,0.5\nc,d,1e3\n",
          "messages": "conversation,role,content\n1,user,a\n1,assistant,b\n2,human,c\n2,gpt,d\n"}
GOOD = [(kind, name, json.dumps(rows) if name == "a.json" else "".join(json.dumps(row) + "\n" for row in rows))
        for kind, rows in ROWS.items() for name in ("a.json", "a.jsonl")]
GOOD += [("questions", "squad.json", json.dumps(SQUAD)), ("tagged", "a.conll", "a X B-P\nb X I-P\n\nc X O\n")]
GOOD += [(kind, "a.csv", text) for kind, text in TABLES.items()]
GOOD += [(kind, "a.tsv", text.replace(",", "\t").replace('"', "").replace("d\ne", "d"))
         for kind, text in TABLES.items()]
IDS = [f"{kind} {name}" for kind, name, _ in GOOD]

ODD = [b"", b"\0", b"\xff", b"\xff\xfe", b"\n", b"\n\n", b"\r", b",", b"\t", b'"', b"{", b"}", b"[" * 3000, b"]",
       b"null", b"NaN", b"1e999", b"-1", b"9" * 5000, b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"[]", b"{}", b"true",
       b"0.5", b'" "', b"\x1f", b"-DOCSTART- ", b"|", b'{"text": "a"}', "中".encode()]
DROPPED = object()


def outcome(path, kind, limit):
    """The examples, or the refusal."""
    skip = readers.Damage(limit)
    try:
        (found,) = readers.find(str(path), (".json",))
        texts = list(formats.documents(kind, found, "text", skip))
    except UserError as error:
        assert "\n" not in str(error) and path.name in str(error), error
        return str(error)
    module = formats.find(kind)
    for text in texts:
        example = json.loads(text)
        assert SHAPES[kind](example), example
        parts = module.key(example), module.same(example), *module.texts(example)
        assert all(isinstance(part, str) for part in parts)
        assert formats.write(example) == text
    return texts


@pytest.mark.parametrize("kind, name, text", GOOD, ids=IDS)
def test_the_files_are_right_before_they_are_mangled(tmp_path, kind, name, text):
    (tmp_path / name).write_text(text, "utf-8")
    assert isinstance(outcome(tmp_path / name, kind, 0), list)


SEARCH = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind, name, text", GOOD, ids=IDS)
def test_mangled_bytes_are_refused_or_read(tmp_path, kind, name, text):
    data, path = text.encode("utf-8"), tmp_path / name

    @settings(max_examples=60, **SEARCH)
    @given(st.lists(st.tuples(st.integers(0, len(data)), st.integers(0, 9), st.sampled_from(ODD)),
                    min_size=1, max_size=4))
    def search(edits):
        mangled = data
        for at, removed, put in edits:
            mangled = mangled[:at] + put + mangled[at + removed:]
        path.write_bytes(mangled)
        strict, lax = outcome(path, kind, 0), outcome(path, kind, 10 ** 9)
        assert isinstance(strict, str) or strict == lax

    search()


def places(value, path=()):
    """The paths of all values within a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in items:
        yield from places(one, (*path, name))


def replaced(value, path, new):
    """The value with another one at a path, or without that one."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and new is DROPPED:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


WRONG = [None, True, False, 0, -1, 3, 10 ** 30, 0.5, "", " ", "a", "\ud800", "B-X", [], {}, [[]], ["a"], [3], [[0, 1]],
         {"text": "a"}, {"role": "user", "content": "x"}, {"from": 3},
         [{"start": 0, "end": 1, "label": "X"}], [None], DROPPED]


@pytest.mark.parametrize("kind, rows", [*ROWS.items(), ("questions", [SQUAD])], ids=[*ROWS, "squad"])
def test_every_value_as_every_other_kind_of_value(tmp_path, kind, rows):
    """Each place of each row, with each wrong value: all of them, not a sample."""
    path, read = tmp_path / "a.json", 0
    for row in rows:
        for place in places(row):
            for wrong in WRONG:
                if place or wrong is not DROPPED:
                    bad = replaced(row, place, wrong)
                    path.write_text(json.dumps(bad if row is SQUAD else [bad]))
                    read += isinstance(outcome(path, kind, 0), list)
    assert read  # some are right as they are: another label, a field that may be missing


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("content", [b"", b"\n" * 9, b"[]", b"{}", b"[" * 200_000, b'{"a":' * 200_000, b"\0" * 9,
                                     b"3", b'""', b"\xff\xfea\0", b"\xef\xbb\xbf", b'[{"text":' * 5000])
def test_files_of_nothing_or_of_depth(tmp_path, kind, content):
    for name in ("a.json", "a.jsonl", "a.csv", "a.tsv", "a.conll", "a.json.gz", "a.csv.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        for limit in (0, 10 ** 9):
            found = outcome(path, kind, limit)
            assert isinstance(found, str) or kind == "tagged" and name == "a.conll", found
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(content)[:-5])
            assert isinstance(outcome(path, kind, 0), str)
