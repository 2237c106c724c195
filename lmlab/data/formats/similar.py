"""Texts that mean nearly the same: {"first", "second", "score"}, or {"anchor", "positive", "negative"}, which may lack
the negative.

Tables or JSON objects; with fields anchor and positive the second kind, otherwise the first.
"""

from lmlab.data import readers
from lmlab.data.formats import rows
from lmlab.utils.errors import UserError

FIELDS = "first,second,score"
_TRIPLE = ("anchor", "positive", "negative")


def read(path, field, skip):
    """The examples of a .csv, .tsv, .jsonl or .json file.

    Args:
      field: the names of first, second and score; or two, those of anchor and positive.
    """
    names = rows.names(field, FIELDS, 2, 3)
    there = readers.columns(path) if rows.is_table(path) else []
    anchor, positive = names if len(names) == 2 else _TRIPLE[:2]
    is_triple = lambda columns: len(names) == 2 or field == FIELDS and anchor in columns
    columns = [anchor, positive, *({"negative"} & set(there))] if is_triple(there) else names

    def make(row):
        return _triple(row, anchor, positive) if is_triple(row if isinstance(row, dict) else ()) else _pair(row, *names)

    return rows.made(rows.rows(path, rows.TABLES + rows.JSON, columns, skip), make, skip)


def key(example):
    """The first text, or the anchor."""
    return example["anchor"] if "anchor" in example else example["first"]


def same(example):
    """The texts."""
    return rows.joined(*texts(example))


def texts(example):
    """The two texts, or the two or three."""
    return [example[name] for name in ("first", "second", *_TRIPLE) if name in example]


def _pair(row, first, second, score):
    """The example of two texts and a score: a number, or text that is one."""
    example = {"first": rows.text(row, first), "second": rows.text(row, second)}
    value = row.get(score)
    try:
        value = float(value) if isinstance(value, str) else value
    except ValueError:
        raise UserError(f"the {score} {value[:40]!r} is no number; give one") from None
    return example | {"score": float(rows.finite(value, f"the {score}"))}


def _triple(row, anchor, positive):
    """The example of an anchor, a positive and perhaps a negative."""
    example = {"anchor": rows.text(row, anchor), "positive": rows.text(row, positive)}
    if row.get("negative") not in (None, ""):
        example["negative"] = rows.text(row, "negative")
    return example
