"""Texts with relations between their entities: {"text", "spans": [{"start", "end", "label"}, ...],
"relations": [{"head", "tail", "label"}, ...]}, head and tail being places in spans, from 0."""

from lmlab.data.formats import rows
from lmlab.utils.errors import UserError

FIELDS = "text,spans,relations"


def read(path, field, skip):
    """The texts of a .jsonl or .json file."""
    names = rows.names(field, FIELDS, 3)
    return rows.made(rows.rows(path, rows.JSON, [], skip), lambda row: _text(row, *names), skip)


def key(example):
    """The text."""
    return example["text"]


same = key


def texts(example):
    """The text, and the labels of its spans, which a model reads beside it."""
    return [example["text"], *sorted({span["label"] for span in example["spans"]})]


def _text(row, text, spans, relations):
    """The example of an object."""
    example = {"text": rows.text(row, text)}
    example["spans"] = rows.spans(row, spans, len(example["text"]))
    found = []
    for number, relation in enumerate(rows.items(row.get(relations), relations)):
        what = f"{relations}[{number}]"
        if not isinstance(relation, dict):
            raise UserError(f"{what} is a {type(relation).__name__}; give an object of head, tail and label")
        ends = {name: rows.whole(relation.get(name), f"{what}.{name}") for name in ("head", "tail")}
        for name, place in ends.items():
            if not 0 <= place < len(example["spans"]):
                raise UserError(f"{what}.{name} is {place}, and there are {len(example['spans'])} spans; give the "
                                "place of one, from 0")
        found.append(ends | {"label": rows.text(relation, "label").strip()})
    return example | {"relations": found}
