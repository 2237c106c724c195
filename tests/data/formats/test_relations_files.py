"""Relations between entities: read as they were written."""

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


def test_a_vocabulary_knows_the_labels_that_a_model_reads():
    assert relations.texts(ROW) == [ROW["text"], "LOC", "PER"]
