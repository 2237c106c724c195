"""Relations between entities: read as they were written, and every place checked."""

import copy

import pytest

from lmlab.data.formats import relations

ROW = {"text": "Ada met Bob in Rome.",
       "spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 11, "label": "PER"},
                {"start": 15, "end": 19, "label": "LOC"}],
       "relations": [{"head": 0, "tail": 1, "label": "met"}, {"head": 0, "tail": 2, "label": "was in"}]}


def test_what_was_written_is_read(read):
    rows = [ROW, {"text": "Nothing.", "spans": [], "relations": []}]
    assert read("relations", "a.jsonl", rows) == read("relations", "a.json", rows) == rows
    named = {"t": ROW["text"], "s": ROW["spans"], "r": ROW["relations"]}
    assert read("relations", "b.jsonl", [named], "t,s,r") == [ROW]


@pytest.mark.parametrize("path, value, message", [
    (("relations", 1, "tail"), 3, "line 1: relations[1].tail is 3, and there are 3 spans"),
    (("relations", 0, "head"), -1, "relations[0].head is -1"),
    (("relations", 0, "head"), "0", "relations[0].head is a str"),
    (("relations", 0, "label"), "", "the label is empty"), (("relations", 0), 3, "relations[0] is a int"),
    (("relations",), None, "relations holds a NoneType"),
    (("spans", 2, "end"), 21, "spans[2] is 15 to 21 of a text of 20"),
    (("spans", 0, "end"), 0, "spans[0] is 0 to 0"), (("spans", 0), [], "spans[0] is a list"),
    (("spans", 1, "label"), None, "no text in field 'label'"), (("text",), " ", "the text is empty")])
def test_what_is_wrong_is_told(refusal, path, value, message):
    row = copy.deepcopy(ROW)
    target = row
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    assert message in refusal("relations", "a.jsonl", [row])


def test_a_vocabulary_knows_the_labels_that_a_model_reads():
    assert relations.texts(ROW) == [ROW["text"], "LOC", "PER"]
