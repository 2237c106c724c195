"""Texts, or pairs of texts, each with its label, its labels or a number: {"text", "pair" (of pairs), "label"}.

A table of text and label, or of text, pair and label. A csv cell of several labels has | between them ("|" alone: no
label applies); the label of a jsonl file may be text, a list of texts, or a number.
"""

from lmlab.data import readers
from lmlab.data.formats import rows
from lmlab.utils.errors import UserError

FIELDS = "text,pair,label"


def read(path, field, skip):
    """The examples of a .csv, .tsv, .jsonl or .json file.

    Args:
      field: "text,label" or "text,pair,label"; of FIELDS themselves the pair may be missing.
    """
    first, *middle, last = rows.names(field, FIELDS, 2, 3)
    table = rows.is_table(path)
    if table and field == FIELDS and middle[0] not in readers.columns(path):
        middle = []

    def make(row):
        example = {"text": rows.text(row, first)}
        if middle and (field != FIELDS or row.get(middle[0]) is not None):
            example["pair"] = rows.text(row, middle[0])
        return example | {"label": _cell(rows.text(row, last)) if table else _label(row, last)}

    return rows.made(rows.rows(path, rows.TABLES + rows.JSON, [first, *middle, last], skip), make, skip)


def key(example):
    """The text, with its pair: what is to be labelled."""
    return rows.joined(*texts(example))


same = key  # a text that has another label the second time would teach and test both


def texts(example):
    """The text, and its pair."""
    return [example[name] for name in ("text", "pair") if name in example]


def _cell(label):
    """The label or labels of a csv cell."""
    return [part.strip() for part in label.split("|") if part.strip()] if "|" in label else label.strip()


def _label(row, name):
    """The label of a JSON object: text, a list of texts, or a finite number; true and false are texts."""
    label = row.get(name)
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, (int, float)):
        return rows.finite(label, f"the {name}")
    if isinstance(label, list):
        if not all(isinstance(part, str) and part.strip() for part in label):
            raise UserError(f"the {name} is a list that holds something else than labels; give texts that are not "
                            "empty")
        return [part.strip() for part in label]
    return rows.text(row, name).strip()
